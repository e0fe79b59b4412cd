"""Evidence for the network of the thermodynamic CRF: language models and other parameter sets.

Two kinds of numbers. A language model gives its states of the bases (its output, d numbers a base)
and its attention (one number a pair and head, symmetric and corrected, see
`stemloop.models.attention.corrected_attention`). Parameter sets give the log odds of each pair in
the ensemble of their plain energies, one number a pair and set.

What the network makes of it starts at zero, so where a language model knows nothing the
nearest-neighbour energies stand.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stemloop.alphabet import Alphabet
from stemloop.errors import InputError, WeightsError
from stemloop.folding.conditions import FoldOptions, ParameterSet
from stemloop.folding.thermo import fold_ensemble
from stemloop.models.attention import corrected_attention
from stemloop.models.build import Encoder
from stemloop.models.foldnet import Evidence, PairFeatures
from stemloop.weights.locate import sha256_file
from stemloop.weights.store import WEIGHTS, load, save_model_dir

#: Probabilities closer to 0 or 1 are as good as this: log odds of 9.2.
_SURE = 1e-4


@dataclass(frozen=True)
class EvidenceSource:
    """Where evidence comes from.

    Parameters
    ----------
    encoder : RiNALMo or RNAErnie, optional
        The language model.
    alphabet : Alphabet, optional
        Its letters.
    states, attention : bool
        What is taken of it.
    sets : sequence of str
        Parameter sets whose pair probabilities are evidence.
    facts : mapping
        Where the language model came from: ``language_model`` (name or folder) and ``sha256``.
    trained : bool
        It was trained along and is not that one any more.

    Examples
    --------
    >>> from stemloop.models.foldnet import pair_features
    >>> source = EvidenceSource(sets=("turner2004",))
    >>> source.states_width, source.maps_width
    (0, 1)
    >>> sequence = "GGGGAAAACCCC"
    >>> (found,) = source([sequence], [pair_features(sequence)])
    >>> found.maps.shape
    torch.Size([16, 1])
    """

    encoder: Encoder | None = None
    alphabet: Alphabet | None = None
    states: bool = True
    attention: bool = True
    sets: Sequence[ParameterSet] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    trained: bool = False

    @property
    def states_width(self) -> int:
        """Numbers a base."""
        return self.encoder.config.hidden if self.encoder is not None and self.states else 0

    @property
    def maps_width(self) -> int:
        """Numbers a pair."""
        heads = 0
        if self.encoder is not None and self.attention:
            heads = self.encoder.config.layers * self.encoder.config.heads
        return heads + len(self.sets)

    def save(self, own: Path) -> dict[str, Any]:
        """Describe the source for `load_evidence`; a trained language model is written to `own`."""
        settings: dict[str, Any] = {"sets": list(self.sets)}
        if self.encoder is None:
            return settings
        settings |= {"states": self.states, "attention": self.attention}
        if not self.trained:
            return settings | self.facts
        state = {name: value.detach() for name, value in self.encoder.state_dict().items()}
        save_model_dir(own, self.encoder.config, state, source=self.facts, force=True)
        return settings | {"trained": True}

    def __call__(
        self, sequences: Sequence[str], features: Sequence[PairFeatures]
    ) -> list[Evidence]:
        """Evidence of RNAs, which do not influence each other.

        Parameters
        ----------
        sequences : sequence of str
            Nucleotides.
        features : sequence of PairFeatures
            Their pairs.

        Raises
        ------
        InputError
            An RNA is longer than the language model allows.
        """
        states: list[Tensor | None] = [None] * len(sequences)
        maps: list[list[Tensor]] = [[] for _ in sequences]
        if self.encoder is not None:
            self._read(self.encoder, sequences, features, states, maps)
        for options in (FoldOptions(parameters=name) for name in self.sets):
            for k, (sequence, pairs) in enumerate(zip(sequences, features, strict=True)):
                p = fold_ensemble(sequence, options=options).pair_probability[pairs.i, pairs.j]
                maps[k].append(torch.from_numpy(p).float().logit(_SURE)[:, None])
        return [
            Evidence(of_bases, torch.cat(of_pairs, 1) if of_pairs else None)
            for of_bases, of_pairs in zip(states, maps, strict=True)
        ]

    def _read(
        self,
        encoder: Encoder,
        sequences: Sequence[str],
        features: Sequence[PairFeatures],
        states: list[Tensor | None],
        maps: list[list[Tensor]],
    ) -> None:
        assert self.alphabet is not None
        longest = encoder.config.longest
        for sequence in sequences:
            if longest is not None and len(sequence) > longest - 2:
                raise InputError(
                    f"{len(sequence)} nucleotides",
                    expected=f"at most {longest - 2} for this language model",
                )
        ids, starts = self.alphabet.encode_many(list(sequences))
        tokens = torch.from_numpy(ids).long()
        out = encoder(tokens, torch.from_numpy(starts), need_attentions=self.attention)
        for k in range(len(sequences)):
            if self.states:
                # Between CLS and EOS.
                states[k] = out.representation[int(starts[k]) + 1 : int(starts[k + 1]) - 1].float()
            if self.attention:
                assert out.attentions is not None
                # (layers, heads, L + 2, L + 2)
                inner = out.attentions[k][:, :, 1:-1, 1:-1].flatten(0, 1)
                i, j = torch.from_numpy(features[k].i), torch.from_numpy(features[k].j)
                # An even share of the attention is 1 / L: brought to numbers around 1.
                maps[k].append(torch.asinh(len(sequences[k]) * corrected_attention(inner, i, j)))


def open_evidence(
    language_model: str | os.PathLike[str] | None = None,
    *,
    states: bool = True,
    attention: bool = True,
    sets: Sequence[ParameterSet] = (),
) -> EvidenceSource:
    """Evidence from a language model and from parameter sets.

    Parameters
    ----------
    language_model : str or path, optional
        Model directory, or name of weights that are here.
    states, attention, sets
        See `EvidenceSource`.

    Raises
    ------
    WeightsError
        There is no such language model.
    """
    if language_model is None:
        return EvidenceSource(sets=tuple(sets))
    model = load(language_model)
    facts = {"language_model": str(language_model), "sha256": sha256_file(model.path / WEIGHTS)}
    return EvidenceSource(model.encoder, model.alphabet, states, attention, tuple(sets), facts)


def load_evidence(settings: Mapping[str, Any], own: Path) -> EvidenceSource:
    """Evidence as `EvidenceSource.save` described it.

    Parameters
    ----------
    settings : mapping
        The description.
    own : path
        Where a language model lies that was trained along.

    Raises
    ------
    WeightsError
        There is no such language model, or it is another one than the network was trained on.
    """
    settings = dict(settings)
    trained = settings.pop("trained", False)
    expected = settings.pop("sha256", None)
    if trained:
        settings["language_model"] = own
    source = open_evidence(**settings)
    found = source.facts.get("sha256")
    if not trained and found != expected:
        raise WeightsError(
            f"{settings['language_model']} is not the language model that this folding model was "
            f"trained on: sha256 {found}, expected {expected}"
        )
    return source
