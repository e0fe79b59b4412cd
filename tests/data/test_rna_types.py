"""Types of four vocabularies, and of Rfam families, against what the databases say."""

from __future__ import annotations

import csv
import lzma
import re
from pathlib import Path

import pytest

from stemloop.alphabet import RNAERNIE_TYPES
from stemloop.data.rna_types import described_type, family_type, more_specific, rna_type

#: The types in RNAcentral's headers, as RNAcentral spells them.
RNACENTRAL = (
    "RNase_MRP_RNA RNase_P_RNA SRP_RNA Y_RNA antisense_RNA autocatalytically_spliced_intron "
    "guide_RNA hammerhead_ribozyme lncRNA miRNA misc_RNA ncRNA other piRNA pre_miRNA precursor_RNA "
    "rRNA ribozyme sRNA scRNA scaRNA siRNA snRNA snoRNA tRNA telomerase_RNA tmRNA vault_RNA"
).split()


def test_rnacentral_names_are_the_28_types() -> None:
    assert [rna_type(name) for name in RNACENTRAL] == list(RNAERNIE_TYPES)


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("Gene; rRNA;", "rRNA"),
        ("Gene; tRNA;", "tRNA"),
        ("Gene; snRNA; splicing;", "snRNA"),
        ("Gene; snRNA;", "snRNA"),
        ("Gene; snRNA; snoRNA; CD-box;", "snoRNA"),
        ("Gene; snRNA; snoRNA; HACA-box", "snoRNA"),
        ("Gene; snRNA; snoRNA; scaRNA;", "scaRNA"),
        ("Gene; miRNA;", "premiRNA"),
        ("Gene; lncRNA;", "lncRNA"),
        ("Gene; sRNA;", "sRNA"),
        ("Gene; antisense; ", "antisenseRNA"),
        ("Gene; ribozyme;", "ribozyme"),
        ("Gene; CRISPR;", "other"),
        ("Gene;", "ncRNA"),
        ("Intron;", "autocatalyticallysplicedintron"),
        ("Cis-reg;", "other"),
        ("Cis-reg; riboswitch;", "other"),
        ("Cis-reg; IRES;", "other"),
        (";", ""),
        ("lincRNA", "lncRNA"),
        ("Mt_rRNA", "rRNA"),
        ("SO:0000584", "tmRNA"),
        ("protein_coding", ""),
        ("", ""),
    ],
)
def test_terms(term: str, expected: str) -> None:
    assert rna_type(term) == expected


@pytest.mark.parametrize(
    ("accession", "expected"),
    [
        ("RF00005", "tRNA"),
        ("RF00001", "rRNA"),
        ("RF00006", "vaultRNA"),
        ("RF00008", "hammerheadribozyme"),
        ("RF00163", "hammerheadribozyme"),
        ("RF00009", "RNasePRNA"),
        ("RF00010", "RNasePRNA"),
        ("RF00011", "RNasePRNA"),
        ("RF00017", "SRPRNA"),
        ("RF00169", "SRPRNA"),
        ("RF00019", "YRNA"),
        ("RF00023", "tmRNA"),
        ("RF00024", "telomeraseRNA"),
        ("RF00028", "autocatalyticallysplicedintron"),
        ("RF00029", "autocatalyticallysplicedintron"),
        ("RF00030", "RNaseMRPRNA"),
        ("RF00050", "other"),
        ("RF00104", "premiRNA"),
        ("RF99999", ""),
    ],
)
def test_families(accession: str, expected: str) -> None:
    assert family_type(accession) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Escherichia coli 16S ribosomal RNA, partial sequence", "rRNA"),
        ("Homo sapiens (human) microRNA hsa-mir-21 precursor, stem-loop", "premiRNA"),
        ("Homo sapiens small nucleolar RNA host gene 1", "lncRNA"),
        ("Homo sapiens small nucleolar RNA, C/D box 3A", "snoRNA"),
        ("Bacillus subtilis ribonuclease P RNA", "RNasePRNA"),
        ("leucine--tRNA ligase", ""),
        ("rRNA methyltransferase mRNA", ""),
        ("Homo sapiens long non-protein coding RNA 9", "lncRNA"),
        ("chromosome 1", ""),
    ],
)
def test_descriptions(text: str, expected: str) -> None:
    assert described_type(text) == expected


def test_more_specific_is_a_preference_with_the_first_winning_ties() -> None:
    for first in ("", *RNAERNIE_TYPES):
        assert more_specific(first, first) == first
        assert more_specific("", first) == first
        assert more_specific(first, "") == first
        for second in RNAERNIE_TYPES:
            assert more_specific(first, second) in (first, second)
            # Whichever stays in one order stays in the other, but for ties.
            if more_specific(first, second) == second != first:
                assert more_specific(second, first) == second


def test_table_of_families_agrees_with_rfams_type_lines(shared_data: Path) -> None:
    # Where the type line is more than "Gene;", the table may only refine it.
    generic = {"Gene;", "Gene; ribozyme;", "Gene; antisense;", "Gene; snRNA;", "Intron;"}
    path = shared_data / "1_pretrain/rfam_14.2/rfam_families.tsv"
    with open(path, encoding="utf-8") as handle:
        for row in csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE):
            line = row["rna_type"].strip()
            found = family_type(row["id"])
            assert found in RNAERNIE_TYPES
            if line not in generic:
                assert found == rna_type(line if line.endswith(";") else line + ";"), row["id"]


def test_every_family_of_the_seed_file_has_a_type(shared_data: Path) -> None:
    path = shared_data / "1_pretrain/rfam_14.2/Rfam.14.2.seed.sto.xz"
    with lzma.open(path, "rt", errors="replace") as handle:
        accessions = set(re.findall(r"^#=GF AC\s+(RF\d{5})", handle.read(), re.MULTILINE))
    assert len(accessions) > 3000
    assert [a for a in accessions if not family_type(a)] == []
