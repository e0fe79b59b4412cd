"""Training of heads for whole sequences, on a frozen encoder or together with it.

========  ==================================================================================
encoder   what learns
========  ==================================================================================
none      the head, from nucleotides: there is no encoder
frozen    the head; the encoder runs once over each sequence and its output is kept on disk
full      head and encoder, from the first step on
gradual   the head first, then the encoder's blocks from the last one down
lora      the head and low-rank adapters in the blocks (peft), merged at the end
========  ==================================================================================

The weights of the epoch with the best score on the validation records are kept; the test records
are scored once, at the end. Every random draw is a function of (seed, epoch, step), and what was
trained is saved every so many steps: a run that was killed and resumed ends with the same bits as
one that was not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stemloop.errors import InputError, UsageError
from stemloop.formats.stream import atomic_output
from stemloop.models.sequence_model import SequenceModel
from stemloop.training.lora import merge_adapters
from stemloop.training.run_folder import RunFolder
from stemloop.training.sequence_cache import TOGETHER, FrozenRows
from stemloop.training.sequence_card import model_card
from stemloop.training.sequence_data import Labelled, SequenceData, read_data
from stemloop.training.sequence_groups import encoder_groups
from stemloop.training.sequence_leakage import write_split
from stemloop.training.sequence_loss import class_weights, loss_of, scores_of
from stemloop.training.sequence_recipe import SequenceRecipe
from stemloop.weights.locate import is_bundled, sha256_file
from stemloop.weights.sequence_head import (
    LETTERS,
    Meaning,
    load_sequence_model,
    save_sequence_model,
)
from stemloop.weights.store import WEIGHTS, Model

#: Training sequences that the scale of a frozen encoder's output is taken from.
SCALED = 4000


@dataclass(frozen=True)
class Progress:
    """Where a run stands; handed to the callback after each step and each validation."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    seconds: float
    metric: str
    score: float | None = None
    best: bool = False


