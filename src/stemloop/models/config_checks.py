"""What every configuration checks of itself, and the keys that transformers adds to config.json."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from stemloop.errors import WeightsError

#: Keys that transformers adds to config.json and that say nothing about the network's shape.
HUB_KEYS = frozenset(
    {
        "_name_or_path",
        "architectures",
        "auto_map",
        "bos_token_id",
        "chunk_size_feed_forward",
        "dtype",
        "id2label",
        "is_encoder_decoder",
        "label2id",
        "model_type",
        "output_attentions",
        "output_hidden_states",
        "problem_type",
        "return_dict",
        "tie_word_embeddings",
        "torch_dtype",
        "transformers_version",
    }
)

_SPECIAL = ("cls_id", "pad_id", "eos_id", "unk_id", "mask_id")


def check_fields(config: Any, *, positive: Iterable[str], shares: Iterable[str]) -> None:
    """Check the values of a frozen configuration with the fields `vocab_size` and ``*_id``.

    Parameters
    ----------
    config : dataclass instance
        Fields of type int, float or str; integers given for floats become floats.
    positive : iterable of str
        Fields that must be above 0.
    shares : iterable of str
        Fields that must be in [0, 1).

    Raises
    ------
    WeightsError
        A value has the wrong type or is out of range; the field is named.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        # Annotations are strings here; JSON knows no difference between 1 and 1.0.
        kind = {"int": int, "float": (int, float), "str": str}[str(field.type)]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise WeightsError(f"config: {field.name} must be {field.type}, not {value!r}")
        if field.type == "float":
            object.__setattr__(config, field.name, float(value))
    for name in positive:
        if not getattr(config, name) > 0:
            raise WeightsError(f"config: {name} must be positive, not {getattr(config, name)}")
    for name in shares:
        if not 0.0 <= getattr(config, name) < 1.0:
            raise WeightsError(f"config: {name} must be in [0, 1), not {getattr(config, name)}")
    for name in _SPECIAL:
        if not 0 <= getattr(config, name) < config.vocab_size:
            raise WeightsError(f"config: {name} {getattr(config, name)} is no id below vocab_size")


def pick_fields(cls: Any, values: Mapping[str, Any], allow: Collection[str] = ()) -> dict[str, Any]:
    """The fields of a configuration class among the values of a config.json.

    Raises
    ------
    WeightsError
        A key is unknown, or one without default is missing; it is named.
    """
    known = {field.name for field in fields(cls)}
    unknown = sorted(set(values) - known - HUB_KEYS - set(allow))
    if unknown:
        raise WeightsError(f"config: unknown key {', '.join(map(repr, unknown))}")
    missing = [f.name for f in fields(cls) if f.default is MISSING and f.name not in values]
    if missing:
        raise WeightsError(f"config: missing key {', '.join(map(repr, missing))}")
    return {name: values[name] for name in known if name in values}


def read_object(text: str) -> dict[str, Any]:
    """The JSON object of a config.json.

    Raises
    ------
    WeightsError
        No JSON, or no object.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise WeightsError(f"config: no JSON at line {error.lineno}: {error.msg}") from error
    if not isinstance(values, dict):
        raise WeightsError("config: not a JSON object")
    return values
