"""Model directories: what is saved is loaded, what is not whole is refused by name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stemloop.errors import OutputError, OutputExistsError, WeightsError
from stemloop.models.presets import EncoderConfig
from stemloop.weights import locate
from stemloop.weights.store import (
    Head,
    check_bundled,
    load,
    load_encoder,
    load_state,
    save_model_dir,
    sha256_file,
)
from stemloop.weights.tensors import write_tensors


@pytest.fixture
def saved(tmp_path: Path, config: EncoderConfig, state: dict[str, Tensor]) -> Path:
    return save_model_dir(tmp_path / "model", config, state, source={"url": "somewhere"})


def test_round_trip(saved: Path, config: EncoderConfig, state: dict[str, Tensor]) -> None:
    model = load(saved)
    assert model.config == config
    assert model.alphabet.name == "rinalmo"
    assert model.facts["source"] == {"url": "somewhere"}
    assert model.facts["sha256"] == {"model.safetensors": sha256_file(saved / "model.safetensors")}
    assert model.head is None
    assert not model.encoder.training
    loaded = model.encoder.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_same_weights_same_bytes(
    saved: Path, tmp_path: Path, config: EncoderConfig, state: dict[str, Tensor]
) -> None:
    again = save_model_dir(tmp_path / "b", config, dict(reversed(state.items())))
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (again / name).read_bytes() == (saved / name).read_bytes()


def test_dtype(saved: Path) -> None:
    encoder, _ = load_encoder(saved, dtype=torch.bfloat16)
    assert {p.dtype for p in encoder.parameters()} == {torch.bfloat16}


def test_half_precision_files_compute_in_float32(
    tmp_path: Path, config: EncoderConfig, state: dict[str, Tensor]
) -> None:
    path = save_model_dir(tmp_path / "h", config, {k: v.half() for k, v in state.items()})
    assert load_state(path)[1]["embedding.weight"].dtype == torch.float16
    assert next(load(path).encoder.parameters()).dtype == torch.float32


def test_head_is_kept(tmp_path: Path, config: EncoderConfig, state: dict[str, Tensor],
                      structure_head: dict[str, Tensor]) -> None:  # fmt: skip
    head = Head("structure", "lm", structure_head, 0.13)
    path = save_model_dir(tmp_path / "m", config, state, head=head)
    back = load(path).head
    assert back is not None
    assert (back.kind, back.prefix, back.threshold) == ("structure", "lm", 0.13)
    assert back.tensors.keys() == structure_head.keys()
    assert all(torch.equal(back.tensors[k], structure_head[k]) for k in structure_head)
    (path / "head.safetensors").unlink()
    with pytest.raises(WeightsError, match="head.safetensors: no such file"):
        load(path)


def test_encoder_without_lm_head(
    tmp_path: Path, config: EncoderConfig, state: dict[str, Tensor]
) -> None:
    part = {key: value for key, value in state.items() if not key.startswith("lm_mask_head.")}
    encoder, _ = load_encoder(save_model_dir(tmp_path / "m", config, part))
    tokens, starts = torch.tensor([0, 5, 2]), torch.tensor([0, 3], dtype=torch.int32)
    assert encoder(tokens, starts).representation.shape == (3, 40)
    with pytest.raises(WeightsError, match="no language-model head"):
        encoder(tokens, starts, need_logits=True)


def rewrite(saved: Path, change: dict[str, Tensor | None]) -> None:
    _, state = load_state(saved)
    state = {key: value.clone() for key, value in state.items()}
    for key, value in change.items():
        if value is None:
            del state[key]
        else:
            state[key] = value
    write_tensors(saved / "model.safetensors", state)


BETA = "transformer.blocks.1.transition.0.beta"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({BETA: None}, f"missing key '{BETA}'"),
        ({"lm_mask_head.linear2.bias": None}, "missing key 'lm_mask_head.linear2.bias'"),
        ({"pooler.weight": torch.ones(2)}, "unexpected key 'pooler.weight'"),
        ({BETA: torch.ones(2)}, f"key '{BETA}' has shape \\(2,\\), expected \\(1,\\)"),
        ({BETA: torch.ones(1, dtype=torch.int64)}, f"key '{BETA}' holds torch.int64"),
        ({BETA: None, "embedding.weight": None}, "missing key 'embedding.weight' and 1 more"),
    ],
)
def test_wrong_keys_are_named(saved: Path, change: dict[str, Tensor | None], said: str) -> None:
    rewrite(saved, change)
    with pytest.raises(WeightsError, match=said):
        load(saved)
    with pytest.raises(WeightsError, match="model.safetensors"):
        load(saved)


def test_another_configuration(saved: Path) -> None:
    text = (saved / "config.json").read_text().replace('"layers": 2', '"layers": 3')
    (saved / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=r"missing key 'transformer.blocks.2\..* and 12 more"):
        load(saved)


@pytest.mark.parametrize("size", [0, 4, 100, 2000, 20_000, -1])
def test_truncated_file(saved: Path, size: int) -> None:
    file = saved / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:size])
    with pytest.raises(WeightsError, match=r"model.safetensors: (truncated: key|no readable)"):
        load(saved)
    file.write_bytes(data[:20_000])
    with pytest.raises(WeightsError, match="truncated: key 'transformer.blocks"):
        load(saved)


def test_garbage(saved: Path) -> None:
    (saved / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(WeightsError, match="no readable safetensors file"):
        load(saved)
    (saved / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="config.json: config: no JSON"):
        load(saved)
    (saved / "config.json").unlink()
    with pytest.raises(WeightsError, match="not a model directory"):
        load(saved)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("alphabet", "klingon", "unknown alphabet 'klingon'"), ("eos_id", 5, "eos_id is 5, 2")],
)
def test_alphabet_must_fit(saved: Path, key: str, value: object, said: str) -> None:
    settings = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(settings | {key: value}))
    with pytest.raises(WeightsError, match=said):
        load(saved)


def test_facts_of_a_newer_program(saved: Path) -> None:
    (saved / "stemloop.json").write_text('{"format": 99}')
    with pytest.raises(WeightsError, match="format 99 is newer"):
        load(saved)
    (saved / "stemloop.json").write_text("[]")
    with pytest.raises(WeightsError, match="damaged"):
        load(saved)
    (saved / "stemloop.json").unlink()  # as transformers' save_pretrained leaves it
    assert load(saved).facts == {}


def test_existing_output(saved: Path, config: EncoderConfig, state: dict[str, Tensor]) -> None:
    with pytest.raises(OutputExistsError, match="--force"):
        save_model_dir(saved, config, state)
    (saved / "old").touch()
    save_model_dir(saved, config, state, force=True)
    assert not (saved / "old").exists()
    precious = saved.parent / "home"
    precious.mkdir()
    save_model_dir(precious, config, state)  # an empty folder is not in the way
    (precious / "config.json").unlink()
    with pytest.raises(OutputExistsError, match="no model directory: not replaced"):
        save_model_dir(precious, config, state, force=True)


def test_nothing_is_left_of_a_failed_save(
    tmp_path: Path, config: EncoderConfig, state: dict[str, Tensor]
) -> None:
    with pytest.raises(WeightsError, match="missing key 'embedding.weight'"):
        save_model_dir(tmp_path / "m", config, {})
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        save_model_dir(tmp_path / "file" / "m", config, state)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_names(tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEMLOOP_CACHE", str(tmp_path / "cache"))
    with pytest.raises(WeightsError, match="run 'stemloop weights get rinalmo-micro'"):
        load("rinalmo-micro")
    with pytest.raises(
        WeightsError, match="no weights of that name; here: ncrna-class, stemloop-pico; to download"
    ):
        load("nonsense")
    with pytest.raises(WeightsError, match="stemloop convert"):
        load(saved / "config.json")
    (tmp_path / "cache" / "models").mkdir(parents=True)
    os.rename(saved, tmp_path / "cache" / "models" / "mine")
    assert load("mine").path == tmp_path / "cache" / "models" / "mine"
    assert "mine" in locate.available()


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEMLOOP_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert locate.cache_dir() == Path("/xdg/stemloop")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert locate.cache_dir() == Path.home() / ".cache" / "stemloop"


def test_bundled_sums(tmp_path: Path) -> None:
    assert check_bundled(tmp_path / "absent") == {}
    (tmp_path / "a").mkdir()
    for name in ("good", "bad", "extra"):
        (tmp_path / "a" / name).write_text(name)
    digest = sha256_file(tmp_path / "a" / "good")
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  a/good\n{digest}  a/bad\n{digest}  a/gone\n")
    assert check_bundled(tmp_path) == {
        "a/good": "ok", "a/bad": "damaged", "a/gone": "missing", "a/extra": "unlisted"
    }  # fmt: skip


def test_bundled_names() -> None:
    with pytest.raises(WeightsError, match="no bundled weights '../x'"):
        locate.bundled("../x")


def test_transformers_reads_the_directory(saved: Path, state: dict[str, Tensor]) -> None:
    from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

    import stemloop  # noqa: F401  (registers the classes)

    tokenizer = AutoTokenizer.from_pretrained(saved)
    rows = tokenizer(["ggt", "ACGUACGU"], padding=True, return_tensors="pt")
    encoder, alphabet = load_encoder(saved)
    ids, starts = alphabet.encode_many(["GGU", "ACGUACGU"])
    kept = rows["attention_mask"] == 1
    assert rows["input_ids"][kept].tolist() == ids.tolist()
    with torch.inference_mode():
        ours = encoder(torch.from_numpy(ids).long(), torch.from_numpy(starts), need_logits=True)
        lm = AutoModelForMaskedLM.from_pretrained(saved).eval()(**rows)
        bare = AutoModel.from_pretrained(saved).eval()(**rows)
    torch.testing.assert_close(lm.logits[kept], ours.logits)
    torch.testing.assert_close(bare.last_hidden_state[kept], ours.representation)


def test_what_transformers_saves_loads_here(
    saved: Path, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    from transformers import AutoModelForMaskedLM

    AutoModelForMaskedLM.from_pretrained(saved).save_pretrained(tmp_path / "theirs")
    loaded = load(tmp_path / "theirs").encoder.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)
