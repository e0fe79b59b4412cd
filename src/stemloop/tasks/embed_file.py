"""Embeddings of a whole file into a file, resumable, with memory bounded by one batch.

The arrays of the output, N records of lengths L_r, width d:

===============  ==============  ================================================================
name             shape           meaning
===============  ==============  ================================================================
``id``           (N,)            identifiers as they stand in the input; they may repeat
``length``       (N,) int64      nucleotides
``mean``         (N, d)          see `stemloop.tasks.embed`; ``mean.layer6`` and so on where
                                 several layers are asked for
``cls``          (N, d)
``tokens``       (sum of L, d)   record r is ``tokens[offset[r]:offset[r + 1]]``
``offset``       (N + 1,) int64  only with ``tokens``
===============  ==============  ================================================================

Records are in the order of the input and nothing is named after an identifier, so that no
identifier can collide, overwrite or point anywhere. ``.npz`` keeps ``id`` as text;
``.safetensors``, which has no text, as UTF-8 bytes ``id_utf8`` with ``id_offset``; ``.h5`` as
variable-length text; ``.parquet`` has one row a record, with ``tokens`` as a list of lists.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from stemloop import __version__
from stemloop.errors import OutputExistsError, UsageError
from stemloop.formats.stream import Source
from stemloop.records import SequenceRecord
from stemloop.tasks.base import Pieces, Sequences, gather, plan_batches
from stemloop.tasks.embed import Embedder, Reader, blocks, combine, describe, place, plan, row_count
from stemloop.tasks.embed_options import EmbedOptions, make_options
from stemloop.tasks.embed_writers import WRITERS, Column, check_extra
from stemloop.tasks.partial import PartialResults, open_partial
from stemloop.weights.store import WEIGHTS, find_model, sha256_file


def embed_file(
    source: Source | Iterable[SequenceRecord | str],
    output: str | os.PathLike[str],
    model: str | os.PathLike[str],
    *,
    resume: bool = False,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
    **choices: Any,
) -> None:
    """Embed sequences and write them to a file.

    Parameters
    ----------
    source
        See `stemloop.tasks.embed.embed`.
    output : path
        ``.npz``, ``.safetensors``, ``.h5`` (extra ``hdf5``) or ``.parquet``.
    model : str or path
        Model directory or name.
    resume : bool
        Go on with an interrupted run of the same input, model and options.
    force : bool
        Replace the output, and throw an interrupted run away unless `resume`.
    progress : callable, optional
        Called with (tokens done, tokens in all).
    report : callable, optional
        Called with a line of text about what is resumed.
    **choices
        Options of `stemloop.tasks.embed.embed`.

    Raises
    ------
    OutputExistsError
        The output exists; before anything is read.
    UsageError, InputError, WeightsError, OutputError, ExtraError
        As in `stemloop.tasks.embed.embed` and `stemloop.tasks.partial.open_partial`.
    """
    target = Path(output)
    check_suffix(target)
    if target.exists() and not force:
        raise OutputExistsError(f"{target} exists already; use --force to replace it")
    config, alphabet = describe(model)
    options = make_options(config, **choices)
    sequences = gather(source, alphabet)
    pieces = plan(sequences, options)
    batches = plan_batches(pieces, options.token_budget)
    shapes = {
        name: (row_count(pool, sequences, pieces), config.hidden)
        for name, (pool, _) in options.names.items()
    }
    marks = fingerprint(sequences, sha256_file(find_model(model) / WEIGHTS), options)
    tokens = pieces.stop - pieces.start + 2
    with open_partial(target, marks, shapes, len(batches), resume=resume, restart=force) as results:
        if report and results.done.any():
            report(f"resuming: {int(results.done.sum())} of {len(batches)} batches are done")
        done, total = 0, int(tokens.sum())
        embedder = None
        for number, batch in enumerate(batches):
            if not results.done[number]:
                # Loaded only when there is something left to compute.
                embedder = embedder or Embedder(place(model, options), options, sequences, pieces)
                rows = {
                    name: blocks(options.names[name][0], batch, values, sequences, pieces)
                    for name, values in embedder.batch(batch).items()
                }
                results.write(number, rows)
            done += int(tokens[batch].sum())
            if progress:
                progress(done, total)
        write_output(target, sequences, pieces, options, config.hidden, marks, results, force=force)


def check_suffix(target: Path) -> None:
    """Refuse an output in a format that is unknown, or whose package is missing.

    Raises
    ------
    UsageError, ExtraError
        It is so.
    """
    if target.suffix.lower() not in WRITERS:
        raise UsageError(f"{target}: the suffix must be one of {', '.join(WRITERS)}")
    check_extra(target.suffix.lower())


def write_output(
    target: Path,
    sequences: Sequences,
    pieces: Pieces,
    options: EmbedOptions,
    width: int,
    marks: Mapping[str, Any],
    results: PartialResults,
    *,
    force: bool,
) -> None:
    """Make the output file of results that are complete."""
    columns = {}
    for name, (pool, _) in options.names.items():
        read: Reader = partial(results.read, name)
        if pool != "tokens":
            read = partial(combine, pool, read, pieces)
        rows = int(sequences.starts[-1]) if pool == "tokens" else len(sequences.records)
        columns[name] = Column((rows, width), pool == "tokens", read)
    WRITERS[target.suffix.lower()](
        target, sequences, columns, json.dumps(marks, sort_keys=True),
        scratch=results.folder, force=force,
    )  # fmt: skip


def fingerprint(sequences: Sequences, model_sha256: str, options: EmbedOptions) -> dict[str, Any]:
    """Everything that decides the bytes of the output, as JSON values.

    Nothing in it changes from run to run, so that it can stand in the output too. Versions and
    threads are among it because matrix products may round differently with them.
    """
    return {
        "stemloop": __version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "records": len(sequences.records),
        "input_sha256": sequences.sha256(),
        "model_sha256": model_sha256,
        **json.loads(json.dumps(asdict(options))),
    }
