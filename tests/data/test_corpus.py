"""Reading a corpus: what is in it, where it is unpacked, and what is wrong with damaged ones."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from datasets.arrow_writer import ArrowWriter
from pyarrow import parquet

from stemloop.alphabet import RNAERNIE_TYPES
from stemloop.data.cache import cache_dir
from stemloop.data.corpus import Corpus
from stemloop.data.manifest import read_manifest
from stemloop.errors import FormatError, InputError, OutputError

Rows = list[dict[str, Any]]


@pytest.fixture
def rows(random_rows: Callable[..., Rows]) -> Rows:
    return random_rows(60)


@pytest.fixture
def folder(write_corpus: Callable[..., Path], rows: Rows) -> Path:
    return write_corpus(train=rows, validation_clusters=rows[:10], shards=3)


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def rewrite(path: Path, table: pyarrow.Table) -> None:
    """Another content under the old name, the manifest's checksum corrected."""
    parquet.write_table(table, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    def change(manifest: dict[str, Any]) -> None:
        [entry] = [s for s in manifest["shards"] if s["file"] == path.name]
        entry |= {"sha256": digest, "rows": table.num_rows}

    edit_manifest(path.parent, change)


def test_every_row_is_what_was_written(folder: Path, rows: Rows):
    corpus = Corpus.open(folder, verify=True)
    assert len(corpus) == 60
    assert [corpus.sequence(i) for i in range(60)] == [r["sequence"] for r in rows]
    assert [corpus.identifier(i) for i in range(60)] == [r["id"] for r in rows]
    assert corpus.lengths.tolist() == [r["length"] for r in rows]
    assert corpus.clusters.tolist() == [r["cluster"] for r in rows]
    types = ["" if t < 0 else RNAERNIE_TYPES[t] for t in corpus.types]
    assert types == [r["type"] for r in rows]
    assert [corpus.source_names[s] for s in corpus.sources] == [r["source"] for r in rows]
    families = ["" if f < 0 else corpus.family_names[f] for f in corpus.families]
    assert families == [r["family"] for r in rows]
    kinds = [a.dtype for a in (corpus.lengths, corpus.clusters, corpus.types, corpus.sources)]
    assert kinds == [np.int32, np.int64, np.int16, np.int16]


def test_numpy_integers_are_rows_too(folder: Path, rows: Rows):
    corpus = Corpus.open(folder)
    assert corpus.sequence(np.int64(59)) == rows[59]["sequence"]


@pytest.mark.parametrize("row", [-1, 60])
def test_rows_that_are_not_there(folder: Path, row: int):
    with pytest.raises(IndexError, match=f"row {row} of a corpus of 60"):
        Corpus.open(folder).sequence(row)


def test_splits_are_opened_by_name(folder: Path, rows: Rows):
    assert len(Corpus.open(folder, "validation_clusters")) == 10
    with pytest.raises(
        InputError, match="no split 'validation_families'; here: train, validation_clusters"
    ):
        Corpus.open(folder, "validation_families")


def test_the_corpus_folder_is_only_read(folder: Path):
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    for path in [*folder.iterdir(), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert Corpus.open(folder).sequence(0)
    finally:
        folder.chmod(0o755)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
    assert list(cache_dir().rglob("*.arrow"))


def test_a_corpus_is_unpacked_once(folder: Path):
    Corpus.open(folder)
    files = {p: p.stat().st_mtime_ns for p in cache_dir().rglob("*.arrow")}
    assert files
    Corpus.open(folder)
    assert {p: p.stat().st_mtime_ns for p in cache_dir().rglob("*.arrow")} == files


def test_a_corpus_built_anew_in_the_same_place_is_read_anew(folder: Path, rows: Rows):
    Corpus.open(folder)
    path = folder / "train-00000-of-00003.parquet"
    table = parquet.read_table(path)
    reverse = pyarrow.array([s[::-1] for s in table["sequence"].to_pylist()])
    rewrite(path, table.set_column(1, "sequence", reverse))
    assert Corpus.open(folder).sequence(0) == rows[0]["sequence"][::-1]


def test_a_pickled_corpus_is_a_path(folder: Path, rows: Rows):
    corpus = Corpus.open(folder)
    text = pickle.dumps(corpus)
    assert len(text) < 500
    assert pickle.loads(text).sequence(7) == rows[7]["sequence"]


def test_a_cache_that_cannot_be_written_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("STEMLOOP_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OutputError, match="cannot be unpacked here.*STEMLOOP_CACHE"):
        Corpus.open(folder)


def test_no_corpus(tmp_path: Path, folder: Path):
    with pytest.raises(InputError, match=r"nowhere: no such folder"):
        Corpus.open(tmp_path / "nowhere")
    (folder / "manifest.json").unlink()
    with pytest.raises(FormatError, match=r"no manifest\.json.*stemloop corpus build"):
        Corpus.open(folder)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"format": 1}', '{"format": 1, "shards": [{}]}']
)
def test_damaged_manifests(folder: Path, text: str):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(FormatError, match=r"manifest\.json: damaged manifest"):
        read_manifest(folder)


@pytest.mark.parametrize("number", [0, 2])
def test_manifests_of_another_version(folder: Path, number: int):
    edit_manifest(folder, lambda m: m.update(format=number))
    with pytest.raises(FormatError, match=f"corpus format {number} cannot be read"):
        Corpus.open(folder)


def test_missing_shards(folder: Path):
    (folder / "train-00001-of-00003.parquet").unlink()
    with pytest.raises(FormatError, match="1 of 3 shards are missing.*train-00001-of-00003"):
        Corpus.open(folder)
    edit_manifest(folder, lambda m: m["shards"].pop(1))
    with pytest.raises(FormatError, match="'train' are not complete"):
        Corpus.open(folder)


def test_a_truncated_shard(folder: Path):
    path = folder / "train-00002-of-00003.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FormatError, match=r"train-00002-of-00003\.parquet: damaged"):
        Corpus.open(folder)


def test_a_flipped_byte_is_found_by_verifying(folder: Path):
    path = folder / "train-00002-of-00003.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"train-00002.*damaged: SHA-256 is .*expected [0-9a-f]"):
        Corpus.open(folder, verify=True)


def test_a_shard_with_a_sound_end_and_a_damaged_middle(folder: Path):
    path = folder / "train-00002-of-00003.parquet"
    content = bytearray(path.read_bytes())
    content[4:1000] = bytes(996)
    path.write_bytes(content)
    with pytest.raises(FormatError, match="damaged shards"):
        Corpus.open(folder)


def test_a_shard_of_other_content_than_the_manifest_says(folder: Path):
    path = folder / "train-00000-of-00003.parquet"
    table = parquet.read_table(path)
    parquet.write_table(table.slice(3), path)
    with pytest.raises(FormatError, match=r"train-00000.*17 rows \(expected 20\)"):
        Corpus.open(folder)
    rewrite(path, table.drop_columns(["cluster"]))
    with pytest.raises(FormatError, match=r"column 'cluster' is missing \(expected int64\)"):
        Corpus.open(folder)
    rewrite(path, table.set_column(2, "length", table["length"].cast("double")))
    with pytest.raises(FormatError, match=r"column 'length' is double \(expected int32\)"):
        Corpus.open(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "trna"}, "unknown RNA type 'trna'"),
        ({"cluster": 999}, "not sorted by cluster"),
        ({"length": 0}, "record 'r000005': length 0"),
        ({"source": None}, "column 'source' has empty cells"),
    ],
)
def test_rows_that_break_the_rules(
    write_corpus: Callable[..., Path], rows: Rows, change: dict[str, Any], message: str
):
    rows[5] |= change
    with pytest.raises(FormatError, match=message):
        Corpus.open(write_corpus(train=rows))


