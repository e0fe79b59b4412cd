"""Embeddings: sequences in, one vector a sequence or a nucleotide out.

What comes out of a record of L nucleotides, d being the encoder's width:

=========  ==========  =========================================================================
pool       shape       meaning
=========  ==========  =========================================================================
mean       (d,)        mean over the L nucleotides
cls        (d,)        row of CLS, the token before the first nucleotide
tokens     (L, d)      one row a nucleotide
=========  ==========  =========================================================================

CLS and EOS are never among the nucleotides: L rows for L letters. Everything is float32.

Layers: 0 is the token embedding as it enters the first block, k the stream after block k, -1 the
encoder's output (after RiNALMo's final layer norm; RNAErnie has none); -2, -3, ... count back from
there, as in transformers' ``hidden_states``.

Sequences longer than the model saw in training (1022 nt for RiNALMo, 510 for RNAErnie) are
refused, or cut into windows whose rows are put together again (`stemloop.tasks.base.windows`;
``cls`` is then the mean over the windows), or passed whole, as asked; RNAErnie has no positions for
that.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stemloop.alphabet import Alphabet
from stemloop.formats.stream import Source
from stemloop.models.presets import Config
from stemloop.records import Result, SequenceRecord
from stemloop.tasks.base import (
    Ints,
    Pieces,
    Sequences,
    gather,
    plan_batches,
    plan_pieces,
    split_on_oom,
)
from stemloop.tasks.embed_options import EmbedOptions, make_options
from stemloop.weights.store import Model, alphabet_of, find_model, load, read_config

if TYPE_CHECKING:
    import torch

#: The encoder that ships with the package.
DEFAULT_MODEL = "stemloop-pico"

Floats = npt.NDArray[np.float32]
Arrays = dict[str, Floats]

#: First and last row to the rows between them.
Reader = Callable[[int, int], Floats]


class Embedder:
    """An encoder and what to take from it; maps pieces of sequences to arrays.

    Parameters
    ----------
    encoder : RiNALMo or RNAErnie
        On the device and in the dtype of `options`.
    options : EmbedOptions
        What to compute.
    sequences : Sequences
        Input.
    pieces : Pieces
        The plan.
    """

    def __init__(
        self, encoder: torch.nn.Module, options: EmbedOptions, sequences: Sequences, pieces: Pieces
    ) -> None:
        self._encoder = encoder
        self._options = options
        self._sequences = sequences
        self._pieces = pieces

    def batch(self, numbers: Ints) -> Arrays:
        """Arrays of these pieces, in their order.

        Returns
        -------
        dict of str to numpy.ndarray of float32
            ``mean`` and ``cls`` (n, d); ``tokens`` (kept rows of all pieces, d).

        Raises
        ------
        InputError
            A single sequence does not fit into memory. Larger batches are split instead.
        """
        longest = self._sequences.record(int(self._pieces.record[numbers[0]]))
        return split_on_oom(
            self._forward,
            lambda a, b: {name: np.concatenate((a[name], b[name])) for name in a},
            numbers,
            f"record {longest.id!r} of {longest.length} nt alone does not fit; "
            "--long window or --dtype bfloat16 take less",
        )

    def _forward(self, numbers: Ints) -> Arrays:
        import torch

        tokens, lengths = self._tokens(numbers)
        device = torch.device(self._options.device)
        starts = torch.tensor([0, *np.cumsum(lengths).tolist()], dtype=torch.int32, device=device)
        wanted = [layer for layer in self._options.layers if layer >= 0]
        with torch.inference_mode():
            out = self._encoder(
                torch.from_numpy(tokens).to(device), starts, lengths=lengths, hidden_layers=wanted
            )
            streams = {-1: out.representation, **out.hidden}
            return {
                name: self._pool(streams[layer], pool, numbers, lengths).cpu().numpy()
                for name, (pool, layer) in self._options.names.items()
            }

    def _tokens(self, numbers: Ints) -> tuple[npt.NDArray[np.int64], list[int]]:
        """Packed ids with CLS, EOS and what the options add, and each sequence's length so."""
        pieces, alphabet = self._pieces, self._sequences.alphabet
        begins = self._sequences.starts[pieces.record[numbers]]
        parts: list[npt.NDArray[Any]] = []
        rna_type, ids = self._options.rna_type, alphabet.ids
        prompt = [] if rna_type is None else [ids["[IND]"], ids[rna_type]]
        cls, tail = np.array([alphabet.cls_id]), np.array([*prompt, alphabet.eos_id])
        for begin, number in zip(begins, numbers, strict=True):
            codes = self._sequences.codes[
                begin + pieces.start[number] : begin + pieces.stop[number]
            ]
            parts += (cls, codes, tail)
        lengths = (pieces.stop[numbers] - pieces.start[numbers] + 1 + len(tail)).tolist()
        return np.concatenate(parts).astype(np.int64), lengths

    def _pool(
        self, stream: torch.Tensor, pool: str, numbers: Ints, lengths: list[int]
    ) -> torch.Tensor:
        """Rows or means of one stream [T, d], float32."""
        import torch

        pieces = self._pieces
        rows = stream.split(lengths)
        if pool == "cls":
            return torch.stack([row[0] for row in rows]).float()
        # Row 0 is CLS: position p of the piece is row p + 1.
        first = (pieces.keep_start - pieces.start + 1)[numbers].tolist()
        last = (pieces.keep_stop - pieces.start + 1)[numbers].tolist()
        kept = [row[a:b] for row, a, b in zip(rows, first, last, strict=True)]
        if pool == "tokens":
            return torch.cat(kept).float()
        # One reduction a sequence: its sum is then the same whatever else is in the batch.
        return torch.stack([row.float().mean(dim=0) for row in kept])


