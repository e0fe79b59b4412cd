"""RNAErnie's layouts in; outputs of the original programs reproduced; hostile files refused."""

from __future__ import annotations

import builtins
import json
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stemloop.alphabet import RINALMO, RNAERNIE, RNAERNIE2, RNAERNIE_TYPES
from stemloop.errors import WeightsError
from stemloop.models.rnaernie import RNAErnie
from stemloop.models.rnaernie_config import RNAErnieConfig
from stemloop.weights.convert import convert, read_checkpoint
from stemloop.weights.store import load, load_state

CONFIG = RNAErnieConfig(vocab_size=39, hidden=24, layers=2, heads=12, ffn_inner=40)

#: The published key layout, ours beside it.
OUTSIDE = {
    "ernie.embeddings.word_embeddings.weight": "ernie.embeddings.word_embeddings.weight",
    "ernie.embeddings.position_embeddings.weight": "ernie.embeddings.position_embeddings.weight",
    "ernie.embeddings.token_type_embeddings.weight": (
        "ernie.embeddings.token_type_embeddings.weight"
    ),
    "ernie.embeddings.layer_norm.weight": "ernie.embeddings.LayerNorm.weight",
    "ernie.embeddings.layer_norm.bias": "ernie.embeddings.LayerNorm.bias",
    "ernie.pooler.dense.weight": "ernie.pooler.dense.weight",
    "ernie.pooler.dense.bias": "ernie.pooler.dense.bias",
    "cls.predictions.transform.weight": "cls.predictions.transform.dense.weight",
    "cls.predictions.transform.bias": "cls.predictions.transform.dense.bias",
    "cls.predictions.layer_norm.weight": "cls.predictions.transform.LayerNorm.weight",
    "cls.predictions.layer_norm.bias": "cls.predictions.transform.LayerNorm.bias",
    "cls.predictions.decoder_bias": "cls.predictions.bias",
}
INSIDE = {
    "self_attn.q_proj": "attention.self.query", "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value", "self_attn.out_proj": "attention.output.dense",
    "linear1": "intermediate.dense", "linear2": "output.dense",
    "norm1": "attention.output.LayerNorm", "norm2": "output.LayerNorm",
}  # fmt: skip


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(7)
    shapes = RNAErnie(CONFIG, pooler=True).state_dict()
    return {key: torch.randn_like(value) for key, value in shapes.items()}


