"""Recipe of the pair head: what is trained on what, and when the encoder joins in."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from stemloop.training.recipe_base import Strict, Unfreezing
from stemloop.training.recipes import Source


class PairHeadRecipe(Strict):
    """Training of RiNALMo's pair head, alone or with its encoder; defaults as published."""

    task: Literal["pair-head"]
    name: str
    seed: int = 0
    channels: int = Field(64, ge=1)
    blocks: int = Field(2, ge=0)
    kernel: int = Field(3, ge=1)
    epochs: int = Field(15, ge=1)
    learning_rate: float = Field(5e-4, gt=0)
    end_factor: float = Field(0.1, gt=0, le=1)
    decay_steps: int = Field(7000, ge=1)
    unfreeze: Unfreezing | None = Unfreezing()
    precision: Literal["fp32", "bf16"] = "fp32"
    checkpointing: bool = False
    save_every: int = Field(500, ge=1)
    train: list[Source] = Field(min_length=1)
    validation: list[Source] = []
    validation_part: float = Field(0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        if self.kernel % 2 == 0:
            raise ValueError("kernel must be odd")
        return self

    def rate(self, step: int) -> float:
        """Learning rate of the head after so many steps: falls in a straight line, then stays.

        Examples
        --------
        >>> source = {"file": "a.csv", "draw": [{}]}
        >>> recipe = PairHeadRecipe(task="pair-head", name="x", train=[source])
        >>> [round(recipe.rate(step), 6) for step in (0, 3500, 7000, 9000)]
        [0.0005, 0.000275, 5e-05, 5e-05]
        """
        part = min(step / self.decay_steps, 1.0)
        return self.learning_rate * (1.0 + (self.end_factor - 1.0) * part)
