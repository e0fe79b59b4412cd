"""Labels on rows, weights against redundancy, and splits that keep groups together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stemloop.data.labelled import (
    Labelled,
    apply_names,
    frequencies,
    label_rows,
    labels_by_pattern,
    labels_from_table,
    sequence_weights,
    split_rows,
)
from stemloop.data.taxonomy import labels_by_taxonomy, read_ranks
from stemloop.errors import FormatError, InputError, UsageError


def make(*ids: str, descriptions: tuple[str, ...] = (), sites: int = 4) -> Labelled:
    rng = np.random.default_rng(0)
    states = rng.integers(0, 5, (len(ids), sites)).astype(np.uint8)
    return Labelled(ids, descriptions, states, "-ACGU", np.full(len(ids), -1))


def test_labels_are_numbered_by_name() -> None:
    data = label_rows(make("a", "b", "c", "d", "e"), ["y", "x", "NA", " y ", "x"])
    assert data.names == ("x", "y")
    assert data.labels.tolist() == [1, 0, -1, 1, 0]
    assert data.counts() == {"x": 2, "y": 2}


def test_a_label_seen_once() -> None:
    data = make("a", "b", "c", "d")
    words = ["x", "x", "y", ""]
    with pytest.raises(InputError, match=r"label 'y' is seen in 1 row\(s\) only .*rare: missing"):
        label_rows(data, words)
    assert label_rows(data, words, rare="missing").labels.tolist() == [0, 0, -1, -1]
    dropped = label_rows(data, words, rare="drop")
    assert (dropped.ids, dropped.labels.tolist()) == (("a", "b", "d"), [0, 0, -1])
    with pytest.raises(InputError, match="no label is seen in 3 rows"):
        label_rows(data, words, least=3, rare="drop")
    with pytest.raises(InputError, match="no row has a label"):
        label_rows(data, [""] * 4)


def test_labels_of_a_trained_model() -> None:
    data = make("a", "b")
    assert label_rows(data, ["y", "x"], names=("z", "y", "x")).labels.tolist() == [1, 2]
    with pytest.raises(InputError, match=r"label 'w' is unknown \(expected x, y\)"):
        label_rows(data, ["w", "x"], names=("x", "y"))


def test_labels_from_headers() -> None:
    data = make("a|one", "b|two", "c", descriptions=("", "x", "kind=three;"))
    assert labels_by_pattern(data, r"\|(\w+)") == ["one", "two", ""]
    assert labels_by_pattern(data, r"kind=(\w+)") == ["", "", "three"]
    for bad in ("(", "no group", "(two)(groups)"):
        with pytest.raises(UsageError, match="label pattern"):
            labels_by_pattern(data, bad)


@pytest.mark.parametrize("delimiter", ["\t", ",", " "])
def test_labels_from_a_table(tmp_path: Path, delimiter: str) -> None:
    lines = [["sample", "pop", "sex"], ["p1", "x", "m"], ["p2", "y", "f"], ["p1", "x", "m"]]
    path = tmp_path / "panel"
    path.write_text("\n".join(delimiter.join(line) for line in lines) + "\n\n")
    data = make("p1_A", "p1_B", "p2_A", "p3_A")
    options = {"key": "sample", "label": "pop"}
    assert labels_from_table(data, path, **options, pattern="^(.+)_[AB]$") == ["x", "x", "y", ""]
    assert labels_from_table(data, path, **options) == [""] * 4
    with pytest.raises(FormatError, match=r"panel:1: no column 'id' \(expected sample, pop, sex"):
        labels_from_table(data, path, key="id", label="pop")
    path.write_text(path.read_text().replace("p2", "p1"))
    with pytest.raises(FormatError, match=r"panel:3: record 'p1': a second label"):
        labels_from_table(data, path, **options)
    path.write_text(delimiter.join(lines[0]) + "\np1\n")
    with pytest.raises(FormatError, match="panel:2: too few columns"):
        labels_from_table(data, path, **options)


def test_names_are_changed_or_dropped() -> None:
    assert apply_names(["a", "b", "c"], {"a": "A", "b": ""}) == ["A", "", "c"]


TAXA = """\
1\tk__Bacteria; p__Firmicutes; c__Bacilli; o__x; f__x; g__Bacillus; s__subtilis
2\tk__Bacteria; p__[Thermi]; c__x; o__x; f__x; g__[Thermus]; s__
3\tk__Bacteria; p__Firmicutes; c__x; o__x; f__x; g__Twice; s__
4\tk__Bacteria; p__Chloroflexi; c__x; o__x; f__x; g__Twice; s__
5\tk__Bacteria; p__Chloroflexi; c__x; o__x; f__x; g__; s__
"""


def test_labels_by_taxonomy(tmp_path: Path) -> None:
    path = tmp_path / "taxa.txt"
    path.write_text(TAXA)
    assert read_ranks(path) == {"bacillus": "Firmicutes", "thermus": "Thermi"}
    assert read_ranks(path, "class")["bacillus"] == "Bacilli"
    texts = ("Bacillus subtilis 168", "Candidatus Thermus x", "Twice bad", "")
    data = make("a", "b", "c", "d", descriptions=texts)
    assert labels_by_taxonomy(data, path) == ["Firmicutes", "Thermi", "", ""]
    fasta = tmp_path / "headers.fa"
    fasta.write_text(">b [Bacillus] sp.\nACGT\n>z Thermus\nA\n")
    assert labels_by_taxonomy(make("a", "b"), path, headers=fasta) == ["", "Firmicutes"]
    with pytest.raises(UsageError, match="unknown rank"):
        read_ranks(path, "tribe")
    path.write_text("1\tBacteria\n")
    with pytest.raises(FormatError, match=r"taxa.txt:1: no ranks"):
        read_ranks(path)


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 10)),
               elements=st.integers(0, 3)),
    st.sampled_from([0.5, 0.8, 1.0]),
)  # fmt: skip
def test_weights_by_loops(states: np.ndarray, identity: float) -> None:
    same = (states[:, None] == states[None]).mean(2)
    np.testing.assert_allclose(
        sequence_weights(states, identity), 1 / (same >= identity - 1e-9).sum(1)
    )


def test_weights_of_more_than_one_block() -> None:
    states = np.random.default_rng(0).integers(0, 5, (1200, 6)).astype(np.uint8)
    same = (states[:, None] == states[None]).mean(2)
    np.testing.assert_allclose(sequence_weights(states), 1 / (same >= 0.8 - 1e-9).sum(1))


def test_frequencies() -> None:
    states = np.array([[0, 1], [0, 2], [1, 2]], np.uint8)
    np.testing.assert_allclose(frequencies(states, 3)[:, 0], [2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(frequencies(states, 3, np.array([1.0, 0, 1]))[:, 1], [0, 0.5, 0.5])


def test_persons_are_not_torn_apart() -> None:
    ids = tuple(f"p{i}_{h}" for i in range(100) for h in "AB")
    data = make(*ids, sites=20)
    data = label_rows(data, [("x" if i < 80 else "y") for i in range(100) for _ in "AB"])
    train, test = split_rows(data, 0.25, group="^(.+)_[AB]$")
    assert sorted([*train, *test]) == list(range(200))
    persons = [{data.ids[i][:-2] for i in side} for side in (train, test)]
    assert not persons[0] & persons[1]
    assert data.take(test).counts() == {"x": 40, "y": 10}
    assert split_rows(data, 0.25, group="^(.+)_[AB]$")[1].tolist() == test.tolist()
    assert split_rows(data, 0.25, group="^(.+)_[AB]$", seed=1)[1].tolist() != test.tolist()
    with pytest.raises(InputError, match="record 'p0_A': the group pattern does not fit"):
        split_rows(data, 0.25, group="^(q)")


def test_identical_rows_stay_on_one_side() -> None:
    data = make(*"abcdefghij", sites=20)
    data = data.take([*range(10)] * 3)
    train, test = split_rows(data, 0.3)
    assert len(test) == 9
    seen = {data.states[i].tobytes() for i in train}
    assert not any(data.states[i].tobytes() in seen for i in test)


@pytest.mark.parametrize("share", [0.0, 1.0, -1])
def test_shares_that_are_none(share: float) -> None:
    with pytest.raises(UsageError, match="not between 0 and 1"):
        split_rows(make("a", "b"), share)


def test_too_few_to_split() -> None:
    with pytest.raises(UsageError, match="leaves nothing on one side"):
        split_rows(make("a", "b", sites=20), 0.1)


def test_digest_tells_data_apart() -> None:
    one = label_rows(make("a", "b"), ["x", "x"])
    assert one.digest() == label_rows(make("c", "d"), ["x", "x"]).digest()
    assert one.digest() != one.take([1, 0]).digest()
