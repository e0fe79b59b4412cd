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
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stemloop.data.structures import (
    LabelledStructure,
    draw_epoch,
    held_out_with,
    read_labelled,
    rfam_families_of,
    shares_words,
    training_reference,
)
from stemloop.errors import InputError, OutputError, UsageError, WeightsError
from stemloop.folding import layer, thermo
from stemloop.models.foldnet import FoldNet, PairFeatures, pair_features
from stemloop.training.recipes import Objective, Source, StructureRecipe


@dataclass(frozen=True)
class Problem:
    """One RNA of a batch, as a worker needs it."""

    sequence: str
    pairs: np.ndarray
    bonus: np.ndarray
    step: float
    objective: Objective


def solve(problem: Problem) -> tuple[float, np.ndarray]:
    """Loss of one RNA and its gradient with respect to the pair energies.

    Returns
    -------
    soft_f : float
        Expected-count F score of the reference pairs.
    gradient : numpy.ndarray of float32, shape (P,)
        d(1 - soft F + likelihood term) / d bonus.
    """
    features = pair_features(problem.sequence)
    i, j = features.i, features.j
    bonus = torch.from_numpy(problem.bonus).requires_grad_()
    probability, energy = layer.pair_probability(
        bonus, problem.sequence, i, j, steps=(problem.step,)
    )
    reference = torch.from_numpy(reference_mask(features, problem.pairs))
    score = layer.soft_f(probability, reference, problem.objective.recall_weight)
    # The nearest-neighbour energy of the reference is a constant and does not matter here.
    nats = layer.negative_log_likelihood(bonus, energy, reference, 0.0, thermo.k_t())
    loss = 1.0 - score + problem.objective.likelihood / len(problem.sequence) * nats
    loss.backward()
    assert bonus.grad is not None
    return float(score.detach()), bonus.grad.numpy()


def reference_mask(features: PairFeatures, pairs: np.ndarray) -> np.ndarray:
    """1.0 for the listed pairs that are in the reference, else 0.0; float32, shape (P,)."""
    length = len(features.code)
    wanted = pairs[:, 0].astype(np.int64) * length + pairs[:, 1]
    return np.isin(features.i * length + features.j, wanted).astype(np.float32)


@dataclass(frozen=True)
class HoldOut:
    """What a model must not have seen.

    Parameters
    ----------
    classes : frozenset of str
        Classes (families of the labelled tables, such as ``tRNA``) that leave the training data.
    rfam : frozenset of str
        Rfam families that leave it.
    sequences : tuple of str
        RNAs that share an 18-mer with one of these leave it.
    """

    classes: frozenset[str] = frozenset()
    rfam: frozenset[str] = frozenset()
    sequences: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Classes and Rfam families that are held out, sorted."""
        return sorted(self.classes | self.rfam)


def hold_out(names: Iterable[str], items: Iterable[LabelledStructure]) -> HoldOut:
    """Hold out ArchiveII classes, their Rfam families and all that shares 18-mers with them.

    Parameters
    ----------
    names : iterable of str
        Classes; what must leave together with one of them leaves too.
    items : iterable of LabelledStructure
        The RNAs that will be evaluated.
    """
    classes = frozenset(c for name in names for c in held_out_with(name))
    return HoldOut(
        classes,
        rfam_families_of(classes),
        tuple(x.sequence for x in items if x.family in classes),
    )


def load_source(source: Source, folder: Path, hold_out: HoldOut) -> list[LabelledStructure]:
    """Read a source of a recipe and keep what may be trained on, as training references."""
    path = folder / source.file
    if not path.is_file():
        raise InputError("no such data file", path=str(path))
    items = read_labelled(
        path,
        id=source.id,
        sequence=source.sequence,
        structure=source.structure,
        family=source.family,
        kind=source.type,
    )
    kept = []
    for item in items:
        length = len(item.sequence)
        if item.family in hold_out.classes or item.family in hold_out.rfam:
            continue
        if not source.min_length <= length <= source.max_length:
            continue
        reference = training_reference(item.structure)
        pairs = len(reference.pairs)
        if pairs < source.min_pairs or 2 * pairs < source.min_paired_fraction * length:
            continue
        # An RNA without a type is drawn by its family name.
        kept.append(LabelledStructure(reference, item.family, item.kind or item.family))
    if hold_out.sequences:
        shared = shares_words(kept, hold_out.sequences)
        kept = [item for item, leaks in zip(kept, shared, strict=True) if not leaks]
    return kept


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
        self.net = FoldNet(recipe.net.config())

    # The fingerprint ties a state file to what it was trained for.
    def _fingerprint(self, stages: int) -> str:
        recipe = self.recipe.model_dump(mode="json", exclude={"average"})  # not for training
        recipe["stages"] = recipe["stages"][:stages]
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
            self.net.load_state_dict(state["net"])
        elif self.start:
            first = _load_state(self.start / "state.pt")
            stage = first["stages"]
            if first["stage"] < stage or first["recipe"] != self._fingerprint(stage):
                raise UsageError(f"{self.start} is no finished run of this recipe's first stages")
            if not set(self.hold_out.names) <= set(first["held_out"]):
                raise UsageError(f"{self.start} has seen what this run holds out")
            self.net.load_state_dict(first["net"])
        with _workers(self.jobs) as pool:
            for number in range(stage, len(self.recipe.stages)):
                self._run_stage(number, epoch, state if number == stage else None, pool, report)
                epoch = 0
        return self.net.eval()

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
        optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=stage.learning_rate, weight_decay=recipe.weight_decay
        )
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
                    group["lr"] = stage.learning_rate * _cycle((done + 0.5) / steps, stage.warm_up)
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
        for item in batch:
            features = pair_features(item.sequence)
            u, v = self.net(features)
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
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip)
        optimizer.step()
        return sum(score for score, _ in solved)

    def _save(self, stage: int, epoch: int, optimizer: torch.optim.Optimizer | None) -> None:
        stages = len(self.recipe.stages)
        state = {
            "recipe": self._fingerprint(stages),
            "held_out": self.hold_out.names,
            "stages": stages,
            "stage": stage,
            "epoch": epoch,
            "net": self.net.state_dict(),
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
