"""Generators: folders of a machine with what judges its sequences; orders, conditions, values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stemloop.errors import InputError, OutputExistsError, ResultError, UsageError, WeightsError
from stemloop.formats.alignment import read_stockholm
from stemloop.formats.fasta import read_sequences
from stemloop.models.rbm import RBM
from stemloop.models.rbm_chains import generate
from stemloop.models.rbm_config import RBMConfig
from stemloop.tasks.conditions import condition
from stemloop.tasks.generate import score
from stemloop.tasks.generate_family import Order, consensus, make, report
from stemloop.tasks.generate_files import read_rows
from stemloop.tasks.generators import TYPE, Generator, open_generator, write_generator
from stemloop.training.rbm import train_rbm
from stemloop.training.rbm_recipe import RBMRecipe
from stemloop.weights.locate import bundled_configs
from stemloop.weights.rbm_store import StoredRBM

#: Two kinds of a hairpin of four pairs; sites 8 and 9 tell them apart.
OWN = {"one": "GGCAUUCGUGCCAA", "two": "GGCAUUCGUGCCUU"}
FOLD = "<<<<______>>>>"[:4] + "____" + ">>>>" + "::"


def write_rows(path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["id,sequence,label"]
    for i in range(200):
        label = ("one", "two")[i % 2]
        noise = rng.choice(list("-ACGU"), 14)
        text = "".join(np.where(rng.random(14) < 0.85, list(OWN[label]), noise))
        lines.append(f"r{i},{text},{label}")
    path.write_text("\n".join(lines) + "\n")


RECIPE: dict[str, Any] = {
    "task": "rbm", "name": "tiny", "hidden": 12, "batch": 80, "updates": 120, "ages": 2,
    "data": {"file": "x.csv", "name": "id", "labels": {"column": "label"}},
    "optimiser": {"name": "adam", "learning_rate": 0.05},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the data, a run, and its generator ``made``."""
    base = tmp_path_factory.mktemp("generator")
    write_rows(base / "x.csv")
    train_rbm(RBMRecipe.model_validate(RECIPE), base, base / "run")
    write_generator(base / "run", base, base / "made", name="hairpin", aliases=("hp",))
    return base


@pytest.fixture
def tiny(folder: Path) -> Generator:
    opened = open_generator(folder / "made")
    # As the covariance model would have told it.
    return Generator(opened.stored, {**opened.facts, "structure": FOLD}, opened.folder)


def test_folder_of_a_run_made_small(folder: Path) -> None:
    full, small = open_generator(folder / "run"), open_generator(folder / "made")
    assert small.training is not None
    assert full.training is None
    labels = np.array(small.training.descriptions)
    assert 120 < len(labels) < 200  # what is held out is not in it
    assert small.facts["shares"] == pytest.approx([(labels == n).mean() for n in OWN], abs=1e-6)
    for name, tensor in full.stored.machine.tensors().items():
        other = small.stored.machine.tensors()[name]
        assert other.dtype == torch.float32
        torch.testing.assert_close(other, tensor, rtol=1e-3, atol=1e-3)
    with pytest.raises(OutputExistsError):
        write_generator(folder / "run", folder, folder / "made", name="hairpin")
    again = folder / "again"
    write_generator(folder / "run", folder, again, name="hairpin", aliases=("hp",))
    for path in sorted(again.iterdir()):
        assert path.read_bytes() == (folder / "made" / path.name).read_bytes(), path.name
    (folder / "other").mkdir()
    (folder / "other" / "x.csv").write_text("id,sequence,label\n" + "a,GGCAUUCGUGCCAA,one\n" * 4)
    with pytest.raises(InputError, match="not the data"):
        write_generator(folder / "run", folder / "other", folder / "y", name="hairpin")


def test_values_are_those_of_their_own_definitions(tiny: Generator) -> None:
    made = make(tiny, 30, Order(seed=3, energies=True))
    assert made.drawn == 30
    assert made.left_out == ("cm_score: the model comes without a covariance model",)
    assert tiny.training is not None
    rows = tiny.training.states
    for result in made.results:
        text, values = result.record.sequence, result.values
        states = np.array([tiny.training.letters.index(c) for c in text])
        away = (rows != states).sum(1)
        assert values["distance"] == away.min()
        assert values["nearest"] == tiny.training.ids[int(away.argmin())]
        pairs = [(text[i], text[11 - i]) for i in range(4)]
        seen = [p for p in pairs if p != ("-", "-")]
        right = [p for p in seen if "".join(p) in ("GC", "CG", "AU", "UA", "GU", "UG")]
        assert values["pairs"] <= len(right) / len(seen) + 1e-9
        assert values["ensemble_energy"] <= values["consensus_energy"] + 1e-3
    assert {r.values["label"] for r in made.results} == {"one", "two"}
    assert "copies of training" in report(made, tiny)[0]


