"""The causal head: probabilities of windows, alone and among all windows there are."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from stemloop.alphabet import RINALMO
from stemloop.errors import InputError, UsageError
from stemloop.models.letters import Letters
from stemloop.models.sequence_head import HeadConfig, SequenceHead
from stemloop.models.sequence_model import SequenceModel
from stemloop.training.sequence_data import Labelled
from stemloop.training.sequence_loss import loss_of
from stemloop.training.sequence_recipe import SequenceRecipe
from stemloop.weights.sequence_head import Meaning

SHAPE = {"kind": "causal", "window": 5, "channels": 8, "blocks": 5, "kernel": 3, "hidden": 6}


def model(**more: object) -> SequenceModel:
    torch.manual_seed(3)
    config = HeadConfig(width=4, outputs=3, **(SHAPE | more))  # type: ignore[arg-type]
    net = SequenceModel(Letters(), RINALMO, config).eval()
    with torch.no_grad():  # as after training: nothing is at zero
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.5)
    return net


def test_the_probabilities_of_all_windows_and_classes_add_up_to_one() -> None:
    windows = ["".join(letters) for letters in product("ACGU", repeat=5)]
    with torch.inference_mode():
        out = model()(windows)
    assert out.shape == (4**5, 3)
    assert float(out.exp().sum()) == pytest.approx(1.0, abs=1e-4)
    # Each class is a distribution of its own.
    share = model().head.out.share.softmax(dim=0)
    torch.testing.assert_close(out.exp().sum(dim=0), share, atol=1e-4, rtol=1e-3)
    assert float(out.std()) > 0.5


def test_windows_do_not_depend_on_the_batch() -> None:
    net, windows = model(), ["ACGUA", "GGGGG", "UUACN"]
    with torch.inference_mode():
        together, alone = net(windows), torch.cat([net([w]) for w in windows])
        # A letter that may be any of the four has the mean of their log-probabilities at the end.
        four = net(["UUAC" + letter for letter in "ACGU"])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together[2], four.mean(dim=0), atol=1e-4, rtol=1e-4)


def test_the_loss_is_a_mixture() -> None:
    outputs = torch.tensor([[-3.0, -4.0], [-5.0, -2.0]])
    items = [Labelled(str(k), "A", "ab"[k], "train", "") for k in range(2)]
    meaning = Meaning("classify", ("a", "b"))
    apart = loss_of(items, outputs, meaning)
    both = loss_of(items, outputs, meaning, likelihood=0.25)
    assert float(both) == pytest.approx(0.75 * float(apart) + 0.25 * 2.5)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="reads nucleotides"):
        SequenceHead(HeadConfig(width=16, outputs=2, **SHAPE))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="length of its windows"):
        HeadConfig(width=4, outputs=2, kind="causal")
    with pytest.raises(InputError, match="windows of 5 nt"):
        model()(["ACG"])
    values = {"task": "classify", "name": "x", "data": [{"file": "a.csv"}]}
    with pytest.raises(ValueError, match="likelihood is for heads of the kind causal"):
        SequenceRecipe.model_validate(values | {"likelihood": 0.5})
    with pytest.raises(ValueError, match="encoder none"):
        SequenceRecipe.model_validate(values | {"head": SHAPE})
