"""Protocols: who is tested, what stays out of training, and that nothing leaks."""

from __future__ import annotations

import csv
import json
import lzma
import shutil
from pathlib import Path

import numpy as np
import pytest

from stemloop.data.structure_splits import deal, rfam_clans, rfam_groups
from stemloop.data.structures import (
    ARCHIVEII_CLASSES,
    LabelledStructure,
    class_families,
    read_labelled,
)
from stemloop.errors import FormatError, InputError, UsageError
from stemloop.evaluation import benchmark, protocols
from stemloop.evaluation.calibration import Calibration
from stemloop.evaluation.leakage import examine, training_rnas
from stemloop.evaluation.protocols import (
    PROTOCOLS,
    Split,
    narrowed,
    of_all,
    sampled,
    with_homologs,
)
from stemloop.folding.crf import load_crf
from stemloop.records import SequenceRecord, Structure
from stemloop.tasks.structure_settings import FoldSettings
from stemloop.training.recipes import StructureRecipe, load_recipe

needs_mmseqs = pytest.mark.skipif(shutil.which("mmseqs") is None, reason="mmseqs is not installed")


def hairpin(rng: np.random.Generator, stem: int = 8, loop: int = 12) -> tuple[str, str]:
    arm = "".join(rng.choice(list("ACGU"), stem))
    middle = "".join(rng.choice(list("ACGU"), loop))
    other = arm[::-1].translate(str.maketrans("ACGU", "UGCA"))
    return arm + middle + other, "(" * stem + "." * loop + ")" * stem


#: Family, clan or class mates: telomerases (a class), RF00050 alone, two SAM riboswitches (a clan).
FAMILIES = {
    "RF00024": "Gene;", "RF00025": "Gene;", "RF00050": "Cis-reg; riboswitch;",
    "RF00162": "Cis-reg; riboswitch;", "RF00634": "Cis-reg; riboswitch;",
    "RF00066": "Gene; snRNA;", "RF00170": "Gene; sRNA;", "RF00177": "Gene; rRNA;",
}  # fmt: skip


