"""Examination of a finished run of ``stemloop finetune sequence``: scores on its test records, with
intervals, beside plain methods that were trained on the same records.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stemloop.errors import InputError, UsageError
from stemloop.evaluation.label_baselines import Predict
from stemloop.evaluation.label_baselines import baselines as plain_methods
from stemloop.evaluation.label_metrics import (
    class_scores,
    confusion,
    each_class,
    number_scores,
    with_intervals,
)
from stemloop.evaluation.markdown import value_cell
from stemloop.formats.stream import open_text
from stemloop.records import SequenceRecord
from stemloop.tasks.labels import RANDOM, SITES, Labeller, site_probabilities
from stemloop.training.sequence_data import Labelled, further_records, read_data
from stemloop.training.sequence_recipe import SequenceRecipe

SCHEMA, SCHEMA_VERSION = "stemloop.label-scores", 1

Scores = dict[str, dict[str, float]]

#: Records of a site and a decoy that words are fitted to at most: by far the slowest method.
WORDS_FROM = 10_000

#: Probabilities from which on a window is called a site.
THRESHOLDS = (0.5, 0.9, 0.99)


def examine_run(
    run: str | Path,
    folder: str | Path,
    *,
    baselines: bool = True,
    decoys: bool = False,
    further: SequenceRecipe | None = None,
    seed: int = 0,
    resamples: int = 1000,
    report: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Score the model of a run on its test records.

    Parameters
    ----------
    run : path
        Folder of a finished run.
    folder : path
        Folder of its data files.
    baselines : bool
        Fit and score plain methods too, on the run's training and validation records.
    decoys : bool
        For labels such as ``fly donor`` and ``fly donor n2``: also decide between each true class
        and each of its decoys, on the test records of these two, by which is the more probable;
        the baselines are fitted to the two classes alone, words to `WORDS_FROM` records at most.
    further : SequenceRecipe, optional
        Score the further records of this recipe, not those of the run's own.
    seed, resamples : int
        Of the percentile bootstrap over test records.
    report : callable, optional
        Called with a line as each step begins.

    Returns
    -------
    dict
        JSON values: what was scored, ``methods`` with value, low and high of each score,
        ``unlike`` the same for the test records that resemble no training record, ``further`` for
        the recipe's further records without those of training and validation (and ``whole``, with
        them), ``classes`` (of the model), ``decoys``, ``called`` (see `called_sites`).

    Raises
    ------
    UsageError
        The run is not finished, or the data are not those that it was trained with.
    InputError
        There are no test records.
    """
    say = report or (lambda line: None)
    run = Path(run)
    try:
        facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
        leakage = json.loads((run / "leakage.json").read_text(encoding="utf-8"))
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        recipe = SequenceRecipe.model_validate(facts["recipe"])
        with open_text(run / "split.tsv") as lines:
            split = [row for row in csv.DictReader(lines, delimiter="\t") if row["part"] == "test"]
        unlike = [k for k, row in enumerate(split) if not row["in_training"]]
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{run} is no finished run of 'stemloop finetune sequence'") from error
    data = read_data(recipe, Path(folder))
    if data.digest != facts["data"]:
        raise UsageError(f"the data in {folder} are not those that {run} was trained with")
    if not data.test:
        raise InputError("the run has no test records")
    labeller = Labeller.load(run / "model")
    say(f"{len(data.test)} test records by the model")
    outputs = labeller.outputs(
        SequenceRecord(x.id, x.sequence, index=k) for k, x in enumerate(data.test)
    )
    known = [*data.train, *data.validation]
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "recipe": facts["recipe"],
        "encoder_sha256": facts["encoder"],
        "data_sha256": facts["data"],
        "leakage": leakage,
        "training": metrics,
        "bootstrap": {"seed": seed, "resamples": resamples, "confidence": 0.95},
        "baselines_trained_on": len(known),
        "versions": {name: version(name) for name in ("stemloop", "torch", "scikit-learn")},
    }
    kwargs = {"seed": seed, "resamples": resamples}
    trained = {x.sequence for x in known}
    names = np.array(data.labels)

    def meant(rows: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        return names[rows.argmax(axis=1)] if recipe.task == "classify" else rows[:, 0]

    predictions = {"model": meant(outputs)}
    fitted: dict[str, Predict] = {"model": lambda texts: meant(labeller.read(texts))}
    if recipe.task == "classify":
        place = {label: k for k, label in enumerate(data.labels)}
        counts = confusion(
            [place[str(x.label)] for x in data.test], outputs.argmax(axis=1), len(names)
        )
        result["classes"] = dict(zip(data.labels, each_class(counts), strict=True))
        result["confusion"] = counts.tolist()
    if baselines:
        sequences, labels = [x.sequence for x in known], [x.label for x in known]
        for name, fit in plain_methods(recipe.task, sequences, seed=recipe.seed).items():
            say(f"baseline: {name}")
            fitted[name] = fit(labels)
            predictions[name] = fitted[name]([x.sequence for x in data.test])
    result["methods"] = {
        name: score(data.test, found, **kwargs) for name, found in predictions.items()
    }
    for name, tables in (further or recipe).further.items():
        say(f"further records: {name}")
        items = further_records(recipe, tables, Path(folder), data.labels)
        new = np.flatnonzero([x.sequence not in trained for x in items])
        if not len(new):
            raise InputError(f"further records {name}: the model was trained on all of them")
        found = {method: f([x.sequence for x in items]) for method, f in fitted.items()}
        some = [items[k] for k in new]
        entry = {
            "records": len(new),
            "left_out": len(items) - len(new),
            "methods": {method: score(some, p[new], **kwargs) for method, p in found.items()},
        }
        if len(new) < len(items):
            entry["whole"] = {method: score(items, p, **kwargs) for method, p in found.items()}
        result.setdefault("further", {})[name] = entry
    if 0 < len(unlike) < len(data.test):
        items = [data.test[k] for k in unlike]
        result["unlike"] = {
            name: score(items, found[unlike], **kwargs) for name, found in predictions.items()
        }
        result["unlike_records"] = len(unlike)
    if decoys:
        result["decoy_words_from_at_most"] = WORDS_FROM
        result["decoys"] = score_decoys(data.labels, known, data.test, outputs, **kwargs)
        if all(len(label.split()) > 1 and label.split()[1] in SITES for label in data.labels):
            result["called"] = called_sites(labeller, data.test, outputs)
    return result


def score(items: Sequence[Labelled], predicted: npt.NDArray[Any], **kwargs: Any) -> Scores:
    """Scores with intervals of predicted labels, or numbers."""
    if isinstance(items[0].label, float):
        y, p = np.array([x.label for x in items], np.float64), np.asarray(predicted, np.float64)
        return with_intervals(lambda rows: number_scores(y[rows], p[rows]), len(y), **kwargs)
    known = np.array([str(x.label) for x in items])
    names = np.union1d(known, predicted)
    a, b = np.searchsorted(names, known), np.searchsorted(names, predicted)
    return with_intervals(
        lambda rows: class_scores(confusion(a[rows], b[rows], len(names))), len(a), **kwargs
    )


def score_decoys(
    labels: Sequence[str],
    known: Sequence[Labelled],
    test: Sequence[Labelled],
    outputs: npt.NDArray[np.float64],
    **kwargs: Any,
) -> dict[str, dict[str, Scores]]:
    """Scores of each true class against each of its decoys, beside plain methods for the two.

    The lead over the weight array has an interval of its own, from the same drawn records for both.
    """
    result = {}
    for true, decoy in combinations(sorted(labels, key=len), 2):
        if not decoy.startswith(f"{true} "):
            continue
        pair = (true, decoy)
        rows = [k for k, x in enumerate(test) if x.label in pair]
        items = [test[k] for k in rows]
        a, b = (outputs[rows, list(labels).index(name)] for name in pair)
        predictions = {"model": np.where(a >= b, *pair)}
        trained = [x for x in known if x.label in pair]
        drawn = np.random.default_rng(0).permutation(len(trained))[:WORDS_FROM]
        for name, chosen in (("k-mers", [trained[k] for k in drawn]), ("weight array", trained)):
            methods = plain_methods("classify", [x.sequence for x in chosen])
            if name in methods:
                predict = methods[name]([x.label for x in chosen])
                predictions[name] = predict([x.sequence for x in items])
        found = {name: score(items, p, **kwargs) for name, p in predictions.items()}
        if "weight array" in predictions:
            meant = np.array([x.label for x in items])
            one, other = (predictions[name] == meant for name in ("model", "weight array"))
            ahead = one.astype(float) - other
            found["model minus weight array"] = with_intervals(
                lambda rows, ahead=ahead: {"accuracy": float(ahead[rows].mean())},
                len(items),
                **kwargs,
            )
        result[decoy] = found
    return result


def called_sites(
    labeller: Labeller, test: Sequence[Labelled], outputs: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """Shares of the windows of each splice site, and of its decoys that are no random letters, that
    ``stemloop splice --species`` gives a probability of `THRESHOLDS` and more.
    """
    known, result = np.array([str(x.label) for x in test]), {}
    for true in sorted({" ".join(label.split()[:2]) for label in labeller.meaning.labels}):
        species, site = true.split()
        p = site_probabilities(labeller.meaning, species)(outputs)[:, SITES.index(site)]
        kinds = [x for x in labeller.meaning.labels if f"{x} ".startswith(f"{true} ")]
        result[true] = {
            label: {str(t): round(float((p[known == label] >= t).mean()), 4) for t in THRESHOLDS}
            for label in kinds
            if label.split()[-1] not in RANDOM and (known == label).any()
        }
    return result


def to_markdown(result: dict[str, Any]) -> str:
    """Tables of a result of `examine_run`."""
    leakage = result["leakage"]["test"]
    lines = [
        f"# {result['recipe']['name']}",
        "",
        f"{leakage['records']} test records; {leakage['copies']} are in the training set too"
        + (f", {leakage['similar']} resemble one of it" if "similar" in leakage else "")
        + f" ({result['leakage']['clusters']}).",
        "",
    ]
    names = list(result["methods"]["model"])
    for part in ("methods", "unlike"):
        if part == "unlike" and part in result:
            lines += ["", f"{result['unlike_records']} test records that resemble none:", ""]
        for number, (method, scores) in enumerate(result.get(part, {}).items()):
            if not number:
                lines += [f"| method | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
            lines.append(f"| {method} | {' | '.join(value_cell(scores[name]) for name in names)} |")
    for name, found in result.get("further", {}).items():
        left = f"{found['left_out']} of the training or validation set are left out"
        lines += ["", f"{name}: {found['records']} records; {left}:"]
        lines += ["", f"| method | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for method, scores in found["methods"].items():
            lines.append(f"| {method} | {' | '.join(value_cell(scores[name]) for name in names)} |")
    if "classes" in result:
        lines += ["", "| class | records | recall | precision | F1 |", "|---|---|---|---|---|"]
        for label, row in result["classes"].items():
            cells = " | ".join(f"{row[key]:.3f}" for key in ("recall", "precision", "f1"))
            lines.append(f"| {label} | {row['records']} | {cells} |")
    if "decoys" in result:
        methods = list(next(iter(result["decoys"].values()), {}))
        lines += ["", f"| decoy, accuracy | {' | '.join(methods)} |"]
        lines.append("|---" * (len(methods) + 1) + "|")
        for decoy, found in result["decoys"].items():
            cells = [value_cell(found[name]["accuracy"]) for name in methods]
            lines.append(f"| {decoy} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])
