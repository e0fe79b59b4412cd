"""Pairs of a recipe: read, given decoys, folded, and divided by families of the first strand."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stemloop.data.interactions import Pair, read_table
from stemloop.data.mirna_sites import family, matched_decoys
from stemloop.errors import InputError
from stemloop.evaluation.label_metrics import ranks
from stemloop.training.interaction_features import PairInput
from stemloop.training.interaction_recipe import InteractionRecipe

#: What an example is: a true pair, or which kind of decoy.
TRUE, MATCHED, RANDOM, TABLE = "true", "matched", "random", "table"

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A pair, folded, with what it is and the part it belongs to."""

    input: PairInput
    kind: str
    part: str

    @property
    def target(self) -> float:
        """1 for a true pair."""
        return float(self.kind == TRUE)


def read_pairs(recipe: InteractionRecipe, folder: Path) -> tuple[list[Pair], str]:
    """All pairs of the recipe's table, copies left out, and the checksum of what was read.

    Raises
    ------
    InputError
        No pair interacts.
    """
    table = recipe.data
    found = read_table(folder / table.file, table.columns(), flip_first=table.flip_first)
    pairs = list({(p.first, p.second): p for p in found}.values())
    if not any(pair.label for pair in pairs):
        raise InputError("no pair interacts", path=str(folder / table.file))
    digest = hashlib.sha256()
    for p in pairs:
        digest.update(f"{p.first} {p.second} {p.second_id} {p.label}\n".encode())
    return pairs, digest.hexdigest()


def divide(pairs: Sequence[Pair], recipe: InteractionRecipe) -> dict[str, str]:
    """Part of each family of first strands.

    Families are drawn at random and dealt out until the shares of true pairs are reached.

    Raises
    ------
    InputError
        A part is left without a family.
    """
    counts = Counter(family(pair.first) for pair in pairs if pair.label)
    names = sorted({family(pair.first) for pair in pairs})
    rng = np.random.default_rng((recipe.seed, 1 << 20))
    total, dealt = sum(counts.values()), 0
    test = recipe.parts.test
    shares = (("test", test), ("validation", test + recipe.parts.validation))
    of = {}
    for k in rng.permutation(len(names)).tolist():
        of[names[k]] = next((part for part, end in shares if dealt < end * total), "train")
        dealt += counts[names[k]]
    for part in PARTS:
        if not any(counts[name] for name, its in of.items() if its == part):
            raise InputError(f"too few families of first strands: none is left for {part}")
    return of


def random_decoys(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """For each true pair the site of another family, of the same length.

    Sites of one length change hands, so that each is a decoy once: how often a site is one must
    not tell that it is one. A pair whose turn brings its own family's site is left out.
    """
    rng = np.random.default_rng((seed, 1 << 21))
    of_length: dict[int, list[int]] = {}
    for k, pair in enumerate(pairs):
        of_length.setdefault(len(pair.second), []).append(k)
    found = []
    for _, rows in sorted(of_length.items()):
        order = rng.permutation(rows).tolist()
        for k, other in zip(order, [*order[1:], order[0]], strict=True):
            pair, site = pairs[k], pairs[other]
            if family(pair.first) != family(site.first):
                found.append(replace(pair, second=site.second, second_id="", label=False))
    return sorted(found, key=lambda pair: pair.index)


def cut_alike(pairs: Sequence[Pair], like: Sequence[Pair], seed: int) -> list[Pair]:
    """Sites cut to the lengths of others, drawn at random, so that lengths tell nothing."""
    rng = np.random.default_rng((seed, 1 << 23))
    sizes = np.array([len(pair.second) for pair in like])
    found = []
    for pair in pairs:
        size = min(int(rng.choice(sizes)), len(pair.second))
        start = int(rng.integers(len(pair.second) - size + 1))
        found.append(replace(pair, second=pair.second[start : start + size]))
    return found


def make_examples(
    pairs: Sequence[Pair],
    recipe: InteractionRecipe,
    progress: Callable[[int, int], None] | None = None,
) -> list[Example]:
    """Examples of all parts.

    With matched decoys, true pairs are those that have one, cut as it is; the table's own decoys
    are then cut to the same lengths.

    Parameters
    ----------
    pairs : sequence of Pair
        As read.
    recipe : InteractionRecipe
        What decoys to make, and how to divide.
    progress : callable, optional
        Called with (pairs folded, pairs to fold).
    """
    part = divide(pairs, recipe)
    true = [pair for pair in pairs if pair.label]
    wanted: list[tuple[Pair, str]] = []
    if recipe.decoys.matched:
        both = matched_decoys(true, seed=recipe.seed)
        true = [pair for pair, _ in both]
        wanted += [(decoy, MATCHED) for _, decoy in both]
    wanted += [(pair, TRUE) for pair in true]
    if recipe.decoys.random:
        wanted += [(pair, RANDOM) for pair in random_decoys(true, recipe.seed)]
    if recipe.decoys.table != "none":
        own = {pair.first for pair in pairs if pair.label}
        every = recipe.decoys.table == "all"
        chosen = [p for p in pairs if not p.label and (every or p.first in own)]
        wanted += [(p, TABLE) for p in cut_alike(chosen, true, recipe.seed)]
    examples = []
    for k, (pair, kind) in enumerate(wanted, 1):
        examples.append(Example(PairInput.of(pair), kind, part[family(pair.first)]))
        if progress and (k % 100 == 0 or k == len(wanted)):
            progress(k, len(wanted))
    return examples


def area_under_curve(true: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Probability that something true scores higher than something that is not; ties count half.

    Examples
    --------
    >>> area_under_curve([True, False, True, False], [3.0, 1.0, 2.0, 2.0])
    0.875
    """
    yes = np.asarray(true, bool)
    n, m = int(yes.sum()), int((~yes).sum())
    place = ranks(np.asarray(scores, np.float64))
    return float((place[yes].sum() - n * (n + 1) / 2) / (n * m))


def areas(examples: Sequence[Example], scores: npt.ArrayLike) -> dict[str, float]:
    """Area under the curve of true pairs against each kind of decoy there is."""
    values = np.asarray(scores, np.float64)
    kinds = np.array([example.kind for example in examples])
    result = {}
    for kind in (MATCHED, RANDOM, TABLE):
        rows = (kinds == TRUE) | (kinds == kind)
        if (kinds == kind).any() and (kinds == TRUE).any():
            result[kind] = area_under_curve(kinds[rows] == TRUE, values[rows])
    return result
