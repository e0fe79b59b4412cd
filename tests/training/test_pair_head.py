"""Training the pair head: it learns, goes on to the bit, and unfreezes when and what it should."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stemloop.errors import FormatError, InputError, UsageError, WeightsError
from stemloop.evaluation.metrics import pair_scores
from stemloop.folding.decode import allowed_pairs, greedy
from stemloop.folding.pair_head import PairHeadModel, load_pair_head
from stemloop.models.build import new_encoder
from stemloop.models.presets import PRESETS, EncoderConfig
from stemloop.models.rnaernie_config import RNAErnieConfig
from stemloop.training.embedding_store import EmbeddingStore
from stemloop.training.pair_head import (
    THRESHOLDS,
    PairHeadTrainer,
    Progress,
    threshold_scores,
    unfreezing_groups,
)
from stemloop.training.pair_head_data import read_data
from stemloop.training.pair_head_recipe import PairHeadRecipe, Unfreezing
from stemloop.training.recipe_base import read_recipe
from stemloop.training.structure_data import HoldOut
from stemloop.weights.store import load, save_model_dir

CONFIG = EncoderConfig(vocab_size=22, hidden=16, layers=3, heads=2, ffn_inner=24)
State = dict[str, torch.Tensor]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hairpins of two families in a table."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    lines = ["id,sequence,structure"]
    for k in range(24):
        family = "tRNA" if k % 3 == 0 else "5s"
        lines.append(f"{family}_{k},{','.join(hairpin(rng))}")
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    return folder


def hairpin(rng: np.random.Generator) -> tuple[str, str]:
    """A stem of five or six under a loop of A, so that its ends can be told from the sequence."""
    stem = int(rng.integers(5, 7))
    arm = "".join(rng.choice(list("GC"), stem))
    other = arm[::-1].translate(str.maketrans("GC", "CG"))
    loop, tail = "A" * int(rng.integers(4, 7)), "A" * int(rng.integers(1, 5))
    dots = "(" * stem + "." * len(loop) + ")" * stem
    return tail + arm + loop + other + tail, "." * len(tail) + dots + "." * len(tail)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained encoder as a model directory."""
    torch.manual_seed(2)
    state = new_encoder(CONFIG).state_dict()
    return save_model_dir(tmp_path_factory.mktemp("encoder") / "tiny", CONFIG, state)


def recipe(**changes: Any) -> PairHeadRecipe:
    """Frozen, three epochs, eight channels, unless said otherwise."""
    settings: dict[str, Any] = {
        "task": "pair-head", "name": "tiny", "channels": 8, "blocks": 1, "epochs": 3,
        "learning_rate": 0.01, "decay_steps": 40, "unfreeze": None, "save_every": 7,
        "validation_part": 0.25,
        "train": [{"file": "a.csv", "min_length": 1, "draw": [{"members": 100}]}],
    }  # fmt: skip
    return PairHeadRecipe.model_validate(settings | changes)


GRADUAL = {"start": 1, "every": 1, "blocks": 1, "frozen": 1}


def train(
    chosen: PairHeadRecipe, encoder: Path, data: Path, output: Path,
    report: Callable[[Progress], None] | None = None, **options: Any,
) -> State:  # fmt: skip
    trained = PairHeadTrainer(chosen, load(encoder), data, output, **options).run(report)
    return state_of(trained)


def state_of(trained: PairHeadModel) -> State:
    parts = (("head", trained.head), ("encoder", trained.encoder))
    return {f"{p}.{k}": v.clone() for p, module in parts for k, v in module.state_dict().items()}


def same(one: State, other: State) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def log(output: Path) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    for entry in entries:
        entry.pop("seconds")
    return entries


# It learns -----------------------------------------------------------------------------------


