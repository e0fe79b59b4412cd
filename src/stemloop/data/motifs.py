"""Sets of motifs: reading them, and finding where their words occur in RNAs.

Words are searched for with Aho-Corasick automata (package pyahocorasick): one pass over an RNA
finds every occurrence of every word. Words and RNAs are compared in canonical spelling, so that
a motif written with T finds an RNA written with U and the other way round. RNAErnie's published
code does not do that and misses all motifs that are written with U, four of five.
"""

from __future__ import annotations

import heapq
import itertools
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import ahocorasick
import numpy as np
import numpy.typing as npt

from stemloop.alphabet import Alphabet, normalise
from stemloop.errors import UsageError
from stemloop.formats.motifs import MotifMatrix, read_motifs

#: (start, stop) of occurrences, ordered by stop.
Hits = list[tuple[int, int]]
Paths = Iterable[str | os.PathLike[str]]

_LETTERS = "ACGU"
_IUPAC = {
    **{letter: letter for letter in _LETTERS},
    **{"R": "AG", "Y": "CU", "K": "GU", "M": "AC", "S": "CG", "W": "AU"},
    **{"B": "CGU", "D": "AGU", "H": "ACU", "V": "ACG", "N": "ACGU"},
}
_MOST_SPELLINGS = 64


@dataclass(frozen=True)
class MotifSet:
    """Words that mean something: binding sites from databases, and words that are frequent.

    Parameters
    ----------
    databases : tuple of str
        Words from databases, as they are spelled there (with U or T; IUPAC codes stand for all
        their letters). Repetitions do no harm.
    frequent : tuple of str
        Words that are frequent in RNAs; masking turns to them when the first are used up.

    Examples
    --------
    >>> motifs = MotifSet(databases=("UGUA", "TATA"), frequent=("CCCC",))
    >>> from stemloop.alphabet import RINALMO
    >>> motifs.finder(RINALMO).search("UAUGUAUACCCC")
    ([(2, 6), (4, 8)], [(8, 12)])
    """

    databases: tuple[str, ...] = ()
    frequent: tuple[str, ...] = ()

    @classmethod
    def load(
        cls,
        databases: Paths,
        frequent: Paths = (),
        *,
        threshold: float = 0.3,
        limit: int = 64,
        min_length: int = 4,
    ) -> MotifSet:
        """Read motif files of any format that :mod:`stemloop.formats.motifs` knows.

        Parameters
        ----------
        databases, frequent : iterable of path
            Files of the two groups.
        threshold, limit
            How matrices become words, see :func:`expand`.
        min_length : int
            Shorter words are left out: they are everywhere.

        Raises
        ------
        InputError
            A file cannot be read or breaks its format.
        UsageError
            The files have no word of this length.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with open(f"{folder}/sites.txt", "w") as out:
        ...         _ = out.write("UGUA\\nACG\\nAAUAAA\\n")
        ...     MotifSet.load([f"{folder}/sites.txt"])
        MotifSet(databases=('UGUA', 'AAUAAA'), frequent=())
        """
        databases, frequent = list(databases), list(frequent)
        files = [*databases, *frequent]
        groups = []
        for paths in (databases, frequent):
            words: list[str] = []
            for path in paths:
                for motif in read_motifs(path):
                    if isinstance(motif, MotifMatrix):
                        words += expand(motif, threshold=threshold, limit=limit)
                    else:
                        words.append(motif)
            groups.append(tuple(word for word in words if len(word) >= min_length))
        if files and not any(groups):
            names = ", ".join(map(os.fspath, files))
            raise UsageError(f"motifs: no word of {min_length} letters or more in {names}")
        return cls(*groups)

    def finder(self, alphabet: Alphabet, *, published: bool = False) -> MotifFinder:
        """Search of this set's words in token ids of an alphabet.

        With `published`, only the words that RNAErnie's published code can find.
        """
        groups = [
            [text for word in matchable(words, published=published) for text in spellings(word)]
            for words in (self.databases, self.frequent)
        ]
        return MotifFinder(*groups, alphabet)


