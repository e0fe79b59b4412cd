"""Gradients of an RBM against automatic differentiation of sums over all configurations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from stemloop.models.rbm import PARAMETERS, RBM
from stemloop.models.rbm_config import RBMConfig
from stemloop.training.rbm_gradient import Phase, add, exact_label_phase, gradient

CONFIGS = {
    "potts": RBMConfig("potts", 3, 4, "-AC", ("x", "y")),
    "binary": RBMConfig("binary", 4, 3, "01", ("x", "y", "z")),
}


def setup(kind: str) -> tuple[RBM, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A tiny machine, and rows with labels and weights."""
    rng = np.random.default_rng(3)
    config = CONFIGS[kind]
    tensors = {k: torch.tensor(rng.normal(0, 0.7, s)) for k, s in config.shapes().items()}
    visible = torch.tensor(rng.integers(0, config.states, (6, config.visible)))
    labels = torch.tensor(rng.integers(0, len(config.labels), 6))
    weights = torch.tensor(rng.random(6))
    return RBM(config, tensors), visible, labels, weights / weights.sum()


def everything(config: RBMConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """All (v, l)."""
    states = list(itertools.product(range(config.states), repeat=config.visible))
    count = len(config.labels)
    visible = torch.tensor([v for v in states for _ in range(count)])
    return visible, torch.arange(count).repeat(len(states))


def free_energy(machine: RBM, t: dict[str, torch.Tensor], visible, labels) -> torch.Tensor:
    """The formula with one-hot vectors, nothing shared with the machine's own methods."""
    config = machine.config
    if config.kind == "potts":
        onehot = torch.nn.functional.one_hot(visible, config.states).transpose(1, 2).double()
    else:
        onehot = visible.double().unsqueeze(1)
    field = torch.einsum("bsn,snh->bh", onehot, t["weights"]) + t["hidden_bias"]
    field = field + t["label_weights"][labels]
    site = torch.einsum("bsn,sn->b", onehot, t["visible_bias"])
    return -site - t["label_bias"][labels] - torch.log1p(field.exp()).sum(1)


def likelihood(machine: RBM, tensors, visible, labels, weights) -> torch.Tensor:
    all_v, all_l = everything(machine.config)
    log_z = torch.logsumexp(-free_energy(machine, tensors, all_v, all_l), 0)
    return -(weights * free_energy(machine, tensors, visible, labels)).sum() - log_z


def posterior(machine: RBM, tensors, visible, labels, weights) -> torch.Tensor:
    """Mean log p(l | v)."""
    count = len(machine.config.labels)
    every = [
        -free_energy(machine, tensors, visible, torch.full_like(labels, k)) for k in range(count)
    ]
    logs = torch.log_softmax(torch.stack(every, 1), 1)
    return (weights * logs.gather(1, labels[:, None])[:, 0]).sum()


def offsets(machine: RBM, visible, labels, weights):
    """Means of the data phase."""
    hidden = machine.hidden_mean(visible, labels)
    return (
        torch.einsum("b,bsn->sn", weights, machine.encoding(visible)),
        weights @ hidden,
        weights @ machine.label_encoding(labels),
    )


def by_autograd(machine: RBM, objective, data, centred: bool) -> dict[str, torch.Tensor]:
    """Step of unit length along the gradient, in the machine's own parameters.

    Centred: the machine is written with offset units, differentiated by the parameters of that
    form, moved along, and written back.
    """
    visible, labels, weights = data
    m_v, m_h, m_l = offsets(machine, *data)
    if not centred:
        m_v, m_h, m_l = torch.zeros_like(m_v), torch.zeros_like(m_h), torch.zeros_like(m_l)

    def plain(t):
        return {
            "weights": t["weights"],
            "label_weights": t["label_weights"],
            "visible_bias": t["visible_bias"] - t["weights"] @ m_h,
            "hidden_bias": t["hidden_bias"]
            - torch.einsum("sn,snh->h", m_v, t["weights"])
            - m_l @ t["label_weights"],
            "label_bias": t["label_bias"] - t["label_weights"] @ m_h,
        }

    now = machine.tensors()
    offset_form = {
        "weights": now["weights"],
        "label_weights": now["label_weights"],
        "visible_bias": now["visible_bias"] + now["weights"] @ m_h,
        "hidden_bias": now["hidden_bias"]
        + torch.einsum("sn,snh->h", m_v, now["weights"])
        + m_l @ now["label_weights"],
        "label_bias": now["label_bias"] + now["label_weights"] @ m_h,
    }
    leaves = {k: v.clone().requires_grad_() for k, v in offset_form.items()}
    objective(machine, plain(leaves), visible, labels, weights).backward()
    moved = plain({k: offset_form[k] + leaves[k].grad for k in PARAMETERS})
    return {k: moved[k] - now[k] for k in PARAMETERS}


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("kind", CONFIGS)
def test_likelihood_gradient(kind: str, centred: bool) -> None:
    machine, visible, labels, weights = setup(kind)
    all_v, all_l = everything(machine.config)
    chances = torch.softmax(-machine.free_energy(all_v, all_l), 0)
    data = Phase(visible, machine.hidden_mean(visible, labels), labels, weights)
    model = Phase(all_v, machine.hidden_mean(all_v, all_l), all_l, chances)
    found = gradient(machine, data, model, centred=centred)
    wanted = by_autograd(machine, likelihood, (visible, labels, weights), centred)
    for name in PARAMETERS:
        torch.testing.assert_close(found[name], wanted[name])


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("kind", CONFIGS)
def test_label_gradient(kind: str, centred: bool) -> None:
    """Exact label phase: the gradient of log p(l | v)."""
    machine, visible, labels, weights = setup(kind)
    data = Phase(visible, machine.hidden_mean(visible, labels), labels, weights)
    found = gradient(machine, data, exact_label_phase(machine, data), centred=centred)
    wanted = by_autograd(machine, posterior, (visible, labels, weights), centred)
    for name in PARAMETERS:
        torch.testing.assert_close(found[name], wanted[name], atol=1e-10, rtol=1e-6)


@pytest.mark.parametrize("kind", CONFIGS)
def test_exact_label_phase_is_the_limit_of_sampled_labels(kind: str) -> None:
    machine, visible, labels, weights = setup(kind)
    data = Phase(visible, machine.hidden_mean(visible, labels), labels, weights)
    count = len(machine.config.labels)
    rows = visible.repeat_interleave(count, 0)
    every = torch.arange(count).repeat(len(visible))
    chances = weights.repeat_interleave(count) * machine.label_posterior(visible).flatten()
    long = Phase(rows, machine.hidden_mean(rows, every), every, chances)
    short = exact_label_phase(machine, data)
    for name, tensor in gradient(machine, data, short).items():
        torch.testing.assert_close(tensor, gradient(machine, data, long)[name])


@pytest.mark.parametrize("kind", CONFIGS)
def test_penalties_are_those_of_the_objective(kind: str) -> None:
    machine, visible, labels, weights = setup(kind)

    def penalised(machine, t, *data):
        penalty = sum(
            0.3 * t[k].abs().sum() + 0.2 / 2 * t[k].square().sum()
            for k in ("weights", "label_weights")
        )
        return posterior(machine, t, *data) - penalty

    data = Phase(visible, machine.hidden_mean(visible, labels), labels, weights)
    found = gradient(machine, data, exact_label_phase(machine, data), l1=0.3, l2=0.2)
    wanted = by_autograd(machine, penalised, (visible, labels, weights), True)
    for name in PARAMETERS:
        torch.testing.assert_close(found[name], wanted[name])


def test_the_centred_step_stays_in_the_zero_sum_gauge() -> None:
    machine, visible, labels, weights = setup("potts")
    data = Phase(visible, machine.hidden_mean(visible, labels), labels, weights)
    other = Phase(visible.flip(0), machine.hidden_mean(visible.flip(0), labels), labels, weights)
    step = gradient(machine, data, other)
    assert step["weights"].sum(0).abs().max() < 1e-12
    assert step["label_weights"].sum(0).abs().max() < 1e-12


def test_sum_of_directions() -> None:
    machine, visible, labels, weights = setup("binary")
    data = Phase(visible, machine.hidden_mean(visible, labels), labels, weights)
    one = gradient(machine, data, exact_label_phase(machine, data))
    for name, tensor in add(one, one).items():
        torch.testing.assert_close(tensor, 2 * one[name])


def test_states_that_nobody_has_get_no_gradient() -> None:
    """Exactly none: Adam makes full steps of rounding errors."""
    config = RBMConfig("potts", 6, 5, "-ACGU", ("x", "y"))
    generator = torch.Generator().manual_seed(0)
    tensors = {k: torch.randn(s, generator=generator) for k, s in config.shapes().items()}
    machine = RBM(config, tensors)
    labels = machine.random_labels(50, generator)
    sides = []
    for _ in range(2):
        visible = machine.random_visible(50, generator).clamp(1, 3)  # neither gaps nor U
        hidden = machine.hidden_mean(visible, labels)
        sides.append(Phase(visible, hidden, labels, torch.full((50,), 1 / 50)))
    for centred in (True, False):
        found = gradient(machine, *sides, centred=centred)
        for state in (0, 4):
            assert not found["weights"][state].any()
        assert found["weights"][1:4].all()
