"""Markov chains of an RBM with labels, and what is estimated from them.

Gibbs sampling alternates between the hidden units and the rest. Either side of the rest may be held
fixed: labels held fixed, a chain generates sequences of these labels; visible units held fixed, it
guesses labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from stemloop.errors import UsageError
from stemloop.models.rbm import RBM, SMALLEST_FREQUENCY

#: ``sample`` draws hidden units; ``mean`` passes on their means, as the published program does:
#: faster to converge, but no longer a sampler of the model.
HiddenMode = Literal["sample", "mean"]


def _pass_on(field: Tensor, generator: torch.Generator, mode: HiddenMode) -> Tensor:
    mean = field.sigmoid_()
    if mode == "mean":
        return mean
    # Three times as fast as torch.bernoulli.
    draw = torch.rand(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
    return (draw < mean).to(mean.dtype)


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

    Returns
    -------
    Tensor
        uint8 (B, N).
    """
    visible = machine.random_visible(len(labels), generator) if start is None else start
    kept = visible
    soft = labels.dim() == 2
    bias = labels @ machine.label_weights if soft else machine.label_weights[labels]
    for _ in range(steps):
        field = machine.hidden_field(visible).add_(bias)
        visible = machine.sample_visible(_pass_on(field, generator, hidden), generator)
        if fixed is not None:
            visible = torch.where(fixed, kept, visible)
    return visible


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
        units = _pass_on(field + machine.label_weights[labels], generator, hidden)
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
) -> tuple[Tensor, Tensor]:
    """Gibbs steps of visible units and labels together; uint8 (B, N) and int64 (B,)."""
    for _ in range(steps):
        field = machine.hidden_field(visible).add_(machine.label_weights[labels])
        units = _pass_on(field, generator, hidden)
        visible = machine.sample_visible(units, generator)
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
    first = machine.visible_bias
    if visible_frequencies is not None:
        seen = visible_frequencies.to(first).clamp(SMALLEST_FREQUENCY, 1 - SMALLEST_FREQUENCY)
        first = seen.logit() if machine.config.kind == "binary" else seen.log()
    binary = machine.config.kind == "binary"
    sites = softplus(first) if binary else torch.logsumexp(first, 0)
    start = sites.double().sum() + math.log(len(machine.config.labels))
    start = start + machine.config.hidden * math.log(2)

    zero = torch.zeros(chains, machine.config.hidden).to(machine.weights)
    at = _tempered(machine, first, 0.0)
    visible = at.sample_visible(zero, generator)
    labels = machine.random_labels(chains, generator)
    weight = torch.zeros(chains, dtype=torch.float64, device=machine.device)
    before = at.free_energy(visible, labels)
    for step in range(1, temperatures + 1):
        at = _tempered(machine, first, step / temperatures)
        weight += before.double() - at.free_energy(visible, labels).double()
        visible, labels = joint(at, visible, labels, 1, generator)
        before = at.free_energy(visible, labels)
    logs = weight + start
    value = torch.logsumexp(logs, 0) - math.log(chains)
    relative = (logs - value).exp()
    error = float(relative.std() / math.sqrt(chains))
    return LogPartition(float(value), error, chains, temperatures)


def _tempered(machine: RBM, first: Tensor, beta: float) -> RBM:
    """The machine at an inverse temperature, between independent sites and itself."""
    tensors = {name: beta * tensor for name, tensor in machine.tensors().items()}
    tensors["visible_bias"] += (1 - beta) * first
    return RBM(machine.config, tensors)
