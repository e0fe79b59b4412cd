"""Splice sites of whole contigs: the model slides over both strands.

A donor is looked for at each GT, an acceptor at each AG; a site is where its two nucleotides are
the middle of the model's window. Contigs are read one by one and scored in stretches, so that
memory depends on the longest contig alone.

A trained model thinks that a site is as likely as in its training set. In a genome some GT in a few
hundred is one: the threshold has to be high, and `Site.probability` is no share of true sites.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stemloop.errors import InputError, UsageError
from stemloop.formats.bed import Interval
from stemloop.formats.fasta import read_sequences
from stemloop.formats.stream import Source, atomic_output
from stemloop.tasks.labels import RANDOM, SITES, site_probabilities

if TYPE_CHECKING:
    from stemloop.tasks.labels import Labeller

#: Nucleotides of a contig that are looked at together, and windows that are scored together.
STRETCH, BATCH = 100_000, 256

_COMPLEMENT = bytes.maketrans(b"ACGURYKMSWBDHVN", b"UGCAYRMKSWVHDBN")


@dataclass(frozen=True, slots=True)
class Site:
    """A splice site.

    Parameters
    ----------
    contig : str
        Identifier of the sequence.
    start : int
        First of the two nucleotides of the site on the contig, from 0, whatever the strand.
    strand : str
        ``+`` or ``-``.
    kind : str
        ``donor`` or ``acceptor``.
    probability : float
        Of the model.
    """

    contig: str
    start: int
    strand: str
    kind: str
    probability: float

    @property
    def edge(self) -> int:
        """The intron's first nucleotide (donor) or last (acceptor), from 0."""
        return self.start + ((self.kind == "acceptor") == (self.strand == "+"))


def reverse_complement(sequence: str) -> str:
    """The other strand, 5' to 3'.

    Examples
    --------
    >>> reverse_complement("AACGN")
    'NCGUU'
    """
    return sequence.encode("ascii").translate(_COMPLEMENT)[::-1].decode("ascii")


