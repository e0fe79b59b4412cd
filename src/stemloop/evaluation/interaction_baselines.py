"""What a network for interactions has to beat: energies, and methods that see words alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from stemloop.folding.thermo.strands import binding_energy
from stemloop.training.interaction_features import PairInput

Floats = npt.NDArray[np.float64]

_WORDS = {"".join(word): k for k, word in enumerate(product("ACGU", repeat=3))}


def words(sequence: str) -> Floats:
    """Counts of the 64 words of three nucleotides."""
    found = np.zeros(64)
    for k in range(len(sequence) - 2):
        at = _WORDS.get(sequence[k : k + 3])
        if at is not None:
            found[at] += 1
    return found


def controls(
    train: Sequence[PairInput], labels: npt.ArrayLike, test: Sequence[PairInput], *, seed: int = 0
) -> dict[str, Floats]:
    """Scores of test pairs by methods that are fitted to the training pairs.

    Returns
    -------
    dict of str to numpy.ndarray
        ``words of the first``, ``words of the second`` and ``words of both`` (gradient boosting),
        and ``seed and duplex`` (logistic regression on energy, pairs and kind of seed match).
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    y = np.asarray(labels, bool)
    sides = []
    for items in (train, test):
        known: dict[str, Floats] = {}
        strands = [(item.pair.first, item.pair.second) for item in items]
        for strand in {s for both in strands for s in both}:
            known[strand] = words(strand)
        sides.append(tuple(np.stack([known[both[k]] for both in strands]) for k in (0, 1)))
    (first, second), (first_test, second_test) = sides
    found = {}
    for name, x, z in (
        ("words of the first", first, first_test),
        ("words of the second", second, second_test),
        ("words of both", np.hstack([first, second]), np.hstack([first_test, second_test])),
    ):
        boosting = HistGradientBoostingClassifier(max_iter=100, random_state=seed)
        found[name] = boosting.fit(x, y).predict_proba(z)[:, 1]
    found["seed and duplex"] = seed_and_duplex(train, y, test)
    return found


def seed_and_duplex(
    train: Sequence[PairInput], labels: npt.ArrayLike, test: Sequence[PairInput]
) -> Floats:
    """Log-odds by logistic regression on energy, pairs and kind of seed match."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    linear.fit(np.stack([item.numbers for item in train]), np.asarray(labels, bool))
    return np.asarray(linear.decision_function(np.stack([item.numbers for item in test])))


def energies(items: Sequence[PairInput]) -> dict[str, Floats]:
    """Scores by energies alone; the lower an energy, the higher the score."""
    duplexes = np.array([item.duplex.energy for item in items])
    opening = np.array([item.opening_energy() for item in items])
    gain = np.array([binding_energy(item.pair.first, item.pair.second) for item in items])
    return {
        "duplex energy": -duplexes,
        "duplex and opening energy": -(duplexes + opening),
        "cofold energy": -gain,
    }
