"""The whole build against a plain in-memory one; hold-outs, resumption, refusals."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stemloop.data import corpus_build, corpus_store
from stemloop.data.corpus import Corpus
from stemloop.data.corpus_build import build_corpus
from stemloop.data.corpus_clean import BuildOptions
from stemloop.data.corpus_sources import Sources
from stemloop.data.rna_types import family_type
from stemloop.errors import InputError, OutputError, OutputExistsError, UsageError

needs_mmseqs = pytest.mark.skipif(shutil.which("mmseqs") is None, reason="mmseqs is not installed")
NONE = BuildOptions(clusterer="none", shard_size=150)
SPLITS = ("train", "validation_clusters", "validation_families")


def rna(draw: random.Random, length: int) -> str:
    return "".join(draw.choices("ACGU", k=length))


def mutated(draw: random.Random, sequence: str, share: float) -> str:
    return "".join(draw.choice("ACGU") if draw.random() < share else c for c in sequence)


def write_fasta(path: Path, records: list[tuple[str, str]]) -> None:
    path.write_text("".join(f">{header}\n{sequence}\n" for header, sequence in records))


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Three sources: families, a collection that repeats some of them, and dirt."""
    draw = random.Random(7)
    folder = tmp_path / "in"
    folder.mkdir()
    lines, repeated = [], []
    for number in range(1, 31):
        family = f"RF{number:05d}"
        seed = rna(draw, 90)
        lines.append(f"# STOCKHOLM 1.0\n#=GF AC {family}\n#=GF TP Gene; sRNA;")
        for member in range(2 + number % 8):
            sequence = mutated(draw, seed, 0.05)
            lines.append(f"{family}-{member} {sequence[:40]}--{sequence[40:]}..")
            if member == 0:
                repeated.append((f"copy-{family}", sequence.replace("U", "t").lower()))
        lines.append("//")
    (folder / "families.sto").write_text("\n".join(lines) + "\n")
    loose = [(f"URS{k:010X} tRNA from 2 species", rna(draw, draw.randint(20, 300)))
             for k in range(400)]  # fmt: skip
    dirt = [
        ("short", "ACGUACGU"),
        ("long", "ACGU" * 3000),
        ("protein", "MKLVINGKTLKGEITVEGAV"),
        ("unclear", "ACGUNNNNNNNNACGUACGUACGU"),
        ("empty", ""),
        ("gaps", "----------------------"),
    ]
    write_fasta(folder / "loose.fa", loose + loose[:50] + dirt + repeated)
    return folder


SOURCES = Sources.model_validate(
    {
        "sources": [
            {"name": "families", "files": ["*.sto"], "licence": "CC0-1.0", "url": "https://x"},
            {"name": "loose", "files": ["*.fa", "*.fa.gz"], "licence": "public domain"},
        ],
        "exclude": [{"files": ["*.secret"], "reason": "secret"}],
    }
)


def rows_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    import pyarrow.parquet as pq

    manifest = json.loads((folder / "manifest.json").read_text())
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for shard in manifest["shards"]:
        table = pq.read_table(folder / shard["file"])
        assert len(table) == shard["rows"]
        digest = hashlib.sha256((folder / shard["file"]).read_bytes()).hexdigest()
        assert digest == shard["sha256"]
        rows[shard["file"].rsplit("-", 3)[0]] += table.to_pylist()
    return rows


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_same_records_as_a_plain_build(inputs: Path, tmp_path: Path) -> None:
    manifest = build_corpus([inputs], tmp_path / "c", SOURCES, NONE)
    expected: dict[str, tuple[str, str]] = {}
    for line in (inputs / "families.sto").read_text().splitlines():
        if line.startswith("RF"):
            name, row = line.split()
            expected.setdefault(row.replace("-", "").replace(".", ""), (name, "families"))
    for entry in (inputs / "loose.fa").read_text()[1:].split("\n>"):
        header, sequence = entry.split("\n", 1)
        text = sequence.strip().upper().replace("T", "U")
        if 16 <= len(text) <= 8192 and set(text) <= set("ACGU"):
            expected.setdefault(text, (header.split()[0], "loose"))
    found = {r["sequence"]: (r["id"], r["source"])
             for rows in rows_of(tmp_path / "c").values() for r in rows}  # fmt: skip
    assert found == expected

    families, loose = manifest["sources"]
    assert loose["dropped"] == {
        "too short": 1, "too long": 1, "not nucleotides": 1, "ambiguous": 1, "empty": 2,
        "duplicate": 80,
    }  # fmt: skip
    assert loose["read"] == 400 + 50 + 6 + 30
    assert loose["kept"] == 400
    assert families["kept"] == families["read"] - families["dropped"].get("duplicate", 0)
    sha = hashlib.sha256((inputs / "loose.fa").read_bytes()).hexdigest()
    assert loose["files"] == [{"file": "loose.fa", "sha256": sha}]
    assert (loose["licence"], families["url"]) == ("public domain", "https://x")