def spellings(word: str) -> list[str]:
    """Words of A, C, G and U that a word with IUPAC codes stands for.

    None if it has another letter (a gap, inosine), or stands for more than 64.

    Examples
    --------
    >>> spellings("UGTARA"), spellings("AC-A"), spellings("NNNN")
    (['UGUAAA', 'UGUAGA'], [], [])
    """
    choices = [_IUPAC.get(letter, "") for letter in normalise(word)]
    if not choices or not 0 < math.prod(map(len, choices)) <= _MOST_SPELLINGS:
        return []
    return ["".join(letters) for letters in itertools.product(*choices)]


def matchable(words: Iterable[str], *, published: bool = False) -> list[str]:
    """Those of some words that can occur in an RNA.

    Parameters
    ----------
    words : iterable of str
        Words as they are spelled in their files.
    published : bool
        Only the words that RNAErnie's published code can find. It spells RNAs with T and takes
        words as they stand, so that a U in a word finds nothing, nor does a code for several.

    Examples
    --------
    >>> matchable(["UGUA", "TGTA", "ACCA", "ANNA", "A-A"])
    ['UGUA', 'TGTA', 'ACCA', 'ANNA']
    >>> matchable(["UGUA", "TGTA", "ACCA", "ANNA", "A-A"], published=True)
    ['TGTA', 'ACCA']
    """
    if published:
        return [word for word in words if word and not word.upper().strip("ACGT")]
    return [word for word in words if spellings(word)]


class MotifFinder:
    """Finds all occurrences, overlapping ones too, of two groups of words.

    Called with token ids (uint8, shape (L,)) it returns (start, stop) of every occurrence, for
    each group, ordered by stop. Can be pickled.

    Parameters
    ----------
    databases, frequent : iterable of str
        Words of the groups, in canonical spelling.
    alphabet : Alphabet
        Whose ids will be searched.
    """

    def __init__(
        self, databases: Iterable[str], frequent: Iterable[str], alphabet: Alphabet
    ) -> None:
        self._groups = tuple(sorted(set(databases))), tuple(sorted(set(frequent)))
        self._alphabet = alphabet
        # Ids to text: U whether the alphabet calls it U or T, and nothing that is no letter.
        table = bytearray(b"?" * 256)
        for i, token in enumerate(alphabet.tokens):
            if len(token) == 1:
                table[i] = ord("U" if token == "T" else token)
        self._table = bytes(table)
        self._automata = [_automaton(words) for words in self._groups]

    def __reduce__(self) -> tuple[type[MotifFinder], tuple[object, ...]]:
        # Building the automata again takes milliseconds, and their pickle is larger.
        return MotifFinder, (*self._groups, self._alphabet)

    def __call__(self, ids: npt.NDArray[np.uint8]) -> tuple[Hits, Hits]:
        return self.search(ids.tobytes().translate(self._table).decode("ascii"))

    def search(self, text: str) -> tuple[Hits, Hits]:
        """Occurrences in an RNA in canonical spelling."""
        first, second = (
            [(last + 1 - size, last + 1) for last, size in automaton.iter(text)]
            if automaton is not None
            else []
            for automaton in self._automata
        )
        return first, second


def _automaton(words: Iterable[str]) -> ahocorasick.Automaton | None:
    automaton = ahocorasick.Automaton(ahocorasick.STORE_INTS)
    for word in words:
        automaton.add_word(word, len(word))
    if not len(automaton):
        return None
    automaton.make_automaton()
    return automaton


