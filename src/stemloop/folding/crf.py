"""The thermodynamic CRF as a predictor: network energies on top of nearest-neighbour energies."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stemloop.errors import WeightsError
from stemloop.folding import layer, thermo
from stemloop.folding.conditions import CUT, Ensemble, FloatArray, FoldOptions, ParameterSet
from stemloop.folding.homologs import Homologs
from stemloop.folding.reactivity import Reactivity
from stemloop.models.foldnet import FoldNet, FoldNetConfig, pair_features
from stemloop.weights.card import write_card
from stemloop.weights.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    from stemloop.folding.evidence import EvidenceSource

#: Folder of a language model that was trained along, inside the model's.
ENCODER = "encoder"


class ThermodynamicCRF:
    """Pair probabilities of a nearest-neighbour model corrected by a network.

    Parameters
    ----------
    net : FoldNet, optional
        The correction; without one the model is plain ViennaRNA.
    average : sequence of str
        Further parameter sets, uncorrected, whose pair probabilities are averaged with the
        corrected Turner 2004 ones. The mean of two models whose errors differ is better than
        either. ``andronescu2007`` and ``langdon2018`` were fitted to
        databases that hold the families people test on: good for use, not for claims about
        unseen families.
    evidence : EvidenceSource, optional
        What the network is given besides the sequence, if its configuration asks for it.
    homologs : Homologs, optional
        Their energies are added to those of each parameter set.

    Examples
    --------
    >>> crf = ThermodynamicCRF()
    >>> crf.ensemble("GGGGAAAACCCC").pair_probability.shape
    (12, 12)
    """

    def __init__(
        self,
        net: FoldNet | None = None,
        average: Sequence[ParameterSet] = (),
        evidence: EvidenceSource | None = None,
        homologs: Homologs | None = None,
    ) -> None:
        self.net = net.eval() if net is not None else None
        self.average = tuple(average)
        self.evidence = evidence
        self.homologs = homologs
        self._last: tuple[str, FloatArray, float] | None = None
        self._last_found: tuple[str, FoldOptions, FloatArray | None, int] | None = None

    def energies(self, sequence: str) -> tuple[FloatArray, float] | None:
        """Pair corrections (L, L) in kcal/mol with the base terms folded in, and their constant.

        Returns None where the nearest-neighbour model stands as it is: there is no network, or the
        sequence is two strands. ViennaRNA 2.7 leaves out the corrections of pairs that close the
        loop with the cut, and without those between the strands those within would be unfair.
        """
        if self.net is None or CUT in sequence:
            return None
        # A fold asks for the same energies up to three times (pairs, lowest energy, samples).
        if self._last is None or self._last[0] != sequence:
            self._last = (sequence, *self._network(self.net, sequence))
        return self._last[1:]

    def _network(self, net: FoldNet, sequence: str) -> tuple[FloatArray, float]:
        features = pair_features(sequence)
        with torch.inference_mode():
            evidence = self.evidence([sequence], [features])[0] if self.evidence else None
            u, v = net(features, evidence)
            bonus = u - v[features.i] - v[features.j]
        return layer.dense(bonus, features.i, features.j, len(sequence)), float(v.sum())

    def ensemble(
        self,
        sequence: str,
        options: FoldOptions = FoldOptions(),
        constraint: str | None = None,
        reactivity: Reactivity | None = None,
    ) -> Ensemble:
        """Pair probabilities and ensemble free energy of one RNA, or of two strands.

        Parameters
        ----------
        sequence : str
            RNA of L nucleotides, or two strands of L together with ``&`` between.
        options : FoldOptions
            Temperature, parameter set of the corrected model, longest span.
        constraint : str, optional
            Hard constraint in dot-bracket notation.
        reactivity : Reactivity, optional
            Chemical probing.
        """
        bonus, constant = self.energies(sequence) or (None, 0.0)
        extra = self.homologous(sequence, options)[0]
        return self._fold(sequence, bonus, constant, extra, options, constraint, reactivity)

    def _fold(
        self,
        sequence: str,
        bonus: FloatArray | None,
        constant: float,
        extra: FloatArray | None,
        options: FoldOptions,
        constraint: str | None = None,
        reactivity: Reactivity | None = None,
    ) -> Ensemble:
        first = thermo.fold_ensemble(
            sequence, _sum(bonus, extra), options=options, constraint=constraint,
            reactivity=reactivity,
        )  # fmt: skip
        first = replace(first, free_energy=first.free_energy + constant)
        if not self.average:
            return first
        total = first.pair_probability.copy()
        for name in self.average:
            total += thermo.fold_ensemble(
                sequence,
                extra,
                options=replace(options, parameters=name),
                constraint=constraint,
                reactivity=reactivity,
            ).pair_probability
        return replace(first, pair_probability=total / (1 + len(self.average)))

    def homologous(
        self, sequence: str, options: FoldOptions = FoldOptions()
    ) -> tuple[FloatArray | None, int]:
        """Energies (L, L) in kcal/mol that homologs add to an RNA's pairs, and their number."""
        if self.homologs is None:
            return None, 0
        if self._last_found is None or self._last_found[:2] != (sequence, options):
            # Homologs are whole RNAs, whatever span is asked for here.
            plain = FoldOptions(options.temperature, options.parameters)

            def alone(other: str) -> FloatArray:
                # Not by `energies`, which remembers the RNA that is being folded.
                bonus, constant = self._network(self.net, other) if self.net else (None, 0.0)
                return self._fold(other, bonus, constant, None, plain).pair_probability

            kt = thermo.k_t(options.temperature)
            found = self.homologs.energies(sequence, alone, kt=kt, conditions=plain)
            self._last_found = (sequence, options, *found)
        return self._last_found[2:]

    def minimum(
        self,
        sequence: str,
        options: FoldOptions = FoldOptions(),
        constraint: str | None = None,
        reactivity: Reactivity | None = None,
    ) -> str:
        """Dot-bracket of the structure of lowest corrected energy."""
        bonus, _ = self.energies(sequence) or (None, 0.0)
        both = _sum(bonus, self.homologous(sequence, options)[0])
        fc = thermo.compound(sequence, both, options, constraint, reactivity)
        return thermo.minimum_free_energy(fc)[0]

    def sample(
        self,
        sequence: str,
        number: int,
        seed: int = 0,
        options: FoldOptions = FoldOptions(),
        constraint: str | None = None,
        reactivity: Reactivity | None = None,
    ) -> list[str]:
        """Draw structures whose pairs have the probabilities of `ensemble`.

        Of an average over parameter sets each structure comes from one set, drawn at random.

        Parameters
        ----------
        sequence : str
            RNA of L nucleotides, linear and in one strand.
        number : int
            Structures to draw.
        seed : int
            The same seed gives the same structures; others of other sequences.
        options, constraint, reactivity
            See `ensemble`.

        Returns
        -------
        list of str
            Dot-brackets in random order.
        """
        bonus, _ = self.energies(sequence) or (None, 0.0)
        extra = self.homologous(sequence, options)[0]
        models = [(_sum(bonus, extra), options)]
        models += [(extra, replace(options, parameters=name)) for name in self.average]
        rng = np.random.default_rng([seed, zlib.crc32(sequence.encode())])
        shares = rng.multinomial(number, [1.0 / len(models)] * len(models)).tolist()
        drawn: list[str] = []
        for share, (energies, conditions) in zip(shares, models, strict=True):
            if not share:
                continue
            fc = thermo.compound(
                sequence, energies, conditions, constraint, reactivity, samples=True
            )
            drawn += thermo.sample(fc, len(sequence), share, int(rng.integers(2**32)))
        return [drawn[k] for k in rng.permutation(number)]