@pytest.fixture
def paddle(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state under Paddle's names, matrices of linear layers transposed."""
    names = dict(OUTSIDE)
    for i in range(CONFIG.layers):
        for theirs, ours in INSIDE.items():
            for kind in ("weight", "bias"):
                theirs_key = f"ernie.encoder.layers.{i}.{theirs}.{kind}"
                names[theirs_key] = f"ernie.encoder.layer.{i}.{ours}.{kind}"
    content = {}
    for theirs, ours in names.items():
        value = state[ours].clone()
        linear = value.ndim == 2 and "embeddings" not in ours
        content[theirs] = value.T.contiguous() if linear else value
    return content


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def arrays(content: Mapping[str, Tensor]) -> dict[str, Any]:
    """As Paddle's state dictionary is pickled."""
    out: dict[str, Any] = {key: value.numpy() for key, value in content.items()}
    out["StructuredToParameterName@@"] = {key: f"p_{i}" for i, key in enumerate(content)}
    return out


def write(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_paddle_files(
    protocol: int, tmp_path: Path, paddle: dict[str, Tensor], state: dict[str, Tensor]
) -> None:
    src = write(tmp_path / "model_state.pdparams", arrays(paddle), protocol)
    checkpoint = convert(src, tmp_path / "ours")
    assert checkpoint.layout == "RNAErnie, Paddle"
    config, parameters = load_state(tmp_path / "ours")
    assert config == CONFIG
    assert same(parameters, state)
    facts = json.loads((tmp_path / "ours" / "stemloop.json").read_text())
    assert facts["source"] == {"file": "model_state.pdparams", "layout": "RNAErnie, Paddle"}


def test_other_containers_of_the_same_names(
    tmp_path: Path, paddle: dict[str, Tensor], state: dict[str, Tensor]
) -> None:
    torch.save(paddle, tmp_path / "a.pt")
    save_file(paddle, tmp_path / "a.safetensors")
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder" / "model_state.pdparams", arrays(paddle))
    for name in ("a.pt", "a.safetensors", "folder"):
        assert same(read_checkpoint(tmp_path / name).state, state)


def test_spellings_of_arrays(
    tmp_path: Path, paddle: dict[str, Tensor], state: dict[str, Tensor]
) -> None:
    content = arrays(paddle)
    old = pickle.dumps(content, protocol=2).replace(b"cnumpy._core.", b"cnumpy.core.")
    (tmp_path / "old.pdparams").write_bytes(old)
    assert same(read_checkpoint(tmp_path / "old.pdparams").state, state)
    first = "ernie.embeddings.layer_norm.weight"
    content[first] = ("layer_norm_0.w_0", content[first])
    second = "ernie.encoder.layers.0.linear1.weight"
    content[second] = np.asfortranarray(content[second])
    third = "ernie.pooler.dense.bias"
    content[third] = content[third].astype(">f4")
    src = write(tmp_path / "new.pdparams", content)
    assert same(read_checkpoint(src).state, state)


def test_half_precision_is_kept(tmp_path: Path, paddle: dict[str, Tensor]) -> None:
    content = {key: value.half() for key, value in paddle.items()}
    read = read_checkpoint(write(tmp_path / "a.pdparams", arrays(content))).state
    assert {value.dtype for value in read.values()} == {torch.float16}


@pytest.mark.parametrize("parts", [("cls.",), ("ernie.pooler.",), ("cls.", "ernie.pooler.")])
def test_parts_may_be_absent(
    parts: tuple[str, ...], tmp_path: Path, paddle: dict[str, Tensor], state: dict[str, Tensor]
) -> None:
    content = {key: value for key, value in paddle.items() if not key.startswith(parts)}
    convert(write(tmp_path / "a.pdparams", arrays(content)), tmp_path / "ours")
    expected = {key: value for key, value in state.items() if not key.startswith(parts)}
    assert same(load(tmp_path / "ours").encoder.state_dict(), expected)


def test_tied_copies(tmp_path: Path, paddle: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    words = paddle["ernie.embeddings.word_embeddings.weight"]
    for name in ("decoder.weight", "decoder_weight"):
        key = f"cls.predictions.{name}"
        src = write(tmp_path / "a.pdparams", arrays(paddle | {key: words.clone()}))
        assert same(read_checkpoint(src).state, state)
        src = write(tmp_path / "b.pdparams", arrays(paddle | {key: words + 1}))
        with pytest.raises(WeightsError, match=f"key '{key}' differs from .*word_embeddings"):
            read_checkpoint(src)


LAYER = "ernie.encoder.layers.1."


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("ernie.embeddings.word_embeddings.weight", None, "missing key 'ernie.embeddings.word"),
        (
            "ernie.embeddings.word_embeddings.weight",
            torch.ones(28, 24),
            r"word_embeddings.weight' has shape \(28, 24\), expected \(39, 24\)",
        ),
        ("ernie.embeddings.position_embeddings.weight", torch.ones(24), "expected 2 dimensions"),
        ("ernie.embeddings.token_type_embeddings.weight", None, "missing key .*token_type"),
        (f"{LAYER}norm1.bias", None, f"missing key '{LAYER}norm1.bias'"),
        (
            f"{LAYER}linear1.weight",
            torch.ones(40, 24),
            rf"key '{LAYER}linear1.weight' has shape \(40, 24\), expected \(24, 40\)",
        ),
        (f"{LAYER}self_attn.q_proj.bias", torch.ones(24).int(), "q_proj.bias"),
        (f"{LAYER}strange.weight", torch.ones(1), f"unexpected key '{LAYER}strange.weight'"),
        ("classifier.weight", torch.ones(24, 13), "unexpected key 'classifier.weight'"),
        (
            "ernie.embeddings.task_type_embeddings.weight",
            torch.ones(3, 24),
            "unexpected key .*task_type.*later programs",
        ),
        ("ernie.encoder.layers.5.norm1.bias", torch.ones(24), "missing key 'ernie.enc.*layers.2"),
        ("cls.predictions.decoder_bias", None, "missing key 'cls.predictions.decoder_bias'"),
        ("ernie.pooler.dense.bias", None, "missing key 'ernie.pooler.dense.bias'"),
        ("ernie.encoder.layers.0.linear1.bias", None, "missing key 'ernie.enc.*linear1.bias'"),
    ],
)
@pytest.mark.parametrize("suffix", ["pdparams", "pt"])
def test_wrong_files_are_refused_by_their_own_key(
    suffix: str,
    key: str,
    value: Tensor | None,
    said: str,
    tmp_path: Path,
    paddle: dict[str, Tensor],
) -> None:
    paddle.pop(key, None)
    if value is not None:
        paddle[key] = value
    src = tmp_path / f"a.{suffix}"
    if suffix == "pt":
        torch.save(paddle, src)
    else:
        write(src, arrays(paddle))
    with pytest.raises(WeightsError, match=said):
        convert(src, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_heads_of_other_sizes(tmp_path: Path) -> None:
    config = replace(CONFIG, hidden=40, heads=4)
    content = RNAErnie(config).state_dict()
    folder = tmp_path / "a"
    folder.mkdir()
    names = {ours: theirs for theirs, ours in OUTSIDE.items()}
    renamed = {}
    for key, value in content.items():
        theirs = names.get(key, key.replace("encoder.layer.", "encoder.layers."))
        for a, b in INSIDE.items():
            if f".{b}." in theirs and not (b == "output.dense" and "attention" in theirs):
                theirs = theirs.replace(f".{b}.", f".{a}.")
        theirs = theirs.replace("attention.output.LayerNorm", "norm1")
        linear = value.ndim == 2 and "embeddings" not in key
        renamed[theirs] = value.T.contiguous() if linear else value
    src = write(tmp_path / "a.pdparams", arrays(renamed))
    with pytest.raises(WeightsError, match="40 over 12 heads"):
        read_checkpoint(src)
    assert read_checkpoint(src, heads=4).config == config


def test_cut_off_files_name_the_parameter(tmp_path: Path, paddle: dict[str, Tensor]) -> None:
    data = pickle.dumps(arrays(paddle), protocol=4)
    src = tmp_path / "a.pdparams"
    for key in list(paddle)[3:30:9]:
        at = data.index(key.encode()) + len(key) + 20
        src.write_bytes(data[:at])
        with pytest.raises(WeightsError, match=f"truncated.*while key '{key}' was read"):
            read_checkpoint(src)
    for content in (b"", b"\x80", data[:-1], b"<html>" * 50, data[1000:], b"\x80\x04]."):
        src.write_bytes(content)
        with pytest.raises(WeightsError, match=r"a\.pdparams: (damaged|holds a list)"):
            read_checkpoint(src)
    with pytest.raises(WeightsError, match="no such file"):
        read_checkpoint(tmp_path / "absent.pdparams")


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


HOSTILE = {
    "system": Calls(os.system, "touch pwned"),
    "eval": Calls(builtins.eval, "open('pwned', 'w')"),
    "getattr": Calls(getattr, "a", "upper"),
    "numpy": Calls(np.load, "pwned.npy"),
    "ctypes": Calls(np.ctypeslib.load_library, "pwned", "."),
    "torch": Calls(torch.load, "pwned"),
    "partial": Calls(pickle.loads, b"cos\nsystem\n(S'touch pwned'\ntR."),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_pickles_that_ask_for_more_are_refused(
    name: str, tmp_path: Path, paddle: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for content in (HOSTILE[name], {**arrays(paddle), "x": HOSTILE[name]}):
        for protocol in (0, 2, 4):
            src = write(tmp_path / "a.pdparams", content, protocol)
            with pytest.raises(WeightsError, match="refused, not loaded: it asks for"):
                read_checkpoint(src)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pdparams"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        # A dotted name that starts at an allowed one, by the opcodes of protocol 4.
        (b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.", "asks for numpy.ndarray.__init__"),
        (b"\x80\x04\x8c\x05numpy\x8c\x07fromstr\x93.", "asks for numpy.fromstr"),
        (b'cbuiltins\nexec\n(S\'open("pwned", "w")\'\ntR.', "asks for builtins.exec"),
        (b"(S'touch pwned'\nios\nsystem\n.", "asks for os.system"),
        (b"\x80\x02\x82\x01.", "damaged"),
        (b"Ppersistent\n.", "damaged"),
    ],
)
def test_hand_made_pickles(
    data: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pdparams").write_bytes(data)
    with pytest.raises(WeightsError, match=said):
        read_checkpoint(tmp_path / "a.pdparams")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pdparams"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "key 'x' holds a int, not an array"),
        ({"a": np.ones(2, np.float32)}, "key 'x' holds a dict"),
        (np.ones(2, np.int64), "key 'x' holds no usable array: 'i8', not floating point"),
        (np.ones(2, np.uint16), "key 'x' holds no usable array: 'u2'"),
        (np.array([None]), "key 'x' holds no usable array: 'O8'"),
        (np.float32, "asks for numpy.float32"),
    ],
)
def test_values_that_are_no_arrays(
    value: Any, said: str, tmp_path: Path, paddle: dict[str, Tensor]
) -> None:
    src = write(tmp_path / "a.pdparams", {**arrays(paddle), "x": value})
    with pytest.raises(WeightsError, match=said):
        read_checkpoint(src)
    with pytest.raises(WeightsError, match="key 3 is no text"):
        read_checkpoint(write(tmp_path / "b.pdparams", {3: np.ones(2, np.float32)}))


def hub(folder: Path, tokens: tuple[str, ...], kind: str = "Bert", **settings: Any) -> Any:
    """A directory that transformers writes, with a vocabulary; returns the model."""
    import transformers

    torch.manual_seed(2)
    shape: dict[str, Any] = {
        "vocab_size": len(tokens), "hidden_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 40, "max_position_embeddings": 64,
    }  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(**shape | settings)
    model = getattr(transformers, f"{kind}ForMaskedLM")(config).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.3)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    return model


@pytest.mark.parametrize(
    ("kind", "alphabet", "activation"),
    [("Bert", RNAERNIE2, "gelu"), ("Bert", RNAERNIE2, "relu"), ("Ernie", RNAERNIE, "relu")],
)
def test_hub_directories(kind: str, alphabet: Any, activation: str, tmp_path: Path) -> None:
    model = hub(tmp_path / "hub", alphabet.tokens, kind, hidden_act=activation)
    checkpoint = convert(tmp_path / "hub", tmp_path / "ours")
    assert checkpoint.layout == f"RNAErnie, {kind.lower()} directory"
    ours = load(tmp_path / "ours")
    assert ours.alphabet is alphabet
    assert (ours.config.max_length, ours.config.activation) == (64, activation)
    ids, starts = alphabet.encode_many(["GGGANNACUUCCC", "ACGU"])
    tokens = torch.from_numpy(ids).long()
    with torch.inference_mode():
        out = ours.encoder(tokens, torch.from_numpy(starts), need_logits=True)
        expected = [model(part[None]).logits[0] for part in tokens.split(np.diff(starts).tolist())]
    assert out.logits is not None
    torch.testing.assert_close(out.logits, torch.cat(expected), rtol=0, atol=1e-5)


def test_hub_directory_of_a_bare_encoder(tmp_path: Path) -> None:
    model = hub(tmp_path / "hub", RNAERNIE2.tokens)
    model.bert.save_pretrained(tmp_path / "hub")
    state = read_checkpoint(tmp_path / "hub").state
    assert not any(key.startswith("cls.") for key in state)
    words = model.bert.embeddings.word_embeddings.weight
    assert torch.equal(state["ernie.embeddings.word_embeddings.weight"], words)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"use_task_id": True}, "use_task_id True: not RNAErnie's network"),
        ({"num_hidden_layers": 3}, "missing key 'bert.encoder.layer.2"),
        ({"num_hidden_layers": 1}, "unexpected key 'bert.encoder.layer.1"),
        ({"num_attention_heads": None}, "no num_attention_heads"),
        ({"hidden_size": 25}, "says hidden_size 25, the tensors 24"),
        ({"hidden_act": "silu"}, "activation 'silu' is not known"),
        ({"layer_norm_eps": "x"}, "layer_norm_eps must be float"),
        ({"model_type": "roberta"}, "model_type 'roberta' is not 'rinalmo'"),
    ],
)
def test_wrong_hub_config(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    hub(tmp_path / "hub", RNAERNIE2.tokens)
    file = tmp_path / "hub" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    with pytest.raises(WeightsError, match=said):
        read_checkpoint(tmp_path / "hub")


def test_a_text_model_is_refused(tmp_path: Path) -> None:
    hub(tmp_path / "hub", ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdef"))
    with pytest.raises(WeightsError, match="vocab.txt is not RNAErnie's: 11 tokens"):
        read_checkpoint(tmp_path / "hub")


SPECIAL = ["<pad>", "<cls>", "<eos>", "<unk>", "<mask>", "<null>"]
VOCABULARIES = {
    28: [*SPECIAL, *"ACGUNRYSWKMBDHVIX|.*-?"],
    26: [*SPECIAL, *"ACGUNRYSWKMBDHV.X*-I"],
}


def multimolecule(
    folder: Path, state: Mapping[str, Tensor], size: int, **settings: Any
) -> dict[str, Tensor]:
    """Write a directory of that layout by hand; returns what is in it."""
    content: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key.replace("LayerNorm", "layer_norm").replace("ernie.", "model.", 1)
        name = name.replace("cls.predictions.", "lm_head.")
        if value.shape[0] == 39 and "layer." not in key:
            value = torch.randn(size, *value.shape[1:])
        content[name] = value.clone()
    content["lm_head.decoder.weight"] = content["model.embeddings.word_embeddings.weight"].clone()
    content["lm_head.decoder.bias"] = content["lm_head.bias"].clone()
    content["model.embeddings.position_ids"] = torch.arange(513)[None]
    folder.mkdir()
    save_file(content, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "vocab.txt").write_text("\n".join(VOCABULARIES[size]))
    config = {"model_type": "rnaernie", "hidden_size": 24, "num_hidden_layers": 2,
              "num_attention_heads": 12, "intermediate_size": 40, "vocab_size": size,
              "hidden_act": "relu", "layer_norm_eps": 1e-12}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config | settings))
    return content


