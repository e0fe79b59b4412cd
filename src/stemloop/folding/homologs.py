"""What homologous RNAs say of a structure: energies from alignments with them.

Homologs fold alike. Of each RNA the most similar ones of a set are aligned with it, and their pairs
are carried over. Two kinds are told apart:

- Homologs whose structure is known: the pairs of up to 12, the nearest first.
- Homologs without structures: pair probabilities of up to 30, folded one by one by the same model.
  They differ in sequence while their structure stays, so that what the model says of all of them is
  more often true than what it says of one (Hamada et al. 2009, Bioinformatics 25:i330; Harmanci et
  al. 2011, BMC Bioinformatics 12:108, whose TurboFold adds this information to the energies, too).

The share q_ij of the aligned homologs that have the pair becomes an energy of

    -s kT log(q_ij / (1 - q_ij)),  q_ij kept within 0.01 and 0.99,

that the partition function adds for the pair. Of known structures a homolog with identity d has
weight d**6 and s = 1.5 (D - 0.45) / 0.55, where D is the identity of the nearest; of n others all
have the same weight and s = 0.5 n / (n + 2). RNAs of an identity below 0.45 + 0.8 / sqrt(L) do not
count: few random sequences align as well. These numbers were chosen on families of Rfam that
ArchiveII has none of, with plain Turner 2004 energies.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stemloop.errors import InputError
from stemloop.folding.conditions import FloatArray
from stemloop.formats.alignment import read_alignments
from stemloop.formats.fasta import read_sequences
from stemloop.formats.structure import has_structure_suffix, read_structures
from stemloop.pairs import MIN_DISTANCE
from stemloop.records import Structure

PairArray = npt.NDArray[np.int32]

#: Unrelated RNAs align with an identity of about this, and shorter ones more by chance.
_CHANCE, _SPREAD = 0.45, 0.8
#: Homologs that count: with structures, and without.
KNOWN, UNKNOWN = 12, 30
#: Of homologs without structures those whose words are as like those of one chosen before come
#: last: near copies bring little new. The cosine .7 belongs to an identity of about .93.
_ALIKE = 0.7
_KNOWN_SCALE, _UNKNOWN_SCALE = 1.5, 0.5
_KNOWN_POWER = 6
#: Shares closer to 0 or 1 say no more than this.
_SURE = 0.01
#: Length of the words that are looked up, and how many candidates are aligned for each that counts.
_WORD, _CANDIDATES = 5, 2
#: Pair probabilities of homologs that are kept.
_KEPT = 0.005


@dataclass(frozen=True, slots=True, eq=False)
class Homolog:
    """An RNA that may be homologous to those that are folded; equal only to itself.

    Parameters
    ----------
    sequence : str
        Nucleotides.
    pairs : numpy.ndarray of int32, shape (n, 2), optional
        Its structure, where that is known; pairs may cross.
    """

    sequence: str
    pairs: PairArray | None = None


def read_homologs(path: str | os.PathLike[str]) -> tuple[Homolog, ...]:
    """Read homologs; what a file holds is told by its suffix.

    Structure files (``.dbn``, ``.ct``, ``.bpseq``, ``.st``) hold RNAs of known structure, and so do
    Stockholm alignments (``.sto``, ``.stk``, ``.stockholm``, ``.seed``) with a consensus structure:
    each row has the pairs of the consensus that it can form. Everything else is FASTA or FASTQ.
    Repeated RNAs count once.

    Raises
    ------
    FormatError, AlphabetError, StructureError
        The file breaks its format; file, line and record are named.
    InputError
        There are no records in it.
    """
    found: dict[tuple[str, bytes | None], Homolog] = {}
    for homolog in _read(path):
        pairs = None if homolog.pairs is None else homolog.pairs.tobytes()
        found.setdefault((homolog.sequence, pairs), homolog)
    if not found:
        raise InputError("no homologs", path=os.fspath(path))
    return tuple(found.values())


def _read(path: str | os.PathLike[str]) -> Iterator[Homolog]:
    # Checks of corpora come with it, which folds without homologs do not wait for.
    from stemloop.data.corpus_sources import format_of

    structures: Iterable[Structure] = ()
    if has_structure_suffix(path):
        structures = read_structures(path)
    elif format_of(Path(path).name) == "stockholm":
        structures = chain.from_iterable(a.structures() for a in read_alignments(path))
    else:
        for record in read_sequences(path):
            yield Homolog(record.sequence)
    for structure in structures:
        yield Homolog(structure.record.sequence, structure.pairs)


def digest(homologs: Iterable[Homolog]) -> str:
    """SHA-256 of homologs, for notes on where a result came from.

    Examples
    --------
    >>> digest([Homolog("GGGAAACCC")])[:8]
    'fcd78ce9'
    """
    text = hashlib.sha256()
    for homolog in homologs:
        pairs = "" if homolog.pairs is None else homolog.pairs.tolist()
        text.update(f"{homolog.sequence}\t{pairs}\n".encode())
    return text.hexdigest()


@dataclass(frozen=True, slots=True)
class Aligned:
    """A homolog aligned with an RNA of L nucleotides.

    Parameters
    ----------
    number : int
        Place of the homolog in its set.
    identity : float
        Identical positions as a share of the columns of the alignment, gaps included.
    places : numpy.ndarray of int64, shape (L,)
        Nucleotide of the homolog under each of the RNA, -1 for none.
    """

    number: int
    identity: float
    places: npt.NDArray[np.int64]


class Homologs:
    """A set of RNAs, searched for homologs of those that are folded.

    Parameters
    ----------
    homologs : sequence of Homolog
        The set; RNAs of other families in it do no harm.

    Examples
    --------
    >>> hairpin = Homolog("GGGGAAAACCCC", np.array([[0, 11], [1, 10], [2, 9], [3, 8]], np.int32))
    >>> energies, number = Homologs([hairpin]).energies("GGCGAAAACGCC", None, kt=0.6)
    >>> number, bool(energies[0, 11] < -2)
    (1, True)
    """

    def __init__(self, homologs: Sequence[Homolog]) -> None:
        self._known = _Index([h for h in homologs if h.pairs is not None])
        self._unknown = _Index([h for h in homologs if h.pairs is None])
        self._folded: dict[tuple[Hashable, int], _Sparse] = {}

    def energies(
        self,
        sequence: str,
        fold: Callable[[str], FloatArray] | None,
        *,
        kt: float,
        conditions: Hashable = None,
    ) -> tuple[FloatArray | None, int]:
        """Energies that homologs add to the pairs of an RNA.

        Parameters
        ----------
        sequence : str
            RNA of L nucleotides.
        fold : callable, optional
            Gives the pair probabilities (L, L) of a sequence without homologs; not called where all
            structures are known.
        kt : float
            kT in kcal/mol.
        conditions : hashable, optional
            What the probabilities of `fold` depend on besides the sequence: homologs are folded
            once for each.

        Returns
        -------
        energies : numpy.ndarray, shape (L, L), or None
            kcal/mol, upper triangle; None where there are no homologs.
        number : int
            Homologs that were found.
        """
        known = self._known.nearest(sequence, KNOWN)
        unknown = self._unknown.nearest(sequence, UNKNOWN, apart=_ALIKE)
        if not known and not unknown:
            return None, 0
        total = np.zeros((len(sequence), len(sequence)))
        if known:
            pairs = [_of_pairs(self._known.homologs[a.number].pairs) for a in known]
            weights = [a.identity**_KNOWN_POWER for a in known]
            sure = (max(a.identity for a in known) - _CHANCE) / (1.0 - _CHANCE)
            total += _KNOWN_SCALE * sure * _log_odds(known, pairs, weights)
        if unknown:
            assert fold is not None
            found = []
            for aligned in unknown:
                key = (conditions, aligned.number)
                if key not in self._folded:
                    other = self._unknown.homologs[aligned.number].sequence
                    self._folded[key] = _of_matrix(fold(other))
                found.append(self._folded[key])
            # A single homolog knows hardly more than the RNA itself.
            scale = _UNKNOWN_SCALE * len(unknown) / (len(unknown) + 2)
            total += scale * _log_odds(unknown, found, [1.0] * len(unknown))
        return -kt * total, len(known) + len(unknown)


@dataclass(frozen=True, slots=True)
class _Sparse:
    """Probabilities p (n,) of pairs (i, j)."""

    i: npt.NDArray[np.int64]
    j: npt.NDArray[np.int64]
    p: FloatArray


def _of_pairs(pairs: PairArray | None) -> _Sparse:
    assert pairs is not None
    i, j = pairs.T.astype(np.int64)
    return _Sparse(i, j, np.ones(len(pairs)))


def _of_matrix(probability: FloatArray) -> _Sparse:
    i, j = np.nonzero(probability > _KEPT)
    return _Sparse(i, j, probability[i, j])


def _log_odds(
    aligned: Sequence[Aligned], found: Sequence[_Sparse], weights: Sequence[float]
) -> FloatArray:
    """Log odds (L, L) of the weighted share of homologs with a pair; 0 where none is aligned."""
    length = len(aligned[0].places)
    pairs, columns = np.zeros((length, length)), np.zeros((length, length))
    for one, sparse, weight in zip(aligned, found, weights, strict=True):
        there = one.places >= 0
        columns += weight * np.outer(there, there)
        # Where each nucleotide of the homolog lies in the RNA.
        back = np.full(max(one.places.max(), sparse.j.max(initial=0)) + 1, -1)
        back[one.places[there]] = np.flatnonzero(there)
        i, j = back[sparse.i], back[sparse.j]
        both = (i >= 0) & (j >= 0)
        pairs[i[both], j[both]] += weight * sparse.p[both]
    share = np.divide(pairs, columns, out=np.full_like(pairs, 0.5), where=columns > 0)
    share = share.clip(_SURE, 1.0 - _SURE)
    return np.triu(np.log(share / (1.0 - share)), MIN_DISTANCE)


class _Index:
    """Homologs with the counts of their words."""

    def __init__(self, homologs: Sequence[Homolog]) -> None:
        self.homologs = homologs

    @cached_property
    def _words(self) -> npt.NDArray[np.float32]:
        return np.stack([_word_counts(homolog.sequence) for homolog in self.homologs])

    @cached_property
    def _aligner(self) -> Any:
        # Takes a while to import, and folds without homologs do not wait for it.
        from Bio.Align import PairwiseAligner

        aligner = PairwiseAligner(mode="global", match_score=5.0, mismatch_score=-4.0)
        aligner.open_gap_score, aligner.extend_gap_score = -10.0, -1.0
        # Where an RNA begins and ends is often a matter of the data base.
        aligner.open_end_gap_score, aligner.extend_end_gap_score = -3.0, -0.5
        return aligner

    def nearest(self, sequence: str, number: int, *, apart: float | None = None) -> list[Aligned]:
        """Homologs of a sequence, the most identical first.

        With `apart` the sequence itself is left out, and near copies of those chosen come last.
        """
        if not self.homologs:
            return []
        likeness = self._words @ _word_counts(sequence)
        chosen: list[int] = []
        copies: list[int] = []
        for k in np.argsort(-likeness, kind="stable").tolist():
            if apart is None:
                chosen.append(k)
            elif self.homologs[k].sequence != sequence:
                like = self._words[chosen] @ self._words[k]
                (copies if like.max(initial=0.0) > apart else chosen).append(k)
            if len(chosen) == number * _CANDIDATES:
                break
        least = _CHANCE + _SPREAD / math.sqrt(len(sequence))
        found: list[Aligned] = []
        for some in (chosen, copies[: number * _CANDIDATES]):
            if len(found) < number:
                aligned = [self._align(sequence, k) for k in some]
                related = [a for a in aligned if a.identity >= least]
                related.sort(key=lambda a: (-a.identity, a.number))
                found += related[: number - len(found)]
        return sorted(found, key=lambda a: (-a.identity, a.number))

    def _align(self, sequence: str, number: int) -> Aligned:
        other = self.homologs[number].sequence
        mine, theirs = self._aligner.align(sequence, other)[0].aligned
        places = np.full(len(sequence), -1)
        same = 0
        for (start, stop), (first, last) in zip(mine.tolist(), theirs.tolist(), strict=True):
            places[start:stop] = np.arange(first, last)
            same += sum(map(str.__eq__, sequence[start:stop], other[first:last]))
        columns = len(sequence) + len(other) - int((places >= 0).sum())
        return Aligned(number, same / columns, places)


_DIGIT = np.full(256, -1, np.int64)
_DIGIT[[ord(letter) for letter in "ACGU"]] = range(4)


def _word_counts(sequence: str) -> npt.NDArray[np.float32]:
    """Square roots of the counts of words of A, C, G and U, as a vector of length 1."""
    digits = _DIGIT[np.frombuffer(sequence.encode("ascii"), np.uint8)]
    counts = np.zeros(4**_WORD, np.float32)
    if len(digits) >= _WORD:
        windows = np.lib.stride_tricks.sliding_window_view(digits, _WORD)
        windows = windows[(windows >= 0).all(1)]
        np.add.at(counts, windows @ 4 ** np.arange(_WORD)[::-1], 1.0)
    length = np.sqrt(counts.sum())
    return np.sqrt(counts) / (length or 1.0)
