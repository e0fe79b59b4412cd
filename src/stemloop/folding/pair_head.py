"""An encoder with RiNALMo's pair head as a predictor of structures.

Every pair has a probability of its own: those of one base need not add up to 1, and there is no
energy behind them. The rule of the published program: only AU, GC and GU pairs with three bases or
more between them may form, and a structure is read off greedily above a threshold that was tuned on
validation RNAs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stemloop.alphabet import Alphabet
from stemloop.errors import InputError, UsageError, WeightsError
from stemloop.folding.conditions import Ensemble, FloatArray, FoldOptions
from stemloop.folding.decode import allowed_pairs, greedy
from stemloop.models.build import Encoder
from stemloop.models.pair_head import PairHead, head_from, head_tensors
from stemloop.models.presets import MODEL_TYPES
from stemloop.pairs import MIN_DISTANCE
from stemloop.weights.locate import CONFIG
from stemloop.weights.store import HEAD, Head, Model, load, save_model_dir

#: Threshold of a head that none was tuned for, as in the published program.
UNTUNED = 0.5

#: Prefix of the encoder in the published fine-tuned files.
ENCODER_PREFIX = "lm"

PairArray = npt.NDArray[np.int32]


class PairHeadModel:
    """Pair probabilities of an encoder's pair head.

    Parameters
    ----------
    encoder : RiNALMo or RNAErnie
        In evaluation mode.
    alphabet : Alphabet
        Its letters.
    head : PairHead
        In evaluation mode, on the encoder's device and of its dtype.
    threshold : float
        Probability above which `predict` takes a pair.

    Examples
    --------
    >>> from stemloop.alphabet import RINALMO
    >>> from stemloop.models.presets import EncoderConfig
    >>> from stemloop.models.rinalmo import RiNALMo
    >>> config = EncoderConfig(vocab_size=22, hidden=32, layers=1, heads=2, ffn_inner=64)
    >>> model = PairHeadModel(RiNALMo(config).eval(), RINALMO, PairHead(32).eval())
    >>> model.ensemble("GGGGAAAACCCC").pair_probability.shape
    (12, 12)
    """

    def __init__(
        self, encoder: Encoder, alphabet: Alphabet, head: PairHead, threshold: float = UNTUNED
    ) -> None:
        self.encoder, self.alphabet, self.head = encoder, alphabet, head
        self.threshold = threshold

    def represent(self, sequence: str) -> Tensor:
        """Encoder output of the nucleotides, (L, d), on the model's device.

        Raises
        ------
        InputError
            The encoder has no positions for so many nucleotides, or there are none.
        """
        longest = self.encoder.config.longest
        if not sequence:
            raise InputError("no nucleotides")
        if longest is not None and len(sequence) > longest - 2:
            raise InputError(
                f"{len(sequence)} nucleotides", expected=f"at most {longest - 2} for this encoder"
            )
        device = next(self.encoder.parameters()).device
        tokens = torch.from_numpy(self.alphabet.encode(sequence).astype(np.int64)).to(device)
        starts = torch.tensor([0, len(tokens)], dtype=torch.int32)
        return self.encoder(tokens, starts, lengths=[len(tokens)]).representation[1:-1]

    def probability(self, representation: Tensor) -> FloatArray:
        """Probabilities of all pairs, from a representation (L, d): upper triangle, none barred."""
        length = len(representation)
        if length <= MIN_DISTANCE:
            return np.zeros((length, length))
        with torch.inference_mode():
            logits = self.head(representation)
            # float32 first: a sigmoid of bfloat16 has steps of 0.004 where thresholds have 0.01.
            return torch.sigmoid(logits.float()).triu(1).double().cpu().numpy()

    def ensemble(
        self,
        sequence: str,
        options: FoldOptions = FoldOptions(),
        constraint: str | None = None,
    ) -> Ensemble:
        """Pair probabilities of one RNA, pairs that may not form at 0; the energy is NaN.

        Parameters
        ----------
        sequence : str
            RNA of L nucleotides.
        options : FoldOptions
            Only ``max_span`` may be set.
        constraint : str, optional
            Must be None.

        Raises
        ------
        UsageError
            A constraint, a temperature or a circle: the network knows none of them.
        InputError
            See `represent`.
        """
        if constraint is not None:
            raise UsageError("a pair head takes no constraints: use a thermodynamic model")
        if options.temperature != FoldOptions().temperature:
            raise UsageError("a pair head knows no temperature: use a thermodynamic model")
        if options.circular:
            raise UsageError("a pair head folds no circular RNAs: use a thermodynamic model")
        with torch.inference_mode():
            representation = self.represent(sequence)
        probability = self.probability(representation)
        probability *= allowed_pairs(sequence)
        if options.max_span:
            probability -= np.triu(probability, options.max_span)
        return Ensemble(probability, float("nan"))

    def predict(self, sequence: str, options: FoldOptions = FoldOptions()) -> PairArray:
        """Greedy structure above the model's threshold, pairs (n, 2); see `ensemble`."""
        return greedy(self.ensemble(sequence, options).pair_probability, self.threshold)