@pytest.mark.parametrize("size", [28, 26])
def test_multimolecule_directories(size: int, tmp_path: Path, state: dict[str, Tensor]) -> None:
    head = {"transform_act": "gelu"}
    content = multimolecule(tmp_path / "mm", state, size, lm_head=head)
    checkpoint = convert(tmp_path / "mm", tmp_path / "ours")
    assert checkpoint.layout == f"RNAErnie, multimolecule, {size} ids"
    assert any("prompt and RNA types" in note for note in checkpoint.notes)
    assert any("transform_act gelu" in note for note in checkpoint.notes)
    ours = load(tmp_path / "ours")
    assert ours.alphabet is RINALMO
    assert ours.config == replace(
        CONFIG, vocab_size=22, alphabet="rinalmo", cls_id=0, pad_id=1, eos_id=2, unk_id=3, mask_id=4
    )
    read = ours.encoder.state_dict()
    for row, token in enumerate(RINALMO.tokens):
        theirs = VOCABULARIES[size].index("U" if token == "T" else token)
        for key, name in (
            ("ernie.embeddings.word_embeddings.weight", "model.embeddings.word_embeddings.weight"),
            ("cls.predictions.bias", "lm_head.bias"),
        ):
            assert torch.equal(read[key][row], content[name][theirs])
    rest = {key for key in state if read[key].shape[0] != 22}
    assert len(rest) == len(state) - 2
    assert all(torch.equal(read[key], state[key]) for key in rest)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model.embeddings.word_embeddings.weight", None, "no encoder in there"),
        ("model.embeddings.word_embeddings.weight", torch.ones(27, 24), r"expected \(28, 24\)"),
        ("model.encoder.layer.0.attention.self.key.weight", None, "'model.encoder.*self.key.w"),
        ("model.encoder.layer.0.strange.weight", torch.ones(1), "unexpected key 'model.*strange"),
        ("lm_head.bias", torch.zeros(28), "'lm_head.decoder.bias' differs from 'lm_head.bias'"),
        ("lm_head.transform.dense.bias", None, "missing key 'lm_head.transform.dense.bias'"),
    ],
)
def test_wrong_multimolecule_directories(
    key: str, value: Tensor | None, said: str, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    content = multimolecule(tmp_path / "mm", state, 28)
    if value is None:
        del content[key]
    else:
        content[key] = value
    save_file(content, tmp_path / "mm" / "model.safetensors")
    with pytest.raises(WeightsError, match=said):
        read_checkpoint(tmp_path / "mm")


def test_no_way_back_to_rinalmos_layouts(tmp_path: Path, paddle: dict[str, Tensor]) -> None:
    convert(write(tmp_path / "a.pdparams", arrays(paddle)), tmp_path / "ours")
    for to in ("official", "official-noflash"):
        with pytest.raises(WeightsError, match="layouts are RiNALMo's"):
            convert(tmp_path / "ours", tmp_path / "b.pt", to=to)
    assert not (tmp_path / "b.pt").exists()
    convert(tmp_path / "ours", tmp_path / "copy")
    assert same(load_state(tmp_path / "copy")[1], load_state(tmp_path / "ours")[1])


@pytest.mark.parametrize("name", ["model_state.pdparams", "paddle_state.pt"])
def test_outputs_of_the_original_program(name: str, shared_data: Path, tmp_path: Path) -> None:
    convert(shared_data / "parity" / f"rnaernie_tiny_{name}", tmp_path / "m")
    encoder = load(tmp_path / "m").encoder
    assert isinstance(encoder, RNAErnie)
    vectors = np.load(shared_data / "parity" / "rnaernie_tiny_paddle_vectors.npz")
    for kind in ("", "_masked"):
        rows = torch.from_numpy(vectors[f"tokens{kind}"])
        kept = rows != RNAERNIE.pad_id
        starts = torch.nn.functional.pad(kept.sum(1).cumsum(0), (1, 0)).int()
        with torch.inference_mode():
            out = encoder(rows[kept], starts, need_logits=True)
            pooled = encoder.pool(out.representation, starts)
        assert out.logits is not None
        for ours, theirs in ((out.logits, "logits"), (out.representation, "sequence_output")):
            expected = vectors[theirs + kind][kept.numpy()]
            np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-4)
        np.testing.assert_allclose(pooled.numpy(), vectors[f"pooled{kind}"], rtol=0, atol=1e-4)
    for sequence, row in zip(vectors["seqs"], vectors["tokens"], strict=True):
        ids = RNAERNIE.encode(str(sequence))
        assert row[: len(ids)].tolist() == ids.tolist()


