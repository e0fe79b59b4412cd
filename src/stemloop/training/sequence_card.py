"""The model card of a head for whole sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stemloop.training.sequence_recipe import SequenceRecipe
from stemloop.weights.sequence_head import Meaning


def model_card(
    recipe: SequenceRecipe,
    meaning: Meaning,
    source: Mapping[str, Any],
    leakage: Mapping[str, Any],
) -> str:
    """Model card in Markdown: what it predicts, from what it learned, how well, how to use it."""
    metrics = source["metrics"]
    lines = [
        f"# {recipe.name}",
        "",
        f"Made by `stemloop finetune sequence` (task `{recipe.task}`, seed {recipe.seed}) "
        + (
            "from the nucleotides alone, without a pre-trained encoder."
            if recipe.encoder == "none"
            else f"on the encoder {source['encoder']} ({recipe.encoder}; SHA-256 "
            f"{source['encoder_sha256'][:16]})."
        ),
        "",
    ]
    if meaning.task == "classify":
        lines += ["| output | label |", "|---|---|"]
        lines += [f"| {k} | {label} |" for k, label in enumerate(meaning.labels)]
    else:
        lines.append(
            f"One number: the head's output times {meaning.deviation:.6g} plus {meaning.mean:.6g} "
            "(standard deviation and mean of the training targets)."
        )
    lines += [
        "",
        "| part | records | copies in training | similar in training |",
        "|---|---|---|---|",
    ]
    for part in ("train", "validation", "test"):
        row = leakage[part]
        cells = [str(row.get(key, "")) for key in ("records", "copies", "similar")]
        lines.append(f"| {part} | {' | '.join(cells)} |")
    lines += ["", f"Similar: {leakage['clusters']}.", ""]
    names = list(metrics["validation"])
    lines += [f"| scores | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for part in ("validation", "test"):
        if part in metrics:
            cells = [f"{metrics[part][name]:.4f}" for name in names]
            lines.append(f"| {part} | {' | '.join(cells)} |")
    lines += [
        "",
        f"Epoch {metrics['best_epoch']} of {metrics['epochs']} was chosen by "
        f"{metrics['selected_by']} on the validation records; the test records had no part in any "
        "choice. Sequences unlike those of the training set get an answer all the same.",
        "",
    ]
    return "\n".join(lines)
