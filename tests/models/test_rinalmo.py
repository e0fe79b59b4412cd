"""The encoder against its formulas, against the published program, and against itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stemloop.errors import UsageError, WeightsError
from stemloop.models.attention import Packing
from stemloop.models.presets import PRESETS, EncoderConfig
from stemloop.models.rinalmo import RiNALMo

GOLDEN = Path(__file__).parents[1] / "golden" / "encoder_tiny.npz"

#: Parameters with and without the language-model head, computed from the published shapes.
COUNTS = {
    "rinalmo-nano": (7_508_824, 7_398_402),
    "rinalmo-micro": (33_491_074, 33_248_652),
    "rinalmo-mega": (148_056_972, 147_631_350),
    "rinalmo-giga": (650_901_793, 649_231_371),
    "stemloop-pico": (1_926_976, 1_902_984),
    "stemloop-nano": (7_778_814, 7_657_478),
    "stemloop-micro": (32_488_514, 32_196_106),
    "stemloop-mega": (149_482_061, 148_846_869),
}


def pieces(packed: torch.Tensor, starts: torch.Tensor) -> list[torch.Tensor]:
    return list(packed.split(starts.diff().tolist()))


def close(a: torch.Tensor, b: torch.Tensor | np.ndarray, atol: float) -> bool:
    difference = a.detach().double() - torch.as_tensor(b).double()
    return bool(difference.abs().max() <= atol)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "rnaernie-base"])
def test_parameter_counts(name):
    with torch.device("meta"):
        model = RiNALMo(PRESETS[name])
    sizes = {key: value.numel() for key, value in model.named_parameters()}
    trunk = sum(size for key, size in sizes.items() if not key.startswith("lm_mask_head."))
    assert (sum(sizes.values()), trunk) == COUNTS[name]


def test_names_are_those_of_the_published_checkpoints(state):
    first = {key for key in state if ".blocks.0." in key or ".blocks." not in key}
    block = "transformer.blocks.0."
    assert first == {
        "embedding.weight",
        *(f"{block}mh_attn.{name}.weight" for name in ("Wqkv", "out_proj")),
        *(f"{block}attn_layer_norm.{kind}" for kind in ("weight", "bias")),
        *(f"{block}out_layer_norm.{kind}" for kind in ("weight", "bias")),
        *(f"{block}transition.0.linear.{kind}" for kind in ("weight", "bias")),
        *(f"{block}transition.0.linear_gate.{kind}" for kind in ("weight", "bias")),
        f"{block}transition.0.beta",
        *(f"{block}transition.2.{kind}" for kind in ("weight", "bias")),
        *(f"transformer.final_layer_norm.{kind}" for kind in ("weight", "bias")),
        *(f"lm_mask_head.{name}.{kind}" for name in ("linear1", "layer_norm", "linear2")
          for kind in ("weight", "bias")),
    }  # fmt: skip


@pytest.mark.parametrize("backend", ["grouped", "naive"])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-11), (torch.float32, 2e-5)])
@pytest.mark.parametrize("grad", [True, False])
def test_equals_the_formulas(model, state, batch, reference, backend, dtype, atol, grad):
    tokens, starts = batch
    model.to(dtype)
    with torch.set_grad_enabled(grad):
        out = model(tokens, starts, need_logits=True, backend=backend)
    for ids, representation, logits in zip(
        *(pieces(x, starts) for x in (tokens, out.representation, out.logits)), strict=True
    ):
        expected = reference(ids, state)
        assert close(representation, expected[0], atol)
        assert close(logits, expected[1], atol)


def test_attentions_equal_the_formulas(model, state, batch, reference):
    tokens, starts = batch
    out = model(tokens, starts, need_attentions=True)
    assert len(out.attentions) == 5
    for ids, weights in zip(pieces(tokens, starts), out.attentions, strict=True):
        assert close(weights, reference(ids, state)[2], 1e-5)


def test_golden_outputs(model, batch):
    golden = np.load(GOLDEN)
    tokens, starts = batch
    assert tokens.tolist() == golden["tokens"].tolist()
    with torch.inference_mode():
        out = model(tokens, starts, need_logits=True)
    assert close(out.representation, golden["representation"], 2e-5)
    assert close(out.logits, golden["logits"], 2e-5)


@pytest.mark.parametrize("suffix", ["", "_masked"])
def test_outputs_of_the_published_program(shared_data, suffix):
    folder = shared_data / "parity"
    stored = torch.load(folder / "rinalmo_tiny_official_flashnames.pt", weights_only=True)
    model = RiNALMo(
        EncoderConfig(vocab_size=22, hidden=80, layers=3, heads=20, ffn_inner=213)
    ).eval()
    # The rotary tables are computed, not loaded.
    model.load_state_dict({k: v for k, v in stored.items() if not k.endswith("inv_freq")})
    vectors = np.load(folder / "rinalmo_tiny_vectors.npz")
    rows = torch.from_numpy(vectors[f"tokens{suffix}"])
    kept = rows != 1
    lengths = kept.sum(1).tolist()
    starts = torch.tensor(np.cumsum([0, *lengths]), dtype=torch.int32)
    with torch.inference_mode():
        out = model(rows[kept], starts, need_logits=True)
        traced = model(rows[kept], starts, need_attentions=True)
    assert close(out.logits, vectors[f"logits{suffix}"][kept.numpy()], 1e-5)
    assert close(out.representation, vectors[f"representation{suffix}"][kept.numpy()], 1e-5)
    assert close(traced.representation, vectors[f"representation{suffix}"][kept.numpy()], 1e-5)
    if not suffix:
        for row, (length, weights) in enumerate(zip(lengths, traced.attentions, strict=True)):
            for layer, name in ((0, "attn_first"), (-1, "attn_last")):
                assert close(weights[layer], vectors[name][row, :, :length, :length], 1e-5)


@torch.inference_mode()
def test_a_sequence_does_not_depend_on_its_batch(batch):
    torch.manual_seed(0)
    model = RiNALMo(PRESETS["rinalmo-nano"]).eval()
    tokens, starts = batch
    together = pieces(model(tokens, starts, need_logits=True).logits, starts)
    for ids, logits in zip(pieces(tokens, starts), together, strict=True):
        alone = model(ids, torch.tensor([0, len(ids)]), need_logits=True)
        assert close(logits, alone.logits, 1e-5)


def test_inference_in_place_changes_no_result(model, batch):
    tokens, starts = batch
    before = tokens.clone()
    wanted = model(tokens, starts, hidden_layers=range(4), need_logits=True)
    with torch.inference_mode():
        out = model(tokens, starts, hidden_layers=range(4), need_logits=True)
        normalised = model.transformer.final_layer_norm(out.hidden[3])
    assert torch.equal(tokens, before)
    assert sorted(out.hidden) == [0, 1, 2, 3]
    assert torch.equal(normalised, out.representation)
    for layer in range(4):
        assert close(out.hidden[layer], wanted.hidden[layer].detach(), 1e-5)


def test_logits_at_chosen_tokens(model, batch):
    tokens, starts = batch
    full = model(tokens, starts, need_logits=True).logits
    at = torch.tensor([0, 7, 3])
    assert close(model(tokens, starts, logits_at=at).logits, full[at].detach(), 1e-6)
    masked = tokens == 4
    assert close(model(tokens, starts, logits_at=masked).logits, full[masked].detach(), 1e-6)
    assert model(tokens, starts).logits is None


def test_gradients_reach_every_parameter(model, batch):
    tokens, starts = batch
    model(tokens, starts, need_logits=True).logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name
    assert not model.embedding.weight.grad[model.config.pad_id].any()
    assert not model.embedding.weight.grad[model.config.mask_id].any()


def test_checkpointing_gives_the_same_gradients(model, batch):
    tokens, starts = batch
    model.train()  # dropout on: the recomputation must draw the same numbers
    grads = []
    for checkpointing in (False, True):
        model.transformer.gradient_checkpointing = checkpointing
        model.zero_grad()
        torch.manual_seed(7)
        model(tokens, starts, need_logits=True).logits.square().sum().backward()
        grads.append([p.grad.clone() for p in model.parameters()])
    for plain, recomputed in zip(*grads, strict=True):
        assert torch.equal(plain, recomputed)


def test_dropout_only_in_training(model, batch):
    tokens, starts = batch
    quiet = model(tokens, starts).representation
    assert torch.equal(quiet, model(tokens, starts).representation)
    model.train()
    assert not torch.equal(quiet, model(tokens, starts).representation)


@torch.inference_mode()
def test_bfloat16_weights(model, batch):
    tokens, starts = batch
    exact = model(tokens, starts, need_logits=True)
    half = model.to(torch.bfloat16)(tokens, starts, need_logits=True)
    assert half.logits.dtype == torch.bfloat16
    cosine = torch.cosine_similarity(exact.representation, half.representation.float(), dim=-1)
    assert cosine.min() > 0.999


def test_no_positions_are_rounded_in_bfloat16(model):
    """Positions beyond 256 are not integers in bfloat16: the tables must not be made there."""
    model.to(torch.bfloat16)
    ids = torch.randint(5, 9, (600,), generator=torch.Generator().manual_seed(0))
    starts = torch.tensor([0, 600], dtype=torch.int32)
    with torch.inference_mode():
        half = model(ids, starts).representation.float()
        full = model.float()(ids, starts).representation
    cosine = torch.cosine_similarity(half, full, dim=-1)
    assert cosine[400:].mean() > 0.998


def test_nothing_but_masks_stays_finite(model):
    out = model(torch.full((4,), 4), torch.tensor([0, 4]))
    assert torch.isfinite(out.representation).all()


def test_empty_batch(model):
    out = model(torch.zeros(0, dtype=torch.int64), torch.tensor([0]), need_logits=True)
    assert out.logits.shape == (0, 22)


def test_usage_errors(model, batch):
    tokens, starts = batch
    with pytest.raises(UsageError, match="no layer 4"):
        model(tokens, starts, hidden_layers=[4])
    with pytest.raises(UsageError, match="add up to"):
        model(tokens[1:], starts)
    with pytest.raises(UsageError, match="start with 0"):
        model(tokens, starts + 1)
    with pytest.raises(UsageError, match="lengths for cu_seqlens"):
        model(tokens, starts, lengths=[3])
    with pytest.raises(UsageError, match="must not fall"):
        Packing.of(torch.tensor([0, 4, 2]))
    model.train().transformer.gradient_checkpointing = True
    with pytest.raises(UsageError, match="checkpointing"):
        model(tokens, starts, need_attentions=True)


@pytest.mark.parametrize("width", [1, 5, 11])
def test_stem_is_a_convolution_within_each_sequence(width, batch):
    """Against torch's own convolution, run on one sequence at a time."""
    torch.manual_seed(0)
    config = EncoderConfig(
        vocab_size=22, hidden=24, layers=1, heads=3, ffn_inner=40, stem_width=width
    )
    model = RiNALMo(config).eval()
    tokens, starts = batch
    packing = Packing.of(starts)
    found = model.embedding(tokens, packing)
    plain = RiNALMo(replace(config, stem_width=0)).eval()
    plain.embedding.load_state_dict({"weight": model.embedding.weight})
    x = plain.embedding(tokens, packing)
    stem = model.embedding.stem
    kernel = stem.weight.unflatten(1, (width, -1)).transpose(1, 2)  # (out, in, width)
    for one, mine in zip(x.split(packing.lengths), found.split(packing.lengths), strict=True):
        around = torch.nn.functional.conv1d(one.T[None], kernel, stem.bias, padding=width // 2)
        wanted = one + torch.nn.functional.gelu(around[0].T)
        assert close(mine, wanted.detach(), 1e-5)


def test_stem_width_must_be_odd():
    with pytest.raises(WeightsError, match="stem_width must be odd"):
        EncoderConfig(vocab_size=22, hidden=24, layers=1, heads=3, ffn_inner=40, stem_width=4)
