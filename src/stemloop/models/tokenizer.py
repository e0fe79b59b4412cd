"""Tokenizer files of a model directory, for transformers' `AutoTokenizer`.

The files are written as plain JSON from an `Alphabet`, so that writing a model directory imports
neither transformers nor tokenizers. Read back, they give the ids of `Alphabet.encode`: letters in
either case, T as U, blanks left out, CLS and EOS added, one token for each letter.

Two things differ on purpose:

* Special tokens in the text, such as ``<mask>``, are tokens. RNA types have ids but are not read
  from text: "tRNA" in a sequence is t, R, N, A.
* A character that is no nucleotide code becomes ``<unk>``: a tokenizers pipeline cannot refuse.
  Our own commands go through `Alphabet.encode`, which names record and position instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stemloop.alphabet import Alphabet, normalise

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

#: Characters that `normalise` accepts beside upper-case RNA letters.
_SPELLINGS = "acgutiryswkmbdhvnxTX.~"


def tokenizer_json(alphabet: Alphabet) -> dict[str, Any]:
    """Content of tokenizer.json.

    Parameters
    ----------
    alphabet : Alphabet
        Tokens in the order of their ids.

    Returns
    -------
    dict
        In the format of the tokenizers library.

    Examples
    --------
    >>> from stemloop.alphabet import RINALMO
    >>> tokenizer_json(RINALMO)["model"]["vocab"]["<mask>"]
    4
    """
    u_row = "U" if "U" in alphabet.tokens else "T"
    # The library can lower the case but not raise it, so that every spelling gets a rule.
    spellings = {c: normalise(c).replace("U", u_row) for c in _SPELLINGS + "U"}
    rules = [_replace(text, row) for text, row in spellings.items() if text != row]
    cls, eos = ({"SpecialToken": {"id": t, "type_id": 0}} for t in (alphabet.cls, alphabet.eos))
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for i, token in enumerate(alphabet.tokens)
            if token[0] in "<["
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [_replace(r"[ \t\r\n\x0b\x0c]+", "", kind="Regex"), *rules],
        },
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": r"[\s\S]"},
            "behavior": "Isolated",
            "invert": False,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [cls, first, eos],
            "pair": [cls, first, eos, second, eos],
            "special_tokens": {
                token: {"id": token, "ids": [alphabet.ids[token]], "tokens": [token]}
                for token in (alphabet.cls, alphabet.eos)
            },
        },
        "decoder": {"type": "Sequence", "decoders": [_replace("T", "U"), {"type": "Fuse"}]},
        "model": {
            "type": "WordLevel",
            "vocab": {token: i for i, token in enumerate(alphabet.tokens)},
            "unk_token": alphabet.unk,
        },
    }


def tokenizer_files(alphabet: Alphabet, max_length: int) -> dict[str, dict[str, Any]]:
    """The tokenizer's files by name, as JSON values.

    Parameters
    ----------
    alphabet : Alphabet
        Tokens.
    max_length : int
        Longest token sequence seen in training; transformers warns above it and cuts only where
        ``truncation=True`` asks for it.

    Examples
    --------
    >>> from stemloop.alphabet import RINALMO
    >>> sorted(tokenizer_files(RINALMO, 1024))
    ['tokenizer.json', 'tokenizer_config.json']
    """
    return {
        "tokenizer.json": tokenizer_json(alphabet),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": max_length,
            **_options(alphabet),
        },
    }


def build_fast_tokenizer(alphabet: Alphabet, max_length: int = 1024) -> PreTrainedTokenizerFast:
    """The same tokenizer as an object, without files (imports transformers).

    Examples
    --------
    >>> from stemloop.alphabet import RINALMO
    >>> build_fast_tokenizer(RINALMO)("ggt<mask>")["input_ids"]
    [0, 7, 7, 8, 4, 2]
    """
    import json

    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(tokenizer_json(alphabet))),
        model_max_length=max_length,
        **_options(alphabet),
    )


def _options(alphabet: Alphabet) -> dict[str, Any]:
    return {
        "cls_token": alphabet.cls,
        "eos_token": alphabet.eos,
        "pad_token": alphabet.pad,
        "unk_token": alphabet.unk,
        "mask_token": alphabet.mask,
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }


def _replace(text: str, by: str, kind: str = "String") -> dict[str, Any]:
    return {"type": "Replace", "pattern": {kind: text}, "content": by}
