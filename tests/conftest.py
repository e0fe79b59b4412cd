"""Shared fixtures: one thread, the real data where it is present, a tRNA with its known fold."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pyarrow
import pytest
from hypothesis import settings
from pyarrow import parquet

# A busy machine is no failure.
settings.register_profile("stemloop", deadline=None)
settings.load_profile("stemloop")

#: Yeast tRNA-Phe (unmodified letters) and its cloverleaf.
TRNA_PHE = "GCGGAUUUAGCUCAGUUGGGAGAGCGCCAGACUGAAGAUCUGGAGGUCCUGUGUUCGAUCCACAGAAUUCGCACCA"
TRNA_PHE_FOLD = "(((((((..((((........)))).(((((.......))))).....(((((.......))))))))))))...."


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real data sets; the test is skipped where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("STEMLOOP_DATA", default))
    if not folder.is_dir():
        pytest.skip("real data sets are not present (set STEMLOOP_DATA to their folder)")
    return folder


@pytest.fixture(scope="session")
def trna_phe() -> tuple[str, str]:
    """Yeast tRNA-Phe and its cloverleaf."""
    return TRNA_PHE, TRNA_PHE_FOLD


class Ran(NamedTuple):
    """What a call of the program came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Call the program in this process, as its entry point does: ``cli("fold", path)``."""
    from stemloop.cli.main import run

    def call(*arguments: object, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "argv", ["stemloop", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            run()
        captured = capsys.readouterr()
        return Ran(int(stop.value.code or 0), captured.out, captured.err)

    return call


def hairpin(rng: np.random.Generator, stem: int) -> tuple[str, str]:
    """Random hairpin of ``stem`` pairs between short tails, with its structure."""
    arm = "".join(rng.choice(list("ACGU"), stem, p=[0.3, 0.2, 0.2, 0.3]))
    loop = "".join(rng.choice(list("ACGU"), int(rng.integers(4, 8))))
    tails = ["".join(rng.choice(list("ACGU"), int(n))) for n in rng.integers(3, 6, 2)]
    other = arm[::-1].translate(str.maketrans("ACGU", "UGCA"))
    dots = ["." * len(part) for part in (tails[0], loop, tails[1])]
    return (
        tails[0] + arm + loop + other + tails[1],
        dots[0] + "(" * stem + dots[1] + ")" * stem + dots[2],
    )


TINY_RECIPE = """\
task: structure
name: tiny
batch_size: 4
net: {channels: 4, hidden: 8, helix_layers: 1, dropout: 0.1}
stages:
- name: families
  epochs: 2
  learning_rate: 0.02
  each_fold: false
  sources:
  - {file: families.csv, id: name, family: rfam, type: rfam_type, draw: [{members: 2}]}
- name: archive
  epochs: 2
  learning_rate: 0.02
  sources:
  - {file: ArchiveII.csv.xz, draw: [{type: "tRNA|5s", members: 2}, {members: 1}]}
"""


@pytest.fixture(scope="session")
def tiny_structures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder like that of the structure data: ArchiveII, a table of families, a recipe.

    All RNAs are random hairpins. Two of the families belong to tRNA (RF00005, RF01852).
    """
    folder = tmp_path_factory.mktemp("structures")
    rng = np.random.default_rng(11)
    lines = ["name,sequence,structure,rfam,rfam_type"]
    for k, family in enumerate(("RF00005", "RF01852", "RF90001", "RF90002", "RF90003")):
        kind = "Gene; tRNA" if k < 2 else "Cis-reg; riboswitch"
        for member in range(2):
            lines.append(f"{family}-{member}," + ",".join(hairpin(rng, 6)) + f",{family},{kind}")
    (folder / "families.csv").write_text("\n".join(lines) + "\n")
    lines = ["id,sequence,structure"]
    for family in ("5s", "16s", "23s", "RNaseP", "grp1", "srp", "tRNA", "telomerase", "tmRNA"):
        for member in range(2):
            lines.append(f"{family}_{member}," + ",".join(hairpin(rng, 5)))
    with lzma.open(folder / "ArchiveII.csv.xz", "wt") as handle:
        handle.write("\n".join(lines) + "\n")
    (folder / "tiny.yaml").write_text(TINY_RECIPE)
    return folder


# Synthetic corpora, written as the builder writes them -------------------------------------
WriteCorpus = Callable[..., Path]

SCHEMA = pyarrow.schema(
    {
        "id": pyarrow.string(),
        "sequence": pyarrow.string(),
        "length": pyarrow.int32(),
        "type": pyarrow.string(),
        "family": pyarrow.string(),
        "source": pyarrow.string(),
        "cluster": pyarrow.int64(),
    }
)


def _random_rows(count: int, seed: int = 0, longest: int = 300) -> list[dict[str, Any]]:
    """Records of 20 nucleotides and more in clusters of one to five, types and sources mixed."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    cluster = 0
    while len(rows) < count:
        kind = rng.choice(["tRNA", "rRNA", "lncRNA", ""])
        for _ in range(int(rng.integers(1, 6))):
            sequence = "".join(rng.choice(list("ACGU"), int(rng.integers(20, longest))))
            rows.append(
                {
                    "id": f"r{len(rows):06d}",
                    "sequence": sequence,
                    "length": len(sequence),
                    "type": kind,
                    "family": "RF00005" if kind == "tRNA" else "",
                    "source": str(rng.choice(["rfam", "gencode"])),
                    "cluster": cluster,
                }
            )
        cluster += int(rng.integers(1, 3))
    return rows[:count]


@pytest.fixture
def random_rows() -> Callable[..., list[dict[str, Any]]]:
    """Make records: ``random_rows(count, seed=0, longest=300)``."""
    return _random_rows


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEMLOOP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def write_corpus(tmp_path: Path) -> WriteCorpus:
    """Write rows as a corpus: ``write_corpus(train=rows, validation_clusters=rows, shards=2)``."""

    def write(*, name: str = "corpus", shards: int = 2, **splits: Sequence[dict[str, Any]]) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        entries = []
        for split, rows in splits.items():
            parts = np.array_split(np.arange(len(rows)), shards)
            for k, part in enumerate(parts):
                path = folder / f"{split}-{k:05d}-of-{shards:05d}.parquet"
                table = pyarrow.Table.from_pylist([rows[i] for i in part], schema=SCHEMA)
                parquet.write_table(table, path)
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                entries.append({"file": path.name, "sha256": digest, "rows": len(part)})
        manifest = {"format": 1, "options": {}, "sources": [], "counts": {}, "shards": entries}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return write