def test_a_tiny_head_learns_hairpins(encoder: Path, data: Path, tmp_path: Path) -> None:
    """On representations of an untrained encoder: the head does the work."""
    chosen = recipe(epochs=12, blocks=2, decay_steps=300)
    trainer = PairHeadTrainer(chosen, load(encoder), data, tmp_path / "run")
    model = trainer.run()
    entries = log(tmp_path / "run")
    assert entries[-1]["loss"] < 0.3 * entries[0]["loss"]
    best = max(entry["f1"] for entry in entries)
    assert best > 0.85
    assert model.threshold in THRESHOLDS
    scores = [
        pair_scores(model.predict(x.sequence), x.structure.pairs, len(x.sequence), relaxed=True).f1
        for x in trainer.data.validation
    ]
    assert np.mean(scores) == pytest.approx(best, abs=1e-5)
    first = next(entry for entry in entries if entry["f1"] == best)
    assert model.threshold == first["threshold"]
    facts = json.loads((tmp_path / "run" / "model" / "stemloop.json").read_text())
    assert facts["head"]["threshold"] == model.threshold
    assert facts["source"]["validation_rnas"] == len(scores) == 6


# Resuming ------------------------------------------------------------------------------------


class StoppedError(Exception):
    """What the tests raise in the middle of a run."""


@pytest.fixture(scope="module", params=["frozen", "gradual"])
def finished(
    request: pytest.FixtureRequest, encoder: Path, data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[PairHeadRecipe, Path, State]:  # fmt: skip
    """An uninterrupted run of each kind."""
    chosen = recipe(unfreeze=None if request.param == "frozen" else GRADUAL)
    output = tmp_path_factory.mktemp(request.param) / "run"
    return chosen, output, train(chosen, encoder, data, output)


@pytest.mark.parametrize(("epoch", "step"), [(1, 3), (1, 7), (2, 18), (3, 9)])
def test_stopped_anywhere_and_resumed(
    finished: tuple[PairHeadRecipe, Path, State], encoder: Path, data: Path, tmp_path: Path,
    epoch: int, step: int,
) -> None:  # fmt: skip
    chosen, output, expected = finished

    def report(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (epoch, step):
            raise StoppedError

    with pytest.raises(StoppedError):
        train(chosen, encoder, data, tmp_path / "run", report)
    torch.manual_seed(99)  # what went on before must not matter
    assert same(train(chosen, encoder, data, tmp_path / "run"), expected)
    assert log(tmp_path / "run") == log(output)


def test_a_finished_run_is_not_trained_again(
    finished: tuple[PairHeadRecipe, Path, State], encoder: Path, data: Path
) -> None:
    chosen, output, expected = finished
    seen: list[Progress] = []
    assert same(train(chosen, encoder, data, output, seen.append), expected)
    assert seen == []
    assert same(state_of(load_pair_head(output / "model")), expected)


def test_the_seed_decides(
    finished: tuple[PairHeadRecipe, Path, State], encoder: Path, data: Path, tmp_path: Path
) -> None:
    chosen, _, expected = finished
    other = train(chosen.model_copy(update={"seed": 1}), encoder, data, tmp_path / "run")
    assert not same(other, expected)


def test_another_runs_folder_is_refused(
    finished: tuple[PairHeadRecipe, Path, State], encoder: Path, data: Path, tmp_path: Path
) -> None:
    chosen, output, _ = finished
    for change in ({"seed": 4}, {"learning_rate": 0.5}):
        with pytest.raises(UsageError, match="belongs to another recipe"):
            train(chosen.model_copy(update=change), encoder, data, output)
    with pytest.raises(UsageError, match="belongs to another held_out and data"):
        train(chosen, encoder, data, output, hold_out=HoldOut(frozenset({"tRNA"})))
    torch.manual_seed(8)
    other = save_model_dir(tmp_path / "other", CONFIG, new_encoder(CONFIG).state_dict())
    with pytest.raises(UsageError, match="belongs to another encoder"):
        train(chosen, other, data, output)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="holds other things"):
        train(chosen, encoder, data, tmp_path / "full")


def test_a_damaged_state_is_named(encoder: Path, data: Path, tmp_path: Path) -> None:
    train(recipe(epochs=1), encoder, data, tmp_path / "run")
    path = tmp_path / "run" / "state.pt"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(WeightsError, match=r"state\.pt is damaged"):
        train(recipe(epochs=1), encoder, data, tmp_path / "run")


# Unfreezing ----------------------------------------------------------------------------------


def test_the_published_schedule() -> None:
    with torch.device("meta"):
        giga = new_encoder(PRESETS["rinalmo-giga"])
    names = {id(p): name for name, p in giga.named_parameters()}
    groups = unfreezing_groups(giga, Unfreezing())
    assert [epoch for epoch, _ in groups] == [3, 6, 9, 12, 15, 18, 21, 24]
    for k, (_, parameters) in enumerate(groups):
        found = {names[id(p)].split(".")[2] for p in parameters if ".blocks." in names[id(p)]}
        assert found == {str(number) for number in range(30 - 3 * k, 33 - 3 * k)}
        norms = [name for p in parameters if "final_layer_norm" in (name := names[id(p)])]
        assert len(norms) == (2 if k == 0 else 0)


@pytest.mark.parametrize("frozen", [0, 1, 3, 7])
def test_groups_stop_at_the_frozen_blocks(frozen: int) -> None:
    for encoder in (
        new_encoder(CONFIG),
        new_encoder(RNAErnieConfig(vocab_size=39, hidden=16, layers=3, heads=2, ffn_inner=16)),
    ):
        rule = Unfreezing(start=0, every=2, blocks=2, frozen=frozen)
        groups = unfreezing_groups(encoder, rule)
        assert [epoch for epoch, _ in groups] == {0: [0, 2], 1: [0], 3: [], 7: []}[frozen]


def test_what_learns_when_and_how_fast(encoder: Path, data: Path, tmp_path: Path) -> None:
    chosen = recipe(unfreeze=GRADUAL | {"divide": 10})
    trainer = PairHeadTrainer(chosen, load(encoder), data, tmp_path / "run")
    before = state_of(trainer.model)
    changed: dict[int, set[str]] = {}
    rates: list[list[float]] = []

    def report(progress: Progress) -> None:
        now = state_of(trainer.model)
        changed[progress.epoch] = {k for k in now if not torch.equal(now[k], before[k])}
        rates.append([group["lr"] for group in trainer.optimizer.param_groups])

    trainer.run(report)

    def parts(epoch: int) -> set[str]:
        found = {".".join(k.split(".")[1:4]) for k in changed[epoch] if k.startswith("encoder.")}
        return {part.removeprefix("transformer.").removesuffix(".weight") for part in found}

    assert any(key.startswith("head.") for key in changed[1])
    assert parts(1) == set()
    assert {p for p in parts(2) if p.startswith("blocks")} == {"blocks.2"}
    assert "final_layer_norm" in parts(2)
    assert {p for p in parts(3) if p.startswith("blocks")} == {"blocks.1", "blocks.2"}
    assert not any(k.startswith(("encoder.embedding", "encoder.lm_mask")) for k in changed[3])
    for head, *others in rates:
        assert others == pytest.approx([head / 10] * 2)
    assert rates[0][0] == chosen.rate(0) == 0.01
    assert rates[-1][0] == pytest.approx(0.001)


def test_rate_falls_as_torchs_schedule(encoder: Path) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter], lr=5e-4)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=50)
    chosen = recipe(learning_rate=5e-4, decay_steps=50)
    for step in range(60):
        assert chosen.rate(step) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()


