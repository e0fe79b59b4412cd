"""Gradient of an RBM's log-likelihood, with or without centring.

The gradient is a difference of averages over two phases: data with their hidden units, and a chain.
Centred (Montavon & Mueller 2012; Melchior et al. 2016), offsets m_v, m_h, m_l, here those of the
data phase, are taken off all units. In the machine's own parameters that is::

    dW = <(v - m_v)(h - m_h)>_data - <(v - m_v)(h - m_h)>_chain      dD likewise
    da = <v>_data - <v>_chain - dW m_h
    db = <h>_data - <h>_chain - m_v dW - m_l dD
    dc = <l>_data - <l>_chain - dD m_h

The last term of db is missing in the program published with arXiv 2307.06797; without it a step
along dD shifts the hidden units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stemloop.models.rbm import RBM


@dataclass(slots=True)
class Phase:
    """One side of the gradient.

    Parameters
    ----------
    visible : Tensor
        States, integers (B, N).
    hidden : Tensor
        Hidden units or their means, (B, H).
    labels : Tensor
        int64 (B,), or a probability of each label (B, C).
    weights : Tensor
        Of the rows, (B,), summing to one.
    label_hidden : Tensor, optional
        Average of hidden units by label, (C, H), where it is not that of `labels` and `hidden`.
    """

    visible: Tensor
    hidden: Tensor
    labels: Tensor
    weights: Tensor
    label_hidden: Tensor | None = None
    _encoding: Tensor | None = field(default=None, repr=False)

    def encoding(self, machine: RBM) -> Tensor:
        """Indicators of the states, flat: (B, S N); computed once."""
        if self._encoding is None:
            self._encoding = machine.encoding(self.visible).flatten(1)
        return self._encoding

    def label_rows(self, machine: RBM) -> Tensor:
        """Indicators or probabilities of the labels, (B, C)."""
        if self.labels.dim() == 2:
            return self.labels
        return machine.label_encoding(self.labels)


@torch.no_grad()
def gradient(
    machine: RBM,
    data: Phase,
    chain: Phase,
    *,
    centred: bool = True,
    l1: float = 0.0,
    l2: float = 0.0,
) -> dict[str, Tensor]:
    """Direction of steepest ascent by parameter name.

    Parameters
    ----------
    machine : RBM
        Where.
    data, chain : Phase
        The two sides. Phases with the same visible tensor need one product instead of two.
    centred : bool
        See the top of this module.
    l1, l2 : float
        Strength of the penalties l1 sum |W| + l2 / 2 sum W^2 on W and D.
    """
    shape = machine.weights.shape
    hd, hc = data.hidden * data.weights[:, None], chain.hidden * chain.weights[:, None]
    hidden_data, hidden_chain = hd.sum(0), hc.sum(0)
    dh = hidden_data - hidden_chain
    v_data = data.weights @ data.encoding(machine)
    if chain.visible is data.visible:
        dv = (data.weights - chain.weights) @ data.encoding(machine)
        dw = data.encoding(machine).t() @ (hd - hc)
    else:
        dv = v_data - chain.weights @ chain.encoding(machine)
        dw = data.encoding(machine).t() @ hd
        dw.addmm_(chain.encoding(machine).t(), hc, alpha=-1)
    # A state that neither side has gets a gradient of zero, to the last bit: Adam would make full
    # steps of what rounding leaves where one state is told from the sum of the others.
    v_data, dv = v_data.view(shape[:2]), dv.view(shape[:2])
    dw = dw.view(shape)
    labels_data, labels_chain = data.label_rows(machine), chain.label_rows(machine)
    l_data = data.weights @ labels_data
    dl = l_data - chain.weights @ labels_chain
    dd = labels_data.t() @ hd
    dd = dd - (labels_chain.t() @ hc if chain.label_hidden is None else chain.label_hidden)
    if centred:
        both = torch.stack((v_data.view(-1), dv.view(-1)), 1)
        dw.flatten(0, 1).addmm_(both, torch.stack((dh, hidden_data)), alpha=-1)
        dd -= torch.outer(l_data, dh)
        dd -= torch.outer(dl, hidden_data)
    if l1 or l2:
        dw = dw - l2 * machine.weights - l1 * machine.weights.sign()
        dd = dd - l2 * machine.label_weights - l1 * machine.label_weights.sign()
    if centred:
        dv = dv - dw @ hidden_data
        dl = dl - dd @ hidden_data
        dh = dh - v_data.view(-1) @ dw.flatten(0, 1) - l_data @ dd
    return {
        "weights": dw,
        "visible_bias": dv,
        "hidden_bias": dh,
        "label_weights": dd,
        "label_bias": dl,
    }


@torch.no_grad()
def exact_label_phase(machine: RBM, data: Phase) -> Phase:
    """The chain of labels in the limit of many steps: the average over p(l | v).

    With it the gradient is that of the log-posterior of the labels, log p(l | v).
    """
    probabilities = machine.label_posterior(data.visible)
    field = machine.hidden_field(data.visible)
    hidden = torch.zeros_like(field)
    by_label = []
    for weights, chance in zip(machine.label_weights, probabilities.t(), strict=True):
        part = torch.sigmoid(field + weights) * chance[:, None]
        hidden += part
        by_label.append(data.weights @ part)
    return Phase(data.visible, hidden, probabilities, data.weights, torch.stack(by_label))


def add(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sum of two directions."""
    return {name: tensor + second[name] for name, tensor in first.items()}