def test_rows_counts_and_order(inputs: Path, tmp_path: Path) -> None:
    manifest = build_corpus([inputs], tmp_path / "c", SOURCES, NONE)
    rows = rows_of(tmp_path / "c")
    clusters: set[int] = set()
    for split in SPLITS:
        keys = [(r["cluster"], r["id"]) for r in rows[split]]
        assert keys == sorted(keys)
        counts = manifest["counts"][split]
        assert counts["sequences"] == len(rows[split])
        assert counts["nucleotides"] == sum(r["length"] for r in rows[split])
        assert counts["by_type"] == Counter(r["type"] for r in rows[split])
        assert counts["by_source"] == Counter(r["source"] for r in rows[split])
        assert sum(counts["by_length"].values()) == len(rows[split])
        assert all(r["length"] == len(r["sequence"]) for r in rows[split])
        own = {r["cluster"] for r in rows[split]}
        assert counts["clusters"] == len(own)
        assert clusters.isdisjoint(own)
        clusters |= own
    assert clusters == set(range(len(clusters)))
    sizes = [s["rows"] for s in manifest["shards"] if s["file"].startswith("train")]
    assert set(sizes[:-1]) == {150}
    for name, low in (("16-31", 16), ("64-127", 64)):
        total = sum(low <= r["length"] < 2 * low for rs in rows.values() for r in rs)
        assert total == sum(c["by_length"].get(name, 0) for c in manifest["counts"].values())


def test_held_out_families_are_whole_and_nowhere_else(inputs: Path, tmp_path: Path) -> None:
    options = BuildOptions(clusterer="none", hold_out_families=0.2, hold_out_clusters=0.1)
    manifest = build_corpus([inputs], tmp_path / "c", SOURCES, options)
    rows = rows_of(tmp_path / "c")
    held = set(manifest["held_out"]["families"])
    sizes = Counter(r["family"] for rs in rows.values() for r in rs if r["family"])
    eligible = [family for family, size in sizes.items() if size >= 5]
    assert manifest["held_out"]["families_eligible"] == len(eligible)
    assert len(held) == round(0.2 * len(eligible)) > 0
    assert held <= set(eligible)
    assert {r["family"] for r in rows["validation_families"]} == held
    assert held.isdisjoint(r["family"] for r in rows["train"] + rows["validation_clusters"])
    rest = len({r["cluster"] for split in SPLITS[:2] for r in rows[split]})
    assert len({r["cluster"] for r in rows["validation_clusters"]}) == round(0.1 * rest)


@needs_mmseqs
def test_clusters_join_what_is_similar_and_stay_on_one_side(inputs: Path, tmp_path: Path) -> None:
    options = BuildOptions(hold_out_families=0.2, hold_out_clusters=0.1)
    manifest = build_corpus([inputs], tmp_path / "c", SOURCES, options)
    rows = [r | {"split": split} for split, rs in rows_of(tmp_path / "c").items() for r in rs]
    together: dict[str, set[int]] = {}
    for row in rows:
        if row["family"]:
            together.setdefault(row["family"], set()).add(row["cluster"])
    # Members of a family differ in some 7 % of the positions, loose sequences in 75 %. Clustering
    # in linear time compares few pairs and misses some.
    assert sum(len(c) == 1 for c in together.values()) >= 24
    loose = [r["cluster"] for r in rows if not r["family"]]
    assert len(set(loose)) > 0.99 * len(loose)
    sides: dict[int, set[str]] = {}
    for row in rows:
        sides.setdefault(row["cluster"], set()).add(row["split"])
    assert all(len(s) == 1 for s in sides.values())
    assert manifest["created_with"]["mmseqs"]


