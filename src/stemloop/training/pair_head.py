"""Training of RiNALMo's pair head: one RNA a step, on a frozen encoder or with gradual unfreezing.

As in the published program: binary cross-entropy of the strict upper triangle, Adam, a rate that
falls in a straight line, blocks of the encoder that join in every few epochs at a tenth of the
head's rate, and after each epoch the threshold with the best F1 (shifts of one allowed) on the
validation RNAs. The weights of the best epoch are kept.

Every random draw is a function of (seed, epoch, step), and what was trained is saved every so many
steps: a run that was killed and resumed ends with the same bits as one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stemloop.data.structures import LabelledStructure, draw_epoch
from stemloop.errors import InputError
from stemloop.evaluation.metrics import pair_scores
from stemloop.folding.decode import allowed_pairs, greedy
from stemloop.folding.pair_head import PairHeadModel, load_pair_head, save_pair_head
from stemloop.models.pair_head import PairHead, pair_loss
from stemloop.training.embedding_store import EmbeddingStore
from stemloop.training.pair_head_data import read_data
from stemloop.training.pair_head_recipe import PairHeadRecipe
from stemloop.training.run_folder import RunFolder, unfreezing_groups
from stemloop.training.structure_data import HoldOut
from stemloop.weights.locate import sha256_file
from stemloop.weights.store import WEIGHTS, Model

#: Thresholds that are tried.
THRESHOLDS = tuple(k / 100 for k in range(1, 30))


@dataclass(frozen=True)
class Progress:
    """Where a run stands; handed to the callback after each step and each validation."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    seconds: float
    f1: float | None = None
    threshold: float | None = None


def threshold_scores(probability: np.ndarray, sequence: str, pairs: np.ndarray) -> list[float]:
    """F1 (shifts of one allowed) of the greedy structure above each of `THRESHOLDS`.

    The pairs that are kept above a threshold are the first ones of those above a lower one, so one
    run of the decoder serves all.

    Parameters
    ----------
    probability : numpy.ndarray, shape (L, L)
        Pair probabilities, upper triangle.
    sequence : str
        The RNA, for the pairs that may form.
    pairs : numpy.ndarray of int, shape (n, 2)
        Reference.
    """
    kept = greedy(probability, THRESHOLDS[0], allowed_pairs(sequence))
    p = probability[kept[:, 0], kept[:, 1]]
    return [pair_scores(kept[p > t], pairs, len(sequence), relaxed=True).f1 for t in THRESHOLDS]


