"""Heads for whole sequences: they learn, go on to the bit, and never look at the test records."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stemloop.errors import FormatError, InputError, UsageError, WeightsError
from stemloop.evaluation.label_metrics import number_scores
from stemloop.models.build import new_encoder
from stemloop.models.presets import EncoderConfig
from stemloop.records import SequenceRecord
from stemloop.tasks.labels import Labeller
from stemloop.training.lora import add_adapters, merge_adapters
from stemloop.training.recipe_base import read_recipe
from stemloop.training.sequence import Progress, SequenceTrainer
from stemloop.training.sequence_data import Labelled, SequenceData, read_data
from stemloop.training.sequence_leakage import leakage_report, resemblance
from stemloop.training.sequence_recipe import SequenceRecipe
from stemloop.weights.sequence_head import LETTERS, load_base, load_sequence_model
from stemloop.weights.store import load, save_model_dir

ROOT = Path(__file__).resolve().parents[2]
CONFIG = EncoderConfig(
    vocab_size=56, hidden=16, layers=2, heads=2, ffn_inner=24, alphabet="stemloop", max_length=64
)
KINDS = ("poly-A", "poly-C", "mixed")
State = dict[str, torch.Tensor]


def draw(rng: np.random.Generator, kind: str) -> str:
    rich = {"poly-A": "AAAAAAG", "poly-C": "CCCCCCG", "mixed": "ACGU"}[kind]
    return "".join(rng.choice(list(rich), int(rng.integers(8, 20))))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of three classes, with a number and a part, and the same as FASTA."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    lines, fasta = ["name,seq,kind,share,part"], []
    for k in range(90):
        kind = KINDS[k % 3]
        sequence = draw(rng, kind)
        share = 10 + 5 * sequence.count("A") / len(sequence)
        part = ["train", "train", "train", "valid", "test"][k // 3 % 5]
        lines.append(f"r{k},{sequence.replace('U', 'T').lower()},{kind},{share},{part}")
        fasta.append(f">r{k} {kind}\n{sequence}\n")
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    (folder / "a.fa").write_text("".join(fasta))
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained encoder as a model directory."""
    torch.manual_seed(2)
    state = new_encoder(CONFIG).state_dict()
    return save_model_dir(tmp_path_factory.mktemp("encoder") / "tiny", CONFIG, state)


TABLE = {"file": "a.csv", "id": "name", "sequence": "seq", "label": "kind"}
MODES: dict[str, dict[str, Any]] = {
    "frozen": {},
    "full": {"encoder": "full"},
    "gradual": {"encoder": "gradual", "unfreeze": {"start": 1, "every": 1, "blocks": 1,
                                                   "frozen": 0}},
    "lora": {"encoder": "lora", "lora": {"rank": 2, "alpha": 4}},
    "guided": {"encoder": "full", "guide": {"types": 2}, "precision": "bf16", "hide": 0.2},
    "guided-frozen": {"guide": {"types": 2}},
}  # fmt: skip
NO_ENCODER: dict[str, Any] = {
    "encoder": "none",
    "head": {"kind": "frames", "channels": 6, "blocks": 1, "hidden": 8, "members": 2},
}


def recipe(**changes: Any) -> SequenceRecipe:
    """Frozen, three epochs, split by column, unless said otherwise."""
    values: dict[str, Any] = {
        "task": "classify", "name": "tiny", "data": [TABLE], "epochs": 3, "batch_size": 8,
        "split": {"by": "column", "column": "part"}, "leakage": None, "save_every": 2,
        "head": {"pools": ["mean"], "hidden": 8}, "learning_rate": 0.01, "encoder_rate": 0.003,
    }  # fmt: skip
    return SequenceRecipe.model_validate(values | changes)


