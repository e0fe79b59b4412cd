"""From the parts of a bulk run to the output of a run in one piece, the same bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from stemloop.errors import OutputExistsError, UsageError
from stemloop.tasks.bulk_parts import Note, check_parts, in_order


def merge(paths: Sequence[Path], output: Path, *, force: bool = False) -> Note:
    """Check that parts are one whole run and write its output, whole or not at all.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        Parts, in any order.
    output : pathlib.Path
        Where the command without ``--shard`` would have written.
    force : bool
        Replace it where it exists.

    Returns
    -------
    Note
        What the parts say of themselves.

    Raises
    ------
    UsageError, FormatError
        See `stemloop.tasks.bulk_parts.check_parts`; or the output's suffix does not fit.
    OutputExistsError, OutputError
        The output exists already, or cannot be written.
    """
    if output.exists() and not force:
        raise OutputExistsError(f"{output} exists already; --force replaces it")
    note = check_parts(paths)
    if note.command == "embed":
        from stemloop.tasks.bulk_embed import assemble_embeddings

        assemble_embeddings(paths, note, output, force=force)
    elif note.command == "annotate":
        from stemloop.tasks.annotate import AnnotateOptions
        from stemloop.tasks.annotate_table import check_table, write_annotations

        check_table(output)
        options = AnnotateOptions(**note.facts["options"])
        rows = map(json.loads, in_order(paths, "text"))
        write_annotations(output, rows, options, force=force)
    else:
        from stemloop.tasks.structure_output import check_layout, open_output
        from stemloop.tasks.structure_settings import FoldSettings

        layout = note.facts["layout"]
        check_layout(output, layout)
        settings = FoldSettings(**note.facts["settings"])
        with open_output(output, layout, settings, force=force) as write:
            for text in in_order(paths, "text"):
                write(text)
    return note


def parts_of(arguments: Sequence[Path]) -> list[Path]:
    """Files, and what lies in folders: ``*.part``.

    Raises
    ------
    UsageError
        A folder has none.
    """
    found: list[Path] = []
    for path in arguments:
        if path.is_dir():
            inside = sorted(path.glob("*.part"))
            if not inside:
                raise UsageError(f"{path} has no files *.part")
            found += inside
        else:
            found.append(path)
    return found
