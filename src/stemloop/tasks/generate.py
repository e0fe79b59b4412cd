"""Sequences for labels and labels for sequences, by RBMs (`stemloop.models.rbm`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stemloop.data.labelled import Labelled
from stemloop.errors import InputError, UsageError
from stemloop.records import Result, SequenceRecord
from stemloop.weights.rbm_store import StoredRBM, load_rbm

if TYPE_CHECKING:
    import torch

    from stemloop.models.rbm_tables import HiddenMode

#: Rows that are worked on at once.
BATCH = 4096
#: Sequences drawn at once, always all of them: so the first ones of a seed are the same however
#: many are asked for.
BLOCK = 500


def loaded(model: str | os.PathLike[str] | StoredRBM, device: str = "cpu") -> StoredRBM:
    """The model, read from its file if it is not read yet."""
    return model if isinstance(model, StoredRBM) else load_rbm(model, device=device)


def label_numbers(stored: StoredRBM, labels: Sequence[str]) -> list[int]:
    """Numbers of these labels.

    Raises
    ------
    UsageError
        The model has no such label; the message lists what it has.
    """
    known = stored.machine.config.labels
    for label in labels:
        if label not in known:
            raise UsageError(f"no label {label!r}; the model has: {', '.join(known)}")
    return [known.index(label) for label in labels]


def sample(
    model: str | os.PathLike[str] | StoredRBM,
    count: int,
    *,
    labels: Sequence[str] = (),
    steps: int = 10,
    seed: int = 0,
    start: str | None = None,
    keep: Sequence[int] = (),
    hidden: HiddenMode | None = None,
    temperatures: int = 1,
    device: str = "cpu",
) -> list[Result]:
    """Draw sequences.

    Parameters
    ----------
    model : str, path or StoredRBM
        Model file, folder of a run, or a loaded model.
    count : int
        Sequences of each label.
    labels : sequence of str
        Which; all by default.
    steps : int
        Gibbs steps from random states. A machine trained out of equilibrium with k steps is at
        its best after k.
    seed : int
        The same seed gives the same sequences; fewer are the first of more.
    start : str, optional
        Aligned sequence that every chain starts from, instead of random states.
    keep : sequence of int
        Sites (from 0) that keep their letter of `start`.
    hidden : str, optional
        ``sample`` or ``mean``, see `stemloop.models.rbm_tables.HiddenMode`; as in training by
        default. Means make less noisy sequences.
    temperatures : int
        More than 1: parallel tempering with so many copies of a chain, for machines whose plain
        chains do not mix (trained by PCD, or large weights).
    device : str
        Where to compute.

    Returns
    -------
    list of Result
        Aligned sequences, gaps included. Values: ``label``; ``label_probability``, exact p(label |
        sequence); ``free_energy``, minus log p(sequence) but for a constant.

    Raises
    ------
    UsageError
        Unknown label, a site out of range, or `keep` without `start`.
    WeightsError
        The model cannot be read.

    Examples
    --------
    >>> import torch
    >>> from stemloop.models.rbm import RBM
    >>> from stemloop.models.rbm_config import RBMConfig
    >>> config = RBMConfig("potts", 4, 2, "-ACGU", ("x", "y"))
    >>> blank = RBM(config, {k: torch.zeros(s) for k, s in config.shapes().items()})
    >>> made = sample(StoredRBM(blank, {}), 2, labels=["y"], start="GGAA", keep=[0, 1])
    >>> [r.record.id for r in made], made[0].record.sequence[:2]
    (['y-1', 'y-2'], 'GG')
    """
    import torch

    from stemloop.models.rbm_chains import generate, tempered

    stored = loaded(model, device)
    machine, config = stored.machine, stored.machine.config
    numbers = label_numbers(stored, labels or config.labels)
    if count < 1 or steps < 0:
        raise UsageError(f"{count} sequences after {steps} steps")
    if temperatures > 1 and (start or hidden == "mean"):
        raise UsageError("parallel tempering starts at random states and draws hidden units")
    first, fixed = starting_point(stored, start, keep)
    results: list[Result] = []
    for number in numbers:
        name = config.labels[number]
        rows = torch.full((BLOCK,), number, device=machine.device)
        for begin in range(0, count, BLOCK):
            generator = block_generator(machine.device, seed, number, begin // BLOCK)
            if temperatures > 1:
                visible = tempered(
                    machine, rows, steps, generator, temperatures=temperatures,
                    visible_frequencies=stored.extra.get("visible_frequencies"),
                )  # fmt: skip
            else:
                visible = generate(
                    machine, rows, steps, generator, fixed=fixed,
                    hidden=hidden or stored.hidden_chain,
                    start=None if first is None else first.expand(BLOCK, -1),
                )  # fmt: skip
            visible = visible[: count - begin]
            for k, values in enumerate(values_of(stored, visible)):
                chance = values.pop("_posterior")[number]
                text = "".join(config.letters[s] for s in visible[k].tolist())
                record = SequenceRecord(
                    f"{name or 'sample'}-{begin + k + 1}", text, "", len(results)
                )
                made = {"label": name, "label_probability": float(chance)}
                results.append(Result(record, {**made, "free_energy": values["free_energy"]}))
    return results


def block_generator(device: torch.device, *numbers: int) -> torch.Generator:
    """Random numbers of one block, that of these numbers (seed, label, place)."""
    import torch

    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state >> 1))


def starting_point(
    stored: StoredRBM, start: str | None, keep: Sequence[int]
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """States to start from, (1, N), and which sites to keep, (N,); see `sample`."""
    import torch

    config = stored.machine.config
    if start is None:
        if keep:
            raise UsageError("sites can only be kept of a sequence to start from")
        return None, None
    text = start.upper().replace("T", "U") if config.letters == "-ACGU" else start.upper()
    if len(text) != config.visible:
        raise UsageError(f"the sequence to start from has {len(text)} of {config.visible} sites")
    wrong = [c for c in text if c not in config.letters]
    if wrong:
        raise UsageError(f"{wrong[0]!r} in the sequence to start from is not in {config.letters}")
    first = torch.tensor([[config.letters.index(c) for c in text]], dtype=torch.uint8)
    fixed = torch.zeros(config.visible, dtype=torch.bool)
    for site in keep:
        if not 0 <= site < config.visible:
            raise UsageError(f"site {site} of {config.visible}")
        fixed[site] = True
    return first.to(stored.machine.device), fixed.to(stored.machine.device)


def values_of(stored: StoredRBM, visible: torch.Tensor) -> Iterator[dict[str, Any]]:
    """``free_energy`` and ``_posterior`` of the labels, of each row."""
    import torch

    with torch.no_grad():
        energies = stored.machine.label_free_energies(visible).double()
        posterior = torch.softmax(-energies, 1).cpu().numpy()
        marginal = (-torch.logsumexp(-energies, 1)).cpu().numpy()
    for chances, energy in zip(posterior, marginal, strict=True):
        yield {"free_energy": float(energy), "_posterior": chances}


def score(
    model: str | os.PathLike[str] | StoredRBM,
    data: Labelled,
    *,
    log_partition: float | None = None,
    device: str = "cpu",
) -> list[Result]:
    """Free energy and exact label posterior of aligned sequences.

    Parameters
    ----------
    model : str, path or StoredRBM
        The model.
    data : Labelled
        Rows with the model's sites (`read_rows`).
    log_partition : float, optional
        log Z (`stemloop.models.rbm_chains.annealed_log_partition`): adds ``log_likelihood``.
    device : str
        Where to compute.

    Returns
    -------
    list of Result
        Values: ``label`` (the likeliest), ``label_probability``, ``free_energy``, and
        ``p_<label>`` for every label.

    Raises
    ------
    InputError
        The rows have other sites than the model.
    """
    import torch

    stored = loaded(model, device)
    names = stored.machine.config.labels
    check_sites(stored, data)
    results = []
    for begin in range(0, len(data), BATCH):
        states = torch.tensor(data.states[begin : begin + BATCH], device=stored.machine.device)
        for k, values in enumerate(values_of(stored, states), begin):
            posterior = values.pop("_posterior")
            best = int(posterior.argmax())
            found: dict[str, str | float] = {
                "label": names[best], "label_probability": float(posterior[best]), **values
            }  # fmt: skip
            if log_partition is not None:
                found["log_likelihood"] = -values["free_energy"] - log_partition
            found |= {f"p_{name}": float(p) for name, p in zip(names, posterior, strict=True)}
            results.append(Result(_record(data, k), found))
    return results


def classify(
    model: str | os.PathLike[str] | StoredRBM,
    data: Labelled,
    *,
    steps: int | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> list[Result]:
    """Labels of aligned sequences.

    Parameters
    ----------
    model, data, device
        As for `score`.
    steps : int, optional
        Guess by so many Gibbs steps from random labels, as published, instead of by the exact
        posterior.
    seed : int
        Of the Gibbs steps.

    Returns
    -------
    list of Result
        Values: ``label``, ``label_probability``, ``p_<label>`` for every label.
    """
    import torch

    from stemloop.models.rbm_chains import guess_labels

    stored = loaded(model, device)
    names = stored.machine.config.labels
    if steps is None:
        exact = score(stored, data)
        return [
            Result(r.record, {k: v for k, v in r.values.items() if k != "free_energy"})
            for r in exact
        ]
    check_sites(stored, data)
    generator = torch.Generator(stored.machine.device).manual_seed(seed)
    results = []
    for begin in range(0, len(data), BATCH):
        states = torch.tensor(data.states[begin : begin + BATCH], device=stored.machine.device)
        _, chances = guess_labels(
            stored.machine, states, steps, generator, hidden=stored.hidden_chain
        )
        for k, row in enumerate(chances.cpu().numpy(), begin):
            best = int(row.argmax())
            values: dict[str, str | float] = {
                "label": names[best], "label_probability": float(row[best])
            }  # fmt: skip
            values |= {f"p_{name}": float(p) for name, p in zip(names, row, strict=True)}
            results.append(Result(_record(data, k), values))
    return results


def _record(data: Labelled, row: int) -> SequenceRecord:
    description = data.descriptions[row] if data.descriptions else ""
    return SequenceRecord(data.ids[row], data.text(row), description, row)


def check_sites(stored: StoredRBM, data: Labelled) -> None:
    """Insist on the model's sites and letters.

    Raises
    ------
    InputError
        Others.
    """
    config = stored.machine.config
    if data.letters != config.letters or data.states.shape[1] != config.visible:
        raise InputError(
            f"{data.states.shape[1]} sites of {data.letters}",
            expected=f"{config.visible} sites of {config.letters}, as the model was trained on",
        )
