"""Options that the commands of RBMs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from stemloop.models.rbm_tables import HiddenMode

Model = Annotated[Path, typer.Argument(help="Model file, or the folder of a run.")]
Age = Annotated[
    int | None, typer.Option(help="Of a run: the checkpoint nearest to this many updates.")
]
Steps = Annotated[int, typer.Option(min=0, help="Gibbs steps.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the random numbers.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]
Threads = Annotated[int, typer.Option(min=1, help="Threads, on a CPU.")]
HiddenChain = Annotated[
    str | None,
    typer.Option(help="Chains pass on hidden units drawn (sample) or their means (mean)."),
]
Sequences = Annotated[
    str,
    typer.Option("-o", "--output", help=".fa, .sto, .tsv, .csv, .parquet or .npz; - is FASTA."),
]
Start = Annotated[str | None, typer.Option(help="Aligned sequence that chains start from.")]
Keep = Annotated[
    str | None, typer.Option(help="Sites (from 1) that keep their letter of --start: 1-10,25.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace the output.")]


def hidden_mode(text: str | None) -> HiddenMode | None:
    """The word, checked."""
    from stemloop.errors import UsageError

    if text not in (None, "sample", "mean"):
        raise UsageError(f"--hidden-chain {text!r}: write sample or mean")
    return cast("HiddenMode | None", text)


def sites_of(text: str | None) -> list[int]:
    """Sites from 0 of a list such as 1-10,25."""
    from stemloop.errors import UsageError

    sites: list[int] = []
    for part in (text or "").split(","):
        if not part.strip():
            continue
        first, dash, last = part.partition("-")
        try:
            low = int(first)
            sites += range(low - 1, int(last) if dash else low)
        except ValueError:
            raise UsageError(f"--keep {text!r}: write numbers and ranges, as 1-10,25") from None
    return sites
