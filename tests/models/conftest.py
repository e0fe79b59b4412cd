"""A tiny encoder with computed weights, and the encoder's formulas once more in plain numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from stemloop.alphabet import RINALMO
from stemloop.models.presets import EncoderConfig
from stemloop.models.rinalmo import RiNALMo

Arrays = Mapping[str, np.ndarray]

TINY = EncoderConfig(vocab_size=22, hidden=24, layers=3, heads=3, ffn_inner=40)


@pytest.fixture
def tiny() -> EncoderConfig:
    return TINY


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """Weights from sines, the same with every version of every random generator."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in RiNALMo(TINY).state_dict().items()}
    out = {}
    for number, (key, shape) in enumerate(shapes.items()):
        wave = np.sin(np.arange(math.prod(shape)) * 12.9898 + number) * 43.7585
        wave = wave - np.round(wave)  # spread over [-0.5, 0.5]
        scale, centre = 4 / math.sqrt(shape[-1]), 0.0
        if "layer_norm.weight" in key or "beta" in key:
            scale, centre = 0.4, 1.0
        elif key.endswith("bias"):
            scale = 0.4
        elif key == "embedding.weight":
            scale = 4.0
        out[key] = torch.from_numpy(wave * scale + centre).float().reshape(shape)
    return out


@pytest.fixture
def model(state: dict[str, torch.Tensor]) -> RiNALMo:
    encoder = RiNALMo(TINY).eval()
    encoder.load_state_dict(state)
    return encoder


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Five sequences, neighbours of equal length among them, two with masks."""
    ids, starts = RINALMO.encode_many(["GGGAAACUUCCC", "ACGU", "UUGC", "A", "NNRYI-ACGGA"])
    ids = ids.copy()
    ids[[3, 4, 9, 16]] = RINALMO.mask_id
    return torch.from_numpy(ids).long(), torch.from_numpy(starts)


def layer_norm(x: np.ndarray, state: Arrays, name: str, eps: float) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def turn(x: np.ndarray, base: float) -> np.ndarray:
    """Rotary positions of one head, (L, D): dimension k pairs with k + D / 2."""
    length, width = x.shape
    out = np.empty_like(x)
    for position in range(length):
        for k in range(width // 2):
            angle = position * base ** (-2 * k / width)
            a, b = x[position, k], x[position, k + width // 2]
            out[position, k] = a * math.cos(angle) - b * math.sin(angle)
            out[position, k + width // 2] = b * math.cos(angle) + a * math.sin(angle)
    return out


def one_sequence(
    tokens: np.ndarray, state: Arrays, config: EncoderConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Representation (L, d), logits (L, V) and attentions (layers, heads, L, L) of one sequence."""
    d, width = config.hidden, config.hidden // config.heads
    masked = tokens == config.mask_id
    x = state["embedding.weight"][tokens].copy()
    x[masked] = 0.0
    x *= (1 - config.token_dropout) / (1 - masked.sum() / len(tokens))
    attentions = []
    for i in range(config.layers):
        block = f"transformer.blocks.{i}"
        u = layer_norm(x, state, f"{block}.attn_layer_norm", config.layer_norm_eps)
        projection = state[f"{block}.mh_attn.Wqkv.weight"]
        query, key, value = (u @ projection[j * d : (j + 1) * d].T for j in range(3))
        heads, weights = [], []
        for h in range(config.heads):
            part = slice(h * width, (h + 1) * width)
            scores = turn(query[:, part], config.rope_base) @ turn(key[:, part], config.rope_base).T
            scores /= math.sqrt(width)
            weight = np.exp(scores - scores.max(-1, keepdims=True))
            weight /= weight.sum(-1, keepdims=True)
            weights.append(weight)
            heads.append(weight @ value[:, part])
        attentions.append(np.stack(weights))
        y = u + np.concatenate(heads, axis=-1) @ state[f"{block}.mh_attn.out_proj.weight"].T
        n = layer_norm(y, state, f"{block}.out_layer_norm", config.layer_norm_eps)
        up = f"{block}.transition.0"
        g = n @ state[f"{up}.linear.weight"].T + state[f"{up}.linear.bias"]
        w = n @ state[f"{up}.linear_gate.weight"].T + state[f"{up}.linear_gate.bias"]
        gated = g / (1 + np.exp(-state[f"{up}.beta"] * g)) * w
        down = f"{block}.transition.2"
        x = y + gated @ state[f"{down}.weight"].T + state[f"{down}.bias"]
    x = layer_norm(x, state, "transformer.final_layer_norm", config.layer_norm_eps)
    z = x @ state["lm_mask_head.linear1.weight"].T + state["lm_mask_head.linear1.bias"]
    z = z * 0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))
    z = layer_norm(z, state, "lm_mask_head.layer_norm", config.layer_norm_eps)
    logits = z @ state["lm_mask_head.linear2.weight"].T + state["lm_mask_head.linear2.bias"]
    return x, logits, np.stack(attentions)


@pytest.fixture
def reference() -> Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The encoder written from its formulas: float64, one sequence at a time, no torch."""

    def run(
        tokens: torch.Tensor, state: Mapping[str, torch.Tensor], config: EncoderConfig = TINY
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        arrays = {key: value.double().numpy() for key, value in state.items()}
        return one_sequence(tokens.numpy(), arrays, config)

    return run
