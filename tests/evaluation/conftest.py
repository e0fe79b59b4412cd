"""A small corpus whose families fold, written as ``stemloop corpus build`` writes one."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

COMPLEMENT = str.maketrans("ACGU", "UGCA")


class Family:
    """Hairpins with a common loop, common tails and arms that mutate in pairs."""

    def __init__(self, name: str, kind: str, rng: np.random.Generator, share: list[float]) -> None:
        def random(size: int) -> str:
            return "".join(rng.choice(list("ACGU"), size, p=share))

        self.name, self.kind = name, kind
        self.arm, self.loop = random(int(rng.integers(7, 12))), random(int(rng.integers(5, 9)))
        self.tails = random(int(rng.integers(6, 20))), random(int(rng.integers(6, 20)))

    def member(self, rng: np.random.Generator) -> tuple[str, str]:
        """Sequence and structure."""
        arm = "".join(rng.choice(list("ACGU")) if rng.random() < 0.3 else c for c in self.arm)
        parts = [self.tails[0], arm, self.loop, arm[::-1].translate(COMPLEMENT), self.tails[1]]
        for k in (0, 2, 4):
            parts[k] = "".join(
                rng.choice(list("ACGU")) if rng.random() < 0.1 else c for c in parts[k]
            )
        sizes = [len(p) for p in parts]
        dots = ["." * sizes[0], "(" * sizes[1], "." * sizes[2], ")" * sizes[3], "." * sizes[4]]
        return "".join(parts), "".join(dots)


class LmData:
    """Folders of the corpus and of the structure data, and which families are where."""

    def __init__(self, folder: Path) -> None:
        from stemloop.evaluation.lm.run import RFAM_FILE

        self.corpus, self.data = folder / "corpus", folder / "structures"
        self.structures = self.data / RFAM_FILE
        rng = np.random.default_rng(5)
        kinds = {"tRNA": [0.2, 0.3, 0.3, 0.2], "snoRNA": [0.4, 0.1, 0.1, 0.4],
                 "rRNA": [0.25] * 4, "": [0.3, 0.3, 0.2, 0.2]}  # fmt: skip
        families = [
            Family(f"RF9{k:04d}", kind, rng, share)
            for k, (kind, share) in enumerate(list(kinds.items()) * 9)
        ]
        self.held_out = [f.name for f in families[-8:]]
        rows: dict[str, list[dict[str, object]]] = {
            "train": [], "validation_clusters": [], "validation_families": []
        }  # fmt: skip
        table = ["name,rfam,family,rfam_type,sequence,structure"]
        cluster = 0
        for family in families:
            for k in range(24):
                split = "train" if k < 18 else "validation_clusters"
                if family.name in self.held_out:
                    split = "validation_families"
                for copy in range(int(rng.integers(1, 3))):
                    sequence, fold = family.member(rng)
                    name = f"{family.name}/{k}/{copy}"
                    if copy == 0:
                        table.append(f"{name},{family.name},x,{family.kind},{sequence},{fold}")
                    # A member of a held-out family that nobody has labelled.
                    unlabelled = split == "validation_families" and copy == 1
                    rows[split].append(
                        {"id": name, "sequence": sequence, "length": len(sequence),
                         "type": family.kind, "family": "" if unlabelled else family.name,
                         "source": "made up", "cluster": cluster}
                    )  # fmt: skip
                cluster += 1
        self.structures.parent.mkdir(parents=True)
        with lzma.open(self.structures, "wt") as handle:
            handle.write("\n".join(table) + "\n")
        write_corpus(self.corpus, rows)


def write_corpus(folder: Path, splits: dict[str, list[dict[str, object]]]) -> None:
    """Write the shards and the manifest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    schema = pa.schema(
        [(n, pa.string()) for n in ("id", "sequence")]
        + [("length", pa.int32())]
        + [(n, pa.string()) for n in ("type", "family", "source")]
        + [("cluster", pa.int64())]
    )
    shards = []
    for split, rows in splits.items():
        path = folder / f"{split}-00000-of-00001.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema), path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shards.append({"file": path.name, "sha256": digest, "rows": len(rows)})
    manifest = {"format": 1, "created_with": {"stemloop": "0"}, "options": {}, "sources": [],
                "counts": {}, "shards": shards}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="session")
def lm_data(tmp_path_factory: pytest.TempPathFactory) -> LmData:
    """A corpus of 36 families of hairpins, 8 of them held out, and their structures."""
    return LmData(tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True, scope="module")
def _own_cache(_cache: Path) -> Iterator[None]:
    """Corpora are unpacked where the tests' other files are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEMLOOP_CACHE", str(_cache))
        yield


def _save(path: Path, **options: object) -> Path:
    import torch

    from stemloop.models.presets import EncoderConfig
    from stemloop.models.rinalmo import RiNALMo
    from stemloop.weights.store import save_model_dir

    torch.manual_seed(3)
    config = EncoderConfig(hidden=64, layers=2, heads=2, ffn_inner=128, **options)
    save_model_dir(path, config, RiNALMo(config).state_dict())
    return path


@pytest.fixture(scope="session")
def lm_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with random weights that knows the types."""
    return _save(tmp_path_factory.mktemp("model") / "tiny", vocab_size=56, alphabet="stemloop")


@pytest.fixture(scope="session")
def lm_plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of 22 tokens, without types."""
    return _save(tmp_path_factory.mktemp("model") / "plain", vocab_size=22)
