"""Training of a network for interactions: true pairs against decoys.

The weights of the epoch with the best score on the validation pairs are kept; the test pairs are
scored once, at the end. Every random draw is a function of (seed, epoch, step), and the state is
saved after every epoch: a run that was killed and resumed ends with the same bits as one that was
not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F  # noqa: N812

from stemloop.data.cache import cache_dir
from stemloop.errors import UsageError
from stemloop.formats.stream import atomic_output
from stemloop.models.interaction_input import States, StrandStates
from stemloop.training.embedding_store import EmbeddingStore
from stemloop.training.interaction_data import (
    PARTS,
    TRUE,
    Example,
    areas,
    make_examples,
    read_pairs,
)
from stemloop.training.interaction_features import PairInput, make_batch
from stemloop.training.interaction_recipe import InteractionRecipe
from stemloop.training.run_folder import RunFolder
from stemloop.weights.interaction_store import (
    StoredInteraction,
    load_interaction,
    save_interaction,
)
from stemloop.weights.locate import is_bundled, sha256_file
from stemloop.weights.store import WEIGHTS, Model

#: Pairs that are scored at a time.
TOGETHER = 256


@dataclass(frozen=True)
class Progress:
    """Where a run stands; handed to the callback after each epoch."""

    epoch: int
    epochs: int
    loss: float
    seconds: float
    scores: dict[str, float]
    best: bool


def logits(
    model: StoredInteraction, items: Sequence[PairInput], states: States | None = None
) -> npt.NDArray[np.float64]:
    """Outputs of a network for pairs, shape (N,).

    States of a language model that it reads are computed, unless they are given.
    """
    order = sorted(range(len(items)), key=lambda k: len(items[k].pair.second))
    found = np.empty(len(items))
    with torch.inference_mode():
        for k in range(0, len(order), TOGETHER):
            rows = order[k : k + TOGETHER]
            some, known = [items[i] for i in rows], states
            if known is None and model.states is not None:
                known = model.states.lookup(strands_of(some))
            batch = make_batch(some, model.centre, model.scale, known)
            found[rows] = model.head(batch).double().numpy()
    return found


def strands_of(items: Iterable[PairInput]) -> list[str]:
    """Both strands of all pairs."""
    return [strand for item in items for strand in (item.pair.first, item.pair.second)]


class InteractionTrainer:
    """Train by a recipe.

    Parameters
    ----------
    recipe : InteractionRecipe
        What to do.
    folder : path
        Folder of the recipe's table.
    output : path
        Folder of the run: ``run.json``, ``log.jsonl``, ``state.pt``, and at the end
        ``metrics.json`` and ``model``.
    encoder : Model, optional
        Language model whose states are read, for recipes with ``encoder: frozen``.
    embeddings : path, optional
        Folder for these states, which runs may share; ``embeddings`` in the run's folder by
        default.

    Raises
    ------
    InputError, FormatError
        The table cannot be used.
    UsageError
        The recipe wants a language model, or wants none.
    """

    def __init__(
        self,
        recipe: InteractionRecipe,
        folder: str | Path,
        output: str | Path,
        *,
        encoder: Model | None = None,
        embeddings: str | Path | None = None,
    ) -> None:
        if (recipe.encoder == "frozen") != (encoder is not None):
            raise UsageError(f"encoder: {recipe.encoder}: a language model goes with frozen alone")
        self.recipe, self.output, self.encoder = recipe, Path(output), encoder
        self.embeddings = Path(embeddings) if embeddings else self.output / "embeddings"
        self.store: EmbeddingStore | None = None
        self.pairs, self.digest = read_pairs(recipe, Path(folder))
        facts = {"recipe": recipe.model_dump(mode="json"), "data": self.digest}
        if encoder is not None:
            facts["encoder"] = sha256_file(encoder.path / WEIGHTS)
        self.folder = RunFolder(self.output, facts)
        self.parts: dict[str, list[Example]] = {}

    def prepare(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Claim the folder, make decoys, fold all pairs, keep states; `run` does it too.

        Parameters
        ----------
        progress : callable, optional
            Called with (done, to do), of pairs that are folded, then of strands that are read.

        Raises
        ------
        UsageError, OutputError
            See `stemloop.training.run_folder.RunFolder`.
        """
        self.folder.claim()
        if not self.parts:
            examples = make_examples(self.pairs, self.recipe, progress)
            self.parts = {part: [x for x in examples if x.part == part] for part in PARTS}
        if self.encoder is not None and self.store is None:
            states = StrandStates(self.encoder.encoder, self.encoder.alphabet)
            store = EmbeddingStore(self.embeddings, self.folder.facts["encoder"], states.width)
            strands = set(strands_of(x.input for items in self.parts.values() for x in items))
            order = sorted(strands, key=lambda strand: (len(strand), strand))
            store.fill_batches(order, states, states.TOGETHER, progress)
            self.store = store

    def run(self, report: Callable[[Progress], None] | None = None) -> dict[str, Any]:
        """Train, or go on with what ``output`` holds; write the best model, return its metrics."""
        self.prepare()
        recipe, train = self.recipe, self.parts["train"]
        torch.manual_seed(recipe.seed)
        width = 0 if self.encoder is None else int(self.encoder.config.hidden)
        head = recipe.net.config(width).build()
        centre, scale = (), ()
        if head.config.numbers:
            table = np.stack([x.input.numbers for x in train]).astype(np.float64)
            centre = tuple(table.mean(axis=0).tolist())
            scale = tuple(np.maximum(table.std(axis=0), 1e-3).tolist())
        # Windows over long strands: as long as most sites, a few of which are longer.
        site = int(np.quantile([len(x.input.pair.second) for x in train], 0.9))
        model = StoredInteraction(head, centre, scale, site)
        optimizer = torch.optim.AdamW(
            head.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        trained = dict(head.named_parameters())
        state = self.folder.resume(trained, optimizer) or {
            "epoch": 0, "score": None, "best": None, "best_epoch": 0, "log": []
        }  # fmt: skip
        while state["epoch"] < recipe.epochs:
            if state["epoch"] - state["best_epoch"] >= recipe.patience:
                break
            began = time.monotonic()
            loss = self._epoch(model, optimizer, state["epoch"])
            scores = self._score(model, "validation")
            wanted = (
                float(np.mean(list(scores.values())))
                if recipe.select == "mean"
                else scores[recipe.select]
            )
            state["epoch"] += 1
            best = state["score"] is None or wanted > state["score"]
            if best:
                state["score"], state["best_epoch"] = wanted, state["epoch"]
                state["best"] = {name: p.detach().clone() for name, p in trained.items()}
            seconds = time.monotonic() - began
            entry = {"epoch": state["epoch"], "loss": round(loss, 6), "seconds": round(seconds, 1)}
            state["log"].append(entry | {k: round(v, 5) for k, v in scores.items()})
            self.folder.save(state, trained, optimizer)
            if report:
                report(Progress(state["epoch"], recipe.epochs, loss, seconds, scores, best))
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(state["best"][name])
        metrics = {
            part: {k: round(v, 5) for k, v in self._score(model, part).items()}
            for part in ("validation", "test")
        } | {
            "selected_by": recipe.select,
            "best_epoch": state["best_epoch"],
            "epochs": state["epoch"],
            "seconds": round(sum(entry["seconds"] for entry in state["log"]), 1),
            "examples": {part: self._counts(part) for part in PARTS},
        }
        facts = {"recipe": recipe.name, "seed": recipe.seed, "data_sha256": self.digest,
                 "metrics": metrics}  # fmt: skip
        stored = StoredInteraction(head, centre, scale, site, facts, self._encoder_name())
        save_interaction(self.output / "model", stored, card=model_card(recipe, facts), force=True)
        load_interaction(self.output / "model")  # what was written can be read
        with atomic_output(self.output / "metrics.json", force=True) as out:
            out.write(json.dumps(metrics, indent=2) + "\n")
        return metrics

    def _epoch(
        self, model: StoredInteraction, optimizer: torch.optim.Optimizer, epoch: int
    ) -> float:
        recipe, train = self.recipe, self.parts["train"]
        order = np.random.default_rng((recipe.seed, epoch)).permutation(len(train))
        size, total = recipe.batch_size, 0.0
        steps = -(-len(order) // size)
        # True pairs weigh as much as all decoys together.
        share = sum(x.kind == TRUE for x in train) / len(train)
        weight = torch.tensor((1 - share) / share)
        model.head.train()
        for step in range(steps):
            torch.manual_seed(
                int(np.random.default_rng((recipe.seed, epoch, step)).integers(2**31))
            )
            items = [train[k] for k in order[step * size : (step + 1) * size]]
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * self._rate(epoch * steps + step, steps)
            inputs = [x.input for x in items]
            out = model.head(make_batch(inputs, model.centre, model.scale, self._states))
            target = torch.tensor([x.target for x in items])
            loss = F.binary_cross_entropy_with_logits(out, target, pos_weight=weight)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.head.parameters(), 1.0)
            optimizer.step()
            total += float(loss.detach()) * len(items)
        model.head.eval()
        return total / len(train)

    def _rate(self, step: int, steps: int) -> float:
        """Warm-up, then a cosine down to zero."""
        total = steps * self.recipe.epochs
        warm = self.recipe.warm_up * total
        if step < warm:
            return (step + 1) / (warm + 1)
        return float(0.5 * (1 + np.cos(np.pi * (step - warm) / max(total - warm, 1))))

    def _score(self, model: StoredInteraction, part: str) -> dict[str, float]:
        model.head.eval()
        inputs = [x.input for x in self.parts[part]]
        return areas(self.parts[part], logits(model, inputs, self._states))

    @property
    def _states(self) -> States | None:
        return None if self.store is None else self.store.__getitem__

    def _encoder_name(self) -> str:
        """Name of the language model where it has one, or its folder."""
        if self.encoder is None:
            return ""
        path = self.encoder.path
        known = is_bundled(path) or path.parent == cache_dir() / "models"
        return path.name if known else str(path.resolve())

    def _counts(self, part: str) -> dict[str, int]:
        kinds = [x.kind for x in self.parts[part]]
        return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def model_card(recipe: InteractionRecipe, facts: dict[str, Any]) -> str:
    """Model card in Markdown."""
    metrics = facts["metrics"]
    names = list(metrics["test"])
    rows = [
        f"| {part} | {' | '.join(f'{metrics[part][name]:.3f}' for name in names)} |"
        for part in ("validation", "test")
    ]
    counts = [
        f"| {part} | {', '.join(f'{n} {kind}' for kind, n in metrics['examples'][part].items())} |"
        for part in PARTS
    ]
    return "\n".join(
        [
            f"# {recipe.name}",
            "",
            f"Made by `stemloop finetune interaction` (seed {recipe.seed}, data SHA-256 "
            f"{facts['data_sha256'][:16]}). Reads both strands 5' to 3', microRNAs first.",
            "",
            "The output is a logit: true pair against decoys, which weighed as much in training as "
            "all true pairs. It is no probability of an interaction in a cell, where most sites "
            "are none.",
            "",
            "| part | examples |",
            "|---|---|",
            *counts,
            "",
            "Parts share no family of microRNAs (nucleotides 2-8). Areas under the curve of true "
            "pairs against each kind of decoy:",
            "",
            f"| part | {' | '.join(names)} |",
            "|---" * (len(names) + 1) + "|",
            *rows,
            "",
            f"Epoch {metrics['best_epoch']} of {metrics['epochs']} was chosen by the validation "
            f"pairs ({metrics['selected_by']}); the test pairs had no part in any choice.",
            "",
        ]
    )
