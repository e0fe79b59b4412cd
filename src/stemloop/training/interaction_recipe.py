"""Recipes of ``stemloop finetune interaction``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from stemloop.data.interactions import Columns
from stemloop.models.interaction_head import InteractionConfig
from stemloop.models.interaction_recurrent import RecurrentConfig
from stemloop.training.interaction_features import NUMBERS
from stemloop.training.recipe_base import Strict


class PairTable(Strict):
    """A table of pairs: its file and columns; ``flip_first`` for first strands stored 3' to 5'."""

    file: str
    first: str = "first"
    second: str = "second"
    first_id: str | None = None
    second_id: str | None = None
    label: str = "label"
    flip_first: bool = False

    def columns(self) -> Columns:
        """Columns to read."""
        return Columns(self.first, self.second, self.first_id, self.second_id, self.label)


class Parts(Strict):
    """How pairs are divided: first strands of one family (nucleotides 2-8) stay together."""

    validation: float = Field(0.15, gt=0, lt=1)
    test: float = Field(0.2, gt=0, lt=1)


class Decoys(Strict):
    """What the true pairs are told from.

    ``matched``: one decoy a pair with the same seed match and composition
    (`stemloop.data.mirna_sites.matched_decoys`); ``random``: one whatever its seed match, of the
    same length; ``table``: the pairs that the table says do not interact, ``all`` of them or the
    ``own`` ones of first strands that are in true pairs, too.
    """

    matched: bool = True
    random: bool = True
    table: Literal["none", "own", "all"] = "none"


class Net(Strict):
    """What networks of all kinds have; see `stemloop.models.interaction_input.NetConfig`."""

    numbers: bool = True
    paired: bool = True
    state_channels: int = Field(32, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)

    def _values(self, states: int) -> dict[str, Any]:
        numbers = NUMBERS if self.numbers else 0
        return self.model_dump(exclude={"kind"}) | {"numbers": numbers, "states": states}


class AttentionNet(Net):
    """Shape of the network, see `stemloop.models.interaction_head.InteractionConfig`."""

    kind: Literal["attention"] = "attention"
    channels: int = Field(48, ge=4)
    heads: int = Field(4, ge=1)
    kernel: int = Field(7, ge=1)
    hidden: int = Field(64, ge=1)

    def config(self, states: int = 0) -> InteractionConfig:
        """Shape, for a language model of that width."""
        return InteractionConfig(**self._values(states))


class RecurrentNet(Net):
    """Shape of the network, see `stemloop.models.interaction_recurrent.RecurrentConfig`."""

    kind: Literal["cnn-bilstm"]
    channels: int = Field(320, ge=1)
    kernel: int = Field(12, ge=1)
    recurrent: int = Field(32, ge=1)
    hidden: int = Field(16, ge=1)

    def config(self, states: int = 0) -> RecurrentConfig:
        """Shape, for a language model of that width."""
        return RecurrentConfig(**self._values(states))


def _kind(net: Any) -> Any:
    return net.get("kind", "attention") if isinstance(net, dict) else getattr(net, "kind", None)


#: By its ``kind``; without one, attention.
AnyNet = Annotated[
    Annotated[AttentionNet, Tag("attention")] | Annotated[RecurrentNet, Tag("cnn-bilstm")],
    Discriminator(_kind),
]


class InteractionRecipe(Strict):
    """A recipe.

    ``encoder: frozen`` is for networks that read states of a language model, too.
    ``select`` is the score on validation pairs that chooses the epoch: the area under the curve of
    true pairs against matched decoys, random decoys, those of the table, or the mean of all there
    are.
    """

    task: Literal["interaction"]
    name: str
    data: PairTable
    parts: Parts = Parts()
    decoys: Decoys = Decoys()
    encoder: Literal["none", "frozen"] = "none"
    net: AnyNet = AttentionNet()
    select: Literal["matched", "random", "table", "mean"] = "mean"
    epochs: int = Field(12, ge=1)
    patience: int = Field(4, ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    warm_up: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    seed: int = Field(0, ge=0)