def test_scores_agree_with_rbm_score(folder: Path, tiny: Generator, tmp_path: Path) -> None:
    made = make(tiny, 10, Order(labels={"two": 1.0}, seed=1))
    lines = [f"{r.record.id},{r.record.sequence},x" for r in made.results]
    (tmp_path / "m.csv").write_text("\n".join(["id,sequence,label", *lines]) + "\n")
    scores = score(tiny.stored, read_rows(tiny.stored, tmp_path / "m.csv"))
    for one, two in zip(made.results, scores, strict=True):
        assert one.values["label"] == "two"
        assert one.values["label_probability"] == pytest.approx(two.values["p_two"], abs=1e-5)
        assert one.values["free_energy"] == pytest.approx(two.values["free_energy"], abs=1e-3)


def test_labels_shares_and_repeats(tiny: Generator) -> None:
    made = make(tiny, 400, Order(labels={"one": 3.0, "two": 1.0}))
    ones = sum(r.values["label"] == "one" for r in made.results)
    assert 270 < ones < 330
    again = make(tiny, 400, Order(labels={"one": 3.0, "two": 1.0}))
    assert [r.record.sequence for r in again.results] == [r.record.sequence for r in made.results]
    single = make(tiny, 400, Order(unique=True))
    assert len({r.record.sequence for r in single.results}) == 400
    assert single.drawn > 400
    with pytest.raises(UsageError, match="three"):
        make(tiny, 1, Order(labels={"three": 1.0}))
    with pytest.raises(UsageError, match="positive"):
        make(tiny, 1, Order(labels={"one": 0.0}))


def test_conditions(tiny: Generator) -> None:
    where = ("label_probability>0.9", "distance>=2", "label=two")
    made = make(tiny, 25, Order(where=where))
    assert len(made.results) == 25
    fewer = make(tiny, 3, Order(where=where))
    assert [r.record for r in fewer.results] == [r.record for r in made.results[:3]]
    for result in made.results:
        assert float(result.values["label_probability"]) > 0.9
        assert int(result.values["distance"]) >= 2
        assert result.values["label"] == "two"
    with pytest.raises(ResultError, match="0 of 100 sequences"):
        make(tiny, 2, Order(where=("free_energy>1e6",)))
    with pytest.raises(UsageError, match="no value 'colour'"):
        make(tiny, 2, Order(where=("colour>1",)))
    with pytest.raises(UsageError, match="not to be compared"):
        make(tiny, 2, Order(where=("label>1",)))
    for text in ("distance", "distance>", ">3", "a b > 3 c"):
        with pytest.raises(UsageError, match="write NAME"):
            condition(text, tiny)
    with pytest.raises(UsageError, match="gathering"):
        condition("cm_score>=GA", tiny)


def test_kept_sites(tiny: Generator) -> None:
    made = make(tiny, 40, Order(start="A" * 14, keep=(0, 13)))
    assert {r.record.sequence[0] + r.record.sequence[13] for r in made.results} == {"AA"}


def test_between_labels_is_the_mean_of_their_fields() -> None:
    config = RBMConfig("potts", 6, 4, "-ACGU", ("x", "y"))
    random = torch.Generator().manual_seed(0)
    tensors = {k: torch.randn(s, generator=random) for k, s in config.shapes().items()}
    machine = RBM(config, tensors)
    whole = generate(machine, torch.ones(5, dtype=torch.long), 3, random.manual_seed(1))
    soft = generate(machine, torch.tensor([[0.0, 1.0]] * 5), 3, random.manual_seed(1))
    assert (whole == soft).all()
    middle = RBM(
        config, {**tensors, "label_weights": tensors["label_weights"].mean(0).repeat(2, 1)}
    )
    half = generate(machine, torch.full((5, 2), 0.5), 3, random.manual_seed(2))
    same = generate(middle, torch.zeros(5, dtype=torch.long), 3, random.manual_seed(2))
    assert (half == same).all()
    made = make(Generator(StoredRBM(machine, {})), 3, Order(labels={"x": 1, "y": 1}, between=True))
    assert [r.record.id for r in made.results] == ["x-y-1", "x-y-2", "x-y-3"]


