"""RNAErnie's packed encoder against transformers' Ernie, which is padded and not ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

import stemloop
from stemloop.alphabet import RNAERNIE, RNAERNIE2
from stemloop.errors import InputError, UsageError, WeightsError
from stemloop.models.build import blocks, checkpoint_gradients, new_encoder
from stemloop.models.presets import PRESETS, config_from_json
from stemloop.models.rnaernie import RNAErnie
from stemloop.models.rnaernie_config import RNAErnieConfig
from stemloop.weights.store import load, save_model_dir

TINY = RNAErnieConfig(
    vocab_size=39, hidden=24, layers=3, heads=3, ffn_inner=40, positions=40, max_length=39
)
SEQUENCES = ["GGGAAACUUCCC", "ACGU", "UUGC", "A", "NNACGGACGAUCGA"]


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    ids, starts = RNAERNIE.encode_many(SEQUENCES)
    ids = ids.copy()
    ids[[3, 4, 9, 16]] = RNAERNIE.mask_id
    return torch.from_numpy(ids).long(), torch.from_numpy(starts)


def random_model(config: RNAErnieConfig = TINY, **parts: bool) -> RNAErnie:
    """Every parameter away from its starting value, so that mixed-up names show."""
    torch.manual_seed(3)
    model = RNAErnie(config, **parts).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.3)
    return model


def peer(model: RNAErnie, **settings):
    """transformers' Ernie with the same weights, from the same config.json."""
    from transformers import ErnieConfig, ErnieForMaskedLM

    values = {k: v for k, v in model.config.to_dict().items() if k != "model_type"}
    other = ErnieForMaskedLM(ErnieConfig(**values, **settings)).eval()
    missing, unexpected = other.load_state_dict(model.state_dict(), strict=False)
    assert unexpected == []
    assert set(missing) == {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    other.tie_weights()
    return other


def padded(tokens: torch.Tensor, starts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    rows = torch.nn.utils.rnn.pad_sequence(
        list(tokens.split(starts.diff().tolist())), batch_first=True, padding_value=RNAERNIE.pad_id
    )
    return rows, rows != RNAERNIE.pad_id


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_equals_transformers_ernie_on_padded_rows(activation, batch):
    tokens, starts = batch
    model = random_model(replace(TINY, activation=activation))
    other = peer(model, attn_implementation="eager")
    rows, kept = padded(tokens, starts)
    with torch.inference_mode():
        ours = model(tokens, starts, hidden_layers=range(4), need_logits=True, need_attentions=True)
        theirs = other(rows, attention_mask=kept, output_hidden_states=True, output_attentions=True)
    torch.testing.assert_close(ours.logits, theirs.logits[kept], rtol=0, atol=1e-5)
    for k in range(4):
        torch.testing.assert_close(ours.hidden[k], theirs.hidden_states[k][kept], rtol=0, atol=1e-5)
    assert torch.equal(ours.hidden[3], ours.representation)
    for number, (of_row, size) in enumerate(
        zip(ours.attentions, starts.diff().tolist(), strict=True)
    ):
        expected = torch.stack([layer[number, :, :size, :size] for layer in theirs.attentions])
        torch.testing.assert_close(of_row, expected, rtol=0, atol=1e-5)


def test_gradients_equal_those_of_transformers_ernie(batch):
    tokens, starts = batch
    model = random_model()
    other = peer(model)
    rows, kept = padded(tokens, starts)
    at = torch.tensor([2, 3, 4, 9, 16, 30])
    labels = torch.tensor([35, 36, 37, 38, 24, 35])
    F.cross_entropy(model(tokens, starts, logits_at=at).logits, labels).backward()
    wanted = torch.full_like(tokens, -100)
    wanted[at] = labels
    targets = torch.full_like(rows, -100)
    targets[kept] = wanted
    other(rows, attention_mask=kept, labels=targets).loss.backward()
    theirs = {name: value.grad for name, value in other.named_parameters()}
    for name, value in model.named_parameters():
        torch.testing.assert_close(value.grad, theirs[name], rtol=1e-4, atol=1e-6, msg=name)
    assert model.ernie.embeddings.token_type_embeddings.weight.grad[1].abs().sum() == 0


def test_back_ends_agree_and_neighbours_do_not_matter(batch):
    tokens, starts = batch
    model = random_model()
    with torch.inference_mode():
        grouped = model(tokens, starts, backend="grouped").representation
        naive = model(tokens, starts, backend="naive").representation
        sizes = starts.diff().tolist()
        alone = [
            model(part, torch.tensor([0, len(part)])).representation for part in tokens.split(sizes)
        ]
    torch.testing.assert_close(grouped, naive, rtol=0, atol=1e-5)
    torch.testing.assert_close(grouped, torch.cat(alone), rtol=0, atol=1e-5)


def test_positions_end():
    model = random_model()
    full = torch.full((40,), 35)
    assert model(full, torch.tensor([0, 40])).representation.shape == (40, 24)
    with pytest.raises(UsageError, match="41 tokens: this encoder has 40 positions"):
        model(torch.full((42,), 35), torch.tensor([0, 41, 42]))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"cu_seqlens": torch.tensor([0, 3])}, "tokens of shape"),
        ({"hidden_layers": [4]}, "no layer 4"),
    ],
)
def test_refused(arguments, said):
    call = {"tokens": torch.full((4,), 35), "cu_seqlens": torch.tensor([0, 4]), **arguments}
    with pytest.raises(UsageError, match=said):
        random_model()(**call)


