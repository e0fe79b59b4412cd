"""Markov chains of an RBM with labels, and what is estimated from them.

Gibbs sampling alternates between the hidden units and the rest. Either side of the rest may be held
fixed: labels held fixed, a chain generates sequences of these labels; visible units held fixed, it
guesses labels.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from stemloop.errors import UsageError
from stemloop.models.rbm import RBM, SMALLEST_FREQUENCY
from stemloop.models.rbm_tables import ChainTables, HiddenMode, pass_on


@torch.no_grad()
def generate(
    machine: RBM,
    labels: Tensor,
    steps: int,
    generator: torch.Generator,
    *,
    start: Tensor | None = None,
    fixed: Tensor | None = None,
    hidden: HiddenMode = "sample",
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Visible states after some Gibbs steps with the labels held fixed.

    Parameters
    ----------
    machine : RBM
        The machine.
    labels : Tensor
        A label a chain, int64 (B,); or shares of the labels, (B, C): between them.
    steps : int
        Gibbs steps.
    generator : torch.Generator
        Source of random numbers.
    start : Tensor, optional
        States to start from, uint8 (B, N); uniformly random ones otherwise.
    fixed : Tensor, optional
        Sites that keep the state they start with, bool (N,) or (B, N).
    hidden : str
        See `HiddenMode`.
    dtype : torch.dtype, optional
        Of the steps, see `ChainTables`.

    Returns
    -------
    Tensor
        uint8 (B, N).
    """
    visible = machine.random_visible(len(labels), generator) if start is None else start
    kept = visible
    tables = ChainTables(machine, dtype)
    for _ in range(steps):
        units = tables.hidden_units(visible, labels, generator, hidden)
        visible = tables.sample_visible(units, generator)
        if fixed is not None:
            visible = torch.where(fixed, kept, visible)
    return visible


@torch.no_grad()
def tempered(
    machine: RBM,
    labels: Tensor,
    steps: int,
    generator: torch.Generator,
    *,
    temperatures: int = 10,
    visible_frequencies: Tensor | None = None,
) -> Tensor:
    """Visible states by parallel tempering, the labels held fixed.

    Every chain has copies at inverse temperatures from 0 (independent sites) to 1 (the machine);
    after each Gibbs step, neighbouring copies change places with the probability that keeps the
    distribution of each. What one copy cannot leave, it leaves through the others.

    Parameters
    ----------
    machine, labels, steps, generator
        As for `generate`; labels as numbers.
    temperatures : int
        Copies of a chain, at least 2.
    visible_frequencies : Tensor, optional
        Of the data, shape (S, N): the independent sites; the machine's visible bias otherwise.

    Returns
    -------
    Tensor
        States of the copies of the machine itself, uint8 (B, N).

    Raises
    ------
    UsageError
        Fewer than two temperatures.
    """
    if temperatures < 2:
        raise UsageError("parallel tempering needs at least 2 temperatures")
    first = _first(machine, visible_frequencies)
    levels = [_tempered(machine, first, k / (temperatures - 1)) for k in range(temperatures)]
    tables = [ChainTables(level) for level in levels]
    states = [machine.random_visible(len(labels), generator) for _ in levels]
    for step in range(steps):
        for k, table in enumerate(tables):
            units = table.hidden_units(states[k], labels, generator, "sample")
            states[k] = table.sample_visible(units, generator)
        for k in range(step % 2, temperatures - 1, 2):
            low, high = levels[k], levels[k + 1]
            one, two = states[k], states[k + 1]
            gain = low.free_energy(one, labels) - low.free_energy(two, labels)
            gain += high.free_energy(two, labels) - high.free_energy(one, labels)
            draw = torch.rand(len(labels), generator=generator, device=machine.device)
            swap = (draw.log() < gain).unsqueeze(1)
            states[k], states[k + 1] = torch.where(swap, two, one), torch.where(swap, one, two)
    return states[-1]


@torch.no_grad()
def guess_labels(
    machine: RBM,
    visible: Tensor,
    steps: int,
    generator: torch.Generator,
    *,
    hidden: HiddenMode = "sample",
) -> tuple[Tensor, Tensor]:
    """Labels after some Gibbs steps from random ones, the visible units held fixed.

    Returns
    -------
    labels : Tensor
        Drawn in the last step, int64 (B,).
    probabilities : Tensor
        That they were drawn from: p(l | h), shape (B, C).
    """
    field = machine.hidden_field(visible)
    labels = machine.random_labels(len(visible), generator)
    probabilities = torch.full(
        (len(visible), len(machine.config.labels)), 1 / len(machine.config.labels)
    ).to(field)
    for _ in range(steps):
        units = pass_on(field + machine.label_weights[labels], generator, hidden)
        probabilities = machine.label_probabilities(units)
        labels = machine.draw_labels(probabilities, generator)
    return labels, probabilities


