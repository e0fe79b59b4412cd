"""Leaderboards: protocols times models from one recipe, as JSON, Markdown and an HTML page.

Each line of a table is scored anew on the table's test records, with intervals: models that a
recipe trains, fixed models, the plain methods that belong to a task, and peers whose scores of
single RNAs are at hand. Published figures stand below them, with their source and with what makes
them not comparable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from stemloop.errors import UsageError
from stemloop.evaluation import labels
from stemloop.evaluation.benchmark import evaluate_splits, prepare
from stemloop.evaluation.leaderboard_page import to_html, to_markdown
from stemloop.evaluation.leaderboard_recipe import Board, Entry, Table
from stemloop.evaluation.report import summarise
from stemloop.evaluation.scores import ScoreTable, read_scores
from stemloop.formats.stream import atomic_output
from stemloop.models.build import new_encoder
from stemloop.tasks.structure_settings import FoldSettings
from stemloop.training.recipe_base import read_recipe, revise
from stemloop.training.recipes import load_recipe
from stemloop.training.sequence import SequenceTrainer
from stemloop.training.sequence_recipe import SequenceRecipe, hold_out
from stemloop.weights.sequence_head import LETTERS, load_base
from stemloop.weights.store import save_model_dir

SCHEMA, SCHEMA_VERSION = "stemloop.leaderboard", 1

Say = Callable[[str], None]
#: Wraps an iteration over so many things, to show how far it is.
Counted = Callable[[Iterable[Any], int], Iterable[Any]]


def run_board(
    board: Board,
    recipes: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    only: Iterable[str] | None = None,
    jobs: int = 1,
    report: Say | None = None,
    counted: Counted | None = None,
) -> dict[str, Any]:
    """Run what is missing of a leaderboard, and write it.

    Parameters
    ----------
    board : Board
        What is compared.
    recipes : path
        Folder that the recipes' names are relative to.
    data : path
        Folder that the tables' ``data`` and ``peers`` are relative to.
    output : path
        Folder for ``leaderboard.json``, ``.md`` and ``.html``, the whole report of each entry in
        ``reports`` and trainings in ``runs``. An entry that was finished by an earlier call with
        the same settings is not run again.
    only : iterable of str, optional
        Names of the tables to run; all unless given.
    jobs : int
        Processes for folding.
    report : callable, optional
        Called with a line as each step begins.
    counted : callable, optional
        Shows progress through the RNAs of a prediction.

    Returns
    -------
    dict
        What ``leaderboard.json`` holds.

    Raises
    ------
    UsageError
        A table that is asked for is not there.
    """
    output, say = Path(output), report or (lambda line: None)
    wanted = set(only or [table.name for table in board.tables])
    if missing := wanted - {table.name for table in board.tables}:
        raise UsageError(f"no table {sorted(missing)[0]!r} in {board.name}")
    found: list[dict[str, Any]] = []
    for table in board.tables:
        if table.name not in wanted:
            continue
        rows: list[dict[str, Any]] = []
        for entry in table.entries:
            say(f"{table.name}: {entry.name}")
            whole = _finished(table, entry, recipes, output)
            if whole is None:
                whole = _run(table, entry, Path(recipes), Path(data), output, jobs, say, counted)
                _keep(table, entry, recipes, output, whole)
            rows += _rows(table, entry, whole, known={row["name"] for row in rows})
        rows += [
            {"name": x.name, "kind": "published", "scores": {k: {"value": v} for k, v in
             x.scores.items()}, "source": x.source, "differs": x.differs}
            for x in table.published
        ]  # fmt: skip
        found.append({"name": table.name, "scores": table.scores, "rows": rows})
    result = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "name": board.name,
        "tables": found,
        "versions": {name: version(name) for name in ("stemloop", "torch", "ViennaRNA")},
    }
    output.mkdir(parents=True, exist_ok=True)
    texts = {
        "leaderboard.json": json.dumps(result, indent=2, ensure_ascii=False) + "\n",
        "leaderboard.md": to_markdown(result),
        "leaderboard.html": to_html(result),
    }
    for name, text in texts.items():
        with atomic_output(output / name, force=True) as out:
            out.write(text)
    return result


def _slug(table: Table, name: str) -> str:
    text = f"{table.name} {name}".lower()
    short = "-".join("".join(c if c.isalnum() else " " for c in text).split())
    # Two names may differ in what the file name leaves out.
    return f"{short[:80]}-{hashlib.sha256(f'{table.name}|{name}'.encode()).hexdigest()[:6]}"


def _asked(table: Table, entry: Entry, recipes: str | Path) -> dict[str, Any]:
    """All that the numbers of an entry depend on, but for the data."""
    asked: dict[str, Any] = table.model_dump(exclude={"entries", "published", "scores"})
    asked["entry"] = entry.model_dump()
    if entry.recipe is not None:
        asked["recipe"] = (Path(recipes) / entry.recipe).read_text(encoding="utf-8")
    return asked


def _finished(
    table: Table, entry: Entry, recipes: str | Path, output: Path
) -> dict[str, Any] | None:
    path = output / "reports" / f"{_slug(table, entry.name)}.json"
    if not path.is_file():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    same = kept["asked"] == _asked(table, entry, recipes) and kept["stemloop"] == version(
        "stemloop"
    )
    return dict(kept["report"]) if same else None


def _keep(
    table: Table, entry: Entry, recipes: str | Path, output: Path, whole: dict[str, Any]
) -> None:
    path = output / "reports" / f"{_slug(table, entry.name)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"asked": _asked(table, entry, recipes), "stemloop": version("stemloop")}
    with atomic_output(path, force=True) as out:
        out.write(json.dumps(content | {"report": whole}, indent=1, ensure_ascii=False) + "\n")


def _run(
    table: Table,
    entry: Entry,
    recipes: Path,
    data: Path,
    output: Path,
    jobs: int,
    say: Say,
    counted: Counted | None,
) -> dict[str, Any]:
    """The whole report of an entry."""
    folder = data / table.data
    runs = output / "runs" / _slug(table, entry.name)
    if table.kind == "sequence":
        start = next((output / "runs" / _slug(table, other.name) / "model"
                      for other in table.entries if other.name == entry.start), None)  # fmt: skip
        return _run_sequence(entry, recipes, folder, runs, say, start)
    assert table.protocol is not None
    if entry.recipe is not None:
        # Lines that differ in how they fold share their trainings.
        runs = output / "runs" / _slug(table, f"trained by {entry.recipe}, seed {entry.seed}")
    recipe = load_recipe(recipes / entry.recipe) if entry.recipe is not None else None
    if recipe is not None and entry.seed is not None:
        recipe = recipe.model_copy(update={"seed": entry.seed})
    if entry.peer is not None:
        splits, _, facts = prepare(
            table.protocol, folder, names=table.split, sample=table.sample, jobs=jobs
        )
        # Only the RNAs that the table tests, in case it tests a part.
        tested = {item.structure.record.id for split in splits for item in split.test}
        assert table.peers is not None
        scores = read_scores(data / table.peers, model=entry.peer)
        scores = ScoreTable([row for row in scores.rows if row.id in tested])
        return summarise(scores) | facts
    splits, models, facts = prepare(
        table.protocol,
        folder,
        recipe=recipe,
        runs=runs if recipe is not None else None,
        names=table.split,
        sample=table.sample,
        homologs=entry.homologs,
        jobs=jobs,
        report=lambda name, state: (
            say(f"{name}: epoch {state.epoch}, soft F {state.soft_f:.4f}")
            if state.step == state.steps
            else None
        ),
    )
    settings = FoldSettings(model=entry.model or "fold-crf", decoder=entry.decoder)
    scores = evaluate_splits(splits, models, settings, processes=jobs, progress=counted)
    return summarise(scores) | facts | {"decoder": entry.decoder}


def _run_sequence(
    entry: Entry, recipes: Path, folder: Path, run: Path, say: Say, start: Path | None
) -> dict[str, Any]:
    assert entry.recipe is not None
    changes = {"seed": entry.seed, "encoder": entry.encoder, "start": start and str(start)}
    recipe = revise(
        read_recipe(recipes / entry.recipe, SequenceRecipe),
        {key: value for key, value in changes.items() if value is not None},
    )
    if entry.hold_out is not None:
        recipe = hold_out(recipe, entry.hold_out)
    base: str | Path = LETTERS if recipe.encoder == "none" else entry.model or "stemloop-pico"
    if entry.untrained:
        base = _untrained(base, run.with_name(f"{run.name}-encoder"), recipe.seed)
    trainer = SequenceTrainer(recipe, load_base(base), folder, run)
    trainer.prepare()
    trainer.run(
        lambda state: (
            say(f"{entry.name}: epoch {state.epoch}, {state.metric} {state.score:.4f}")
            if state.score is not None
            else None
        )
    )
    return labels.examine_run(run, folder, report=say)


def _untrained(name: str | Path, folder: Path, seed: int) -> Path:
    """A model directory like that of an encoder, with random weights."""
    torch.manual_seed(seed)
    config = load_base(name).config
    return save_model_dir(folder, config, new_encoder(config).state_dict(), force=True)


def _rows(
    table: Table, entry: Entry, whole: dict[str, Any], known: set[str]
) -> list[dict[str, Any]]:
    """Lines of the table: the entry and, the first time, the plain methods beside it."""
    if table.kind == "structure":
        scores = {
            name: {"value": x["mean"], "low": x["low"], "high": x["high"]}
            for name, x in whole["macro"].items()
        }
        kind = "peer" if entry.peer is not None else "trained here" if entry.recipe else "fixed"
        return [{"name": entry.name, "kind": kind, "records": whole["rnas"], "scores": scores}]
    records = whole["leakage"]["test"]["records"]
    rows = []
    for method, scores in whole["methods"].items():
        name = entry.name if method == "model" else method
        if name not in known:
            kind = "trained here" if method == "model" else "baseline"
            rows.append({"name": name, "kind": kind, "records": records, "scores": scores})
    return rows
