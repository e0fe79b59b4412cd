"""Recipe of a head for whole sequences: data, split, head, and what of the encoder learns."""

from __future__ import annotations

from math import cos, pi
from typing import Literal, Self

from pydantic import Field, model_validator

from stemloop.errors import UsageError
from stemloop.evaluation.label_metrics import CLASS_METRICS, NUMBER_METRICS
from stemloop.models.sequence_head import Anchor, HeadConfig, Kind, Pool
from stemloop.models.sequence_model import TypeGuide
from stemloop.training.leaders import Rule
from stemloop.training.recipe_base import Strict, Unfreezing

Part = Literal["train", "validation", "test", "split"]


class Table(Strict):
    """A file of labelled sequences: CSV, TSV, FASTA or Stockholm, plain or compressed.

    ``label`` is the column of the label; of FASTA, the number of the word in the header (1 is the
    identifier); of Stockholm, a ``#=GF`` tag of the alignment, such as ID. ``value`` is the label
    of all records instead. ``rows`` keeps records from the first to before the second number,
    counted from 0; ``rule`` those that a published protocol takes (`stemloop.training.leaders`);
    ``take`` draws so many of what is left. ``part`` says what they are for; ``split`` leaves it to
    the recipe's split.
    """

    file: str
    part: Part = "split"
    id: str | None = None
    sequence: str = "sequence"
    label: str = "label"
    value: str | float | None = None
    rows: tuple[int, int] | None = None
    rule: Rule | None = None
    take: int | None = Field(None, ge=1)


class Split(Strict):
    """How records are set apart; copies of a sequence always stay together.

    ``random`` by the recipe's seed; ``cluster`` keeps sequences together that MMseqs2 finds similar
    (`identity`, `coverage`); ``column`` takes the part from a column (train, validation, test).
    """

    by: Literal["random", "cluster", "column"] = "random"
    column: str = "split"
    validation: float = Field(0.1, gt=0, lt=1)
    test: float = Field(0.1, ge=0, lt=1)
    identity: float = Field(0.8, gt=0, le=1)
    coverage: float = Field(0.8, gt=0, le=1)


class Classes(Strict):
    """Which classes take part, see `stemloop.training.sequence_classes.keep_classes`.

    ``shortest`` and ``longest`` are nucleotides, ``smallest`` and ``largest`` distinct sequences of
    a class. ``told_by_length`` leaves out classes that a decision tree on the length alone tells
    with a higher F1.
    """

    shortest: int = Field(1, ge=1)
    longest: int | None = Field(None, ge=1)
    smallest: int = Field(1, ge=1)
    largest: int | None = Field(None, ge=1)
    told_by_length: float | None = Field(None, ge=0, le=1)


class HeadShape(Strict):
    """Shape of the head, see `stemloop.models.sequence_head.HeadConfig`."""

    kind: Kind = "pooled"
    pools: tuple[Pool, ...] = ("mean",)
    layers: tuple[int, ...] = (-1,)
    hidden: int = Field(128, ge=1)
    channels: int = Field(32, ge=1)
    blocks: int = Field(0, ge=0)
    kernel: int = Field(3, ge=1)
    window: int = Field(0, ge=0)
    anchor: Anchor = "exact"
    dropout: float = Field(0.1, ge=0, lt=1)
    members: int = Field(1, ge=1)

    def config(self, width: int, outputs: int) -> HeadConfig:
        """Return the head's own configuration."""
        return HeadConfig(width=width, outputs=outputs, **self.model_dump())


class Guide(Strict):
    """Type-guided, see `stemloop.models.sequence_model.TypeGuide`."""

    types: int = Field(3, ge=1)
    choice: Literal["model", "random"] = "model"
    combine: Literal["outputs", "features"] = "outputs"

    def guide(self) -> TypeGuide:
        """Return the model's own setting."""
        return TypeGuide(**self.model_dump())


class Lora(Strict):
    """Low-rank adapters on the linear maps of the blocks (Hu et al. 2022); needs peft."""

    rank: int = Field(8, ge=1)
    alpha: float = Field(16.0, gt=0)


