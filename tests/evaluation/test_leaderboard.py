"""Leaderboards: what is run, what is kept, and how it is shown."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from stemloop.errors import FormatError, UsageError
from stemloop.evaluation import leaderboard
from stemloop.evaluation.leaderboard_recipe import load_board

BOARD = """\
task: benchmark
name: <b>two tables</b>
tables:
- name: unseen classes
  kind: structure
  protocol: archiveii-family-fold
  split: [tRNA, 5s]
  peers: peers.csv
  scores: [f1, relaxed_f1]
  entries:
  - {name: trained, recipe: tiny.yaml}
  - {name: nearest neighbour, model: turner2004}
  - {name: the peer, peer: oracle}
  published:
  - {name: a paper, scores: {f1: 0.9}, source: "Doe 2020, table 1", differs: other RNAs}
- name: letters
  kind: sequence
  scores: [accuracy]
  entries:
  - {name: small network, recipe: letters.yaml}
"""

LETTERS = """\
task: classify
name: letters
data: [{file: letters.csv, label: kind}]
encoder: none
head: {kind: frames, channels: 4, blocks: 1, hidden: 4}
split: {by: random, validation: 0.2, test: 0.3}
leakage: null
epochs: 2
batch_size: 8
"""


@pytest.fixture(scope="module")
def folder(tiny_structures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, recipes and the board in one folder."""
    folder = tmp_path_factory.mktemp("board")
    for path in tiny_structures.iterdir():
        shutil.copy(path, folder / path.name)
    rows = ["model,family,id,len,f1,f1_shift"]
    rows += [f"oracle,{name},{name}_{k},14,1.0,1.0" for name in ("tRNA", "5s") for k in (0, 1)]
    rows += ["oracle,srp,srp_0,14,0.0,0.0", "other,tRNA,tRNA_0,14,0.0,0.0"]
    (folder / "peers.csv").write_text("\n".join(rows) + "\n")
    lines = ["id,sequence,kind"]
    lines += [f"a{k},{'AAG' * (k % 7 + 2)}{'C' * k},a" for k in range(30)]
    lines += [f"b{k},{'CUU' * (k % 7 + 2)}{'G' * k},b" for k in range(30)]
    (folder / "letters.csv").write_text("\n".join(lines) + "\n")
    (folder / "letters.yaml").write_text(LETTERS)
    (folder / "board.yaml").write_text(BOARD)
    return folder


