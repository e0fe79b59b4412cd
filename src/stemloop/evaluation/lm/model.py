"""An encoder and its alphabet as the evaluations see it: probabilities, vectors, maps."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stemloop.alphabet import RNAERNIE_TYPES, Alphabet
from stemloop.errors import UsageError
from stemloop.evaluation.lm.sample import NUCLEOTIDES, Hidden
from stemloop.models.build import new_encoder
from stemloop.tasks.base import TOKEN_BUDGET, pick_device
from stemloop.weights.store import load, sha256_file

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

#: The token after which the RNA type stands.
INDICATOR = "[IND]"


def tell_apart(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Shortest names that differ: trailing parts of the paths, a folder ``model`` going by its own.

    Examples
    --------
    >>> tell_apart(["runs/a/model", "runs/b/model"])
    ['a', 'b']
    >>> tell_apart(["rinalmo-micro", "one/pico", "two/pico"])
    ['rinalmo-micro', 'one/pico', 'two/pico']
    """
    parts = [PurePath(os.path.normpath(path)).parts for path in paths]
    parts = [p[:-1] if p[-1] == "model" and len(p) > 1 else p for p in parts]
    names = ["/".join(p[-1:]) for p in parts]
    for depth in range(2, max(map(len, parts)) + 1):
        names = [
            "/".join(p[-depth:]) if names.count(name) > 1 else name
            for p, name in zip(parts, names, strict=True)
        ]
    return names


