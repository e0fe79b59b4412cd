"""Losses and scores of the outputs of a head for whole sequences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from stemloop.evaluation.label_metrics import class_scores, confusion, number_scores
from stemloop.training.sequence_data import Labelled
from stemloop.weights.sequence_head import Meaning


def class_weights(items: Sequence[Labelled], labels: Sequence[str]) -> Tensor:
    """Weights that make all classes count alike, 1 on average; shape (classes,).

    Examples
    --------
    >>> items = [Labelled("", "A", label, "train", "") for label in "aaab"]
    >>> [round(w, 3) for w in class_weights(items, ["a", "b"]).tolist()]
    [0.667, 2.0]
    """
    names = [str(x.label) for x in items]
    counts = torch.tensor([float(max(names.count(label), 1)) for label in labels])
    return counts.mean() / counts


def loss_of(
    items: Sequence[Labelled],
    outputs: Tensor,
    meaning: Meaning,
    weights: Tensor | None = None,
    smoothing: float = 0.0,
    likelihood: float = 0.0,
) -> Tensor:
    """Cross-entropy, or squared error of standardised numbers: mean over the records.

    Parameters
    ----------
    items : sequence of Labelled
        Records.
    outputs : Tensor, shape (N, outputs)
        Of the head.
    meaning : Meaning
        Labels, or the scale.
    weights : Tensor, shape (classes,), optional
        Weight of each class.
    smoothing : float
        Part of a label's weight that goes to all classes alike.
    likelihood : float
        Part of the loss that is minus the output of a record's own class, where outputs are
        log-probabilities of the record and the class together (heads of the kind ``causal``).
    """
    if meaning.task == "regress":
        y = torch.tensor([float(x.label) for x in items], dtype=torch.float64)
        y = ((y - meaning.mean) / meaning.deviation).float().to(outputs.device)
        return F.mse_loss(outputs[:, 0], y)
    known = torch.tensor(_places(items, meaning), device=outputs.device)
    loss = F.cross_entropy(outputs, known, weight=weights, label_smoothing=smoothing)
    if not likelihood:
        return loss
    own = outputs.gather(1, known[:, None]).mean()
    return (1 - likelihood) * loss - likelihood * own


def scores_of(items: Sequence[Labelled], outputs: Tensor, meaning: Meaning) -> dict[str, float]:
    """Scores of outputs (N, outputs) of labelled records; see `label_metrics`."""
    if meaning.task == "regress":
        guess = outputs[:, 0].double().numpy() * meaning.deviation + meaning.mean
        return number_scores([float(x.label) for x in items], guess)
    guess = outputs.argmax(dim=1).numpy()
    return class_scores(confusion(_places(items, meaning), guess, len(meaning.labels)))


def _places(items: Sequence[Labelled], meaning: Meaning) -> list[int]:
    place = {label: k for k, label in enumerate(meaning.labels)}
    return [place[str(x.label)] for x in items]