def test_parts_that_are_not_there(batch):
    tokens, starts = batch
    model = random_model(lm_head=False)
    assert not any(key.startswith(("cls.", "ernie.pooler.")) for key in model.state_dict())
    out = model(tokens, starts)
    with pytest.raises(WeightsError, match="no language-model head"):
        model(tokens, starts, need_logits=True)
    with pytest.raises(WeightsError, match="no pooler"):
        model.pool(out.representation, starts)


def test_parameter_counts():
    with torch.device("meta"):
        model = RNAErnie(PRESETS["rnaernie-base"], pooler=True)
    sizes = {key: value.numel() for key, value in model.named_parameters()}
    pooler = sum(size for key, size in sizes.items() if key.startswith("ernie.pooler."))
    head = sum(size for key, size in sizes.items() if key.startswith("cls."))
    assert (sum(sizes.values()), pooler, head) == (86_664_231, 590_592, 592_167)


def test_fresh_weights_are_the_published_ones():
    config = replace(PRESETS["rnaernie-base"], layers=1)
    torch.manual_seed(5)
    first = new_encoder(config)
    torch.manual_seed(5)
    second = new_encoder(config)
    assert first.training
    for (name, value), other in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(value, other)
        if name.endswith("bias"):
            assert value.abs().max() == 0, name
        elif "LayerNorm" in name:
            assert torch.equal(value, torch.ones_like(value)), name
        else:
            assert abs(value.std() - 0.02) < 1e-3, name
            assert abs(value.mean()) < 2e-3, name  # the smallest table has 1536 numbers


def test_dropout_in_training_only(batch):
    tokens, starts = batch
    model = random_model()
    torch.manual_seed(0)
    calm = model(tokens, starts).representation
    assert torch.equal(calm, model(tokens, starts).representation)
    model.train()
    assert not torch.equal(calm, model(tokens, starts).representation)
    still = RNAErnie(replace(TINY, attention_dropout=0.0, residual_dropout=0.0)).train()
    still.load_state_dict(model.state_dict())
    torch.testing.assert_close(still(tokens, starts).representation, calm, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["stemloop-nano", "rnaernie-base"])
