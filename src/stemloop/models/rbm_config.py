"""Shape of an RBM, and the names of its states and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from stemloop.errors import WeightsError


@dataclass(frozen=True, slots=True)
class RBMConfig:
    """Shape of a machine, and what its states and labels are called.

    Parameters
    ----------
    kind : str
        ``potts`` or ``binary`` visible units.
    visible : int
        Sites N.
    hidden : int
        Hidden units H.
    letters : str
        One letter a state, such as ``-ACGU``; ``01`` for binary units.
    labels : tuple of str
        Label names. Without labels: one name, which then changes nothing.
    width : int
        Columns of the alignment that the sites were chosen from.
    columns : tuple of int
        These columns, from 0. Empty: all, and `width` equals `visible`.

    Raises
    ------
    WeightsError
        Sizes or names that do not go together.
    """

    kind: Literal["potts", "binary"]
    visible: int
    hidden: int
    letters: str
    labels: tuple[str, ...] = ("",)
    width: int = 0
    columns: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ("potts", "binary"):
            raise WeightsError(f"unknown kind of visible units {self.kind!r}")
        if self.visible < 1 or self.hidden < 1 or len(self.letters) < 2 or not self.labels:
            raise WeightsError("an RBM needs sites, hidden units, two letters and a label")
        if self.kind == "binary" and len(self.letters) != 2:
            raise WeightsError(f"binary units have two states, not {len(self.letters)}")
        for what, names in (("letter", self.letters), ("label", self.labels)):
            if len(set(names)) != len(names):
                raise WeightsError(f"a {what} repeats")
        if not self.width:
            object.__setattr__(self, "width", self.visible)
        if len(self.columns) not in (0, self.visible):
            raise WeightsError(f"{len(self.columns)} columns for {self.visible} sites")

    @property
    def states(self) -> int:
        """States a site."""
        return len(self.letters)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors."""
        rows = self.states if self.kind == "potts" else 1
        return {
            "weights": (rows, self.visible, self.hidden),
            "visible_bias": (rows, self.visible),
            "hidden_bias": (self.hidden,),
            "label_weights": (len(self.labels), self.hidden),
            "label_bias": (len(self.labels),),
        }

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RBMConfig:
        """From JSON values.

        Raises
        ------
        WeightsError
            A value is missing, unknown or out of range.
        """
        try:
            lists = {k: tuple(values[k]) for k in ("labels", "columns")}
            return cls(**{**values, **lists})
        except (KeyError, TypeError) as error:
            raise WeightsError(f"no configuration of an RBM: {error!r}") from error
