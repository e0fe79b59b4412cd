"""transformers' pipelines on our directories, with ``import stemloop`` alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, pipeline

import stemloop
from stemloop.alphabet import STEMLOOP
from stemloop.errors import AlphabetError, InputError, UsageError, WeightsError
from stemloop.folding.pair_head import PairHeadModel, save_pair_head
from stemloop.models.pair_head import PairHead
from stemloop.models.presets import EncoderConfig
from stemloop.models.rinalmo import RiNALMo
from stemloop.records import SequenceRecord
from stemloop.tasks.structure import fold_stream

TASK = "rna-secondary-structure"
RNAS = ["GGGGAAAACCCC", "gcgcaaaagcgctttt", "GGGAAAUCCC"]

Pipe = Callable[..., Any]


@pytest.fixture(scope="module")
def pipe() -> Pipe:
    return pipeline(TASK, model=str(stemloop.find_model("fold-crf")))


@pytest.fixture(scope="module")
def headed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with a pair head, random weights, that pairs what it is shown."""
    torch.manual_seed(1)
    config = EncoderConfig(
        vocab_size=56, hidden=32, layers=1, heads=2, ffn_inner=32, alphabet="stemloop"
    )
    model = PairHeadModel(RiNALMo(config).eval(), STEMLOOP, PairHead(32).eval(), 0.3)
    return save_pair_head(tmp_path_factory.mktemp("hub") / "headed", model)


def same(answer: dict[str, Any], result: stemloop.Result) -> bool:
    return (
        answer["sequence"] == result.record.sequence
        and answer["structure"] == result.structure.dot_bracket
        and np.isclose(answer["score"], result.arrays["confidence"].mean())
        and all(answer[k] == v or v != v for k, v in result.values.items())
        and np.array_equal(answer["confidence"], result.arrays["confidence"])
    )


def test_the_numbers_are_those_of_fold(pipe: Pipe) -> None:
    expected = stemloop.fold(RNAS, probabilities=True)
    answers = pipe(RNAS, probabilities=True, batch_size=2)
    assert [answer["id"] for answer in answers] == ["sequence1", "sequence2", "sequence3"]
    assert all(map(same, answers, expected))
    for answer, result in zip(answers, expected, strict=True):
        assert np.array_equal(answer["pair_probability"], result.arrays["pair_probability"])
    single = pipe(RNAS[0])
    assert same(single, expected[0])
    assert "pair_probability" not in single


def test_settings_at_either_place(pipe: Pipe) -> None:
    hot = stemloop.fold(RNAS[1], temperature=70.0, decoder="centroid")[0]
    assert same(pipe(RNAS[1], temperature=70.0, decoder="centroid"), hot)
    made = pipeline(TASK, temperature=70.0, decoder="centroid")  # the model that ships
    assert same(made(RNAS[1]), hot)
    sampled = pipe(RNAS[0], samples=3, seed=1)
    assert sampled["samples"].tolist() == [
        *stemloop.fold(RNAS[0], samples=3, seed=1)[0].arrays["samples"]
    ]


def test_every_kind_of_input(pipe: Pipe, tmp_path: Path) -> None:
    from datasets import Dataset

    wanted = [r.structure.dot_bracket for r in stemloop.fold(RNAS)]
    rows = Dataset.from_dict({"id": ["a", "b", "c"], "sequence": RNAS})
    fasta = tmp_path / "x.fa"
    fasta.write_text("".join(f">{i}\n{s}\n" for i, s in zip("abc", RNAS, strict=True)))
    for inputs in (rows, fasta, (row for row in rows), [SequenceRecord("a", RNAS[0]), *RNAS[1:]]):
        answers = list(pipe(inputs))
        assert [answer["structure"] for answer in answers] == wanted
        assert answers[0]["id"] == "a"
    assert [answer["structure"] for answer in pipe(rows["sequence"])] == wanted
    assert pipe([]) == []
    strands = pipe("GGGG&CCCC")
    assert (strands["sequence"], strands["structure"]) == ("GGGG&CCCC", "((((&))))")
    assert "binding_energy" in strands


