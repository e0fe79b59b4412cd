"""The heads that ship: what they said of the examples when they were made, they say today."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from stemloop.tasks.labels import Labeller
from stemloop.tasks.splice_genome import scan

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
COMMANDS = {
    "ncrna-class": ("classify", "rnas.fa"),
    "splice": ("splice", "windows.fa"),
    "ribosome-load": ("ribosome-load", "leaders.fa"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_get_what_they_got(cli, name: str, tmp_path: Path) -> None:
    command, file = COMMANDS[name]
    done = cli(command, ROOT / "examples" / file, "-o", tmp_path / "out.tsv")
    assert done.code == 0, done.err
    with (tmp_path / "out.tsv").open() as found, (GOLDEN / f"{name}.tsv").open() as known:
        rows = list(csv.DictReader(found, delimiter="\t"))
        expected = list(csv.DictReader(known, delimiter="\t"))
    assert len(rows) == len(expected) > 0
    for row, wanted in zip(rows, expected, strict=True):
        assert row.keys() == wanted.keys()
        for column, text in wanted.items():
            try:
                number = float(text)
            except ValueError:
                assert row[column] == text
            else:
                assert float(row[column]) == pytest.approx(number, abs=1e-3)


def test_what_a_biologist_expects_of_made_up_windows() -> None:
    labeller = Labeller.load("splice")
    assert {label.split()[0] for label in labeller.meaning.labels} == {
        "arabidopsis", "worm", "fly"
    }  # fmt: skip
    found = list(scan(labeller, ROOT / "examples" / "contig.fa", species="worm", threshold=0.5))
    sites = {(site.start, site.strand, site.kind) for site in found}
    # The two introns that were written into the contig, one on either strand.
    assert {(420, "+", "donor"), (522, "+", "acceptor")} <= sites
    assert {(1066, "-", "donor"), (964, "-", "acceptor")} <= sites


def test_a_start_codon_out_of_frame_costs_load() -> None:
    from stemloop.formats.fasta import read_sequences

    labeller = Labeller.load("ribosome-load")
    records = list(read_sequences(ROOT / "examples" / "leaders.fa"))
    load = dict(zip((r.id for r in records), labeller.outputs(records)[:, 0], strict=True))
    assert load["uaug_out_of_frame"] < load["open"] - 1
    assert load["uaug_in_frame"] > load["uaug_out_of_frame"]
    assert load["hairpin"] < load["open"]
