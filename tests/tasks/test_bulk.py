"""Shards and their merge: the bytes of a run in one piece; what does not belong is refused."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from stemloop.models.presets import EncoderConfig
from stemloop.models.rinalmo import RiNALMo
from stemloop.tasks.bulk import cut_blocks
from stemloop.weights.store import save_model_dir

Cli = Callable[..., object]


@pytest.fixture(scope="module")
def rnas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """25 random RNAs; identifiers repeat, one header has more than a name."""
    draw = random.Random(3)
    path = tmp_path_factory.mktemp("rnas") / "in.fa"
    with open(path, "w") as out:
        for k in range(25):
            letters = "".join(draw.choices("ACGU", k=draw.randint(12, 60)))
            out.write(f">r{k % 20} number {k}\n{letters}\n")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = EncoderConfig(vocab_size=22, hidden=32, layers=2, heads=2, ffn_inner=64)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    return save_model_dir(folder, config, RiNALMo(config).state_dict())


def shards(cli: Cli, folder: Path, total: int, *command: object) -> list[Path]:
    paths = [folder / f"{k}.part" for k in range(1, total + 1)]
    for k, path in enumerate(paths, 1):
        ran = cli(*command, "--shard", f"{k}/{total}", "-o", path)
        assert ran.code == 0, ran.err
        assert not path.with_name(path.name + ".blocks").exists()
    return paths


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet", ".h5"])
def test_embed(cli: Cli, rnas: Path, model: Path, tmp_path: Path, suffix: str) -> None:
    command = [
        "embed", rnas, "-m", model, "--pool", "mean", "--pool", "tokens", "--pool", "cls",
        "--long", "window", "--max-length", "40", "--token-budget", "100", "--layer", "1",
    ]  # fmt: skip
    assert cli(*command, "-o", tmp_path / f"whole{suffix}").code == 0
    paths = shards(cli, tmp_path / "parts", 3, *command)
    # In any order.
    ran = cli("merge", *reversed(paths), "-o", tmp_path / f"merged{suffix}")
    assert ran.code == 0, ran.err
    whole = (tmp_path / f"whole{suffix}").read_bytes()
    assert (tmp_path / f"merged{suffix}").read_bytes() == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"merged{suffix}", "parts", f"whole{suffix}"
    ]  # fmt: skip


@pytest.mark.parametrize("layout", ["dbn", "ct", "jsonl", "parquet"])
def test_fold(cli: Cli, rnas: Path, tmp_path: Path, layout: str) -> None:
    command = ["fold", rnas, "--model", "turner2004", "-f", layout, "--samples", "2"]
    whole, merged = tmp_path / f"whole.{layout}", tmp_path / f"merged.{layout}"
    assert cli(*command, "-o", whole).code == 0
    shards(cli, tmp_path / "parts", 2, *command)
    ran = cli("merge", tmp_path / "parts", "-o", merged)
    assert ran.code == 0, ran.err
    assert merged.read_bytes() == whole.read_bytes()


def test_fold_with_constraints_and_more_shards_than_rnas(cli: Cli, tmp_path: Path) -> None:
    source = tmp_path / "in.fa"
    source.write_text(">a\nGGGGAAAACCCC&GGG\n....x.......&...\n>b\nGGGAAACCC\n.........\n")
    command = ["fold", source, "--model", "turner2004", "--constraint", "--duplex"]
    whole, merged = tmp_path / "whole.dbn", tmp_path / "merged.dbn"
    assert cli(*command, "-o", whole).code == 0
    shards(cli, tmp_path / "parts", 4, *command)
    assert cli("merge", tmp_path / "parts", "-o", merged).code == 0
    assert merged.read_bytes() == whole.read_bytes()


def test_annotate(cli: Cli, rnas: Path, tmp_path: Path) -> None:
    shards(cli, tmp_path / "parts", 2, "annotate", rnas, "--ribosome-load", "ribosome-load")
    command = ["annotate", rnas, "--ribosome-load", "ribosome-load", "-o"]
    for suffix in (".parquet", ".tsv"):
        whole, merged = tmp_path / f"whole{suffix}", tmp_path / f"merged{suffix}"
        assert cli(*command, whole).code == 0
        ran = cli("merge", tmp_path / "parts", "-o", merged)
        assert ran.code == 0, ran.err
        assert merged.read_bytes() == whole.read_bytes()
    assert cli(*command, tmp_path / "out").code == 0
    assert (tmp_path / "out" / "table.tsv").read_bytes() == whole.read_bytes()


def test_a_folder_and_parquet_are_input_too(cli: Cli, rnas: Path, tmp_path: Path) -> None:
    lines = rnas.read_text().splitlines()
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "a.fa").write_text("\n".join(lines[:20]) + "\n")
    headers = [line[1:].split(None, 1) for line in lines[20::2]]
    table = {
        "id": [h[0] for h in headers],
        "sequence": [s.replace("U", "t") for s in lines[21::2]],
        "description": [h[1] for h in headers],
        "other": list(range(len(headers))),
    }
    parquet.write_table(pa.table(table), folder / "b.parquet")
    for source, target in ((rnas, "one.dbn"), (folder, "two.dbn")):
        ran = cli("fold", source, "--model", "turner2004", "-o", tmp_path / target)
        assert ran.code == 0, ran.err
    assert (tmp_path / "one.dbn").read_bytes() == (tmp_path / "two.dbn").read_bytes()


def test_what_is_wrong_with_parts_is_said(cli: Cli, rnas: Path, tmp_path: Path) -> None:
    command = ["fold", rnas, "--model", "turner2004"]
    one, two = shards(cli, tmp_path / "parts", 2, *command)
    other = tmp_path / "other.part"
    assert cli(*command, "-T", "20", "--shard", "2/2", "-o", other).code == 0
    third = tmp_path / "third.part"
    assert cli(*command, "--shard", "2/3", "-o", third).code == 0
    copy = tmp_path / "copy.part"
    copy.write_bytes(one.read_bytes())
    cut = tmp_path / "cut.part"
    cut.write_bytes(two.read_bytes()[:-10])
    flipped = bytearray(two.read_bytes())
    flipped[60] ^= 1
    wrong = tmp_path / "wrong.part"
    wrong.write_bytes(flipped)
    empty = tmp_path / "empty"
    empty.mkdir()
    target = tmp_path / "out.dbn"
    for parts, code, text in (
        ([one], 2, "missing: shard 2/2"),
        ([one, two, copy], 2, f"shard 1/2 is there twice: {one} and {copy}"),
        ([one, other], 2, "settings is"),
        ([one, third], 2, f"{third} is one of 3 shards, {one} one of 2"),
        ([one, cut], 3, "no part of a run, or not a whole one"),
        ([one, wrong], 3, f"{wrong}: damaged"),
        ([one, rnas], 3, "no part of a run"),
        ([one, tmp_path / "none.part"], 3, "there is no such part"),
        ([empty], 2, "has no files *.part"),
    ):
        ran = cli("merge", *parts, "-o", target)
        assert (ran.code, text in ran.err) == (code, True), ran.err
        assert not target.exists()
    ran = cli("merge", one, two, "-o", tmp_path / "out.parquet")
    assert (ran.code, "--format dbn does not fit" in ran.err) == (2, True)
    target.touch()
    assert cli("merge", one, two, "-o", target).code == 4
    assert cli("merge", one, two, "-o", target, "--force").code == 0
    assert target.stat().st_size


def test_options_that_make_no_sense(cli: Cli, rnas: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.part"
    for words, text in (
        (["fold", rnas, "--shard", "0/2"], "needed is I/N"),
        (["fold", rnas, "--shard", "3/2"], "needed is I/N"),
        (["fold", rnas, "--shard", "two"], "needed is I/N"),
        (["fold", rnas, "--shard", "1/2", "--engine", "ray"], "do not go together"),
        (["fold", rnas, "--shard", "1/2", "--bpp", "x.tsv"], "--bpp does not go with --shard"),
        (["fold", "-", "--shard", "1/2"], "give a file"),
        (["embed", "-", "--shard", "1/2"], "give a file"),
        (["fold", rnas, "--workers", "2"], "--workers goes with --engine"),
        (["annotate", rnas, "--shard", "1/2", "--mutations"], "--mutations does not go with"),
    ):
        ran = cli(*words, "-o", out)
        assert (ran.code, text in ran.err) == (2, True), ran.err
    ran = cli("fold", rnas, "--shard", "1/2")
    assert (ran.code, "standard output does not go with --shard" in ran.err) == (2, True)
    ran = cli("annotate", rnas, "--engine", "ray", "-o", tmp_path / "folder")
    assert (ran.code, "make a table" in ran.err) == (2, True)
    ran = cli("annotate", rnas, "--mutations", "-o", tmp_path / "x.tsv")
    assert (ran.code, "needs a folder" in ran.err) == (2, True)
    assert not any(tmp_path.iterdir())


def test_finished_shards_are_kept_and_killed_ones_go_on(
    cli: Cli, rnas: Path, tmp_path: Path
) -> None:
    source = tmp_path / "long.fa"
    draw = random.Random(0)
    source.write_text(
        "".join(f">{k}\n{''.join(draw.choices('ACGU', k=150))}\n" for k in range(120))
    )
    command = ["fold", str(source), "--model", "turner2004", "--shard", "1/2", "-o"]
    whole, part = tmp_path / "whole.part", tmp_path / "killed.part"
    assert cli(*command, whole).code == 0
    run = subprocess.Popen([sys.executable, "-m", "stemloop.cli.main", *command, str(part)])
    blocks = tmp_path / "killed.part.blocks"
    deadline = time.monotonic() + 200
    while len(list(blocks.glob("*.part"))) < 3:
        assert run.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert not part.exists()
    done = len(list(blocks.glob("*.part")))
    assert 3 <= done < 60
    ran = cli(*command[:2], "-T", "20", *command[2:], part)
    assert (ran.code, "is of another run" in ran.err) == (2, True)
    ran = cli(*command, part)
    assert f"resuming: {done} of 60 blocks are done" in ran.err
    assert part.read_bytes() == whole.read_bytes()
    assert not blocks.exists()
    stamp = part.stat().st_mtime_ns
    ran = cli(*command, part)
    assert (ran.code, "is there already" in ran.err) == (0, True)
    assert part.stat().st_mtime_ns == stamp
    assert cli("fold", rnas, "--shard", "1/2", "-o", part).code == 4


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=400), st.integers(1, 5000))
def test_blocks_hold_every_unit_once(costs: list[int], cap: int) -> None:
    cuts = cut_blocks(np.array(costs), cap)
    assert cuts[0] == 0
    assert cuts[-1] == len(costs)
    assert all(a < b for a, b in zip(cuts, cuts[1:], strict=False))
