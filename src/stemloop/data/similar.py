"""The most similar sequence of another set, by MMseqs2: what tells whether a test set leaks."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stemloop.data.clusters import fasta_entry, mmseqs_version, run_mmseqs
from stemloop.errors import FormatError

#: Words of this length are looked up. MMseqs2's own choice for nucleotides, 15, misses most RNAs
#: of 80 % identity that are as short as a tRNA.
WORD = 7


@dataclass(frozen=True, slots=True)
class Hit:
    """Best alignment of a sequence on the same strand.

    Parameters
    ----------
    target : int
        Number of the sequence found, from 0.
    identity : float
        Identical positions of the alignment, 0 to 1.
    query_coverage, target_coverage : float
        Part of either sequence that the alignment covers.
    """

    target: int
    identity: float
    query_coverage: float
    target_coverage: float

    @property
    def coverage(self) -> float:
        """The smaller of both coverages."""
        return min(self.query_coverage, self.target_coverage)


def most_similar(
    queries: Sequence[str], targets: Sequence[str], *, threads: int = 1
) -> list[Hit | None]:
    """Find the sequence most similar to each query: identity times smaller coverage is largest.

    Parameters
    ----------
    queries, targets : sequence of str
        RNAs.
    threads : int
        CPU threads.

    Returns
    -------
    list of Hit or None
        None where MMseqs2 finds no alignment of an E-value up to 0.1.

    Raises
    ------
    UsageError
        MMseqs2 is not installed.
    OutputError
        MMseqs2 failed; the message has its last words.
    """
    mmseqs_version()
    best: list[Hit | None] = [None] * len(queries)
    if not queries or not targets:
        return best
    with tempfile.TemporaryDirectory(prefix="stemloop-similar-") as name:
        folder = Path(name)
        for file, sequences in (("queries.fa", queries), ("targets.fa", targets)):
            (folder / file).write_text("".join(map(fasta_entry, range(len(sequences)), sequences)))
        run_mmseqs(
            folder,
            *("easy-search", "queries.fa", "targets.fa", "hits.tsv", "tmp"),
            *("--search-type", "3", "--strand", "1", "-k", str(WORD), "-e", "0.1"),
            *("--spaced-kmer-mode", "0", "--max-seqs", "1000", "--threads", str(threads)),
            *("--mask", "0", "--format-output", "query,target,fident,qcov,tcov"),
        )
        for line in (folder / "hits.tsv").read_text().splitlines():
            try:
                query, target, *numbers = line.split("\t")
                hit = Hit(int(target), *map(float, numbers))
                known = best[int(query)]
            except (ValueError, TypeError, IndexError) as error:
                raise FormatError("no table of hits", path="mmseqs easy-search") from error
            if known is None or _rank(hit) > _rank(known):
                best[int(query)] = hit
    return best


def _rank(hit: Hit) -> tuple[float, int]:
    return hit.identity * hit.coverage, -hit.target
