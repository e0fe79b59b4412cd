"""Train through ViennaRNA: pair probabilities as a differentiable torch operation.

Any loss on the pair probabilities can be trained. The forward pass is one partition function, the
backward pass one more (`stemloop.folding.thermo.probability_vjp`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stemloop.folding import thermo
from stemloop.folding.conditions import FoldOptions


def dense(values: Tensor, i: np.ndarray, j: np.ndarray, length: int) -> np.ndarray:
    """Scatter values (P,) of pairs to an upper triangle (L, L) of float64."""
    matrix = np.zeros((length, length))
    matrix[i, j] = values.detach().numpy()
    return matrix


class _PairProbability(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        bonus: Tensor,
        sequence: str,
        i: np.ndarray,
        j: np.ndarray,
        steps: Sequence[float],
        options: FoldOptions,
    ) -> tuple[Tensor, Tensor]:
        matrix = dense(bonus, i, j, len(sequence))
        ensemble = thermo.fold_ensemble(sequence, matrix, options=options)
        ctx.problem = (sequence, matrix, ensemble.pair_probability, i, j, steps, options)
        probability = torch.from_numpy(ensemble.pair_probability[i, j]).to(bonus.dtype)
        ctx.save_for_backward(probability)
        return probability, bonus.new_tensor(ensemble.free_energy)

    @staticmethod
    def backward(ctx: Any, grad_probability: Tensor, grad_energy: Tensor) -> tuple[Any, ...]:
        sequence, matrix, dense_probability, i, j, steps, options = ctx.problem
        (probability,) = ctx.saved_tensors
        moved = thermo.probability_vjp(
            sequence,
            matrix,
            dense_probability,
            dense(grad_probability, i, j, len(sequence)),
            steps=steps,
            options=options,
        )
        # The ensemble free energy has the pair probabilities themselves as its gradient.
        grad = torch.from_numpy(moved[i, j]).to(probability.dtype) + grad_energy * probability
        return grad, None, None, None, None, None


def pair_probability(
    bonus: Tensor,
    sequence: str,
    i: np.ndarray,
    j: np.ndarray,
    *,
    steps: Sequence[float] = (0.1, -0.1),
    options: FoldOptions = FoldOptions(),
) -> tuple[Tensor, Tensor]:
    """Boltzmann probabilities of pairs under energy corrections, differentiable.

    Parameters
    ----------
    bonus : torch.Tensor, shape (P,)
        Correction of each pair (i, j), kcal/mol. For per-base terms pass ``u - v[i] - v[j]``.
    sequence : str
        RNA of L nucleotides.
    i, j : numpy.ndarray of int64, shape (P,)
        All pairs that may form, i < j (see `stemloop.models.foldnet.pair_features`).
    steps : sequence of float
        Probes of the backward pass, kcal/mol (see `stemloop.folding.thermo.probability_vjp`).
    options : FoldOptions
        Conditions.

    Returns
    -------
    probability : torch.Tensor, shape (P,)
        Pair probabilities.
    free_energy : torch.Tensor, shape ()
        Ensemble free energy, kcal/mol.

    Examples
    --------
    >>> i, j = np.array([0, 1, 2]), np.array([8, 7, 6])
    >>> bonus = torch.zeros(3, requires_grad=True)
    >>> p, _ = pair_probability(bonus, "GGGAAACCC", i, j)
    >>> p.sum().backward()
    >>> bool((bonus.grad < 0).all())
    True
    """
    result: tuple[Tensor, Tensor] = _PairProbability.apply(bonus, sequence, i, j, steps, options)
    return result


def soft_f(probability: Tensor, reference: Tensor, recall_weight: float = 1.0) -> Tensor:
    """Expected-count F score of pair probabilities, the objective of training.

    (1 + w) sum(p r) / (sum(p) + w sum(r)) with the reference r as 0 or 1 and w the weight of recall
    against precision (beta squared of F-beta); w = 1 is F1.

    Examples
    --------
    >>> float(soft_f(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0])))
    1.0
    """
    hits = (probability * reference).sum()
    return (1.0 + recall_weight) * hits / (probability.sum() + recall_weight * reference.sum())


def negative_log_likelihood(
    bonus: Tensor,
    free_energy: Tensor,
    reference: Tensor,
    nearest_neighbour_energy: float,
    kt: float,
) -> Tensor:
    """-log P(reference structure), nats: (E(reference) - ensemble free energy) / kT."""
    return (nearest_neighbour_energy + (bonus * reference).sum() - free_energy) / kt