@torch.no_grad()
def joint(
    machine: RBM,
    visible: Tensor,
    labels: Tensor,
    steps: int,
    generator: torch.Generator,
    *,
    hidden: HiddenMode = "sample",
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Gibbs steps of visible units and labels together; uint8 (B, N) and int64 (B,)."""
    tables = ChainTables(machine, dtype)
    for _ in range(steps):
        units = tables.hidden_units(visible, labels, generator, hidden)
        visible = tables.sample_visible(units, generator)
        labels = machine.sample_labels(units, generator)
    return visible, labels


@dataclass(frozen=True, slots=True)
class LogPartition:
    """An estimate of log Z.

    Parameters
    ----------
    value : float
        log Z, natural logarithm.
    error : float
        Standard error, from the spread of the chains' weights. It knows nothing of regions that
        no chain has reached: then log Z is underestimated.
    chains, temperatures : int
        Of the annealing.
    """

    value: float
    error: float
    chains: int
    temperatures: int


@torch.no_grad()
def annealed_log_partition(
    machine: RBM,
    generator: torch.Generator,
    *,
    visible_frequencies: Tensor | None = None,
    temperatures: int = 1000,
    chains: int = 500,
) -> LogPartition:
    """log Z by annealed importance sampling (Neal 2001; Salakhutdinov & Murray 2008).

    Chains start from independent sites and go to the machine through inverse temperatures 0 to 1.
    They live on (v, l), the hidden units summed out of their weights.

    Parameters
    ----------
    machine : RBM
        The machine.
    generator : torch.Generator
        Source of random numbers.
    visible_frequencies : Tensor, optional
        Of the data, shape (S, N): where to start. The nearer to the machine's, the smaller the
        error; the machine's own visible bias otherwise.
    temperatures : int
        Steps, at least 2.
    chains : int
        Chains, at least 2.

    Raises
    ------
    UsageError
        Fewer than two of either.
    """
    if temperatures < 2 or chains < 2:
        raise UsageError("annealing needs at least 2 temperatures and 2 chains")
    first = _first(machine, visible_frequencies)
    steps = (_tempered(machine, first, k / temperatures) for k in range(temperatures + 1))
    weight = deque(_anneal(steps, chains, generator), maxlen=1).pop()
    return _log_partition(weight + _log_start(machine, first), temperatures)


@torch.no_grad()
def trajectory_log_partitions(
    machines: Sequence[RBM],
    generator: torch.Generator,
    *,
    visible_frequencies: Tensor | None = None,
    temperatures: int = 1000,
    chains: int = 500,
) -> list[LogPartition]:
    """log Z of the ages of a training, by one annealing along all of them.

    Between an age and the next, parameters change linearly; before the first the machine is
    tempered as in `annealed_log_partition`. Where tempering a late machine crosses a transition
    that chains do not follow, its younger ages lead around it (Bereux et al. 2025).

    Parameters
    ----------
    machines : sequence of RBM
        From young to old, of one shape.
    generator, visible_frequencies, chains
        As for `annealed_log_partition`.
    temperatures : int
        Steps in all, shared evenly between the ages.

    Returns
    -------
    list of LogPartition
        One a machine.

    Raises
    ------
    UsageError
        No machine, fewer steps than machines, or fewer than two chains.
    """
    if not machines or temperatures < len(machines) or chains < 2:
        raise UsageError("a trajectory needs machines, a step for each at least, and 2 chains")
    first = _first(machines[0], visible_frequencies)
    each = temperatures // len(machines)
    path = [_tempered(machines[0], first, 0.0), *machines]
    steps = (
        _between(one, two, k / each)
        for number, (one, two) in enumerate(zip(path, path[1:], strict=False))
        for k in range(0 if number == 0 else 1, each + 1)
    )
    start = _log_start(machines[0], first)
    weights = list(itertools.islice(_anneal(steps, chains, generator), each, None, each))
    return [_log_partition(w + start, each * (k + 1)) for k, w in enumerate(weights)]


def _first(machine: RBM, visible_frequencies: Tensor | None) -> Tensor:
    """Visible bias of the independent sites that annealing starts from."""
    if visible_frequencies is None:
        return machine.visible_bias
    seen = visible_frequencies.to(machine.visible_bias)
    seen = seen.clamp(SMALLEST_FREQUENCY, 1 - SMALLEST_FREQUENCY)
    return seen.logit() if machine.config.kind == "binary" else seen.log()


def _log_start(machine: RBM, first: Tensor) -> float:
    """log Z of independent sites with this bias, and free hidden units and labels."""
    binary = machine.config.kind == "binary"
    sites = softplus(first) if binary else torch.logsumexp(first, 0)
    start = float(sites.double().sum()) + math.log(len(machine.config.labels))
    return start + machine.config.hidden * math.log(2)


def _anneal(steps: Iterator[RBM], chains: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Log-weights of chains on (v, l) at every machine on the way; at the first they are zero."""
    at = next(steps)
    zero = torch.zeros(chains, at.config.hidden).to(at.weights)
    visible = ChainTables(at).sample_visible(zero, generator)
    labels = at.random_labels(chains, generator)
    weight = torch.zeros(chains, dtype=torch.float64, device=at.device)
    yield weight
    before = at.free_energy(visible, labels)
    for at in steps:
        weight = weight + before.double() - at.free_energy(visible, labels).double()
        yield weight
        visible, labels = joint(at, visible, labels, 1, generator)
        before = at.free_energy(visible, labels)


def _log_partition(logs: Tensor, temperatures: int) -> LogPartition:
    value = torch.logsumexp(logs, 0) - math.log(len(logs))
    relative = (logs - value).exp()
    error = float(relative.std() / math.sqrt(len(logs)))
    return LogPartition(float(value), error, len(logs), temperatures)


def _tempered(machine: RBM, first: Tensor, beta: float) -> RBM:
    """The machine at an inverse temperature, between independent sites and itself."""
    tensors = {name: beta * tensor for name, tensor in machine.tensors().items()}
    tensors["visible_bias"] += (1 - beta) * first
    return RBM(machine.config, tensors)


def _between(one: RBM, two: RBM, share: float) -> RBM:
    """Parameters between those of two machines."""
    tensors = two.tensors()
    return RBM(
        one.config, {name: torch.lerp(t, tensors[name], share) for name, t in one.tensors().items()}
    )