def test_recomputed_blocks_give_the_same_gradients(name):
    torch.manual_seed(1)
    config = replace(PRESETS[name], layers=2, residual_dropout=0.0, attention_dropout=0.0)
    model = new_encoder(config)
    assert len(blocks(model)) == 2
    tokens, starts = torch.randint(0, 30, (24,)), torch.tensor([0, 9, 24], dtype=torch.int32)
    grads = []
    for on in (False, True):
        checkpoint_gradients(model, on)
        model.zero_grad()
        model(tokens, starts, need_logits=True).logits.square().mean().backward()
        grads.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    with pytest.raises(UsageError, match="do not go together"):
        model(tokens, starts, need_attentions=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hiden": 3}, "unknown key 'hiden'"),
        ({"alphabet": None}, "alphabet must be str"),
        ({"hidden_act": "silu"}, "activation 'silu' is not known"),
        ({"use_task_id": True}, "use_task_id is True, RNAErnie needs False"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings is False"),
        ({"num_attention_heads": 7}, "no whole head dimension"),
        ({"max_position_embeddings": 500}, "max_length 512 is above the 500 positions"),
        ({"hidden_dropout_prob": 1.0}, "residual_dropout must be in"),
        ({"layer_norm_eps": 0}, "layer_norm_eps must be positive"),
        ({"mask_id": 39}, "mask_id 39 is no id"),
        ({"model_type": "bert"}, "model_type is 'bert'"),
    ],
)
def test_configurations_that_are_refused(change, message):
    with pytest.raises(WeightsError, match=message):
        RNAErnieConfig.from_dict(PRESETS["rnaernie-base"].to_dict() | change)


def test_somebody_elses_ernie_is_refused():
    with pytest.raises(WeightsError, match="missing key 'alphabet'"):
        config_from_json('{"model_type": "ernie", "vocab_size": 18000}')


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = random_model(replace(TINY, positions=64, max_length=60), pooler=True)
    return save_model_dir(tmp_path / "m", model.config, model.state_dict())


def test_directories(saved):
    model = load(saved)
    assert isinstance(model.encoder, RNAErnie)
    assert model.alphabet is RNAERNIE
    assert not model.encoder.training
    expected = random_model(model.config, pooler=True).state_dict()
    assert all(torch.equal(value, expected[k]) for k, value in model.encoder.state_dict().items())


@pytest.mark.parametrize("parts", [{"lm_head": False}, {"pooler": False}])
def test_directories_without_a_part(parts, tmp_path):
    model = random_model(**parts)
    path = save_model_dir(tmp_path / "m", model.config, model.state_dict())
    assert load(path).encoder.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("cls.predictions.bias", None, "missing key 'cls.predictions.bias'"),
        ("ernie.pooler.dense.bias", None, "missing key 'ernie.pooler.dense.bias'"),
        ("ernie.encoder.layer.1.output.dense.weight", torch.ones(40, 24), r"shape \(40, 24\)"),
        ("ernie.encoder.layer.3.output.dense.weight", torch.ones(24, 40), "unexpected key"),
        ("ernie.embeddings.LayerNorm.bias", torch.ones(24).int(), "not floating point"),
    ],
)
def test_incomplete_directories_name_the_key(saved, key, value, said):
    from safetensors.torch import load_file, save_file

    content = load_file(saved / "model.safetensors")
    content.pop(key, None)
    if value is not None:
        content[key] = value
    save_file(content, saved / "model.safetensors")
    with pytest.raises(WeightsError, match=said):
        load(saved)


def test_transformers_reads_and_writes_the_same_directory(saved, tmp_path):
    from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

    model = load(saved)
    tokenizer = AutoTokenizer.from_pretrained(saved)
    rows = tokenizer(["ggT[MASK]nA", "ACGU"], padding=True, return_tensors="pt")
    assert rows["input_ids"].tolist() == [
        [2, 38, 38, 36, 4, 1, 35, 3], [2, 35, 37, 38, 36, 3, 0, 0]
    ]  # fmt: skip
    assert tokenizer.model_max_length == 60
    lm = AutoModelForMaskedLM.from_pretrained(saved).eval()
    trunk = AutoModel.from_pretrained(saved).eval()
    kept = rows["attention_mask"] == 1
    starts = F.pad(kept.sum(1).cumsum(0), (1, 0)).int()
    with torch.inference_mode():
        ours = model.encoder(rows["input_ids"][kept], starts, need_logits=True)
        pooled = model.encoder.pool(ours.representation, starts)
        logits, theirs = lm(**rows).logits[kept], trunk(**rows)
    torch.testing.assert_close(ours.logits, logits, rtol=0, atol=1e-5)
    states = theirs.last_hidden_state[kept]
    torch.testing.assert_close(ours.representation, states, rtol=0, atol=1e-5)
    torch.testing.assert_close(pooled, theirs.pooler_output, rtol=0, atol=1e-5)
    lm.save_pretrained(tmp_path / "again")
    again = load(tmp_path / "again")
    assert again.config == model.config
    mine = model.encoder.state_dict()
    assert all(torch.equal(value, mine[k]) for k, value in again.encoder.state_dict().items())


