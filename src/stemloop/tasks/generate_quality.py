"""What a trained RBM is worth: its samples against data, its labels against held-out rows.

Everything is computed from the folder of a run and the data it was trained on, divided as then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stemloop.data.labelled import MISSING, Labelled
from stemloop.errors import UsageError
from stemloop.evaluation.generated import (
    Classifier,
    adversarial_accuracy,
    independent_classifier,
    novelty,
    quality,
)
from stemloop.models.rbm import RBM
from stemloop.models.rbm_chains import (
    LogPartition,
    annealed_log_partition,
    generate,
    guess_labels,
    trajectory_log_partitions,
)
from stemloop.models.rbm_tables import HiddenMode
from stemloop.training.rbm_recipe import RBMRecipe
from stemloop.training.rbm_run import read_run, split
from stemloop.weights.rbm_store import StoredRBM, load_rbm, rbm_ages

Report = Callable[[str], None]


def evaluate_run(
    run: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    ages: Sequence[int] = (),
    steps: Sequence[int] = (1, 2, 5, 10, 20, 50, 100),
    count: int = 2000,
    seed: int = 0,
    annealing: tuple[int, int] | None = (1000, 200),
    hidden: HiddenMode | None = None,
    device: str = "cpu",
    report: Report | None = None,
) -> dict[str, Any]:
    """Measure a run.

    Parameters
    ----------
    run : str or path
        Folder of the run.
    folder : str or path
        Folder of the recipe's data files.
    ages : sequence of int
        Updates; the nearest kept ages. Empty: the final model alone.
    steps : sequence of int
        Gibbs steps to measure after, for samples and for guessed labels.
    count : int
        Samples, and training rows they are compared with, at most. Each label has the same share
        as in the training data.
    seed : int
        Of all random choices.
    annealing : (int, int), optional
        Temperatures and chains for log Z, for each machine by itself (``likelihood``) and along
        the ages of the run (``trajectory``); None leaves log-likelihoods out.
    hidden : str, optional
        How chains that make samples pass on hidden units; as in training by default.
    device : str
        Where to compute.
    report : callable, optional
        Gets a line now and then.

    Returns
    -------
    dict
        JSON values: the model's facts; ``natural``, held-out rows scored as if they were samples;
        ``ages``, a list with ``update``, ``classification``, ``generation`` (a dict a number of
        steps), ``likelihood`` and ``trajectory``.

    Raises
    ------
    InputError
        No run, or the data is not that of the run.
    UsageError
        Steps or count below one.
    """
    if min(steps, default=0) < 1 or count < 4:
        raise UsageError("give steps of at least 1 and a count of at least 4")
    recipe, data = read_run(run, folder)
    bench = Bench(recipe, data, count, seed)
    result: dict[str, Any] = {
        "recipe": recipe.model_dump(mode="json"), "data_sha256": data.digest(), "seed": seed,
        "rows": {"train": len(bench.train), "test": len(bench.test) if bench.test else 0},
        "labels": bench.train.counts(), "compared": len(bench.reference),
        "natural": bench.natural(), "ages": [],
    }  # fmt: skip
    for age in ages or (None,):
        stored = load_rbm(run, age=age, device=device)
        start = time.process_time()
        entry = bench.measure(stored, sorted(set(steps)), annealing, hidden, report)
        entry["cpu_seconds"] = round(time.process_time() - start, 1)
        result["ages"].append(entry)
    if annealing is not None:
        updates = [entry["update"] for entry in result["ages"]]
        found = bench.trajectory(rbm_ages(run), updates, *annealing)
        for entry in result["ages"]:
            if entry["update"] in found:
                entry["trajectory"] = found[entry["update"]]
    return result


def rows_by_label(
    run: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    age: int | None = None,
    steps: int = 10,
    count: int = 2000,
    seed: int = 0,
    hidden: HiddenMode | None = None,
    device: str = "cpu",
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], str]:
    """Training rows of every label and as many samples, for pictures.

    Parameters
    ----------
    run, folder, count, seed, hidden, device
        As for `evaluate_run`.
    age : int, optional
        Updates; the final model by default.
    steps : int
        Gibbs steps.

    Returns
    -------
    rows : dict
        Label to states of training rows and of samples, (M, N) each.
    letters : str
        One a state.
    """
    recipe, data = read_run(run, folder)
    bench = Bench(recipe, data, count, seed)
    stored = load_rbm(run, age=age, device=device)
    generator = torch.Generator(stored.machine.device).manual_seed(seed)
    labels = torch.tensor(bench.labels, device=stored.machine.device)
    made = generate(stored.machine, labels, steps, generator, hidden=hidden or stored.hidden_chain)
    states = made.cpu().numpy()
    rows = {
        name: (bench.reference[bench.labels == k], states[bench.labels == k])
        for k, name in enumerate(stored.machine.config.labels)
    }
    return {name: pair for name, pair in rows.items() if len(pair[0])}, data.letters


class Bench:
    """Data of a run, ready to compare machines with."""

    def __init__(self, recipe: RBMRecipe, data: Labelled, count: int, seed: int) -> None:
        parts = split(recipe, data)
        self.train, self.test = parts.train, parts.test
        self.seed = seed
        self.states = len(data.letters)
        rng = np.random.default_rng(seed)
        labels = self.train.labels if self.train.names else np.zeros(len(self.train), np.int64)
        known = np.flatnonzero(labels != MISSING)
        self.chosen = np.sort(rng.permutation(known)[:count])
        self.reference = self.train.states[self.chosen]
        self.labels = labels[self.chosen]
        self._known = known

    @cached_property
    def predict(self) -> Classifier | None:
        """A logistic regression on the training rows; None without labels to tell apart."""
        if len(self.train.names) < 2:
            return None
        rows = self._known
        return independent_classifier(self.train.states[rows], self.train.labels[rows], self.states)

    def natural(self) -> dict[str, Any]:
        """Scores of held-out rows against as many training rows: what is possible."""
        if self.test is None or len(self.test) < 4:
            return {}
        size = min(len(self.test), len(self.reference))
        made = self.test.states[:size]
        pick = np.random.default_rng(self.seed).permutation(len(self.reference))[:size]
        scores = quality(self.reference[pick], made, self.states)
        scores |= novelty(made, self.train.states, self.states)
        if self.predict is not None:
            known = self.test.labels[:size] != MISSING
            right = self.predict(made) == self.test.labels[:size]
            scores["label_accuracy"] = float(right[known].mean())
        return {"rows": size, **_rounded(scores)}

    def measure(
        self,
        stored: StoredRBM,
        steps: Sequence[int],
        annealing: tuple[int, int] | None,
        hidden: HiddenMode | None = None,
        report: Report | None = None,
    ) -> dict[str, Any]:
        """All measurements of a machine."""
        update = stored.facts.get("update")
        say = report or (lambda text: None)
        say(f"update {update}: labels")
        entry: dict[str, Any] = {
            "update": update, "hidden_chain": hidden or stored.hidden_chain,
            "classification": self.classify(stored, steps),
        }  # fmt: skip
        generator = torch.Generator(stored.machine.device).manual_seed(self.seed)
        labels = torch.tensor(self.labels, device=stored.machine.device)
        made = stored.machine.random_visible(len(labels), generator)
        entry["generation"] = {}
        before = 0
        for number in steps:
            say(f"update {update}: samples after {number} steps")
            made = generate(
                stored.machine, labels, number - before, generator, start=made,
                hidden=hidden or stored.hidden_chain,
            )  # fmt: skip
            before = number
            entry["generation"][str(number)] = self.score(made.cpu().numpy())
        if annealing is not None:
            say(f"update {update}: log-likelihood")
            entry["likelihood"] = self.likelihood(stored, *annealing)
        return entry

    def score(self, made: np.ndarray) -> dict[str, Any]:
        """Scores of samples, one for each chosen training row and with its label."""
        scores: dict[str, Any] = quality(self.reference, made, self.states)
        scores |= novelty(made, self.train.states, self.states)
        if self.predict is None:
            return _rounded(scores)
        right = self.predict(made) == self.labels
        scores["label_accuracy"] = float(right.mean())
        by_label = {}
        for k, name in enumerate(self.train.names):
            rows = self.labels == k
            if rows.sum() < 2:
                continue
            aai = adversarial_accuracy(self.reference[rows], made[rows], self.states)
            by_label[name] = _rounded(
                {"label_accuracy": float(right[rows].mean()), "aai_truth": aai["truth"],
                 "aai_syn": aai["syn"]}
            )  # fmt: skip
        return {**_rounded(scores), "by_label": by_label}

    def classify(self, stored: StoredRBM, steps: Sequence[int]) -> dict[str, Any]:
        """Accuracy on held-out rows: exact posterior, Gibbs steps, and logistic regression."""
        if self.test is None or self.predict is None:
            return {}
        known = self.test.labels != MISSING
        states = torch.tensor(self.test.states[known], device=stored.machine.device)
        truth = self.test.labels[known]
        exact = stored.machine.label_free_energies(states).argmin(1).cpu().numpy()
        generator = torch.Generator(stored.machine.device).manual_seed(self.seed)
        gibbs = {}
        for number in steps:
            _, chances = guess_labels(
                stored.machine, states, number, generator, hidden=stored.hidden_chain
            )
            gibbs[str(number)] = float((chances.argmax(1).cpu().numpy() == truth).mean())
        return {
            "rows": len(truth),
            "exact": round(float((exact == truth).mean()), 6),
            "gibbs": _rounded(gibbs),
            "logistic_regression": round(
                float((self.predict(self.test.states[known]) == truth).mean()), 6
            ),
        }

    def likelihood(self, stored: StoredRBM, temperatures: int, chains: int) -> dict[str, Any]:
        """Mean log-likelihood a row by annealed importance sampling."""
        machine = stored.machine
        generator = torch.Generator(machine.device).manual_seed(self.seed)
        found = annealed_log_partition(
            machine,
            generator,
            visible_frequencies=stored.extra.get("visible_frequencies"),
            temperatures=temperatures,
            chains=chains,
        )
        return self._mean_likelihood(machine, found)

    def trajectory(
        self, kept: Mapping[int, Path], updates: Sequence[int], temperatures: int, chains: int
    ) -> dict[int, dict[str, Any]]:
        """The same of these updates, annealing along the ages of the run up to the last of them."""
        ages = sorted(age for age in kept if age <= max(updates))
        if not set(updates) & set(ages):
            return {}
        stored = [load_rbm(kept[age]) for age in ages]
        machines = [one.machine for one in stored]
        found = trajectory_log_partitions(
            machines,
            torch.Generator().manual_seed(self.seed),
            visible_frequencies=stored[0].extra.get("visible_frequencies"),
            temperatures=max(temperatures, len(ages)),
            chains=chains,
        )
        return {
            age: {"ages": number, **self._mean_likelihood(machine, one)}
            for number, (age, machine, one) in enumerate(zip(ages, machines, found, strict=True), 1)
            if age in updates
        }

    def _mean_likelihood(self, machine: RBM, found: LogPartition) -> dict[str, Any]:
        """log p(sequence), mean of the training rows and of the held-out ones, nats."""
        values: dict[str, Any] = {
            "log_partition": found.value, "log_partition_error": found.error
        }  # fmt: skip
        for name, part in (("train", self.train), ("test", self.test)):
            if part is not None:
                states = torch.tensor(part.states, device=machine.device)
                energy = machine.marginal_free_energy(states).double().mean()
                values[name] = float(-energy) - found.value
        return {"temperatures": found.temperatures, "chains": found.chains, **_rounded(values)}


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in values.items()}
