"""``stemloop corpus``: build and show, exit codes, what is said."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    draw = random.Random(3)
    path = tmp_path / "x.fa"
    path.write_text(
        "".join(
            f">URS{k:010X} {kind} from 2 species\n{''.join(draw.choices('ACGU', k=60))}\n"
            for k, kind in enumerate(["tRNA", "snoRNA"] * 100)
        )
        + ">short\nACG\n"
    )
    return path


def test_build_and_show(cli: Cli, fasta: Path, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    built = cli("corpus", "build", fasta, "-o", folder, "--clusterer", "none")
    assert built.code == 0
    assert built.out == ""
    assert "records read ..." in built.err
    shown = cli("corpus", "show", folder)
    assert shown.code == 0
    assert shown.out.strip() in built.err
    lines = [line.split() for line in shown.out.splitlines()]
    assert ["sequences", "196", "4", "0"] in lines
    assert ["x", "201", "200", "too", "short", "1"] in lines
    kinds = {
        line[0]: sum(map(int, line[1:])) for line in lines if line[:1] in (["tRNA"], ["snoRNA"])
    }
    assert kinds == {"tRNA": 100, "snoRNA": 100}


def test_standard_input(cli: Cli, fasta: Path, tmp_path: Path) -> None:
    ran = cli("corpus", "build", "-", "-o", tmp_path / "c", "--clusterer", "none",
              stdin=fasta.read_bytes())  # fmt: skip
    assert ran.code == 0
    manifest = json.loads((tmp_path / "c/manifest.json").read_text())
    assert manifest["sources"][0]["kept"] == 200


def test_existing_output(cli: Cli, fasta: Path, tmp_path: Path) -> None:
    call = ("corpus", "build", fasta, "-o", tmp_path / "c", "--clusterer", "none")
    assert cli(*call).code == 0
    again = cli(*call)
    assert again.code == 4
    assert "use --force" in again.err
    assert cli(*call, "--force").code == 0


def test_sources_file(cli: Cli, fasta: Path, tmp_path: Path) -> None:
    sources = tmp_path / "s.yaml"
    sources.write_text(
        "sources:\n- {name: mine, files: ['*.fa'], licence: CC0-1.0, url: https://example.org}\n"
    )
    ran = cli("corpus", "build", fasta, "-o", tmp_path / "c", "--sources", sources,
              "--clusterer", "none", "--min-length", 2)  # fmt: skip
    assert ran.code == 0
    manifest = json.loads((tmp_path / "c/manifest.json").read_text())
    (source,) = manifest["sources"]
    assert (source["name"], source["licence"], source["kept"]) == ("mine", "CC0-1.0", 201)
    sources.write_text("sources:\n- {name: mine, files: ['*.fa']}\n")
    wrong = cli("corpus", "build", fasta, "-o", tmp_path / "d", "--sources", sources)
    assert wrong.code == 3
    assert f"{sources}: sources.0.licence" in wrong.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["absent.fa"], 3, "no such file or folder"),
        (["x.fa", "--clusterer", "magic"], 2, "--clusterer is mmseqs or none"),
        (["x.fa", "--min-length", "9", "--max-length", "5"], 2, "--min-length"),
    ],
)
def test_mistakes(
    arguments: list[str], code: int, message: str,
    cli: Cli, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    ran = cli("corpus", "build", *arguments, "-o", "c")
    assert ran.code == code
    assert message in ran.err


def test_without_mmseqs(
    cli: Cli, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = cli("corpus", "build", fasta, "-o", tmp_path / "c")
    assert ran.code == 2
    assert "apt install mmseqs2" in ran.err


def test_show_of_what_is_no_corpus(cli: Cli, tmp_path: Path) -> None:
    ran = cli("corpus", "show", tmp_path)
    assert ran.code == 3
    assert "manifest" in ran.err
