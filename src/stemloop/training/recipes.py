"""Recipes: the YAML files that say how a model is trained, as validated objects."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from stemloop.data.structures import TypeRule
from stemloop.folding.conditions import ParameterSet
from stemloop.models.foldnet import FoldNetConfig
from stemloop.training.recipe_base import Strict, read_recipe

if TYPE_CHECKING:
    from stemloop.folding.evidence import EvidenceSource


class Draw(Strict):
    """One rule of what an epoch draws, see `stemloop.data.structures.TypeRule`."""

    type: str = "."
    families: int = -1
    members: int = Field(2, ge=0)

    @field_validator("type")
    @classmethod
    def _is_pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"no regular expression pattern: {error}") from error
        return value


class Source(Strict):
    """A table of RNAs with structures, and what of it is used."""

    file: str
    id: str = "id"
    sequence: str = "sequence"
    structure: str = "structure"
    family: str | None = None
    type: str | None = None
    min_length: int = Field(20, ge=1)
    max_length: int = Field(300, ge=1)
    min_pairs: int = Field(3, ge=1)
    min_paired_fraction: float = Field(0.0, ge=0.0, le=1.0)
    draw: list[Draw]

    def rules(self) -> list[TypeRule]:
        """Return the draw rules."""
        return [TypeRule(rule.type, rule.families, rule.members) for rule in self.draw]


class Stage(Strict):
    """A stretch of training with its own data.

    The learning rate rises over the first part ``warm_up`` of the steps and falls to zero over the
    rest, both along a cosine. In a family-fold evaluation a stage is trained anew for each class
    (``each_fold``), without that class, or once for all, without any of the classes.
    """

    name: str
    epochs: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    warm_up: float = Field(0.3, gt=0, lt=1)
    each_fold: bool = True
    sources: list[Source] = Field(min_length=1)


class Objective(Strict):
    """Weights of the terms of the loss, see `stemloop.training.structure_objective`.

    ``soft_f`` is the expected F score; ``likelihood`` and ``margin`` count a nucleotide.
    """

    soft_f: float = Field(1.0, ge=0)
    margin: float = Field(0.0, ge=0)
    margin_missed: float = Field(0.5, ge=0)
    margin_false: float = Field(0.005, ge=0)
    recall_weight: float = Field(1.0, gt=0)
    likelihood: float = Field(0.1, ge=0)
    prior_pair: float = Field(0.002, ge=0)
    prior_base: float = Field(0.02, ge=0)
    probe: float = Field(0.1, gt=0)

    @model_validator(mode="after")
    def _teaches_something(self) -> Objective:
        if not (self.soft_f or self.likelihood or self.margin):
            raise ValueError("soft_f, likelihood and margin are all 0: nothing to learn")
        return self


class LanguageModel(Strict):
    """A language model whose states and attention are evidence, see `stemloop.folding.evidence`.

    ``training``: ``frozen``, ``lora`` (adapters of ``rank``, scaled by ``alpha``; needs peft) or
    ``full``; what learns of it does so at 1 / ``divide`` of the network's rate.
    """

    model: str
    states: bool = True
    attention: bool = True
    training: Literal["frozen", "lora", "full"] = "frozen"
    rank: int = Field(8, ge=1)
    alpha: float = Field(16.0, gt=0)
    divide: float = Field(10.0, ge=1)

    @model_validator(mode="after")
    def _gives_something(self) -> LanguageModel:
        if not (self.states or self.attention):
            raise ValueError("neither states nor attention of the language model are used")
        return self


class Net(Strict):
    """Sizes of the network, see `stemloop.models.foldnet.FoldNetConfig`."""

    channels: int = Field(48, ge=1)
    hidden: int = Field(64, ge=1)
    helix_layers: int = Field(1, ge=0)
    dropout: float = Field(0.1, ge=0, lt=1)

    def config(self, evidence: EvidenceSource | None = None) -> FoldNetConfig:
        """Return the network's own configuration, with the widths of its evidence."""
        config = FoldNetConfig(**self.model_dump())
        if evidence is None:
            return config
        return replace(config, states=evidence.states_width, maps=evidence.maps_width)


class StructureRecipe(Strict):
    """Training of the thermodynamic CRF."""

    task: Literal["structure"]
    name: str
    seed: int = 0
    batch_size: int = Field(8, ge=1)
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0)
    net: Net = Net()
    objective: Objective = Objective()
    average: tuple[ParameterSet, ...] = ()
    language_model: LanguageModel | None = None
    sets: tuple[ParameterSet, ...] = ()
    stages: list[Stage] = Field(min_length=1)

    @field_validator("stages")
    @classmethod
    def _shared_stages_come_first(cls, stages: list[Stage]) -> list[Stage]:
        own = [stage.each_fold for stage in stages]
        if own != sorted(own):
            raise ValueError("stages with each_fold: false must come before the others")
        return stages


def load_recipe(path: str | Path) -> StructureRecipe:
    """Read a recipe for the thermodynamic CRF; see `stemloop.training.recipe_base.read_recipe`."""
    return read_recipe(path, StructureRecipe)