@pytest.mark.parametrize("pool", ["mean", "cls", "tokens"])
def test_embed(pool, saved):
    (result,) = stemloop.embed(["GGAANCC"], saved, pool=pool, device="cpu")
    tokens = torch.from_numpy(RNAERNIE.encode("GGAANCC")).long()
    out = load(saved).encoder(tokens, torch.tensor([0, 9])).representation
    expected = {"mean": out[1:-1].mean(0), "cls": out[0], "tokens": out[1:-1]}[pool]
    np.testing.assert_allclose(result.arrays[pool], expected.numpy(), rtol=0, atol=1e-6)


def test_embed_long_sequences(saved):
    long = "ACGUUGCA" * 20
    with pytest.raises(InputError, match="trained on up to 58"):
        stemloop.embed([long], saved)
    with pytest.raises(UsageError, match="positions for 62 nt.*--long window"):
        stemloop.embed([long], saved, long="allow")
    with pytest.raises(UsageError, match="positions for 62 nt"):
        stemloop.embed([long], saved, max_length=63)
    (result,) = stemloop.embed([long], saved, pool="tokens", long="window", max_length=62)
    assert result.arrays["tokens"].shape == (160, 24)
    (start,) = stemloop.embed([long[:62]], saved, pool="tokens", max_length=62)
    np.testing.assert_allclose(
        result.arrays["tokens"][:40], start.arrays["tokens"][:40], rtol=0, atol=1e-5
    )


def test_embed_with_the_type_told(saved):
    tokens = torch.tensor([*RNAERNIE.encode("GGAACC")[:-1], 6, RNAERNIE.ids["tRNA"], 3])
    out = load(saved).encoder(tokens, torch.tensor([0, 10])).representation
    for pool, expected in (("tokens", out[1:7]), ("mean", out[1:7].mean(0)), ("cls", out[0])):
        (result,) = stemloop.embed(["GGAACC"], saved, pool=pool, rna_type="tRNA", device="cpu")
        np.testing.assert_allclose(result.arrays[pool], expected.numpy(), rtol=0, atol=1e-6)
    with pytest.raises(InputError, match="trained on up to 56"):
        stemloop.embed(["A" * 57], saved, rna_type="tRNA")
    with pytest.raises(UsageError, match="positions for 60 nt"):
        stemloop.embed(["A"], saved, rna_type="tRNA", max_length=61)
    with pytest.raises(UsageError, match="unknown RNA type 'trna'.*tRNA"):
        stemloop.embed(["A"], saved, rna_type="trna")


def test_alphabets_without_types_are_told_none(tmp_path):
    config = replace(PRESETS["rinalmo-nano"], layers=1)
    path = save_model_dir(tmp_path / "m", config, new_encoder(config).state_dict())
    with pytest.raises(UsageError, match="'rinalmo', has no RNA types"):
        stemloop.embed(["A"], path, rna_type="tRNA")


def test_the_successors_alphabet():
    assert RNAERNIE2.encode("acgTN-R").tolist() == [2, 6, 8, 9, 7, 10, 1, 1, 3]
    assert RNAERNIE2.decode([2, 6, 8, 9, 7, 10, 3, 0]) == "ACGUN"
