"""What all recipes share: strict models, and reading one from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stemloop.errors import FormatError, InputError, UsageError


class Strict(BaseModel):
    """Unknown keys are errors; nothing changes once it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Unfreezing(Strict):
    """Which blocks of the encoder are trained from which epoch on, the last blocks first.

    With epoch ``start`` the last ``blocks`` of them and the final layer norm begin, every ``every``
    epochs so many more, until only the first ``frozen`` are left. Embedding and language-model head
    are never trained. What begins later learns at 1 / ``divide`` of the head's rate.
    """

    start: int = Field(3, ge=0)
    every: int = Field(3, ge=1)
    blocks: int = Field(3, ge=1)
    frozen: int = Field(9, ge=0)
    divide: float = Field(10.0, ge=1)


Recipe = TypeVar("Recipe", bound=Strict)


def read_recipe(path: str | Path, kind: type[Recipe]) -> Recipe:
    """Read a recipe of one kind.

    Raises
    ------
    InputError
        The file cannot be read.
    FormatError
        The file is no YAML, or a key is missing, unknown or out of range; the message names it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read the recipe: {error.strerror}", path=str(path)) from error
    except UnicodeDecodeError as error:
        raise FormatError("not valid YAML", path=str(path), expected="UTF-8 text") from error
    try:
        content: Any = yaml.safe_load(text)
        return kind.model_validate(content)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        raise FormatError("not valid YAML", path=str(path), line=line) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise FormatError(f"{where}: {first['msg']}", path=str(path)) from error


def revise(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Recipe with some keys changed, checked as a whole.

    Raises
    ------
    UsageError
        A value that cannot be; the message names the key.
    """
    try:
        return type(recipe).model_validate(recipe.model_dump() | dict(changes))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise UsageError(f"{where}: {first['msg']}") from error