def test_bfloat16_and_checkpointing_train_too(encoder: Path, data: Path, tmp_path: Path) -> None:
    plain = recipe(epochs=1, unfreeze=GRADUAL | {"start": 0})
    expected = train(plain, encoder, data, tmp_path / "plain")
    twice = plain.model_copy(update={"checkpointing": True})
    got = train(twice, encoder, data, tmp_path / "twice")
    assert all(torch.allclose(got[k], expected[k], atol=1e-4) for k in expected)
    train(plain.model_copy(update={"precision": "bf16"}), encoder, data, tmp_path / "rough")
    losses = [log(tmp_path / name)[0]["loss"] for name in ("plain", "rough")]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


# Threshold -----------------------------------------------------------------------------------


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), length=st.integers(6, 24))
def test_one_run_of_the_decoder_serves_all_thresholds(seed: int, length: int) -> None:
    """Ties among the probabilities included."""
    rng = np.random.default_rng(seed)
    sequence = "".join(rng.choice(list("ACGU"), length))
    p = np.triu(rng.integers(0, 40, (length, length)) / 100, 1)
    pairs = greedy(np.triu(rng.random((length, length)), 1), 0.8)
    expected = [
        pair_scores(greedy(p, t, allowed_pairs(sequence)), pairs, length, relaxed=True).f1
        for t in THRESHOLDS
    ]
    assert threshold_scores(p, sequence, pairs) == expected
    assert THRESHOLDS[0] == 0.01
    assert THRESHOLDS[-1] == 0.29


