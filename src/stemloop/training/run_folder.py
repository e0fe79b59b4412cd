"""What trainings of heads share: the folder of a run, its state, and the order of unfreezing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from stemloop.errors import OutputError, UsageError, WeightsError
from stemloop.formats.stream import atomic_output
from stemloop.models.build import Encoder, blocks
from stemloop.training.recipe_base import Unfreezing


class RunFolder:
    """A folder that belongs to one run, and the state in it to go on from.

    Parameters
    ----------
    path : pathlib.Path
        The folder; ``run.json`` names the run, ``state.pt`` and ``log.jsonl`` are its progress.
    facts : mapping
        What makes it this run (JSON values).
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.path, self.facts = path, facts

    def claim(self) -> None:
        """Make the folder, or check that it belongs to this run.

        Raises
        ------
        UsageError
            It belongs to another run, or holds other things.
        OutputError
            It cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: no folder for the run: {error.strerror}") from error
        run = self.path / "run.json"
        if run.exists():
            known = json.loads(run.read_text(encoding="utf-8"))
            different = [k for k in self.facts if known.get(k) != self.facts[k]]
            if different:
                raise UsageError(
                    f"{self.path} belongs to another {' and '.join(different)}: choose another "
                    "output folder"
                )
        elif any(self.path.iterdir()):
            raise UsageError(f"{self.path} holds other things: choose another output folder")
        else:
            with atomic_output(run) as out:
                out.write(json.dumps(self.facts, indent=2) + "\n")

    def resume(
        self, trained: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
    ) -> dict[str, Any] | None:
        """State to go on from, its parameters and its optimiser put in place; None for a new run.

        Raises
        ------
        WeightsError
            The state is damaged.
        """
        path = self.path / "state.pt"
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
            with torch.no_grad():
                for name, parameter in trained.items():
                    parameter.copy_(state["trained"][name])
            optimizer.load_state_dict(state.pop("optimizer"))
        except (OSError, RuntimeError, EOFError, UnpicklingError, LookupError, ValueError) as error:
            raise WeightsError(f"{path} is damaged; start the run anew: {error}") from error
        return state

    def save(
        self,
        state: Mapping[str, Any],
        trained: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Write the state, whole or not at all, and its entries ``log`` as lines of JSON."""
        values = {name: p.detach().cpu() for name, p in trained.items()}
        content = {**state, "trained": values, "optimizer": optimizer.state_dict()}
        path = self.path / "state.pt"
        torch.save(content, f"{path}.tmp")
        os.replace(f"{path}.tmp", path)
        with atomic_output(self.path / "log.jsonl", force=True) as out:
            out.writelines(json.dumps(entry) + "\n" for entry in state["log"])


def unfreezing_groups(encoder: Encoder, rule: Unfreezing) -> list[tuple[int, list[nn.Parameter]]]:
    """Parameters that begin to learn, with their epochs; see `Unfreezing`."""
    layers = blocks(encoder)
    groups: list[tuple[int, list[nn.Parameter]]] = []
    end = len(layers)
    while end > rule.frozen:
        begin = max(end - rule.blocks, rule.frozen)
        parameters = [p for layer in layers[begin:end] for p in layer.parameters()]
        if not groups and hasattr(encoder, "transformer"):  # RNAErnie has no norm behind its blocks
            parameters += encoder.transformer.final_layer_norm.parameters()
        groups.append((rule.start + rule.every * len(groups), parameters))
        end = begin
    return groups
