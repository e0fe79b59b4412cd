"""Recipes of masked-language-model pre-training, as validated objects."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from stemloop.data.masking import MaskingOptions
from stemloop.errors import UsageError
from stemloop.training.recipe_base import Strict


class MaskingRecipe(Strict):
    """Masking, see `stemloop.data.masking.MaskingOptions`."""

    base: float = Field(1.0, ge=0)
    subsequence: float = Field(0.0, ge=0)
    motif: float = Field(0.0, ge=0)
    ratio: float = Field(0.15, gt=0, le=1)
    window: int | None = Field(None, ge=1)
    mask: float = Field(0.8, ge=0, le=1)
    random: float = Field(0.1, ge=0, le=1)
    random_from: Literal["letters", "vocabulary"] = "letters"
    span_lengths: tuple[int, ...] = (5, 6, 7, 8)
    span_weights: tuple[float, ...] = (1, 1 / 2, 1 / 3, 1 / 4)
    prompt: float = Field(1.0, ge=0, le=1)
    type_mask: float = Field(0.5, ge=0, le=1)
    published: bool = False

    @model_validator(mode="after")
    def _fits(self) -> MaskingRecipe:
        try:
            self.options()
        except UsageError as error:
            raise ValueError(str(error)) from None
        return self

    def options(self) -> MaskingOptions:
        """Return the options that the masking itself takes."""
        return MaskingOptions(**self.model_dump())


class NGrams(Strict):
    """Frequent words of the corpus as motifs, see `stemloop.data.motifs`."""

    count: int = Field(ge=1)
    lengths: tuple[int, ...] = (10, 11, 12, 13)
    sample: int = Field(20_000, ge=1)


class MotifRecipe(Strict):
    """Motifs for the motif strategy."""

    files: tuple[str, ...] = ()
    min_length: int = Field(4, ge=1)
    frequent: NGrams | None = None


class Sampling(Strict):
    """What an epoch draws of the corpus: one member of every cluster, under these caps."""

    window: int = Field(512, ge=8)
    caps: dict[str, int] = {}


class Batch(Strict):
    """Sizes of packs and steps.

    A step sees ``packs`` packs of at most ``tokens`` tokens, whatever the number of devices: they
    are shared out, and what a device gets beyond one is accumulated.
    """

    tokens: int = Field(8192, ge=16)
    packs: int = Field(1, ge=1)


class Optimiser(Strict):
    """AdamW or Muon, with a linear warm-up and a cosine to the smallest rate."""

    name: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(gt=0)
    min_learning_rate: float = Field(0.0, ge=0)
    warm_up: int = Field(0, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, ge=0)
    muon_learning_rate: float = Field(0.02, gt=0)


class PretrainRecipe(Strict):
    """Pre-training of an encoder on a corpus."""

    task: Literal["pretrain"]
    name: str
    seed: int = Field(0, ge=0)
    model: str
    overrides: dict[str, Any] = {}
    masking: MaskingRecipe = MaskingRecipe()
    motifs: MotifRecipe = MotifRecipe()
    sampling: Sampling = Sampling()
    batch: Batch = Batch()
    optimiser: Optimiser
    steps: int = Field(ge=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    gradient_checkpointing: bool = False
    log_every: int = Field(10, ge=1)
    save_every: int = Field(500, ge=1)
    evaluate_every: int = Field(500, ge=1)
    evaluate_packs: int = Field(8, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> PretrainRecipe:
        if self.sampling.window > self.batch.tokens:
            raise ValueError("sampling.window does not fit into batch.tokens")
        if self.masking.motif and not (self.motifs.files or self.motifs.frequent):
            raise ValueError("masking.motif needs motifs.files or motifs.frequent")
        if self.optimiser.warm_up >= self.steps:
            raise ValueError("optimiser.warm_up must be below steps")
        if self.save_every % self.log_every:
            # Sums since the last line are not saved: a resumed run would report other means.
            raise ValueError("save_every must be a multiple of log_every")
        return self