def test_outputs_of_multimolecule(shared_data: Path, tmp_path: Path) -> None:
    parity = shared_data / "parity"
    convert(parity / "rnaernie_tiny_multimolecule", tmp_path / "m")
    encoder = load(tmp_path / "m").encoder
    vectors = np.load(parity / "rnaernie_tiny_multimolecule_vectors.npz")
    theirs = (parity / "rnaernie_tiny_multimolecule/vocab.txt").read_text().split("\n")
    ours = [theirs.index("U" if token == "T" else token) for token in RINALMO.tokens]
    back = {row: i for i, row in enumerate(ours)}
    kept = vectors["attention_mask"] == 1
    tokens = torch.tensor([back[row] for row in vectors["input_ids"][kept].tolist()])
    starts = torch.tensor([0, *kept.sum(1).cumsum().tolist()], dtype=torch.int32)
    with torch.inference_mode():
        out = encoder(tokens, starts, need_logits=True)
    assert out.logits is not None
    expected = vectors["logits"][kept][:, ours]
    np.testing.assert_allclose(out.logits.numpy(), expected, rtol=0, atol=1e-4)
    expected = vectors["last_hidden_state"][kept]
    np.testing.assert_allclose(out.representation.numpy(), expected, rtol=0, atol=1e-4)


