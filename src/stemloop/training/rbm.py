"""Training of RBMs with labels: out of equilibrium (F&F), by persistent chains, or by CD.

A run's folder has ``run.json`` (recipe, checksum of the data), ``metrics.jsonl``, ``ages/N`` (the
machine after N updates, at geometric ages), ``last`` (the newest state, to go on from) and, at the
end, ``model``. A run that was killed goes on to the same bits: batches follow from seed and update,
and the state of the random generator is part of every checkpoint.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stemloop.data.labelled import MISSING, Labelled, frequencies, sequence_weights
from stemloop.errors import ResultError, UsageError
from stemloop.models.rbm import RBM
from stemloop.models.rbm_chains import generate, guess_labels, joint
from stemloop.models.rbm_config import RBMConfig
from stemloop.training.rbm_gradient import Phase, add, exact_label_phase, gradient
from stemloop.training.rbm_optimiser import Ascent
from stemloop.training.rbm_recipe import RBMRecipe
from stemloop.training.rbm_run import METRICS_FILE, ages_of, cut_metrics, open_run, split
from stemloop.weights.card import write_card
from stemloop.weights.rbm_store import AGES, LAST, MODEL, load_rbm, save_rbm

_DTYPES = {"float32": None, "bfloat16": torch.bfloat16}
#: Rows that a line of metrics looks at.
_LOOK = 1000

Report = Callable[[dict[str, Any]], None]


def train_rbm(
    recipe: RBMRecipe,
    folder: str | Path,
    run: str | Path,
    *,
    device: str = "cpu",
    report: Report | None = None,
) -> Path:
    """Train by a recipe; called again, go on where the last call stopped.

    Parameters
    ----------
    recipe : RBMRecipe
        What to do.
    folder : str or path
        Folder of the recipe's data files.
    run : str or path
        Folder of the run.
    device : str
        Where the machine and its chains are.
    report : callable, optional
        Gets each line of metrics.

    Returns
    -------
    pathlib.Path
        The final model.

    Raises
    ------
    ResultError
        Weights explode or are no numbers; the last good state stays in the folder.
    UsageError
        The folder belongs to another run.
    InputError
        The data cannot be used.
    """
    data = recipe.data.read(folder)
    trainer = RBMTrainer(recipe, data, Path(run), device=device)
    return trainer.run_all(report)


class RBMTrainer:
    """A run: the machine, its data, and where it stands.

    Parameters
    ----------
    recipe : RBMRecipe
        What to do.
    data : Labelled
        All data; the recipe says what is held out.
    run : pathlib.Path
        Folder of the run; an older state in it is loaded.
    device : str
        Where to compute.
    """

    def __init__(
        self, recipe: RBMRecipe, data: Labelled, run: Path, *, device: str = "cpu"
    ) -> None:
        self.recipe, self.run = recipe, run
        self.digest = data.digest()
        self.parts = split(recipe, data)
        train = self.parts.train
        self.config = RBMConfig(
            "binary" if train.letters == "01" else "potts",
            train.states.shape[1],
            recipe.hidden,
            train.letters,
            train.names or ("",),
            train.width,
            train.columns,
        )
        self.device = torch.device(device)
        self.generator = torch.Generator(self.device).manual_seed(recipe.seed)
        weights = np.ones(len(train))
        if recipe.reweight is not None:
            weights = sequence_weights(train.states, recipe.reweight)
        self.effective = float(weights.sum())
        seen = frequencies(train.states, self.config.states, weights)
        seen = (1 - recipe.pseudocount) * seen + recipe.pseudocount / self.config.states
        seen = seen[1:] if self.config.kind == "binary" else seen
        self.frequencies = torch.tensor(seen, dtype=torch.float32)
        self.states = torch.tensor(train.states, device=self.device)
        labels = train.labels if train.names else np.zeros(len(train), np.int64)
        self.labels = torch.tensor(labels, device=self.device)
        self.weights = torch.tensor(weights, dtype=torch.float32, device=self.device)
        known = labels != MISSING
        if not known.any():
            raise UsageError("no row of the training part has a label")
        self.partly = not bool(known.all())
        shares = np.bincount(labels[known], weights[known], len(self.config.labels))
        self.batch = min(recipe.batch, len(train))
        self.machine = RBM.initial(
            self.config,
            self.frequencies,
            torch.tensor(shares / shares.sum()),
            self.generator,
            scale=recipe.initial_scale,
        )
        self.update = 0
        self.chains: tuple[Tensor, Tensor] | None = None
        if recipe.mode == "pcd":
            self.chains = (
                self.machine.random_visible(self.batch, self.generator),
                self.machine.random_labels(self.batch, self.generator),
            )
        self._order: tuple[int, Tensor] | None = None
        self.ascent = Ascent(self.machine, recipe.optimiser, recipe.updates)
        self._open()

    # Updates ------------------------------------------------------------------------------------
    def step(self) -> None:
        """One batch: one update, or two (`RBMRecipe.gradients`)."""
        recipe, machine, generator = self.recipe, self.machine, self.generator
        rows = self._batch()
        visible, labels, weights = self.states[rows], self.labels[rows], self.weights[rows]
        known = labels != MISSING
        if self.partly:
            labels = torch.where(known, labels, self._impute(visible))
        weights = weights / weights.sum()
        data = Phase(visible, machine.hidden_mean(visible, labels), labels, weights)
        steps = self._steps()
        how = {"hidden": recipe.hidden_chain, "dtype": _DTYPES[recipe.chain_dtype]}
        guess: Phase | None = None
        if recipe.mode == "ff":
            made = generate(machine, labels, steps, generator, **how)
            chain = Phase(made, machine.hidden_mean(made, labels), labels, weights)
            if recipe.gradients != "generation" and len(self.config.labels) > 1:
                guess = self._guess(data, known, steps)
        else:
            start = self.chains or (visible, labels)
            made, drawn = joint(machine, *start, steps, generator, **how)
            even = weights
            if self.chains is not None:
                self.chains = (made, drawn)
                even = torch.full_like(weights, 1 / len(made))
            chain = Phase(made, machine.hidden_mean(made, drawn), drawn, even)
        direction = self._gradient(data, chain)
        if guess is None:
            self.ascent.step(direction, self.update)
        else:
            real = data if not self.partly else self._known(data, known)
            if recipe.gradients == "combined":
                self.ascent.step(add(direction, self._gradient(real, guess)), self.update)
            else:
                self.ascent.step(direction, self.update)
                self.ascent.step(self._gradient(real, guess), self.update)
        self.update += 1
        self.ascent.follow(self.update)

    def _gradient(self, data: Phase, chain: Phase) -> dict[str, Tensor]:
        rates = self.recipe.optimiser
        return gradient(
            self.machine, data, chain, centred=self.recipe.centred, l1=rates.l1, l2=rates.l2
        )

    def _known(self, data: Phase, known: Tensor) -> Phase:
        """The same with no weight on rows whose label was made up."""
        weights = data.weights * known
        weights = weights / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)
        return Phase(data.visible, data.hidden, data.labels, weights, None, data._encoding)

    def _guess(self, data: Phase, known: Tensor, steps: int) -> Phase | None:
        if self.partly:
            if not known.any():
                return None
            data = self._known(data, known)
        if self.recipe.label_gradient == "exact":
            return exact_label_phase(self.machine, data)
        labels, _ = guess_labels(
            self.machine, data.visible, steps, self.generator, hidden=self.recipe.hidden_chain
        )
        hidden = self.machine.hidden_mean(data.visible, labels)
        return Phase(data.visible, hidden, labels, data.weights)

    def _impute(self, visible: Tensor) -> Tensor:
        if self.recipe.missing == "exact":
            return self.machine.sample_label_posterior(visible, self.generator)
        return guess_labels(self.machine, visible, self._steps(), self.generator)[0]

    def _batch(self) -> Tensor:
        """Rows of this update; every epoch has its own order, told by seed and epoch alone."""
        count = len(self.states) // self.batch
        epoch, place = divmod(self.update, count)
        if self._order is None or self._order[0] != epoch:
            order = np.random.default_rng([self.recipe.seed, epoch]).permutation(len(self.states))
            self._order = (epoch, torch.tensor(order, device=self.device))
        return self._order[1][place * self.batch : (place + 1) * self.batch]

    def _steps(self) -> int:
        last = self.recipe.final_steps
        if last is None:
            return self.recipe.steps
        done = self.update / max(self.recipe.updates - 1, 1)
        return round(self.recipe.steps + (last - self.recipe.steps) * done)

    # The run ------------------------------------------------------------------------------------
    def run_all(self, report: Report | None = None) -> Path:
        """Train to the end; return the file of the final model."""
        recipe = self.recipe
        ages = set(ages_of(recipe.updates, recipe.ages))
        began, from_update = time.perf_counter(), self.update
        while self.update < recipe.updates:
            self.step()
            self._check()
            if self.update % recipe.log_every == 0 or self.update == recipe.updates:
                rate = (self.update - from_update) / (time.perf_counter() - began)
                self._log({**self.metrics(), "updates_per_second": rate}, report)
            if self.update in ages:
                self._save(self.run / AGES / f"{self.update:08d}.safetensors")
            if self.update % recipe.save_every == 0 or self.update == recipe.updates:
                self._save(self.run / LAST)
        path = self.run / MODEL
        if not path.exists():
            extra = {"visible_frequencies": self.frequencies}
            write_card(self.run, "generator", title=recipe.name, facts=self._facts())
            save_rbm(path, self.ascent.averaged, facts=self._facts(), extra=extra)
        return path

    def metrics(self) -> dict[str, float]:
        """How training stands: size of the weights, label accuracy and free energies."""
        machine = self.ascent.averaged
        values = {
            "weight_rms": float(machine.weights.square().mean().sqrt()),
            "label_weight_rms": float(machine.label_weights.square().mean().sqrt()),
        }
        train = self.states[:_LOOK]
        values["train_free_energy"] = float(machine.marginal_free_energy(train).mean())
        test = self.parts.test
        if test is not None:
            states = torch.tensor(test.states[:_LOOK], device=self.device)
            values["test_free_energy"] = float(machine.marginal_free_energy(states).mean())
            if test.names:
                known = test.labels[:_LOOK] != MISSING
                best = machine.label_free_energies(states).argmin(1).cpu().numpy()
                right = (best == test.labels[:_LOOK])[known]
                values["test_label_accuracy"] = float(right.mean()) if known.any() else 0.0
        return values

    def _check(self) -> None:
        """Stop before a bad state is saved, or drawn from."""
        largest = torch.stack([t.abs().max() for t in self.machine.tensors().values()]).max()
        if not float(largest) <= self.recipe.max_weight:
            what = "no numbers" if not torch.isfinite(largest) else f"as large as {largest:.3g}"
            good = self.run / LAST
            kept = f"the last good state is in {good}" if good.exists() else "no state was saved"
            raise ResultError(
                f"weights are {what} at update {self.update}: training stops; {kept}. Lower the "
                "learning rate, or let chains run longer"
            )

    def _log(self, values: dict[str, float], report: Report | None) -> None:
        line = {"update": self.update, **{k: float(f"{v:.6g}") for k, v in values.items()}}
        with open(self.run / METRICS_FILE, "a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        if report:
            report({**line, "updates": self.recipe.updates})

    def _facts(self) -> dict[str, Any]:
        recipe = self.recipe
        return {
            "name": recipe.name, "seed": recipe.seed, "update": self.update, "data": self.digest,
            "mode": recipe.mode, "hidden_chain": recipe.hidden_chain, "steps": self._steps(),
            "rows": len(self.parts.train),
            "effective_rows": self.effective, "reading": recipe.data.reading(),
        }  # fmt: skip

    def _save(self, path: Path) -> None:
        extra = {"visible_frequencies": self.frequencies, "generator": self.generator.get_state()}
        if self.chains is not None:
            extra |= {"chains.visible": self.chains[0], "chains.labels": self.chains[1]}
        extra |= self.ascent.state()
        save_rbm(path, self.ascent.averaged, facts=self._facts(), extra=extra, force=True)

    def _open(self) -> None:
        """Make the run's folder or check that it is this run's; load its newest state."""
        facts = {"recipe": self.recipe.model_dump(mode="json"), "data": self.digest}
        open_run(self.run, facts)
        if (self.run / LAST).exists():
            self._restore(self.run / LAST)
        cut_metrics(self.run / METRICS_FILE, self.update)

    def _restore(self, path: Path) -> None:
        stored = load_rbm(path, device=self.device)
        self.update = int(stored.facts["update"])
        self.generator.set_state(stored.extra["generator"].cpu())
        if self.chains is not None:
            self.chains = (
                stored.extra["chains.visible"].to(self.device),
                stored.extra["chains.labels"].to(self.device),
            )
        self.ascent.restore(stored.machine, stored.extra)
