"""RBM with labels: everything against the sum over all configurations of tiny machines."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from stemloop.errors import UsageError, WeightsError
from stemloop.models.rbm import PARAMETERS, RBM, exact_log_partition
from stemloop.models.rbm_chains import (
    annealed_log_partition,
    generate,
    guess_labels,
    joint,
    tempered,
    trajectory_log_partitions,
)
from stemloop.models.rbm_config import RBMConfig
from stemloop.models.rbm_tables import ChainTables

SHAPES = {
    "potts": RBMConfig("potts", 3, 4, "-AC", ("x", "y")),
    "binary": RBMConfig("binary", 4, 3, "01", ("x", "y", "z")),
}


def tiny(kind: str, seed: int = 0, scale: float = 0.8) -> RBM:
    rng = np.random.default_rng(seed)
    config = SHAPES[kind]
    tensors = {k: torch.tensor(rng.normal(0, scale, s)) for k, s in config.shapes().items()}
    return RBM(config, tensors)


def energy(machine: RBM, v: tuple[int, ...], h: tuple[int, ...], label: int) -> float:
    """The formula, term by term."""
    w, a, b, d, c = (machine.tensors()[name].numpy() for name in PARAMETERS)
    total = -c[label]
    for i, s in enumerate(v):
        if machine.config.kind == "potts":
            total -= a[s, i] + sum(w[s, i, m] * x for m, x in enumerate(h))
        else:
            total -= s * (a[0, i] + sum(w[0, i, m] * x for m, x in enumerate(h)))
    return total - sum(x * (b[m] + d[label, m]) for m, x in enumerate(h))


def table(machine: RBM) -> tuple[np.ndarray, float]:
    """p(v, h, l) of all configurations, axes N times q, H times 2, C; and log Z."""
    config = machine.config
    shape = (config.states,) * config.visible + (2,) * config.hidden + (len(config.labels),)
    logs = np.zeros(shape)
    for place in np.ndindex(*shape):
        v, h = place[: config.visible], place[config.visible : -1]
        logs[place] = -energy(machine, v, h, place[-1])
    top = logs.max()
    weights = np.exp(logs - top)
    return weights / weights.sum(), top + math.log(weights.sum())


def all_visible(config: RBMConfig) -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(config.states), repeat=config.visible)))


def marginal_vl(machine: RBM, joint_table: np.ndarray) -> np.ndarray:
    """p(v, l), shape (q^N, C)."""
    n, h = machine.config.visible, machine.config.hidden
    summed = joint_table.sum(axis=tuple(range(n, n + h)))
    return summed.reshape(-1, len(machine.config.labels))


@pytest.mark.parametrize("kind", SHAPES)
class TestAgainstEnumeration:
    def test_energy(self, kind: str) -> None:
        machine = tiny(kind)
        rng = np.random.default_rng(1)
        for _ in range(20):
            v = rng.integers(0, machine.config.states, machine.config.visible)
            h = rng.integers(0, 2, machine.config.hidden)
            label = int(rng.integers(len(machine.config.labels)))
            found = machine.energy(
                torch.tensor(v[None]), torch.tensor(h[None]).double(), torch.tensor([label])
            )
            assert found.item() == pytest.approx(energy(machine, tuple(v), tuple(h), label))

    def test_marginals_and_posterior(self, kind: str) -> None:
        machine = tiny(kind)
        probabilities, log_z = table(machine)
        exact = marginal_vl(machine, probabilities)
        visible = all_visible(machine.config)
        assert exact_log_partition(machine, block=3) == pytest.approx(log_z)
        for label in range(len(machine.config.labels)):
            labels = torch.full((len(visible),), label)
            found = torch.exp(-machine.free_energy(visible, labels) - log_z)
            np.testing.assert_allclose(found.numpy(), exact[:, label], rtol=1e-9)
        found = torch.exp(-machine.label_free_energies(visible) - log_z)
        np.testing.assert_allclose(found.numpy(), exact, rtol=1e-9)
        found = torch.exp(-machine.marginal_free_energy(visible) - log_z)
        np.testing.assert_allclose(found.numpy(), exact.sum(1), rtol=1e-9)
        posterior = exact / exact.sum(1, keepdims=True)
        np.testing.assert_allclose(machine.label_posterior(visible).numpy(), posterior, rtol=1e-9)

    def test_conditionals(self, kind: str) -> None:
        machine = tiny(kind)
        exact, _ = table(machine)
        n, count = machine.config.visible, machine.config.hidden
        hidden = torch.tensor(list(itertools.product((0, 1), repeat=count))).double()
        for h in hidden:
            part = exact[(slice(None),) * n + tuple(h.int().tolist())]  # v..., l
            part = part / part.sum()
            labels = machine.label_probabilities(h[None])[0]
            np.testing.assert_allclose(labels, part.sum(tuple(range(n))), rtol=1e-9)
            states = machine.visible_probabilities(h[None])[0].numpy()
            for i in range(n):
                rest = tuple(j for j in range(n + 1) if j != i)
                np.testing.assert_allclose(states[:, i], part.sum(rest), rtol=1e-9)
        for v in all_visible(machine.config)[::5]:
            for label in range(len(machine.config.labels)):
                part = exact[(*v.tolist(), ..., label)]
                part = part / part.sum()
                found = machine.hidden_mean(v[None], torch.tensor([label]))[0].numpy()
                for m in range(count):
                    rest = tuple(j for j in range(count) if j != m)
                    assert found[m] == pytest.approx(part.sum(rest)[1])

    def test_zero_sum_changes_no_probability(self, kind: str) -> None:
        machine = tiny(kind)
        before, _ = table(machine)
        machine.zero_sum()
        np.testing.assert_allclose(table(machine)[0], before, rtol=1e-9)
        assert machine.label_weights.sum(0).abs().max() < 1e-12
        if kind == "potts":
            assert machine.weights.sum(0).abs().max() < 1e-12

    def test_one_step_draws_from_the_conditionals(self, kind: str) -> None:
        machine = tiny(kind)
        generator = torch.Generator().manual_seed(5)
        hidden = torch.tensor([[0.0, 1.0, 1.0, 0.0][: machine.config.hidden]]).double()
        draws = 20_000
        visible = ChainTables(machine).sample_visible(hidden.expand(draws, -1), generator)
        seen = machine.encoding(visible).mean(0)
        wanted = machine.visible_probabilities(hidden)[0]
        wanted = wanted[1:] if kind == "binary" else wanted
        assert (seen - wanted).abs().max() < 0.015  # four standard errors
        labels = machine.sample_labels(hidden.expand(draws, -1), generator)
        seen = machine.label_encoding(labels).mean(0)
        assert (seen - machine.label_probabilities(hidden)[0]).abs().max() < 0.015

    def test_long_chains_reach_the_exact_distribution(self, kind: str) -> None:
        machine = tiny(kind, scale=0.5)
        exact = marginal_vl(machine, table(machine)[0])
        generator = torch.Generator().manual_seed(5)
        chains = 20_000
        powers = torch.tensor(
            [machine.config.states**i for i in reversed(range(machine.config.visible))]
        )
        visible = machine.random_visible(chains, generator)
        labels = machine.random_labels(chains, generator)
        visible, labels = joint(machine, visible, labels, 30, generator)
        number = (visible.long() @ powers) * exact.shape[1] + labels
        seen = torch.bincount(number, minlength=exact.size).numpy() / chains
        assert abs(seen - exact.ravel()).sum() / 2 < 0.03
        # Labels held fixed: p(v | l).
        labels = torch.ones(chains, dtype=torch.long)
        visible = generate(machine, labels, 30, generator)
        seen = torch.bincount(visible.long() @ powers, minlength=len(exact)).numpy() / chains
        assert abs(seen - exact[:, 1] / exact[:, 1].sum()).sum() / 2 < 0.03
        # Visible units held fixed: p(l | v).
        one = all_visible(machine.config)[3:4]
        labels, _ = guess_labels(machine, one.expand(chains, -1), 30, generator)
        seen = machine.label_encoding(labels).mean(0)
        assert (seen - machine.label_posterior(one)[0]).abs().max() < 0.015

    def test_annealing_finds_log_z(self, kind: str) -> None:
        machine = tiny(kind)
        _, log_z = table(machine)
        generator = torch.Generator().manual_seed(2)
        seen = torch.full_like(machine.visible_bias, 1 / machine.config.states)
        for start in (None, seen):
            found = annealed_log_partition(
                machine, generator, visible_frequencies=start, temperatures=100, chains=500
            )
            assert found.value == pytest.approx(log_z, abs=5 * found.error + 1e-6)
            assert 0 < found.error < 0.1

    def test_a_trajectory_finds_log_z_of_every_age(self, kind: str) -> None:
        ages = [tiny(kind, scale=0.1), tiny(kind, seed=1, scale=0.5), tiny(kind, seed=2)]
        generator = torch.Generator().manual_seed(2)
        found = trajectory_log_partitions(ages, generator, temperatures=150, chains=500)
        assert [f.temperatures for f in found] == [50, 100, 150]
        for machine, one in zip(ages, found, strict=True):
            assert one.value == pytest.approx(table(machine)[1], abs=5 * one.error + 1e-6)
            assert 0 < one.error < 0.15


def test_tempering_leaves_a_basin_that_plain_chains_keep() -> None:
    """Two states far apart, one three times as likely as the other."""
    config = RBMConfig("binary", 8, 2, "01")
    tensors = {k: torch.zeros(s) for k, s in config.shapes().items()}
    tensors["weights"] += 4.0
    # All ones against all zeros: exp(8 a) (1 + e^(b + 32))^2 to (1 + e^b)^2.
    tensors["hidden_bias"] += -16.0
    tensors["visible_bias"] += (math.log(3) - 32) / 8
    machine = RBM(config, tensors)
    rows = all_visible(config)
    exact = torch.softmax(-machine.marginal_free_energy(rows).double(), 0)
    powers = torch.tensor([2**i for i in reversed(range(8))])
    labels = torch.zeros(4000, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    away = []
    even = {"visible_frequencies": torch.full((1, 8), 0.5)}
    for draw, more in ((generate, {}), (tempered, even)):
        visible = draw(machine, labels, 60, generator, **more)
        seen = torch.bincount(visible.long() @ powers, minlength=256) / len(labels)
        away.append(float((seen - exact).abs().sum() / 2))
    plain, through = away
    assert plain > 0.2
    assert through < 0.05


def test_fixed_sites_stay() -> None:
    machine = tiny("potts")
    generator = torch.Generator().manual_seed(0)
    start = machine.random_visible(50, generator)
    fixed = torch.tensor([True, False, True])
    labels = machine.random_labels(50, generator)
    found = generate(machine, labels, 5, generator, start=start, fixed=fixed)
    assert (found[:, fixed] == start[:, fixed]).all()
    assert (found != start).any()


@pytest.mark.parametrize(("letters", "sites"), [("-AC", 3), ("-ACGU", 4), ("-ACDEFGHIK", 5)])
def test_tables_of_chains_give_the_fields_of_the_machine(letters: str, sites: int) -> None:
    """One site a row and two, odd and even numbers of sites, labels and shares of labels."""
    rng = np.random.default_rng(3)
    config = RBMConfig("potts", sites, 4, letters, ("x", "y"))
    machine = RBM(config, {k: torch.tensor(rng.normal(size=s)) for k, s in config.shapes().items()})
    visible = torch.tensor(rng.integers(0, len(letters), (20, sites)), dtype=torch.uint8)
    labels = torch.tensor(rng.integers(0, 2, 20))
    wanted = machine.hidden_field(visible) + machine.label_weights[labels]
    tables = ChainTables(machine)
    torch.testing.assert_close(tables.hidden_field(visible, labels), wanted)
    shares = machine.label_encoding(labels)
    torch.testing.assert_close(tables.hidden_field(visible, shares), wanted)
    rounded = ChainTables(machine, torch.bfloat16).hidden_field(visible, labels)
    assert rounded.dtype == wanted.dtype
    assert 0 < (rounded - wanted).abs().max() < 0.05


def test_fields_of_any_size_are_sampled() -> None:
    """No overflow: of two states far above the others the higher one wins."""
    config = RBMConfig("potts", 2, 1, "-AC")
    tensors = {k: torch.zeros(s) for k, s in config.shapes().items()}
    tensors["visible_bias"] = torch.tensor([[0.0, 500], [1000, 0], [900, 400]])
    visible = ChainTables(RBM(config, tensors)).sample_visible(
        torch.zeros(100, 1), torch.Generator()
    )
    assert visible.tolist() == [[1, 0]] * 100


def test_initial_machine_has_the_frequencies_of_the_data() -> None:
    config = RBMConfig("potts", 2, 3, "-AC", ("x", "y"))
    seen = torch.tensor([[0.2, 1.0], [0.5, 0.0], [0.3, 0.0]])
    machine = RBM.initial(config, seen, torch.tensor([0.9, 0.1]), torch.Generator().manual_seed(0))
    field = torch.softmax(machine.visible_field(torch.zeros(1, 3))[0], 0)
    torch.testing.assert_close(field, seen, atol=1e-3, rtol=0)
    torch.testing.assert_close(
        torch.softmax(machine.label_bias, 0), torch.tensor([0.9, 0.1]), atol=1e-3, rtol=0
    )
    assert machine.weights.abs().max() < 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "spin"}, "unknown kind"),
        ({"letters": "-AA"}, "letter repeats"),
        ({"labels": ("x", "x")}, "label repeats"),
        ({"kind": "binary"}, "two states, not 3"),
        ({"columns": (1, 2)}, "2 columns for 3 sites"),
        ({"hidden": 0}, "needs sites"),
    ],
)
def test_impossible_shapes(change: dict, message: str) -> None:
    values = SHAPES["potts"].to_dict() | change
    with pytest.raises(WeightsError, match=message):
        RBMConfig.from_dict(values)


def test_shapes_are_checked() -> None:
    config = SHAPES["potts"]
    assert RBMConfig.from_dict(config.to_dict()) == config
    with pytest.raises(WeightsError, match="no configuration"):
        RBMConfig.from_dict({"kind": "potts"})
    tensors = tiny("potts").tensors()
    with pytest.raises(WeightsError, match="'weights' is missing"):
        RBM(config, {k: v for k, v in tensors.items() if k != "weights"})
    with pytest.raises(WeightsError, match=r"hidden_bias has shape \(3,\), expected \(4,\)"):
        RBM(config, tensors | {"hidden_bias": torch.zeros(3)})


def test_limits_are_said() -> None:
    config = RBMConfig("binary", 2, 21, "01")
    large = RBM(config, {k: torch.zeros(s) for k, s in config.shapes().items()})
    with pytest.raises(WeightsError, match="too many to enumerate"):
        exact_log_partition(large)
    with pytest.raises(UsageError, match="at least 2"):
        annealed_log_partition(tiny("potts"), torch.Generator(), chains=1)
