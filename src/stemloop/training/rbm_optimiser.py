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
    """

    def __init__(self, machine: RBM, rule: Optimiser) -> None:
        self.machine, self.rule = machine, rule
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

    def step(self, direction: Mapping[str, Tensor], done: float) -> None:
        """A step, where the share `done` of the training is behind us."""
        rule = self.rule
        rate = rule.learning_rate
        if rule.final_learning_rate is not None:
            rate *= (rule.final_learning_rate / rate) ** done
        for group, factor in zip(self._optimiser.param_groups, (1.0, rule.label_rate), strict=True):
            group["lr"] = rate * factor
        for name, tensor in direction.items():
            getattr(self.machine, name).grad = tensor
        self._optimiser.step()
        self.machine.zero_sum()

    def state(self) -> dict[str, Tensor]:
        """What to keep to go on later, by name."""
        return {
            f"optimiser.{number}.{key}": tensor
            for number, values in self._optimiser.state_dict()["state"].items()
            for key, tensor in values.items()
            if tensor is not None
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state` has given, among other tensors."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            if key.startswith("optimiser."):
                _, number, name = key.split(".", 2)
                state.setdefault(int(number), {})[name] = tensor
        whole = self._optimiser.state_dict()
        self._optimiser.load_state_dict({**whole, "state": state})