def row_count(pool: str, sequences: Sequences, pieces: Pieces) -> int:
    """Rows that a pool's array has while it is computed: one a piece, or one a nucleotide."""
    return len(sequences.codes) if pool == "tokens" else len(pieces)


def blocks(
    pool: str, batch: Ints, values: Floats, sequences: Sequences, pieces: Pieces
) -> Iterator[tuple[int, Floats]]:
    """Where the rows of a batch belong: (first row, rows) of each of its pieces."""
    if pool != "tokens":
        yield from ((int(number), values[i : i + 1]) for i, number in enumerate(batch))
        return
    kept = (pieces.keep_stop - pieces.keep_start)[batch]
    first = sequences.starts[pieces.record[batch]] + pieces.keep_start[batch]
    for at, start, size in zip(first, np.cumsum(kept) - kept, kept, strict=True):
        yield int(at), values[start : start + size]


def combine(pool: str, read: Reader, pieces: Pieces, first: int, last: int) -> Floats:
    """One row a record from one row a piece: the mean, each window counting what it gives.

    Parameters
    ----------
    pool : str
        "mean" or "cls".
    read : callable
        First and last piece to their rows.
    pieces : Pieces
        The plan.
    first, last : int
        Records.
    """
    a, b = np.searchsorted(pieces.record, [first, last]).tolist()
    values = read(a, b)
    if b - a == last - first:
        return values
    weight = (pieces.keep_stop - pieces.keep_start)[a:b].astype(np.float64)
    if pool == "cls":
        weight[:] = 1.0
    out = np.empty((last - first, values.shape[1]), np.float32)
    cuts = np.searchsorted(pieces.record[a:b], np.arange(first, last + 1))
    for number, (c, d) in enumerate(pairwise(cuts.tolist())):
        # A record of one piece keeps its bits.
        out[number] = values[c] if d - c == 1 else np.average(values[c:d], 0, weight[c:d])
    return out


