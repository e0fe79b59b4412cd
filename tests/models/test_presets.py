"""Configurations: what they refuse, and that JSON keeps them."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from stemloop.alphabet import RINALMO, RNAERNIE, RNAERNIE_TYPES, STEMLOOP
from stemloop.errors import WeightsError
from stemloop.models.presets import MODEL_TYPES, PRESETS, EncoderConfig, config_from_json

#: d, layers, head dimension and inner width of the published sizes.
PUBLISHED = {
    "rinalmo-nano": (320, 6, 16, 853),
    "rinalmo-micro": (480, 12, 24, 1280),
    "rinalmo-mega": (640, 30, 32, 1706),
    "rinalmo-giga": (1280, 33, 64, 3413),
}


@pytest.mark.parametrize(("name", "shape"), PUBLISHED.items())
def test_published_sizes(name, shape):
    config = PRESETS[name]
    assert (config.hidden, config.layers, config.head_dim, config.ffn_inner) == shape
    assert (config.vocab_size, config.heads, config.alphabet) == (22, 20, "rinalmo")


def test_own_sizes_suit_the_kernels():
    own = [config for name, config in PRESETS.items() if name.startswith("stemloop-")]
    assert own
    for config in own:
        assert config.head_dim == 64
        assert config.ffn_inner % 64 == 0
        assert config.vocab_size % 8 == 0
        assert config.vocab_size >= 22 + 1 + 28
        assert config.attention_dropout == 0.0


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip(name):
    text = PRESETS[name].to_json()
    assert config_from_json(text) == PRESETS[name]
    assert type(PRESETS[name]).from_json(text) == PRESETS[name]
    assert json.loads(text)["model_type"] in MODEL_TYPES


def test_frozen():
    with pytest.raises(FrozenInstanceError):
        PRESETS["rinalmo-nano"].hidden = 1


def test_integers_serve_as_floats():
    values = PRESETS["rinalmo-nano"].to_dict() | {"rope_base": 10000}
    assert isinstance(EncoderConfig.from_dict(values).rope_base, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hiden": 3}, "unknown key 'hiden'"),
        ({"model_type": "rinalmo"}, "model_type is 'rinalmo'"),
        ({"hidden": "320"}, "hidden must be int"),
        ({"layers": 6.0}, "layers must be int"),
        ({"layers": True}, "layers must be int"),
        ({"layers": 0}, "layers must be positive"),
        ({"heads": 7}, "no even head dimension"),
        ({"residual_dropout": 1.0}, "residual_dropout must be in"),
        ({"layer_norm_eps": 0.0}, "layer_norm_eps must be positive"),
        ({"mask_id": 22}, "mask_id 22 is no id"),
        ({"alphabet": None}, "alphabet must be str"),
    ],
)
def test_refused(change, message):
    with pytest.raises(WeightsError, match=message):
        EncoderConfig.from_dict(PRESETS["rinalmo-nano"].to_dict() | change)


def test_missing_keys_are_named():
    values = PRESETS["rinalmo-nano"].to_dict()
    del values["hidden"], values["heads"]
    with pytest.raises(WeightsError, match="missing key 'hidden', 'heads'"):
        EncoderConfig.from_dict(values)


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_no_json(text):
    with pytest.raises(WeightsError, match="JSON"):
        EncoderConfig.from_json(text)


def test_keys_of_transformers_and_of_the_caller_are_passed_over():
    config = PRESETS["rinalmo-nano"]
    values = config.to_dict() | {"transformers_version": "5.0.0", "extra": 1}
    assert EncoderConfig.from_dict(values, allow={"extra"}) == config


def test_replace_validates():
    with pytest.raises(WeightsError, match="positive"):
        replace(PRESETS["rinalmo-nano"], vocab_size=0)


@pytest.mark.parametrize("name", PRESETS)
def test_ids_are_those_of_the_alphabet(name):
    config = PRESETS[name]
    alphabet = {a.name: a for a in (RINALMO, STEMLOOP, RNAERNIE)}[config.alphabet]
    assert len(alphabet) <= config.vocab_size
    for token in ("cls_id", "pad_id", "eos_id", "unk_id", "mask_id"):
        assert getattr(config, token) == getattr(alphabet, token)


def test_own_vocabulary_begins_with_the_published_one():
    assert STEMLOOP.tokens[:22] == RINALMO.tokens
    assert STEMLOOP.tokens[22:] == ("[IND]", *RNAERNIE_TYPES)
    assert len(STEMLOOP) == 51