class SequenceRecipe(Strict):
    """Training of a head for whole sequences, alone or with its encoder.

    ``classes`` says which classes take part, ``noise`` how much is added at the ends of all
    records, in lengths of the sequence. ``further`` are more test records, by name, that
    ``stemloop evaluate sequence`` scores apart. ``start`` is a finished model whose head is the one
    to start from. With ``encoder: full`` each block learns at
    ``block_decay`` times the rate of the one behind it. ``hide`` is the part of the nucleotides
    that training steps hide behind masks, ``smoothing`` the part of a label's weight that goes to
    all classes alike, ``likelihood`` the part of the loss that is how improbable a head of the kind
    ``causal`` finds a record and its class, ``precision`` that of training steps, ``storage`` that
    of the model's files; scores are those of the model as it is stored.
    """

    task: Literal["classify", "regress"]
    name: str
    seed: int = 0
    labels: tuple[str, ...] = ()
    data: list[Table] = Field(min_length=1)
    further: dict[str, list[Table]] = {}
    classes: Classes | None = None
    noise: float = Field(0.0, ge=0)
    split: Split = Split()
    drop_copies: bool = False
    leakage: float | None = Field(0.8, gt=0, le=1)
    head: HeadShape = HeadShape()
    encoder: Literal["none", "frozen", "full", "gradual", "lora"] = "frozen"
    start: str = ""
    unfreeze: Unfreezing = Unfreezing()
    lora: Lora = Lora()
    guide: Guide | None = None
    epochs: int = Field(30, ge=1)
    patience: int = Field(5, ge=1)
    select: str = ""
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    encoder_rate: float = Field(3e-4, gt=0)
    warm_up: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0)
    block_decay: float = Field(1.0, gt=0, le=1)
    hide: float = Field(0.0, ge=0, lt=1)
    smoothing: float = Field(0.0, ge=0, lt=1)
    likelihood: float = Field(0.0, ge=0, le=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    storage: Literal["fp32", "fp16"] = "fp32"
    balance: bool = False
    save_every: int = Field(200, ge=1)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        known = CLASS_METRICS if self.task == "classify" else NUMBER_METRICS[:3]
        if self.select and self.select not in known:
            raise ValueError(f"select: {self.select!r} is none of {', '.join(known)}")
        if self.task == "regress" and (self.labels or self.balance or self.classes):
            raise ValueError("labels, balance and classes are for task classify")
        if self.smoothing and self.task == "regress":
            raise ValueError("smoothing is for classes")
        if self.hide and self.encoder in ("none", "frozen"):
            raise ValueError("hide is for encoders that learn")
        if self.likelihood and self.head.kind != "causal":
            raise ValueError("likelihood is for heads of the kind causal")
        if self.head.kind == "causal" and (self.encoder != "none" or self.task != "classify"):
            raise ValueError("a causal head tells classes, from nucleotides: encoder none")
        try:
            self.head.config(1, 1)
        except UsageError as error:
            raise ValueError(f"head: {error}") from error
        return self

    @property
    def metric(self) -> str:
        """Score of the validation records that chooses the epoch; higher is better."""
        return self.select or (CLASS_METRICS if self.task == "classify" else NUMBER_METRICS)[0]

    def rate(self, step: int, steps: int) -> float:
        """Part of the learning rates at a step: rises in a straight line, falls along a cosine.

        Examples
        --------
        >>> values = {"task": "classify", "name": "x", "data": [{"file": "a.csv"}], "warm_up": 0.5}
        >>> recipe = SequenceRecipe.model_validate(values)
        >>> [round(recipe.rate(step, 8), 3) for step in (0, 3, 4, 6, 7)]
        [0.25, 1.0, 1.0, 0.5, 0.146]
        """

        rising = round(self.warm_up * steps)
        if step < rising:
            return (step + 1) / rising
        return 0.5 + 0.5 * cos(pi * (step - rising) / max(steps - rising, 1))


def hold_out(recipe: SequenceRecipe, group: str) -> SequenceRecipe:
    """Recipe that trains on all groups but one, and tests on that one.

    The group is the first word of a table's ``value``, a species for instance. Labels lose it, so
    that those of the groups are the same.

    Raises
    ------
    UsageError
        The tables have no ``value`` of two words, or none starts with `group`.

    Examples
    --------
    >>> data = [{"file": "a.fa", "value": "fly donor"}, {"file": "b.fa", "value": "worm donor"}]
    >>> recipe = SequenceRecipe.model_validate({"task": "classify", "name": "x", "data": data})
    >>> [(table.value, table.part) for table in hold_out(recipe, "fly").data]
    [('donor', 'test'), ('donor', 'train')]
    """
    words = [str(table.value or "").split(" ", 1) for table in recipe.data]
    groups = sorted({each[0] for each in words if len(each) == 2})
    if recipe.labels or any(len(each) < 2 for each in words):
        raise UsageError("to hold out a group all data need a value such as 'fly donor'")
    if group not in groups or len(groups) < 2:
        raise UsageError(f"nothing called {group!r} to hold out: there are {', '.join(groups)}")
    data = [
        table.model_copy(update={"value": rest, "part": "test" if first == group else "train"})
        for table, (first, rest) in zip(recipe.data, words, strict=True)
    ]
    return recipe.model_copy(update={"name": f"{recipe.name}-without-{group}", "data": data})