# Data ----------------------------------------------------------------------------------------


def test_validation_is_not_trained_on(data: Path) -> None:
    found = read_data(recipe(), data, HoldOut())
    train_side = {x.sequence for _, items in found.train for x in items}
    assert len(found.validation) == 6
    assert not train_side & {x.sequence for x in found.validation}
    other = read_data(recipe(seed=1), data, HoldOut())
    assert {x.sequence for x in other.validation} != {x.sequence for x in found.validation}
    assert other.digest != found.digest


def test_sources_for_validation(data: Path) -> None:
    """The same RNAs in a source of training are left out of it."""
    source = {"file": "a.csv", "min_length": 1, "max_length": 24, "draw": [{"members": 9}]}
    found = read_data(recipe(validation=[source]), data, HoldOut())
    assert found.validation
    assert all(len(x.sequence) <= 24 for x in found.validation)
    assert all(len(x.sequence) > 24 for _, items in found.train for x in items)
    with pytest.raises(InputError, match="no RNA is left to train on"):
        read_data(recipe(validation=[source | {"max_length": 300}]), data, HoldOut())


def test_held_out_classes_are_absent(data: Path) -> None:
    found = read_data(recipe(), data, HoldOut(frozenset({"tRNA"})))
    everything = [x for _, items in found.train for x in items] + found.validation
    assert {x.family for x in everything} == {"5s"}
    away = found.validation[0].sequence
    found = read_data(recipe(), data, HoldOut(sequences=(away[:18],)))
    assert away not in found.sequences
    with pytest.raises(InputError, match="no RNA is left to validate with"):
        read_data(recipe(), data, HoldOut(frozenset({"tRNA", "5s"})))


def test_references_keep_pseudoknots_and_non_canonical_pairs(tmp_path: Path) -> None:
    lines = ["id,sequence,structure", "x_1,GAGAAACCCGGAAAA,((([[[)))..]]].", "x_2,GGAAACC,((...))"]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    source = {"file": "a.csv", "min_length": 1, "min_pairs": 1, "draw": [{}]}
    found = read_data(recipe(train=[source], validation_part=0.5), tmp_path, HoldOut())
    pairs = {len(x.structure.pairs) for _, items in found.train for x in items}
    pairs |= {len(x.structure.pairs) for x in found.validation}
    assert pairs == {6, 2}


# Embeddings of a frozen encoder ---------------------------------------------------------------


def test_stored_embeddings_are_those_of_the_encoder(
    encoder: Path, data: Path, tmp_path: Path
) -> None:
    trainer = PairHeadTrainer(recipe(), load(encoder), data, tmp_path / "run")
    trainer.embed()
    assert trainer.store is not None
    for sequence in trainer.data.sequences:
        with torch.inference_mode():
            assert torch.equal(trainer.store[sequence], trainer.model.represent(sequence))


def test_a_store_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list("ACGU"), n)) for n in (5, 9, 1, 7, 30)]
    calls: list[str] = []

    def compute(sequence: str) -> torch.Tensor:
        calls.append(sequence)
        if len(calls) == 4:
            raise StoppedError
        generator = torch.Generator().manual_seed(len(sequence))
        return torch.randn(len(sequence), 3, generator=generator)

    with pytest.raises(StoppedError):
        EmbeddingStore(tmp_path / "s", "abc", 3).fill([*sequences, sequences[0]], compute)
    # What a kill may leave behind: half a row, half a line.
    with open(tmp_path / "s" / "rows.f32", "ab") as rows:
        rows.write(b"12345")
    with open(tmp_path / "s" / "index.tsv", "ab") as index:
        index.write(b"0123456789")
    seen: list[tuple[int, int]] = []
    store = EmbeddingStore(tmp_path / "s", "abc", 3)
    store.fill(sequences, compute, lambda done, total: seen.append((done, total)))
    assert calls[4:] == sequences[3:]
    assert seen == [(1, 2), (2, 2)]
    again = EmbeddingStore(tmp_path / "s", "abc", 3)
    again.fill(sequences, compute)  # reads, computes nothing
    assert len(calls) == 6
    for sequence in sequences:
        generator = torch.Generator().manual_seed(len(sequence))
        expected = torch.randn(len(sequence), 3, generator=generator)
        assert torch.equal(store[sequence], expected)
        assert torch.equal(again[sequence], expected)
    (tmp_path / "s" / "rows.f32").write_bytes(b"")
    with pytest.raises(WeightsError, match="is damaged: rows are missing"):
        again.fill(["ACGUACGU"], compute)