@needs_mmseqs
def test_same_bytes_again_and_with_more_threads(inputs: Path, tmp_path: Path) -> None:
    for name, threads in (("a", 1), ("b", 2)):
        build_corpus([inputs], tmp_path / name, SOURCES, threads=threads)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


def test_seed_changes_what_is_held_out(inputs: Path, tmp_path: Path) -> None:
    held = []
    for seed in (0, 0, 1):
        options = BuildOptions(clusterer="none", seed=seed, hold_out_families=0.3)
        manifest = build_corpus([inputs], tmp_path / "c", SOURCES, options, force=True)
        held.append(manifest["held_out"]["families"])
    assert held[0] == held[1] != held[2]


def test_labels_of_copies_are_merged(tmp_path: Path) -> None:
    sequence, other = "ACGUACGUACGUACGUACGU", "GGGGACGUACGUACGUACGU"
    write_fasta(tmp_path / "a.fa", [("plain", sequence), ("URS1 ncRNA from 1 species", other)])
    write_fasta(tmp_path / "b.fa", [("RF00023 tm", sequence), ("URS2 tmRNA from 9 species", other)])
    source = {"licence": "x", "family_pattern": r"^(RF\d{5})"}
    sources = Sources.model_validate(
        {"sources": [{"name": n, "files": [f"{n}.fa"], **source} for n in "ab"]}
    )
    build_corpus([tmp_path], tmp_path / "c", sources, NONE)
    rows = {r["id"]: r for r in rows_of(tmp_path / "c")["train"]}
    assert (rows["plain"]["type"], rows["plain"]["family"]) == ("tmRNA", "RF00023")
    assert (rows["URS1"]["type"], rows["URS1"]["family"]) == ("tmRNA", "")
    assert {r["source"] for r in rows.values()} == {"a"}


def test_part_of_a_source(tmp_path: Path) -> None:
    draw = random.Random(1)
    write_fasta(tmp_path / "x.fa", [(f"r{k}", rna(draw, 40)) for k in range(2000)])

    def kept(seed: int, **keys: object) -> set[str]:
        source = {"name": "x", "files": ["*.fa"], "licence": "x", **keys}
        sources = Sources.model_validate({"sources": [source]})
        options = BuildOptions(clusterer="none", seed=seed)
        build_corpus([tmp_path], tmp_path / "c", sources, options, force=True)
        return {r["id"] for rs in rows_of(tmp_path / "c").values() for r in rs}

    part = kept(0, fraction=0.3)
    assert 520 < len(part) < 680  # 600 expected, four standard deviations
    assert part == kept(0, fraction=0.3) != kept(1, fraction=0.3)
    assert kept(0, max_records=7) == {f"r{k}" for k in range(7)}


