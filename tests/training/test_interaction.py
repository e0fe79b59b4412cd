"""Training on pairs: parts, resuming to the bit, the model that is written, its examination."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from stemloop.data.interactions import Pair
from stemloop.data.mirna_sites import family, reverse_complement
from stemloop.errors import FormatError, InputError, UsageError, WeightsError
from stemloop.evaluation import interaction as examination
from stemloop.models.build import new_encoder
from stemloop.models.presets import EncoderConfig
from stemloop.tasks.interaction import Interactor, interact, sites
from stemloop.training import interaction as module
from stemloop.training.interaction import InteractionTrainer, logits, strands_of
from stemloop.training.interaction_data import (
    MATCHED,
    RANDOM,
    TABLE,
    TRUE,
    area_under_curve,
    areas,
    divide,
    make_examples,
    read_pairs,
)
from stemloop.training.interaction_recipe import InteractionRecipe
from stemloop.training.recipe_base import read_recipe
from stemloop.weights.interaction_store import load_interaction
from stemloop.weights.store import load, save_model_dir
from stemloop.weights.tensors import read_tensors, write_tensors

ROOT = Path(__file__).resolve().parents[2]
RECIPE = {
    "task": "interaction",
    "name": "tiny",
    "data": {"file": "pairs.tsv", "first_id": "mir", "second_id": "gene", "flip_first": True},
    "net": {"channels": 8, "heads": 2, "hidden": 8},
    "epochs": 3,
    "batch_size": 32,
}
RECURRENT = {"kind": "cnn-bilstm", "channels": 8, "recurrent": 4, "hidden": 8}
#: What is changed in the recipe: both kinds of networks, with and without states.
NETS = {
    "attention": {},
    "attention, states": {"encoder": "frozen"},
    "cnn-bilstm": {"net": RECURRENT},
    "cnn-bilstm, states": {"net": RECURRENT | {"state_channels": 4}, "encoder": "frozen"},
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained language model as a model directory."""
    torch.manual_seed(2)
    shape = EncoderConfig(
        vocab_size=56, hidden=16, layers=1, heads=2, ffn_inner=24, alphabet="stemloop"
    )
    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    return save_model_dir(folder, shape, new_encoder(shape).state_dict())


def trainer(net: str, encoder: Path, folder: Path, output: Path) -> InteractionTrainer:
    recipe = InteractionRecipe.model_validate(RECIPE | NETS[net])
    source = load(encoder) if recipe.encoder == "frozen" else None
    return InteractionTrainer(recipe, folder, output, encoder=source)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of pairs, microRNAs stored 3' to 5', and a recipe."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(5)

    def rna(length: int) -> str:
        return "".join(rng.choice(list("ACGU"), length))

    mirnas = [rna(21) for _ in range(20)]
    lines = ["first\tsecond\tmir\tgene\tlabel"]
    for k in range(300):
        mirna, site = mirnas[k % 20], rna(40)
        if label := k % 7 != 3:
            # Few have a seed match, for which there are few decoys; the others pair at the 3' end.
            word = reverse_complement(mirna[1:7] if k % 7 == 0 else mirna[9:20])
            site = site[:20] + word + site[20 + len(word) :]
        lines.append(f"{mirna[::-1]}\t{site}\tm{k % 20}\tg{k}\t{int(label)}")
    (folder / "pairs.tsv").write_text("\n".join(lines) + "\n")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    return folder


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    output = tmp_path_factory.mktemp("runs") / "run"
    InteractionTrainer(InteractionRecipe.model_validate(RECIPE), folder, output).run()
    return output


def test_parts_share_no_family_and_decoys_no_label(folder: Path) -> None:
    recipe = InteractionRecipe.model_validate(RECIPE)
    pairs, _ = read_pairs(recipe, folder)
    part = divide(pairs, recipe)
    examples = make_examples(pairs, recipe)
    of = {name: {family(x.input.pair.first) for x in examples if x.part == name} for name in
          ("train", "validation", "test")}  # fmt: skip
    assert all(of.values())
    assert sum(map(len, of.values())) == len(set.union(*of.values()))
    assert all(part[family(x.input.pair.first)] == x.part for x in examples)
    counts = {kind: sum(x.kind == kind for x in examples) for kind in (TRUE, MATCHED, RANDOM)}
    assert counts[TRUE] == counts[MATCHED] >= counts[RANDOM] > 50
    sites = [sorted(x.input.pair.second for x in examples if x.kind == k) for k in (TRUE, RANDOM)]
    assert not Counter(sites[1]) - Counter(sites[0])  # each site is a random decoy once
    assert all(x.target == (x.kind == TRUE) for x in examples)


def test_the_tables_own_decoys_have_the_lengths_of_true_sites(folder: Path) -> None:
    recipe = InteractionRecipe.model_validate(RECIPE | {"decoys": {"table": "own"}})
    pairs, _ = read_pairs(recipe, folder)
    examples = make_examples(pairs, recipe)
    own = {pair.first for pair in pairs if pair.label}
    table = [x.input.pair for x in examples if x.kind == TABLE]
    assert len(table) == sum(not pair.label and pair.first in own for pair in pairs) > 40
    true = {len(x.input.pair.second) for x in examples if x.kind == TRUE}
    assert {len(pair.second) for pair in table} <= true
    whole = {pair.index: pair.second for pair in pairs}
    assert all(pair.second in whole[pair.index] for pair in table)


