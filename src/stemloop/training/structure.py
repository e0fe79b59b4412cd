"""Training of the thermodynamic CRF: a small network, taught through ViennaRNA.

The network runs in this process; the partition functions of a batch run in worker processes.
Every random draw is a function of (seed, stage, epoch, step), so a run that was killed and
resumed gives the same weights as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stemloop.data.structures import LabelledStructure, draw_epoch
from stemloop.errors import InputError, OutputError, UsageError, WeightsError
from stemloop.folding.evidence import EvidenceSource, open_evidence
from stemloop.models.foldnet import Evidence, FoldNet, PairFeatures, pair_features
from stemloop.training.recipes import Objective, Stage, StructureRecipe
from stemloop.training.structure_data import HoldOut, load_source
from stemloop.training.structure_objective import Problem, solve

#: Prefix of the language model's tensors in the state of a run.
_ENCODER = "encoder."


@dataclass
class Progress:
    """Where a run stands; handed to the callback after each batch."""

    stage: str
    epoch: int
    epochs: int
    step: int
    steps: int
    soft_f: float
    seconds: float


class StructureTrainer:
    """Train a `FoldNet` by a recipe.

    Parameters
    ----------
    recipe : StructureRecipe
        What to do.
    folder : path
        Folder of the recipe's data files.
    output : path
        Folder of the run: ``state.pt`` for resuming, ``log.jsonl``.
    hold_out : HoldOut
        What stays out of the training data.
    jobs : int
        Processes that compute partition functions; 1 works in this process.
    start : path, optional
        A finished run whose stages are taken over: only stages it does not have are trained.
    """

    def __init__(
        self,
        recipe: StructureRecipe,
        folder: str | Path,
        output: str | Path,
        *,
        hold_out: HoldOut = HoldOut(),
        jobs: int = 1,
        start: str | Path | None = None,
    ) -> None:
        self.recipe = recipe
        self.folder = Path(folder)
        self.output = Path(output)
        self.hold_out = hold_out
        self.jobs = jobs
        self.start = Path(start) if start else None
        torch.manual_seed(recipe.seed)
        self.evidence = self._open_evidence()
        self.net = FoldNet(recipe.net.config(self.evidence))
        # Tensors that are trained and saved: the network, and what learns of the language model.
        self.trained: dict[str, nn.Parameter] = dict(self.net.named_parameters())
        if self.evidence is not None and self.evidence.encoder is not None:
            encoder = self.evidence.encoder
            self.trained |= {
                f"{_ENCODER}{name}": p for name, p in encoder.named_parameters() if p.requires_grad
            }

    def _open_evidence(self) -> EvidenceSource | None:
        """What the recipe names; of the language model only that asks for gradients that learns."""
        wanted = self.recipe.language_model
        if wanted is None and not self.recipe.sets:
            return None
        if wanted is None:
            return open_evidence(sets=self.recipe.sets)
        source = open_evidence(
            wanted.model, states=wanted.states, attention=wanted.attention, sets=self.recipe.sets
        )
        assert source.encoder is not None
        # The head for masked nucleotides gets no gradient.
        source.encoder.requires_grad_(wanted.training == "full")
        if wanted.training == "lora":
            from stemloop.training.lora import add_adapters

            add_adapters(source.encoder, wanted.rank, wanted.alpha)
        return replace(source, trained=wanted.training != "frozen")

    # The fingerprint ties a state file to what it was trained for.
    def _fingerprint(self, stages: int) -> str:
        recipe = self.recipe.model_dump(mode="json", exclude={"average"})  # not for training
        recipe["stages"] = recipe["stages"][:stages]
        if self.evidence is not None:
            recipe["evidence"] = self.evidence.facts.get("sha256")
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()

    def run(self, report: Callable[[Progress], None] | None = None) -> FoldNet:
        """Train, or go on with what ``output`` holds; return the trained network."""
        try:
            self.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.output}: no folder for the run: {error.strerror}") from error
        path = self.output / "state.pt"
        stage, epoch, state = 0, 0, None
        if path.exists():
            state = _load_state(path)
            if state["recipe"] != self._fingerprint(len(self.recipe.stages)) or (
                state["held_out"] != self.hold_out.names
            ):
                raise UsageError(f"{path} belongs to another recipe; choose another output folder")
            stage, epoch = state["stage"], state["epoch"]
            self._take_over(state["net"])
        elif self.start:
            first = _load_state(self.start / "state.pt")
            stage = first["stages"]
            if first["stage"] < stage or first["recipe"] != self._fingerprint(stage):
                raise UsageError(f"{self.start} is no finished run of this recipe's first stages")
            if not set(self.hold_out.names) <= set(first["held_out"]):
                raise UsageError(f"{self.start} has seen what this run holds out")
            self._take_over(first["net"])
        with _workers(self.jobs) as pool:
            for number in range(stage, len(self.recipe.stages)):
                self._run_stage(number, epoch, state if number == stage else None, pool, report)
                epoch = 0
        if self.recipe.language_model is not None and self.recipe.language_model.training == "lora":
            from stemloop.training.lora import merge_adapters

            assert self.evidence is not None
            assert self.evidence.encoder is not None
            merge_adapters(self.evidence.encoder)
        if self.evidence is not None and self.evidence.encoder is not None:
            self.evidence.encoder.eval()
        return self.net.eval()

    def _take_over(self, tensors: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(tensors[name])

    def _groups(self, stage: Stage) -> list[dict[str, Any]]:
        """Parameters with their peak rates: the language model learns more slowly."""
        net = [p for name, p in self.trained.items() if not name.startswith(_ENCODER)]
        encoder = [p for name, p in self.trained.items() if name.startswith(_ENCODER)]
        groups: list[dict[str, Any]] = [{"params": net, "lr": stage.learning_rate}]
        if encoder:
            assert self.recipe.language_model is not None
            rate = stage.learning_rate / self.recipe.language_model.divide
            groups.append({"params": encoder, "lr": rate})
        for group in groups:
            group["peak"] = group["lr"]
        return groups

    def _run_stage(
        self,
        number: int,
        first_epoch: int,
        state: dict[str, Any] | None,
        pool: Executor | None,
        report: Callable[[Progress], None] | None,
    ) -> None:
        recipe, stage = self.recipe, self.recipe.stages[number]
        data = [(s, load_source(s, self.folder, self.hold_out)) for s in stage.sources]
        epochs = []
        for epoch in range(stage.epochs):
            rng = np.random.default_rng((recipe.seed, number, epoch))
            drawn = [x for source, items in data for x in draw_epoch(items, source.rules(), rng)]
            epochs.append([drawn[k] for k in rng.permutation(len(drawn))])
        per_epoch = [-(-len(items) // recipe.batch_size) for items in epochs]
        if not sum(per_epoch):
            raise InputError(f"stage {stage.name!r}: no RNA is left to train on")
        optimizer = torch.optim.AdamW(self._groups(stage), weight_decay=recipe.weight_decay)
        steps = sum(per_epoch)
        done = sum(per_epoch[:first_epoch])
        if state is not None and state["optimizer"]:
            optimizer.load_state_dict(state["optimizer"])
        for epoch in range(first_epoch, stage.epochs):
            began = time.monotonic()
            total = 0.0
            for k in range(per_epoch[epoch]):
                seed = (recipe.seed, number, epoch, k)
                batch = epochs[epoch][k * recipe.batch_size : (k + 1) * recipe.batch_size]
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * _cycle((done + 0.5) / steps, stage.warm_up)
                total += self._step(batch, seed, optimizer, pool)
                done += 1
                if report:
                    score = total / min(len(epochs[epoch]), (k + 1) * recipe.batch_size)
                    seconds = time.monotonic() - began
                    report(
                        Progress(
                            stage.name,
                            epoch + 1,
                            stage.epochs,
                            k + 1,
                            per_epoch[epoch],
                            score,
                            seconds,
                        )
                    )
            if epoch + 1 == stage.epochs:
                self._save(number + 1, 0, None)
            else:
                self._save(number, epoch + 1, optimizer)
            with open(self.output / "log.jsonl", "a", encoding="utf-8") as log:
                entry = {
                    "stage": stage.name,
                    "epoch": epoch + 1,
                    "rnas": len(epochs[epoch]),
                    "soft_f": round(total / len(epochs[epoch]), 5),
                    "seconds": round(time.monotonic() - began, 1),
                }
                log.write(json.dumps(entry) + "\n")

    def _step(
        self,
        batch: list[LabelledStructure],
        seed: tuple[int, ...],
        optimizer: torch.optim.Optimizer,
        pool: Executor | None,
    ) -> float:
        objective = self.recipe.objective
        rng = np.random.default_rng(seed)
        torch.manual_seed(int(rng.integers(2**31)))
        self.net.train()
        energies: list[Tensor] = []
        problems = []
        prior = torch.zeros(())
        all_features = [pair_features(item.sequence) for item in batch]
        for item, features, evidence in zip(
            batch, all_features, self._evidence(batch, all_features), strict=True
        ):
            u, v = self.net(features, evidence)
            bonus = u - v[features.i] - v[features.j]
            energies.append(bonus)
            sign = 1.0 if rng.random() < 0.5 else -1.0
            problems.append(
                Problem(
                    item.sequence,
                    item.structure.pairs,
                    bonus.detach().numpy(),
                    sign * objective.probe,
                    objective,
                )
            )
            prior = prior + _prior(u, v, objective)
        solved = list(pool.map(solve, problems) if pool else map(solve, problems))
        gradients = [torch.from_numpy(gradient) / len(batch) for _, gradient in solved]
        optimizer.zero_grad()
        torch.autograd.backward([*energies, prior / len(batch)], [*gradients, None])
        torch.nn.utils.clip_grad_norm_(self.trained.values(), self.recipe.clip)
        optimizer.step()
        return sum(score for score, _ in solved)

    def _evidence(
        self, batch: list[LabelledStructure], features: list[PairFeatures]
    ) -> Sequence[Evidence | None]:
        if self.evidence is None:
            return [None] * len(batch)
        if self.evidence.encoder is not None:
            self.evidence.encoder.train(self.evidence.trained)
        with torch.set_grad_enabled(self.evidence.trained):
            return self.evidence([item.sequence for item in batch], features)

    def _save(self, stage: int, epoch: int, optimizer: torch.optim.Optimizer | None) -> None:
        stages = len(self.recipe.stages)
        state = {
            "recipe": self._fingerprint(stages),
            "held_out": self.hold_out.names,
            "stages": stages,
            "stage": stage,
            "epoch": epoch,
            "net": {name: p.detach() for name, p in self.trained.items()},
            "optimizer": optimizer.state_dict() if optimizer else None,
        }
        temporary = self.output / "state.pt.tmp"
        torch.save(state, temporary)
        os.replace(temporary, self.output / "state.pt")


def _load_state(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise WeightsError(f"{path} is missing or damaged; start the run anew: {error}") from error
    return state


def _cycle(part: float, warm_up: float) -> float:
    """Learning rate after ``part`` of the steps, as a part of its peak."""
    if part < warm_up:
        return 0.5 - 0.5 * math.cos(math.pi * part / warm_up)
    return 0.5 + 0.5 * math.cos(math.pi * (part - warm_up) / (1.0 - warm_up))


def _prior(u: Tensor, v: Tensor, objective: Objective) -> Tensor:
    """Pull towards the nearest-neighbour model: squares per nucleotide."""
    return (
        objective.prior_pair * u.square().sum() / len(v) + objective.prior_base * v.square().mean()
    )


def _one_thread() -> None:
    torch.set_num_threads(1)


@contextmanager
def _workers(jobs: int) -> Iterator[Executor | None]:
    if jobs <= 1:
        yield None
        return
    # A fork would inherit torch's threads; fresh processes are safe on every platform.
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_one_thread) as pool:
        yield pool
