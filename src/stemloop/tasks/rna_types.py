"""The RNA type that a language model expects behind a sequence."""

from __future__ import annotations

import numpy as np
import torch

from stemloop.alphabet import RNAERNIE_TYPES
from stemloop.models.sequence_model import SPECIALS, cut
from stemloop.weights.store import Model


def guess_type(model: Model, sequence: str) -> tuple[str, float]:
    """Most probable RNA type of a sequence, and its probability (`type_probabilities`).

    Examples
    --------
    >>> from stemloop.weights.store import load
    >>> trna = "GCGGAUUUAGCUCAGUUGGGAGAGCGCCAGACUGAAGAUCUGGAGGUCCUGUGUUCGAUCCACAGAAUUCGCACCA"
    >>> guess_type(load("stemloop-pico"), trna)[0]
    'tRNA'
    """
    found = type_probabilities(model, sequence)
    best = max(found, key=found.__getitem__)
    return best, found[best]


def type_probabilities(model: Model, sequence: str) -> dict[str, float]:
    """Probability of each of `stemloop.alphabet.RNAERNIE_TYPES`.

    The language model is asked behind the sequence, ``[IND] <mask>``; of long sequences every piece
    is, and the probabilities are averaged.
    """
    alphabet = model.alphabet
    limit = min(model.config.longest or 1 << 30, model.config.max_length) - SPECIALS
    types = torch.tensor([alphabet.ids[name] for name in RNAERNIE_TYPES])
    total = torch.zeros(len(types), dtype=torch.float64)
    pieces = cut(len(sequence), limit)
    for start, stop in pieces:
        codes = alphabet.encode(sequence[start:stop], special=False).astype(np.int64)
        tail = [alphabet.ids["[IND]"], alphabet.mask_id, alphabet.eos_id]
        tokens = torch.from_numpy(np.concatenate(([alphabet.cls_id], codes, tail)))
        starts = torch.tensor([0, len(tokens)], dtype=torch.int32)
        with torch.inference_mode():
            out = model.encoder(
                tokens, starts, lengths=[len(tokens)], logits_at=torch.tensor([len(tokens) - 2])
            )
        total += out.logits[0, types].double().softmax(dim=0) * (stop - start) / len(sequence)
    return dict(zip(RNAERNIE_TYPES, total.tolist(), strict=True))
