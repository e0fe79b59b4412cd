"""``stemloop evaluate lm``: what a language model knows."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Part(StrEnum):
    """Parts of the examination of a language model."""

    nucleotides = "nucleotides"
    types = "types"
    pairs = "pairs"
    embeddings = "embeddings"


class Prompt(StrEnum):
    """What follows a sequence whose hidden nucleotides are guessed."""

    none = "none"
    mask = "mask"


class Turns(StrEnum):
    """What takes turns in the sample of held-out clusters."""

    type = "type"
    cluster = "cluster"


def language_model(
    models: Annotated[
        list[str], typer.Argument(help="Model folders or names; the first is compared with all.")
    ],
    corpus: Annotated[Path, typer.Option(help="Folder of the corpus (its held-out parts count).")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of the structure data, for base pairs.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Report to write: .json or .md.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Folder for t-SNE pictures (needs matplotlib).")
    ] = None,
    part: Annotated[list[Part] | None, typer.Option(help="Only these parts.")] = None,
    prompt: Annotated[
        Prompt, typer.Option(help="'mask': show '[IND] <mask>' after sequences.")
    ] = Prompt.none,
    rnas: Annotated[int, typer.Option(min=10, help="RNAs of each held-out part.")] = 1500,
    turns: Annotated[
        Turns, typer.Option(help="Held-out clusters: types take turns, or as in the corpus.")
    ] = Turns.type,
    single_rnas: Annotated[int, typer.Option(min=1, help="RNAs for the pseudo-perplexity.")] = 100,
    single_positions: Annotated[int, typer.Option(min=1, help="Positions of each of them.")] = 24,
    window: Annotated[int, typer.Option(min=10, help="Crop longer RNAs to this.")] = 510,
    baseline_tokens: Annotated[
        int, typer.Option(min=1000, help="Nucleotides that the ten-neighbour network sees.")
    ] = 3_000_000,
    type_rnas: Annotated[int, typer.Option(min=10, help="RNAs that words are fitted on.")] = 5000,
    pair_rnas: Annotated[int, typer.Option(min=1, help="RNAs with structures to test on.")] = 150,
    pair_longest: Annotated[int, typer.Option(min=20, help="Longest of them.")] = 200,
    family_rnas: Annotated[int, typer.Option(min=6, help="RNAs whose embeddings compare.")] = 600,
    seed: Annotated[int, typer.Option(min=0, help="Of draws, masks and bootstraps.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    force: Annotated[bool, typer.Option(help="Replace output that exists.")] = False,
) -> None:
    """What a language model knows: nucleotides, RNA types, base pairs, families."""
    from stemloop.errors import OutputExistsError
    from stemloop.evaluation.lm import report as reports
    from stemloop.evaluation.lm.model import LanguageModel, tell_apart
    from stemloop.evaluation.lm.run import RFAM_FILE, examine
    from stemloop.evaluation.lm.settings import Settings

    if output is not None and output.is_file() and not force:
        raise OutputExistsError(f"{output} exists already; --force replaces it")
    began = time.monotonic()

    def show(line: str) -> None:
        typer.echo(f"{time.monotonic() - began:6.0f} s  {line}", err=True)

    settings = Settings(
        rnas=rnas,
        turns=turns.value,
        window=window,
        single_rnas=single_rnas,
        single_positions=single_positions,
        baseline_tokens=baseline_tokens,
        type_rnas=type_rnas,
        pair_rnas=pair_rnas,
        pair_longest=pair_longest,
        family_rnas=family_rnas,
        seed=seed,
    )
    result = examine(
        [
            LanguageModel.load(m, name=name, device=device, prompt=prompt is Prompt.mask)
            for m, name in zip(models, tell_apart(models), strict=True)
        ],
        corpus,
        structures=data / RFAM_FILE if data is not None else None,
        parts=[p.value for p in part or Part],
        settings=settings,
        pictures=plots,
        force=force,
        report=show,
    )
    typer.echo(reports.to_markdown(result))
    if output is not None:
        reports.write_report(output, result, force=force)
