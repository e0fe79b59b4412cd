"""The transformers edge: the same numbers, the same files, the usual services."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from stemloop.alphabet import RINALMO
from stemloop.errors import UsageError, WeightsError
from stemloop.models.presets import EncoderConfig
from stemloop.models.rinalmo import RiNALMo
from stemloop.models.tokenizer import tokenizer_files


@pytest.fixture
def folder(tmp_path, tiny, state):
    """A model directory, written without transformers."""
    target = tmp_path / "model"
    target.mkdir()
    (target / "config.json").write_text(tiny.to_json())
    save_file(state, target / "model.safetensors", metadata={"format": "pt"})
    for name, content in tokenizer_files(RINALMO, 1024).items():
        (target / name).write_text(json.dumps(content))
    return target


@pytest.fixture
def masked_lm(folder):
    from transformers import AutoModelForMaskedLM

    return AutoModelForMaskedLM.from_pretrained(folder)


@pytest.fixture
def rows(batch):
    """The packed batch as right-padded rows."""
    tokens, starts = batch
    return torch.nn.utils.rnn.pad_sequence(
        tokens.split(starts.diff().tolist()), batch_first=True, padding_value=1
    )


def test_same_numbers_as_the_packed_model(masked_lm, model, batch, rows):
    tokens, starts = batch
    expected = model(tokens, starts, hidden_layers=range(4), need_attentions=True, need_logits=True)
    kept = rows != 1
    out = masked_lm(
        rows, attention_mask=kept.long(), output_hidden_states=True, output_attentions=True
    )
    torch.testing.assert_close(out.logits[kept], expected.logits)
    assert not out.logits[~kept].any()
    assert len(out.hidden_states) == 4
    for layer in range(3):
        torch.testing.assert_close(out.hidden_states[layer][kept], expected.hidden[layer])
    torch.testing.assert_close(out.hidden_states[3][kept], expected.representation)
    assert len(out.attentions) == 3
    for layer, weights in enumerate(out.attentions):
        assert weights.shape == (5, 3, rows.shape[1], rows.shape[1])
        for row, length in enumerate(kept.sum(1).tolist()):
            wanted = expected.attentions[row][layer]
            torch.testing.assert_close(weights[row, :, :length, :length], wanted)
            assert not weights[row, :, length:].any()
            assert not weights[row, :, :, length:].any()


@torch.inference_mode()
def test_padding_may_stand_anywhere(masked_lm, rows):
    plain = masked_lm(rows)  # without a mask, the pad id tells
    left = torch.stack([torch.cat((row[row == 1], row[row != 1])) for row in rows])
    assert torch.equal(masked_lm(left).logits[left != 1], plain.logits[rows != 1])
    wider = torch.nn.functional.pad(rows, (0, 5), value=1)
    assert torch.equal(masked_lm(wider).logits[:, : rows.shape[1]], plain.logits)
    with_empty = torch.cat((rows, torch.ones_like(rows[:1])))
    assert not masked_lm(with_empty).logits[-1].any()


def test_base_model_drops_the_head_and_nothing_else(folder, model, batch, rows):
    from transformers import AutoModel

    base, report = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    tokens, starts = batch
    expected = model(tokens, starts).representation
    out = base(rows)
    torch.testing.assert_close(out.last_hidden_state[rows != 1], expected)
    assert out.hidden_states is None
    assert out.attentions is None
    (as_tuple,) = base(rows, return_dict=False)
    assert torch.equal(as_tuple, out.last_hidden_state)


def test_saved_by_transformers_read_by_us(masked_lm, tmp_path, tiny, state):
    masked_lm.save_pretrained(tmp_path / "saved")
    again = load_file(tmp_path / "saved" / "model.safetensors")
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)
    RiNALMo(tiny).load_state_dict(again)
    text = (tmp_path / "saved" / "config.json").read_text()
    assert EncoderConfig.from_json(text) == tiny
    assert json.loads(text)["architectures"] == ["RiNALMoForMaskedLM"]


def test_configurations_with_options_stay_readable(masked_lm, tmp_path, tiny):
    masked_lm.config.output_hidden_states = True
    masked_lm.config.return_dict = False
    masked_lm.config.id2label = {0: "no", 1: "yes"}
    masked_lm.config.save_pretrained(tmp_path)
    assert EncoderConfig.from_json((tmp_path / "config.json").read_text()) == tiny


def test_dtype_of_the_file_is_kept(folder, state):
    from transformers import AutoModel

    halves = {key: value.to(torch.bfloat16) for key, value in state.items()}
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    assert AutoModel.from_pretrained(folder).dtype == torch.bfloat16
    assert AutoModel.from_pretrained(folder, dtype=torch.float32).dtype == torch.float32


def test_loss_is_over_labelled_tokens(masked_lm, rows):
    labels = torch.full_like(rows, -100)
    labels[0, 3], labels[1, 1] = 7, 5
    out = masked_lm(rows, labels=labels)
    chosen = out.logits[[0, 1], [3, 1]].log_softmax(-1)[[0, 1], [7, 5]]
    torch.testing.assert_close(out.loss, -chosen.mean())


def test_gradient_checkpointing(masked_lm, rows):
    labels = torch.where(rows == 1, -100, rows)
    grads = []
    for switch in (None, masked_lm.gradient_checkpointing_enable):
        if switch is not None:
            switch()
            assert masked_lm.transformer.gradient_checkpointing
        masked_lm.train().zero_grad()
        torch.manual_seed(3)
        masked_lm(rows, labels=labels).loss.backward()
        grads.append({name: p.grad.clone() for name, p in masked_lm.named_parameters()})
    assert all(torch.equal(grads[0][name], grads[1][name]) for name in grads[0])
    masked_lm.gradient_checkpointing_disable()
    assert not masked_lm.transformer.gradient_checkpointing


def test_fresh_weights_and_missing_heads_are_initialised(folder, state):
    from transformers import AutoModelForMaskedLM

    trunk = {k: v for k, v in state.items() if not k.startswith("lm_mask_head.")}
    save_file(trunk, folder / "model.safetensors", metadata={"format": "pt"})
    model, report = AutoModelForMaskedLM.from_pretrained(folder, output_loading_info=True)
    assert report["missing_keys"] == state.keys() - trunk.keys()
    weight = model.lm_mask_head.linear1.weight
    assert 0.01 < weight.std() < 1.0
    assert torch.equal(model.lm_mask_head.layer_norm.weight, torch.ones(24))
    assert torch.equal(model.embedding.weight, state["embedding.weight"])

    fresh = AutoModelForMaskedLM.from_config(model.config)
    assert torch.equal(fresh.transformer.blocks[0].transition[0].beta, torch.ones(1))
    assert not fresh.embedding.weight[1].any()
    assert 0.5 < fresh.embedding.weight[2:].std() < 1.5


def test_names_of_transformers_reach_our_fields(masked_lm):
    config = masked_lm.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (24, 3, 3)
    assert (config.pad_token_id, config.intermediate_size) == (1, 40)
    assert masked_lm.get_input_embeddings() is masked_lm.embedding
    assert masked_lm.get_output_embeddings() is masked_lm.lm_mask_head.linear2


def test_vocabulary_can_grow(masked_lm, rows):
    masked_lm.eval()
    before = masked_lm(rows).logits
    masked_lm.resize_token_embeddings(30)
    after = masked_lm(rows).logits
    assert after.shape[-1] == masked_lm.config.vocab_size == 30
    torch.testing.assert_close(after[..., :22], before)


def test_usage_errors(masked_lm, rows):
    from stemloop.models.hub import RiNALMoConfig

    with pytest.raises(UsageError, match="attention_mask of shape"):
        masked_lm(rows, attention_mask=rows[:, 1:])
    with pytest.raises(UsageError, match="input_ids of shape"):
        masked_lm(rows[0])
    with pytest.raises(WeightsError, match="even head dimension"):
        RiNALMoConfig(hidden=30, heads=4)


AFTER = "import stemloop; "
ORDERS = {
    "stemloop first": AFTER + "from transformers import AutoConfig, AutoModel",
    "transformers first": "from transformers import AutoConfig, AutoModel; " + AFTER,
    "lazy transformers first": "import transformers; "
    + AFTER
    + "from transformers import AutoConfig, AutoModel",
    "model base class in between": AFTER
    + "from transformers import PreTrainedModel; from transformers import AutoModel, AutoConfig",
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_found_by_the_auto_classes_in_any_order_of_imports(folder, order):
    program = (
        f"{order}\n"
        "import sys\n"
        "assert not any('configuration_auto' in getattr(f, 'name', '') for f in sys.meta_path)\n"
        f"config = AutoConfig.from_pretrained({str(folder)!r})\n"
        "assert type(config).__module__ == 'stemloop.models.hub_config'\n"
        "assert type(AutoModel.from_config(config)).__name__ == 'RiNALMoModel'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_stemloop_imports_neither_torch_nor_transformers():
    program = (
        "import sys, stemloop, stemloop.models.register, stemloop.models.presets;"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
