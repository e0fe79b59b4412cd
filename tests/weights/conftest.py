"""Tiny random checkpoints in the layouts that are found in the wild."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from stemloop.models.presets import EncoderConfig
from stemloop.models.rinalmo import RiNALMo

Official = Callable[..., dict[str, Tensor]]


@pytest.fixture(scope="session")
def config() -> EncoderConfig:
    """40 wide, 20 heads as in all published sizes."""
    return EncoderConfig(vocab_size=22, hidden=40, layers=2, heads=20, ffn_inner=106)


@pytest.fixture(scope="session")
def state(config: EncoderConfig) -> dict[str, Tensor]:
    """Random parameters; beta and the norms too, so that mixed-up keys show."""
    torch.manual_seed(7)
    return {key: torch.randn_like(value) for key, value in RiNALMo(config).state_dict().items()}


@pytest.fixture
def flash(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Content of an official file in the flash layout."""
    return {key: value.clone() for key, value in state.items()}


@pytest.fixture
def noflash(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same in the other layout, spelt out by hand."""
    content: dict[str, Tensor] = {}
    for key, value in state.items():
        block, mark, rest = key.partition(".mh_attn.")
        if rest == "Wqkv.weight":
            for name, rows in (("q", slice(0, 40)), ("k", slice(40, 80)), ("v", slice(80, 120))):
                content[f"{block}.mh_attn.mh_attn.to_{name}.weight"] = value[rows].clone()
            content[f"{block}.mh_attn.mh_attn.rotary_emb.inv_freq"] = torch.ones(1)
        elif mark:
            content[f"{block}.mh_attn.mh_attn.{rest}"] = value.clone()
        else:
            content[key] = value.clone()
    return content


@pytest.fixture
def structure_head() -> dict[str, Tensor]:
    """Parameters of the published structure head, for width 40."""
    torch.manual_seed(8)
    shapes = {"pred_head.linear_in.weight": (64, 80), "pred_head.linear_in.bias": (64,)}
    for k in (0, 1):
        for place, size in ((0, 1), (3, 3), (6, 1)):
            name = f"pred_head.resnet.blocks.{k}.conv_net.{place}.weight"
            shapes[name] = (64, 64, size, size)
    shapes |= {"pred_head.conv_out.weight": (1, 64, 3, 3), "pred_head.conv_out.bias": (1,)}
    return {key: torch.randn(shape) for key, shape in shapes.items()}