def embed(
    source: Source | Iterable[SequenceRecord | str],
    model: str | os.PathLike[str] | Model = DEFAULT_MODEL,
    *,
    progress: Callable[[int, int], None] | None = None,
    **choices: Any,
) -> list[Result]:
    """Embed sequences and hold the results in memory; `embed_file` writes to disk instead.

    Parameters
    ----------
    source : path, file object, or iterable of SequenceRecord or str
        A str is a path to FASTA or FASTQ; strings inside an iterable are sequences.
    model : str, path or Model
        Model directory, name, or what `stemloop.load` returned; the one that ships by default.
    progress : callable, optional
        Called with (tokens done, tokens in all).

    Other Parameters
    ----------------
    pool : str or sequence of str
        ``mean`` (default), ``cls``, ``tokens``.
    layers : int or sequence of int
        See the top of this module; -1 by default.
    long : {"error", "window", "allow"}
        What becomes of sequences of more than `max_length` nucleotides.
    max_length : int, optional
        By default what the model saw in training.
    window, overlap : int, optional
        Nucleotides; `max_length` and a quarter of the window by default.
    token_budget : int, optional
        Tokens of a batch.
    dtype : {"float32", "bfloat16"}
        Of weights and activations; results are float32.
    device : str
        ``auto``, ``cpu``, ``cuda``, ...
    rna_type : str, optional
        What all the sequences are, of `stemloop.alphabet.RNAERNIE_TYPES`: the encoder reads
        ``[IND]`` and the type before EOS, as RNAErnie did in training.

    Returns
    -------
    list of Result
        In the order of the input, with arrays named by pool (``mean.layer6`` and so on where
        several layers are asked for).

    Raises
    ------
    WeightsError
        No such model.
    InputError
        A broken input, or a sequence that is too long.
    UsageError
        An option that cannot be.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from stemloop.models.presets import EncoderConfig
    >>> from stemloop.models.rinalmo import RiNALMo
    >>> from stemloop.weights.store import save_model_dir
    >>> config = EncoderConfig(vocab_size=22, hidden=32, layers=2, heads=2, ffn_inner=64)
    >>> with TemporaryDirectory() as folder:
    ...     path = save_model_dir(f"{folder}/tiny", config, RiNALMo(config).state_dict())
    ...     results = embed(["GGAAACC", "ACGU"], path, pool=["mean", "tokens"])
    >>> [(r.arrays["mean"].shape, r.arrays["tokens"].shape) for r in results]
    [((32,), (7, 32)), ((32,), (4, 32))]
    """
    config, alphabet = describe(model)
    options = make_options(config, **choices)
    sequences = gather(source, alphabet)
    pieces = plan(sequences, options)
    embedder = Embedder(place(model, options), options, sequences, pieces)
    rows = {name: row_count(pool, sequences, pieces) for name, (pool, _) in options.names.items()}
    arrays = {name: np.empty((count, config.hidden), np.float32) for name, count in rows.items()}
    tokens = pieces.stop - pieces.start + 2
    done, total = 0, int(tokens.sum())
    for batch in plan_batches(pieces, options.token_budget):
        for name, values in embedder.batch(batch).items():
            for at, block in blocks(options.names[name][0], batch, values, sequences, pieces):
                arrays[name][at : at + len(block)] = block
        done += int(tokens[batch].sum())
        if progress:
            progress(done, total)
    count = len(sequences.records)
    for name, (pool, _) in options.names.items():
        if pool != "tokens":
            arrays[name] = combine(pool, _reader(arrays[name]), pieces, 0, count)
    return [_result(number, sequences, arrays, options) for number in range(count)]


def _reader(array: Floats) -> Reader:
    return lambda first, last: array[first:last]


def _result(number: int, sequences: Sequences, arrays: Arrays, options: EmbedOptions) -> Result:
    rows = slice(sequences.starts[number], sequences.starts[number + 1])
    mine = {
        name: arrays[name][rows if pool == "tokens" else number]
        for name, (pool, _) in options.names.items()
    }
    return Result(sequences.record(number), arrays=mine)


def describe(model: str | os.PathLike[str] | Model) -> tuple[Config, Alphabet]:
    """Configuration and alphabet, without reading weights."""
    if isinstance(model, Model):
        return model.config, model.alphabet
    path = find_model(model)
    config = read_config(path)
    return config, alphabet_of(config, str(path))


def place(model: str | os.PathLike[str] | Model, options: EmbedOptions) -> torch.nn.Module:
    """Encoder on the device and in the dtype of the options; a loaded one is not changed."""
    import torch

    dtype, device = getattr(torch, options.dtype), torch.device(options.device)
    if not isinstance(model, Model):
        return load(model, device=device, dtype=dtype).encoder
    here = next(model.encoder.parameters())
    if here.dtype == dtype and here.device == device:
        return model.encoder
    return copy.deepcopy(model.encoder).to(device=device, dtype=dtype)


def plan(sequences: Sequences, options: EmbedOptions) -> Pieces:
    """Pieces of all sequences."""
    return plan_pieces(
        sequences,
        limit=options.max_length,
        long=options.long,
        window=options.window,
        overlap=options.overlap,
    )