def train(
    chosen: SequenceRecipe, encoder: Path, data: Path, output: Path,
    report: Callable[[Progress], None] | None = None,
) -> State:  # fmt: skip
    source = load_base(LETTERS if chosen.encoder == "none" else encoder)
    SequenceTrainer(chosen, source, data, output).run(report)
    model, _ = load_sequence_model(output / "model")
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: State, other: State) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


# It learns -----------------------------------------------------------------------------------


def test_a_head_learns_classes_and_its_labels_come_back(
    encoder: Path, data: Path, tmp_path: Path
) -> None:
    labels = ["mixed", "poly-C", "poly-A"]  # not the alphabetical order
    chosen = recipe(epochs=25, patience=25, labels=labels)
    trainer = SequenceTrainer(chosen, load(encoder), data, tmp_path / "run")
    metrics = trainer.run()
    assert metrics["test"]["accuracy"] >= 0.8
    labeller = Labeller.load(tmp_path / "run" / "model")
    assert list(labeller.meaning.labels) == labels
    test = trainer.data.test
    results = list(labeller.results([SequenceRecord(x.id, x.sequence) for x in test]))
    right = np.mean([r.values["label"] == x.label for r, x in zip(results, test, strict=True)])
    assert right == pytest.approx(metrics["test"]["accuracy"], abs=1e-5)
    for result in results:
        p = {label: result.values[f"p_{label}"] for label in labels}
        assert sum(p.values()) == pytest.approx(1, abs=1e-5)
        assert result.values["label"] == max(p, key=p.get)
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "| 0 | mixed |" in card
    parts = (tmp_path / "run" / "split.tsv").read_text().splitlines()
    assert len(parts) == 91
    best = [json.loads(x) for x in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert max(entry["mcc"] for entry in best) == metrics["validation"]["mcc"]


@pytest.mark.parametrize("kind", ["pooled", "convolution"])
def test_numbers_come_back_in_their_units(
    kind: str, encoder: Path, data: Path, tmp_path: Path
) -> None:
    chosen = recipe(
        task="regress", data=[TABLE | {"label": "share"}], epochs=25, patience=25,
        head={"kind": kind, "channels": 8, "blocks": 1, "hidden": 8, "dropout": 0.0},
    )  # fmt: skip
    trainer = SequenceTrainer(chosen, load(encoder), data, tmp_path / "run")
    metrics = trainer.run()
    known = np.array([float(x.label) for x in trainer.data.train])
    assert (trainer.meaning.mean, trainer.meaning.deviation) == (known.mean(), known.std())
    test = trainer.data.test
    labeller = Labeller.load(tmp_path / "run" / "model")
    found = labeller.outputs(SequenceRecord(x.id, x.sequence) for x in test)[:, 0]
    scores = number_scores([float(x.label) for x in test], found)
    assert scores["r2"] == pytest.approx(metrics["test"]["r2"], abs=1e-4)
    assert scores["r2"] > 0.8
    assert 9 < found.mean() < 16


# Resuming ------------------------------------------------------------------------------------


class StoppedError(Exception):
    """What the tests raise in the middle of a run."""


@pytest.mark.parametrize("mode", [*MODES, "none"])
def test_a_stopped_run_ends_with_the_same_bits(
    mode: str, encoder: Path, data: Path, tmp_path: Path
) -> None:
    chosen = recipe(**(MODES | {"none": NO_ENCODER})[mode])
    whole = train(chosen, encoder, data, tmp_path / "whole")

    def stop(state: Progress) -> None:
        if (state.epoch, state.step) == (2, 3) and state.score is None:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(chosen, encoder, data, tmp_path / "run", stop)
    assert not (tmp_path / "run" / "model").exists()
    assert same(train(chosen, encoder, data, tmp_path / "run"), whole)
    # A finished run is not trained again.
    assert same(train(chosen, encoder, data, tmp_path / "run"), whole)


def test_a_recipe_without_an_encoder_takes_none(encoder: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not go with"):
        SequenceTrainer(recipe(**NO_ENCODER), load(encoder), data, tmp_path / "run")
    with pytest.raises(UsageError, match="does not go with"):
        SequenceTrainer(recipe(), load_base(LETTERS), data, tmp_path / "run")


def test_what_learns_is_what_was_asked_for(encoder: Path, data: Path, tmp_path: Path) -> None:
    before = load(encoder).encoder.state_dict()
    early = {"unfreeze": {"start": 0, "every": 1, "blocks": 2, "frozen": 0}}
    for mode, settings_ in MODES.items():
        chosen = recipe(**(settings_ | (early if mode == "gradual" else {})))
        after = train(chosen, encoder, data, tmp_path / mode)
        changed = {k for k in before if not torch.equal(before[k], after[f"encoder.{k}"])}
        blocks = {k.split(".")[2] for k in changed if k.startswith("transformer.blocks")}
        assert not any("lm_mask_head" in k for k in changed)
        if "frozen" in mode:
            assert not changed
        else:
            assert blocks == {"0", "1"}
        assert ("embedding.weight" in changed) == (mode in ("full", "guided"))
        if mode == "lora":
            assert all(k.endswith("weight") and "norm" not in k for k in changed)


def test_merged_adapters_compute_the_same(encoder: Path) -> None:
    model = load(encoder).encoder
    tokens, starts = torch.tensor([0, 5, 6, 7, 8, 2]), torch.tensor([0, 6], dtype=torch.int32)
    names = list(model.state_dict())
    plain = model(tokens, starts).representation.detach()
    adapters = add_adapters(model, 2, 4.0)
    torch.testing.assert_close(model(tokens, starts).representation, plain)  # no effect at first
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in adapters:
            parameter.normal_(0, 0.1)
    apart = model(tokens, starts).representation.detach()
    assert not torch.allclose(apart, plain, atol=1e-3)
    merge_adapters(model)
    assert list(model.state_dict()) == names
    torch.testing.assert_close(model(tokens, starts).representation, apart, atol=1e-5, rtol=1e-4)


def test_early_stopping_and_the_best_epoch(encoder: Path, data: Path, tmp_path: Path) -> None:
    chosen = recipe(epochs=30, patience=2, learning_rate=1e-9, warm_up=0.0)
    metrics = SequenceTrainer(chosen, load(encoder), data, tmp_path / "run").run()
    assert (metrics["best_epoch"], metrics["epochs"]) == (1, 3)


def test_test_records_have_no_part_in_training(encoder: Path, data: Path, tmp_path: Path) -> None:
    """Their labels are all changed: the weights are not."""
    other = tmp_path / "data"
    other.mkdir()
    lines = (data / "a.csv").read_text().splitlines()
    for k, line in enumerate(lines):
        if line.endswith(",test"):
            cells = line.split(",")
            cells[2] = KINDS[(KINDS.index(cells[2]) + 1) % 3]
            lines[k] = ",".join(cells)
    (other / "a.csv").write_text("\n".join(lines) + "\n")
    one = train(recipe(), encoder, data, tmp_path / "one")
    assert same(one, train(recipe(), encoder, other, tmp_path / "two"))
    scores = [json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("one", "two")]
    assert scores[0]["test"] != scores[1]["test"]
    assert scores[0]["validation"] == scores[1]["validation"]


# Data ----------------------------------------------------------------------------------------


def test_fasta_and_table_say_the_same(data: Path) -> None:
    table = read_data(recipe(split={"by": "random", "test": 0.2}), data)
    fasta = recipe(data=[{"file": "a.fa", "label": "2"}], split={"by": "random", "test": 0.2})
    found = read_data(fasta, data)
    key = lambda items: [(x.id, x.sequence, x.label) for x in items]  # noqa: E731
    assert {k: key(v) for k, v in table.parts.items()} == {
        k: key(v) for k, v in found.parts.items()
    }
    assert table.digest == found.digest
    assert [len(items) for items in found.parts.values()] == [63, 9, 18]


def test_a_table_holds_whole_transcripts(tmp_path: Path) -> None:
    lengths = [50_000, *range(1, 10)]
    rows = "".join(f"{'ACGU' * n},{'long' if n % 2 else 'short'}\n" for n in lengths)
    (tmp_path / "x.csv").write_text("sequence,label\n" + rows)
    by = {"by": "random", "validation": 0.3, "test": 0}
    parts = read_data(recipe(data=[{"file": "x.csv"}], split=by), tmp_path).parts.values()
    found = [len(item.sequence) for items in parts for item in items]
    assert sorted(found) == sorted(4 * n for n in lengths)


@given(st.lists(st.integers(0, 12), min_size=8, max_size=40), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_copies_stay_together(tmp_path_factory, drawn: list[int], seed: int) -> None:
    folder = tmp_path_factory.mktemp("copies")
    rows = [f"{'A' * (n + 1)},{'even' if n % 2 == 0 else 'odd'}" for n in drawn]
    (folder / "x.csv").write_text("sequence,label\n" + "\n".join(rows) + "\n")
    chosen = recipe(
        data=[{"file": "x.csv"}], split={"by": "random", "test": 0.3, "validation": 0.2},
        seed=seed, labels=["even", "odd"],
    )  # fmt: skip
    try:
        found = read_data(chosen, folder)
    except InputError:
        return  # all copies in one part
    parts = [{x.sequence for x in items} for items in found.parts.values()]
    assert sum(map(len, parts)) == len(set().union(*parts))
    assert sum(len(items) for items in found.parts.values()) == len(drawn)


def test_clusters_stay_together_and_leaks_are_counted(tmp_path: Path) -> None:
    if shutil.which("mmseqs") is None:
        pytest.skip("MMseqs2 is not installed")
    rng = np.random.default_rng(1)
    items = []
    for family in range(12):
        ancestor = rng.choice(list("ACGU"), 120)
        for member in range(3):
            child = ancestor.copy()
            child[rng.permutation(120)[:6]] = "A"
            name = f"{family}.{member}"
            items.append(Labelled(name, "".join(child), "ab"[family % 2], "split", name))
    lines = [f"{x.id},{x.sequence},{x.label}" for x in items]
    (tmp_path / "x.csv").write_text("id,sequence,label\n" + "\n".join(lines) + "\n")
    table = {"file": "x.csv", "id": "id"}
    split = {"by": "cluster", "test": 0.25, "validation": 0.25}
    found = read_data(recipe(data=[table], split=split), tmp_path)
    families = [{x.id.split(".")[0] for x in part} for part in found.parts.values()]
    assert sum(map(len, families)) == 12
    assert leakage_report(found, *resemblance(found, 0.8, 0.8))["test"] == {
        "records": len(found.test), "copies": 0, "similar": 0
    }  # fmt: skip
    # One member of each family to test, and a copy of another.
    leaky = SequenceData(items[::3] + items[1::3], items[:1], items[2::3] + items[:1], ("a", "b"))
    marks, method = resemblance(leaky, 0.8, 0.8)
    assert marks["test"] == ["similar"] * 12 + ["copy"]
    report = leakage_report(leaky, marks, method)
    assert report["test"] == {"records": 13, "copies": 1, "similar": 13}
    assert report["validation"] == {"records": 1, "copies": 1, "similar": 1}
    bare = leakage_report(leaky, *resemblance(leaky, None, 0.8))
    assert bare["test"] == {"records": 13, "copies": 1}


def test_what_is_wrong_with_the_data_is_named(data: Path, encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no column 'nix'.*name, seq, kind"):
        read_data(recipe(data=[TABLE | {"sequence": "nix"}]), data)
    with pytest.raises(FormatError, match=r"line 2: record 'r0': label 'poly-A'.*a number"):
        read_data(recipe(task="regress"), data)
    with pytest.raises(FormatError, match="unknown label 'mixed'"):
        read_data(recipe(labels=["poly-A", "poly-C"]), data)
    with pytest.raises(FormatError, match="no label in the header"):
        read_data(recipe(data=[{"file": "a.fa", "label": "3"}], split={}), data)
    (tmp_path / "p.csv").write_text("sequence,label,part\nAC,x,A\n")
    with pytest.raises(FormatError, match="'A' in column 'part'"):
        read_data(recipe(data=[{"file": "p.csv"}]), tmp_path)
    with pytest.raises(InputError, match="no such data file"):
        read_data(recipe(data=[{"file": "b.csv"}]), data)
    window = recipe(head={"kind": "window", "window": 10})
    with pytest.raises(InputError, match=r"record 'r\d+'.* nt \(expected windows of 10 nt\)"):
        SequenceTrainer(window, load(encoder), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_belongs_to_one_run(encoder: Path, data: Path, tmp_path: Path) -> None:
    train(recipe(epochs=1), encoder, data, tmp_path / "run")
    with pytest.raises(UsageError, match="another recipe"):
        train(recipe(epochs=2), encoder, data, tmp_path / "run")
    state = tmp_path / "run" / "state.pt"
    state.write_bytes(state.read_bytes()[:200])
    with pytest.raises(WeightsError, match="damaged"):
        train(recipe(epochs=1), encoder, data, tmp_path / "run")


def test_a_head_of_a_bundled_encoder_is_kept_alone(data: Path, tmp_path: Path) -> None:
    """A few kB, with the encoder's checksum."""
    torch.set_num_threads(1)
    trainer = SequenceTrainer(recipe(epochs=1), load("stemloop-pico"), data, tmp_path / "run")
    metrics = trainer.run()
    folder = tmp_path / "run" / "model"
    assert {p.name for p in folder.iterdir()} == {
        "config.json", "stemloop.json", "head.safetensors", "README.md"
    }  # fmt: skip
    labeller = Labeller.load(folder)
    test = trainer.data.test
    results = labeller.results([SequenceRecord(x.id, x.sequence) for x in test])
    right = np.mean([r.values["label"] == x.label for r, x in zip(results, test, strict=True)])
    assert right == pytest.approx(metrics["test"]["accuracy"], abs=1e-5)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"encoder_sha256": "0"}))
    with pytest.raises(WeightsError, match="another version of the encoder"):
        Labeller.load(folder)


def test_half_a_head_is_not_loaded(encoder: Path, data: Path, tmp_path: Path) -> None:
    train(recipe(epochs=1), encoder, data, tmp_path / "run")
    facts = tmp_path / "run" / "model" / "stemloop.json"
    content = json.loads(facts.read_text())
    content["head"]["settings"]["meaning"]["labels"].append("more")
    facts.write_text(json.dumps(content))
    with pytest.raises(WeightsError, match="3 outputs for 4 labels"):
        load_sequence_model(tmp_path / "run" / "model")
    with pytest.raises(WeightsError, match="no head"):
        load_sequence_model(encoder)


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("ncrna-class", "frozen"),
        ("ribosome-load", "none"),
        ("ribosome-load-geo", "gradual"),
        ("ncrna-class-letters", "none"),
        ("splice", "none"),
        ("splice-human", "none"),
        ("lncrna-place", "frozen"),
    ],
)
def test_recipes_parse(name: str, encoder: str) -> None:
    parsed = read_recipe(ROOT / "recipes" / f"{name}.yaml", SequenceRecipe)
    assert parsed.name == name
    assert parsed.encoder == encoder


def test_recipes_that_cannot_be(tmp_path: Path) -> None:
    for changes in ({"select": "r2"}, {"head": {"pools": []}}, {"head": {"kernel": 2}},
                    {"task": "regress", "balance": True}, {"nix": 1}):  # fmt: skip
        with pytest.raises(ValueError, match=r"select|pools|kernel|balance|nix"):
            recipe(**changes)