def test_reading_through_datasets_and_our_reader(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEMLOOP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    manifest = build_corpus([inputs], tmp_path / "c", SOURCES, NONE)
    corpus = Corpus.open(tmp_path / "c", "train", verify=True)
    assert len(corpus) == manifest["counts"]["train"]["sequences"]
    first = rows_of(tmp_path / "c")["train"][0]
    assert corpus.sequence(0) == first["sequence"]


class Stopped(BaseException):
    """Stands for an interruption at a known place."""


def test_interrupted_anywhere_it_goes_on_to_the_same_bytes(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus_build, "CHECKPOINT", 37)
    monkeypatch.setattr(corpus_store, "RUN", 5000)
    whole = build_corpus([inputs], tmp_path / "whole", SOURCES, NONE)
    calls: list[str] = []
    build_corpus([inputs], tmp_path / "again", SOURCES, NONE,
                 progress=lambda stage, done, total: calls.append(stage))  # fmt: skip
    assert len(set(calls)) == 5
    expected = bytes_of(tmp_path / "whole")
    assert bytes_of(tmp_path / "again") == expected
    reads: list[int] = []
    original = corpus_build.clean

    def counted(*arguments: Any) -> Any:
        reads.append(1)
        if len(reads) == 300:
            raise Stopped
        return original(*arguments)

    monkeypatch.setattr(corpus_build, "clean", counted)
    for stage in dict.fromkeys(calls):

        def stop(name: str, done: int, total: int | None, stage: str = stage) -> None:
            if name == stage:
                raise Stopped

        while True:
            try:
                build_corpus([inputs], tmp_path / "c", SOURCES, NONE, progress=stop)
            except Stopped:
                assert not (tmp_path / "c/manifest.json").exists()
            if len(reads) >= 300:
                break
    assert build_corpus([inputs], tmp_path / "c", SOURCES, NONE) == whole
    assert bytes_of(tmp_path / "c") == expected
    # What was read before the last mark is not cleaned again.
    assert len(reads) < 2 * sum(s["read"] for s in whole["sources"])


def test_other_options_do_not_go_on_with_a_build(inputs: Path, tmp_path: Path) -> None:
    def stop(stage: str, done: int, total: int | None) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        build_corpus([inputs], tmp_path / "c", SOURCES, NONE, progress=stop)
    other = BuildOptions(clusterer="none", min_length=30)
    with pytest.raises(UsageError, match="unfinished build with other options"):
        build_corpus([inputs], tmp_path / "c", SOURCES, other)
    build_corpus([inputs], tmp_path / "c", SOURCES, other, force=True)
    build_corpus([inputs], tmp_path / "d", SOURCES, other)
    assert bytes_of(tmp_path / "c") == bytes_of(tmp_path / "d")


def test_existing_output_is_refused(inputs: Path, tmp_path: Path) -> None:
    build_corpus([inputs], tmp_path / "c", SOURCES, NONE)
    before = bytes_of(tmp_path / "c")
    with pytest.raises(OutputExistsError, match="--force"):
        build_corpus([inputs], tmp_path / "c", SOURCES, NONE)
    assert bytes_of(tmp_path / "c") == before
    small = BuildOptions(clusterer="none", shard_size=1000)
    manifest = build_corpus([inputs], tmp_path / "c", SOURCES, small, force=True)
    names = {"manifest.json", *(s["file"] for s in manifest["shards"])}
    assert set(bytes_of(tmp_path / "c")) == names
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    with pytest.raises(OutputExistsError, match="no corpus"):
        build_corpus([inputs], tmp_path / "other", SOURCES, NONE)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        build_corpus([inputs], tmp_path / "file", SOURCES, NONE)


def test_two_builds_do_not_share_a_folder(inputs: Path, tmp_path: Path) -> None:
    def second(stage: str, done: int, total: int | None) -> None:
        with pytest.raises(OutputError, match="another build is writing it"):
            build_corpus([inputs], tmp_path / "c", SOURCES, NONE)
        raise Stopped

    with pytest.raises(Stopped):
        build_corpus([inputs], tmp_path / "c", SOURCES, NONE, progress=second)


def test_damaged_input_is_fatal(inputs: Path, tmp_path: Path) -> None:
    data = gzip.compress((inputs / "loose.fa").read_bytes())
    (inputs / "cut.fa.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"cut\.fa\.gz.*truncated"):
        build_corpus([inputs], tmp_path / "c", SOURCES, NONE)
    assert not (tmp_path / "c/manifest.json").exists()


def test_nothing_left_is_an_error_with_reasons(tmp_path: Path) -> None:
    write_fasta(tmp_path / "x.fa", [("a", "ACG"), ("b", "NNNNNNNNNNNNNNNNNNNNNN")])
    with pytest.raises(InputError, match=r"no sequence is left; dropped: .*too short 1"):
        build_corpus([tmp_path / "x.fa"], tmp_path / "c", options=NONE)


def test_missing_mmseqs_names_the_commands(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError) as caught:
        build_corpus([inputs], tmp_path / "c", SOURCES)
    for word in ("apt install", "conda install", "brew install", "--clusterer none"):
        assert word in str(caught.value)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_length": 0}, {"min_length": 20, "max_length": 10}, {"max_ambiguous": 1.5},
        {"identity": 0}, {"clusterer": "cd-hit"}, {"shard_size": 0}, {"seed": -1},
    ],
)  # fmt: skip
def test_options_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        BuildOptions(**wrong)


