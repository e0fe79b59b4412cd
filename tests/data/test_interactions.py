"""Pairs of RNAs: what is read, what is refused, seeds, and decoys that give nothing away."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from stemloop.data.interactions import (
    MIRTAR,
    Columns,
    Pair,
    open_pairs,
    read_joined,
    read_paired_fasta,
    read_table,
    split_joined,
)
from stemloop.data.mirna_sites import (
    SEEDS,
    _Sites,
    family,
    matched_decoys,
    reverse_complement,
    seed_match,
)
from stemloop.errors import AlphabetError, FormatError

LET7 = "UGAGGUAGUAGGUUGUAUAGUU"


def rna(rng: np.random.Generator, length: int) -> str:
    return "".join(rng.choice(list("ACGU"), length))


def true_pairs(seed: int, count: int, families: int = 12) -> list[Pair]:
    """MicroRNAs and sites of 40 nt: an 8mer, a 6mer or no match."""
    rng = np.random.default_rng(seed)
    mirnas = [rna(rng, 22) for _ in range(families)]
    found = []
    for k in range(count):
        mirna = mirnas[k % families]
        site = rna(rng, 40)
        size = (8, 7, 0)[k % 3]
        if size:
            word = reverse_complement(mirna[1:size])
            site = site[:26] + word + site[26 + len(word) :]
        found.append(Pair(mirna, site, f"m{k % families}", f"g{k}", True, k))
    return found


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_tables_are_read_by_their_columns(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / f"x.{'csv' if delimiter == ',' else 'tsv'}"
    path.write_text("\n".join(delimiter.join(row) for row in (
        ("site", "hit", "mir", "name"), ("acgt", "1", "GGA", "a"), ("UUUU", "no", "CCA", "b"),
    )) + "\n")  # fmt: skip
    columns = Columns("mir", "site", first_id="name", label="hit")
    found = list(read_table(path, columns))
    assert [(p.first, p.second, p.first_id, p.second_id, p.label) for p in found] == [
        ("GGA", "ACGU", "a", "1", True),
        ("CCA", "UUUU", "b", "2", False),
    ]
    flipped = list(read_table(path, columns, flip_first=True))
    assert [p.first for p in flipped] == ["AGG", "ACC"]
    assert [p.second for p in flipped] == [p.second for p in found]
    assert list(open_pairs(path, columns=columns)) == found


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("first,other\nA,C\n", FormatError, ":1: no column 'second'"),
        ("first,second\nA\n", FormatError, ":2: a field is missing"),
        ("first,second\nA,C\nA,J!\n", AlphabetError, ":3: record '2'"),
        ("first,second\n", FormatError, ":1: no pairs"),
        ("first,second\nA,\n", FormatError, ":2: record '1': no nucleotides"),
    ],
)
def test_broken_tables_are_refused(tmp_path: Path, text: str, kind, said: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(kind, match=said):
        list(read_table(path))


def test_labels_are_yes_or_no() -> None:
    with pytest.raises(FormatError, match="label 'maybe'"):
        list(read_table(io.StringIO("first,second,y\nA,C,maybe\n"), Columns(label="y")))


def test_two_fasta_files_are_read_side_by_side(tmp_path: Path) -> None:
    one, two, short = (tmp_path / name for name in ("a.fa", "b.fa", "c.fa"))
    one.write_text(">m1\nACC\n>m2\nGGU\n")
    two.write_text(">t1\nAAAA\n>t2\nCC\n")
    short.write_text(">t1\nAAAA\n")
    found = list(read_paired_fasta(one, two, flip_first=True))
    assert [(p.first, p.second, p.second_id) for p in found] == [
        ("CCA", "AAAA", "t1"),
        ("UGG", "CC", "t2"),
    ]
    for a, b in ((one, short), (short, one)):
        with pytest.raises(FormatError, match="no partner"):
            list(read_paired_fasta(a, b))


def test_joined_strands_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_text(">x\nacgt&GG\nC\n")
    assert list(read_joined(path)) == [Pair("ACGU", "GGC", "x.1", "x.2")]
    for bad in ("ACGU", "A&C&G", "A&"):
        with pytest.raises(FormatError, match="expected two"):
            split_joined(bad)


def test_seed_matches_are_those_of_the_table_of_kinds() -> None:
    target = reverse_complement(LET7)  # ends with the match to position 1
    assert target.endswith("CUACCUCA")
    cases = {
        "8mer": "GG" + target[-8:-1] + "A",
        "7mer-m8": "GG" + target[-8:-1] + "G",
        "7mer-A1": "GGG" + target[-7:-1] + "A",
        "6mer": "GGG" + target[-7:-1] + "G",
        "offset-6mer": "GG" + target[-8:-2] + "GG",
        "none": "GGGGGGGG",
    }
    assert list(cases) == list(SEEDS)
    for kind, site in cases.items():
        assert seed_match(LET7, site)[0] == kind


def test_the_index_of_words_agrees_with_a_search() -> None:
    rng = np.random.default_rng(1)
    sites = [rna(rng, int(n)) for n in rng.integers(8, 60, 400)]
    index = _Sites(sites)
    for _ in range(60):
        mirna = rna(rng, 4) * 5  # short periods: many matches
        kind, place = index.matches(mirna)
        expected = [seed_match(mirna, site) for site in sites]
        assert [SEEDS[k] for k in kind] == [found for found, _ in expected]
        assert place.tolist() == [at for _, at in expected]


def test_decoys_are_matched_and_belong_to_others() -> None:
    pairs = true_pairs(0, 600, families=12)
    both = matched_decoys(pairs, seed=1)
    assert len(both) > 200
    assert both == matched_decoys(pairs, seed=1)
    uses: Counter[str] = Counter()
    for true, decoy in both:
        assert decoy.first == true.first
        assert (true.label, decoy.label) == (True, False)
        assert len(true.second) == len(decoy.second) >= 20
        assert seed_match(true.first, true.second) == seed_match(decoy.first, decoy.second)
        owners = [p for p in pairs if decoy.second in p.second]
        assert owners
        assert all(family(p.first) != family(true.first) for p in owners)
        uses[owners[0].second] += 1
    assert max(uses.values()) == 1


def test_sites_in_genes_that_a_family_regulates_are_no_decoys() -> None:
    rng = np.random.default_rng(3)
    a, b = rna(rng, 22), rna(rng, 22)
    pairs = [Pair(a, "C" * 40, "a", "same", True, 0), Pair(b, "CCCA" * 10, "b", "same", True, 1)]
    assert matched_decoys(pairs) == []
    apart = [pairs[0], Pair(b, "CCCA" * 10, "b", "other", True, 1)]
    assert len(matched_decoys(apart)) == 2


def test_the_public_table_is_stored_backwards(shared_data: Path) -> None:
    path = shared_data / "6_rri" / "MirTarRAW.csv.xz"
    pairs = list(read_table(path, MIRTAR, flip_first=True))
    assert len(pairs) == 27719
    assert sum(bool(p.label) for p in pairs) == 13859
    let7 = next(p for p in pairs if p.first_id == "hsa-let-7b-5p")
    assert let7.first == "UGAGGUAGUAGGUUGUGUGGUU"
    true = [p for p in pairs if p.label]
    seeded = sum(seed_match(p.first, p.second)[0] != "none" for p in true) / len(true)
    backwards = sum(seed_match(p.first[::-1], p.second)[0] != "none" for p in true) / len(true)
    assert seeded > 0.65 > 0.2 > backwards
