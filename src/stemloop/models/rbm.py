"""Restricted Boltzmann machine with a label layer on its hidden units.

Energy of visible states v, hidden units h (0 or 1) and a label l (arXiv 2307.06797, eq. 1-4)::

    E(v, h, l) = - sum_i a_i(v_i) - sum_m b_m h_m - c_l
                 - sum_im W_i(v_i)_m h_m - sum_m D_lm h_m

What is peculiar about it:

- One class for both kinds of visible units. ``potts`` has q states a site and weights (q, N, H);
  ``binary`` has weights (1, N, H), those of state 1, state 0 being the zero of energy.
- Visible units are state numbers (uint8), never one-hot vectors. The field on the hidden units is a
  sum of gathered rows (embedding bag) for Potts units and one product for binary ones; the field
  on the visible units is one product either way. Chains have tables of their own for this
  (`stemloop.models.rbm_tables`).
- Labels touch the hidden units only, so p(l | v) is exact with one softplus a label and hidden
  unit: no sampling is needed to classify.
- Potts weights and label weights have a gauge freedom. `zero_sum` fixes it without changing any
  probability: what leaves the weights goes into the hidden bias.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, one_hot, softplus

from stemloop.errors import WeightsError
from stemloop.models.rbm_config import RBMConfig

#: Names of the tensors of a machine, in the order of their gradients.
PARAMETERS = ("weights", "visible_bias", "hidden_bias", "label_weights", "label_bias")

#: Frequencies are kept this far from 0 and 1 before their logarithm is a bias.
SMALLEST_FREQUENCY = 1e-7


class RBM:
    """The machine: five tensors and what follows from them.

    Sizes: B rows, N sites, q states, S = q (Potts) or 1 (binary), H hidden units, C labels.
    Visible states are uint8 or other integers (B, N), hidden units floats (B, H), labels int64
    (B,). Random numbers come from the `torch.Generator` that is passed in.

    Parameters
    ----------
    config : RBMConfig
        Shape.
    tensors : mapping of str to Tensor
        ``weights`` (S, N, H), ``visible_bias`` (S, N), ``hidden_bias`` (H,), ``label_weights``
        (C, H), ``label_bias`` (C,).

    Raises
    ------
    WeightsError
        A tensor is missing or of another shape.

    Examples
    --------
    >>> config = RBMConfig("potts", 3, 2, "-ACGU", ("x", "y"))
    >>> machine = RBM(config, {k: torch.zeros(s) for k, s in config.shapes().items()})
    >>> machine.label_posterior(torch.tensor([[0, 1, 4]])).tolist()
    [[0.5, 0.5]]
    """

    weights: Tensor
    visible_bias: Tensor
    hidden_bias: Tensor
    label_weights: Tensor
    label_bias: Tensor

    def __init__(self, config: RBMConfig, tensors: Mapping[str, Tensor]) -> None:
        self.config = config
        for name, shape in config.shapes().items():
            if name not in tensors:
                raise WeightsError(f"tensor {name!r} is missing")
            if tuple(tensors[name].shape) != shape:
                raise WeightsError(
                    f"{name} has shape {tuple(tensors[name].shape)}, expected {shape}"
                )
            setattr(self, name, tensors[name])
        self._sites = torch.arange(config.visible, dtype=torch.int32, device=self.device)

    @classmethod
    def initial(
        cls,
        config: RBMConfig,
        visible_frequencies: Tensor,
        label_frequencies: Tensor,
        generator: torch.Generator,
        *,
        scale: float = 1e-4,
    ) -> RBM:
        """Independent sites and labels of these frequencies, and weights near zero.

        Parameters
        ----------
        config : RBMConfig
            Shape.
        visible_frequencies : Tensor
            Of the states at each site, shape (S, N): all states, or state 1 of binary units.
        label_frequencies : Tensor
            Shape (C,).
        generator : torch.Generator
            Source of the weights; its device is the machine's.
        scale : float
            Standard deviation of the weights.
        """
        device = generator.device
        low = SMALLEST_FREQUENCY
        seen = visible_frequencies.to(device, torch.float32).clamp(low, 1 - low)
        if config.kind == "potts":
            bias = seen.log() - seen.log().mean(0)
        else:
            bias = seen.logit()
        labels = label_frequencies.to(device, torch.float32).clamp(low, 1 - low).log()
        shapes = config.shapes()
        tensors = {
            name: scale * torch.randn(shapes[name], generator=generator, device=device)
            for name in ("weights", "label_weights")
        }
        tensors |= {
            "visible_bias": bias,
            "hidden_bias": torch.zeros(shapes["hidden_bias"], device=device),
            "label_bias": labels - labels.mean(),
        }
        machine = cls(config, tensors)
        machine.zero_sum()
        return machine

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.weights.device

    def tensors(self) -> dict[str, Tensor]:
        """The five tensors by name."""
        return {name: getattr(self, name) for name in PARAMETERS}

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> RBM:
        """Copy on another device or of another dtype."""
        return RBM(self.config, {k: v.to(device, dtype) for k, v in self.tensors().items()})

    # Fields and energies ----------------------------------------------------------------------
    def encoding(self, visible: Tensor) -> Tensor:
        """Indicator of the states as the weights see them, shape (B, S, N)."""
        first = self.config.kind == "binary"
        states = torch.arange(
            int(first), self.config.states, dtype=visible.dtype, device=self.device
        )
        return (visible.unsqueeze(1) == states.unsqueeze(1)).to(self.weights.dtype)

    def hidden_field(self, visible: Tensor) -> Tensor:
        """Field on the hidden units without that of the label: b + sum_i W_i(v_i), (B, H)."""
        if self.config.kind == "binary":
            return torch.addmm(self.hidden_bias, visible.to(self.weights.dtype), self.weights[0])
        rows = visible.to(torch.int32) * self.config.visible + self._sites
        table = self.weights.view(-1, self.config.hidden)
        return embedding_bag(rows, table, mode="sum") + self.hidden_bias

    def visible_field(self, hidden: Tensor) -> Tensor:
        """a_i(s) + sum_m W_i(s)_m h_m, shape (B, S, N)."""
        flat = torch.addmm(
            self.visible_bias.view(-1), hidden, self.weights.view(-1, self.config.hidden).t()
        )
        return flat.view(len(hidden), -1, self.config.visible)

    def label_field(self, hidden: Tensor) -> Tensor:
        """c_l + sum_m D_lm h_m, shape (B, C)."""
        return torch.addmm(self.label_bias, hidden, self.label_weights.t())

    def visible_energy(self, visible: Tensor) -> Tensor:
        """- sum_i a_i(v_i), shape (B,)."""
        if self.config.kind == "binary":
            return -(visible.to(self.weights.dtype) @ self.visible_bias[0])
        return -self.visible_bias[visible.int(), self._sites].sum(1)

    def energy(self, visible: Tensor, hidden: Tensor, labels: Tensor) -> Tensor:
        """E(v, h, l), shape (B,)."""
        field = self.hidden_field(visible) + self.label_weights[labels]
        return self.visible_energy(visible) - (field * hidden).sum(1) - self.label_bias[labels]

    def free_energy(self, visible: Tensor, labels: Tensor) -> Tensor:
        """F(v, l) = - log sum_h exp(-E(v, h, l)), shape (B,)."""
        field = self.hidden_field(visible) + self.label_weights[labels]
        return self.visible_energy(visible) - softplus(field).sum(1) - self.label_bias[labels]

    def label_free_energies(self, visible: Tensor) -> Tensor:
        """F(v, l) for every label, shape (B, C)."""
        field = self.hidden_field(visible)
        columns = [
            softplus(field + weights).sum(1) + bias
            for weights, bias in zip(self.label_weights, self.label_bias, strict=True)
        ]
        return self.visible_energy(visible).unsqueeze(1) - torch.stack(columns, 1)

    def marginal_free_energy(self, visible: Tensor) -> Tensor:
        """- log sum_hl exp(-E(v, h, l)), shape (B,): minus log p(v) but for log Z."""
        return -torch.logsumexp(-self.label_free_energies(visible), 1)

    # Conditional probabilities ----------------------------------------------------------------
    def label_posterior(self, visible: Tensor) -> Tensor:
        """p(l | v), exact, shape (B, C)."""
        return torch.softmax(-self.label_free_energies(visible), 1)

    def hidden_mean(self, visible: Tensor, labels: Tensor) -> Tensor:
        """p(h_m = 1 | v, l), shape (B, H)."""
        return torch.sigmoid(self.hidden_field(visible) + self.label_weights[labels])

    def visible_probabilities(self, hidden: Tensor) -> Tensor:
        """p(v_i = s | h), shape (B, q, N)."""
        field = self.visible_field(hidden)
        if self.config.kind == "binary":
            one = torch.sigmoid(field)
            return torch.cat((1 - one, one), 1)
        return torch.softmax(field, 1)

    def label_probabilities(self, hidden: Tensor) -> Tensor:
        """p(l | h), shape (B, C)."""
        return torch.softmax(self.label_field(hidden), 1)

    # Sampling -----------------------------------------------------------------------------------
    def sample_labels(self, hidden: Tensor, generator: torch.Generator) -> Tensor:
        """Draw l from p(l | h), int64 (B,)."""
        return self.draw_labels(self.label_probabilities(hidden), generator)

    def sample_label_posterior(self, visible: Tensor, generator: torch.Generator) -> Tensor:
        """Draw l from p(l | v), int64 (B,)."""
        return self.draw_labels(self.label_posterior(visible), generator)

    def draw_labels(self, probabilities: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a label of each row of probabilities (B, C), int64 (B,)."""
        sums = probabilities.cumsum(1)
        draw = torch.rand(len(sums), 1, generator=generator, dtype=sums.dtype, device=self.device)
        return (draw * sums[:, -1:] >= sums[:, :-1]).sum(1)

    def random_visible(self, count: int, generator: torch.Generator) -> Tensor:
        """Uniformly random states, uint8 (B, N)."""
        shape = (count, self.config.visible)
        return torch.randint(
            self.config.states, shape, generator=generator, dtype=torch.uint8, device=self.device
        )

    def random_labels(self, count: int, generator: torch.Generator) -> Tensor:
        """Uniformly random labels, int64 (B,)."""
        return torch.randint(
            len(self.config.labels), (count,), generator=generator, device=self.device
        )

    def label_encoding(self, labels: Tensor) -> Tensor:
        """Indicator of the labels, shape (B, C)."""
        return one_hot(labels, len(self.config.labels)).to(self.weights.dtype)

    # Gauge ------------------------------------------------------------------------------------
    @torch.no_grad()
    def zero_sum(self) -> None:
        """Make weights sum to zero over states and over labels; no probability changes.

        Binary weights have no such freedom and stay; the label weights are treated in either case.
        """
        if self.config.kind == "potts":
            mean = self.weights.mean(0)
            self.weights -= mean
            self.hidden_bias += mean.sum(0)
            self.visible_bias -= self.visible_bias.mean(0)
        mean = self.label_weights.mean(0)
        self.label_weights -= mean
        self.hidden_bias += mean
        self.label_bias -= self.label_bias.mean()