@pytest.fixture(scope="session")
def folder(tiny_structures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny structure data with the files of all protocols, and a recipe that reads them."""
    folder = tmp_path_factory.mktemp("protocols")
    shutil.copy(tiny_structures / "ArchiveII.csv.xz", folder)
    archive = read_labelled(folder / "ArchiveII.csv.xz")
    names = [item.structure.record.id for item in archive]
    lines = ["fold,partition,id,min_train_dist"]
    for fold in range(3):
        for k, name in enumerate(names):
            lines.append(f"{fold},{'test' if k % 3 == fold else 'train'},{name},0.0")
    with lzma.open(folder / protocols.ARCHIVEII_FOLDS, "wt") as handle:
        handle.write("\n".join(lines) + "\n")
    rng = np.random.default_rng(3)
    (folder / "derived").mkdir()
    lines = ["name,rfam,rfam_type,sequence,structure"]
    for family, kind in FAMILIES.items():
        lines += [f"r{k},{family},{kind},{','.join(hairpin(rng))}" for k in range(2)]
    # A sequence of ArchiveII is in the table of families, too.
    twin = archive[0].structure
    lines.append(f"twin,RF00066,Gene; snRNA;,{twin.record.sequence},{twin.dot_bracket}")
    lines.append(
        "flat,RF00059,Cis-reg; riboswitch;,ACGUACGUACGUACGUACGUACGU,........................"
    )
    with lzma.open(folder / protocols.RFAM_FILE, "wt") as handle:
        handle.write("\n".join(lines) + "\n")
    lines = ["id,partition,sequence,structure,structure_source,rfam,rfam_type"]
    known = [hairpin(rng) for _ in range(4)]
    for k, (part, source) in enumerate(
        (("TS0", "x (original bpRNA)"), ("TS0", "Rfam SS_cons"), ("TR0", "x (original bpRNA)"),
         ("TS0", "y (original bpRNA)"))
    ):  # fmt: skip
        lines.append(f"bpRNA_RFAM_{k},{part},{','.join(known[k])},{source},RF00001,Gene")
    with lzma.open(folder / protocols.BPRNA_FILE, "wt") as handle:
        handle.write("\n".join(lines) + "\n")
    text = (tiny_structures / "tiny.yaml").read_text()
    text = text.replace("families.csv", protocols.RFAM_FILE).replace("epochs: 2", "epochs: 1")
    (folder / "tiny.yaml").write_text(text)
    return folder


@pytest.fixture(scope="session")
def recipe(folder: Path) -> StructureRecipe:
    return load_recipe(folder / "tiny.yaml")


def test_random_folds_test_every_rna_once(folder: Path) -> None:
    splits = PROTOCOLS["archiveii-random"].splits(folder)
    tested = [item.structure.record.id for split in splits for item in split.test]
    archive = [x.structure.record.id for x in protocols.read_archiveii(folder)]
    assert sorted(tested) == sorted(archive)
    assert [len(split.test) for split in splits] == [6, 6, 6]
    for split in splits:
        assert split.without == {item.sequence for item in split.test}


def test_random_folds_train_on_families_but_on_no_test_rna(
    folder: Path, recipe: StructureRecipe, tmp_path: Path
) -> None:
    protocol = PROTOCOLS["archiveii-random"]
    splits = protocol.splits(folder)
    models = benchmark.train_splits(
        protocol, splits[:2], recipe, folder, tmp_path, shared=of_all(splits)
    )
    assert list(models) == ["fold0", "fold1"]
    assert {path.name for path in tmp_path.iterdir()} == {"shared", "fold0", "fold1"}
    for split in splits[:2]:
        copied = tmp_path / split.name / "data"
        kept = read_labelled(copied / protocols.ARCHIVEII_FILE)
        assert len(kept) == 12
        assert not split.without & {item.sequence for item in kept}
        card = json.loads((models[split.name] / "config.json").read_text())["card"]
        assert (card["protocol"], card["split"]) == ("archiveii-random", split.name)
        assert card["sequences_left_out"] == len(split.without)
    # What is trained once has seen no RNA of ArchiveII: the twin among the families left, too.
    everything = {item.sequence for item in protocols.read_archiveii(folder)}
    shared = read_labelled(tmp_path / "shared" / "data" / protocols.RFAM_FILE, id="name")
    assert len(shared) == 2 * len(FAMILIES) + 1
    assert not everything & {item.sequence for item in shared}
    one, other = (load_crf(path).energies("GGGAUACGAAACGUAUCCC") for path in models.values())
    assert not np.array_equal(one[0], other[0])
    # Called again it trains nothing; of another split it refuses to go on.
    steps: list[str] = []
    again = benchmark.train_splits(
        protocol, splits[:1], recipe, folder, tmp_path, shared=of_all(splits),
        report=lambda name, _: steps.append(name),
    )  # fmt: skip
    assert (again["fold0"], steps) == (models["fold0"], [])
    moved = [Split("fold0", splits[1].test, without=splits[1].without)]
    with pytest.raises(UsageError, match="belongs to another split"):
        benchmark.train_splits(protocol, moved, recipe, folder, tmp_path, shared=of_all(splits))


def test_a_copy_of_the_data_that_was_cut_off_is_made_anew(
    folder: Path, recipe: StructureRecipe, tmp_path: Path
) -> None:
    left_out = frozenset(x.sequence for x in protocols.read_archiveii(folder)[:5])
    copy = benchmark.without_sequences(recipe, folder, tmp_path / "data", left_out)
    whole = (copy / protocols.ARCHIVEII_FILE).read_bytes()
    # As after a kill: half a file, and no note that the copy is complete.
    (copy / "left_out.json").unlink()
    (copy / protocols.ARCHIVEII_FILE).write_bytes(whole[:50])
    assert benchmark.without_sequences(recipe, folder, tmp_path / "data", left_out) == copy
    assert (copy / protocols.ARCHIVEII_FILE).read_bytes() == whole
    assert len(read_labelled(copy / protocols.ARCHIVEII_FILE)) == 13
    # Nothing to leave out: no copy.
    assert benchmark.without_sequences(recipe, folder, tmp_path / "no", frozenset()) == folder
    assert not (tmp_path / "no").exists()
    with pytest.raises(InputError, match="no such data file"):
        benchmark.without_sequences(recipe, tmp_path / "none", tmp_path / "c", left_out)


def test_clans_and_classes_stay_together(folder: Path) -> None:
    splits = PROTOCOLS["rfam-clans"].splits(folder)
    assert 2 <= len(splits) <= protocols.CLAN_FOLDS
    fold_of = {item.kind: split.name for split in splits for item in split.test}
    assert set(fold_of) == set(FAMILIES)  # one RNA each; RF00059 has no structure to test
    clans = rfam_clans()
    for split in splits:
        others = {f for other in splits if other is not split for f in other.hold_out.rfam}
        mine = {item.kind for item in split.test}
        assert mine <= split.hold_out.rfam
        assert not {clans[f] for f in mine if f in clans} & {
            clans[f] for f in fold_of if fold_of[f] != split.name and f in clans
        }
        assert not mine & others
    assert fold_of["RF00162"] == fold_of["RF00634"]  # SAM clan
    assert fold_of["RF00024"] == fold_of["RF00025"]  # both telomerase
    (telomerase,) = (s for s in splits if "RF00024" in s.hold_out.rfam)
    assert "telomerase" in telomerase.hold_out.classes
    assert class_families()["telomerase"] <= telomerase.hold_out.rfam
    (item,) = (x for s in splits for x in s.test if x.kind == "RF00066")
    assert (item.family, item.structure.record.id) == ("snRNA", "RF00066/r0")


def test_groups_and_folds() -> None:
    groups = rfam_groups(["RF00162", "RF90001", "RF00634", "RF00177", "RF00028"])
    # Small subunit rRNA and group I introns leave together, as their ArchiveII classes do.
    assert groups == [["RF00028", "RF00177"], ["RF00162", "RF00634"], ["RF90001"]]
    many = [[f"g{k}.{n}" for n in range(1 + k % 3)] for k in range(60)]
    folds = deal(many, 5, seed=1)
    assert sorted(x for fold in folds for x in fold) == sorted(x for g in many for x in g)
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    assert all(sum(g[0] in fold for fold in folds) == 1 for g in many)
    assert all(any(set(g) <= set(fold) for fold in folds) for g in many)
    assert deal(many, 5, seed=1) == folds != deal(many, 5, seed=2)


def test_ts0_is_what_has_its_original_structure(folder: Path) -> None:
    (split,) = PROTOCOLS["bprna-ts0"].splits(folder)
    assert [x.structure.record.id for x in split.test] == ["bpRNA_RFAM_0", "bpRNA_RFAM_3"]
    assert split.hold_out.sequences == tuple(x.sequence for x in split.test)


@pytest.mark.parametrize("name", ["rfam-clans", "bprna-ts0"])
def test_every_protocol_runs_from_training_to_scores(
    folder: Path, recipe: StructureRecipe, tmp_path: Path, name: str
) -> None:
    protocol = PROTOCOLS[name]
    splits = protocol.splits(folder)[:2]
    models = benchmark.train_splits(protocol, splits, recipe, folder, tmp_path)
    calibration = Calibration()
    table = benchmark.evaluate_splits(splits, models, calibration=calibration)
    assert len(table.rows) == sum(len(split.test) for split in splits)
    bases = calibration.summary()["bases"]
    assert sum(row["count"] for row in bases["bins"]) == sum(row.length for row in table.rows)
    fixed = benchmark.evaluate_splits(splits, None, FoldSettings(model="turner2004"))
    assert {row.id for row in fixed.rows} == {row.id for row in table.rows}


@needs_mmseqs
@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_splits_share_no_family_and_no_near_copy(
    folder: Path, recipe: StructureRecipe, name: str
) -> None:
    splits = PROTOCOLS[name].splits(folder)
    summary, rows = examine(PROTOCOLS[name], splits, recipe, folder)
    assert len(rows) == sum(len(split.test) for split in splits)
    assert [entry["split"] for entry in summary["splits"]] == [split.name for split in splits]
    for entry in summary["splits"]:
        assert entry["sequences_shared"] == entry["near_copies"] == 0
        if name != "archiveii-random":
            assert entry["families_shared"] == []


@needs_mmseqs
def test_leaks_are_found(folder: Path, recipe: StructureRecipe) -> None:
    """A split that holds nothing out shares all there is to share."""
    (good,) = narrowed(PROTOCOLS["archiveii-family-fold"].splits(folder), ["tRNA"])
    near = list(good.test[0].sequence)
    near[4] = "A" if near[4] != "A" else "C"
    copy = Structure(SequenceRecord("copy", "".join(near)), good.test[0].structure.pairs)
    bad = Split("bad", (*good.test, LabelledStructure(copy, "tRNA")))
    summary, rows = examine(PROTOCOLS["archiveii-family-fold"], [bad], recipe, folder)
    (entry,) = summary["splits"]
    assert entry["families_shared"] == ["tRNA"]
    assert entry["sequences_shared"] == 2
    assert entry["near_copies"] == 3
    assert rows[2]["nearest"] == good.test[0].structure.record.id
    assert rows[2]["identity"] > 0.9
    assert entry["similarity"]["quantile_1.0"] == 1.0


def test_what_is_left_to_train_on(folder: Path, recipe: StructureRecipe) -> None:
    (split,) = narrowed(PROTOCOLS["archiveii-family-fold"].splits(folder), ["telomerase"])
    families = {item.family for item in training_rnas(recipe, folder, split)}
    assert families == set(FAMILIES) - {"RF00024", "RF00025"} | set(ARCHIVEII_CLASSES) - {
        "telomerase"
    }


def test_samples_of_splits(folder: Path) -> None:
    (split,) = narrowed(PROTOCOLS["archiveii-random"].splits(folder), ["fold1"])
    few = sampled(split, 2)
    assert len(few.test) == 2
    assert all(any(item is other for other in split.test) for item in few.test)
    assert (few.without, few.hold_out) == (split.without, split.hold_out)
    assert sampled(split, 2).test == few.test
    assert sampled(split, 100) is split
    with pytest.raises(UsageError, match="no split 'fold9'; known: fold0, fold1, fold2"):
        narrowed(PROTOCOLS["archiveii-random"].splits(folder), ["fold9"])


def test_homologs_of_splits(folder: Path) -> None:
    splits = PROTOCOLS["archiveii-random"].splits(folder)
    known = with_homologs(splits, "known")
    sequences = with_homologs(splits, "sequences")
    for split, one, other in zip(splits, known, sequences, strict=True):
        tested = {item.sequence for item in split.test}
        assert len(one.homologs) == sum(
            item.sequence not in tested for s in splits if s is not split for item in s.test
        )
        assert not tested & {homolog.sequence for homolog in one.homologs}
        assert all(homolog.pairs is not None for homolog in one.homologs)
        # Nothing of a test RNA but its sequence is given away.
        assert {homolog.sequence for homolog in other.homologs} == tested
        assert all(homolog.pairs is None for homolog in other.homologs)
        assert (one.test, one.without) == (split.test, split.without)


def test_scores_with_homologs(cli, folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    command = (
        "evaluate", "structure", "--protocol", "archiveii-random", "--model", "turner2004",
        "--data", folder, "--split", "fold1", "--sample", 3, "-o", report,
    )  # fmt: skip
    for kind in ("known", "sequences"):
        ran = cli(*command, "--homologs", kind, "--force")
        assert ran.code == 0, ran.err
        assert json.loads(report.read_text())["homologs"] == kind
    assert cli(*command, "--homologs", "some.fa", "--force").code == 2


def test_broken_lists_of_folds(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / protocols.ARCHIVEII_FILE, tmp_path)
    path = tmp_path / protocols.ARCHIVEII_FOLDS
    for text, error, message in (
        ("fold,id\n0,a\n", FormatError, "no column 'partition'"),
        ("fold,partition,id\n0,test,5s_0\n1,test,5s_0\n", InputError, "tested in folds 0 and 1"),
        ("fold,partition,id\n0,test,nobody\n", InputError, "'nobody': not in ArchiveII"),
        ("fold,partition,id\n0,train,5s_0\n", InputError, "no row of the partition 'test'"),
    ):
        with lzma.open(path, "wt") as handle:
            handle.write(text)
        with pytest.raises(error, match=message):
            PROTOCOLS["archiveii-random"].splits(tmp_path)


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_missing_files_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"\.csv\.xz: no such data file"):
        PROTOCOLS[name].splits(tmp_path)


def test_the_real_splits(shared_data: Path) -> None:
    folder = shared_data / "2_secstruct"
    random = PROTOCOLS["archiveii-random"].splits(folder)
    assert [len(split.test) for split in random] == [773, 772, 773, 773, 773]
    assert len(PROTOCOLS["bprna-ts0"].splits(folder)[0].test) == 573
    families = PROTOCOLS["archiveii-family-fold"].splits(folder)
    assert sum(len(split.test) for split in families) == 3864


@needs_mmseqs
def test_the_command_writes_both_files(cli, folder: Path, tmp_path: Path) -> None:
    report, hits = tmp_path / "r.json", tmp_path / "h.csv"
    command = (
        "evaluate", "leakage", "archiveii-random", "--recipe", folder / "tiny.yaml",
        "--data", folder, "--split", "fold2", "--sample", 4, "-o", report, "--hits", hits,
    )  # fmt: skip
    ran = cli(*command)
    assert ran.code == 0, ran.err
    assert ran.out.startswith("fold2: 4 tested, 2")
    (entry,) = json.loads(report.read_text())["splits"]
    assert entry["tested"] == 4
    rows = list(csv.DictReader(hits.read_text().splitlines()))
    assert len(rows) == 4
    assert set(rows[0]) >= {"id", "nearest", "identity", "query_coverage", "target_coverage"}
    assert cli(*command).code == 4