def scan(
    labeller: Labeller,
    source: Source,
    *,
    species: str | None = None,
    leave_out: Collection[str] = RANDOM,
    threshold: float = 0.99,
    intervals: Iterable[Interval] | None = None,
    everywhere: bool = False,
    report: Callable[[int], None] | None = None,
) -> Iterator[Site]:
    """Sites of all contigs with at least this probability, by contig, position and strand.

    Parameters
    ----------
    labeller : Labeller
        A splice model; its windows have an even length.
    source : path or file object
        FASTA of genomic sequence.
    species : str, optional
        Only labels of this species; their probabilities are made to add up to 1.
    leave_out : collection of str
        Kinds of decoys that do not count either.
    threshold : float
        Lowest probability.
    intervals : iterable of Interval, optional
        Only sites whose two nucleotides lie in one, on its strand.
    everywhere : bool
        Also where there is no GT or AG. The bundled model has never seen such windows.
    report : callable, optional
        Called with the nucleotides done, now and then.

    Raises
    ------
    UsageError
        No splice model, a model of windows that have no middle, or a threshold outside 0 to 1.
    InputError
        Intervals lie on contigs that the file does not have, or beyond their ends.
    """
    window = labeller.model.head.config.length
    probabilities = site_probabilities(labeller.meaning, species, leave_out)
    if window is None or window % 2:
        raise UsageError("sliding needs a model of windows of one, even length")
    if not 0 <= threshold <= 1:
        raise UsageError(f"threshold must be 0 to 1, not {threshold}")
    wanted = None if intervals is None else _by_contig(intervals)
    seen, done = set(), 0
    for record in read_sequences(source):
        seen.add(record.id)
        mine = None if wanted is None else wanted.get(record.id, [])
        for interval in mine or ():
            if interval.end > record.length:
                raise InputError(
                    f"interval {interval.start}-{interval.end} of a contig of {record.length} nt",
                    record=record.id,
                )
        strands = {"+": record.sequence, "-": reverse_complement(record.sequence)}
        for begin in range(0, record.length, STRETCH):
            end = min(begin + STRETCH, record.length)
            found: list[Site] = []
            for strand, text in strands.items():
                at, which = _candidates(text, strand, begin, end, window, everywhere)
                if mine is not None:
                    kept = _inside(at, mine, strand)
                    at, which = at[kept], which[kept]
                place = at if strand == "+" else record.length - 2 - at
                first = place - (window // 2 - 1)
                for k in range(0, len(at), BATCH):
                    part = slice(k, k + BATCH)
                    windows = [text[a : a + window] for a in first[part].tolist()]
                    p = probabilities(labeller.read(windows, batch=BATCH)) * which[part]
                    rows, kinds = np.nonzero((p >= threshold) & which[part])
                    found += [
                        Site(record.id, int(at[part][r]), strand, SITES[c], float(p[r, c]))
                        for r, c in zip(rows.tolist(), kinds.tolist(), strict=True)
                    ]
            yield from sorted(found, key=lambda site: (site.start, site.strand, site.kind))
            if report:
                report(done + end)
        done += record.length
    if wanted is not None and (missing := sorted(set(wanted) - seen)):
        raise InputError(f"intervals on contigs that are not there: {', '.join(missing[:5])}")


def _by_contig(intervals: Iterable[Interval]) -> Mapping[str, list[Interval]]:
    found: dict[str, list[Interval]] = {}
    for interval in intervals:
        found.setdefault(interval.contig, []).append(interval)
    return found


def _candidates(
    text: str, strand: str, begin: int, end: int, window: int, everywhere: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Starts on the contig, rising, from `begin` to before `end`; and (N, 2) what may be there."""
    total, half = len(text), window // 2 - 1
    low, high = max(begin, half), min(end, total - window + half + 1)
    if strand == "-":  # the window's halves are as long, its middle is that of the other strand
        low, high = max(begin, window - half - 2), min(end, total - half - 1)
    at = np.arange(low, max(high, low))
    place = at if strand == "+" else total - 2 - at
    letters = np.frombuffer(text.encode("ascii"), np.uint8)
    one, two = (letters[place + k] for k in (0, 1))
    donor = (one == ord("G")) & (two == ord("U"))
    acceptor = (one == ord("A")) & (two == ord("G"))
    which = np.stack([donor, acceptor], axis=1)
    if everywhere:
        return at, np.ones_like(which)
    kept = which.any(axis=1)
    return at[kept], which[kept]


def _inside(
    at: npt.NDArray[np.int64], intervals: list[Interval], strand: str
) -> npt.NDArray[np.bool_]:
    """Whether both nucleotides lie in one of the intervals of this strand."""
    kept = np.zeros(len(at), np.bool_)
    for interval in intervals:
        if interval.strand in (".", strand):
            a, b = np.searchsorted(at, [interval.start, interval.end - 1])
            kept[a:b] = True
    return kept


def write_sites(path: str | Path, sites: Iterable[Site], *, force: bool = False) -> int:
    """Write BED (six columns and the probability), or bedGraph by suffix ``.bedgraph``.

    BED has the two nucleotides of each site and the probability times 1000 as its score. bedGraph
    has the intron's outermost nucleotide, minus the probability for sites of the other strand, and
    of two sites with one such nucleotide the more probable.

    Returns
    -------
    int
        Lines.

    Raises
    ------
    UsageError
        Another suffix.
    OutputExistsError, OutputError
        The file is there already, or cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if str(path) != "-" and suffix not in (".bed", ".bedgraph"):
        raise UsageError(f"{path}: the suffix must be .bed or .bedgraph")
    lines = _graph(sites) if suffix == ".bedgraph" else _bed(sites)
    count = 0
    with atomic_output(path, force=force) as out:
        for line in lines:
            out.write(line)
            count += 1
    return count


def _bed(sites: Iterable[Site]) -> Iterator[str]:
    for s in sites:
        where = f"{s.contig}\t{s.start}\t{s.start + 2}"
        yield f"{where}\t{s.kind}\t{round(1000 * s.probability)}\t{s.strand}\t{s.probability:.6f}\n"


def _graph(sites: Iterable[Site]) -> Iterator[str]:
    # Sites come by their first nucleotide; the edge is that or the next, so one may be overtaken.
    waiting: dict[tuple[str, int], Site] = {}

    def ready(contig: str, before: float) -> Iterator[str]:
        for key in sorted(waiting):
            if key[0] != contig or key[1] < before:
                site = waiting.pop(key)
                sign = -1 if site.strand == "-" else 1
                yield f"{key[0]}\t{key[1]}\t{key[1] + 1}\t{sign * site.probability:.6f}\n"

    for site in sites:
        yield from ready(site.contig, site.start)
        key = (site.contig, site.edge)
        if key not in waiting or waiting[key].probability < site.probability:
            waiting[key] = site
    yield from ready("", float("inf"))