@dataclass(frozen=True, slots=True, eq=False)
class LanguageModel:
    """A masked language model to be examined.

    Parameters
    ----------
    name : str
        What tables call it.
    encoder : torch.nn.Module
        RiNALMo or RNAErnie, in evaluation mode.
    alphabet : Alphabet
        Letters and types to ids.
    device : torch.device
        Where the encoder is.
    prompt : bool
        Put ``[IND] <mask>`` after every sequence, the type unknown, when nucleotides are guessed:
        for models that have seen most of their training sequences with a type.
    sha256 : str
        Of the weights' file, where they came from one.
    """

    name: str
    encoder: Any
    alphabet: Alphabet
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    prompt: bool = False
    sha256: str = ""

    @classmethod
    def load(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        name: str | None = None,
        device: str = "cpu",
        prompt: bool = False,
    ) -> LanguageModel:
        """Load a model directory, or bundled or downloaded weights.

        Parameters
        ----------
        name_or_path : str or path
            As for `stemloop.weights.store.load`.
        name : str, optional
            What tables call it; the folder's name by default.
        device : str
            cpu, cuda, or auto.
        prompt : bool
            See above.

        Raises
        ------
        WeightsError
            Not found or damaged.
        UsageError
            The device is not there, or the model has no slot for a type and `prompt` is set.
        """
        place = pick_device(device)
        loaded = load(name_or_path, device=place)
        name = name or tell_apart([name_or_path])[0]
        digest = sha256_file(loaded.path / "model.safetensors")
        model = cls(name, loaded.encoder, loaded.alphabet, place, prompt, digest)
        if prompt and not model.knows_types:
            raise UsageError(
                f"{name}: the alphabet {loaded.alphabet.name!r} has no slot for a type"
            )
        return model

    def untrained(self, *, seed: int = 0) -> LanguageModel:
        """Build the same network with random weights: what the architecture alone gives."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = new_encoder(self.encoder.config)
        encoder = encoder.requires_grad_(False).eval().to(self.device)
        return LanguageModel("untrained", encoder, self.alphabet, self.device, self.prompt)

    @property
    def knows_types(self) -> bool:
        """Whether the alphabet has the slot and the types."""
        return INDICATOR in self.alphabet.ids and RNAERNIE_TYPES[0] in self.alphabet.ids

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.encoder.parameters())

    @property
    def longest(self) -> int:
        """Longest sequence, in nucleotides, that was seen in training with its specials."""
        return int(self.encoder.config.max_length) - 4

    def log_probabilities(self, hidden: Hidden) -> Floats:
        """Log-probabilities of A, C, G, U at the hidden positions.

        Parameters
        ----------
        hidden : Hidden
            The positions; each shows the mask.

        Returns
        -------
        numpy.ndarray of float32, shape (sum of positions, 4)
            Normalised over the four nucleotides.
        """
        letters = torch.from_numpy(
            self.alphabet.encode(NUCLEOTIDES, special=False).astype(np.int64)
        )
        starts = np.concatenate([[0], np.cumsum([len(p) for p in hidden.positions])])
        result = np.empty((int(starts[-1]), 4), np.float32)
        for batch in self._batches(hidden.sequences):
            tokens, cuts = self._tokens([hidden.sequences[k] for k in batch], self.prompt)
            at = np.concatenate(
                [cuts[n] + 1 + hidden.positions[k] for n, k in enumerate(batch.tolist())]
            )
            tokens[at] = self.alphabet.mask_id
            out = self._run(tokens, cuts, logits_at=torch.from_numpy(at).to(self.device))
            scores = out.logits.float().cpu()[:, letters].log_softmax(-1).numpy()
            rows = np.concatenate([np.arange(starts[k], starts[k + 1]) for k in batch])
            result[rows] = scores
        return result

    def type_log_probabilities(self, sequences: Sequence[str]) -> Floats:
        """Log-probabilities of the RNA types in the slot after each sequence.

        Returns
        -------
        numpy.ndarray of float32, shape (N, 28)
            In the order of `stemloop.alphabet.RNAERNIE_TYPES`, normalised over them.
        """
        ids = torch.tensor([self.alphabet.ids[name] for name in RNAERNIE_TYPES])
        result = np.empty((len(sequences), len(RNAERNIE_TYPES)), np.float32)
        for batch in self._batches(sequences):
            tokens, cuts = self._tokens([sequences[k] for k in batch], prompt=True)
            slots = torch.from_numpy(cuts[1:] - 2).to(self.device)
            out = self._run(tokens, cuts, logits_at=slots)
            result[batch] = out.logits.float().cpu()[:, ids].log_softmax(-1).numpy()
        return result

    def embeddings(self, sequences: Sequence[str]) -> Floats:
        """Mean of the last layer over the nucleotides, shape (N, d)."""
        result: Floats | None = None
        for batch in self._batches(sequences):
            tokens, cuts = self._tokens([sequences[k] for k in batch], prompt=False)
            stream = self._run(tokens, cuts).representation.float().cpu().numpy()
            vectors = np.stack(
                [stream[a + 1 : b - 1].mean(0) for a, b in zip(cuts, cuts[1:], strict=False)]
            )
            if result is None:
                result = np.empty((len(sequences), vectors.shape[1]), np.float32)
            result[batch] = vectors
        assert result is not None
        return result

    def attention(self, sequence: str) -> Tensor:
        """Attention weights between the nucleotides, shape (layers, heads, L, L)."""
        tokens, cuts = self._tokens([sequence], prompt=False)
        (maps,) = self._run(tokens, cuts, need_attentions=True).attentions
        return maps[:, :, 1:-1, 1:-1]

    def _batches(self, sequences: Sequence[str]) -> Iterator[Ints]:
        """Numbers of the sequences of a batch: longest first, equal lengths together."""
        sizes = np.array([len(s) + 4 for s in sequences], np.int64)
        order = np.argsort(-sizes, kind="stable")
        ends, begin, used = np.cumsum(sizes[order]), 0, 0
        budget = 2 * TOKEN_BUDGET[self.device.type]
        while begin < len(order):
            end = max(int(np.searchsorted(ends, used + budget, side="right")), begin + 1)
            yield order[begin:end]
            begin, used = end, int(ends[end - 1])

    def _tokens(self, sequences: Sequence[str], prompt: bool) -> tuple[Ints, Ints]:
        """Packed ids and the places where the sequences start and end."""
        ids, cuts = self.alphabet.encode_many(sequences)
        tokens, starts = ids.astype(np.int64), cuts.astype(np.int64)
        if prompt:
            slot = [self.alphabet.ids[INDICATOR], self.alphabet.mask_id]
            ends = np.repeat(starts[1:] - 1, 2)
            tokens = np.insert(tokens, ends, slot * len(sequences))
            starts = starts + 2 * np.arange(len(starts))
        return tokens, starts

    def _run(self, tokens: Ints, cuts: Ints, **options: Any) -> Any:
        packed = torch.from_numpy(tokens).to(self.device)
        starts = torch.from_numpy(cuts.astype(np.int32)).to(self.device)
        with torch.inference_mode():
            return self.encoder(packed, starts, lengths=np.diff(cuts).tolist(), **options)
