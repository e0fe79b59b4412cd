"""Conditions on the values of generated sequences, such as ``cm_score>=GA``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stemloop.errors import UsageError
from stemloop.tasks.generators import Generator

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge, "<=": operator.le, "!=": operator.ne, "=": operator.eq,
    ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_CONDITION = re.compile(r"\s*(\w+)\s*(>=|<=|!=|=|>|<)\s*(\S+)\s*")


@dataclass(frozen=True, slots=True)
class Condition:
    """What a sequence must fulfil: a value, a comparison, a bound."""

    name: str
    sign: str
    bound: str | float

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether a sequence's values fulfil it.

        Raises
        ------
        UsageError
            There is no such value, or it is no number.
        """
        if self.name not in values:
            raise UsageError(f"no value {self.name!r}; there are: {', '.join(values)}")
        value = values[self.name]
        if isinstance(value, str) != isinstance(self.bound, str):
            raise UsageError(f"{self.name} is {value!r}: not to be compared with {self.bound!r}")
        return _OPERATORS[self.sign](value, self.bound)


def condition(text: str, generator: Generator) -> Condition:
    """Read a condition such as ``cm_score>=GA`` or ``label_probability>0.9``.

    ``GA`` stands for the family's gathering threshold.

    Raises
    ------
    UsageError
        It cannot be read, or the family has no gathering threshold.
    """
    match = _CONDITION.fullmatch(text)
    if not match:
        raise UsageError(f"condition {text!r}: write NAME>=VALUE, as cm_score>=GA or distance>5")
    name, sign, bound = match.groups()
    if bound == "GA":
        threshold = generator.family.gathering if generator.family else None
        if threshold is None:
            raise UsageError("no gathering threshold is known for this family")
        return Condition(name, sign, threshold)
    try:
        return Condition(name, sign, float(bound))
    except ValueError:
        return Condition(name, sign, bound)
