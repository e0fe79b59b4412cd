"""Homologs: found, aligned, and turned into energies; and that they help without doing harm."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from stemloop.errors import AlphabetError, FormatError, StructureError, UsageError
from stemloop.folding.conditions import FoldOptions
from stemloop.folding.crf import ThermodynamicCRF
from stemloop.folding.homologs import Homolog, Homologs, digest, read_homologs
from stemloop.pairs import dot_bracket_to_pairs
from stemloop.tasks.structure import fold

KT = 0.6
PLAIN = "turner2004"
COMPLEMENT = str.maketrans("ACGU", "UGCA")


def random_rna(rng: np.random.Generator, length: int) -> str:
    return "".join(rng.choice(list("ACGU"), length))


def family(rng: np.random.Generator, dot_bracket: str, members: int, keep: float) -> list[str]:
    """Sequences that can form one structure; pairs and bases change together."""
    pairs = dot_bracket_to_pairs(dot_bracket)
    founder: list[str] | None = None
    found = []
    for _ in range(members):
        letters = list(random_rna(rng, len(dot_bracket)))
        if founder is not None:
            kept = rng.random(len(letters)) < keep
            letters = [f if k else x for f, k, x in zip(founder, kept, letters, strict=True)]
        for i, j in pairs.tolist():
            letters[j] = letters[i].translate(COMPLEMENT)
        founder = founder or letters
        found.append("".join(letters))
    return found


CLOVERLEAF = "(((((((..((((........)))).(((((.......))))).....(((((.......))))))))))))...."


def by_hand(length: int, homologs: list[tuple[float, npt.NDArray[np.float64]]]) -> float:
    """Weighted share of one pair, clipped, as log odds."""
    share = sum(w * p for w, p in homologs) / sum(w for w, _ in homologs)
    share = min(max(float(share), 0.01), 0.99)
    return math.log(share / (1 - share))


def test_energies_are_those_of_the_formula() -> None:
    """Substitutions only, so that the alignment is the diagonal: every pair worked out by hand."""
    sequence = "GGACGAUCGAAAGAUCGUCCAAUUGGCCA"
    one = "GGACGAUCGAAAGAUCGUCCAAUUGGCCU"
    two = "GGACGUUCGAAAGAACGUCCAAUUGCCCA"
    pairs = dot_bracket_to_pairs("((((((((....)))))))).........")
    other = dot_bracket_to_pairs("((((((......))))))...........")
    found, number = Homologs([Homolog(one, pairs), Homolog(two, other)]).energies(
        sequence, None, kt=KT
    )
    assert number == 2
    assert found is not None
    length = len(sequence)
    identities = [sum(map(str.__eq__, sequence, text)) / length for text in (one, two)]
    sure = 1.5 * (max(identities) - 0.45) / 0.55
    has = [{tuple(p) for p in some.tolist()} for some in (pairs, other)]
    for i in range(length):
        for j in range(length):
            expected = 0.0
            if j - i >= 4:
                shares = [(d**6, float((i, j) in h)) for d, h in zip(identities, has, strict=True)]
                expected = -KT * sure * by_hand(length, shares)  # type: ignore[arg-type]
            assert found[i, j] == pytest.approx(expected, abs=1e-9)


def test_probabilities_stand_for_unknown_structures() -> None:
    rng = np.random.default_rng(0)
    sequence = random_rna(rng, 30)
    others = [sequence[:k] + "ACGU"["UGCA".index(sequence[k])] + sequence[k + 1 :] for k in (3, 9)]
    matrices = {text: np.triu(rng.random((30, 30)) * 0.9, 4) for text in others}
    asked: list[str] = []

    def alone(text: str) -> npt.NDArray[np.float64]:
        asked.append(text)
        return matrices[text]

    # Near copies of each other count once.
    homologs = Homologs([Homolog(others[0]), Homolog(sequence)])
    found, number = homologs.energies(sequence, alone, kt=KT)
    assert (number, asked) == (1, [others[0]])
    assert found is not None
    for i, j in ((0, 4), (2, 20), (0, 29)):
        p = matrices[others[0]][i, j]
        expected = -KT * 0.5 / 3 * by_hand(30, [(1.0, p if p > 0.005 else 0.0)])
        assert found[i, j] == pytest.approx(expected, abs=1e-9)
    homologs.energies(sequence, alone, kt=KT)
    assert len(asked) == 1, "folded once"


def test_pairs_move_with_insertions() -> None:
    """A homolog without the first three nucleotides, and with two more in its loop."""
    stem = "GGACGAUC"
    sequence = "AUA" + stem + "GAAA" + stem[::-1].translate(COMPLEMENT) + "ACAAUACA"
    text = stem + "GACCAA" + stem[::-1].translate(COMPLEMENT) + "ACAAUACA"
    pairs = np.array([(k, 21 - k) for k in range(8)], np.int32)
    found, number = Homologs([Homolog(text, pairs)]).energies(sequence, None, kt=KT)
    assert number == 1
    assert found is not None
    assert [tuple(p) for p in np.argwhere(found < 0).tolist()] == [
        (3 + k, 22 - k) for k in range(8)
    ]


def test_unrelated_rnas_change_nothing(trna_phe: tuple[str, str]) -> None:
    rng = np.random.default_rng(1)
    crowd = [Homolog(random_rna(rng, n)) for n in (40, 120, 150, 200)]
    pairs = dot_bracket_to_pairs(CLOVERLEAF)
    crowd += [Homolog(random_rna(rng, n), pairs) for n in (100, 110, 200)]
    assert Homologs(crowd).energies(trna_phe[0], None, kt=KT) == (None, 0)
    (alone,) = fold(trna_phe[0], model=PLAIN)
    (together,) = fold(trna_phe[0], model=PLAIN, homologs=crowd)
    assert together.values == {**alone.values, "homologs": 0}
    assert alone.structure.dot_bracket == together.structure.dot_bracket  # type: ignore[union-attr]


@pytest.mark.parametrize("known", [True, False], ids=["known", "sequences"])
def test_a_family_folds_alike(known: bool) -> None:
    """Members that the model folds wrongly alone are folded rightly beside the others."""
    rng = np.random.default_rng(5)
    members = family(rng, CLOVERLEAF, 24, keep=0.75)
    pairs = dot_bracket_to_pairs(CLOVERLEAF)
    homologs = [Homolog(text, pairs if known else None) for text in members[4:]]
    truth = {tuple(pair) for pair in pairs.tolist()}

    def right(**more: object) -> float:
        shares = []
        for result in fold(members[:4], model=PLAIN, **more):  # type: ignore[arg-type]
            assert result.structure is not None
            found = {tuple(pair) for pair in result.structure.pairs.tolist()}
            shares.append(len(truth & found) / len(truth))
        return sum(shares) / len(shares)

    alone, together = right(), right(homologs=homologs)
    assert alone < 0.8 < 0.9 < together


def test_crossing_pairs_come_from_known_structures() -> None:
    rng = np.random.default_rng(0)
    text = "((((((....[[[[[[....))))))....]]]]]]..."
    members = family(rng, text, 6, keep=0.8)
    pairs = dot_bracket_to_pairs(text)
    (result,) = fold(
        members[0],
        model=PLAIN,
        decoder="hybrid",
        homologs=[Homolog(member, pairs) for member in members[1:]],
    )
    assert result.structure is not None
    assert result.structure.dot_bracket == text


def test_energies_hold_for_all_decoders_samples_and_averages() -> None:
    rng = np.random.default_rng(2)
    members = family(rng, CLOVERLEAF, 8, keep=0.8)
    homologs = Homologs([Homolog(m, dot_bracket_to_pairs(CLOVERLEAF)) for m in members[1:]])
    crf = ThermodynamicCRF(average=("turner1999",), homologs=homologs)
    assert crf.minimum(members[0]) == CLOVERLEAF
    i, j = dot_bracket_to_pairs(CLOVERLEAF).T
    probability = crf.ensemble(members[0]).pair_probability[i, j]
    assert (probability > 0.9).all()
    drawn = [dot_bracket_to_pairs(text) for text in crf.sample(members[0], 200, seed=1)]
    shares = [
        np.mean([[a, b] in some.tolist() for some in drawn]) for a, b in zip(i, j, strict=True)
    ]
    assert np.abs(np.array(shares) - probability).max() < 0.1


def test_results_do_not_depend_on_neighbours_or_processes() -> None:
    rng = np.random.default_rng(3)
    members = family(rng, CLOVERLEAF, 6, keep=0.7)
    homologs = [Homolog(member) for member in members]
    whole = fold(members, model=PLAIN, homologs=homologs)
    for some in (fold(members[::-1], model=PLAIN, homologs=homologs)[::-1],
                 fold(members, model=PLAIN, homologs=homologs, processes=2)):  # fmt: skip
        for one, other in zip(whole, some, strict=True):
            assert one.values == other.values
            np.testing.assert_array_equal(one.arrays["confidence"], other.arrays["confidence"])


def test_what_was_folded_before_changes_nothing() -> None:
    """Homologs are folded once, but once at each temperature."""
    members = family(np.random.default_rng(3), CLOVERLEAF, 6, keep=0.7)
    homologs = [Homolog(member) for member in members[1:]]
    used, fresh = (ThermodynamicCRF(homologs=Homologs(homologs)) for _ in range(2))
    warm = FoldOptions(temperature=60.0)
    cold = used.ensemble(members[0]).pair_probability
    expected = fresh.ensemble(members[0], warm).pair_probability
    found = used.ensemble(members[0], warm).pair_probability
    np.testing.assert_array_equal(found, expected)
    assert not np.allclose(found, cold)


@pytest.mark.parametrize(
    ("sequence", "more"),
    [("GGGG&CCCC", {}), ("GGGGAAAACCCC", {"circular": True}), ("ACGU" * 30, {"window": 80})],
)
def test_what_does_not_go_with_homologs(sequence: str, more: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"homologs"):
        fold(sequence, model=PLAIN, homologs=[Homolog("GGGGAAAACCCC")], **more)  # type: ignore[arg-type]


def test_files_of_both_kinds(tmp_path: Path) -> None:
    fasta, structures, aligned = tmp_path / "a.fa", tmp_path / "b.dbn", tmp_path / "c.sto"
    fasta.write_text(">a\nGGGAAACCC\n>b\nACGT\n")
    structures.write_text(">a\nGGGAAACCC\n(((...)))\n")
    found = [(homolog.sequence, homolog.pairs) for homolog in read_homologs(fasta)]
    assert found == [("GGGAAACCC", None), ("ACGU", None)]
    (known,) = read_homologs(structures)
    assert known.pairs is not None
    assert known.pairs.tolist() == [[0, 8], [1, 7], [2, 6]]
    aligned.write_text(
        "# STOCKHOLM 1.0\nx  GGG-AAACCC\ny  GG-CAAA-CC\n#=GC SS_cons  <<<....>>>\n//\n"
        "# STOCKHOLM 1.0\nx  GGGAAACCC\n#=GC SS_cons  (((...)))\n//\n"
    )
    rows = [(h.sequence, h.pairs.tolist()) for h in read_homologs(aligned)]  # type: ignore[union-attr]
    assert rows == [("GGGAAACCC", known.pairs.tolist()), ("GGCAAACC", [[0, 7], [1, 6]])]
    assert digest([known]) != digest(read_homologs(fasta)[:1])


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("a.fa", "", FormatError),
        ("a.fa", ">a\nGG!\n", AlphabetError),
        ("a.sto", "# STOCKHOLM 1.0\nx  GGGAAACCC\n//\n", StructureError),
        ("a.dbn", ">a\nGGGAAACCC\n(((...))\n", StructureError),
    ],
)
def test_broken_files(tmp_path: Path, name: str, text: str, error: type[Exception]) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(error):
        read_homologs(tmp_path / name)


def test_the_command(cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    members = family(rng, CLOVERLEAF, 12, keep=0.8)
    (tmp_path / "rnas.fa").write_text(f">x\n{members[0]}\n")
    (tmp_path / "known.dbn").write_text(
        "".join(f">m{k}\n{m}\n{CLOVERLEAF}\n" for k, m in enumerate(members[1:]))
    )
    ran = cli("fold", tmp_path / "rnas.fa", "--homologs", tmp_path / "known.dbn", "-f", "jsonl")
    assert ran.code == 0, ran.err
    row = json.loads(ran.out)
    assert (row["structure"], row["homologs"]) == (CLOVERLEAF, 11)
    ran = cli("fold", tmp_path / "rnas.fa", "--homologs", tmp_path / "none.fa")
    assert ran.code == 3
    assert "none.fa" in ran.err
