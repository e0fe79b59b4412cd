"""Representations of a frozen encoder on disk, each sequence computed once.

A store is a folder that belongs to one encoder: ``store.json`` names it, ``rows.f32`` holds the
rows of all sequences end to end (little-endian float32), ``index.tsv`` says which are whose. Both
files only grow, rows first, so a store that was cut off anywhere goes on with what is complete.
Several runs may share one, also at the same time: filling takes a lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stemloop.errors import OutputError, UsageError, WeightsError
from stemloop.formats.stream import atomic_output

_FORMAT = 1


def _key(sequence: str) -> str:
    return hashlib.sha256(sequence.encode()).hexdigest()[:32]


class EmbeddingStore:
    """Rows (L, d) by sequence.

    Parameters
    ----------
    folder : path
        Made if it is not there.
    encoder : str
        Hash of the encoder's weights.
    width : int
        Its width d.

    Raises
    ------
    UsageError
        The folder holds something else, or the rows of another encoder.
    OutputError
        It cannot be made.
    """

    def __init__(self, folder: str | Path, encoder: str, width: int) -> None:
        self.folder, self.width = Path(folder), width
        facts = {"format": _FORMAT, "encoder": encoder, "width": width}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder}: no folder: {error.strerror}") from error
        path = self.folder / "store.json"
        with self._locked():
            if not path.exists():
                if any(p.name != "lock" for p in self.folder.iterdir()):
                    raise UsageError(f"{self.folder} holds other things: choose another folder")
                with atomic_output(path) as out:
                    out.write(json.dumps(facts) + "\n")
            elif json.loads(path.read_text(encoding="utf-8")) != facts:
                raise UsageError(f"{self.folder} belongs to another encoder: choose another folder")
        self._rows: dict[str, tuple[int, int]] = {}
        self._read = 0

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self.folder / "lock", "a", encoding="ascii") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _refresh(self) -> None:
        """Read what the index has gained; an incomplete last line is left for later."""
        path = self.folder / "index.tsv"
        if not path.exists():
            return
        with open(path, "rb") as handle:
            handle.seek(self._read)
            text = handle.read()
        text = text[: text.rfind(b"\n") + 1]
        self._read += len(text)
        for line in text.decode("ascii").splitlines():
            key, first, count = line.split("\t")
            self._rows[key] = (int(first), int(count))

    def fill(
        self,
        sequences: Iterable[str],
        compute: Callable[[str], Tensor],
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Compute the rows of those sequences that are not there yet.

        Parameters
        ----------
        sequences : iterable of str
            Nucleotides.
        compute : callable
            Sequence to its rows (L, d).
        progress : callable, optional
            Called with (sequences done, sequences to do).

        Raises
        ------
        WeightsError
            Rows are missing that the index lists.
        """
        self.fill_batches(sequences, lambda batch: [compute(s) for s in batch], 1, progress)

    def fill_batches(
        self,
        sequences: Iterable[str],
        compute: Callable[[list[str]], list[Tensor]],
        size: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Do as `fill` does, with ``compute`` taking up to ``size`` sequences at a time.

        Sequences may have any number of rows, the same whenever they are computed.
        """
        with self._locked():
            self._refresh()
            missing = [s for s in dict.fromkeys(sequences) if _key(s) not in self._rows]
            if not missing:
                return
            end = max((first + count for first, count in self._rows.values()), default=0)
            for name in ("rows.f32", "index.tsv"):
                (self.folder / name).touch()
            with (
                open(self.folder / "rows.f32", "r+b") as rows,
                open(self.folder / "index.tsv", "r+b") as index,
            ):
                if os.fstat(rows.fileno()).st_size < end * self.width * 4:
                    raise WeightsError(f"{self.folder} is damaged: rows are missing; delete it")
                # What a killed run wrote beyond the last complete sequence is overwritten.
                rows.truncate(end * self.width * 4)
                index.truncate(self._read)
                rows.seek(0, os.SEEK_END)
                index.seek(0, os.SEEK_END)
                for start in range(0, len(missing), size):
                    batch = missing[start : start + size]
                    for sequence, tensor in zip(batch, compute(batch), strict=True):
                        values = tensor.detach().float().cpu().numpy()
                        rows.write(values.astype("<f4", copy=False).tobytes())
                        rows.flush()
                        index.write(f"{_key(sequence)}\t{end}\t{len(values)}\n".encode("ascii"))
                        index.flush()
                        end += len(values)
                    if progress:
                        progress(start + len(batch), len(missing))
            self._refresh()

    def __getitem__(self, sequence: str) -> Tensor:
        """Rows (L, d) of a sequence that `fill` was asked for."""
        first, count = self._rows[_key(sequence)]
        path = self.folder / "rows.f32"
        values = np.fromfile(path, "<f4", count * self.width, offset=first * self.width * 4)
        return torch.from_numpy(values.astype(np.float32, copy=False)).view(count, self.width)
