"""The saved tokenizer gives the ids of the alphabet."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

from stemloop.alphabet import RINALMO, RNAERNIE, STEMLOOP, Alphabet
from stemloop.models.presets import PRESETS
from stemloop.models.tokenizer import build_fast_tokenizer, tokenizer_files


@pytest.fixture(scope="module", params=[RINALMO, RNAERNIE, STEMLOOP], ids=lambda a: a.name)
def alphabet(request) -> Alphabet:
    return request.param


@pytest.fixture(scope="module")
def saved(alphabet, tmp_path_factory):
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text(PRESETS["rinalmo-nano"].to_json())
    for name, content in tokenizer_files(alphabet, 1024).items():
        (folder / name).write_text(json.dumps(content))
    return AutoTokenizer.from_pretrained(folder)


def test_same_ids_as_the_alphabet(alphabet, saved):
    letters = "ACGUTIRYKMSWBDHVNX-.~"
    texts = [letters, letters.lower(), "", "A", "acgu ACGT\tnn\n-."]
    draw = random.Random(0)
    spelled = letters + letters.lower() + " \t\r\n"
    texts += ["".join(draw.choices(spelled, k=draw.randrange(200))) for _ in range(50)]
    for text, ids in zip(texts, saved(texts)["input_ids"], strict=True):
        assert ids == alphabet.encode(text).tolist(), text
    assert (
        saved("GGUA", add_special_tokens=False)["input_ids"]
        == alphabet.encode("GGUA", special=False).tolist()
    )


def test_special_tokens(alphabet, saved):
    names = ("pad", "cls", "eos", "unk", "mask")
    for name in names:
        assert getattr(saved, f"{name}_token_id") == getattr(alphabet, f"{name}_id")
    a, c = alphabet.encode("AC", special=False).tolist()
    masked = saved(f"a{alphabet.mask}c")["input_ids"]
    assert masked == [alphabet.cls_id, a, alphabet.mask_id, c, alphabet.eos_id]
    rows = saved(["A", "ACG"], padding=True)
    assert rows["input_ids"][0][3:] == [alphabet.pad_id] * 2
    assert rows["attention_mask"] == [[1, 1, 1, 0, 0], [1] * 5]
    assert "token_type_ids" not in rows


def test_characters_outside_the_policy_become_unknown(alphabet, saved):
    """A tokenizers pipeline cannot refuse; our own commands do."""
    for text in ("J", "*", "5", "é"):
        ids = saved(text)["input_ids"]
        assert ids == [alphabet.cls_id, alphabet.unk_id, alphabet.eos_id]


def test_types_are_not_read_from_text(saved):
    letters = [t for t in saved.tokenize("tRNA") if t != saved.unk_token]
    assert "tRNA" not in letters
    assert len(saved("tRNA")["input_ids"]) == 6


def test_decode(alphabet, saved):
    ids = saved("GGTA")["input_ids"]
    assert saved.decode(ids, skip_special_tokens=True) == alphabet.decode(ids) == "GGUA"


def test_long_text_is_never_cut_silently(saved):
    assert saved.model_max_length == 1024
    assert len(saved("A" * 3000)["input_ids"]) == 3002


def test_save_and_load_again(saved, tmp_path):
    from transformers import AutoTokenizer

    saved.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "acgTNx- <mask>"
    assert again(text)["input_ids"] == saved(text)["input_ids"]


def test_built_tokenizer_is_the_same(alphabet, saved):
    built = build_fast_tokenizer(alphabet)
    text = f"ggtN-{alphabet.mask}Q"
    assert built(text)["input_ids"] == saved(text)["input_ids"]


def test_files_are_written_without_transformers():
    program = (
        "import sys; from stemloop.alphabet import RINALMO;"
        "from stemloop.models.tokenizer import tokenizer_files; tokenizer_files(RINALMO, 9);"
        "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
