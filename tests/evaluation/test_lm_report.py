"""``stemloop evaluate lm``: the whole report, from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

SMALL = [
    *("--rnas", 40, "--single-rnas", 4, "--single-positions", 3, "--baseline-tokens", 2000),
    *("--type-rnas", 60, "--pair-rnas", 4, "--family-rnas", 40, "--window", 60),
]


@pytest.fixture(scope="module")
def reported(lm_data, lm_model, lm_plain, tmp_path_factory) -> Path:
    """Report on two models."""
    from stemloop.evaluation.lm.model import LanguageModel
    from stemloop.evaluation.lm.report import write_report
    from stemloop.evaluation.lm.run import examine
    from stemloop.evaluation.lm.settings import Settings

    settings = Settings(
        rnas=40, single_rnas=4, single_positions=3, baseline_tokens=2000, type_rnas=60,
        pair_rnas=4, family_rnas=40, window=60, resamples=50,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("reports") / "report.json"
    models = [LanguageModel.load(m) for m in (lm_model, lm_plain)]
    result = examine(models, lm_data.corpus, structures=lm_data.structures, settings=settings)
    write_report(path, result)
    return path


def test_every_part_is_there(reported: Path, lm_data) -> None:
    report = json.loads(reported.read_text())
    assert report["schema"] == "stemloop.language-model"
    assert [m["name"] for m in report["models"]] == ["tiny", "plain"]
    assert report["settings"]["window"] == 60
    guesses = report["nucleotides"]
    methods = {"tiny", "plain", "ten neighbours"} | {
        f"Markov {side}" for side in ("left", "right", "product", "both")
    }
    for split, unit in (("validation_clusters", "cluster"), ("validation_families", "family")):
        for task in ("masked", "single"):
            scores = guesses[split][task]
            assert set(scores["all"]["methods"]) == methods
            assert scores["bootstrap"]["unit"] == unit
            assert "difference" not in scores["all"]["methods"]["tiny"]
            for method in scores["all"]["methods"].values():
                value = method["accuracy"]
                assert 0.0 <= value["low"] <= value["value"] <= value["high"] <= 1.0
        assert guesses[split]["masked"]["all"]["rnas"] == 40
        assert guesses[split]["single"]["all"]["nucleotides"] == 12
        assert set(guesses[split]["masked"]["types"]) == {"tRNA", "snoRNA", "rRNA", "unknown"}
        # The model of 22 tokens has no slot.
        words = {"words, types equal", "words, types as in the corpus"}
        assert set(report["types"][split]["methods"]) == {"tiny"} | words
        vectors = {"tiny", "plain", "untrained", "words of 4"}
        assert set(report["embeddings"][split]["methods"]) == vectors
    assert guesses["baselines"]["neighbours"]["tokens"] >= 2000
    pairs = report["pairs"]
    assert set(pairs["methods"]) == {"chance", "tiny", "plain", "untrained", "RNAfold"}
    fitted = {item["family"] for item in pairs["fitted_on"]}
    assert len(fitted) == 20
    assert not fitted & set(lm_data.held_out)
    assert set(report["seconds"]) == {"nucleotides", "types", "pairs", "embeddings", "all"}


def test_the_command_says_the_same_twice(cli, lm_data, lm_plain, tmp_path: Path) -> None:
    """And what a model without types, and data without structures, leave out."""
    reports = []
    for name in ("a.json", "b.json"):
        ran = cli(
            "evaluate", "lm", lm_plain, "--corpus", lm_data.corpus, "-o", tmp_path / name, *SMALL
        )
        assert ran.code == 0, ran.err
        report = json.loads((tmp_path / name).read_text())
        del report["seconds"]
        reports.append(report)
    assert reports[0] == reports[1]
    assert reports[0]["types"] == {"skipped": "the models' alphabets have no slot for a type"}
    assert reports[0]["pairs"] == {"skipped": "no structures were given"}
    assert "Not done: no structures were given." in ran.out
    assert "| ten neighbours |" in ran.out
    ran = cli(
        *("evaluate", "lm", lm_plain, "--corpus", lm_data.corpus, "--turns", "cluster"),
        *("--part", "nucleotides", "-o", tmp_path / "c.json", *SMALL),
    )
    assert ran.code == 0, ran.err
    other = json.loads((tmp_path / "c.json").read_text())["nucleotides"]
    mine = reports[0]["nucleotides"]
    assert other["validation_families"] == mine["validation_families"]
    sizes = [
        {k: v["rnas"] for k, v in r["validation_clusters"]["masked"]["types"].items()}
        for r in (mine, other)
    ]
    assert set(sizes[0].values()) == {10}
    assert set(sizes[1].values()) != {10}
    assert "guessed nucleotides of validation_families: masked" in ran.err
    again = cli("evaluate", "lm", lm_plain, "--corpus", lm_data.corpus, "-o", tmp_path / "a.json")
    assert again.code == 4
    assert "exists already" in again.err


def test_single_parts_and_pictures(cli, lm_data, lm_model, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    ran = cli(
        *("evaluate", "lm", lm_model, "--corpus", lm_data.corpus, "--part", "embeddings"),
        *("--plots", tmp_path / "p", "-o", tmp_path / "r.md", *SMALL),
    )
    assert ran.code == 0, ran.err
    assert {p.name for p in (tmp_path / "p").iterdir()} == {
        "tsne-validation_clusters.png",
        "tsne-validation_families.png",
    }
    assert (tmp_path / "r.md").read_text().strip() == ran.out.strip()
    assert "Hidden nucleotides" not in ran.out
    assert "purity of 5" in ran.out


def test_a_corpus_without_held_out_families(cli, lm_data, lm_model, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    shutil.copytree(lm_data.corpus, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["shards"] = [s for s in manifest["shards"] if "families" not in s["file"]]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    command = ("evaluate", "lm", lm_model, "--corpus", folder, "--data", lm_data.data, *SMALL)
    ran = cli(*command, "--part", "pairs", "--part", "types")
    assert ran.code == 0, ran.err
    assert "Not done: the corpus holds no families out." in ran.out
    assert "### validation_clusters" in ran.out
    assert "### validation_families" not in ran.out
    manifest["shards"] = [s for s in manifest["shards"] if "train" in s["file"]]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    ran = cli(*command)
    assert ran.code == 3
    assert "no held-out split" in ran.err


def test_errors(cli, lm_data, lm_model, lm_plain, tmp_path: Path) -> None:
    corpus = ("--corpus", lm_data.corpus)
    ran = cli("evaluate", "lm", lm_model, lm_model, *corpus)
    assert ran.code == 2
    assert "same name" in ran.err
    ran = cli("evaluate", "lm", lm_model, "--corpus", tmp_path / "none")
    assert ran.code == 3
    ran = cli("evaluate", "lm", lm_plain, *corpus, "--prompt", "mask")
    assert ran.code == 2
    assert "no slot for a type" in ran.err
    ran = cli("evaluate", "lm", lm_model, *corpus, "--data", tmp_path, "--part", "pairs")
    assert ran.code == 3
