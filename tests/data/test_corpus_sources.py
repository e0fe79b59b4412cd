"""Sources files, and which input files they find."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from stemloop.data.corpus_sources import Sources, list_inputs, load_sources
from stemloop.errors import FormatError, InputError

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "corpus-open.yaml"


def rule(name: str, *files: str, **more: object) -> dict[str, object]:
    return {"name": name, "files": list(files), "licence": "CC0-1.0", **more}


def make(*rules: dict[str, object], exclude: list[dict[str, object]] | None = None) -> Sources:
    return Sources.model_validate({"sources": list(rules), "exclude": exclude or []})


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(">x\nACGU\n")
    return folder


def test_order_is_that_of_the_sources_then_of_the_paths(tmp_path: Path) -> None:
    fill(tmp_path, "a.fa", "z/b.fa.gz", "z/a.fa", "m.sto", "README.md", "deep/x.fa")
    sources = make(rule("second", "z/*"), rule("first", "*.fa", "*.sto"))
    _, files, skipped = list_inputs([tmp_path], sources)
    assert [(f.name, f.rule, f.format) for f in files] == [
        ("z/a.fa", 0, "fasta"),
        ("z/b.fa.gz", 0, "fasta"),
        ("a.fa", 1, "fasta"),
        ("deep/x.fa", 1, "fasta"),
        ("m.sto", 1, "stockholm"),
    ]
    assert [(s.name, s.reason) for s in skipped] == [
        ("README.md", "no source of the sources file names it")
    ]


def test_exclusion_wins_and_its_reason_is_kept(tmp_path: Path) -> None:
    fill(tmp_path, "good.fa", "green/x.fa")
    sources = make(rule("all", "*"), exclude=[{"files": ["green/*"], "reason": "share-alike"}])
    _, files, skipped = list_inputs([tmp_path], sources)
    assert [f.name for f in files] == ["good.fa"]
    assert [(s.name, s.reason) for s in skipped] == [("green/x.fa", "excluded: share-alike")]


def test_a_file_given_twice_is_read_once(tmp_path: Path) -> None:
    fill(tmp_path, "a.fa")
    _, files, _ = list_inputs([tmp_path, tmp_path / "a.fa"], make(rule("all", "*")))
    assert len(files) == 1


def test_without_a_sources_file_every_input_is_a_source(tmp_path: Path) -> None:
    fill(tmp_path, "one/a.fa", "one/b.sto", "one/t.tsv", "one/notes.txt", "two.fa")
    sources, files, skipped = list_inputs([tmp_path / "one", tmp_path / "two.fa"], None)
    assert [(r.name, r.licence) for r in sources.sources] == [
        ("one", "not stated"),
        ("two", "not stated"),
    ]
    assert [(f.name, f.rule) for f in files] == [("a.fa", 0), ("b.sto", 0), ("two.fa", 1)]
    assert sorted(s.name for s in skipped) == ["notes.txt", "t.tsv"]


def test_nothing_understood_is_an_error(tmp_path: Path) -> None:
    fill(tmp_path, "notes.txt", "x.pdf")
    with pytest.raises(InputError, match="nothing in it is understood"):
        list_inputs([tmp_path], None)
    with pytest.raises(InputError, match="no such file or folder"):
        list_inputs([tmp_path / "absent"], None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"licence": None}, "sources.0.licence"),
        ({"colour": "red"}, "sources.0.colour"),
        ({"type": "fooRNA"}, "unknown RNA type 'fooRNA'"),
        ({"types": {"x": "fooRNA"}}, "unknown RNA type 'fooRNA'"),
        ({"type_pattern": "("}, "no regular expression"),
        ({"family_pattern": "RF"}, "has no group"),
        ({"only": "["}, "no regular expression"),
        ({"family": "RF1"}, "sources.0.family"),
        ({"fraction": 0}, "sources.0.fraction"),
        ({"columns": {"sequence": 3, "id": "name"}}, "all names or all numbers"),
        ({"columns": {"sequence": 0}}, "count from 1"),
        ({"name": "two words"}, "sources.0.name"),
        ({"files": []}, "sources.0.files"),
    ],
)
def test_mistakes_in_the_file_are_named(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump({"sources": [rule("x", "*") | change]}))
    with pytest.raises(FormatError, match=message) as caught:
        load_sources(path)
    assert caught.value.path == str(path)


def test_broken_files(tmp_path: Path) -> None:
    path = tmp_path / "sources.yaml"
    with pytest.raises(InputError, match="cannot read"):
        load_sources(path)
    path.write_text("sources: [")
    with pytest.raises(FormatError, match="not valid YAML"):
        load_sources(path)
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(FormatError, match="not valid YAML"):
        load_sources(path)
    path.write_text(yaml.safe_dump({"sources": [rule("x", "*"), rule("x", "*")]}))
    with pytest.raises(FormatError, match="two sources are called 'x'"):
        load_sources(path)


def test_the_open_recipe_states_a_licence_for_everything() -> None:
    sources = load_sources(RECIPE)
    assert len(sources.sources) > 15
    for source in sources.sources:
        assert source.licence
        assert source.url
        assert source.records
        assert "SA" not in source.licence.split("-")
        assert "NC" not in source.licence.split("-")


def test_the_open_recipe_speaks_of_all_sequence_files(shared_data: Path) -> None:
    _, files, skipped = list_inputs([shared_data / "1_pretrain"], load_sources(RECIPE))
    assert len(files) > 30
    silent = {s.name for s in skipped if not s.reason.startswith("excluded: ")}
    # Tables about sequences, without sequences.
    assert silent == {
        "refseq16s/metadata.csv.gz",
        "rfam_14.2/family.txt.xz",
        "rfam_14.2/rfam_families.tsv",
    }
    closed = [f.name for f in files if "greengenes" in f.name or "silva" in f.name.lower()]
    assert closed == []
