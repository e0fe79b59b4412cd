"""What all recipes share: strict models, and reading one from YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from stemloop.errors import FormatError, InputError


class Strict(BaseModel):
    """Unknown keys are errors; nothing changes once it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
