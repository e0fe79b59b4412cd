"""Clusters by MMseqs2: what joins, what does not, and what a failure looks like."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from stemloop.data.clusters import dense_numbers, fasta_entry, linclust, read_representatives
from stemloop.errors import FormatError, OutputError, UsageError

needs_mmseqs = pytest.mark.skipif(shutil.which("mmseqs") is None, reason="mmseqs is not installed")


def write(path: Path, sequences: list[str]) -> Path:
    path.write_text("".join(fasta_entry(k, s) for k, s in enumerate(sequences)))
    return path


@needs_mmseqs
def test_copies_with_few_changes_join(tmp_path: Path) -> None:
    draw = random.Random(0)
    sequences = []
    for _ in range(40):
        seed = draw.choices("ACGU", k=200)
        sequences.append("".join(seed))
        for _ in range(2):
            copy = list(seed)
            for place in draw.sample(range(200), 4):
                copy[place] = draw.choice("ACGU")
            sequences.append("".join(copy))
    # A part is no member: it covers less than four fifths of the whole.
    sequences.append(sequences[0][:100])
    fasta = write(tmp_path / "x.fasta", sequences)
    found = linclust(fasta, tmp_path / "work", len(sequences))
    groups = found[:-1].reshape(40, 3)
    assert (groups == groups[:, :1]).all()
    assert len(set(groups[:, 0])) == 40
    assert found[-1] == 120
    assert (tmp_path / "work").exists() is False
    again = linclust(fasta, tmp_path / "work", len(sequences), threads=2)
    assert (again == found).all()


@needs_mmseqs
def test_short_and_unusual_sequences_are_not_lost(tmp_path: Path) -> None:
    sequences = ["ACGU", "GGGGCCCCAAAA", "RYKMSWBDHVN" * 3, "ACGUIACGUIACGUIACGUI", "N" * 30]
    found = linclust(write(tmp_path / "x.fasta", sequences), tmp_path / "work", len(sequences))
    assert found.tolist() == [0, 1, 2, 3, 4]


def test_failure_has_the_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "mmseqs"
    program.write_text("#!/bin/sh\necho first\necho 'Can not allocate memory'\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(OutputError, match=r"code 3: first / Can not allocate memory"):
        linclust(write(tmp_path / "x.fasta", ["ACGU"]), tmp_path / "work", 1)


def test_missing_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="mmseqs2"):
        linclust(tmp_path / "x.fasta", tmp_path / "work", 1)


@pytest.mark.parametrize("text", ["0\t9\n", "0\tone\n", "0\t1\t2\n"])
def test_tables_that_do_not_fit(text: str, tmp_path: Path) -> None:
    path = tmp_path / "out.tsv"
    path.write_text(text)
    with pytest.raises(FormatError):
        read_representatives(path, 5)


def test_dense_numbers_against_a_dictionary() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 10, 200):
        leaders = rng.choice(count, max(1, count // 3), replace=False)
        representatives = rng.choice(leaders, count).astype(np.int32)
        representatives[leaders] = leaders
        order = {leader: k for k, leader in enumerate(sorted(set(representatives.tolist())))}
        found, clusters = dense_numbers(representatives)
        assert clusters == len(order)
        assert found.tolist() == [order[r] for r in representatives.tolist()]