def expand(motif: MotifMatrix, *, threshold: float = 0.3, limit: int = 64) -> list[str]:
    """Words that a matrix stands for, the likeliest first.

    Parameters
    ----------
    motif : MotifMatrix
        The matrix.
    threshold : float
        A word's probability is at least this share of the likeliest word's.
    limit : int
        Largest number of words. Where more pass, the threshold rises until no more than these
        do: words of equal probability stay or go together. A matrix so vague that its best
        words alone are too many gives none.

    Raises
    ------
    UsageError
        `threshold` is not above 0 and at most 1, or `limit` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> motif = MotifMatrix("x", np.array([[0.6, 0.4, 0, 0], [0, 0, 0.1, 0.9], [0.5, 0, 0.5, 0]]))
    >>> expand(motif)
    ['AUA', 'AUG', 'CUA', 'CUG']
    >>> expand(motif, threshold=0.7), expand(motif, limit=3), expand(motif, limit=1)
    (['AUA', 'AUG'], ['AUA', 'AUG'], [])
    """
    if not 0 < threshold <= 1 or limit < 1:
        raise UsageError(f"motifs: threshold {threshold} with limit {limit} cannot be")
    p = motif.probabilities
    order = np.argsort(-p, axis=1, kind="stable")
    shares = (np.take_along_axis(p, order, 1) / p.max(1, keepdims=True)).tolist()
    letters = [[_LETTERS[i] for i in row] for row in order.tolist()]

    # From every word, the next ones lower one letter at or after the last lowered position: so
    # each word is reached once, from one that is at least as likely.
    found: list[tuple[float, str]] = []
    heap = [(-1.0, "".join(row[0] for row in letters), (0,) * len(p), 0)]
    # Shares of equal words may differ in the last bits.
    slack = 1 - 1e-9
    while heap and len(found) <= limit:
        minus, word, ranks, last = heapq.heappop(heap)
        found.append((-minus, word))
        for place in range(last, len(p)):
            rank = ranks[place] + 1
            if rank == 4:
                continue
            below = (*ranks[:place], rank, *ranks[place + 1 :])
            share = float(np.prod([row[r] for row, r in zip(shares, below, strict=True)]))
            if share >= threshold * slack:
                text = word[:place] + letters[place][rank] + word[place + 1 :]
                heapq.heappush(heap, (-share, text, below, place))
    if len(found) > limit:
        cut = found[-1][0] / slack
        found = [(share, word) for share, word in found if share > cut]
    return [word for _, word in found]


def frequent_words(
    sequences: Sequence[str],
    *,
    words: int = 10_000,
    lengths: Sequence[int] = (10, 11, 12, 13),
    sample: int = 20_000,
    seed: int = 0,
) -> list[str]:
    """Words that occur in the largest number of RNAs, the most frequent first.

    An RNA counts once however often it has the word, so that repeats within one RNA do not fill
    the list. Of equally frequent words the longer ones come first, then the alphabet decides.

    Parameters
    ----------
    sequences : sequence of str
        RNAs in canonical spelling; words with letters other than A, C, G and U do not count.
        Take one RNA of each cluster, else the list is filled by the largest family.
    words : int
        Largest number of words. One that occurs in a single RNA is never among them.
    lengths : sequence of int
        Lengths of words, at most 15. RNAErnie's list has 10 to 13.
    sample : int
        At most so many RNAs, drawn at random, are counted.
    seed : int
        Seed of the draw.

    Raises
    ------
    UsageError
        A length is below 1 or above 15.

    Examples
    --------
    >>> frequent_words(["GGACUUA", "CGACUUC", "AGACC", "UUUUUU"], lengths=(3, 4), words=3)
    ['GAC', 'ACUU', 'GACU']
    """
    if not lengths or min(lengths) < 1 or max(lengths) > 15:
        raise UsageError(f"motifs: word lengths {tuple(lengths)} cannot be (1 to 15)")
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(len(sequences))[:sample].tolist()
    table = np.full(256, 4, np.uint8)
    table[np.frombuffer(_LETTERS.encode(), np.uint8)] = np.arange(4)
    letters = [table[np.frombuffer(sequences[i].encode(), np.uint8)] for i in drawn]

    ranking: list[tuple[int, int, str]] = []
    for length in sorted(set(lengths)):
        codes, counts = np.unique(
            np.concatenate([np.empty(0, np.int64), *(_codes(row, length) for row in letters)]),
            return_counts=True,
        )
        # The best of each length: more than `words` of one length cannot be in the list.
        codes, counts = codes[counts > 1], counts[counts > 1]
        best = np.lexsort((codes, -counts))[:words]
        ranking += [
            (-count, -length, _spell(code, length))
            for code, count in zip(codes[best].tolist(), counts[best].tolist(), strict=True)
        ]
    return [word for _, _, word in sorted(ranking)[:words]]


def _codes(letters: npt.NDArray[np.uint8], length: int) -> npt.NDArray[np.int64]:
    """Different words of a length in one RNA, as numbers in base four."""
    if len(letters) < length:
        return np.empty(0, np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(letters, length)
    codes = windows @ (4 ** np.arange(length - 1, -1, -1, dtype=np.int64))
    return np.unique(codes[windows.max(1) < 4])


def _spell(code: int, length: int) -> str:
    return "".join(_LETTERS[code >> 2 * place & 3] for place in range(length - 1, -1, -1))
