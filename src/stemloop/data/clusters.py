"""Clusters of similar sequences, by MMseqs2's linear-time clustering.

RiNALMo clustered its pre-training sequences with ``mmseqs easy-linclust`` at 70 % identity and
80 % coverage (Penic et al. 2025; the authors' words on their tracker give the program, the paper
the thresholds). The stages of that command are called here one by one, with its settings, for the
sake of one correction between the first two: pairs are compared on the same strand only. MMseqs2
looks at both, which joins an RNA with its antisense; and for a hairpin whose arms match perfectly,
k-mers of both strands lie on one diagonal and which strand is taken is left to the random pivots of
a sort, so that two runs give different clusters. MMseqs2 keeps to the memory it finds.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stemloop.errors import FormatError, OutputError, UsageError

Numbers = npt.NDArray[np.int32]

#: MMseqs2 reads DNA. Inosine pairs like G and is read as some nucleotide.
_TO_DNA = str.maketrans("UI", "TN")
#: Bytes of MMseqs2's files that are taken apart at once.
_BLOCK = 1 << 22
_INT_MAX = 2**31 - 1
#: Sequences whose pairs one program aligns.
_PART = 50_000
_ONE_THREAD = ("createdb", "createsubdb")
#: Target and negative score at the start of a line; entries are ended by a zero byte.
_OPPOSITE = re.compile(rb"(?:(?<=^)|(?<=[\n\0]))(\d+)\t-")

INSTALL = (
    "mmseqs (MMseqs2) is not on the PATH; install it with one of\n"
    "  apt install mmseqs2\n"
    "  conda install -c conda-forge -c bioconda mmseqs2\n"
    "  brew install mmseqs2\n"
    "or take --clusterer none: every sequence is then a cluster of its own"
)


def mmseqs_version() -> str:
    """Version of the MMseqs2 on the PATH.

    Raises
    ------
    UsageError
        There is none; the message says how to install it.
    """
    if shutil.which("mmseqs") is None:
        raise UsageError(INSTALL)
    done = subprocess.run(["mmseqs", "version"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def fasta_entry(number: int, sequence: str) -> str:
    """A sequence as MMseqs2 gets it.

    Examples
    --------
    >>> fasta_entry(7, "GGUAICC")
    '>7\\nGGTANCC\\n'
    """
    return f">{number}\n{sequence.translate(_TO_DNA)}\n"


def linclust(
    fasta: Path,
    work: Path,
    count: int,
    *,
    identity: float = 0.7,
    coverage: float = 0.8,
    max_length: int = 8192,
    threads: int = 1,
) -> Numbers:
    """Cluster sequences.

    Parameters
    ----------
    fasta : pathlib.Path
        Sequences called 0, 1, 2, ... (`fasta_entry`).
    work : pathlib.Path
        Folder for temporary files; made anew, removed at the end.
    count : int
        Number of sequences.
    identity, coverage : float
        Least share of identical positions, and of both sequences that the alignment covers.
    max_length : int
        Longest sequence.
    threads : int
        CPU threads. The result does not depend on them.

    Returns
    -------
    numpy.ndarray of int32, shape (count,)
        Number of the sequence that represents each one's cluster. Sequences that MMseqs2 leaves
        out (too short for its words) represent themselves.

    Raises
    ------
    UsageError
        MMseqs2 is not installed.
    OutputError
        MMseqs2 failed; the message has its last words.
    """
    if shutil.which("mmseqs") is None:
        raise UsageError(INSTALL)
    shutil.rmtree(work, ignore_errors=True)
    # A name of its own: a program of a call that was killed may still be running, and would write
    # files of the same names.
    own = work / secrets.token_hex(8)
    own.mkdir(parents=True)
    similar = ["--min-seq-id", str(identity), "-c", str(coverage), "--cov-mode", "0"]
    aligned = [*similar, "-e", "0.001"]
    longest = ["--max-seq-len", str(max(65535, max_length))]
    all_hits = ["--max-rejected", str(_INT_MAX), "--max-accept", str(_INT_MAX)]
    words = ["--kmer-per-seq", "21", "--kmer-per-seq-scale", "0.2", *longest]

    def call(module: str, *arguments: str) -> None:
        run_mmseqs(
            own, module, *arguments, *([] if module in _ONE_THREAD else ["--threads", f"{threads}"])
        )

    # Sequences with words in common; copies without gaps; the rest aligned; both put together.
    call("createdb", str(fasta.resolve()), "all", "--dbtype", "2")
    call("kmermatcher", "all", "pairs", *similar, *words)
    for path in own.glob("pairs*"):
        if re.fullmatch(r"pairs(\.\d+)?", path.name):
            same_strand(path)
    call("rescorediagonal", "all", "all", "pairs", "copies", "--rescore-mode", "0", *aligned)
    call("clust", "all", "copies", "groups", "--cluster-mode", "0")
    _first_column(own / "groups.index", own / "order")
    call("createsubdb", "order", "all", "some", "--subdb-mode", "1")
    call("createsubdb", "order", "pairs", "some_pairs", "--subdb-mode", "1")
    call("filterdb", "some_pairs", "other_pairs", "--filter-file", "order")
    _align(own, _split(own / "order"), [*aligned, *longest, *all_hits], threads)
    call("clust", "some", "alignments", "joined", "--cluster-mode", "0")
    call("mergeclusters", "all", "clusters", "groups", "joined")
    call("createtsv", "all", "all", "clusters", "clusters.tsv")
    representatives = read_representatives(own / "clusters.tsv", count)
    shutil.rmtree(work, ignore_errors=True)
    return representatives


def run_mmseqs(folder: Path, module: str, *arguments: str) -> None:
    """Run a module of MMseqs2 in a folder; OutputError with its last lines where it fails."""
    done = subprocess.run(
        ["mmseqs", module, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        words = [line for line in done.stdout.splitlines() if line.strip()]
        raise OutputError(
            f"mmseqs {module} failed with code {done.returncode}: {' / '.join(words[-3:])[:500]}"
        )


def _align(folder: Path, parts: int, options: list[str], threads: int) -> None:
    """Align the pairs, part by part: several programs of one thread each.

    What ``align`` gives for a pair of nucleotide sequences depends a little on what the same
    thread has aligned before. Parts that are the same for any number of threads give the same.
    """

    def part(number: int) -> str:
        order, pairs, result = f"order_{number}", f"pairs_of_{number}", f"alignments_{number}"
        run_mmseqs(folder, "createsubdb", order, "other_pairs", pairs, "--subdb-mode", "1")
        found = ("some", "some", pairs, result, "--alignment-mode", "2", "--threads", "1")
        run_mmseqs(folder, "align", *found, *options)
        return result

    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(part, range(parts)))
    run_mmseqs(folder, "mergedbs", "some", "alignments", *results)


def _split(order: Path) -> int:
    """Write the lines of a file as files ``NAME_0``, ``NAME_1``, ...; return how many."""
    parts = 0
    with open(order, "rb") as lines:
        while part := list(islice(lines, _PART)):
            order.with_name(f"{order.name}_{parts}").write_bytes(b"".join(part))
            parts += 1
    return parts


def same_strand(path: Path) -> None:
    """Turn the pairs of ``kmermatcher`` that it saw on opposite strands into pairs on the same.

    A line is target, score and diagonal; a negative score means opposite strands. The sign becomes
    a zero, which changes no length: the index of the file stays right. Pairs that resemble each
    other on opposite strands only then fail the comparison that follows.
    """
    with open(path, "r+b") as handle:
        rest = b""
        while block := handle.read(_BLOCK):
            # A line that the block cuts is seen again with the next one.
            text = rest + block
            lines, newline, rest = text.rpartition(b"\n")
            changed = _OPPOSITE.sub(rb"\1\t0", lines + newline)
            handle.seek(-len(text), os.SEEK_CUR)
            handle.write(changed)
            handle.seek(len(rest), os.SEEK_CUR)


def _first_column(source: Path, target: Path) -> None:
    with open(source, "rb") as lines, open(target, "wb") as out:
        out.writelines(line.split(b"\t", 1)[0] + b"\n" for line in lines)


def read_representatives(path: Path, count: int) -> Numbers:
    """Read a table of representative and member, by number.

    Raises
    ------
    FormatError
        A number is outside 0 to ``count - 1``, or a line has not two numbers.
    """
    result = np.arange(count, dtype=np.int32)
    for block in _line_blocks(path):
        if re.search(rb"[^0-9\s]", block):
            raise FormatError("not a table of numbers", path=str(path))
        pairs = np.array(block.split(), np.int64)
        if len(pairs) % 2 or (len(pairs) and pairs.max() >= count):
            raise FormatError("not the clusters of these sequences", path=str(path))
        result[pairs[1::2]] = pairs[::2]
    return result


def _line_blocks(path: Path) -> Iterable[bytes]:
    with open(path, "rb") as handle:
        while block := handle.read(_BLOCK):
            yield block + handle.readline()


def dense_numbers(representatives: Numbers) -> tuple[Numbers, int]:
    """Number clusters 0, 1, 2, ... in the order of their representatives.

    Returns
    -------
    clusters : numpy.ndarray of int32, shape (count,)
        Cluster of each sequence.
    count : int
        Clusters.

    Examples
    --------
    >>> numbers, count = dense_numbers(np.array([3, 1, 3, 3], np.int32))
    >>> numbers.tolist(), count
    ([1, 0, 1, 1], 2)
    """
    used = np.zeros(len(representatives), bool)
    used[representatives] = True
    number = np.cumsum(used, dtype=np.int32) - 1
    return number[representatives].astype(np.int32), int(used.sum())
