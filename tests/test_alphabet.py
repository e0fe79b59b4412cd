"""The policy on characters, the id tables, and the packed encoder against a plain loop."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemloop.alphabet import LETTERS, RINALMO, RNAERNIE, RNAERNIE_TYPES, Alphabet, normalise
from stemloop.errors import AlphabetError

SPELLINGS = LETTERS + "TX.~" + (LETTERS + "TX").lower()
sequences = st.text(alphabet=SPELLINGS, max_size=60)


def test_rinalmo_ids() -> None:
    expected = ["<cls>", "<pad>", "<eos>", "<unk>", "<mask>", *"ACGTIRYKMSWBDHVN-"]
    assert list(RINALMO.tokens) == expected
    assert len(RINALMO) == 22
    assert (RINALMO.cls_id, RINALMO.pad_id, RINALMO.eos_id) == (0, 1, 2)
    assert (RINALMO.unk_id, RINALMO.mask_id) == (3, 4)
    assert RINALMO.ids["T"] == 8


def test_rnaernie_ids() -> None:
    assert len(RNAERNIE) == 39
    assert len(RNAERNIE_TYPES) == 28
    assert RNAERNIE.tokens[:7] == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEL]", "[IND]")
    assert (RNAERNIE.ids["RNaseMRPRNA"], RNAERNIE.ids["vaultRNA"]) == (7, 34)
    assert RNAERNIE.tokens[35:] == ("A", "T", "C", "G")
    assert RNAERNIE.encode("acguN").tolist() == [2, 35, 37, 38, 36, 1, 3]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("acgt", "ACGU"),
        ("ACGUTacgut", "ACGUUACGUU"),
        ("RYKMSWBDHVNrykmswbdhvn", "RYKMSWBDHVN" * 2),
        ("XxIi", "NNII"),
        ("-.~", "---"),
        (" A\tC\r\nG ", "ACG"),
        (b"acg", "ACG"),
        ("", ""),
    ],
)
def test_policy(text: str | bytes, canonical: str) -> None:
    assert normalise(text) == canonical


def test_every_other_ascii_character_is_refused() -> None:
    for code in range(256):
        char = chr(code)
        if char in SPELLINGS or char in " \t\r\n\v\f":
            continue
        with pytest.raises(AlphabetError, match="position 2 is no nucleotide code"):
            normalise("A" + char)
        with pytest.raises(AlphabetError, match="position 2"):
            RINALMO.encode("A" + char)


def test_error_names_place() -> None:
    with pytest.raises(AlphabetError) as caught:
        normalise("AC GU\nJ", record="r7", path="x.fa", line=3)
    assert str(caught.value) == "x.fa:3: record 'r7': 'J' at position 5 is no nucleotide code"
    with pytest.raises(AlphabetError, match=r"record 'b': '5' at position 3"):
        RINALMO.encode_many(["ACG", "AC5"], names=["a", "b"])
    with pytest.raises(AlphabetError, match=r"record '#2'"):
        RINALMO.encode_many(["ACG", "AC5"])
    with pytest.raises(AlphabetError, match="'µ' at position 1"):
        normalise("µACG")


def test_protein_is_called_protein() -> None:
    with pytest.raises(AlphabetError, match="looks like protein"):
        normalise("MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ")
    with pytest.raises(AlphabetError) as caught:
        normalise("ACGUACGUACGUE")
    assert "protein" not in str(caught.value)


@given(st.lists(sequences, max_size=8), st.booleans(), st.booleans())
def test_packed_encoding_equals_a_loop(texts: list[str], special: bool, as_bytes: bool) -> None:
    expected: list[int] = []
    bounds = [0]
    for text in texts:
        row = [RINALMO.ids["T" if c == "U" else c] for c in normalise(text)]
        expected += [0, *row, 2] if special else row
        bounds.append(len(expected))
    ids, cu_seqlens = RINALMO.encode_many(
        [t.encode() for t in texts] if as_bytes else texts, special=special
    )
    assert ids.dtype == np.uint8
    assert cu_seqlens.dtype == np.int32
    assert ids.tolist() == expected
    assert cu_seqlens.tolist() == bounds
    assert ids.flags.writeable


@given(sequences)
def test_decode_reverses_encode(text: str) -> None:
    assert RINALMO.decode(RINALMO.encode(text)) == normalise(text)


def test_blanks_do_not_count_as_tokens() -> None:
    ids, cu_seqlens = RINALMO.encode_many(["A C\n", "G"])
    assert ids.tolist() == [0, 5, 6, 2, 0, 7, 2]
    assert cu_seqlens.tolist() == [0, 4, 7]


def test_decode_shows_masks_and_refuses_foreign_ids() -> None:
    assert RINALMO.decode(np.array([0, 4, 3, 8, 2, 1], np.uint8)) == "<mask><unk>U"
    with pytest.raises(AlphabetError, match="token id 22 at position 2 is outside"):
        RINALMO.decode([0, 22])


def test_alphabets_can_be_pickled_and_compared() -> None:
    again = pickle.loads(pickle.dumps(RNAERNIE))
    assert again == RNAERNIE
    assert hash(again) == hash(RNAERNIE)
    assert again != RINALMO
    assert again.encode("A").tolist() == [2, 35, 3]


def test_tokens_must_differ() -> None:
    with pytest.raises(ValueError, match="must differ"):
        Alphabet("x", ("<cls>", "<pad>", "<eos>", "<unk>", "<mask>", "A", "A"))