def _sum(one: FloatArray | None, other: FloatArray | None) -> FloatArray | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def save_crf(
    folder: str | Path,
    net: FoldNet,
    card: dict[str, object],
    average: Sequence[ParameterSet] = (),
    evidence: EvidenceSource | None = None,
) -> None:
    """Write a model folder.

    It gets ``config.json`` (sizes, sets to average in, where evidence comes from, facts) and
    ``model.safetensors``, and a model card. A language model that was trained along is written into
    the folder ``encoder``; others are referred to by name and hash.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / "model.safetensors", net.state_dict())
    config: dict[str, Any] = {
        "model_type": "stemloop-fold-crf",
        "net": vars(net.config),
        "card": card,
        "average": list(average),
    }
    if evidence is not None:
        config["evidence"] = evidence.save(folder / ENCODER)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_card(folder, "structure", title=str(card.get("recipe", folder.name)), facts=card)


def load_crf(folder: str | Path, average: Sequence[ParameterSet] | None = None) -> ThermodynamicCRF:
    """Read a folder that `save_crf` wrote.

    Parameters
    ----------
    folder : path
        The folder.
    average : sequence of str, optional
        Parameter sets to average in instead of the model's own.

    Raises
    ------
    WeightsError
        The folder holds no such model, or its tensors do not fit.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config["model_type"] != "stemloop-fold-crf":
            raise WeightsError(f"{folder}: model type {config['model_type']!r} does not fold")
        net = FoldNet(FoldNetConfig(**config["net"]))
        own = tuple(config.get("average", ()))
        source = config.get("evidence")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{folder} is no folding model: {error}") from error
    try:
        net.load_state_dict(read_tensors(folder / "model.safetensors"))
    except RuntimeError as error:
        raise WeightsError(f"{folder}: {error}") from error
    evidence = None
    if source is not None:
        # Encoders take a while to import: models without do not wait for them.
        from stemloop.folding.evidence import load_evidence

        evidence = load_evidence(source, folder / ENCODER)
        if (evidence.states_width, evidence.maps_width) != (net.config.states, net.config.maps):
            raise WeightsError(
                f"{folder}: the network wants {net.config.states} numbers a base and "
                f"{net.config.maps} a pair, its evidence has {evidence.states_width} and "
                f"{evidence.maps_width}"
            )
    return ThermodynamicCRF(net, own if average is None else average, evidence)
