"""The thermodynamic CRF as a predictor: network energies on top of nearest-neighbour energies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from stemloop.errors import WeightsError
from stemloop.folding import layer, thermo
from stemloop.folding.thermo import Ensemble, FloatArray, FoldOptions, ParameterSet
from stemloop.models.foldnet import FoldNet, FoldNetConfig, pair_features
from stemloop.weights.tensors import read_tensors, write_tensors


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

    Examples
    --------
    >>> crf = ThermodynamicCRF()
    >>> crf.ensemble("GGGGAAAACCCC").pair_probability.shape
    (12, 12)
    """

    def __init__(self, net: FoldNet | None = None, average: Sequence[ParameterSet] = ()) -> None:
        self.net = net.eval() if net is not None else None
        self.average = tuple(average)

    def energies(self, sequence: str) -> tuple[FloatArray, float] | None:
        """Pair corrections (L, L) in kcal/mol with the base terms folded in, and their constant.

        Returns None where there is no network: the nearest-neighbour model stands as it is.
        """
        if self.net is None:
            return None
        features = pair_features(sequence)
        with torch.inference_mode():
            u, v = self.net(features)
            bonus = u - v[features.i] - v[features.j]
        return layer.dense(bonus, features.i, features.j, len(sequence)), float(v.sum())

    def ensemble(
        self,
        sequence: str,
        options: FoldOptions = FoldOptions(),
        constraint: str | None = None,
    ) -> Ensemble:
        """Pair probabilities and ensemble free energy of one RNA.

        Parameters
        ----------
        sequence : str
            RNA of L nucleotides.
        options : FoldOptions
            Temperature, parameter set of the corrected model, longest span.
        constraint : str, optional
            Hard constraint in dot-bracket notation.
        """
        corrected = self.energies(sequence)
        if corrected is None:
            first = thermo.fold_ensemble(sequence, options=options, constraint=constraint)
        else:
            bonus, constant = corrected
            first = thermo.fold_ensemble(sequence, bonus, options=options, constraint=constraint)
            first = Ensemble(first.pair_probability, first.free_energy + constant)
        if not self.average:
            return first
        total = first.pair_probability.copy()
        for name in self.average:
            other = FoldOptions(options.temperature, name, options.max_span)
            total += thermo.fold_ensemble(
                sequence, options=other, constraint=constraint
            ).pair_probability
        return Ensemble(total / (1 + len(self.average)), first.free_energy)

    def minimum(
        self,
        sequence: str,
        options: FoldOptions = FoldOptions(),
        constraint: str | None = None,
    ) -> str:
        """Dot-bracket of the structure of lowest corrected energy."""
        corrected = self.energies(sequence)
        bonus = None if corrected is None else corrected[0]
        return thermo.minimum_free_energy(thermo.compound(sequence, bonus, options, constraint))[0]


def save_crf(
    folder: str | Path,
    net: FoldNet,
    card: dict[str, object],
    average: Sequence[ParameterSet] = (),
) -> None:
    """Write ``config.json`` (sizes, sets to average in, facts) and ``model.safetensors``."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / "model.safetensors", net.state_dict())
    config = {"model_type": "stemloop-fold-crf", "net": vars(net.config), "card": card}
    config["average"] = list(average)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_crf(
    folder: str | Path, average: Sequence[ParameterSet] | None = None
) -> ThermodynamicCRF:
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
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{folder} is no folding model: {error}") from error
    try:
        net.load_state_dict(read_tensors(folder / "model.safetensors"))
    except RuntimeError as error:
        raise WeightsError(f"{folder}: {error}") from error
    return ThermodynamicCRF(net, own if average is None else average)