class PairHeadTrainer:
    """Train a `PairHead` by a recipe.

    Parameters
    ----------
    recipe : PairHeadRecipe
        What to do.
    model : Model
        Encoder to start from, as `stemloop.weights.store.load` gives it (float32); it is this very
        encoder that learns.
    folder : path
        Folder of the recipe's data files.
    output : path
        Folder of the run: ``state.pt`` for resuming, ``log.jsonl``, and ``model`` at the end.
    hold_out : HoldOut
        What stays out of training and validation.
    device : str
        Where it runs.
    embeddings : path, optional
        Folder for the representations of a frozen encoder, which runs may share; ``embeddings`` in
        the run's folder by default.

    Raises
    ------
    InputError
        No RNA is left to train on or to validate with.
    """

    def __init__(
        self,
        recipe: PairHeadRecipe,
        model: Model,
        folder: str | Path,
        output: str | Path,
        *,
        hold_out: HoldOut = HoldOut(),
        device: str = "cpu",
        embeddings: str | Path | None = None,
    ) -> None:
        self.recipe, self.source = recipe, model
        self.output = Path(output)
        self.device = torch.device(device)
        self.embeddings = Path(embeddings) if embeddings else self.output / "embeddings"
        self.store: EmbeddingStore | None = None
        self.encoder_hash = sha256_file(model.path / WEIGHTS)
        self.data = read_data(recipe, Path(folder), hold_out)
        self.facts = {
            "recipe": recipe.model_dump(mode="json", exclude={"save_every"}),
            "held_out": hold_out.names,
            "encoder": self.encoder_hash,
            "data": self.data.digest,
        }
        self.folder = RunFolder(self.output, self.facts)
        torch.manual_seed(recipe.seed)
        width = model.config.hidden
        head = PairHead(width, recipe.channels, recipe.blocks, recipe.kernel)
        head.gradient_checkpointing = recipe.checkpointing
        self.model = PairHeadModel(
            model.encoder.to(self.device).requires_grad_(False), model.alphabet,
            head.to(self.device),
        )  # fmt: skip
        groups = unfreezing_groups(model.encoder, recipe.unfreeze) if recipe.unfreeze else []
        self.starts = [0, *(epoch for epoch, _ in groups)]
        members = [list(head.parameters()), *(parameters for _, parameters in groups)]
        # No gradient, no step: a group that has not begun yet stays as it is.
        self.optimizer = torch.optim.Adam([{"params": p} for p in members], lr=recipe.learning_rate)
        chosen = {id(p) for parameters in members for p in parameters}
        self.trained = {
            f"{part}.{name}": parameter
            for part, module in (("head", head), ("encoder", model.encoder))
            for name, parameter in module.named_parameters()
            if id(parameter) in chosen
        }

    def embed(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Run a frozen encoder over all RNAs that the store has not seen; `run` does it too.

        Parameters
        ----------
        progress : callable, optional
            Called with (RNAs done, RNAs to do).

        Raises
        ------
        UsageError
            ``output`` belongs to another recipe, encoder, hold-out or other data, or the store to
            another encoder.
        OutputError
            A folder cannot be made.
        """
        self.folder.claim()
        if self.recipe.unfreeze is not None:
            return
        self.model.encoder.eval()
        self.store = EmbeddingStore(self.embeddings, self.encoder_hash, self.source.config.hidden)
        with torch.inference_mode():
            self.store.fill(self.data.sequences, self.model.represent, progress)

    def run(self, report: Callable[[Progress], None] | None = None) -> PairHeadModel:
        """Train, or go on with what ``output`` holds; write and return the best model.

        Parameters
        ----------
        report : callable, optional
            Called after each step and each validation.

        Raises
        ------
        UsageError, OutputError
            See `embed`.
        WeightsError
            The state of the run is damaged.
        """
        recipe = self.recipe
        self.embed()
        state = self.folder.resume(self.trained, self.optimizer) or {
            "epoch": 0, "step": 0, "steps": 0, "loss": 0.0, "f1": -1.0, "threshold": None,
            "best": None, "log": [],
        }  # fmt: skip
        for epoch in range(state["epoch"], recipe.epochs):
            self._run_epoch(epoch, state, report)
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(state["best"][name])
        self.model.threshold = state["threshold"]
        card = {
            "recipe": recipe.name, "seed": recipe.seed, "held_out": self.facts["held_out"],
            "encoder": self.source.path.name, "encoder_sha256": self.encoder_hash,
            "validation_f1": state["f1"], "validation_rnas": len(self.data.validation),
        }  # fmt: skip
        save_pair_head(self.output / "model", self.model, source=card, force=True)
        return load_pair_head(self.output / "model", device=self.device)

    def _run_epoch(
        self, epoch: int, state: dict[str, Any], report: Callable[[Progress], None] | None
    ) -> None:
        recipe = self.recipe
        rng = np.random.default_rng((recipe.seed, epoch))
        drawn = [x for s, items in self.data.train for x in draw_epoch(items, s.rules(), rng)]
        order = rng.permutation(len(drawn))
        if not drawn:
            raise InputError("no RNA is left to train on")
        self._prepare(epoch)
        began = time.monotonic()
        for step in range(state["step"], len(order)):
            seed = int(np.random.default_rng((recipe.seed, epoch, step)).integers(2**31))
            state["loss"] += self._step(drawn[order[step]], seed, state["steps"])
            state["steps"] += 1
            state["step"] = step + 1
            if state["steps"] % recipe.save_every == 0:
                self.folder.save(state, self.trained, self.optimizer)
            if report:
                loss, seconds = state["loss"] / (step + 1), time.monotonic() - began
                report(Progress(epoch + 1, recipe.epochs, step + 1, len(order), loss, seconds))
        loss = state["loss"] / len(order)
        scores = self._validate()
        best = int(scores.argmax())  # of equals the smallest threshold
        if scores[best] > state["f1"]:
            kept = {name: p.detach().cpu().clone() for name, p in self.trained.items()}
            state |= {"f1": float(scores[best]), "threshold": THRESHOLDS[best], "best": kept}
        state |= {"epoch": epoch + 1, "step": 0, "loss": 0.0}
        seconds = time.monotonic() - began
        entry = {
            "epoch": epoch + 1, "rnas": len(order), "loss": round(loss, 6),
            "f1": round(float(scores[best]), 5), "threshold": THRESHOLDS[best],
            "rate": recipe.rate(state["steps"]), "seconds": round(seconds, 1),
        }  # fmt: skip
        state["log"].append(entry)
        self.folder.save(state, self.trained, self.optimizer)
        if report:
            report(
                Progress(
                    epoch + 1,
                    recipe.epochs,
                    len(order),
                    len(order),
                    loss,
                    seconds,
                    float(scores[best]),
                    THRESHOLDS[best],
                )
            )

    def _prepare(self, epoch: int) -> None:
        """What has its turn learns; dropout acts in the whole encoder, as published."""
        for start, group in zip(self.starts, self.optimizer.param_groups, strict=True):
            for parameter in group["params"]:
                parameter.requires_grad_(start <= epoch)
        self.model.head.train()
        self.model.encoder.train(self.recipe.unfreeze is not None)

    def _autocast(self) -> AbstractContextManager[None]:
        bf16 = self.recipe.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=bf16)

    def _representation(self, item: LabelledStructure) -> Tensor:
        if self.store is not None:
            return self.store[item.sequence].to(self.device)
        return self.model.represent(item.sequence)

    def _step(self, item: LabelledStructure, seed: int, steps: int) -> float:
        rate = self.recipe.rate(steps)
        divide = self.recipe.unfreeze.divide if self.recipe.unfreeze else 1.0
        for number, group in enumerate(self.optimizer.param_groups):
            group["lr"] = rate / divide if number else rate
        torch.manual_seed(seed)
        with self._autocast():
            logits = self.model.head(self._representation(item))
        loss = pair_loss(logits, item.structure.pairs)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def _validate(self) -> np.ndarray:
        """Mean F1 of the validation RNAs at each threshold."""
        self.model.head.eval()
        self.model.encoder.eval()
        rows = []
        with torch.inference_mode(), self._autocast():
            for item in self.data.validation:
                p = self.model.probability(self._representation(item))
                rows.append(threshold_scores(p, item.sequence, item.structure.pairs))
        return np.mean(rows, axis=0)
