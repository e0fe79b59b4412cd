"""Sliding over a contig, against scoring each window by hand."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from stemloop.alphabet import RINALMO
from stemloop.errors import FormatError, InputError, UsageError
from stemloop.formats.bed import Interval, read_bed
from stemloop.models.letters import Letters
from stemloop.models.sequence_head import HeadConfig
from stemloop.models.sequence_model import SequenceModel
from stemloop.records import SequenceRecord
from stemloop.tasks import splice_genome
from stemloop.tasks.labels import SITES, Labeller, splice_sites
from stemloop.tasks.splice_genome import Site, reverse_complement, scan, write_sites
from stemloop.weights.sequence_head import Meaning

WINDOW = 12
LABELS = ("fly donor", "fly donor n4", "fly acceptor", "fly acceptor n4", "worm donor")


@pytest.fixture(scope="module")
def labeller() -> Labeller:
    """An untrained model of windows of 12."""
    torch.manual_seed(3)
    config = HeadConfig(
        width=4, outputs=len(LABELS), kind="window", window=WINDOW, channels=4, blocks=1, hidden=8
    )
    model = SequenceModel(Letters(), RINALMO, config).eval()
    for p in model.parameters():
        p.data *= 4  # probabilities that differ
    return Labeller(model, Meaning("classify", LABELS))


def contig(length: int, seed: int = 0) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), length))


def by_hand(labeller: Labeller, name: str, text: str, species: str | None = None) -> list[Site]:
    """All sites of a contig: every window of both strands, one by one."""
    say, found = splice_sites(labeller.meaning, species), []
    text = text.upper().replace("T", "U")
    for strand, sequence in (("+", text), ("-", reverse_complement(text))):
        for first in range(len(sequence) - WINDOW + 1):
            window = sequence[first : first + WINDOW]
            middle = window[WINDOW // 2 - 1 : WINDOW // 2 + 1]
            kind = {"GU": "donor", "AG": "acceptor"}.get(middle)
            if kind is None:
                continue
            p = say(labeller.outputs([SequenceRecord("w", window)])[0])[f"p_{kind}"]
            at = first + WINDOW // 2 - 1
            start = at if strand == "+" else len(text) - 2 - at
            found.append(Site(name, start, strand, kind, float(p)))
    return sorted(found, key=lambda s: (s.start, s.strand, s.kind))


def fasta(**contigs: str) -> io.BytesIO:
    return io.BytesIO("".join(f">{k} x\n{v}\n" for k, v in contigs.items()).encode())


def same(found: list[Site], expected: list[Site]) -> None:
    key = [(s.contig, s.start, s.strand, s.kind) for s in found]
    assert key == [(s.contig, s.start, s.strand, s.kind) for s in expected]
    assert [s.probability for s in found] == pytest.approx(
        [s.probability for s in expected], abs=2e-5
    )


@pytest.mark.parametrize("species", [None, "fly"])
def test_every_site_of_both_strands(
    labeller: Labeller, species: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splice_genome, "STRETCH", 37)  # sites on either side of many edges
    monkeypatch.setattr(splice_genome, "BATCH", 5)
    texts = {"c1": contig(300), "c2": contig(90, 1).lower(), "tiny": "ACGT", "c3": contig(12, 2)}
    expected = [s for name, text in texts.items() for s in by_hand(labeller, name, text, species)]
    assert len(expected) > 60
    same(list(scan(labeller, fasta(**texts), species=species, threshold=0.0)), expected)
    some = list(scan(labeller, fasta(**texts), species=species, threshold=0.5))
    same(some, [s for s in expected if s.probability >= 0.5])
    assert 0 < len(some) < len(expected)


def test_intervals_and_their_strand(labeller: Labeller) -> None:
    text = contig(400, 4)
    intervals = [Interval("c", 50, 120), Interval("c", 100, 200, "-"), Interval("c", 300, 400, "+")]
    expected = [
        s for s in by_hand(labeller, "c", text)
        if any(i.start <= s.start and s.start + 2 <= i.end and i.strand in (".", s.strand)
               for i in intervals)
    ]  # fmt: skip
    found = scan(labeller, fasta(c=text, other=contig(50)), threshold=0.0, intervals=intervals)
    same(list(found), expected)
    with pytest.raises(InputError, match="not there: chrX"):
        list(scan(labeller, fasta(c=text), intervals=[Interval("chrX", 0, 9)]))
    with pytest.raises(InputError, match="contig of 400 nt"):
        list(scan(labeller, fasta(c=text), intervals=[Interval("c", 0, 401)]))


def test_everywhere_scores_both_kinds_at_each_place(labeller: Labeller) -> None:
    text = contig(40, 6)
    found = list(scan(labeller, fasta(c=text), threshold=0.0, everywhere=True))
    places = len(text) - WINDOW + 1
    assert len(found) == places * 2 * len(SITES)
    canonical = {(s.start, s.strand, s.kind): s for s in by_hand(labeller, "c", text)}
    for site in found:
        known = canonical.get((site.start, site.strand, site.kind))
        assert known is None or site.probability == pytest.approx(known.probability, abs=2e-5)


def test_files(labeller: Labeller, tmp_path: Path) -> None:
    sites = [
        Site("a", 4, "+", "acceptor", 0.5),   # AGU: the G ends one intron and begins another
        Site("a", 5, "+", "donor", 0.75),
        Site("a", 9, "-", "donor", 0.987654),
        Site("b", 2, "-", "acceptor", 1.0),
    ]  # fmt: skip
    assert write_sites(tmp_path / "s.bed", sites) == 4
    lines = (tmp_path / "s.bed").read_text().splitlines()
    assert lines[2] == "a\t9\t11\tdonor\t988\t-\t0.987654"
    back = list(read_bed(tmp_path / "s.bed"))
    assert back == [Interval(s.contig, s.start, s.start + 2, s.strand) for s in sites]
    assert write_sites(tmp_path / "s.bedgraph", sites) == 3
    assert (tmp_path / "s.bedgraph").read_text().splitlines() == [
        "a\t5\t6\t0.750000", "a\t10\t11\t-0.987654", "b\t2\t3\t-1.000000",
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"\.bed or \.bedgraph"):
        write_sites(tmp_path / "s.gff", sites)


@pytest.mark.parametrize("line", ["chr1\t5", "chr1\tx\t9", "chr1\t9\t5", "chr1\t1\t5\tn\t0\t?"])
def test_no_interval(line: str) -> None:
    with pytest.raises(FormatError, match=":2: "):
        list(read_bed(io.StringIO(f"# made\n{line}\n")))


def test_what_cannot_slide(labeller: Labeller) -> None:
    config = HeadConfig(width=4, outputs=5, kind="convolution")
    other = Labeller(SequenceModel(Letters(), RINALMO, config).eval(), labeller.meaning)
    with pytest.raises(UsageError, match="even length"):
        list(scan(other, fasta(c="ACGT")))
    with pytest.raises(UsageError, match="threshold"):
        list(scan(labeller, fasta(c="ACGT"), threshold=1.5))
    with pytest.raises(UsageError, match="does not know 'yeast'"):
        list(scan(labeller, fasta(c="ACGT"), species="yeast"))
