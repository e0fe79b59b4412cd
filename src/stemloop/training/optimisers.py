"""AdamW, and Muon for the matrices inside the blocks with AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from stemloop.training.pretrain_recipe import Optimiser


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices with weight decay; biases, gains and embeddings without.

    Examples
    --------
    >>> layer = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 2))
    >>> [[tuple(p.shape) for p in g["params"]] for g in parameter_groups(layer, 0.1)]
    [[(2, 3)], [(4, 3), (2,)]]
    """
    embeddings = {
        id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)
    }  # fmt: skip
    decayed, plain = [], []
    for parameter in model.parameters():
        if parameter.requires_grad:
            matrix = parameter.ndim >= 2 and id(parameter) not in embeddings
            (decayed if matrix else plain).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]


def optimiser_for(model: nn.Module, options: Optimiser) -> torch.optim.Optimizer:
    """Make the optimiser of a recipe.

    AdamW (Loshchilov & Hutter 2019) is torch's fused one. Muon (Jordan et al. 2024) is torch's;
    it takes the matrices of the blocks, AdamW all others.
    """
    adamw = {"lr": options.learning_rate, "betas": options.betas, "eps": options.eps}
    if options.name == "adamw":
        return torch.optim.AdamW(parameter_groups(model, options.weight_decay), fused=True, **adamw)
    return MuonWithAdamW(model, options, adamw)


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimisers behind one: groups, state and schedule are shared with the engine.

    Both rates follow the engine's schedule, each as a part of its own peak.
    """

    def __init__(self, model: nn.Module, options: Optimiser, adamw: dict[str, Any]) -> None:
        inside = {
            id(p)
            for name, p in model.named_parameters()
            if p.ndim == 2 and (".blocks." in name or ".layer." in name)
        }
        decayed, plain = parameter_groups(model, options.weight_decay)
        hidden = [p for p in decayed["params"] if id(p) in inside]
        decayed["params"] = [p for p in decayed["params"] if id(p) not in inside]
        self.muon = torch.optim.Muon(
            hidden, lr=options.muon_learning_rate, weight_decay=options.weight_decay
        )
        self.adamw = torch.optim.AdamW([decayed, plain], fused=True, **adamw)
        super().__init__(self.muon.param_groups + self.adamw.param_groups, {})
        # One list of groups: what the schedule writes there is what the two read.
        self.muon.param_groups, self.adamw.param_groups = (
            self.param_groups[:1],
            self.param_groups[1:],
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:  # type: ignore[override]
        """Both take a step."""
        assert closure is None, "a step takes no closure"
        self.muon.step()
        self.adamw.step()
        self.state.update(self.muon.state)
        self.state.update(self.adamw.state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Hand the loaded state on to the two."""
        super().load_state_dict(state_dict)
        for one, groups in (
            (self.muon, self.param_groups[:1]),
            (self.adamw, self.param_groups[1:]),
        ):
            one.param_groups = groups
            mine = {id(p) for group in groups for p in group["params"]}
            one.state.update({p: s for p, s in self.state.items() if id(p) in mine})
