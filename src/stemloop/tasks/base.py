"""What every task on sequences shares: packed input, windows, longest-first batches, OOM splits.

All of it is a pure function of the lengths and the options, so that the same input gives the same
batches, whoever runs it and however often it is interrupted.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from stemloop.alphabet import Alphabet
from stemloop.errors import InputError, UsageError
from stemloop.formats.fasta import read_sequences
from stemloop.formats.stream import Source
from stemloop.records import SequenceRecord

if TYPE_CHECKING:
    import torch

Ints = npt.NDArray[np.int64]
Long = Literal["error", "window", "allow"]
T = TypeVar("T")

#: Records that are encoded at a time while reading.
_ENCODE = 4096

#: Tokens of a batch that keep the device busy. On a CPU more only cost memory and page faults.
TOKEN_BUDGET = {"cpu": 1024, "cuda": 32768}


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """All sequences of an input, one byte a nucleotide.

    Parameters
    ----------
    records : list of SequenceRecord
        Without their sequences, which would cost several times the memory (see `record`).
    codes : numpy.ndarray of uint8, shape (sum of L,)
        Token ids, end to end, without CLS and EOS.
    starts : numpy.ndarray of int64, shape (N + 1,)
        Record r is ``codes[starts[r]:starts[r + 1]]``.
    alphabet : Alphabet
        What the ids mean.
    """

    records: list[SequenceRecord]
    codes: npt.NDArray[np.uint8]
    starts: Ints
    alphabet: Alphabet

    @property
    def lengths(self) -> Ints:
        """Nucleotides of each record, shape (N,)."""
        return np.diff(self.starts)

    def record(self, number: int) -> SequenceRecord:
        """Record with its sequence in canonical letters."""
        bare = self.records[number]
        codes = self.codes[self.starts[number] : self.starts[number + 1]]
        return SequenceRecord(bare.id, self.alphabet.decode(codes), bare.description, bare.index)

    def sha256(self) -> str:
        """Checksum over identifiers, sequences and their order."""
        digest = hashlib.sha256(self.starts.astype("<i8").tobytes())
        digest.update(self.codes.tobytes())
        for record in self.records:
            digest.update(f"{len(record.id)} {record.id} ".encode())
        return digest.hexdigest()


def gather(source: Source | Iterable[SequenceRecord | str], alphabet: Alphabet) -> Sequences:
    """Read everything once, so that a bad record is named before any computing starts.

    Parameters
    ----------
    source : path, file object, or iterable of SequenceRecord or str
        A str is a path (``-`` is standard input); strings inside an iterable are sequences.
    alphabet : Alphabet
        Token ids.

    Raises
    ------
    InputError
        No records, a broken record, or one without nucleotides.

    Examples
    --------
    >>> from stemloop.alphabet import RINALMO
    >>> s = gather(["ACG", "GU"], RINALMO)
    >>> s.lengths.tolist(), s.record(1)
    ([3, 2], SequenceRecord(id='2', sequence='GU', description='', index=1, quality=None))
    """
    records: list[SequenceRecord] = []
    codes = bytearray()
    lengths: list[int] = []
    for block in _blocks(_records(source)):
        ids, cuts = alphabet.encode_many(
            [record.sequence for record in block], special=False, names=[r.id for r in block]
        )
        codes += ids.tobytes()
        sizes = np.diff(cuts)
        if not sizes.all():
            raise InputError("no nucleotides", record=block[int(np.argmin(sizes))].id)
        lengths.extend(sizes.tolist())
        records.extend(SequenceRecord(r.id, "", r.description, r.index) for r in block)
    if not records:
        raise InputError("no sequences")
    starts = np.zeros(len(records) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return Sequences(records, np.frombuffer(codes, np.uint8), starts, alphabet)


def _records(source: Source | Iterable[SequenceRecord | str]) -> Iterator[SequenceRecord]:
    if isinstance(source, str | os.PathLike) or hasattr(source, "read"):
        yield from read_sequences(source)  # type: ignore[arg-type]
        return
    for index, item in enumerate(source):
        if isinstance(item, SequenceRecord):
            yield item
        else:
            yield SequenceRecord(str(index + 1), item, index=index)


def _blocks(records: Iterable[SequenceRecord]) -> Iterator[list[SequenceRecord]]:
    block: list[SequenceRecord] = []
    for record in records:
        block.append(record)
        if len(block) == _ENCODE:
            yield block
            block = []
    if block:
        yield block


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """What goes through the encoder: whole sequences, or windows of long ones.

    All arrays have shape (P,). Pieces are in the order of the records and, inside a record, of
    its positions; the kept rows of a record's pieces, one after the other, are its rows.

    Parameters
    ----------
    record : Ints
        Record that the piece is of.
    start, stop : Ints
        What the encoder sees, in positions of the record, from 0, half open.
    keep_start, keep_stop : Ints
        What is taken from it.
    """

    record: Ints
    start: Ints
    stop: Ints
    keep_start: Ints
    keep_stop: Ints

    def __len__(self) -> int:
        return len(self.record)


def windows(length: int, window: int, overlap: int) -> list[tuple[int, int, int, int]]:
    """Windows over a long sequence: (start, stop, keep_start, keep_stop) of each.

    All windows have the full width; the last one ends with the sequence. Where two overlap, each
    gives the half that lies farther from its own edge.

    Examples
    --------
    >>> windows(20, 10, 4)
    [(0, 10, 0, 8), (6, 16, 8, 13), (10, 20, 13, 20)]
    """
    last = length - window
    starts = [*range(0, last, window - overlap), last]
    cuts = [0, *((a + window + b) // 2 for a, b in zip(starts, starts[1:], strict=False)), length]
    return [(s, s + window, cuts[i], cuts[i + 1]) for i, s in enumerate(starts)]


def plan_pieces(
    sequences: Sequences, *, limit: int, long: Long, window: int, overlap: int
) -> Pieces:
    """Decide what becomes of sequences of more than `limit` nucleotides.

    Raises
    ------
    InputError
        There is one, and `long` is "error".
    UsageError
        Windows that do not advance or exceed the limit.
    """
    lengths = sequences.lengths
    numbers = np.arange(len(lengths))
    zero = np.zeros_like(lengths)
    too_long = lengths > limit
    if long == "allow" or not too_long.any():
        return Pieces(numbers, zero, lengths, zero, lengths)
    if long == "error":
        first = int(np.argmax(too_long))
        raise InputError(
            f"{lengths[first]} nt, the model was trained on up to {limit} "
            f"({int(too_long.sum())} such sequences): choose --long window or --long allow",
            record=sequences.records[first].id,
        )
    if not 0 <= overlap < window <= limit:
        raise UsageError(
            f"window {window} and overlap {overlap}: needed is 0 <= overlap < window <= {limit}"
        )
    rows: list[tuple[int, int, int, int, int]] = []
    for number, length in enumerate(lengths.tolist()):
        if length > limit:
            rows.extend((number, *w) for w in windows(length, window, overlap))
        else:
            rows.append((number, 0, length, 0, length))
    return Pieces(*np.array(rows, np.int64).T.copy())


def plan_batches(pieces: Pieces, token_budget: int) -> list[Ints]:
    """Piece numbers of each batch: longest first, CLS and EOS counted, equal lengths together.

    A piece longer than the budget is a batch of its own.

    Examples
    --------
    >>> zero = np.zeros(4, np.int64)
    >>> stop = np.array([3, 9, 3, 5])
    >>> batches = plan_batches(Pieces(np.arange(4), zero, stop, zero, stop), 12)
    >>> [batch.tolist() for batch in batches]
    [[1], [3, 0], [2]]
    """
    sizes = pieces.stop - pieces.start + 2
    order = np.argsort(-sizes, kind="stable")
    ends = np.cumsum(sizes[order])
    batches = []
    begin, used = 0, 0
    while begin < len(order):
        end = max(int(np.searchsorted(ends, used + token_budget, side="right")), begin + 1)
        batches.append(order[begin:end])
        begin, used = end, int(ends[end - 1])
    return batches


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a device or on the host."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    marks = ("out of memory", "can't allocate memory", "cannot allocate memory", "alloc_failed")
    return isinstance(error, RuntimeError) and any(mark in text for mark in marks)


def split_on_oom(
    compute: Callable[[Ints], T], join: Callable[[T, T], T], batch: Ints, explain: str
) -> T:
    """Run a batch; where memory runs out, run its halves.

    Parameters
    ----------
    compute : callable
        Piece numbers to result.
    join : callable
        Two results to one.
    batch : Ints
        Piece numbers.
    explain : str
        What to say when a single piece does not fit.

    Raises
    ------
    InputError
        A single piece does not fit into memory.
    """
    try:
        return compute(batch)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(batch) == 1:
            raise InputError(f"out of memory: {explain}") from error
    # Outside the handler: the traceback would keep the tensors of the failed attempt alive.
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(batch) // 2
    return join(
        split_on_oom(compute, join, batch[:half], explain),
        split_on_oom(compute, join, batch[half:], explain),
    )


def pick_device(name: str) -> torch.device:
    """Device of that name; "auto" is the first CUDA device, else the CPU.

    Raises
    ------
    UsageError
        Unknown, or not there.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name!r}: {str(error).splitlines()[0]}") from error
    return device