class SequenceTrainer:
    """Train a head by a recipe.

    Parameters
    ----------
    recipe : SequenceRecipe
        What to do.
    model : Model
        Encoder to start from, as `stemloop.weights.sequence_head.load_base` gives it; it is this
        very encoder that learns.
    folder : path
        Folder of the recipe's data files.
    output : path
        Folder of the run: ``run.json`` (recipe and checksums), ``split.tsv``, ``leakage.json``,
        ``log.jsonl``, ``state.pt`` for resuming, and at the end ``metrics.json`` and ``model``.
    device : str
        Where it runs.
    embeddings : path, optional
        Folder for the output of a frozen encoder, which runs may share; ``embeddings`` in the run's
        folder by default.

    Raises
    ------
    InputError, FormatError
        The data cannot be used; see `stemloop.training.sequence_data.read_data`.
    UsageError
        The head, or the recipe's `encoder`, does not fit the encoder.
    """

    def __init__(
        self,
        recipe: SequenceRecipe,
        model: Model,
        folder: str | Path,
        output: str | Path,
        *,
        device: str = "cpu",
        embeddings: str | Path | None = None,
    ) -> None:
        self.embeddings = Path(embeddings) if embeddings else Path(output) / "embeddings"
        self.recipe, self.source, self.output = recipe, model, Path(output)
        self.device = torch.device(device)
        self.data: SequenceData = read_data(recipe, Path(folder))
        if (recipe.encoder == "none") != (str(model.path) == LETTERS):
            raise UsageError(f"encoder: {recipe.encoder} does not go with the model {model.path}")
        letters = recipe.encoder == "none"
        self.encoder_hash = "" if letters else sha256_file(model.path / WEIGHTS)
        self.folder = RunFolder(
            self.output,
            {
                "recipe": recipe.model_dump(mode="json", exclude={"save_every", "storage"}),
                "encoder": self.encoder_hash,
                "data": self.data.digest,
            },
        )
        self.meaning = self._meaning()
        self.weights: Tensor | None = None
        if recipe.balance:
            self.weights = class_weights(self.data.train, self.data.labels).to(self.device)
        torch.manual_seed(recipe.seed)
        config = recipe.head.config(model.config.hidden, max(len(self.data.labels), 1))
        guide = recipe.guide.guide() if recipe.guide else None
        model.encoder.requires_grad_(False)
        self.model = SequenceModel(model.encoder, model.alphabet, config, guide).to(self.device)
        if recipe.start:
            self._start_from(recipe.start)
        # With types, pooled rows can be kept: as many a sequence as there are types.
        self.cached = recipe.encoder == "frozen" and (guide is None or config.kind == "pooled")
        self.store: FrozenRows | None = None
        self.model.hide = recipe.hide
        self._check_lengths()
        self._choose()

    def _meaning(self) -> Meaning:
        if self.recipe.task == "classify":
            return Meaning("classify", self.data.labels)
        values = np.array([float(x.label) for x in self.data.train])
        return Meaning("regress", (), float(values.mean()), float(values.std()) or 1.0)

    def _start_from(self, name: str) -> None:
        """Put the head of a finished model in the place of the new one."""
        found, meaning = load_sequence_model(name, device=self.device)
        mine, its = self.model.head.config, found.head.config
        same = (mine.kind, mine.pools, mine.layers) == (its.kind, its.pools, its.layers)
        try:
            if not same or meaning != self.meaning:
                raise UsageError(f"{name}: other labels or inputs than the recipe's")
            self.model.head.load_state_dict(found.head.state_dict())
        except RuntimeError as error:
            raise UsageError(f"{name}: its head has another shape than the recipe's") from error

    def _check_lengths(self) -> None:
        """Refuse a sequence that the head cannot read before any computing starts."""
        for item in (x for items in self.data.parts.values() for x in items):
            try:
                self.model.pieces(item.sequence)
            except InputError as error:
                raise InputError(
                    f"{item.where}: {error.message}", record=item.id, expected=error.expected
                ) from error

    def _choose(self) -> None:
        """What learns, from which epoch on, at which part of the rates."""
        recipe = self.recipe
        groups = [(0, recipe.learning_rate, list(self.model.head.parameters()))]
        groups += encoder_groups(self.source.encoder, recipe)
        self.starts = [start for start, _, _ in groups]
        self.rates = [rate for _, rate, _ in groups]
        self.optimizer = torch.optim.AdamW(
            [{"params": p, "lr": r} for _, r, p in groups],
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        chosen = {id(p) for _, _, members in groups for p in members}
        self.trained = {n: p for n, p in self.model.named_parameters() if id(p) in chosen}

    def prepare(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Claim the run's folder, report on its data, run a frozen encoder; `run` does it too.

        Parameters
        ----------
        progress : callable, optional
            Called with (sequences embedded, sequences to embed).

        Raises
        ------
        UsageError
            ``output`` belongs to another recipe, encoder or other data.
        OutputError
            A folder cannot be made.
        """
        self.folder.claim()
        write_split(self.output, self.data, self.recipe.leakage, self.recipe.split.coverage)
        if not self.cached:
            return
        self.store = FrozenRows(self.model, self.embeddings, self.encoder_hash)
        parts = self.data.parts.values()
        self.store.fill((x.sequence for items in parts for x in items), progress)
        train = self.data.train
        drawn = np.random.default_rng((self.recipe.seed, 1 << 22)).permutation(len(train))[:SCALED]
        if not self.recipe.start:
            self.store.fit_scale([train[k].sequence for k in drawn])

    def _outputs(self, sequences: Sequence[str]) -> Tensor:
        return self.model(sequences) if self.store is None else self.store.outputs(sequences)

    def run(self, report: Callable[[Progress], None] | None = None) -> dict[str, Any]:
        """Train, or go on with what ``output`` holds; write the best model, return its metrics.

        Parameters
        ----------
        report : callable, optional
            Called after each step and each validation.

        Returns
        -------
        dict
            Content of ``metrics.json``: scores of ``validation`` and ``test``, epochs, seconds.

        Raises
        ------
        UsageError, OutputError
            See `prepare`.
        WeightsError
            The state of the run is damaged.
        """
        self.prepare()
        state = self.folder.resume(self.trained, self.optimizer) or {
            "epoch": 0, "step": 0, "steps": 0, "loss": 0.0, "score": None, "best": None,
            "best_epoch": 0, "log": [],
        }  # fmt: skip
        while state["epoch"] < self.recipe.epochs:
            if state["epoch"] - state["best_epoch"] >= self.recipe.patience:
                break
            self._run_epoch(state, report)
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(state["best"][name])
        if self.recipe.encoder == "lora":
            merge_adapters(self.source.encoder)
        half = self.recipe.storage == "fp16"
        if half:
            for tensor in self.model.state_dict().values():
                tensor.copy_(tensor.half())
        metrics = self._metrics(state)
        leakage = json.loads((self.output / "leakage.json").read_text(encoding="utf-8"))
        source = {
            "recipe": self.recipe.name, "task": self.recipe.task, "seed": self.recipe.seed,
            "encoder": self.source.path.name, "encoder_sha256": self.encoder_hash,
            "data_sha256": self.data.digest, "metrics": metrics,
        }  # fmt: skip
        kept = is_bundled(self.source.path) and self.recipe.encoder == "frozen"
        own = kept or self.recipe.encoder == "none"
        save_sequence_model(
            self.output / "model", self.model, self.meaning, source=source,
            card=model_card(self.recipe, self.meaning, source, leakage),
            alone=self.source.path.name if own else None, half=half, force=True,
        )  # fmt: skip
        load_sequence_model(self.output / "model")  # what was written can be read
        _write_json(self.output / "metrics.json", metrics)
        return metrics

    def _metrics(self, state: dict[str, Any]) -> dict[str, Any]:
        found = {
            name: {k: round(v, 5) for k, v in scores_of(items, out, self.meaning).items()}
            for name, items in (("validation", self.data.validation), ("test", self.data.test))
            if items
            for out in (self.predict([x.sequence for x in items]),)
        }
        return found | {
            "selected_by": self.recipe.metric,
            "best_epoch": state["best_epoch"],
            "epochs": state["epoch"],
            "seconds": round(sum(entry["seconds"] for entry in state["log"]), 1),
        }

    def _run_epoch(self, state: dict[str, Any], report: Callable[[Progress], None] | None) -> None:
        recipe, epoch, train = self.recipe, state["epoch"], self.data.train
        order = np.random.default_rng((recipe.seed, epoch)).permutation(len(train))
        batches = [order[k : k + recipe.batch_size]
                   for k in range(0, len(order), recipe.batch_size)]  # fmt: skip
        for start, group in zip(self.starts, self.optimizer.param_groups, strict=True):
            for parameter in group["params"]:
                parameter.requires_grad_(start <= epoch)
        self.model.head.train()
        self.source.encoder.train(recipe.encoder != "frozen")
        began = time.monotonic()
        for step in range(state["step"], len(batches)):
            seed = int(np.random.default_rng((recipe.seed, epoch, step)).integers(2**31))
            items = [train[k] for k in batches[step]]
            total = recipe.epochs * len(batches)
            state["loss"] += self._step(items, seed, recipe.rate(state["steps"], total))
            state["steps"] += 1
            state["step"] = step + 1
            if state["steps"] % recipe.save_every == 0:
                self.folder.save(state, self.trained, self.optimizer)
            if report:
                loss, seconds = state["loss"] / (step + 1), time.monotonic() - began
                report(
                    Progress(epoch + 1, recipe.epochs, step + 1, len(batches), loss, seconds,
                             recipe.metric)
                )  # fmt: skip
        loss = state["loss"] / len(batches)
        validation = self.data.validation
        scores = scores_of(validation, self.predict([x.sequence for x in validation]), self.meaning)
        score = scores[recipe.metric]
        better = state["score"] is None or score > state["score"]
        if better:
            kept = {name: p.detach().cpu().clone() for name, p in self.trained.items()}
            state |= {"score": score, "best": kept, "best_epoch": epoch + 1}
        state |= {"epoch": epoch + 1, "step": 0, "loss": 0.0}
        seconds = time.monotonic() - began
        entry = {"epoch": epoch + 1, "loss": round(loss, 6)}
        entry |= {name: round(value, 5) for name, value in scores.items()}
        state["log"].append(entry | {"seconds": round(seconds, 1)})
        self.folder.save(state, self.trained, self.optimizer)
        if report:
            report(
                Progress(epoch + 1, recipe.epochs, len(batches), len(batches), loss, seconds,
                         recipe.metric, score, better)
            )  # fmt: skip

    def _step(self, items: list[Labelled], seed: int, rate: float) -> float:
        for base, group in zip(self.rates, self.optimizer.param_groups, strict=True):
            group["lr"] = base * rate
        torch.manual_seed(seed)
        half = self.recipe.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            outputs = self._outputs([x.sequence for x in items]).float()
        if outputs.ndim == 3:  # members of a head, each with a loss of its own
            items, outputs = items * len(outputs), outputs.flatten(0, 1)
        parts = self.recipe.smoothing, self.recipe.likelihood
        loss = loss_of(items, outputs, self.meaning, self.weights, *parts)
        self.optimizer.zero_grad()
        loss.backward()
        learning = [p for p in self.trained.values() if p.grad is not None]
        nn.utils.clip_grad_norm_(learning, self.recipe.clip)
        self.optimizer.step()
        return float(loss.detach())

    def predict(self, sequences: Sequence[str]) -> Tensor:
        """Outputs (N, outputs) of sequences, without dropout, on the host."""
        self.model.head.eval()
        self.source.encoder.eval()
        order = sorted(range(len(sequences)), key=lambda k: -len(sequences[k]))
        out = torch.empty(len(sequences), self.model.head.config.outputs)
        with torch.inference_mode():
            for k in range(0, len(order), TOGETHER):
                batch = order[k : k + TOGETHER]
                out[batch] = self._outputs([sequences[i] for i in batch]).float().cpu()
        return out


def _write_json(path: Path, content: Any) -> None:
    with atomic_output(path, force=True) as out:
        out.write(json.dumps(content, indent=2) + "\n")
