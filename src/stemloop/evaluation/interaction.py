"""Examination of a run of ``stemloop finetune interaction``, beside energies and what words tell.

Sets of microRNA targets can often be told apart without looking at any interaction. So each
comparison comes with three controls, gradient boosting on the words of three nucleotides of the
first strand alone, of the second alone, and of both, trained on the run's own training pairs. A
control near one half means that only what both strands are to each other can tell the pairs apart.

``area``: area under the curve of true pairs against decoys. ``within``: the same inside each first
strand, averaged over first strands, each counting by its true pairs. Intervals are percentiles over
resampled families of first strands.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stemloop.data.interactions import Pair
from stemloop.data.mirna_sites import family
from stemloop.errors import UsageError
from stemloop.evaluation.interaction_baselines import controls, energies
from stemloop.evaluation.markdown import value_cell
from stemloop.training.interaction import logits
from stemloop.training.interaction_data import (
    MATCHED,
    RANDOM,
    TABLE,
    TRUE,
    Example,
    area_under_curve,
    divide,
    make_examples,
    read_pairs,
)
from stemloop.training.interaction_features import PairInput
from stemloop.training.interaction_recipe import InteractionRecipe
from stemloop.weights.interaction_store import load_interaction

SCHEMA, SCHEMA_VERSION = "stemloop.interaction-scores", 1

#: Resampled sets of families that intervals come from.
RESAMPLES = 500

Floats = npt.NDArray[np.float64]
Report = Callable[[str], None]


def within(firsts: Sequence[str], true: npt.NDArray[np.bool_], scores: Floats) -> float:
    """Area under the curve inside each first strand, averaged; nan where none has both kinds."""
    rows: dict[str, list[int]] = defaultdict(list)
    for k, first in enumerate(firsts):
        rows[first].append(k)
    total = weight = 0.0
    for mine in rows.values():
        yes = true[mine]
        if yes.any() and not yes.all():
            total += float(yes.sum()) * area_under_curve(yes, scores[mine])
            weight += float(yes.sum())
    return total / weight if weight else float("nan")


def compare(
    pairs: Sequence[Pair],
    true: npt.NDArray[np.bool_],
    methods: dict[str, Floats],
    *,
    subject: str = "model",
    seed: int = 0,
) -> dict[str, Any]:
    """Areas of all methods on the same pairs, with intervals.

    Returns
    -------
    dict
        ``pairs``, ``true``, ``families``, ``methods`` (of each ``area`` and ``within``, with
        value, low and high), and ``differences``: area of the subject minus that of each other.
    """
    firsts = [pair.first for pair in pairs]
    groups: dict[str, list[int]] = defaultdict(list)
    for k, pair in enumerate(pairs):
        groups[family(pair.first)].append(k)
    rows = [np.array(mine) for mine in groups.values()]
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([rows[k] for k in rng.integers(0, len(rows), len(rows))])
        if true[drawn].any() and not true[drawn].all():
            draws.append(drawn)
    areas = {name: [area_under_curve(true[d], s[d]) for d in draws] for name, s in methods.items()}
    # The mean within first strands needs only their own areas: resample those.
    inside = {name: _within_draws(groups, firsts, true, s, rng) for name, s in methods.items()}
    result: dict[str, Any] = {
        "pairs": len(pairs), "true": int(true.sum()), "families": len(rows), "methods": {}
    }  # fmt: skip
    for name, scores in methods.items():
        result["methods"][name] = {
            "area": _interval(area_under_curve(true, scores), areas[name]),
            "within": _interval(within(firsts, true, scores), inside[name]),
        }
    if subject in methods:
        mine = area_under_curve(true, methods[subject])
        result["differences"] = {
            name: _interval(
                mine - area_under_curve(true, scores),
                np.array(areas[subject]) - np.array(areas[name]),
            )
            for name, scores in methods.items()
            if name != subject
        }
    return result


def _within_draws(
    groups: dict[str, list[int]],
    firsts: Sequence[str],
    true: npt.NDArray[np.bool_],
    scores: Floats,
    rng: np.random.Generator,
) -> Floats:
    """Resampled means of the areas within first strands."""
    sums = []
    for mine in groups.values():
        rows = np.array(mine)
        mean = within([firsts[k] for k in mine], true[rows], scores[rows])
        if np.isnan(mean):
            continue
        # Only first strands with both kinds count.
        both: dict[str, list[bool]] = defaultdict(list)
        for k in mine:
            both[firsts[k]].append(bool(true[k]))
        weight = sum(sum(yes) for yes in both.values() if any(yes) and not all(yes))
        sums.append((mean * weight, weight))
    if not sums:
        return np.empty(0)
    table = np.array(sums)
    drawn = rng.integers(0, len(table), (RESAMPLES, len(table)))
    total = table[drawn].sum(axis=1)
    return np.asarray(total[:, 0] / total[:, 1])


def _interval(value: float, drawn: npt.ArrayLike) -> dict[str, float | None]:
    values = np.asarray(drawn, np.float64)
    if not len(values) or np.isnan(value):
        return {"value": None, "low": None, "high": None}
    low, high = np.quantile(values, [0.025, 0.975])
    return {k: round(float(v), 4) for k, v in (("value", value), ("low", low), ("high", high))}


def examine_run(
    run: str | Path,
    folder: str | Path,
    *,
    published: bool = True,
    seed: int = 0,
    report: Report | None = None,
) -> dict[str, Any]:
    """Score a finished run on its test pairs.

    Parameters
    ----------
    run : path
        Folder of the run.
    folder : path
        Folder of its table.
    published : bool
        Also judge by the table's own labels: a random split (fitted methods and energies only: the
        network has seen most of its true pairs) and the run's split by families, on whose test
        pairs the network is scored as it is, whatever decoys it has learned from.
    seed : int
        Of bootstrap, boosting and random split.
    report : callable, optional
        Called with a line as each step begins.

    Returns
    -------
    dict
        JSON values; ``protocols`` has an entry each (see `compare`).

    Raises
    ------
    UsageError
        The run is not finished, or the data are not those that it was trained with.
    """
    say: Report = report or (lambda line: None)
    run, began = Path(run), time.monotonic()
    try:
        facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        recipe = InteractionRecipe.model_validate(facts["recipe"])
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{run} is no finished run of 'stemloop finetune interaction'") from error
    pairs, digest = read_pairs(recipe, Path(folder))
    if digest != facts["data"]:
        raise UsageError(f"the data in {folder} are not those that {run} was trained with")
    model = load_interaction(run / "model")
    say(f"{len(pairs)} pairs: decoys and duplexes")
    examples = make_examples(pairs, recipe)
    test = [x for x in examples if x.part == "test"]
    known = [x for x in examples if x.part != "test"]
    say(f"{len(test)} test pairs: energies")
    scores = energies([x.input for x in test]) | {"model": logits(model, [x.input for x in test])}
    protocols: dict[str, Any] = {}
    for kind in (MATCHED, RANDOM, TABLE):
        rows = [k for k, x in enumerate(test) if x.kind in (TRUE, kind)]
        if len({test[k].kind for k in rows}) < 2:
            continue
        say(f"{kind} decoys: controls")
        train = [x for x in known if x.kind in (TRUE, kind)]
        fitted = controls([x.input for x in train], [x.target for x in train],
                          [test[k].input for k in rows], seed=seed)  # fmt: skip
        mine = {name: values[rows] for name, values in scores.items()} | fitted
        protocols[f"{kind} decoys"] = _strata([test[k] for k in rows], mine, seed)
    if published:
        protocols |= _published(pairs, recipe, model, say, seed)
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "command": "stemloop evaluate interaction" + ("" if published else " --no-published"),
        "recipe": facts["recipe"],
        "data_sha256": digest,
        "training": metrics,
        "bootstrap": {"seed": seed, "resamples": RESAMPLES, "confidence": 0.95, "unit": "family"},
        "protocols": protocols,
        "seconds": round(time.monotonic() - began, 1),
        "versions": {name: version(name) for name in ("stemloop", "torch", "ViennaRNA",
                                                      "scikit-learn")},
    }  # fmt: skip


def _strata(items: Sequence[Example], methods: dict[str, Floats], seed: int) -> dict[str, Any]:
    """All pairs, those with a seed match, and those without."""
    true = np.array([x.kind == TRUE for x in items])
    seeded = np.array([x.input.seed != "none" for x in items])
    result: dict[str, Any] = {}
    for name, rows in (
        ("all", np.arange(len(items))),
        ("with seed match", np.flatnonzero(seeded)),
        ("without", np.flatnonzero(~seeded)),
    ):
        if len(set(true[rows].tolist())) == 2:
            some = [items[k].input.pair for k in rows]
            mine = {key: values[rows] for key, values in methods.items()}
            result[name] = compare(some, true[rows], mine, seed=seed)
    return result


def _published(
    pairs: Sequence[Pair], recipe: InteractionRecipe, model: Any, say: Report, seed: int
) -> dict[str, Any]:
    """The table's own labels: random split, and the run's split by families."""
    say("the table's own labels: duplexes and energies")
    items = [PairInput.of(pair) for pair in pairs]
    labels = np.array([bool(pair.label) for pair in pairs])
    if labels.all():
        return {}
    part = divide(pairs, recipe)
    rng = np.random.default_rng((seed, 1 << 22))
    in_test = np.zeros(len(pairs), bool)
    in_test[rng.permutation(len(pairs))[: len(pairs) // 5]] = True
    of_family = np.array([part[family(pair.first)] == "test" for pair in pairs])
    found = {}
    for name, chosen in (("table, random split", in_test), ("table, families apart", of_family)):
        say(f"{name}: controls")
        train, test = np.flatnonzero(~chosen), np.flatnonzero(chosen)
        some = [items[k] for k in test]
        methods = {"duplex energy": np.array([-item.duplex.energy for item in some])}
        if chosen is of_family:
            methods["model"] = logits(model, some)
        methods |= controls([items[k] for k in train], labels[train], some, seed=seed)
        found[name] = {"all": compare([pairs[k] for k in test], labels[test], methods, seed=seed)}
    return found


def to_markdown(result: dict[str, Any]) -> str:
    """Tables of a result of `examine_run`."""
    lines = [f"# {result['recipe']['name']}"]
    for protocol, strata in result["protocols"].items():
        for stratum, found in strata.items():
            lines += [
                "",
                f"{protocol}, {stratum}: {found['true']} true of {found['pairs']} pairs, "
                f"{found['families']} families",
                "",
                "| method | area under the curve | within first strands |",
                "|---|---|---|",
            ]
            for name, scores in found["methods"].items():
                lines.append(
                    f"| {name} | {value_cell(scores['area'])} | {value_cell(scores['within'])} |"
                )
            for name in ("duplex energy", "seed and duplex"):
                if name in found.get("differences", {}):
                    lines += ["", f"model minus {name}: {value_cell(found['differences'][name])}"]
    return "\n".join([*lines, ""])
