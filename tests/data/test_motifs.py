"""Motifs: found where a naive search finds them, expanded and mined as brute force would."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemloop.alphabet import RINALMO, RNAERNIE, STEMLOOP, Alphabet
from stemloop.data.motifs import MotifSet, expand, frequent_words, matchable, spellings
from stemloop.errors import InputError, UsageError
from stemloop.formats.motifs import MotifMatrix, read_attract, read_motifs

ALPHABETS = (RINALMO, RNAERNIE, STEMLOOP)


def naive(words: list[str], text: str) -> list[tuple[int, int]]:
    """(start, stop) of every occurrence, by comparing everywhere."""
    found = {
        (start, start + len(word))
        for word in words
        for start in range(len(text) - len(word) + 1)
        if text[start : start + len(word)] == word
    }
    return sorted(found, key=lambda hit: (hit[1], hit[0]))


@given(
    databases=st.lists(st.text("ACGU", min_size=1, max_size=6), max_size=12),
    frequent=st.lists(st.text("AU", min_size=1, max_size=5), max_size=6),
    text=st.text("ACGUN", max_size=60),
    alphabet=st.sampled_from(ALPHABETS),
    spelled=st.sampled_from(["U", "T"]),
)
def test_finds_what_a_naive_search_finds(
    databases: list[str], frequent: list[str], text: str, alphabet: Alphabet, spelled: str
) -> None:
    words = tuple(word.replace("U", spelled) for word in databases)
    find = MotifSet(words, tuple(word.lower() for word in frequent)).finder(alphabet)
    first, second = find(alphabet.encode(text, special=False))
    assert sorted(first, key=lambda hit: (hit[1], hit[0])) == naive(databases, text)
    assert sorted(second, key=lambda hit: (hit[1], hit[0])) == naive(frequent, text)
    assert [stop for _, stop in first] == sorted(stop for _, stop in first)
    assert pickle.loads(pickle.dumps(find)).search(text) == (first, second)


def test_special_tokens_and_unknown_letters_break_motifs() -> None:
    find = MotifSet(("AA", "ANA", "A-A")).finder(RINALMO)
    ids = RINALMO.encode("AANA-AA", special=False)
    ids[1] = RINALMO.mask_id
    assert find(ids) == ([(5, 7)], [])


def test_matchable() -> None:
    words = ["UGUA", "tgta", "ACGN", "", "ACCA", "AC GA", "ACI", "A-C"]
    assert matchable(words) == ["UGUA", "tgta", "ACGN", "ACCA", "AC GA"]
    assert matchable(["ugua", *words], published=True) == ["tgta", "ACCA"]


def test_codes_stand_for_all_their_letters() -> None:
    assert spellings("tgtanata") == ["UGUAAAUA", "UGUACAUA", "UGUAGAUA", "UGUAUAUA"]
    assert len(spellings("NNN")) == 64
    assert spellings("RNNN") == []
    find = MotifSet(("RRACH",), ("SW",)).finder(STEMLOOP)
    assert find.search("GGACUGAACG") == ([(0, 5)], [(1, 3), (3, 5), (5, 7)])
    # Each code stands for the letters that its complement's letters pair with.
    pairs = dict(zip("RYKMSWBDHVN", "YRMKSWVHDBN", strict=True))
    for code, partner in pairs.items():
        complements = {"ACGU"["UGCA".index(letter)] for letter in spellings(code)}
        assert complements == set(spellings(partner))


# Matrices


def matrix(rows: list[list[float]]) -> MotifMatrix:
    counts = np.array(rows, float)
    return MotifMatrix("m", counts / counts.sum(1, keepdims=True))


columns = st.lists(st.integers(0, 4), min_size=4, max_size=4).filter(any)


@given(
    rows=st.lists(columns, min_size=1, max_size=4),
    threshold=st.sampled_from([0.01, 0.1, 0.3, 0.5, 0.99, 1.0]),
    limit=st.integers(1, 300),
)
def test_expansion_is_what_brute_force_gives(
    rows: list[list[int]], threshold: float, limit: int
) -> None:
    motif = matrix([[float(x) for x in row] for row in rows])
    # Whole numbers: ties are ties.
    best = np.prod([max(row) for row in rows])
    scores = {
        "".join(word): int(
            np.prod([row["ACGU".index(c)] for c, row in zip(word, rows, strict=True)])
        )
        for word in itertools.product("ACGU", repeat=len(rows))
    }
    passing = {word: score for word, score in scores.items() if score / best >= threshold - 1e-12}
    levels = sorted(set(passing.values()), reverse=True)
    expected: list[str] = []
    for level in levels:
        group = [word for word, score in passing.items() if score == level]
        if len(expected) + len(group) > limit:
            break
        expected += group
    found = expand(motif, threshold=threshold, limit=limit)
    assert sorted(found) == sorted(expected)
    shares = [scores[word] for word in found]
    assert shares == sorted(shares, reverse=True)


def test_expansion_by_hand() -> None:
    motif = matrix([[8, 0, 0, 2], [0, 10, 0, 0], [1, 0, 9, 0], [3, 3, 3, 1]])
    assert expand(motif, threshold=0.9) == ["ACGA", "ACGC", "ACGG"]
    assert expand(motif, threshold=0.3) == ["ACGA", "ACGC", "ACGG", "ACGU"]
    assert expand(motif, threshold=0.25)[4:] == ["UCGA", "UCGC", "UCGG"]
    # Equal words stay together or go together.
    assert expand(motif, threshold=0.25, limit=6) == ["ACGA", "ACGC", "ACGG", "ACGU"]
    assert expand(motif, limit=2) == []


def test_wide_vague_matrices_take_no_time() -> None:
    assert expand(matrix([[1, 1, 1, 1]] * 30)) == []
    assert len(expand(matrix([[30, 29.9, 0, 0]] * 30), threshold=0.99)) <= 64


@pytest.mark.parametrize(("threshold", "limit"), [(0.0, 1), (1.1, 1), (0.5, 0)])
def test_expansion_refuses(threshold: float, limit: int) -> None:
    with pytest.raises(UsageError, match="cannot be"):
        expand(matrix([[1, 0, 0, 0]]), threshold=threshold, limit=limit)


# Frequent words


@given(
    texts=st.lists(st.text("ACGUN", max_size=30), max_size=8),
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    words=st.integers(1, 40),
)
def test_frequent_words_are_counted_as_by_hand(
    texts: list[str], lengths: list[int], words: int
) -> None:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(
            {
                text[start : start + size]
                for size in lengths
                for start in range(len(text) - size + 1)
                if "N" not in text[start : start + size]
            }
        )
    ranked = sorted((-n, -len(word), word) for word, n in counts.items() if n > 1)
    assert frequent_words(texts, lengths=lengths, words=words) == [w for *_, w in ranked[:words]]


def test_frequent_words_of_a_sample() -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGU"), 60)) for _ in range(200)]
    first = frequent_words(texts, lengths=(4, 5), sample=50, seed=1, words=100)
    assert first == frequent_words(texts, lengths=(4, 5), sample=50, seed=1, words=100)
    assert first != frequent_words(texts, lengths=(4, 5), sample=50, seed=2, words=100)
    assert frequent_words([], lengths=(4,)) == []


@pytest.mark.parametrize("lengths", [(), (0,), (16,)])
def test_frequent_words_refuse(lengths: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="word lengths"):
        frequent_words(["ACGU"], lengths=lengths)


# Files


def test_load(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("UGUA\nacg\nTTTTT\n")
    (tmp_path / "m.txt").write_text(
        ">M1\t4\n1 0 0 0\n0 1 0 0\n0 0 1 0\n.5 0 0 .5\n>M2\t1\n1 0 0 0\n"
    )
    (tmp_path / "often.txt").write_text("ACACACACAC\n")
    motifs = MotifSet.load(
        [tmp_path / "words.txt", str(tmp_path / "m.txt")], [tmp_path / "often.txt"]
    )
    assert motifs == MotifSet(("UGUA", "TTTTT", "ACGA", "ACGU"), ("ACACACACAC",))
    few = MotifSet.load([tmp_path / "m.txt"], threshold=1, limit=1, min_length=1)
    assert few == MotifSet(("A",))
    assert MotifSet.load([]) == MotifSet()
    with pytest.raises(UsageError, match=r"no word of 20 letters or more in .*words\.txt"):
        MotifSet.load([tmp_path / "words.txt"], min_length=20)
    with pytest.raises(InputError, match="absent"):
        MotifSet.load([tmp_path / "absent"])


@pytest.mark.parametrize(
    ("file", "entries", "published"),
    [
        ("RNAErnie_ATtRACT.txt", 4439, 992),
        ("RNAErnie_SpliceAid.txt", 2571, 502),
        ("RNAErnie_Statistics.txt", 10_000, 10_000),
    ],
)
def test_every_motif_of_the_published_lists_can_match(
    shared_data: Path, file: str, entries: int, published: int
) -> None:
    words = read_motifs(shared_data / "8_motifs" / file)
    assert len(words) == entries
    assert len(matchable(words)) == entries
    assert len(matchable(words, published=True)) == published
    find = MotifSet(tuple(words)).finder(RNAERNIE)
    dumb = MotifSet(tuple(words)).finder(RNAERNIE, published=True)
    found = missed = 0
    for word in words:
        ids = RNAERNIE.encode(word, special=False)
        whole = (0, len(word))
        found += whole in find(ids)[0]
        # A word may be found after all where the list has it in both spellings.
        missed += whole not in dumb(ids)[0]
    assert found == entries
    assert missed == entries - published


def test_expanded_matrices_are_near_the_words_of_attract(shared_data: Path) -> None:
    folder = shared_data / "8_motifs"
    matrices = read_motifs(folder / "concise_attract_pwm.txt.xz")
    listed: dict[str, set[str]] = {}
    for entry in read_attract(folder / "concise_attract_metadata.txt.xz"):
        listed.setdefault(entry.matrix, set()).add(entry.word)
    right = made = known = 0
    for motif in matrices:
        assert isinstance(motif, MotifMatrix)
        words = set(expand(motif))
        right += len(words & listed[motif.name])
        made += len(words)
        known += len(listed[motif.name])
    assert right / made > 0.7
    assert right / known > 0.7
