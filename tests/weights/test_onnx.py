"""The exported encoder gives torch's numbers for any number and length of rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stemloop.alphabet import RINALMO
from stemloop.errors import ExtraError, OutputExistsError, ResultError, UsageError
from stemloop.models.presets import PRESETS, EncoderConfig
from stemloop.models.rinalmo import RiNALMo
from stemloop.models.rnaernie import RNAErnie
from stemloop.weights import onnx_export
from stemloop.weights.onnx_export import PaddedEncoder, export_onnx, onnx_session
from stemloop.weights.store import load, save_model_dir

TINY = EncoderConfig(vocab_size=22, hidden=32, layers=2, heads=2, ffn_inner=48, stem_width=5)
RNAS = ["ACGU", "G", "GGGAAAUCCCNNACGUACGUACG", "AC<mask>GU<mask>", "<mask>"]


def ids_of(rna: str) -> list[int]:
    parts = rna.split("<mask>")
    ids = [RINALMO.cls_id, *RINALMO.encode(parts[0], special=False).tolist()]
    for part in parts[1:]:
        ids += [RINALMO.mask_id, *RINALMO.encode(part, special=False).tolist()]
    return [*ids, RINALMO.eos_id]


def padded(rnas: list[str]) -> tuple[np.ndarray, np.ndarray]:
    rows = [ids_of(rna) for rna in rnas]
    longest = max(map(len, rows))
    ids = np.array([row + [RINALMO.pad_id] * (longest - len(row)) for row in rows], np.int64)
    return ids, (ids != RINALMO.pad_id).astype(np.int64)


def packed(encoder: RiNALMo, rna: str) -> torch.Tensor:
    ids = torch.tensor(ids_of(rna))
    with torch.inference_mode():
        return encoder(ids, torch.tensor([0, len(ids)], dtype=torch.int32)).representation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(2)
    place = tmp_path_factory.mktemp("onnx")
    return save_model_dir(place / "tiny", TINY, RiNALMo(TINY).state_dict())


@pytest.fixture(scope="module")
def exported(folder: Path) -> Path:
    pytest.importorskip("onnxruntime")
    target = folder.parent / "tiny.onnx"
    assert export_onnx(folder, target) < 2e-5
    return target


@pytest.mark.parametrize("stem", [0, 5])
def test_the_padded_form_is_the_packed_one(stem: int) -> None:
    torch.manual_seed(3)
    config = EncoderConfig(
        vocab_size=22, hidden=32, layers=2, heads=2, ffn_inner=48, stem_width=stem
    )
    encoder = RiNALMo(config).eval()
    with torch.no_grad():
        for block in encoder.transformer.blocks:
            block.transition[0].beta.fill_(1.3)
        ids, mask = map(torch.from_numpy, padded(RNAS))
        rows = PaddedEncoder(encoder)(ids, mask)
    for row, kept, rna in zip(rows, mask.bool(), RNAS, strict=True):
        torch.testing.assert_close(row[kept], packed(encoder, rna), atol=2e-5, rtol=1e-4)
        assert not row[~kept].any()


def test_the_file_gives_the_numbers_of_torch(folder: Path, exported: Path) -> None:
    encoder = load(folder).encoder
    session = onnx_session(str(exported))
    for rnas in (RNAS, RNAS[:1], ["ACGUAC" * 50, "GG"]):  # other sizes than it was traced with
        ids, mask = padded(rnas)
        (out,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
        assert out.shape == (*ids.shape, TINY.hidden)
        for row, kept, rna in zip(out, mask.astype(bool), rnas, strict=True):
            np.testing.assert_allclose(row[kept], packed(encoder, rna).numpy(), atol=5e-5)
            assert not row[~kept].any()


def test_the_file_says_what_its_ids_mean(exported: Path) -> None:
    properties = onnx_session(str(exported)).get_modelmeta().custom_metadata_map
    about = json.loads(properties["stemloop"])
    assert about["tokens"] == list(RINALMO.tokens)
    assert (about["cls"], about["pad"], about["eos"], about["mask"]) == (0, 1, 2, 4)


def test_refusals(
    folder: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"suffix must be \.onnx"):
        export_onnx(folder, tmp_path / "x.bin")
    before = exported.read_bytes()
    with pytest.raises(OutputExistsError):
        export_onnx(folder, exported)
    assert exported.read_bytes() == before
    config = PRESETS["rnaernie-base"]
    small = type(config)(vocab_size=39, hidden=16, layers=1, heads=2, ffn_inner=16)
    ernie = save_model_dir(tmp_path / "ernie", small, RNAErnie(small).state_dict())
    with pytest.raises(UsageError, match="only RiNALMo's architecture"):
        export_onnx(ernie, tmp_path / "x.onnx")
    monkeypatch.setattr(onnx_export, "_export", lambda model: before)
    monkeypatch.setattr(onnx_export, "_TOLERANCE", 1e-12)
    with pytest.raises(ResultError, match="differ"):
        export_onnx(folder, tmp_path / "x.onnx")
    monkeypatch.setattr(onnx_export, "_LIMIT", 1000)
    with pytest.raises(UsageError, match="more than 2 GB"):
        export_onnx(folder, tmp_path / "x.onnx")
    assert not list(tmp_path.glob("*.onnx"))


def test_the_command(folder: Path, tmp_path: Path, cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "export_onnx", lambda src, dst, force: 3e-6)
    ran = cli("convert", folder, tmp_path / "x.onnx", "--to", "onnx")
    assert (ran.code, ran.err) == (0, "largest difference to torch: 3.0e-06\n")
    monkeypatch.undo()
    for package, session in (("onnxscript", False), ("onnxruntime", True)):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, package, None)
            with pytest.raises(ExtraError, match=r"stemloop\[onnx\]"):
                onnx_session(b"") if session else export_onnx(folder, tmp_path / "y.onnx")
