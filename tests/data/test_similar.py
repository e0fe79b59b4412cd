"""The most similar sequence of another set: planted relatives are found, others are not."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from stemloop.data import similar
from stemloop.data.similar import most_similar
from stemloop.errors import UsageError

needs_mmseqs = pytest.mark.skipif(shutil.which("mmseqs") is None, reason="mmseqs is not installed")


def rna(rng: np.random.Generator, length: int) -> str:
    return "".join(rng.choice(list("ACGU"), length))


def mutated(rng: np.random.Generator, sequence: str, changes: int) -> str:
    letters = list(sequence)
    for k in rng.choice(len(letters), changes, replace=False):
        letters[k] = rng.choice([c for c in "ACGU" if c != letters[k]])
    return "".join(letters)


@needs_mmseqs
def test_planted_relatives_are_found() -> None:
    rng = np.random.default_rng(0)
    targets = [rna(rng, 90) for _ in range(60)]
    queries = [mutated(rng, targets[k], 15) for k in range(20)]  # 83 % identity
    queries += [targets[30], rna(rng, 90) + targets[31] + rna(rng, 90), "ACGU"]
    hits = most_similar(queries, targets)
    found = [hit for hit in hits[:20] if hit is not None]
    assert len(found) >= 19
    assert [h.target for h in hits[:20] if h] == [k for k in range(20) if hits[k]]
    # What lies at the ends of an alignment may be cut off it.
    assert all(0.8 <= hit.identity <= 0.95 for hit in found)
    assert np.mean([hit.coverage for hit in found]) > 0.8
    same, part, short = hits[20:]
    assert (same.target, same.identity, same.coverage) == (30, 1.0, 1.0)
    assert part.target == 31
    assert part.query_coverage == pytest.approx(1 / 3, abs=0.05)
    assert part.coverage == part.query_coverage
    assert part.target_coverage == 1.0
    assert short is None


@needs_mmseqs
def test_the_other_strand_does_not_count() -> None:
    rng = np.random.default_rng(1)
    target = rna(rng, 120)
    antisense = target[::-1].translate(str.maketrans("ACGU", "UGCA"))
    (hit,) = most_similar([antisense], [target])
    assert hit is None or hit.coverage < 0.5


def test_nothing_to_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar, "mmseqs_version", lambda: "test")
    assert most_similar([], ["ACGU"]) == []
    assert most_similar(["ACGU"], []) == [None]


def test_without_mmseqs(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="apt install mmseqs2"):
        most_similar(["ACGU"], ["ACGU"])
