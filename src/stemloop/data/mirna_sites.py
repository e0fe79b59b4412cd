"""Sites of microRNAs: kinds of seed match, and decoys that give nothing away.

A set of microRNA targets whose negatives use other microRNAs, or other kinds of sites, than its
positives can be told apart without looking at any interaction. `matched_decoys` takes that away:
for each true pair it picks, among the true sites of microRNAs of other families, one that has the
same kind of seed match to this microRNA and the most similar composition. Every microRNA then has
as many decoys as sites, and a decoy is a site like all others, only of somebody else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from stemloop.data.interactions import Pair

Ints = npt.NDArray[np.int64]

#: Kinds of seed match, the strongest first (Bartel 2009, Cell 136:215): the site pairs with
#: positions 2-8 of the microRNA and has an A behind, 2-8, 2-7 and an A, 2-7, 3-8.
SEEDS = ("8mer", "7mer-m8", "7mer-A1", "6mer", "offset-6mer", "none")

_COMPLEMENT = str.maketrans("ACGU", "UGCA")


def reverse_complement(sequence: str) -> str:
    """Reverse complement; other letters than A, C, G, U stay.

    Examples
    --------
    >>> reverse_complement("AACG")
    'CGUU'
    """
    return sequence[::-1].translate(_COMPLEMENT)


def seed_patterns(mirna: str) -> list[str]:
    """What a site must contain for each kind of seed match but ``none``, in the order of `SEEDS`.

    Examples
    --------
    >>> seed_patterns("UGAGGUAGUAGGUUGUAUAGUU")
    ['CUACCUCA', 'CUACCUC', 'UACCUCA', 'UACCUC', 'CUACCU']
    """
    seven, six = reverse_complement(mirna[1:8]), reverse_complement(mirna[1:7])
    return [seven + "A", seven, six + "A", six, reverse_complement(mirna[2:8])]


def seed_match(mirna: str, site: str) -> tuple[str, int]:
    """Strongest kind of seed match in a site, and where it starts (-1 if there is none).

    Parameters
    ----------
    mirna, site : str
        5' to 3'.

    Examples
    --------
    >>> seed_match("UGAGGUAGUAGGUUGUAUAGUU", "AACUACCUCGG")
    ('7mer-m8', 2)
    """
    for kind, pattern in zip(SEEDS, seed_patterns(mirna), strict=False):
        if pattern and (at := site.find(pattern)) >= 0:
            return kind, at
    return "none", -1


def family(mirna: str) -> str:
    """Nucleotides 2 to 8: microRNAs that share them have much the same targets."""
    return mirna[1:8]


class _Sites:
    """Sites by the words of 6 to 8 nucleotides that are in them, with the place of the first."""

    def __init__(self, sites: Sequence[str]) -> None:
        self.sites = sites
        words: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for k, site in enumerate(sites):
            for size in (6, 7, 8):
                seen = set()
                for at in range(len(site) - size + 1):
                    word = site[at : at + size]
                    if word not in seen:
                        seen.add(word)
                        words[word].append((k, at))
        self.words = words

    def matches(self, mirna: str) -> tuple[Ints, Ints]:
        """What `seed_match` gives for every site: numbers of `SEEDS`, and places."""
        kind = np.full(len(self.sites), SEEDS.index("none"))
        place = np.full(len(self.sites), -1)
        for number, pattern in reversed(list(enumerate(seed_patterns(mirna)))):
            found = self.words.get(pattern, [])
            rows = np.array([k for k, _ in found], np.int64)
            kind[rows], place[rows] = number, [at for _, at in found]
        return kind, place


def matched_decoys(
    pairs: Sequence[Pair], *, seed: int = 0, choices: int = 5, most: int = 1, shortest: int = 20
) -> list[tuple[Pair, Pair]]:
    """True pairs of microRNAs and sites, each with its decoy; see the top of this module.

    Parameters
    ----------
    pairs : sequence of Pair
        True pairs.
    seed : int
        Of the draw.
    choices : int
        A decoy is drawn from the so many sites whose composition is closest.
    most : int
        Times that a site may be a decoy. With more than one, sites of common composition are
        decoys more often than others, and what learns from them learns that.
    shortest : int
        Nucleotides that must be left of both sites.

    Returns
    -------
    list of (Pair, Pair)
        The true pair and one with the same microRNA and ``label`` false. Where there is a seed
        match, both sites are cut so that it stands at the same place of two sites of one length;
        sites without one have one length. True pairs for which nothing fits are left out.
    """
    rng = np.random.default_rng(seed)
    names = list(dict.fromkeys(pair.second for pair in pairs))
    place_of = {site: k for k, site in enumerate(names)}
    of_gene: dict[str, set[int]] = defaultdict(set)
    # Sites that a family has to do with, or that lie in a gene that it regulates, are no decoys.
    known: dict[str, set[int]] = defaultdict(set)
    for pair in pairs:
        of_gene[pair.second_id or pair.second].add(place_of[pair.second])
    for pair in pairs:
        known[family(pair.first)] |= of_gene[pair.second_id or pair.second]
        known[family(pair.first)].add(place_of[pair.second])
    sizes = np.array([len(site) for site in names])
    composition = np.stack([_composition(site) for site in names])
    sites = _Sites(names)
    used = np.zeros(len(names), np.int64)
    of_mirna: dict[str, list[Pair]] = defaultdict(list)
    for k in rng.permutation(len(pairs)).tolist():
        of_mirna[pairs[k].first].append(pairs[k])
    found: list[tuple[Pair, Pair]] = []
    none = SEEDS.index("none")
    for mirna, mine in of_mirna.items():
        kind, at = sites.matches(mirna)
        own_kind, own_at = kind.copy(), at.copy()
        kind[list(known[family(mirna)])] = -1
        for pair in mine:
            own = place_of[pair.second]
            fits = kind == own_kind[own]
            if own_kind[own] == none:
                left, right = np.zeros_like(sizes), np.where(sizes == sizes[own], sizes, 0)
            else:
                left = np.minimum(own_at[own], at)
                right = np.minimum(sizes[own] - own_at[own], sizes - at)
            rows = np.flatnonzero(fits & (used < most) & (left + right >= shortest))
            if not len(rows):
                continue
            distance = np.abs(composition[rows] - composition[own]).sum(axis=1)
            near = rows[np.argsort(distance, kind="stable")[:choices]]
            k = int(rng.choice(near))
            used[k] += 1
            kind[k] = -1  # a microRNA meets a decoy once
            a, b = int(left[k]), int(right[k])
            first, second = max(own_at[own], 0), max(int(at[k]), 0)
            decoy = replace(pair, second=names[k][second - a : second + b], label=False,
                            second_id="")  # fmt: skip
            found.append((replace(pair, second=pair.second[first - a : first + b]), decoy))
    return sorted(found, key=lambda both: both[0].index)


def _composition(sequence: str) -> npt.NDArray[np.float64]:
    return np.array([sequence.count(letter) for letter in "ACGU"]) / len(sequence)
