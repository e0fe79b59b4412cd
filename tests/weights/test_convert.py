"""Every foreign layout in, and back, bit for bit; outputs of the original programs reproduced."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stemloop.alphabet import RINALMO
from stemloop.errors import OutputExistsError, UsageError, WeightsError
from stemloop.models.presets import EncoderConfig
from stemloop.models.rinalmo import RiNALMo
from stemloop.weights.convert import convert, read_checkpoint
from stemloop.weights.store import load, load_state

#: Order of the ids in current and in older multimolecule directories.
SPECIAL = ["<pad>", "<cls>", "<eos>", "<unk>", "<mask>", "<null>"]
VOCABULARIES = {
    28: [*SPECIAL, *"ACGUNRYSWKMBDHVIX|.*-?"],
    26: [*SPECIAL, *"ACGUNRYSWKMBDHV.X*-I"],
}


def same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[k], b[k]) if isinstance(a[k], Tensor) else a[k] == b[k] for k in a
    )


def write(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
@pytest.mark.parametrize("layout", ["flash", "noflash"])
def test_official_layouts(
    layout: str,
    wrapper: str | None,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    config: EncoderConfig,
    state: dict[str, Tensor],
) -> None:
    content = request.getfixturevalue(layout)
    src = write(tmp_path / "a.pt", {wrapper: content, "epoch": 3} if wrapper else content)
    checkpoint = convert(src, tmp_path / "ours")
    assert checkpoint.layout == f"official, {layout}"
    read, parameters = load_state(tmp_path / "ours")
    assert read == config
    assert same(parameters, state)
    for to, name in (("official", "flash"), ("official-noflash", "noflash")):
        convert(tmp_path / "ours", tmp_path / f"{to}.pt", to=to)
        back = torch.load(tmp_path / f"{to}.pt", weights_only=True)
        assert same(back, request.getfixturevalue(name))


def test_old_file_format_and_safetensors(
    tmp_path: Path, flash: dict[str, Tensor], noflash: dict[str, Tensor]
) -> None:
    torch.save(flash, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(noflash, tmp_path / "new.safetensors")
    old, new = read_checkpoint(tmp_path / "old.pt"), read_checkpoint(tmp_path / "new.safetensors")
    assert same(old.state, new.state)


@pytest.mark.parametrize("prefix", ["lm", "rinalmo"])
@pytest.mark.parametrize("layout", ["flash", "noflash"])
def test_fine_tuned_files(
    layout: str,
    prefix: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    state: dict[str, Tensor],
    structure_head: dict[str, Tensor],
) -> None:
    content: dict[str, Any] = {
        f"{prefix}.{key}": value for key, value in request.getfixturevalue(layout).items()
    }
    content |= structure_head | {"threshold": 0.07}
    content |= {"scaler._mean": torch.tensor([1.5]), "scaler._std": torch.tensor([0.1])}
    src = write(tmp_path / "a.pt", content)
    checkpoint = convert(src, tmp_path / "ours")
    assert same(checkpoint.state, state)
    head = load(tmp_path / "ours").head
    assert head is not None
    assert (head.kind, head.prefix, head.threshold) == ("structure", prefix, 0.07)
    to = "official" if layout == "flash" else "official-noflash"
    convert(tmp_path / "ours", tmp_path / "b.pt", to=to)
    back = torch.load(tmp_path / "b.pt", weights_only=True)
    assert same(back, content)
    assert isinstance(back["threshold"], float)


def test_a_threshold_that_is_a_tensor(tmp_path: Path, flash: dict[str, Tensor]) -> None:
    content = {f"lm.{key}": value for key, value in flash.items()}
    content |= {"threshold": torch.tensor(0.25), "pred_head.classifier.0.bias": torch.ones(2)}
    head = read_checkpoint(write(tmp_path / "a.pt", content)).head
    assert head is not None
    assert (head.kind, head.threshold) == ("classifier", 0.25)


def multimolecule(
    folder: Path, state: Mapping[str, Tensor], size: int, **settings: Any
) -> dict[str, Tensor]:
    """Write a directory of that layout by hand; returns what is in it."""
    vocabulary = VOCABULARIES[size]
    rows = [vocabulary.index("U" if token == "T" else token) for token in RINALMO.tokens]

    def spread(value: Tensor) -> Tensor:
        out = torch.full((size, *value.shape[1:]), 99.0)
        out[rows] = value
        return out

    names = {
        "mh_attn.out_proj": "attention.output.dense", "attn_layer_norm": "attention.layer_norm",
        "out_layer_norm": "layer_norm", "transition.0.linear": "intermediate.linear",
        "transition.0.linear_gate": "intermediate.linear_gate", "transition.2": "output.dense",
    }  # fmt: skip
    content = {
        "model.embeddings.word_embeddings.weight": spread(state["embedding.weight"]),
        "lm_head.decoder.weight": spread(state["lm_mask_head.linear2.weight"]),
        "lm_head.bias": spread(state["lm_mask_head.linear2.bias"]),
        "model.pooler.dense.weight": torch.zeros(3),
    }
    content["lm_head.decoder.bias"] = content["lm_head.bias"].clone()
    for kind in ("weight", "bias"):
        content[f"model.encoder.layer_norm.{kind}"] = state[f"transformer.final_layer_norm.{kind}"]
        for ours, theirs in (("linear1", "dense"), ("layer_norm", "layer_norm")):
            content[f"lm_head.transform.{theirs}.{kind}"] = state[f"lm_mask_head.{ours}.{kind}"]
        for i in range(2):
            for ours, theirs in names.items():
                key = f"transformer.blocks.{i}.{ours}.{kind}"
                if key in state:
                    content[f"model.encoder.layer.{i}.{theirs}.{kind}"] = state[key]
    for i in range(2):
        block, layer = f"transformer.blocks.{i}.", f"model.encoder.layer.{i}."
        content[f"{layer}intermediate.bias"] = state[f"{block}transition.0.beta"]
        parts = state[f"{block}mh_attn.Wqkv.weight"].chunk(3)
        for part, name in zip(parts, ("query", "key", "value"), strict=True):
            content[f"{layer}attention.self.{name}.weight"] = part
    content = {key: value.clone() for key, value in content.items()}
    folder.mkdir()
    save_file(content, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    config = {"model_type": "rinalmo", "hidden_size": 40, "num_hidden_layers": 2,
              "num_attention_heads": 20, "intermediate_size": 160, "vocab_size": size}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config | settings))
    return content


@pytest.mark.parametrize("size", [28, 26])
def test_multimolecule_directories(
    size: int, tmp_path: Path, config: EncoderConfig, state: dict[str, Tensor]
) -> None:
    multimolecule(tmp_path / "mm", state, size, layer_norm_eps=1e-12)
    checkpoint = convert(tmp_path / "mm", tmp_path / "ours")
    assert checkpoint.layout == f"multimolecule, {size} ids"
    assert checkpoint.config == config
    assert same(checkpoint.state, state)
    assert any("1e-12" in note for note in checkpoint.notes)
    assert any("model.pooler.dense.weight left out" in note for note in checkpoint.notes)
    convert(tmp_path / "ours", tmp_path / "back.pt", to="official")
    assert same(torch.load(tmp_path / "back.pt", weights_only=True), state)


def test_multimolecule_pickle_and_bare_encoder(tmp_path: Path, state: dict[str, Tensor]) -> None:
    content = multimolecule(tmp_path / "mm", state, 28)
    bare = {k.removeprefix("model."): v for k, v in content.items() if k.startswith("model.")}
    (tmp_path / "mm" / "model.safetensors").unlink()
    write(tmp_path / "mm" / "pytorch_model.bin", bare)
    checkpoint = convert(tmp_path / "mm", tmp_path / "ours")
    encoder = {key: v for key, v in state.items() if not key.startswith("lm_mask_head.")}
    assert same(checkpoint.state, encoder)
    assert load(tmp_path / "ours").config.layers == 2


def test_multimolecule_structure_head(
    tmp_path: Path, state: dict[str, Tensor], structure_head: dict[str, Tensor]
) -> None:
    content = multimolecule(tmp_path / "mm", state, 28)
    names = {"pred_head.linear_in": "projection", "pred_head.conv_out": "prediction"}
    for k in (0, 1):
        for place, number in ((0, 1), (3, 2), (6, 3)):
            name = f"convnet.layers.{k}.conv{number}"
            names[f"pred_head.resnet.blocks.{k}.conv_net.{place}"] = name
    for key, value in structure_head.items():
        module, _, kind = key.rpartition(".")
        content[f"ss_head.{names[module]}.{kind}"] = value
    save_file(content, tmp_path / "mm" / "model.safetensors")
    checkpoint = read_checkpoint(tmp_path / "mm")
    assert checkpoint.head is not None
    assert checkpoint.head.kind == "structure"
    assert checkpoint.head.threshold is None
    assert same(checkpoint.head.tensors, structure_head)


BLOCK = "transformer.blocks.1."


@pytest.mark.parametrize(
    ("layout", "key", "value", "said"),
    [
        ("flash", "embedding.weight", None, "no key 'embedding.weight'"),
        ("flash", "embedding.weight", torch.ones(28, 40), r"has shape \(28, 40\), expected \(22"),
        ("flash", f"{BLOCK}transition.0.beta", None, f"missing key '{BLOCK}transition.0.beta'"),
        ("flash", f"{BLOCK}extra", torch.ones(1), f"unexpected key '{BLOCK}extra'"),
        ("flash", "optimizer", torch.ones(1), "unexpected key 'optimizer'"),
        ("flash", f"{BLOCK}mh_attn.Wqkv.weight", torch.ones(9, 40), r"shape \(9, 40\), expected"),
        ("flash", "transformer.blocks.0.transition.0.linear.weight", None, "missing key"),
        ("flash", "transformer.blocks.7.transition.0.beta", torch.ones(1), "missing key"),
        ("noflash", f"{BLOCK}mh_attn.mh_attn.to_q.weight", None, "to_q.weight"),
        ("noflash", f"{BLOCK}mh_attn.mh_attn.to_k.weight", None, "to_k.weight"),
        ("noflash", f"{BLOCK}mh_attn.mh_attn.to_v.weight", torch.ones(1, 40), "differ in shape"),
        (
            "noflash",
            f"{BLOCK}mh_attn.mh_attn.rotary_emb.inv_freq",
            torch.full((1,), 7.0),
            "not the rotary embedding of 20 heads",
        ),
    ],
)
def test_wrong_official_files_are_refused_by_key(
    layout: str,
    key: str,
    value: Tensor | None,
    said: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    content = request.getfixturevalue(layout)
    if value is None:
        del content[key]
    else:
        content[key] = value
    with pytest.raises(WeightsError, match=said):
        convert(write(tmp_path / "a.pt", content), tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model.embeddings.word_embeddings.weight", None, "no encoder in there"),
        ("model.embeddings.word_embeddings.weight", torch.ones(27, 40), "for 28 lines"),
        ("model.encoder.layer.0.attention.self.key.weight", None, "self.key.weight"),
        ("model.encoder.layer.1.intermediate.bias", None, "missing key .*blocks.1.*beta"),
        ("model.encoder.layer.0.strange.weight", torch.ones(1), "unexpected key .*strange"),
        ("lm_head.bias", torch.zeros(28), "differ"),
        ("lm_head.decoder.weight", None, "missing key 'lm_mask_head.linear2.weight'"),
        ("sequence_head.decoder.weight", torch.ones(2), "unexpected key 'sequence_head"),
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


def test_vocabulary_file_decides(tmp_path: Path, state: dict[str, Tensor]) -> None:
    multimolecule(tmp_path / "mm", state, 28)
    file = tmp_path / "mm" / "vocab.txt"
    text = file.read_text()
    file.write_text(text.replace("\nI\n", "\nZ\n"))
    with pytest.raises(WeightsError, match="vocab.txt has no token 'I'"):
        read_checkpoint(tmp_path / "mm")
    file.write_text(text.replace("\nX\n", "\nA\n"))
    with pytest.raises(WeightsError, match="lists a token twice"):
        read_checkpoint(tmp_path / "mm")
    file.write_text(text.replace("\n", "\r\n") + "\r\n")
    assert same(read_checkpoint(tmp_path / "mm").state, state)
    file.unlink()
    with pytest.raises(WeightsError, match=r"no readable vocab.txt"):
        read_checkpoint(tmp_path / "mm")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model_type": "rnafm"}, "model_type 'rnafm' is not 'rinalmo'"),
        ({"num_hidden_layers": 3}, "missing key 'transformer.blocks.2"),
        ({"num_attention_heads": None}, "no num_attention_heads"),
        ({"hidden_size": 41}, "says hidden_size 41, the embedding 40"),
        ({"token_dropout": False}, "token_dropout"),
    ],
)
def test_wrong_multimolecule_config(
    settings: dict[str, Any], said: str, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    multimolecule(tmp_path / "mm", state, 28, **settings)
    with pytest.raises(WeightsError, match=said):
        read_checkpoint(tmp_path / "mm")


def test_truncated_and_damaged_files(tmp_path: Path, flash: dict[str, Tensor]) -> None:
    src = write(tmp_path / "a.pt", flash)
    data = src.read_bytes()
    for size in (0, 10, len(data) // 2, len(data) - 1):
        src.write_bytes(data[:size])
        with pytest.raises(WeightsError, match=r"a\.pt: (damaged|refused)"):
            read_checkpoint(src)
    src.write_bytes(b"<html>" * 100)
    with pytest.raises(WeightsError, match=r"a\.pt: (damaged|refused)"):
        read_checkpoint(src)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("__import__('pathlib').Path('pwned').touch()",)


def test_pickles_that_run_code_are_refused(
    tmp_path: Path, flash: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for content in ({**flash, "x": Evil()}, Evil()):
        with pytest.raises(WeightsError, match="refused, not loaded: it asks for") as caught:
            read_checkpoint(write(tmp_path / "a.pt", content))
        assert "weights_only=False" not in str(caught.value)
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(WeightsError, match=r"b\.pt: refused"):
        read_checkpoint(tmp_path / "b.pt")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([torch.ones(1)], "holds a list"),
        ({"embedding.weight": [1.0]}, "key 'embedding.weight' holds a list"),
        ({1: torch.ones(1)}, "key 1 is no text"),
        ({"a": torch.ones(1)}, "no RiNALMo checkpoint.*it has 'a'"),
        ({"pred_head.linear_in.weight": torch.ones(1)}, "a task head without its encoder"),
        ({}, "it has nothing"),
        ({"embedding.weight": torch.eye(22).to_sparse()}, "not a tensor"),
    ],
)
def test_files_of_something_else(content: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=said):
        read_checkpoint(write(tmp_path / "a.pt", content))


def test_heads_of_other_sizes(tmp_path: Path) -> None:
    config = EncoderConfig(vocab_size=22, hidden=48, layers=1, heads=4, ffn_inner=8)
    src = write(tmp_path / "a.pt", RiNALMo(config).state_dict())
    with pytest.raises(WeightsError, match="48 over 20 heads"):
        read_checkpoint(src)
    assert read_checkpoint(src, heads=4).config == config


def test_own_vocabularies_have_no_official_layout(tmp_path: Path, flash: dict[str, Tensor]) -> None:
    convert(write(tmp_path / "a.pt", flash), tmp_path / "ours")
    checkpoint = read_checkpoint(tmp_path / "ours")
    from stemloop.weights.layout_official import write_official

    checkpoint.config = EncoderConfig(
        vocab_size=56, hidden=40, layers=2, heads=20, ffn_inner=106, alphabet="stemloop"
    )
    with pytest.raises(WeightsError, match="the official layout has 22 tokens"):
        write_official(checkpoint)


def test_arguments(tmp_path: Path, flash: dict[str, Tensor]) -> None:
    src = write(tmp_path / "a.pt", flash)
    with pytest.raises(UsageError, match="unknown layout 'x'"):
        convert(src, tmp_path / "b", to="x")
    with pytest.raises(WeightsError, match="no such file or directory"):
        convert(tmp_path / "absent", tmp_path / "b")
    with pytest.raises(OutputExistsError):
        convert(tmp_path / "absent", src, to="official")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").touch()
    with pytest.raises(OutputExistsError):
        convert(tmp_path / "absent", tmp_path / "d")
    with pytest.raises(WeightsError, match="no readable config.json"):
        convert(tmp_path / "d", tmp_path / "b")


LAYOUTS = (
    "rinalmo_tiny_official_flashnames.pt",
    "rinalmo_tiny_official_noflash.pt",
    "rinalmo_tiny_multimolecule",
)


@pytest.mark.parametrize("name", LAYOUTS)
def test_outputs_of_the_original_programs(name: str, shared_data: Path, tmp_path: Path) -> None:
    convert(shared_data / "parity" / name, tmp_path / "m")
    encoder = load(tmp_path / "m").encoder
    vectors = np.load(shared_data / "parity" / "rinalmo_tiny_vectors.npz")
    for kind in ("", "_masked"):
        rows = torch.from_numpy(vectors[f"tokens{kind}"])
        kept = rows != RINALMO.pad_id
        starts = torch.nn.functional.pad(kept.sum(1).cumsum(0), (1, 0)).int()
        with torch.inference_mode():
            out = encoder(rows[kept], starts, need_logits=True)
        assert out.logits is not None
        for ours, theirs in ((out.logits, "logits"), (out.representation, "representation")):
            expected = vectors[theirs + kind][kept.numpy()]
            np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", LAYOUTS)
def test_outputs_of_multimolecule(name: str, shared_data: Path, tmp_path: Path) -> None:
    convert(shared_data / "parity" / name, tmp_path / "m")
    encoder = load(tmp_path / "m").encoder
    vectors = np.load(shared_data / "parity" / "rinalmo_tiny_multimolecule_vectors.npz")
    text = (shared_data / "parity/rinalmo_tiny_multimolecule/vocab.txt").read_text()
    theirs = text.split("\n")
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


@pytest.mark.parametrize("layout", ["flashnames", "noflash"])
def test_original_files_round_trip_bit_for_bit(
    layout: str, shared_data: Path, tmp_path: Path
) -> None:
    src = shared_data / "parity" / f"rinalmo_tiny_official_{layout}.pt"
    convert(src, tmp_path / "m")
    to = "official" if layout == "flashnames" else "official-noflash"
    convert(tmp_path / "m", tmp_path / "back.pt", to=to)
    original = torch.load(src, weights_only=True)
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    if layout == "flashnames":  # the flash class keeps no rotary buffer in its files any more
        original = {key: v for key, v in original.items() if not key.endswith("inv_freq")}
    assert same(back, dict(original))
