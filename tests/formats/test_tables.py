"""Tables and arrays: values come back, and the same input gives the same bytes."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stemloop.errors import FormatError, InputError, OutputExistsError, UsageError
from stemloop.formats.tables import read_arrays, write_arrays, write_table

ROWS = [{"id": "a\tb", "n": 1, "x": 0.1}, {"id": 'q"u,o\nte', "n": 2, "x": None}]

texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r"))


@given(
    rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=5),
    suffix=st.sampled_from([".tsv", ".csv", ".csv.gz"]),
)
def test_text_tables_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], suffix: str
) -> None:
    path = tmp_path_factory.mktemp("table") / f"x{suffix}"
    write_table(path, [{"id": a, "µ": b} for a, b in rows])
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if suffix.endswith("gz") else raw).decode()
    lines = list(csv.reader(text.splitlines(keepends=True), delimiter="\t,"["c" in suffix]))
    if all(set(a + b).isdisjoint("\v\f\x1c\x1d\x1e\x85\u2028\u2029") for a, b in rows):
        assert lines == [["id", "µ"], *map(list, rows)]


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".parquet"])
def test_rows_and_columns_give_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    written = []
    for number, table in enumerate((ROWS, columns, iter(ROWS))):
        path = tmp_path / f"{number}{suffix}"
        write_table(path, table)  # type: ignore[arg-type]
        written.append(path.read_bytes())
    assert len(set(written)) == 1


def test_parquet_keeps_types(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "x.parquet"
    mean = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_table(path, {"id": ["a", "b"], "mean": mean, "n": np.array([1, 2], np.int32)})
    table = pq.read_table(path)
    assert str(table.schema.field("mean").type) == "fixed_size_list<element: float>[3]"
    assert table["mean"].to_pylist() == mean.tolist()
    assert table["n"].to_pylist() == [1, 2]
    write_table(path, [{"id": "a"}, {"id": "b", "x": 2}], columns=["id", "x"], force=True)
    assert pq.read_table(path).to_pylist() == [{"id": "a", "x": None}, {"id": "b", "x": 2}]


def test_tables_refuse_what_they_cannot_hold(tmp_path: Path) -> None:
    for name, table, message in (
        ("x.xlsx", ROWS, "suffix must be"),
        ("x.parquet.gz", ROWS, "suffix must be"),
        ("x.tsv", {"a": [1], "b": [1, 2]}, "differ in length"),
        ("x.tsv", {"a": np.zeros((2, 2))}, "needs a .parquet"),
        ("x.tsv", [{"a": 1}, {"b": 1}], "columns the table lacks: b"),
        ("x.parquet", [{"a": 1}, {"b": 1}], "columns the table lacks: b"),
    ):
        with pytest.raises(UsageError, match=message):
            write_table(tmp_path / name, table)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_columns_choose_and_order(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", {"x": [1], "y": [2], "z": [3]}, columns=["z", "x"])
    assert (tmp_path / "a.csv").read_text() == "z,x\n3,1\n"
    write_table(tmp_path / "b.csv", [], columns=["z", "x"])
    assert (tmp_path / "b.csv").read_text() == "z,x\n"
    write_table(tmp_path / "c.csv", {"x": np.array([0.1, 1e-9], np.float32)})
    assert (tmp_path / "c.csv").read_text() == "x\n0.1\n1e-09\n"


arrays = st.dictionaries(
    # safetensors keeps this name for itself, and it is refused for all.
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(
        lambda name: name != "__metadata__"
    ),
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.float16, np.bool_]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    max_size=4,
)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@given(some=arrays)
def test_arrays_round_trip(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, some: dict[str, np.ndarray]
) -> None:
    folder = tmp_path_factory.mktemp("arrays")
    write_arrays(folder / f"a{suffix}", some)
    write_arrays(folder / f"b{suffix}", iter(some.items()))
    assert (folder / f"a{suffix}").read_bytes() == (folder / f"b{suffix}").read_bytes()
    found = read_arrays(folder / f"a{suffix}")
    assert found.keys() == some.keys()
    for name, array in some.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array, equal_nan=array.dtype.kind == "f")
        assert found[name].shape == array.shape


def test_safetensors_metadata(tmp_path: Path) -> None:
    from safetensors import safe_open

    metadata = {f"key{i}": "µ" * i for i in range(9)}
    for name in ("a", "b"):
        shuffled = dict(sorted(metadata.items(), reverse=name == "b"))
        write_arrays(tmp_path / f"{name}.safetensors", {"x": np.ones(3)}, metadata=shuffled)
    with safe_open(tmp_path / "a.safetensors", "np") as handle:
        assert handle.metadata() == metadata
        assert handle.get_tensor("x").tolist() == [1, 1, 1]
    first, second = ((tmp_path / f"{n}.safetensors").read_bytes() for n in "ab")
    assert first == second


def test_arrays_refuse_what_they_cannot_hold(tmp_path: Path) -> None:
    one = np.ones(1)
    for name, items, metadata, message in (
        ("x.npy", {"a": one}, None, "suffix must be"),
        ("x.npz", [("a", one), ("a", one)], None, "two arrays are called 'a'"),
        ("x.npz", {"a\0b": one}, None, "cannot be the name"),
        ("x.npz", {"a": np.array([None])}, None, "holds Python objects"),
        ("x.npz", {"a": one}, {"k": "v"}, "no place for metadata"),
    ):
        with pytest.raises(UsageError, match=message):
            write_arrays(tmp_path / name, items, metadata=metadata)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_damaged_arrays(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    write_arrays(path, {"a": np.arange(1000)})
    with pytest.raises(OutputExistsError):
        write_arrays(path, {"a": np.arange(1000)})
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(FormatError, match="damaged") as caught:
        read_arrays(path)
    assert str(path) in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_arrays(tmp_path / f"absent{suffix}")


def test_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=np.array([{"an": "object"}], object))
    with pytest.raises(FormatError, match="damaged"):
        read_arrays(path)