def test_workers_are_processes(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def stream(jobs: Any, settings: Any, *, processes: int) -> Any:
        asked.append((settings.gamma, processes))
        return fold_stream(jobs, settings)

    alone = [answer["energy"] for answer in pipe(RNAS, gamma=2.0)]
    monkeypatch.setattr("stemloop.tasks.structure.fold_stream", stream)
    assert [answer["energy"] for answer in pipe(RNAS, gamma=2.0, num_workers=2)] == alone
    assert asked == [(2.0, 2)]


def test_an_encoder_with_a_head(headed: Path) -> None:
    rnas = ["GGGGAAAACCCC", "GCGCAAAAGCGCUUUUGGCC"]
    folded = pipeline(TASK, model=headed)
    expected = stemloop.fold(rnas, model=str(headed))
    assert all(map(same, folded(rnas), expected))
    assert np.isnan(folded(rnas[0])["ensemble_energy"])
    with pytest.raises(UsageError, match="pair head"):
        folded(rnas[0], decoder="mfe")


def test_clear_errors(pipe: Pipe) -> None:
    with pytest.raises(UsageError, match="no setting 'top_k'"):
        pipe(RNAS[0], top_k=3)
    with pytest.raises(AlphabetError, match="sequence2"):
        pipe(["ACGU", "AC!U"])
    with pytest.raises(InputError, match="mapping with 'sequence'"):
        pipe([{"seq": "ACGU"}])
    with pytest.raises(WeightsError, match="without a head for structure"):
        pipeline(TASK, model=stemloop.find_model("stemloop-pico"))


def test_from_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    from stemloop.tasks.pipeline import FoldingModel

    asked: dict[str, Any] = {}

    def download(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(stemloop.find_model("fold-crf"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    FoldingModel.from_pretrained("someone/folds", revision="v2", dtype="auto")
    assert asked == {"name": "someone/folds", "revision": "v2"}


# What transformers has already, on the language model that ships -----------------------------
def test_fill_mask() -> None:
    fill = pipeline("fill-mask", model=stemloop.find_model("stemloop-pico"), device="cpu")
    text = "GGCUACGUAGCUCAGUUGGUUAGAGC<mask>CAGGUUUAAGGUUCG"
    best = fill(text, top_k=5)
    assert {guess["token_str"] for guess in best} >= set("ACGU")
    encoder, alphabet = stemloop.load("stemloop-pico").encoder, STEMLOOP
    head, tail = text.split("<mask>")
    ids = [alphabet.cls_id, *alphabet.encode(head, special=False), alphabet.mask_id]
    ids += [*alphabet.encode(tail, special=False), alphabet.eos_id]
    with torch.inference_mode():
        out = encoder(torch.tensor(ids), torch.tensor([0, len(ids)]), need_logits=True)
    expected = out.logits[len(head) + 1].softmax(-1)
    assert best[0]["score"] == pytest.approx(float(expected.max()), abs=1e-5)
    assert best[0]["token"] == int(expected.argmax())


def test_feature_extraction() -> None:
    extract = pipeline(
        "feature-extraction", model=stemloop.find_model("stemloop-pico"), device="cpu"
    )
    rows = extract(RNAS[:2], batch_size=2)
    results = stemloop.embed(RNAS[:2], pool="tokens")
    for row, rna, result in zip(rows, RNAS, results, strict=False):
        tokens = np.array(row[0])[1 : len(rna) + 1]
        np.testing.assert_allclose(tokens, result.arrays["tokens"], atol=1e-5)


def test_auto_classes() -> None:
    folder = stemloop.find_model("stemloop-pico")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    out = AutoModel.from_pretrained(folder)(**tokenizer(["ACGU"], return_tensors="pt"))
    assert out.last_hidden_state.shape == (1, 6, 128)


def test_known_when_stemloop_is_imported_first() -> None:
    # The other order is that of this file.
    program = (
        "import stemloop, sys; from transformers.pipelines import PIPELINE_REGISTRY\n"
        f"assert {TASK!r} in PIPELINE_REGISTRY.get_supported_tasks()\n"
        "assert not any(type(f).__module__ == 'stemloop.models.register' for f in sys.meta_path)\n"
        "assert 'RNA' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