def exact_log_partition(machine: RBM, *, block: int = 4096) -> float:
    """log Z by summing over all hidden configurations, in double precision.

    Raises
    ------
    WeightsError
        More than 20 hidden units: two to that power is too many.

    Examples
    --------
    >>> config = RBMConfig("binary", 3, 2, "01", ("x", "y"))
    >>> zero = RBM(config, {k: torch.zeros(s) for k, s in config.shapes().items()})
    >>> round(exact_log_partition(zero) / torch.tensor(2.0).log().item(), 6)  # 2^(3 + 2 + 1)
    6.0
    """
    if machine.config.hidden > 20:
        raise WeightsError(f"{machine.config.hidden} hidden units: too many to enumerate")
    machine = machine.to(machine.device, torch.float64)
    parts = [_log_weight(machine, hidden) for hidden in _configurations(machine, block)]
    return float(torch.logsumexp(torch.cat(parts), 0))


def _configurations(machine: RBM, block: int) -> Iterator[Tensor]:
    """All hidden configurations, some at a time."""
    units = torch.arange(machine.config.hidden, device=machine.device)
    for numbers in torch.arange(2**machine.config.hidden, device=machine.device).split(block):
        yield ((numbers.unsqueeze(1) >> units) & 1).to(machine.weights.dtype)


def _log_weight(machine: RBM, hidden: Tensor) -> Tensor:
    """log sum_vl exp(-E(v, h, l)), shape (B,)."""
    field = machine.visible_field(hidden)
    sites = softplus(field) if machine.config.kind == "binary" else torch.logsumexp(field, 1)
    labels = torch.logsumexp(machine.label_field(hidden), 1)
    return sites.flatten(1).sum(1) + labels + hidden @ machine.hidden_bias
