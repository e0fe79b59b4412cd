"""The language model behind the evaluations, against the encoder called by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stemloop.alphabet import RNAERNIE, RNAERNIE_TYPES, STEMLOOP
from stemloop.errors import UsageError
from stemloop.evaluation.lm.model import LanguageModel
from stemloop.evaluation.lm.sample import Hidden

SEQUENCES = ("GGGAAACUUUCCCA", "ACG" * 300, "GGCNNUUA", "ACGUACGUAC", "CCAAUUGGCA")
PLACES = ([0, 5, 13], [17, 600, 899], [1, 7], [3], [2, 8])


@pytest.fixture(scope="module")
def model(lm_model) -> LanguageModel:
    return LanguageModel.load(lm_model)


def logits(model: LanguageModel, text: str, hidden: list[int], slot: bool) -> torch.Tensor:
    """Scores of a single sequence, tokens put together one by one."""
    ids = model.alphabet.ids
    tokens = [model.alphabet.cls_id]
    for k, letter in enumerate(text):
        row = "T" if letter == "U" else letter
        tokens.append(model.alphabet.mask_id if k in hidden else ids[row])
    tokens += [ids["[IND]"], model.alphabet.mask_id] if slot else []
    tokens.append(model.alphabet.eos_id)
    starts = torch.tensor([0, len(tokens)], dtype=torch.int32)
    with torch.inference_mode():
        return model.encoder(torch.tensor(tokens), starts, need_logits=True).logits


@pytest.mark.parametrize("prompt", [False, True])
def test_hidden_nucleotides(lm_model, prompt: bool) -> None:
    model = LanguageModel.load(lm_model, prompt=prompt)
    hidden = Hidden(SEQUENCES, tuple(np.array(p) for p in PLACES), np.arange(5))
    found = model.log_probabilities(hidden)
    letters = [model.alphabet.ids[c] for c in "ACGT"]
    known = []
    for text, places in zip(SEQUENCES, PLACES, strict=True):
        scores = logits(model, text, places, prompt)
        known += [scores[1 + p, letters].log_softmax(-1) for p in places]
    np.testing.assert_allclose(found, torch.stack(known), atol=2e-5)


def test_types(model: LanguageModel) -> None:
    found = model.type_log_probabilities(SEQUENCES)
    ids = [STEMLOOP.ids[name] for name in RNAERNIE_TYPES]
    known = [logits(model, text, [], True)[-2, ids].log_softmax(-1) for text in SEQUENCES]
    np.testing.assert_allclose(found, torch.stack(known), atol=2e-5)
    np.testing.assert_allclose(np.exp(found).sum(1), 1.0, rtol=1e-5)


def test_embeddings_are_means_over_nucleotides(model: LanguageModel) -> None:
    found = model.embeddings(SEQUENCES)
    for text, vector in zip(SEQUENCES, found, strict=True):
        ids, starts = model.alphabet.encode_many([text])
        with torch.inference_mode():
            out = model.encoder(torch.from_numpy(ids).long(), torch.from_numpy(starts))
        np.testing.assert_allclose(vector, out.representation[1:-1].mean(0), atol=2e-5)


def test_attention_is_between_nucleotides(model: LanguageModel) -> None:
    maps = model.attention(SEQUENCES[0])
    assert maps.shape == (2, 2, 14, 14)
    assert float(maps.sum(-1).max()) < 1.0
    assert float(maps.min()) > 0.0


def test_untrained_twin(model: LanguageModel) -> None:
    twin, same = model.untrained(seed=4), model.untrained(seed=4)
    assert twin.parameters == model.parameters
    one, two = (m.embeddings(SEQUENCES) for m in (twin, same))
    np.testing.assert_array_equal(one, two)
    assert abs(one - model.embeddings(SEQUENCES)).max() > 0.01


def test_a_model_without_types(lm_plain) -> None:
    model = LanguageModel.load(lm_plain)
    assert not model.knows_types
    assert model.name == "plain"
    hidden = Hidden(("ACGUACGUACGU",), (np.array([4]),), np.array([0]))
    assert model.log_probabilities(hidden).shape == (1, 4)
    with pytest.raises(UsageError, match="no slot for a type"):
        LanguageModel.load(lm_plain, prompt=True)


def test_rnaernie() -> None:
    """Its alphabet has no U but a T, and limits the length."""
    rnaernie = pytest.importorskip("stemloop.models.rnaernie")
    from stemloop.models.rnaernie_config import RNAErnieConfig

    torch.manual_seed(0)
    config = RNAErnieConfig(vocab_size=39, hidden=32, layers=2, heads=2, ffn_inner=64)
    model = LanguageModel("e", rnaernie.RNAErnie(config).eval().requires_grad_(False), RNAERNIE)
    assert model.knows_types
    assert model.longest == 508
    hidden = Hidden(("ACGUACGUACGU",), (np.array([3, 4]),), np.array([0]))
    assert model.log_probabilities(hidden).shape == (2, 4)
    assert model.type_log_probabilities(["ACGUU"]).shape == (1, 28)
    assert model.attention("ACGUACGU").shape == (2, 2, 8, 8)
    assert model.untrained().parameters == model.parameters
