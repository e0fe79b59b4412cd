"""Gradient ascent on an RBM: rates that fall, momentum or Adam, and weights averaged on the way."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from stemloop.models.rbm import PARAMETERS, RBM
from stemloop.training.rbm_recipe import Optimiser


class Ascent:
    """Takes steps along gradients.

    Parameters
    ----------
    machine : RBM
        Whose parameters move.
    rule : Optimiser
        How.
    updates : int
        Of the whole training.

    Attributes
    ----------
    averaged : RBM
        What is kept and sampled from: the average of `Optimiser.average`, or the machine itself.
    """

    def __init__(self, machine: RBM, rule: Optimiser, updates: int) -> None:
        self.machine, self.rule, self.updates = machine, rule, updates
        self.averaged = machine
        if rule.average:
            start = {name: tensor.clone() for name, tensor in machine.tensors().items()}
            self.averaged = RBM(machine.config, start)
        groups = [
            {"params": [getattr(machine, name) for name in PARAMETERS[:3]]},
            {"params": [getattr(machine, name) for name in PARAMETERS[3:]]},
        ]
        self._optimiser: torch.optim.Optimizer
        if rule.name == "adam":
            self._optimiser = torch.optim.Adam(
                groups, lr=rule.learning_rate, betas=rule.betas, maximize=True
            )
        else:
            self._optimiser = torch.optim.SGD(
                groups, lr=rule.learning_rate, momentum=rule.momentum, nesterov=rule.nesterov,
                maximize=True,
            )  # fmt: skip

    def step(self, direction: Mapping[str, Tensor], update: int) -> None:
        """A step of this update, counted from 0."""
        rule = self.rule
        rate = rule.learning_rate
        if rule.final_learning_rate is not None:
            rate *= (rule.final_learning_rate / rate) ** (update / max(self.updates - 1, 1))
        if update < rule.warmup:
            rate *= (update + 1) / (rule.warmup + 1)
        for group, factor in zip(self._optimiser.param_groups, (1.0, rule.label_rate), strict=True):
            group["lr"] = rate * factor
        for name, tensor in direction.items():
            getattr(self.machine, name).grad = tensor
        self._optimiser.step()
        self.machine.zero_sum()

    def follow(self, updates: int) -> None:
        """Move the average towards the machine, which has made so many updates.

        The average of the first updates is shorter: they would be told by the start otherwise.
        """
        if self.averaged is not self.machine:
            kept = min(self.rule.average, updates / (updates + 9))
            for name, tensor in self.averaged.tensors().items():
                tensor.lerp_(getattr(self.machine, name), 1 - kept)

    def state(self) -> dict[str, Tensor]:
        """What to keep beside the average to go on later, by name."""
        state = {
            f"optimiser.{number}.{key}": tensor
            for number, values in self._optimiser.state_dict()["state"].items()
            for key, tensor in values.items()
            if tensor is not None
        }
        if self.averaged is not self.machine:
            state |= {f"moving.{name}": tensor for name, tensor in self.machine.tensors().items()}
        return state

    def restore(self, kept: RBM, tensors: Mapping[str, Tensor]) -> None:
        """Take over a machine that was kept, and what `state` has given, among other tensors."""
        for name, tensor in kept.tensors().items():
            getattr(self.averaged, name).copy_(tensor)
            getattr(self.machine, name).copy_(tensors.get(f"moving.{name}", tensor))
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            if key.startswith("optimiser."):
                _, number, name = key.split(".", 2)
                state.setdefault(int(number), {})[name] = tensor
        whole = self._optimiser.state_dict()
        self._optimiser.load_state_dict({**whole, "state": state})