def test_a_sequence_of_another_length_than_stated(write_corpus: Callable[..., Path], rows: Rows):
    rows[5]["sequence"] += "A"
    corpus = Corpus.open(write_corpus(train=rows))
    with pytest.raises(FormatError, match=r"record 'r000005': \d+ nucleotides \(expected \d+\)"):
        corpus.sequence(5)


def test_an_empty_split(write_corpus: Callable[..., Path]):
    with pytest.raises(InputError, match="no sequences in split 'train'"):
        Corpus.open(write_corpus(train=[], shards=1))


def test_an_empty_shard(write_corpus: Callable[..., Path], rows: Rows):
    corpus = Corpus.open(write_corpus(train=rows[:2], shards=3))
    assert [corpus.sequence(i) for i in range(2)] == [r["sequence"] for r in rows[:2]]


def count(folder: Path) -> int:
    return len(Corpus.open(folder))


def die(folder: Path) -> None:
    ArrowWriter.finalize = lambda *_: os._exit(9)
    Corpus.open(folder)


def test_unpacking_that_was_killed_is_done_again(folder: Path):
    process = multiprocessing.get_context("fork").Process(target=die, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert list(cache_dir().rglob("*.incomplete/*"))
    assert Corpus.open(folder).sequence(59)


def test_processes_that_open_a_new_corpus_at_once(folder: Path):
    with ProcessPoolExecutor(3, multiprocessing.get_context("fork")) as pool:
        assert list(pool.map(count, [folder] * 3)) == [60] * 3


def read_all(folder: Path) -> tuple[int, int]:
    """Nucleotides of a corpus, and the private memory (KiB) that it took."""

    def private() -> int:
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

    before = private()
    corpus = Corpus.open(folder)
    return sum(len(corpus.sequence(row)) for row in range(len(corpus))), private() - before


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_sequences_read(write_corpus: Callable[..., Path]):
    row = {"type": "", "family": "", "source": "s", "length": 8000}
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGU", np.uint8), (2000, 8000))
    rows = [
        row | {"id": f"r{k}", "sequence": text.tobytes().decode(), "cluster": k}
        for k, text in enumerate(letters)
    ]
    folder = write_corpus(train=rows)
    Corpus.open(folder)  # unpacked by this process, mapped by the other
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        total, growth_kib = pool.submit(read_all, folder).result()
    assert total == 16_000_000
    assert growth_kib < 6000
