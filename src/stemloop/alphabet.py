"""Nucleotide letters, the one policy on how text becomes letters, and the models' token tables.

Policy, the same for every reader, tokenizer and model:

====================  ==========================================================================
in the text           becomes
====================  ==========================================================================
``A C G U``           themselves
``a c g u ...``       upper case (soft masking is dropped)
``T``                 ``U`` (RiNALMo stores this row of its vocabulary as ``T``: same token)
``R Y K M S W``       themselves: IUPAC codes are tokens of their own
``B D H V N``         themselves
``X``                 ``N`` (both mean "some nucleotide")
``I``                 itself (inosine)
``-``                 itself (gap)
``.`` ``~``           ``-`` (the other gap signs of alignments)
blanks, line ends     left out, and not counted in positions
anything else         :class:`~stemloop.errors.AlphabetError` naming record and position
====================  ==========================================================================

No character ever turns into an unknown token without a word. The one documented exception is an
alphabet that lacks some of the letters above: RNAErnie knows ``A C G T`` only, RNAErnie 2 also
``N``, and they give their ``[UNK]`` to the other letters of the table, as their own tokenizers do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from stemloop.errors import AlphabetError

#: Canonical letters: nucleotides, inosine, IUPAC codes, gap.
LETTERS = "ACGUIRYKMSWBDHVN-"

_SYNONYMS = {"T": "U", "X": "N", ".": "-", "~": "-"}
_BLANKS = b" \t\r\n\v\f"
_PROTEIN_ONLY = frozenset("EFLPQJOZ*")

#: Stand for "sequence starts" and "sequence ends" while many are encoded at once. Sequences are
#: ASCII, so neither can be in one.
_START, _END = "\xfe", "\xff"
#: What the tables give for bytes outside the policy.
_BAD = 0xFF


def _spellings() -> dict[str, str]:
    """Every accepted character with the canonical letter it stands for."""
    accepted = {letter: letter for letter in LETTERS} | _SYNONYMS
    return accepted | {text.lower(): letter for text, letter in accepted.items()}


def _canonical_table() -> bytes:
    table = bytearray([_BAD]) * 256
    for text, letter in _spellings().items():
        table[ord(text)] = ord(letter)
    return bytes(table)


_CANONICAL = _canonical_table()


def normalise(
    sequence: str | bytes,
    *,
    record: str | None = None,
    path: str | None = None,
    line: int | None = None,
) -> str:
    """Bring nucleotide text into canonical form (see the table at the top of this module).

    Parameters
    ----------
    sequence : str or bytes
        Nucleotides in any accepted spelling.
    record, path, line : optional
        Where the text came from, for the error message.

    Returns
    -------
    str
        Upper-case RNA; blanks removed.

    Raises
    ------
    AlphabetError
        A character is no nucleotide code. The message has its position, counted from 1.

    Examples
    --------
    >>> normalise("ggtn.c x")
    'GGUN-CN'
    >>> normalise("GG5A", record="r1")
    Traceback (most recent call last):
    ...
    stemloop.errors.AlphabetError: record 'r1': '5' at position 3 is no nucleotide code
    """
    try:
        raw = sequence if isinstance(sequence, bytes) else sequence.encode("ascii")
    except UnicodeEncodeError:
        raise _unknown(str(sequence), record, path, line) from None
    text = raw.translate(_CANONICAL, _BLANKS)
    if _BAD in text:
        raise _unknown(raw.decode("latin-1"), record, path, line)
    return text.decode("ascii")


def first_unknown(sequence: str) -> int | None:
    """Index in `sequence` (blanks counted) of the first character that is no nucleotide code.

    Examples
    --------
    >>> first_unknown("AC GE")
    4
    """
    accepted = _spellings().keys() | set(_BLANKS.decode())
    return next((i for i, c in enumerate(sequence) if c not in accepted), None)


def _unknown(
    sequence: str, record: str | None, path: str | None, line: int | None
) -> AlphabetError:
    where = first_unknown(sequence) or 0
    blanks = sum(c in _BLANKS.decode() for c in sequence[:where])
    message = f"{sequence[where]!r} at position {where - blanks + 1} is no nucleotide code"
    letters = [c for c in sequence.upper() if not c.isspace()]
    share = sum(c in "ACGUTN" for c in letters) / len(letters)
    if share < 0.75 and not _PROTEIN_ONLY.isdisjoint(letters):
        message += "; the sequence looks like protein"
    return AlphabetError(message, path=path, line=line, record=record)


@dataclass(frozen=True)
class Alphabet:
    """The tokens of a model and their ids.

    Parameters
    ----------
    name : str
        Name, as it stands in model directories.
    tokens : tuple of str
        Tokens; the place is the id. The row of U may be called ``T``.
    pad, cls, eos, unk, mask : str
        The special tokens' texts.

    Attributes
    ----------
    ids : mapping of str to int
        Id of every token.
    pad_id, cls_id, eos_id, unk_id, mask_id : int
        Ids of the special tokens.

    Examples
    --------
    >>> RINALMO.encode("GGUN").tolist()
    [0, 7, 7, 8, 20, 2]
    >>> RINALMO.decode([0, 7, 7, 8, 20, 2])
    'GGUN'
    """

    name: str
    tokens: tuple[str, ...]
    pad: str = "<pad>"
    cls: str = "<cls>"
    eos: str = "<eos>"
    unk: str = "<unk>"
    mask: str = "<mask>"
    ids: Mapping[str, int] = field(init=False, repr=False, compare=False)
    _table: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ids = {token: i for i, token in enumerate(self.tokens)}
        if len(ids) != len(self.tokens) or len(ids) >= _BAD:
            raise ValueError(f"alphabet {self.name!r}: tokens must differ and number under {_BAD}")
        table = bytearray([_BAD]) * 256
        for text, letter in _spellings().items():
            row = "T" if letter == "U" and "U" not in ids else letter
            table[ord(text)] = ids.get(row, ids[self.unk])
        table[ord(_START)], table[ord(_END)] = ids[self.cls], ids[self.eos]
        object.__setattr__(self, "ids", MappingProxyType(ids))
        object.__setattr__(self, "_table", bytes(table))

    def __reduce__(self) -> tuple[type[Alphabet], tuple[str | tuple[str, ...], ...]]:
        # The mapping proxy cannot be pickled; workers of data loaders need the alphabet.
        special = (self.pad, self.cls, self.eos, self.unk, self.mask)
        return Alphabet, (self.name, self.tokens, *special)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def pad_id(self) -> int:
        """Id of the padding token."""
        return self.ids[self.pad]

    @property
    def cls_id(self) -> int:
        """Id of the token before every sequence."""
        return self.ids[self.cls]

    @property
    def eos_id(self) -> int:
        """Id of the token after every sequence."""
        return self.ids[self.eos]

    @property
    def unk_id(self) -> int:
        """Id of the unknown token."""
        return self.ids[self.unk]

    @property
    def mask_id(self) -> int:
        """Id of the mask."""
        return self.ids[self.mask]

    def encode(self, sequence: str | bytes, *, special: bool = True) -> npt.NDArray[np.uint8]:
        """Token ids of one sequence, shape (L + 2,), or (L,) where `special` is false.

        Raises
        ------
        AlphabetError
            A character is no nucleotide code.

        Examples
        --------
        >>> RINALMO.encode("acgt", special=False).tolist()
        [5, 6, 7, 8]
        """
        return self.encode_many((sequence,), special=special)[0]

    def encode_many(
        self,
        sequences: Iterable[str | bytes],
        *,
        special: bool = True,
        names: Sequence[str] | None = None,
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
        """Token ids of many sequences, packed one after the other: no padding.

        One join and one table look-up for all of them.

        Parameters
        ----------
        sequences : iterable of str or bytes
            Nucleotides.
        special : bool
            Put CLS before and EOS after every sequence.
        names : sequence of str, optional
            Record identifiers for error messages; places counted from 1 otherwise.

        Returns
        -------
        ids : numpy.ndarray of uint8, shape (T,)
            Tokens of all sequences.
        cu_seqlens : numpy.ndarray of int32, shape (B + 1,)
            Sequence b is ``ids[cu_seqlens[b]:cu_seqlens[b + 1]]``.

        Raises
        ------
        AlphabetError
            A character is no nucleotide code.

        Examples
        --------
        >>> ids, cu_seqlens = RINALMO.encode_many(["AC", "G"])
        >>> ids.tolist(), cu_seqlens.tolist()
        ([0, 5, 6, 2, 0, 7, 2], [0, 4, 7])
        """
        texts = [s if isinstance(s, str) else s.decode("latin-1") for s in sequences]
        ids = self._join(texts, special)
        if ids is None:
            # Either blanks, which are dropped here, or an error that names what is wrong.
            texts = [
                normalise(text, record=names[i] if names is not None else f"#{i + 1}")
                for i, text in enumerate(texts)
            ]
            ids = self._join(texts, special)
            assert ids is not None
        cu_seqlens = np.zeros(len(texts) + 1, np.int32)
        lengths = np.fromiter(map(len, texts), np.int32, len(texts))
        np.cumsum(lengths + (2 if special else 0), out=cu_seqlens[1:])
        return ids, cu_seqlens

    def _join(self, texts: list[str], special: bool) -> npt.NDArray[np.uint8] | None:
        """Ids of the joined texts, or None where a character has no id."""
        if not all(map(str.isascii, texts)):
            return None
        joined = (_END + _START).join(texts) if special else "".join(texts)
        if special and texts:
            joined = _START + joined + _END
        # A bytearray, so that the array over it can be written to.
        ids = bytearray(joined, "latin-1").translate(self._table)
        return None if _BAD in ids else np.frombuffer(ids, np.uint8)

    def decode(self, ids: Iterable[int]) -> str:
        """Canonical RNA text of token ids (U for the row called T).

        CLS, EOS and padding are left out; other tokens that are no letters, such as the mask,
        stand there in full.

        Raises
        ------
        AlphabetError
            An id is outside the alphabet.

        Examples
        --------
        >>> RINALMO.decode([0, 5, 4, 8, 2, 1])
        'A<mask>U'
        """
        silent = {self.pad_id, self.cls_id, self.eos_id}
        out = []
        for place, i in enumerate(map(int, ids)):
            if not 0 <= i < len(self.tokens):
                raise AlphabetError(
                    f"token id {i} at position {place + 1} is outside alphabet {self.name!r}",
                    expected=f"0 to {len(self.tokens) - 1}",
                )
            if i not in silent:
                out.append("U" if self.tokens[i] == "T" else self.tokens[i])
        return "".join(out)


#: RiNALMo (Penic et al. 2025, Nature Communications 16:5671): the row of U is called T.
RINALMO = Alphabet(
    "rinalmo",
    ("<cls>", "<pad>", "<eos>", "<unk>", "<mask>", *"ACGTIRYKMSWBDHVN-"),
)

#: The RNA types that RNAErnie was told of, in the order of its vocabulary.
RNAERNIE_TYPES = (
    *("RNaseMRPRNA", "RNasePRNA", "SRPRNA", "YRNA", "antisenseRNA"),
    *("autocatalyticallysplicedintron", "guideRNA", "hammerheadribozyme", "lncRNA", "miRNA"),
    *("miscRNA", "ncRNA", "other", "piRNA", "premiRNA", "precursorRNA", "rRNA", "ribozyme"),
    *("sRNA", "scRNA", "scaRNA", "siRNA", "snRNA", "snoRNA", "tRNA", "telomeraseRNA"),
    *("tmRNA", "vaultRNA"),
)

#: RNAErnie (Wang et al. 2024, Nature Machine Intelligence 6:548): letters outside ACGU are [UNK].
RNAERNIE = Alphabet(
    "rnaernie",
    ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEL]", "[IND]", *RNAERNIE_TYPES, *"ATCG"),
    pad="[PAD]",
    cls="[CLS]",
    eos="[SEP]",
    unk="[UNK]",
    mask="[MASK]",
)

#: RNAErnie 2 (its authors' PyTorch model): no prompt, no RNA types; N is a token of its own.
RNAERNIE2 = Alphabet(
    "rnaernie2",
    ("[PAD]", "[UNK]", "[CLS]", "[EOS]", "[SEP]", "[MASK]", *"AUCGN"),
    pad="[PAD]",
    cls="[CLS]",
    eos="[EOS]",
    unk="[UNK]",
    mask="[MASK]",
)

#: Ours: RiNALMo's ids, then RNAErnie's prompt token and RNA types as tokens of their own.
STEMLOOP = Alphabet("stemloop", (*RINALMO.tokens, "[IND]", *RNAERNIE_TYPES))