def test_consensus_of_a_row() -> None:
    pairs = np.array([[0, 11], [1, 10], [2, 9], [3, 8]])
    sequence, kept, share = consensus("GGA-AAAA-UAC", pairs)
    assert sequence == "GGAAAAAUAC"
    assert kept.tolist() == [[0, 9], [2, 7]]  # G-C and A-U; G-A is none, a pair of gaps is left out
    assert share == pytest.approx(2 / 3)
    assert consensus("------------", pairs)[2] == 1.0
    assert consensus("ACGU", None)[2] == 1.0


def test_names_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no generator of 'RF99999' ships"):
        open_generator("RF99999")
    (tmp_path / "config.json").write_text('{"model_type": "rinalmo"}')
    with pytest.raises(WeightsError, match="no generator"):
        open_generator(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="damaged"):
        open_generator(tmp_path)


@pytest.mark.parametrize("name", sorted(bundled_configs(TYPE)))
def test_what_ships_makes_its_family(name: str) -> None:
    pytest.importorskip("pyinfernal")
    facts = bundled_configs(TYPE)[name]
    opened = open_generator(facts["family"])
    assert open_generator(facts["name"].lower()).folder == opened.folder
    config = opened.stored.machine.config
    assert opened.training is not None
    assert opened.training.states.shape[1] == config.visible == len(facts["structure"])
    assert set(opened.training.descriptions) == set(config.labels) == set(facts["labels"])
    assert opened.family is not None
    assert opened.family.accession == facts["family"]
    made = make(opened, 60, Order(seed=1))
    threshold = opened.family.gathering
    assert threshold
    assert sum(float(r.values["cm_score"]) >= threshold for r in made.results) >= 54
    right = np.mean([float(r.values["label_probability"]) > 0.5 for r in made.results])
    assert right > 0.75
    assert np.median([int(r.values["distance"]) for r in made.results]) > 3
    picked = make(opened, 5, Order(seed=1, where=("cm_score>=GA", "distance>5")))
    assert all(float(r.values["cm_score"]) >= threshold for r in picked.results)


def test_command(cli: Callable, folder: Path, tmp_path: Path) -> None:
    base = ("generate", "--model", folder / "made", "--seed", 1)
    ran = cli(*base, "-n", 5, "--label", "one")
    assert ran.code == 0, ran.err
    assert ran.out.startswith(">one-1 label=one label_probability=")
    assert "-" not in "".join(line for line in ran.out.splitlines() if line[0] != ">")
    assert "5 sequences of 5 drawn" in ran.err
    assert "no cm_score: the model comes without" in ran.err
    out = tmp_path / "x.sto"
    ran = cli(*base, "-n", 5, "--label", "one=2", "--label", "two", "--between", "-o", out)
    assert ran.code == 0, ran.err
    assert read_stockholm(out).width == 14
    assert cli(*base, "-n", 5, "-o", out).code == 4
    table = tmp_path / "x.tsv"
    ran = cli(*base, "-n", 5, "--random-label", "--where", "distance>0", "--unique", "-o", table)
    assert ran.code == 0, ran.err
    assert table.read_text().split("\n")[0].split("\t")[:3] == ["id", "sequence", "label"]
    gapped = tmp_path / "x.fa"
    assert cli(*base, "-n", 3, "--gaps", "-o", gapped).code == 0
    assert {len(r.sequence) for r in read_sequences(gapped, alphabet_check=False)} == {14}
    for wrong in (
        ("--label", "one=x"), ("--between",), ("--label", "one", "--random-label"),
        ("--family", "RF00162"), ("--where", "distance"),
    ):  # fmt: skip
        ran = cli(*base, "-n", 2, *wrong)
        assert ran.code == 2, wrong
        assert ran.err.startswith("error: ")
    assert cli("generate", "-n", 2).code == 2


def test_plot_command(cli: Callable, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "r.json"
    few = ("--steps", "1,5", "-n", 60, "--temperatures", 0, "--age", 1, "--age", 120)
    ran = cli("rbm", "evaluate", folder / "run", "--data", folder, "-o", out, *few)
    assert ran.code == 0, ran.err
    picture = tmp_path / "r.svg"
    ran = cli("rbm", "plot", out, out, "--title", "a", "--title", "b", "-o", picture)
    assert ran.code == 0, ran.err
    first = picture.read_bytes()
    assert b"Gibbs steps" in first
    assert cli("rbm", "plot", out, out, "-o", picture).code == 2  # one title for two columns
    assert cli("rbm", "plot", out, "-o", picture).code == 4
    again = ("rbm", "plot", out, out, "--title", "a", "--title", "b", "-o", picture, "--force")
    assert cli(*again).code == 0
    assert picture.read_bytes() == first
    out.write_text("{}")
    assert cli("rbm", "plot", out, "-o", picture, "--force").code == 3
