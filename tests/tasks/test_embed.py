"""Embeddings: batch independence, windows, pools and layers, files, resuming, lack of memory."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import stemloop
from stemloop.errors import (
    AlphabetError,
    ExtraError,
    FormatError,
    InputError,
    OutputError,
    OutputExistsError,
    UsageError,
    WeightsError,
)
from stemloop.models.presets import EncoderConfig
from stemloop.models.rinalmo import RiNALMo
from stemloop.records import SequenceRecord
from stemloop.tasks import embed_file as embed_file_module
from stemloop.tasks import embed_writers
from stemloop.tasks.base import plan_batches, plan_pieces, windows
from stemloop.tasks.embed import Embedder, embed
from stemloop.tasks.embed_file import embed_file
from stemloop.weights.store import Model, load, save_model_dir

CONFIG = EncoderConfig(
    vocab_size=22, hidden=48, layers=3, heads=4, ffn_inner=64, max_length=102
)  # 100 nt and the specials


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    return save_model_dir(folder, CONFIG, RiNALMo(CONFIG).state_dict())


@pytest.fixture(scope="module")
def model(path: Path) -> Model:
    return load(path)


def rna(seed: int, count: int, longest: int = 100) -> list[str]:
    draw = random.Random(seed)
    return [
        "".join(draw.choice("ACGUN") for _ in range(draw.randint(1, longest))) for _ in range(count)
    ]


def fasta(folder: Path, sequences: list[str], name: str = "in.fa") -> Path:
    file = folder / name
    file.write_text("".join(f">s{i}\n{s}\n" for i, s in enumerate(sequences)))
    return file


def test_against_the_encoder_itself(model: Model) -> None:
    sequences = ["GGAAACC", "ACGUN"]
    results = embed(sequences, model, pool=["mean", "cls", "tokens"], layers=[-1, 0, 2])
    tokens, starts = model.alphabet.encode_many(sequences)
    with torch.inference_mode():
        out = model.encoder(
            torch.from_numpy(tokens.astype(np.int64)),
            torch.from_numpy(starts),
            hidden_layers=[0, 2],
        )
    for result, first, last in zip(results, starts, starts[1:], strict=False):
        for layer, stream in ((-1, out.representation), (0, out.hidden[0]), (2, out.hidden[2])):
            rows = stream[first:last].numpy()
            arrays = result.arrays
            np.testing.assert_allclose(arrays[f"tokens.layer{layer}"], rows[1:-1], atol=1e-6)
            np.testing.assert_allclose(arrays[f"cls.layer{layer}"], rows[0], atol=1e-6)
            expected = rows[1:-1].mean(axis=0)
            np.testing.assert_allclose(arrays[f"mean.layer{layer}"], expected, atol=1e-6)
            assert arrays[f"tokens.layer{layer}"].dtype == np.float32
    assert [r.record.sequence for r in results] == sequences


def test_an_embedding_does_not_depend_on_its_batch(model: Model) -> None:
    sequences = rna(1, 40)
    pools = ["mean", "cls", "tokens"]
    among = embed(sequences, model, pool=pools, token_budget=700)
    for sequence, result in zip(sequences, among, strict=True):
        (alone,) = embed([sequence], model, pool=pools)
        for pool in pools:
            np.testing.assert_allclose(
                alone.arrays[pool], result.arrays[pool], rtol=0, atol=1e-5
            )  # fmt: skip
    shuffled = embed(sequences[::-1], model, pool=pools)
    for a, b in zip(among, shuffled[::-1], strict=True):
        np.testing.assert_allclose(a.arrays["mean"], b.arrays["mean"], rtol=0, atol=1e-5)


def test_input_forms(model: Model, path: Path, tmp_path: Path) -> None:
    file = fasta(tmp_path, ["GGAAACC", "acgt"])
    packed = tmp_path / "in.fq.gz"
    packed.write_bytes(gzip.compress(b"@s0\nGGAAACC\n+\nIIIIIII\n@s1\nACGU\n+\nIIII\n"))
    records = [SequenceRecord("s0", "GGAAACC"), SequenceRecord("s1", "ACGU", index=1)]
    forms: list[Any] = [
        file, str(file), packed, records, ["GGAAACC", "ACGU"], io.BytesIO(file.read_bytes())
    ]  # fmt: skip
    expected = embed(file, path)
    assert [r.record.id for r in expected] == ["s0", "s1"]
    for form in forms:
        for a, b in zip(embed(form, model), expected, strict=True):
            np.testing.assert_array_equal(a.arrays["mean"], b.arrays["mean"])
            assert a.record.sequence == b.record.sequence


def test_public_name() -> None:
    assert stemloop.embed is embed


def test_duplicate_and_hostile_ids(path: Path, tmp_path: Path) -> None:
    names = ["a", "a", "../../x", "metadata", "id", "mean", "x" * 300, "é", "a\tb", ""]
    records = [SequenceRecord(name, "ACGU" * (i + 1), index=i) for i, name in enumerate(names)]
    embed_file(records, tmp_path / "o.npz", path)
    content = np.load(tmp_path / "o.npz")
    assert content["id"].tolist() == names
    assert content["mean"].shape == (10, 48)
    assert len(np.unique(content["mean"], axis=0)) == 10
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o.npz"]


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_windows_cover_every_position_once(data: st.DataObject) -> None:
    window = data.draw(st.integers(1, 50))
    overlap = data.draw(st.integers(0, window - 1))
    length = data.draw(st.integers(window + 1, 300))
    pieces = windows(length, window, overlap)
    assert pieces[0][0] == 0
    assert pieces[-1][1] == length
    at = 0
    for start, stop, keep_start, keep_stop in pieces:
        assert stop - start == window
        assert keep_start == at
        assert start <= keep_start < keep_stop <= stop
        at = keep_stop
    assert at == length
    for (_, stop, _, _), (start, _, _, _) in zip(pieces, pieces[1:], strict=False):
        assert stop - start >= overlap


def test_long_sequences_are_never_cut_silently(model: Model) -> None:
    with pytest.raises(InputError, match=r"record '2': 101 nt, .* up to 100 \(1 such"):
        embed(["A" * 100, "A" * 101], model)
    (whole,) = embed(["ACGU" * 30], model, pool="tokens", long="allow")
    assert whole.arrays["tokens"].shape == (120, 48)
    assert embed(["A" * 101], model, max_length=101)[0].arrays["mean"].shape == (48,)


def test_windows_are_stitched(model: Model) -> None:
    draw = random.Random(4)
    sequence = "".join(draw.choice("ACGU") for _ in range(230))
    pools = ["tokens", "mean", "cls"]
    among = ["ACGU", sequence, "GG"]
    got = embed(among, model, pool=pools, long="window", overlap=20)[1].arrays
    rows, firsts = [], []
    for start, stop, keep_start, keep_stop in windows(230, 100, 20):
        (piece,) = embed([sequence[start:stop]], model, pool=pools)
        rows.append(piece.arrays["tokens"][keep_start - start : keep_stop - start])
        firsts.append(piece.arrays["cls"])
    expected = np.concatenate(rows)
    assert expected.shape == (230, 48)
    np.testing.assert_allclose(got["tokens"], expected, atol=1e-5)
    np.testing.assert_allclose(got["mean"], expected.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(got["cls"], np.mean(firsts, axis=0), atol=1e-5)


def test_short_sequences_do_not_change_beside_windowed_ones(model: Model) -> None:
    (alone,) = embed(["ACGUACGU"], model)
    among = embed(["ACGUACGU", "ACGU" * 60], model, long="window")[0]
    np.testing.assert_allclose(among.arrays["mean"], alone.arrays["mean"], rtol=0, atol=1e-5)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=60), st.integers(1, 500))
@settings(max_examples=100, deadline=None)
def test_batches_hold_every_piece_once_and_keep_the_budget(lengths: list[int], budget: int) -> None:
    from stemloop.tasks.base import Pieces

    stop = np.array(lengths)
    zero = np.zeros_like(stop)
    pieces = Pieces(np.arange(len(stop)), zero, stop, zero, stop)
    batches = plan_batches(pieces, budget)
    order = np.concatenate(batches)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert (np.diff(stop[order]) <= 0).all()
    assert all((stop[b] + 2).sum() <= budget or len(b) == 1 for b in batches)


def test_bfloat16_is_close(model: Model) -> None:
    sequences = rna(5, 8)
    exact = np.array([r.arrays["mean"] for r in embed(sequences, model)])
    rough = np.array([r.arrays["mean"] for r in embed(sequences, model, dtype="bfloat16")])
    assert rough.dtype == np.float32
    assert 0 < np.abs(exact - rough).max() < 0.1
    assert next(model.encoder.parameters()).dtype == torch.float32  # not changed by the way


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"pool": "max"}, "unknown pool 'max'"),
        ({"pool": []}, "at least one pool"),
        ({"layers": 4}, r"no layer 4: this encoder has 0 \(embedding\) to 3"),
        ({"layers": -5}, "no layer -5"),
        ({"long": "cut"}, "unknown policy 'cut'"),
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"device": "abacus"}, "device 'abacus'"),
        ({"max_length": -1}, "max_length must be positive"),
        ({"long": "window", "window": 101}, "window 101 and overlap 25"),
        ({"long": "window", "overlap": 100}, "window 100 and overlap 100"),
    ],
)
def test_options_that_cannot_be(model: Model, choices: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        embed(["A" * 101], model, **choices)


def test_negative_layers_count_as_in_hidden_states(model: Model) -> None:
    arrays = embed(["ACGU"], model, layers=[-2, 2, -4, 0])[0].arrays
    assert list(arrays) == ["mean.layer2", "mean.layer0"]


def test_bad_input_is_named_before_any_work(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sequences"):
        embed([], model)
    with pytest.raises(InputError, match="record '2': no nucleotides"):
        embed(["A", ""], model)
    with pytest.raises(AlphabetError, match="'E' at position 2"):
        embed(["A", "AE"], model)
    (tmp_path / "empty.fa").touch()
    with pytest.raises(FormatError, match=r"empty\.fa"):
        embed(tmp_path / "empty.fa", model)
    with pytest.raises(WeightsError, match="no model directory"):
        embed(["A"], tmp_path / "absent")


# Lack of memory ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        MemoryError(),
    ],
)
def test_a_batch_that_does_not_fit_is_split(
    model: Model, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    sequences = rna(6, 12)
    pools = ["mean", "tokens"]
    expected = embed(sequences, model, pool=pools)
    forward, sizes = Embedder._forward, []

    def small_memory(self: Embedder, numbers: Any) -> Any:
        sizes.append(len(numbers))
        if len(numbers) > 2:
            raise error
        return forward(self, numbers)

    monkeypatch.setattr(Embedder, "_forward", small_memory)
    got = embed(sequences, model, pool=pools)
    assert max(sizes) == 12
    for a, b in zip(got, expected, strict=True):
        for pool in pools:
            np.testing.assert_allclose(a.arrays[pool], b.arrays[pool], rtol=0, atol=1e-5)


def test_one_sequence_that_does_not_fit(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(self: Embedder, numbers: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Embedder, "_forward", no_memory)
    with pytest.raises(InputError, match="record '1' of 4 nt alone does not fit"):
        embed(["ACGU", "A"], model)


def test_other_errors_are_not_taken_for_it(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Embedder, numbers: Any) -> Any:
        raise RuntimeError("shapes do not agree")

    monkeypatch.setattr(Embedder, "_forward", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        embed(["ACGU", "A"], model)


# Files ---------------------------------------------------------------------------------------


def read_npz(file: Path) -> dict[str, Any]:
    with np.load(file) as content:
        return dict(content)


def read_safetensors(file: Path) -> dict[str, Any]:
    from safetensors import safe_open
    from safetensors.numpy import load_file

    content = load_file(file)
    text, offset = content.pop("id_utf8").tobytes(), content.pop("id_offset")
    content["id"] = [text[a:b].decode() for a, b in zip(offset, offset[1:], strict=False)]
    with safe_open(file, "np") as handle:
        content["metadata"] = handle.metadata()["stemloop"]
    return content


def read_hdf5(file: Path) -> dict[str, Any]:
    h5py = pytest.importorskip("h5py")
    with h5py.File(file) as handle:
        content = {name: handle[name][:] for name in handle}
        content["id"] = handle["id"].asstr()[:]
        content["metadata"] = handle.attrs["metadata"]
    return content


def read_parquet(file: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    content: dict[str, Any] = {"metadata": table.schema.metadata[b"stemloop"].decode()}
    for name in ("id", "length"):
        content[name] = table[name].to_pylist()
    for name in set(table.column_names) - {"id", "length"}:
        rows = [np.array(v, np.float32).reshape(-1, 48) for v in table[name].to_pylist()]
        content[name] = np.concatenate(rows)
        if name.startswith("tokens"):
            content["offset"] = np.cumsum([0, *map(len, rows)])
    return content


READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    ".npz": read_npz,
    ".safetensors": read_safetensors,
    ".h5": read_hdf5,
    ".parquet": read_parquet,
}


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("suffix", READERS)
def test_every_format_holds_the_same(
    suffix: str, long: bool, model: Model, path: Path, tmp_path: Path
) -> None:
    sequences = rna(7, 9, 260 if long else 100)
    source = fasta(tmp_path, sequences)
    choices: dict[str, Any] = {
        "pool": ["mean", "cls", "tokens"], "layers": [-1, 1], "long": "window", "token_budget": 300
    }  # fmt: skip
    target = tmp_path / f"o{suffix}"
    embed_file(source, target, path, **choices)
    content = READERS[suffix](target)
    expected = embed(source, model, **choices)
    assert list(content["id"]) == [r.record.id for r in expected]
    assert list(content["length"]) == [len(s) for s in sequences]
    offset = content["offset"]
    for number, result in enumerate(expected):
        for name, values in result.arrays.items():
            rows = slice(offset[number], offset[number + 1]) if "tokens" in name else number
            np.testing.assert_array_equal(content[name][rows], values)
    facts = json.loads(str(content["metadata"]))
    assert facts["long"] == "window"
    assert facts["records"] == 9
    again = tmp_path / f"p{suffix}"
    embed_file(source, again, path, **choices)
    assert again.read_bytes() == target.read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def test_large_arrays_are_written_in_pieces(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = fasta(tmp_path, rna(8, 20))
    choices: dict[str, Any] = {"pool": ["mean", "tokens"]}
    for suffix, reader in READERS.items():
        embed_file(source, tmp_path / f"a{suffix}", path, **choices)
        with monkeypatch.context() as patch:
            patch.setattr(embed_writers, "_CHUNK", 500)
            embed_file(source, tmp_path / f"b{suffix}", path, **choices)
        a, b = reader(tmp_path / f"a{suffix}"), reader(tmp_path / f"b{suffix}")
        for name in ("mean", "tokens"):
            np.testing.assert_array_equal(a[name], b[name])


def test_existing_output_is_refused_before_anything_is_read(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "o.npz"
    target.write_text("mine")
    with pytest.raises(OutputExistsError, match="--force"):
        embed_file(tmp_path / "absent.fa", target, path)
    assert target.read_text() == "mine"
    embed_file(["ACGU"], target, path, force=True)
    assert np.load(target)["mean"].shape == (1, 48)


def test_unknown_suffix(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must be one of .npz, .safetensors, .parquet, .h5"):
        embed_file(["A"], tmp_path / "o.csv", path)


def test_missing_extra(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ExtraError, match=r"stemloop\[hdf5\]"):
        embed_file(tmp_path / "absent.fa", tmp_path / "o.h5", path)


def test_a_folder_that_cannot_be_written(path: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="absent/o.npz"):
        embed_file(["A"], tmp_path / "absent" / "o.npz", path)


class StopError(Exception):
    """Ends a run from its progress callback."""


def interrupted(source: Path, target: Path, path: Path, after: int, **choices: Any) -> None:
    calls = 0

    def progress(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == after:
            raise StopError

    with pytest.raises(StopError):
        embed_file(source, target, path, progress=progress, **choices)


@pytest.mark.parametrize("suffix", READERS)
def test_resume_gives_the_same_bytes_and_computes_only_the_rest(
    suffix: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = fasta(tmp_path, rna(9, 30, 150))
    choices: dict[str, Any] = {
        "pool": ["mean", "cls", "tokens"], "long": "window", "token_budget": 200
    }  # fmt: skip
    computed: list[int] = []
    batch = Embedder.batch

    def count(self: Embedder, numbers: Any) -> Any:
        computed.extend(numbers.tolist())
        return batch(self, numbers)

    monkeypatch.setattr(Embedder, "batch", count)
    embed_file(source, tmp_path / f"whole{suffix}", path, **choices)
    everything, computed[:] = sorted(computed), []
    target = tmp_path / f"o{suffix}"
    interrupted(source, target, path, 3, **choices)
    interrupted(source, target, path, 5, resume=True, **choices)
    assert not target.exists()
    said: list[str] = []
    embed_file(source, target, path, resume=True, report=said.append, **choices)
    assert sorted(computed) == everything
    assert said[0].startswith("resuming: 5 of ")
    assert target.read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def test_an_unfinished_run_is_neither_lost_nor_mixed_up(path: Path, tmp_path: Path) -> None:
    source, target = fasta(tmp_path, rna(10, 30)), tmp_path / "o.npz"
    interrupted(source, target, path, 2, token_budget=200)
    with pytest.raises(UsageError, match="unfinished run: --resume goes on"):
        embed_file(source, target, path, token_budget=200)
    with pytest.raises(UsageError, match="of another run .*pool was .*cls"):
        embed_file(source, target, path, token_budget=200, resume=True, pool="cls")
    other = fasta(tmp_path, rna(11, 30), "other.fa")
    with pytest.raises(UsageError, match="input_sha256 was"):
        embed_file(other, target, path, token_budget=200, resume=True)
    embed_file(other, target, path, token_budget=200, force=True)
    embed_file(other, tmp_path / "p.npz", path, token_budget=200)
    assert target.read_bytes() == (tmp_path / "p.npz").read_bytes()


def test_resume_without_anything_to_resume(path: Path, tmp_path: Path) -> None:
    embed_file(["ACGU"], tmp_path / "o.npz", path, resume=True)
    (tmp_path / "p.npz.partial").mkdir()  # nothing was finished in it
    embed_file(["ACGU"], tmp_path / "p.npz", path)
    assert (tmp_path / "o.npz").read_bytes() == (tmp_path / "p.npz").read_bytes()


def test_damaged_plan(path: Path, tmp_path: Path) -> None:
    source, target = fasta(tmp_path, rna(12, 30)), tmp_path / "o.npz"
    interrupted(source, target, path, 2, token_budget=200)
    (tmp_path / "o.npz.partial" / "plan.json").write_text("{")
    with pytest.raises(UsageError, match="is damaged"):
        embed_file(source, target, path, token_budget=200, resume=True)


def test_two_processes_on_one_output(path: Path, tmp_path: Path) -> None:
    import fcntl

    (tmp_path / "o.npz.partial").mkdir()
    with open(tmp_path / "o.npz.partial" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="another process"):
            embed_file(["ACGU"], tmp_path / "o.npz", path)


def test_a_full_disk_keeps_what_is_done(path: Path, tmp_path: Path) -> None:
    import resource

    source, target = fasta(tmp_path, rna(13, 60)), tmp_path / "o.npz"
    choices: dict[str, Any] = {"pool": "tokens", "token_budget": 200}
    embed_file(source, tmp_path / "whole.npz", path, **choices)
    interrupted(source, target, path, 3, **choices)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OutputError, match="--resume goes on from there"):
            embed_file(source, target, path, resume=True, **choices)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    embed_file(source, target, path, resume=True, **choices)
    assert target.read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_weights_are_not_loaded_when_nothing_is_left(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = fasta(tmp_path, rna(14, 5)), tmp_path / "o.npz"
    interrupted(source, target, path, 1)
    monkeypatch.setattr(embed_file_module, "place", None)
    embed_file(source, target, path, resume=True)
    assert target.exists()


def test_planning_keeps_the_order_of_records() -> None:
    from stemloop.alphabet import RINALMO
    from stemloop.tasks.base import gather

    sequences = gather(["A" * 5, "A" * 25, "A" * 3], RINALMO)
    pieces = plan_pieces(sequences, limit=10, long="window", window=10, overlap=2)
    assert pieces.record.tolist() == [0, 1, 1, 1, 2]
    assert (pieces.keep_stop - pieces.keep_start)[1:4].sum() == 25
