"""What databases call the kinds of RNA, brought to the 28 types that RNAErnie's prompts know.

Four vocabularies are understood: RNAcentral's and INSDC's ncRNA classes, Ensembl's and GENCODE's
biotypes, Sequence Ontology names, and Rfam's ``TP`` lines. Rfam families have their type from a
table in this package, made from Rfam's own ``TP`` line and Sequence Ontology term: ``Gene;`` alone
does not say that RF00023 is tmRNA. Elements of messages (riboswitches, leaders, IRES) are
``other``, where RNAcentral has them.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib.resources import files

from stemloop.alphabet import RNAERNIE_TYPES

#: Each type with the terms for it, compared without case and punctuation.
_TERMS = {
    "RNaseMRPRNA": "RNase_MRP_RNA|SO:0000385",
    "RNasePRNA": "RNase_P_RNA|ribonuclease P RNA|SO:0000386",
    "SRPRNA": "SRP_RNA|signal recognition particle RNA|7SL RNA|SO:0000590",
    "YRNA": "Y_RNA|SO:0000405",
    "antisenseRNA": "antisense_RNA|antisense|SO:0000644",
    "autocatalyticallysplicedintron": (
        "autocatalytically_spliced_intron|group_I_intron|group_II_intron|intron|SO:0000587|"
        "SO:0000588|SO:0000603"
    ),
    "guideRNA": "guide_RNA|SO:0000602",
    "hammerheadribozyme": "hammerhead_ribozyme|SO:0000380",
    "lncRNA": (
        "lnc_RNA|long non-coding RNA|lincRNA|sense_intronic|sense_overlapping|processed_transcript|"
        "bidirectional_promoter_lncRNA|3prime_overlapping_ncRNA|macro_lncRNA|non_coding|"
        "antisense_lncRNA|retained_intron|lincRNA_gene|SO:0001463|SO:0001641|SO:0001877"
    ),
    "miRNA": "microRNA|mature microRNA|SO:0000276",
    "miscRNA": "misc_RNA",
    "ncRNA": "non-coding RNA|SO:0000655",
    "other": (
        "riboswitch|ribozyme_like|leader|IRES|thermoregulator|frameshift_element|CRISPR|cisreg|"
        "circRNA|circular_RNA"
    ),
    "piRNA": "piwi-interacting RNA|SO:0001035",
    "premiRNA": "pre_miRNA|miRNA_primary_transcript|pre-microRNA|stem-loop|SO:0001244|SO:0000647",
    "precursorRNA": "precursor_RNA|primary_transcript",
    "rRNA": (
        "ribosomal RNA|Mt_rRNA|rRNA_primary_transcript|SSU_rRNA|LSU_rRNA|SO:0000252|SO:0000652|"
        "SO:0000375|SO:0000650|SO:0000651|SO:0001000"
    ),
    "ribozyme": "SO:0000374",
    "sRNA": "small RNA|bacterial_small_RNA|small regulatory ncRNA|antitoxin|SO:0000370",
    "scRNA": "small cytoplasmic RNA|small_cytoplasmic_RNA|SO:0000013",
    "scaRNA": "scaRNA_gene|small Cajal body specific RNA|SO:0002095",
    "siRNA": "small_interfering_RNA|tasiRNA|rasiRNA|SO:0000646",
    "snRNA": (
        "small_nuclear_RNA|spliceosomal RNA|splicing|SO:0000274|SO:0000391|SO:0000392|SO:0000393|"
        "SO:0000394|SO:0000395|SO:0000396|SO:0000398|SO:0000399"
    ),
    "snoRNA": (
        "small_nucleolar_RNA|C_D_box_snoRNA|H_ACA_box_snoRNA|CD-box|HACA-box|SO:0000275|SO:0000593|"
        "SO:0000594|SO:0001179"
    ),
    "tRNA": "transfer RNA|Mt_tRNA|tRNA_pseudogene|SO:0000253|SO:0005857",
    "telomeraseRNA": "telomerase_RNA|SO:0000390",
    "tmRNA": "transfer-messenger RNA|SO:0000584",
    "vaultRNA": "vault_RNA|vtRNA|SO:0000404",
}

#: How much a type says: of two labels for one sequence the higher stays. Unlisted types: 3.
_GRADES = {"": 0, "other": 1, "miscRNA": 1, "ncRNA": 1} | dict.fromkeys(
    ("precursorRNA", "sRNA", "lncRNA", "antisenseRNA", "ribozyme", "snRNA", "scRNA"), 2
)
_GRADES["scaRNA"] = 4  # a snoRNA, too

#: Descriptions of proteins and their genes name RNAs, too: "tRNA ligase", "rRNA methyltransferase".
_PROTEIN = re.compile(
    r"\b\w*(?:synthetase|synthase|ligase|transferase|hydrolase|helicase|isomerase)\b|\bmRNA\b|"
    r"(?<!non-)(?<!non )\bprotein\b",
    re.IGNORECASE,
)
#: Words of free descriptions, most telling first; only for headers without a type of their own.
_WORDS = tuple(
    (re.compile(pattern, re.IGNORECASE), name)
    for pattern, name in (
        (r"\bhost gene\b", "lncRNA"),
        (r"\btmRNA\b|transfer-messenger RNA|\bssrA\b", "tmRNA"),
        (r"\bRNase MRP\b", "RNaseMRPRNA"),
        (r"\b(?:RNase|ribonuclease) P\b", "RNasePRNA"),
        (r"signal recognition particle|\bSRP RNA\b|\b7SL\b", "SRPRNA"),
        (r"\bY[_ ]RNA\b|\bRNY\d", "YRNA"),
        (r"\bvault[_ ]RNA\b|\bvtRNA", "vaultRNA"),
        (r"\btelomerase RNA\b", "telomeraseRNA"),
        (r"hammerhead", "hammerheadribozyme"),
        (r"\bgroup[- ]II? intron\b", "autocatalyticallysplicedintron"),
        (r"\b(?:guide RNA|gRNA)\b", "guideRNA"),
        (r"\bscaRNA|small Cajal", "scaRNA"),
        (r"\bsnoRNA|small nucleolar|\bSNOR[AD]\d", "snoRNA"),
        (r"\bsnRNA|small nuclear|spliceosomal RNA", "snRNA"),
        (r"\bpiRNA|piwi-interacting", "piRNA"),
        (r"\b(?:pre-?miRNA|precursor microRNA|microRNA precursor|stem-loop)\b", "premiRNA"),
        (r"\bmiRNA|\bmicroRNA|\b(?:miR|let)-\d", "miRNA"),
        (r"\bsiRNA|small interfering", "siRNA"),
        (r"\btRNA|transfer RNA", "tRNA"),
        (r"\brRNA|ribosomal RNA", "rRNA"),
        (r"\blncRNA|\blincRNA|long (?:intergenic )?non-?(?:protein[- ])?coding", "lncRNA"),
        (r"\bantisense RNA\b", "antisenseRNA"),
        (r"\bribozyme\b", "ribozyme"),
        (r"\bscRNA\b|small cytoplasmic", "scRNA"),
        (r"\bsRNA\b|small regulatory RNA", "sRNA"),
    )
)


def _key(term: str) -> str:
    return re.sub(r"[^a-z0-9]", "", term.lower())


def _table() -> dict[str, str]:
    table = {_key(name): name for name in RNAERNIE_TYPES}
    for name, terms in _TERMS.items():
        table |= {_key(term): name for term in terms.split("|")}
    return table


_TABLE = _table()


@lru_cache(4096)
def rna_type(term: str) -> str:
    """Type for a term of a database, or an empty string where the term says nothing known.

    Parameters
    ----------
    term : str
        For instance ``snoRNA``, ``vault_RNA``, ``lincRNA``, ``SO:0000584``, or an Rfam ``TP``
        line such as ``Gene; snRNA; snoRNA; CD-box;``.

    Examples
    --------
    >>> rna_type("RNase_P_RNA"), rna_type("Mt_tRNA"), rna_type("protein_coding")
    ('RNasePRNA', 'tRNA', '')
    >>> rna_type("Gene; snRNA; snoRNA; scaRNA;"), rna_type("Cis-reg; riboswitch;")
    ('scaRNA', 'other')
    """
    if ";" in term:
        return _rfam_type(term)
    return _TABLE.get(_key(term), "")


def _rfam_type(line: str) -> str:
    words = [word for part in line.split(";") if (word := part.strip())]
    if not words:
        return ""
    if words[0].lower().startswith("cis-reg"):
        return "other"
    if words[-1].lower() == "mirna":
        return "premiRNA"  # Rfam aligns the hairpin, not the mature strand
    for word in reversed(words):
        if name := _TABLE.get(_key(word)):
            return name
    return "ncRNA"


def described_type(text: str) -> str:
    """Type that a free description names, or an empty string.

    Examples
    --------
    >>> described_type("Pseudomonas abyssi 16S ribosomal RNA, partial sequence")
    'rRNA'
    >>> described_type("Homo sapiens chromosome 1"), described_type("leucine tRNA ligase")
    ('', '')
    """
    if _PROTEIN.search(text):
        return ""
    return next((name for pattern, name in _WORDS if pattern.search(text)), "")


def more_specific(first: str, second: str) -> str:
    """The label that says more; `first` where both say as much.

    Examples
    --------
    >>> more_specific("ncRNA", "tmRNA"), more_specific("", "other"), more_specific("rRNA", "tRNA")
    ('tmRNA', 'other', 'rRNA')
    """
    return second if _GRADES.get(second, 3) > _GRADES.get(first, 3) else first


@cache
def _families() -> dict[str, str]:
    text = files("stemloop.data").joinpath("tables/rfam_types.tsv").read_text()
    rows = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    return {row[0]: row[2] for row in rows}


def family_type(accession: str) -> str:
    """Type of an Rfam family, or an empty string where the family is not in the table.

    Examples
    --------
    >>> [family_type(f"RF000{n}") for n in ("05", "09", "17", "23", "24", "28", "30")]
    ['tRNA', 'RNasePRNA', 'SRPRNA', 'tmRNA', 'telomeraseRNA', 'autocatalyticallysplicedintron', 'RNaseMRPRNA']
    """  # noqa: E501
    return _families().get(accession, "")