@pytest.mark.parametrize("net", NETS)
def test_a_killed_run_ends_with_the_same_bits(
    net: str, encoder: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = trainer(net, encoder, folder, tmp_path / "once")
    once.run()
    saved = module.RunFolder.save

    def stop(self, state, *rest) -> None:
        saved(self, state, *rest)
        if state["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(module.RunFolder, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        trainer(net, encoder, folder, tmp_path / "again").run()
    assert not (tmp_path / "again" / "model").exists()
    monkeypatch.setattr(module.RunFolder, "save", saved)
    trainer(net, encoder, folder, tmp_path / "again").run()
    models = [tmp_path / name / "model" for name in ("once", "again")]
    weights = [(model / "model.safetensors").read_bytes() for model in models]
    assert weights[0] == weights[1]

    # What was stored gives what was trained, whether its states are kept or computed anew.
    stored, items = load_interaction(models[0]), [x.input for x in once.parts["test"]]
    found = logits(stored, items)
    np.testing.assert_allclose(logits(stored, items, once._states), found, atol=1e-5)
    metrics = json.loads((tmp_path / "once" / "metrics.json").read_text())
    for kind, area in areas(once.parts["test"], found).items():
        assert area == pytest.approx(metrics["test"][kind], abs=2e-4)
    assert stored.encoder == (str(encoder) if "states" in net else "")
    assert stored.head.config.kind == net.split(",")[0]


def test_a_run_goes_on_with_its_own_recipe_alone(folder: Path, run: Path) -> None:
    recipe = InteractionRecipe.model_validate(RECIPE | {"seed": 1})
    with pytest.raises(UsageError, match="another recipe"):
        InteractionTrainer(recipe, folder, run).run()


def test_states_are_those_of_the_language_model_that_was_read(
    encoder: Path, folder: Path, tmp_path: Path
) -> None:
    mine = Path(shutil.copytree(encoder, tmp_path / "mine"))
    learner = trainer("cnn-bilstm, states", mine, folder, tmp_path / "run")
    learner.run()
    assert learner.store is not None
    strands = set(strands_of(x.input for items in learner.parts.values() for x in items))
    # Each distinct strand once.
    index = (tmp_path / "run" / "embeddings" / "index.tsv").read_text().splitlines()
    assert len(index) == len(strands)
    pairs = [("UGAGGUAGUAGGUUGUAUAGU", "AAACUACCUCAAA"), ("UGAGGUAGUAGGUUGUAUAGU", "ACGU")]
    first = interact(pairs, tmp_path / "run" / "model")
    assert first[0]["probability"] != first[1]["probability"]
    assert interact(pairs[1:], tmp_path / "run" / "model")[0] == first[1] | {
        "first": "1.1", "second": "1.2"
    }  # fmt: skip
    with pytest.raises(UsageError, match="goes with frozen alone"):
        InteractionTrainer(learner.recipe, folder, tmp_path / "other")
    weights = read_tensors(mine / "model.safetensors")
    name = next(iter(weights))
    write_tensors(mine / "model.safetensors", weights | {name: weights[name] + 1})
    with pytest.raises(WeightsError, match="another version of the encoder"):
        load_interaction(tmp_path / "run" / "model")


def test_a_model_reads_long_sites_in_windows(run: Path) -> None:
    model = load_interaction(run / "model")
    assert model.site == 40
    assert sites(100, 40) == [*range(0, 60, 4), 60]
    mirna = "UGAGGUAGUAGGUUGUAUAGU"
    long = "A" * 60 + reverse_complement(mirna) + "A" * 60
    (row,) = interact([(mirna, long)], run / "model")
    best = max(
        interact([(mirna, long[k : k + 40])], run / "model")[0]["probability"]
        for k in sites(len(long), 40)
    )
    assert row["probability"] == pytest.approx(best, abs=1e-5)
    start, stop = row["second_start"], row["second_end"]
    assert 1 <= row["site_start"] <= start <= stop <= row["site_end"]
    with pytest.raises(InputError, match="31 nt in the first strand"):
        interact([("A" * 31, long)], run / "model")


def test_energies_are_given_where_the_duplex_is() -> None:
    pair = Pair("AAGGGGAA", "UUUUUUCCCCUUUUUU", "a", "b")
    row = Interactor("duplex")(pair)
    assert pair.first[row["first_start"] - 1 : row["first_end"]].count("G") == 4
    assert pair.second[row["second_start"] - 1 : row["second_end"]].count("C") == 4
    hidden = Pair("GGGGG", "CCCCCAAAAGGGGG", "a", "b")
    open_row, closed = (Interactor("accessible")(p) for p in (pair, hidden))
    assert open_row["opening_energy"] < 0.1 < 3 < closed["opening_energy"]
    assert closed["total_energy"] == pytest.approx(
        closed["energy"] + closed["opening_energy"], abs=0.011
    )
    assert Interactor("cofold")(pair)["binding_energy"] < -3
    nothing = Interactor("duplex")(Pair("AAAA", "AAAA", "a", "b"))
    assert (nothing["energy"], nothing["first_start"], nothing["second_end"]) == (0.0, 0, 0)


def test_other_folders_are_no_models_of_interactions(tmp_path: Path, run: Path) -> None:
    with pytest.raises(WeightsError, match="no model of interactions"):
        load_interaction("stemloop-pico")
    broken = tmp_path / "model"
    broken.mkdir()
    content = json.loads((run / "model" / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(content | {"centre": [1.0]}))
    with pytest.raises(WeightsError, match="scales for"):
        load_interaction(broken)


def test_the_area_is_that_of_all_pairs_of_pairs() -> None:
    rng = np.random.default_rng(2)
    true = rng.random(60) < 0.4
    scores = rng.integers(0, 6, 60).astype(float)
    wins = [(a > b) + 0.5 * (a == b) for a in scores[true] for b in scores[~true]]
    assert area_under_curve(true, scores) == pytest.approx(np.mean(wins))


def test_the_shipped_recipes_differ_in_their_networks_alone() -> None:
    one, other = (
        read_recipe(ROOT / "recipes" / f"{name}.yaml", InteractionRecipe)
        for name in ("mirna-target", "mirna-target-cnn-bilstm")
    )
    assert one.data.flip_first
    assert (one.net.kind, other.net.kind) == ("attention", "cnn-bilstm")
    assert one == other.model_copy(update={"name": one.name, "net": one.net})


def test_a_mistake_in_a_network_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    for net, said in (
        ({"kind": "cnn-bilstm", "heads": 2}, r"net\.cnn-bilstm\.heads"),
        ({"recurrent": 2}, r"net\.attention\.recurrent"),
        ({"kind": "transformer"}, "net: .*'attention', 'cnn-bilstm'"),
    ):
        path.write_text(yaml.safe_dump(RECIPE | {"net": net}))
        with pytest.raises(FormatError, match=said):
            read_recipe(path, InteractionRecipe)


def test_the_program_trains_judges_and_predicts(
    cli, encoder: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "RESAMPLES", 20)
    ran = cli("finetune", "interaction", folder / "recipe.yaml", "--data", folder, "-o",
              tmp_path / "run", "--encoder", "frozen", "--model", encoder,
              "--embeddings", tmp_path / "states")  # fmt: skip
    assert ran.code == 0, ran.err
    assert (tmp_path / "states" / "index.tsv").exists()
    refused = cli("finetune", "interaction", folder / "recipe.yaml", "--data", folder, "-o",
                  tmp_path / "no", "--embeddings", tmp_path / "states")  # fmt: skip
    assert refused.code == 2
    assert "for a frozen encoder" in refused.err
    ran = cli("evaluate", "interaction", tmp_path / "run", "--data", folder, "-o",
              tmp_path / "report.json")  # fmt: skip
    assert ran.code == 0, ran.err
    report = json.loads((tmp_path / "report.json").read_text())
    matched = report["protocols"]["matched decoys"]["all"]
    # A microRNA has as many decoys as sites: by itself it says nothing.
    assert matched["methods"]["words of the first"]["area"]["value"] == 0.5
    areas = {name: found["area"]["value"] for name, found in matched["methods"].items()}
    for name, gap in matched["differences"].items():
        assert gap["value"] == pytest.approx(areas["model"] - areas[name], abs=2e-4)
        assert gap["low"] <= gap["high"]
    assert report["protocols"]["table, random split"]["all"]["pairs"] == 60
    assert "| duplex energy |" in ran.out
    model = tmp_path / "run" / "model"
    for arguments in (
        [folder / "pairs.tsv", "--flip-first", "--first-id", "mir", "--second-id", "gene"],
        ["UGAGGUAGUAGGUUGUAUAGU&AAACUACCUCAAA"],
    ):
        ran = cli("interact", *arguments, "--model", model)
        assert ran.code == 0, ran.err
        assert ran.out.startswith("first\tsecond\tprobability\t")
    assert cli("interact", folder / "pairs.tsv", "--first", "no", "-m", "duplex").code == 3


def test_the_bundled_network_finds_the_site_in_a_longer_rna() -> None:
    mirna = "UGAGGUAGUAGGUUGUAUAGUU"
    site = "UAACUGUACAACCUACUACCUCAUU"  # pairs with the seed and beyond
    rng = np.random.default_rng(0)
    around = ["".join(rng.choice(list("ACGU"), 100)) for _ in range(2)]
    (there,) = interact([(mirna, around[0] + site + around[1])])
    (gone,) = interact([(mirna, around[0] + site[::-1] + around[1])])
    assert there["probability"] > max(0.95, gone["probability"])
    assert 101 <= there["second_start"] < there["second_end"] <= 100 + len(site)
