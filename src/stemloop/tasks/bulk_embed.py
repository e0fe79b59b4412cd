"""Bulk runs of ``embed``: blocks are whole batches of the plan that a run in one piece follows.

A vector is computed in the same batch as there, so it has the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stemloop.alphabet import RINALMO, Alphabet
from stemloop.errors import UsageError
from stemloop.models.presets import Config
from stemloop.records import SequenceRecord
from stemloop.tasks.base import TOKEN_BUDGET, Ints, Pieces, Sequences, gather, plan_batches
from stemloop.tasks.bulk import Compute, Plan, cut_blocks
from stemloop.tasks.bulk_parts import Note, read_tables
from stemloop.tasks.embed import Embedder, blocks, describe, place, plan
from stemloop.tasks.embed_file import check_suffix, fingerprint, write_output
from stemloop.tasks.embed_options import EmbedOptions, make_options
from stemloop.tasks.partial import open_partial
from stemloop.weights.store import WEIGHTS, alphabet_of, find_model, sha256_file

if TYPE_CHECKING:
    import pyarrow as pa

#: About the most tokens of a block, and bytes of its rows a nucleotide.
CAP, CAP_BYTES = 1_000_000, 1 << 28

#: What a part says of a piece, beside its vectors.
PLACE = ("unit", "piece", "record", "length", "keep_start", "keep_stop")


@dataclass(frozen=True, slots=True)
class EmbedJob:
    """Embed the pieces of a block; see `stemloop.tasks.bulk.Job`."""

    model: str
    config: Config
    options: EmbedOptions
    threads: int
    command: str = "embed"

    @property
    def device(self) -> str:
        """Where the encoder is."""
        return self.options.device

    def schema(self) -> pa.Schema:
        """A row a piece, with a column an array."""
        import pyarrow as pa

        vector = pa.list_(pa.float32(), self.config.hidden)
        arrays = [
            (name, pa.large_list(vector) if pool == "tokens" else vector)
            for name, (pool, _) in self.options.names.items()
        ]
        places = [(name, pa.int64()) for name in PLACE]
        return pa.schema([*places, ("id", pa.string()), *arrays])

    def start(self) -> Compute:
        """Load the encoder."""
        encoder = place(self.model, self.options)
        alphabet = alphabet_of(self.config, self.model)

        def compute(table: pa.Table) -> pa.Table:
            sequences, pieces = _unpack(table, alphabet)
            embedder = Embedder(encoder, self.options, sequences, pieces)
            cuts = np.flatnonzero(np.diff(table["batch"].to_numpy(), prepend=-1, append=-1))
            found: dict[str, list[Any]] = {name: [] for name in self.options.names}
            for first, last in zip(cuts[:-1], cuts[1:], strict=True):
                for name, values in embedder.batch(np.arange(first, last)).items():
                    found[name].append(values)
            return self._table(table, pieces, found)

        return compute

    def _table(self, table: pa.Table, pieces: Pieces, found: dict[str, list[Any]]) -> pa.Table:
        import pyarrow as pa

        kept = pieces.keep_stop - pieces.keep_start
        columns = [table[name].combine_chunks() for name in (*PLACE, "id")]
        for name, (pool, _) in self.options.names.items():
            rows = np.concatenate(found[name])
            lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
            if pool == "tokens":
                offsets = pa.array(np.concatenate(([0], np.cumsum(kept))))
                lists = pa.LargeListArray.from_arrays(offsets, lists)
            columns.append(lists)
        return pa.Table.from_arrays(columns, schema=self.schema())


def _unpack(table: pa.Table, alphabet: Alphabet) -> tuple[Sequences, Pieces]:
    """Pieces of a block as sequences of their own."""
    codes = [np.frombuffer(text, np.uint8) for text in table["codes"].to_pylist()]
    lengths = np.array([len(text) for text in codes], np.int64)
    starts = np.concatenate(([0], np.cumsum(lengths)))
    records = [SequenceRecord(name, "") for name in table["id"].to_pylist()]
    begin = table["start"].to_numpy()
    pieces = Pieces(
        np.arange(len(codes)),
        np.zeros_like(lengths),
        lengths,
        table["keep_start"].to_numpy() - begin,
        table["keep_stop"].to_numpy() - begin,
    )
    return Sequences(records, np.concatenate(codes), starts, alphabet), pieces


def plan_embed(
    source: str | Path, model: str, *, threads: int, elsewhere: bool = False, **choices: Any
) -> Plan:
    """Plan a bulk run of ``embed``.

    Parameters
    ----------
    source : str or path
        What `stemloop.formats.fasta.read_sequences` reads; not standard input.
    model : str
        Model directory or name.
    threads : int
        CPU threads of every worker.
    elsewhere : bool
        Other machines compute: they may have a GPU where this one has none.
    **choices
        Options of `stemloop.tasks.embed.embed`.

    Raises
    ------
    UsageError, InputError, WeightsError
        As in `stemloop.tasks.embed.embed`, or for standard input.
    """
    if str(source) == "-":
        raise UsageError("standard input cannot be read by several processes: give a file")
    config, alphabet = describe(model)
    device = choices.get("device", "auto")
    if elsewhere and device.startswith("cuda"):
        budget = choices.get("token_budget") or TOKEN_BUDGET["cuda"]
        options = make_options(config, **choices | {"device": "cpu", "token_budget": budget})
        options = replace(options, device=device)
    else:
        options = make_options(config, **choices)
    sequences = gather(source, alphabet)
    pieces = plan(sequences, options)
    batches = plan_batches(pieces, options.token_budget)
    marks = fingerprint(sequences, sha256_file(find_model(model) / WEIGHTS), options)
    marks["threads"] = threads
    tokens = pieces.stop - pieces.start + 2
    rows = sum(pool == "tokens" for pool, _ in options.names.values()) * config.hidden * 4
    costs = np.array([tokens[batch].sum() for batch in batches], np.int64)
    batch_cuts = cut_blocks(costs, min(CAP, CAP_BYTES // max(rows, 1)))
    ends = np.concatenate(([0], np.cumsum([len(batch) for batch in batches])))
    cuts = [int(ends[k]) for k in batch_cuts]

    def some(wanted: Callable[[int], bool]) -> Iterator[tuple[int, pa.Table]]:
        for block, (first, last) in enumerate(zip(batch_cuts[:-1], batch_cuts[1:], strict=True)):
            if wanted(block):
                yield block, _block(sequences, pieces, batches[first:last], first, cuts[block])

    return Plan(EmbedJob(str(model), config, options, threads), marks, cuts, some)


def _block(
    sequences: Sequences, pieces: Pieces, batches: Sequence[Ints], first: int, unit: int
) -> pa.Table:
    import pyarrow as pa

    numbers = np.concatenate(batches)
    record = pieces.record[numbers]
    begin = sequences.starts[record] + pieces.start[numbers]
    end = sequences.starts[record] + pieces.stop[numbers]
    return pa.table(
        {
            "unit": np.arange(unit, unit + len(numbers)),
            "batch": np.repeat(np.arange(first, first + len(batches)), [len(b) for b in batches]),
            "piece": numbers,
            "record": record,
            "length": sequences.lengths[record],
            "start": pieces.start[numbers],
            "keep_start": pieces.keep_start[numbers],
            "keep_stop": pieces.keep_stop[numbers],
            "id": [sequences.records[r].id for r in record],
            "codes": [sequences.codes[a:b].tobytes() for a, b in zip(begin, end, strict=True)],
        }
    )


def assemble_embeddings(paths: Sequence[Path], note: Note, output: Path, *, force: bool) -> None:
    """Put the vectors of parts in their places and write the file that one run writes.

    Raises
    ------
    UsageError, ExtraError
        The output's suffix is that of no format, or of one whose package is missing.
    """
    check_suffix(output)
    facts = dict(note.facts)
    fields = EmbedOptions.__dataclass_fields__
    options = EmbedOptions(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in facts.items() if k in fields}
    )
    places = np.empty((note.units, len(PLACE)), np.int64)
    names = [""] * facts["records"]
    for path in paths:
        for table in read_tables(path, [*PLACE, "id"]):
            rows = np.stack([table[name].to_numpy() for name in PLACE], axis=1)
            places[rows[:, 1]] = rows
            for number, name in zip(rows[:, 2].tolist(), table["id"].to_pylist(), strict=True):
                names[number] = name
    _, _, record, length, keep_start, keep_stop = np.ascontiguousarray(places.T)
    pieces = Pieces(record, keep_start, keep_stop, keep_start, keep_stop)
    lengths = np.empty(len(names), np.int64)
    lengths[record] = length
    starts = np.concatenate(([0], np.cumsum(lengths)))
    records = [SequenceRecord(name, "", index=number) for number, name in enumerate(names)]
    # Nobody asks for the letters any more: an alphabet is only for the form.
    sequences = Sequences(records, np.empty(0, np.uint8), starts, RINALMO)
    width = _width(paths[0], next(iter(options.names)))
    total = {"tokens": int(starts[-1])}
    shapes = {
        name: (total.get(pool, note.units), width) for name, (pool, _) in options.names.items()
    }
    with open_partial(output, facts, shapes, len(paths), resume=False, restart=True) as results:
        for number, path in enumerate(paths):
            for table in read_tables(path):
                numbers = table["piece"].to_numpy()
                results.write(
                    number,
                    {
                        name: blocks(pool, numbers, _values(table[name]), sequences, pieces)
                        for name, (pool, _) in options.names.items()
                    },
                )
        write_output(output, sequences, pieces, options, width, facts, results, force=force)


def _width(path: Path, name: str) -> int:
    """Length of the vectors."""
    import pyarrow.parquet as pq

    kind = pq.read_schema(path).field(name).type
    return int((kind if hasattr(kind, "list_size") else kind.value_type).list_size)


def _values(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """Vectors of a column, shape (rows, width)."""
    rows = column.combine_chunks()
    if not hasattr(rows.type, "list_size"):
        rows = rows.flatten()
    values = rows.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values, np.float32).reshape(-1, rows.type.list_size)