def test_full_disk_says_so_and_the_build_goes_on_later(inputs: Path, tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys\n"
        "from stemloop.data.corpus_build import build_corpus\n"
        "from stemloop.data.corpus_clean import BuildOptions\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "if sys.argv[3] == 'full':\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "build_corpus([sys.argv[1]], sys.argv[2], options=BuildOptions(clusterer='none'))\n"
    )
    call = [sys.executable, "-c", code, str(inputs), str(tmp_path / "c")]
    full = subprocess.run([*call, "full"], capture_output=True, text=True, check=False)
    assert "OutputError" in full.stderr
    assert "make room and call the same command again" in full.stderr
    assert not (tmp_path / "c/manifest.json").exists()
    subprocess.run([*call, "free"], check=True)
    build_corpus([inputs], tmp_path / "d", options=BuildOptions(clusterer="none"))
    assert bytes_of(tmp_path / "c") == bytes_of(tmp_path / "d")


def many(path: Path, count: int) -> None:
    draw = random.Random(0)
    with open(path, "w") as out:
        for k in range(count):
            out.write(f">r{k}\n{rna(draw, 400)}\n")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_records(tmp_path: Path) -> None:
    peaks = []
    for count in (2_000, 60_000):
        many(tmp_path / f"{count}.fa", count)
        code = (
            "import resource, sys\n"
            "from stemloop.data import corpus_store\n"
            "corpus_store.BLOCK = corpus_store.RUN = 1 << 20\n"
            "from stemloop.data.corpus_build import build_corpus\n"
            "from stemloop.data.corpus_clean import BuildOptions\n"
            "build_corpus([sys.argv[1]], sys.argv[2], options=BuildOptions(clusterer='none'))\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        )
        call = [
            sys.executable,
            "-c",
            code,
            str(tmp_path / f"{count}.fa"),
            str(tmp_path / f"{count}"),
        ]
        done = subprocess.run(call, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    # 24 million nucleotides more; one row group of them (4 MB) may be in memory a few times.
    assert peaks[1] - peaks[0] < 40


def test_real_sources_in_part(shared_data: Path, tmp_path: Path) -> None:
    from stemloop.data.corpus_sources import load_sources

    recipe = Path(__file__).resolve().parents[2] / "recipes" / "corpus-open.yaml"
    data = shared_data / "1_pretrain"
    inputs: Iterator[Path] = (
        data / name
        for name in (
            "misc/infernal_testsuite",
            "misc/format_rnacentral_active.100.sample-Max50.fasta.xz",
            "small_rna/RNAlight_gencode.v30.snRNA.txt.xz",
            "lncrna/NCResNet/2s.cerevisiae_long_nc.zip",
        )
    )
    manifest = build_corpus(list(inputs), tmp_path / "c", load_sources(recipe), NONE)
    rows = [r for rs in rows_of(tmp_path / "c").values() for r in rs]
    # The RNAcentral sample has all 28 types.
    assert len({r["type"] for r in rows if r["source"] == "rnacentral"}) == 28
    snrna = [r for r in rows if r["source"] == "gencode-small"]
    assert {r["type"] for r in snrna} == {"snRNA"}
    assert all(family_type(r["family"]) == "snRNA" for r in snrna if r["family"])
    assert {r["type"] for r in rows if r["source"] == "infernal-RNaseP"} == {"RNasePRNA"}
    assert {"snoRNA", "tRNA"} <= {r["type"] for r in rows if r["source"] == "sgd-ncRNA"}
    by_name = {s["name"]: s for s in manifest["sources"]}
    assert by_name["rnacentral"]["read"] == 1400
    assert by_name["gencode-small"]["read"] == 1825
