"""Whether and where two RNAs bind: a trained network, or energies of ViennaRNA.

==============  =================================================================================
model           what it gives of a pair
==============  =================================================================================
a network       ``probability`` of the best site, and where that is; sites longer than those it
                learned from are read in windows
duplex          energy of the most stable duplex, without pairs inside a strand (RNAduplex)
accessible      the same, plus what it costs to open both stretches (RNAplfold)
cofold          what binding gains when strands may also fold (best structures, RNAcofold)
==============  =================================================================================

Every row has the duplex (of the site, where there is one) with its energy and places, and the kind
of seed match (`stemloop.data.mirna_sites.SEEDS`), which means something for microRNAs only.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from stemloop.data.interactions import Pair
from stemloop.errors import InputError
from stemloop.folding.thermo import strands
from stemloop.training.interaction import logits
from stemloop.training.interaction_features import PairInput
from stemloop.weights.interaction_store import StoredInteraction, load_interaction

#: The network that ships with the package: microRNAs and their sites.
DEFAULT_MODEL = "mirna-target"

ENERGIES = ("duplex", "accessible", "cofold")

#: Nucleotides from one window to the next.
STEP = 4

Row = dict[str, str | int | float]


class Interactor:
    """A model of interactions.

    Parameters
    ----------
    model : StoredInteraction or str
        A network, or one of `ENERGIES`.

    Examples
    --------
    >>> row = Interactor("duplex")(Pair("AAGGGGAA", "UUCCCC"))
    >>> row["energy"], row["first_start"], row["first_end"]
    (-8.9, 3, 7)
    """

    def __init__(self, model: StoredInteraction | str) -> None:
        self.model = model

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str] = DEFAULT_MODEL) -> Interactor:
        """Load a network by name or path, or take an energy model by name.

        Raises
        ------
        WeightsError
            Nothing of that name.
        """
        if name_or_path in ENERGIES:
            return cls(str(name_or_path))
        return cls(load_interaction(name_or_path))

    def __call__(self, pair: Pair) -> Row:
        """Look at one pair.

        Returns
        -------
        dict
            ``first`` and ``second`` (names); ``probability``, ``site_start`` and ``site_end`` of a
            network, ``total_energy`` and ``opening_energy`` of ``accessible``, ``binding_energy``
            of ``cofold``; ``energy`` and ``structure`` of the duplex, ``first_start`` to
            ``second_end`` (from 1, both ends included; 0 where nothing pairs), ``seed``. Energies
            are in kcal/mol.

        Raises
        ------
        InputError
            A first strand longer than the network has positions for.
        """
        names: Row = {"first": pair.first_id, "second": pair.second_id}
        if isinstance(self.model, StoredInteraction):
            return names | self._by_network(pair, self.model)
        item = PairInput.of(pair)
        values: Row = {}
        if self.model == "accessible":
            opening = item.opening_energy()
            values = {
                "total_energy": round(item.duplex.energy + opening, 2),
                "opening_energy": round(opening, 2),
            }
        elif self.model == "cofold":
            gain = strands.binding_energy(pair.first, pair.second)
            values = {"binding_energy": round(gain, 2)}
        return names | values | _duplex(item, 0)

    def results(self, pairs: Iterable[Pair]) -> Iterator[Row]:
        """Rows of all pairs, in their order."""
        for pair in pairs:
            yield self(pair)

    def _by_network(self, pair: Pair, model: StoredInteraction) -> Row:
        limit = model.head.config.longest_first
        if len(pair.first) > limit:
            raise InputError(
                f"{len(pair.first)} nt in the first strand", record=pair.first_id,
                expected=f"up to {limit} nt, as in training; --model duplex takes any",
            )  # fmt: skip
        starts = sites(len(pair.second), model.site)
        items = [
            PairInput.of(replace(pair, second=pair.second[start : start + model.site]))
            for start in starts
        ]
        found = logits(model, items)
        best = int(np.argmax(found))
        start = starts[best]
        values: Row = {
            "probability": round(1 / (1 + math.exp(-float(found[best]))), 6),
            "site_start": start + 1,
            "site_end": start + len(items[best].pair.second),
        }
        return values | _duplex(items[best], start)


def sites(length: int, window: int) -> list[int]:
    """Starts of the windows over a strand, the last one at its end.

    Examples
    --------
    >>> sites(50, 40), sites(30, 40)
    ([0, 4, 8, 10], [0])
    """
    last = max(length - window, 0)
    return [*range(0, last, STEP), last]


def _duplex(item: PairInput, offset: int) -> Row:
    found = item.duplex
    nothing = found.first[0] == found.first[1]
    move = 0 if nothing else 1
    return {
        "energy": found.energy,
        "first_start": found.first[0] + move,
        "first_end": found.first[1],
        "second_start": 0 if nothing else found.second[0] + 1 + offset,
        "second_end": 0 if nothing else found.second[1] + offset,
        "structure": found.dot_bracket,
        "seed": item.seed,
    }


def interact(
    pairs: Iterable[Pair | tuple[str, str]], model: str | os.PathLike[str] = DEFAULT_MODEL
) -> list[dict[str, Any]]:
    """Look at pairs of RNAs.

    Parameters
    ----------
    pairs : iterable of Pair or (str, str)
        Both strands 5' to 3'; the microRNA first.
    model : str or path
        See `Interactor.load`.

    Returns
    -------
    list of dict
        See `Interactor`.

    Examples
    --------
    >>> interact([("UGAGGUAGUAGGUUGUAUAGUU", "AAACUACCUCAA")], "duplex")[0]["seed"]
    '8mer'
    """
    interactor = Interactor.load(model)
    items = [
        pair if isinstance(pair, Pair) else Pair(*pair, f"{k}.1", f"{k}.2", None, k)
        for k, pair in enumerate(pairs, 1)
    ]
    return list(interactor.results(items))
