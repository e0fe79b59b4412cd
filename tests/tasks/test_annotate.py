"""The folder that annotate writes: complete or absent, safe to open, and saying what it should."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from stemloop.alphabet import STEMLOOP
from stemloop.errors import InputError, OutputExistsError, UsageError, WeightsError
from stemloop.models.build import new_encoder
from stemloop.models.presets import EncoderConfig
from stemloop.models.sequence_head import HeadConfig
from stemloop.models.sequence_model import SequenceModel
from stemloop.records import SequenceRecord
from stemloop.tasks import annotate as module
from stemloop.tasks.annotate import AnnotateOptions, annotate
from stemloop.weights.sequence_head import Meaning, save_sequence_model

EVIL = "<script>alert('x')</script>&\"quote\""


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "table.tsv", newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained models: windows of 30 nt, and a number of any sequence."""
    folder = tmp_path_factory.mktemp("heads")
    torch.manual_seed(1)
    config = EncoderConfig(
        vocab_size=len(STEMLOOP), hidden=16, layers=1, heads=2, ffn_inner=24, alphabet="stemloop"
    )
    labels = ("fly donor", "fly acceptor", "fly donor n4")
    for name, head, meaning in (
        ("splice", HeadConfig(width=16, outputs=3, kind="window", window=30),
         Meaning("classify", labels)),
        ("load", HeadConfig(width=16, outputs=1), Meaning("regress", (), 5.0, 1.0)),
    ):  # fmt: skip
        model = SequenceModel(new_encoder(config), STEMLOOP, head)
        save_sequence_model(folder / name, model, meaning)
    return folder


def test_the_folder_holds_all_that_was_asked_for(
    trna_phe, heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [
        SequenceRecord(EVIL, trna_phe[0], "a <b>tRNA</b>", 0),
        SequenceRecord("../../up", "ACGU" * 7 + "AC", "", 1),
        SequenceRecord("long", "ACGGU" * 24, "", 2),
    ]
    options = AnnotateOptions(
        mutations=True, splice=str(heads / "splice"), ribosome_load=str(heads / "load")
    )
    monkeypatch.setattr(module, "LONGEST_DRAWN", 100)
    monkeypatch.setattr(module, "LONGEST_SCANNED", 100)
    annotate(records, tmp_path / "out", options)
    out = tmp_path / "out"
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {"table.tsv", "structures.dbn", "mutations.tsv", "report.html"} <= files
    assert len(list((out / "structures").iterdir())) == 2  # the long one is not drawn
    assert len(list((out / "mutations").iterdir())) == 2
    for picture in out.rglob("*.svg"):
        ElementTree.parse(picture)
    rows = rows_of(out)
    assert [row["id"] for row in rows] == [EVIL, "../../up", "long"]
    assert rows[0]["rna_type"] == rows[0]["ncrna_class"] == "tRNA"
    assert rows[0]["structure"] == trna_phe[1]
    assert [bool(row["site"]) for row in rows] == [False, True, False]
    assert [bool(row["ribosome_load"]) for row in rows] == [True, True, False]
    page = Page((out / "report.html").read_text())
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert any(EVIL in text for text in page.texts)
    sources = [value or "" for name, value in page.attributes if name in ("src", "href")]
    assert all(re.match(r"data:image/svg\+xml;base64,|#rna\d+$", value) for value in sources)
    assert page.tags.count("img") == 4
    assert page.tags.count("section") == 3
    assert not list(tmp_path.glob(".out*"))


def test_nothing_is_left_of_a_run_that_fails(tmp_path: Path) -> None:
    records = [SequenceRecord("a", "GGGAAACCC"), SequenceRecord("b", "", "", 1)]
    with pytest.raises(InputError, match="'b'"):
        annotate(records, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="no sequences"):
        annotate([], tmp_path / "out")


def test_folders_are_replaced_only_if_they_are_its_own(tmp_path: Path) -> None:
    record = SequenceRecord("a", "GGGAAACCC")
    annotate([record], tmp_path / "out")
    before = (tmp_path / "out" / "table.tsv").read_bytes()
    with pytest.raises(OutputExistsError, match="--force"):
        annotate([record], tmp_path / "out")
    annotate([record], tmp_path / "out", force=True)
    assert (tmp_path / "out" / "table.tsv").read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(OutputExistsError, match="not replaced"):
        annotate([record], tmp_path / "mine", force=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_models_for_other_tasks_are_refused(heads: Path, tmp_path: Path) -> None:
    record = SequenceRecord("a", "GGGAAACCC")
    for options in (
        AnnotateOptions(splice=str(heads / "load")),
        AnnotateOptions(ribosome_load=str(heads / "splice")),
        AnnotateOptions(splice=str(heads / "splice"), species="yeast"),
        AnnotateOptions(classes=str(heads / "load")),
    ):
        with pytest.raises(UsageError):
            annotate([record], tmp_path / "out", options)
    with pytest.raises(WeightsError):
        annotate([record], tmp_path / "out", AnnotateOptions(splice=str(tmp_path / "none")))
    assert not (tmp_path / "out").exists()


def test_the_page_shows_no_more_pictures_than_a_browser_likes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stemloop.tasks import annotate_report

    monkeypatch.setattr(annotate_report, "SHOWN", 2)
    annotate([SequenceRecord(f"r{k}", "GGGAAACCC", "", k) for k in range(4)], tmp_path / "out")
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert page.tags.count("section") == 2
    assert page.tags.count("tr") == 5
    hrefs = [value for name, value in page.attributes if name == "href"]
    assert hrefs == ["#rna1", "#rna2"]


def test_the_program_writes_a_folder(cli, tmp_path: Path) -> None:
    fasta = tmp_path / "x.fa"
    fasta.write_text(">a one\nGGGAAACCC\n")
    ran = cli("annotate", fasta, "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    assert "report.html" in ran.err
    text = (tmp_path / "out" / "report.html").read_text()
    assert "prefers-color-scheme" in text
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert cli("annotate", fasta, "-o", tmp_path / "out").code == 4
    assert cli("annotate", fasta, "-o", tmp_path / "new", "--species", "fly").code == 2


def test_answers_are_those_of_the_single_commands(cli, tmp_path: Path) -> None:
    examples = Path(__file__).resolve().parents[2] / "examples"
    for command, name, columns in (
        ("splice", "windows.fa", ("site", "p_donor", "p_acceptor")),
        ("ribosome-load", "leaders.fa", ("ribosome_load",)),
    ):
        ran = cli("annotate", examples / name, "-o", tmp_path / command, f"--{command}", command)
        assert ran.code == 0, ran.err
        ran = cli(command, examples / name)
        alone = list(csv.DictReader(ran.out.splitlines(), delimiter="\t"))
        for row, expected in zip(rows_of(tmp_path / command), alone, strict=True):
            for column in columns:
                if column == "site":
                    assert row[column] == expected[column]
                else:
                    assert float(row[column]) == pytest.approx(float(expected[column]), abs=1e-3)