def test_both_conversions_agree(shared_data: Path) -> None:
    """The multimolecule directory was made from the Paddle file: shared rows are equal."""
    parity = shared_data / "parity"
    ours = read_checkpoint(parity / "rnaernie_tiny_model_state.pdparams").state
    theirs = read_checkpoint(parity / "rnaernie_tiny_multimolecule").state
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        if value.shape[0] == len(RNAERNIE) and "layer." not in key:
            for a, b in (("A", "A"), ("C", "C"), ("G", "G"), ("T", "T"), ("[MASK]", "<mask>")):
                assert torch.equal(value[RNAERNIE.ids[a]], theirs[key][RINALMO.ids[b]])
        else:
            assert torch.equal(value, theirs[key]), key


def test_commands(cli: Callable[..., Any], tmp_path: Path, paddle: dict[str, Tensor]) -> None:
    src = write(tmp_path / "model_state.pdparams", arrays(paddle))
    ran = cli("convert", src, tmp_path / "ours")
    assert ran.code == 0, ran.err
    assert "2 layers of 24, 12 heads" in ran.err
    fasta = tmp_path / "x.fa"
    fasta.write_text(">a\nGGGAAACCC\n>b\nACGTN\n")
    ran = cli("embed", fasta, "-m", tmp_path / "ours", "-o", tmp_path / "x.npz", "--device", "cpu")
    assert ran.code == 0, ran.err
    plain = np.load(tmp_path / "x.npz")["mean"]
    assert plain.shape == (2, 24)
    ran = cli("embed", fasta, "-m", tmp_path / "ours", "-o", tmp_path / "y.npz", "--device", "cpu",
              "--rna-type", "tRNA")  # fmt: skip
    assert ran.code == 0, ran.err
    assert np.abs(np.load(tmp_path / "y.npz")["mean"] - plain).max() > 1e-3
    write(src, Calls(os.system, "true"))
    ran = cli("convert", src, tmp_path / "b")
    assert (ran.code, "asks for posix.system" in ran.err) == (5, True)


def test_type_tokens_keep_their_rows(tmp_path: Path, paddle: dict[str, Tensor]) -> None:
    state = read_checkpoint(write(tmp_path / "a.pdparams", arrays(paddle))).state
    words = paddle["ernie.embeddings.word_embeddings.weight"]
    first = RNAERNIE.ids[RNAERNIE_TYPES[0]]
    assert first == 7
    assert torch.equal(state["ernie.embeddings.word_embeddings.weight"][first], words[7])
