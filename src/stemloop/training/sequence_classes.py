"""Which records of which classes take part, and noise around them: RiNALMo's way with families.

RiNALMo classifies families of Rfam of which length does not tell them apart, each with enough
members, and again with random nucleotides at both ends (Penic et al. 2025; the data are those of
Noviello et al. 2020, PLoS Computational Biology 16:e1008415).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from stemloop.errors import InputError
from stemloop.training.sequence_recipe import Classes

if TYPE_CHECKING:
    from stemloop.training.sequence_data import Labelled

#: Depth and folds of the tree that guesses a class from the length.
_DEPTH, _FOLDS = 10, 10


def keep_classes(items: list[Labelled], rule: Classes, seed: int) -> list[Labelled]:
    """Records that a rule keeps, in their order.

    Of copies the first is kept; letters other than A, C, G and U leave a record out. Lengths come
    first, then the size of the classes, then what length alone tells, then the largest number.

    Parameters
    ----------
    items : list of Labelled
        Records.
    rule : Classes
        What to keep.
    seed : int
        Of the draw from classes with more than ``largest``.

    Raises
    ------
    InputError
        Fewer than two classes are left.
    """
    seen: set[str] = set()
    kept = []
    for x in items:
        good = rule.shortest <= len(x.sequence) <= (rule.longest or len(x.sequence))
        if good and x.sequence not in seen and not set(x.sequence) - set("ACGU"):
            seen.add(x.sequence)
            kept.append(x)
    sizes = Counter(x.label for x in kept)
    kept = [x for x in kept if sizes[x.label] >= rule.smallest]
    if len({x.label for x in kept}) > 1 and rule.told_by_length is not None:
        told = told_by_length([(str(x.label), len(x.sequence)) for x in kept])
        kept = [x for x in kept if told[str(x.label)] <= rule.told_by_length]
    if len({x.label for x in kept}) < 2:
        raise InputError("classes: fewer than two are left")
    if rule.largest is None:
        return kept
    order = np.random.default_rng((seed, 1 << 23)).permutation(len(kept))
    left = dict.fromkeys({x.label for x in kept}, rule.largest)
    drawn = []
    for k in order:
        if left[kept[k].label]:
            left[kept[k].label] -= 1
            drawn.append(k)
    return [kept[k] for k in sorted(drawn)]


def told_by_length(lengths: list[tuple[str, int]]) -> dict[str, float]:
    """How well a decision tree tells each class by nothing but the length: mean F1 of ten folds.

    Parameters
    ----------
    lengths : list of (str, int)
        Class and length of each record.
    """
    from sklearn.metrics import f1_score
    from sklearn.model_selection import StratifiedKFold
    from sklearn.tree import DecisionTreeClassifier

    labels = np.array([label for label, _ in lengths])
    numbers = np.array([[length] for _, length in lengths])
    names, counts = np.unique(labels, return_counts=True)
    folds = min(_FOLDS, int(counts.min()))
    total = np.zeros(len(names))
    if folds < 2:
        return dict(zip(names.tolist(), total.tolist(), strict=True))
    cut = StratifiedKFold(folds, shuffle=True, random_state=0)
    for train, test in cut.split(numbers, labels):
        tree = DecisionTreeClassifier(max_depth=_DEPTH, random_state=0)
        guess = tree.fit(numbers[train], labels[train]).predict(numbers[test])
        total += f1_score(labels[test], guess, labels=names, average=None, zero_division=0.0)
    return dict(zip(names.tolist(), (total / folds).tolist(), strict=True))


def with_noise(items: list[Labelled], share: float, seed: int) -> list[Labelled]:
    """Records with random nucleotides at both ends; what they were is kept as ``core``."""
    return [replace(x, sequence=add_noise(x.sequence, share, seed), core=x.sequence) for x in items]


def add_noise(sequence: str, share: float, seed: int = 0) -> str:
    """Put noise around a sequence: half at each end, drawn from its own pairs of neighbours.

    Parameters
    ----------
    sequence : str
        Nucleotides.
    share : float
        How much, in lengths of the sequence: 2 makes it three times as long.
    seed : int
        A sequence always gets the same noise.

    Examples
    --------
    >>> noisy = add_noise("ACACACAC", 1.0)
    >>> noisy, len(add_noise("GGGACUCUCCC", 2.0))
    ('ACACACACACACACAC', 31)
    """
    digest = int.from_bytes(sha256(sequence.encode()).digest()[:8])
    rng = np.random.default_rng((seed, digest))
    pairs = [sequence[k : k + 2] for k in range(0, len(sequence) - 1, 2)] or [sequence]
    many = int(len(sequence) * share / 4)
    left, right = ("".join(rng.choice(pairs, many)) for _ in range(2))
    return left + sequence + right