@pytest.fixture(scope="module")
def output(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "board"
    leaderboard.run_board(load_board(folder / "board.yaml"), folder, folder, output)
    return output


def rows(output: Path, table: int) -> dict[str, dict]:
    found = json.loads((output / "leaderboard.json").read_text())["tables"][table]["rows"]
    return {row["name"]: row for row in found}


def test_all_are_scored_on_the_same_rnas(output: Path) -> None:
    found = rows(output, 0)
    assert list(found) == ["trained", "nearest neighbour", "the peer", "a paper"]
    # The peer's file has RNAs that the table does not test.
    assert [row.get("records") for row in found.values()] == [4, 4, 4, None]
    assert found["the peer"]["scores"]["f1"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    for name in ("trained", "nearest neighbour"):
        score = found[name]["scores"]["relaxed_f1"]
        assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1


def test_plain_methods_stand_beside_models_of_sequences(output: Path) -> None:
    found = rows(output, 1)
    kinds = {name: row["kind"] for name, row in found.items()}
    assert kinds.pop("small network") == "trained here"
    assert set(kinds.values()) == {"baseline"}
    assert len({row["records"] for row in found.values()}) == 1


def test_untrained_encoders_and_heads_to_start_from(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "frozen.yaml").write_text(
        LETTERS.replace("encoder: none", "encoder: frozen")
        .replace("kind: frames, channels: 4, blocks: 1, hidden: 4", "hidden: 4")
        .replace("epochs: 2", "epochs: 1")
    )
    text = """\
task: benchmark
name: encoders
tables:
- name: letters
  kind: sequence
  scores: [accuracy]
  entries:
  - {name: frozen, recipe: frozen.yaml}
  - {name: untrained, recipe: frozen.yaml, untrained: true}
  - {name: fine-tuned, recipe: frozen.yaml, encoder: full, start: frozen}
"""
    (tmp_path / "board.yaml").write_text(text)
    board = load_board(tmp_path / "board.yaml")
    leaderboard.run_board(board, tmp_path, folder, tmp_path / "out")
    found = rows(tmp_path / "out", 0)
    assert list(found)[0] == "frozen"
    assert {"untrained", "fine-tuned"} <= set(found)
    facts = {}
    for path in (tmp_path / "out" / "runs").glob("*/run.json"):
        facts[path.parent.name.split("-")[1]] = json.loads(path.read_text())
    assert facts["frozen"]["encoder"] == facts["fine"]["encoder"] != facts["untrained"]["encoder"]
    assert "letters-frozen" in facts["fine"]["recipe"]["start"]
    (tmp_path / "board.yaml").write_text(text.replace("start: frozen", "start: nix"))
    with pytest.raises(FormatError, match="no entry 'nix' further up"):
        load_board(tmp_path / "board.yaml")


def test_the_page_escapes_names_and_ranks(output: Path) -> None:
    text = (output / "leaderboard.html").read_text()
    assert "<b>two" not in text
    assert "src=" not in text
    assert "href=" not in text
    HTMLParser().feed(text)
    lines = (output / "leaderboard.md").read_text().splitlines()
    order = [line.split(" |")[0] for line in lines if line.startswith("| ")]
    assert order[1] == "| the peer"
    assert order[4] == "| a paper"
    assert "- *a paper*: Doe 2020, table 1: other RNAs" in lines


def test_only_what_changed_is_run_again(
    folder: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "board"
    shutil.copytree(output, copy)
    ran: list[str] = []
    whole = leaderboard._run
    monkeypatch.setattr(
        leaderboard, "_run", lambda table, entry, *rest: ran.append(entry.name)
        or whole(table, entry, *rest),
    )  # fmt: skip
    board = load_board(folder / "board.yaml")
    before = (copy / "leaderboard.json").read_bytes()
    leaderboard.run_board(board, folder, folder, copy)
    assert ran == []
    assert (copy / "leaderboard.json").read_bytes() == before
    changed = BOARD.replace("model: turner2004", "model: turner1999")
    (tmp_path / "board.yaml").write_text(changed)
    leaderboard.run_board(
        load_board(tmp_path / "board.yaml"), folder, folder, copy,
        only=["unseen classes"],
    )  # fmt: skip
    assert ran == ["nearest neighbour"]


def test_the_command(cli, folder: Path, tmp_path: Path) -> None:
    ran = cli(
        "benchmark", folder / "board.yaml", "--data", folder, "-o", tmp_path / "out",
        "--table", "letters",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "| small network | trained here |" in ran.out
    assert cli(
        "benchmark", folder / "board.yaml", "--data", folder, "-o", tmp_path / "out",
        "--table", "numbers",
    ).code == UsageError.exit_code  # fmt: skip


def test_the_shipped_board_names_recipes_that_are_there() -> None:
    recipes = Path(__file__).resolve().parents[2] / "recipes"
    board = load_board(recipes / "leaderboard.yaml")
    named = {entry.recipe for table in board.tables for entry in table.entries if entry.recipe}
    assert named <= {path.name for path in recipes.iterdir()}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("protocol: archiveii-family-fold", "protocol: all", "protocol must be one of"),
        ("  peers: peers.csv\n", "", "peers: is missing"),
        ("peer: oracle", "peer: oracle, model: x", "neither recipe nor model"),
        (", model: turner2004", "", "a recipe, a model or a peer"),
        ("name: the peer", "name: trained", "two entries have one name"),
        ("name: letters\n  kind", "name: unseen classes\n  kind", "two tables have one name"),
        ("recipe: letters.yaml", "model: x", "need a recipe"),
    ],
)
def test_boards_that_cannot_be(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in BOARD
    (tmp_path / "x.yaml").write_text(BOARD.replace(old, new))
    with pytest.raises(FormatError, match=message):
        load_board(tmp_path / "x.yaml")