def is_encoder(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is an encoder's, which `load_pair_head` is for; the CRF's are not."""
    try:
        text = (Path(folder) / CONFIG).read_text(encoding="utf-8")
        return json.loads(text)["model_type"] in MODEL_TYPES
    except (OSError, ValueError, KeyError, TypeError):
        return False


def load_pair_head(
    name_or_path: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> PairHeadModel:
    """Read a model directory that has a pair head.

    Such directories come from ``stemloop finetune pair-head``, and from the authors' fine-tuned
    files (``*_ss_*_ft.pt``) by ``stemloop convert``.

    Parameters
    ----------
    name_or_path : str or path
        Model directory, or name of downloaded weights.
    device : str or torch.device
        Where it goes.
    dtype : torch.dtype, optional
        Of the parameters; float32 by default.

    Raises
    ------
    WeightsError
        No head, the head of another task, or one that does not fit its encoder; keys are named.
    """
    model = load(name_or_path, device=device, dtype=dtype)
    return _assemble(model, device, dtype)


def _assemble(model: Model, device: str | torch.device, dtype: torch.dtype | None) -> PairHeadModel:
    where = str(model.path / HEAD)
    if model.head is None:
        raise WeightsError(
            f"{model.path}: an encoder without a head for structure, no key "
            "'pred_head.conv_out.weight': train one with 'stemloop finetune pair-head', or "
            "convert a fine-tuned file"
        )
    if model.head.kind != "structure":
        keys = ", ".join(repr(key) for key in sorted(model.head.tensors)[:2])
        raise WeightsError(
            f"{where}: a head for {model.head.kind}, not for structure: it has {keys} and no "
            "'pred_head.conv_out.weight'"
        )
    head = head_from(model.head.tensors, where)
    width = head.linear_in.in_features // 2
    if width != model.config.hidden:
        raise WeightsError(
            f"{where}: key 'pred_head.linear_in.weight' is for an encoder of width {width}, "
            f"this one has {model.config.hidden}"
        )
    threshold = UNTUNED if model.head.threshold is None else model.head.threshold
    head.to(device=device, dtype=dtype or torch.float32)
    return PairHeadModel(model.encoder, model.alphabet, head, threshold)


def save_pair_head(
    path: str | os.PathLike[str],
    model: PairHeadModel,
    *,
    source: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Path:
    """Write a model directory that `load_pair_head` reads; see `stemloop.weights.store`.

    ``stemloop convert --to official`` makes of it what the authors' program loads.
    """
    state = {name: value.detach().cpu() for name, value in model.encoder.state_dict().items()}
    head = Head("structure", ENCODER_PREFIX, head_tensors(model.head), model.threshold)
    return save_model_dir(path, model.encoder.config, state, head=head, source=source, force=force)
