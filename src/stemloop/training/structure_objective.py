"""What the thermodynamic CRF is taught: losses of one RNA and their gradients.

==========  ======================================================================================
soft_f      1 - F score of the expected counts of pairs (`stemloop.folding.layer.soft_f`), through
            one more partition function
likelihood  -log P(reference), nats a nucleotide
margin      max_y [delta(y) - E(y)] + E(reference), kcal/mol a nucleotide, where delta counts 0.5
            for each missed pair and 0.005 for each false one: the objective of MXfold2 (Sato et
            al. 2021, Nature Communications 12:941) and of RNAErnie's structure task. The maximum
            is a minimum-free-energy structure whose soft constraints hold the margins; energies
            are rounded to 0.01, so a false pair counts 0.01 or nothing.
==========  ======================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stemloop.folding import layer, thermo
from stemloop.models.foldnet import PairFeatures, pair_features
from stemloop.pairs import dot_bracket_to_pairs
from stemloop.training.recipes import Objective


@dataclass(frozen=True)
class Problem:
    """One RNA of a batch, as a worker needs it.

    Parameters
    ----------
    sequence : str
        L nucleotides.
    pairs : numpy.ndarray of int32, shape (n, 2)
        Reference, nested.
    bonus : numpy.ndarray of float32, shape (P,)
        Energies of the pairs of `pair_features`, kcal/mol.
    step : float
        Probe of the gradient of the soft F score, kcal/mol.
    objective : Objective
        Weights.
    """

    sequence: str
    pairs: np.ndarray
    bonus: np.ndarray
    step: float
    objective: Objective


def solve(problem: Problem) -> tuple[float, np.ndarray]:
    """Score of one RNA and the gradient of its loss with respect to the pair energies.

    Returns
    -------
    score : float
        Expected-count F score of the reference pairs; without partition functions, where the
        margin alone is trained, the F score of the margin's structure.
    gradient : numpy.ndarray of float32, shape (P,)
        d loss / d bonus.
    """
    features, objective = pair_features(problem.sequence), problem.objective
    bonus = torch.from_numpy(problem.bonus).requires_grad_()
    reference = torch.from_numpy(reference_mask(features, problem.pairs))
    loss, score = bonus.new_zeros(()), None
    if objective.soft_f or objective.likelihood:
        probability, energy = layer.pair_probability(
            bonus, problem.sequence, features.i, features.j, steps=(problem.step,)
        )
        score = layer.soft_f(probability, reference, objective.recall_weight)
        if objective.soft_f:
            loss = loss + objective.soft_f * (1.0 - score)
        # The nearest-neighbour energy of the reference is a constant and does not matter here.
        nats = layer.negative_log_likelihood(bonus, energy, reference, 0.0, thermo.k_t())
        loss = loss + objective.likelihood / len(problem.sequence) * nats
    if objective.margin:
        violation, rival = margin_violation(bonus, features, reference, problem)
        loss = loss + objective.margin / len(problem.sequence) * violation
        score = layer.soft_f(rival, reference) if score is None else score
    assert score is not None
    if loss.requires_grad:
        loss.backward()
    gradient = bonus.grad if bonus.grad is not None else torch.zeros_like(bonus)
    return float(score.detach()), gradient.numpy()


def margin_violation(
    bonus: Tensor, features: PairFeatures, reference: Tensor, problem: Problem
) -> tuple[Tensor, Tensor]:
    """How much better than the reference the best rival is, margins included, and that rival.

    Returns
    -------
    violation : Tensor, shape ()
        kcal/mol, 0 or more; its gradient is +1 for pairs of the reference and -1 for the rival's.
    rival : Tensor, shape (P,)
        1.0 for its pairs, else 0.0.
    """
    missed, false = problem.objective.margin_missed, problem.objective.margin_false
    length, i, j = len(problem.sequence), features.i, features.j
    augmented = bonus.detach() + missed * reference - false * (1.0 - reference)
    fc = thermo.compound(problem.sequence, layer.dense(augmented, i, j, length))
    structure, lowest = thermo.minimum_free_energy(fc)
    rival = torch.from_numpy(reference_mask(features, dot_bracket_to_pairs(structure)))
    own = thermo.structure_energy(problem.sequence, _dot_bracket(i, j, reference, length))
    # Of the minimum over structures the rival's own terms carry the gradient.
    rest = own - lowest + missed * float(reference.sum()) + float((bonus.detach() * rival).sum())
    violation = rest + (bonus * (reference - rival)).sum()
    return violation.clamp_min(0.0), rival


def _dot_bracket(i: np.ndarray, j: np.ndarray, chosen: Tensor, length: int) -> str:
    text = ["."] * length
    for k in np.flatnonzero(chosen.numpy()):
        text[i[k]], text[j[k]] = "(", ")"
    return "".join(text)


def reference_mask(features: PairFeatures, pairs: np.ndarray) -> np.ndarray:
    """1.0 for the listed pairs that are in the reference, else 0.0; float32, shape (P,)."""
    length = len(features.code)
    wanted = pairs[:, 0].astype(np.int64) * length + pairs[:, 1]
    return np.isin(features.i * length + features.j, wanted).astype(np.float32)
