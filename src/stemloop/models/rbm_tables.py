"""Tables of an RBM that make the Gibbs steps of its chains cheap; no probability changes.

A chain takes many steps with the same weights. So once before them:

- Rows of the weights are added for all combinations of two neighbouring sites (where a site has few
  states), and the rows of the labels follow: the field on the hidden units is then half as many
  gathered rows.
- Weights of the first state are taken off those of the others: a field for each of q - 1 states
  says as much as one for each of q.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from stemloop.models.rbm import RBM

#: ``sample`` draws hidden units; ``mean`` passes on their means, as the published program does:
#: faster to converge, but no longer a sampler of the model.
HiddenMode = Literal["sample", "mean"]

#: States a site up to which two sites share a row of the table.
_FEW = 8


class ChainTables:
    """The machine as its chains see it.

    Parameters
    ----------
    machine : RBM
        The machine; later changes of its tensors are not seen.
    dtype : torch.dtype, optional
        Of weights and fields in the steps, such as bfloat16, which some processors multiply in half
        the time; probabilities and random numbers are float32. The machine's own by default, and
        then nothing is rounded.

    Examples
    --------
    >>> from stemloop.models.rbm_config import RBMConfig
    >>> config = RBMConfig("potts", 3, 2, "-ACGU", ("x", "y"))
    >>> machine = RBM(config, {k: torch.ones(s) for k, s in config.shapes().items()})
    >>> ChainTables(machine).hidden_field(torch.tensor([[0, 1, 4]]), torch.tensor([0])).tolist()
    [[5.0, 5.0]]
    """

    def __init__(self, machine: RBM, dtype: torch.dtype | None = None) -> None:
        config = machine.config
        self.config = config
        self.potts = config.kind == "potts"
        self.exact = machine.weights.dtype
        self.dtype = dtype or self.exact
        labels = machine.hidden_bias + machine.label_weights
        self._labels = labels
        weights, bias = machine.weights, machine.visible_bias
        if self.potts:
            weights, bias = weights[1:] - weights[0], bias[1:] - bias[0]
            table, self._pairs = self._rows(machine.weights)
            self._table = torch.cat((table, labels)).to(self.dtype)
        else:
            self._table = weights[0].to(self.dtype)
        self._bias = bias.reshape(-1)
        self._weights = weights.reshape(-1, config.hidden).to(self.dtype).t()

    def _rows(self, weights: Tensor) -> tuple[Tensor, bool]:
        """Rows to gather, one for each state of a site or of two; and whether of two."""
        states, sites, hidden = weights.shape
        pairs = states <= _FEW
        if pairs:
            if sites % 2:
                weights = torch.cat((weights, weights.new_zeros(states, 1, hidden)), 1)
            weights = weights[:, None, 0::2] + weights[None, :, 1::2]
        places = weights.shape[-2]
        self._places = torch.arange(places, dtype=torch.int32, device=weights.device)
        return weights.reshape(-1, hidden), pairs

    def hidden_field(self, visible: Tensor, labels: Tensor) -> Tensor:
        """Field on the hidden units, (B, H); `labels` as numbers (B,) or as shares (B, C)."""
        soft = labels.dim() == 2
        if not self.potts:
            field = (visible.to(self.dtype) @ self._table).to(self.exact)
            return field.add_(labels @ self._labels if soft else self._labels[labels])
        visible = visible.to(torch.int32)
        places, states = len(self._places), self.config.states
        if self._pairs:
            rows = visible[:, 0::2] * (states * places)
            rows[:, : self.config.visible // 2] += visible[:, 1::2] * places
        else:
            rows = visible * places
        rows += self._places
        if soft:
            field = embedding_bag(rows, self._table, mode="sum").to(self.exact)
            return field.add_(labels @ self._labels)
        first = len(self._table) - len(self._labels)
        rows = torch.cat((rows, (labels + first).to(torch.int32).unsqueeze(1)), 1)
        return embedding_bag(rows, self._table, mode="sum").to(self.exact)

    def hidden_units(
        self, visible: Tensor, labels: Tensor, generator: torch.Generator, mode: HiddenMode
    ) -> Tensor:
        """Hidden units given the rest, drawn or their means, (B, H)."""
        return pass_on(self.hidden_field(visible, labels), generator, mode)

    def sample_visible(self, hidden: Tensor, generator: torch.Generator) -> Tensor:
        """Draw v from p(v | h), uint8 (B, N), by inverting the cumulated probabilities."""
        size = (len(hidden), self.config.visible)
        if self.dtype == self.exact:
            flat = torch.addmm(self._bias, hidden, self._weights)
        else:
            flat = (hidden.to(self.dtype) @ self._weights).to(self.exact).add_(self._bias)
        draw = torch.rand(size, generator=generator, dtype=self.exact, device=flat.device)
        if not self.potts:
            return (draw < flat.sigmoid_()).to(torch.uint8)
        field = flat.view(size[0], -1, size[1])
        # The field of the first state is zero; all are taken relative to the largest.
        largest = field.amax(1).clamp_(min=0)
        field -= largest.unsqueeze(1)
        field.exp_()
        first = below = largest.neg_().exp_()
        levels = field.unbind(1)
        for level in levels:  # in place: the sums over the states up to each one
            level += below
            below = level
        draw *= below
        result = (draw >= first).to(torch.uint8)
        for level in levels[:-1]:
            result += draw >= level
        return result


def pass_on(field: Tensor, generator: torch.Generator, mode: HiddenMode) -> Tensor:
    """Units of these fields, drawn or their means; overwrites the fields."""
    mean = field.sigmoid_()
    if mode == "mean":
        return mean
    # Three times as fast as torch.bernoulli.
    draw = torch.rand(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
    return draw.lt_(mean)
