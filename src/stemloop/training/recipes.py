"""Recipes: the YAML files that say how a model is trained, as validated objects."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from stemloop.data.structures import TypeRule
from stemloop.folding.thermo import ParameterSet
from stemloop.models.foldnet import FoldNetConfig
from stemloop.training.recipe_base import Strict, read_recipe


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
    rest, both along a cosine.
    """

    name: str
    epochs: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    warm_up: float = Field(0.3, gt=0, lt=1)
    sources: list[Source] = Field(min_length=1)


class Objective(Strict):
    """Weights of the terms of the loss; the soft F score itself has weight 1."""

    recall_weight: float = Field(1.0, gt=0)
    likelihood: float = Field(0.1, ge=0)
    prior_pair: float = Field(0.002, ge=0)
    prior_base: float = Field(0.02, ge=0)
    probe: float = Field(0.1, gt=0)


class Net(Strict):
    """Sizes of the network, see `stemloop.models.foldnet.FoldNetConfig`."""

    channels: int = Field(48, ge=1)
    hidden: int = Field(64, ge=1)
    helix_layers: int = Field(1, ge=0)
    dropout: float = Field(0.1, ge=0, lt=1)

    def config(self) -> FoldNetConfig:
        """Return the network's own configuration."""
        return FoldNetConfig(**self.model_dump())


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
    stages: list[Stage] = Field(min_length=1)


def load_recipe(path: str | Path) -> StructureRecipe:
    """Read a recipe for the thermodynamic CRF; see `stemloop.training.recipe_base.read_recipe`."""
    return read_recipe(path, StructureRecipe)