def test_a_store_belongs_to_one_encoder(tmp_path: Path) -> None:
    EmbeddingStore(tmp_path / "s", "abc", 3)
    for encoder_hash, width in (("abd", 3), ("abc", 4)):
        with pytest.raises(UsageError, match="belongs to another encoder"):
            EmbeddingStore(tmp_path / "s", encoder_hash, width)
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "x").touch()
    with pytest.raises(UsageError, match="holds other things"):
        EmbeddingStore(tmp_path / "t", "abc", 3)


def test_runs_share_a_store(encoder: Path, data: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    own = train(recipe(epochs=1), encoder, data, tmp_path / "a")
    for name in ("b", "c"):
        other = train(recipe(epochs=1), encoder, data, tmp_path / name, embeddings=shared)
        assert same(other, own)
    size = (shared / "rows.f32").stat().st_size
    lengths = set(PairHeadTrainer(recipe(), load(encoder), data, tmp_path).data.sequences)
    assert size == sum(map(len, lengths)) * 16 * 4


# Recipes and the command ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("kernel: 4", "kernel must be odd"),
        ("epochs: 0", "epochs"),
        ("validation_part: 1.0", "validation_part"),
        ("unfreeze: {blocks: 0}", "unfreeze.blocks"),
        ("colour: red", "colour"),
    ],
)
def test_recipes_are_checked(change: str, message: str, tmp_path: Path) -> None:
    text = f"task: pair-head\nname: x\n{change}\ntrain:\n- {{file: a.csv, draw: [{{}}]}}\n"
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_recipe(tmp_path / "r.yaml", PairHeadRecipe)


def test_the_recipe_that_ships_is_the_published_one() -> None:
    shipped = read_recipe(ROOT / "recipes" / "pair-head.yaml", PairHeadRecipe)
    assert shipped.name == "pair-head"
    assert shipped.unfreeze == Unfreezing()
    defaults = PairHeadRecipe(task="pair-head", name="x", train=shipped.train)
    assert shipped.model_dump(exclude={"name", "epochs"}) == defaults.model_dump(
        exclude={"name", "epochs"}
    )
    giga_ends = shipped.unfreeze.start + shipped.unfreeze.every * 7
    assert shipped.epochs > giga_ends


def test_the_command(cli, encoder: Path, data: Path, tmp_path: Path) -> None:
    text = json.dumps(recipe(epochs=1, unfreeze=GRADUAL).model_dump(mode="json"))
    (tmp_path / "r.yaml").write_text(text)  # JSON is YAML
    command = ("finetune", "pair-head", tmp_path / "r.yaml", "-m", encoder, "--data", data)
    run = tmp_path / "run"
    ran = cli(*command, "-o", run, "--frozen", "--device", "cpu", "--embeddings", tmp_path / "e")
    assert ran.code == 0, ran.err
    assert f"wrote {run / 'model'}" in ran.out
    assert "validation F1" in ran.err
    assert load_pair_head(run / "model").threshold in THRESHOLDS
    assert (tmp_path / "e" / "rows.f32").stat().st_size > 0
    ran = cli(*command, "-o", tmp_path / "x", "--embeddings", tmp_path / "e")
    assert ran.code == 2
    assert "--frozen" in ran.err
    ran = cli(*command, "-o", run, "--frozen", "--seed", 5, "--device", "cpu")
    assert ran.code == 2
    assert "belongs to another" in ran.err
    assert cli(*command[:-1], tmp_path, "-o", tmp_path / "y").code == 3
