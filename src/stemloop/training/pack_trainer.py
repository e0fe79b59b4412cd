"""The engine of pre-training: transformers' Trainer on packs.

The loss is the mean over all targets of a step, whatever number of packs, devices and accumulation
steps they come from: two devices with half the packs each see the same loss. The language-model
head runs on targets only. A step whose gradient is not finite is left out; many in a row end the
run.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback

from stemloop.data.masking import NO_TARGET
from stemloop.errors import StemloopError
from stemloop.training.optimisers import optimiser_for
from stemloop.training.pretrain_recipe import Optimiser

#: Steps without a finite gradient, one after the other, that end a run.
PATIENCE = 10


class PackedLM(nn.Module):
    """An encoder with its loss, as the Trainer calls it."""

    def __init__(self, encoder: nn.Module, type_ids: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("type_ids", type_ids, persistent=False)

    def forward(
        self,
        tokens: Tensor,
        at: Tensor,
        labels: Tensor,
        cu_seqlens: Tensor,
        lengths: list[int],
        num_items_in_batch: Tensor | None = None,
        **_: Any,
    ) -> dict[str, Tensor]:
        """Loss of one pack.

        Parameters
        ----------
        tokens : Tensor of int64, shape (T,)
            The pack.
        at, labels : Tensor of int64, shape (n,)
            Where the targets are, and what they are.
        cu_seqlens : Tensor of int32, shape (B + 1,)
            Starts of the sequences.
        lengths : list of int
            Their lengths, on the host.
        num_items_in_batch : Tensor, optional
            Targets in the whole step; without it the loss is the mean over this pack.

        Returns
        -------
        dict
            ``loss``; ``counts`` (4,): letters predicted rightly, letters, types predicted
            rightly, types; ``nll`` (2,): summed cross-entropy of letters and of types, nats.
        """
        logits = self.encoder(tokens, cu_seqlens, lengths=lengths, logits_at=at).logits.float()
        loss = F.cross_entropy(logits, labels, reduction="none")
        number = num_items_in_batch if num_items_in_batch is not None else max(len(labels), 1)
        with torch.no_grad():
            right = logits.argmax(dim=-1) == labels
            typed = torch.isin(labels, self.type_ids)
            counts = torch.stack(
                [(right & ~typed).sum(), (~typed).sum(), (right & typed).sum(), typed.sum()]
            )
            nll = torch.stack([loss[~typed].sum(), loss[typed].sum()])
        return {"loss": loss.sum() / number, "counts": counts, "nll": nll}


def collate(packs: list[dict[str, Any]]) -> dict[str, Any]:
    """One pack a batch: keep the targets only, found here and not on the device."""
    (pack,) = packs
    at = (pack["labels"] != NO_TARGET).nonzero().squeeze(1)
    return {
        "tokens": pack["tokens"],
        "at": at,
        "labels": pack["labels"][at],
        "cu_seqlens": pack["cu_seqlens"],
        "lengths": pack["lengths"],
    }


class PackTrainer(Trainer):
    """Trainer whose batches are packs in the schedule's order."""

    def __init__(self, *args: Any, optimiser: Optimiser, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.options = optimiser
        self._seen = torch.zeros(4, dtype=torch.int64)
        self._tokens = 0
        self._since = time.monotonic()

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        # The schedule is shuffled already, and the same for every number of devices.
        return SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The recipe's optimiser, of parameters that may be sharded by now."""
        if self.optimizer is None:
            self.optimizer = optimiser_for(model or self.model, self.options)
        return self.optimizer

    def compute_loss(  # type: ignore[override]
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Loss of a pack; counts tokens and hits on the way."""
        loss, out = super().compute_loss(
            model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch
        )
        self._seen = self._seen.to(out["counts"].device) + out["counts"]
        self._tokens += sum(inputs["lengths"])
        return (loss, out) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add masked accuracy and speed since the last line to a line about training."""
        if "loss" in logs:
            both = torch.cat([self._seen, self._seen.new_tensor([self._tokens])])
            total = self.accelerator.reduce(both.to(self.args.device), "sum").tolist()
            now = time.monotonic()
            logs["masked_accuracy"] = total[0] / max(total[1], 1)
            if total[3]:
                logs["type_accuracy"] = total[2] / total[3]
            logs["tokens_per_second"] = total[4] / max(now - self._since, 1e-9)
            self.state.num_input_tokens_seen += total[4]
            logs["tokens"] = self.state.num_input_tokens_seen
            self._seen = torch.zeros_like(self._seen)
            self._tokens, self._since = 0, now
        super().log(logs, start_time)

    @torch.no_grad()
    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:  # type: ignore[override]
        """Loss and accuracy on the validation packs, the same masks every time."""
        began = time.monotonic()
        model = self.model.eval()
        device = self.args.device
        totals = torch.zeros(6, dtype=torch.float64, device=device)
        items = len(self.eval_dataset)
        packs = range(self.args.process_index, items, self.args.world_size)
        # With sharded parameters every device must take part in every forward pass.
        rounds = -(-items // self.args.world_size)
        for k in range(rounds):
            mine = k < len(packs)
            batch = self._prepare_inputs(collate([self.eval_dataset[packs[k] if mine else 0]]))
            with self.accelerator.autocast():
                out = self.model_wrapped(**batch) if self.is_fsdp_enabled else model(**batch)
            if mine:
                totals += torch.cat([out["counts"].double(), out["nll"].double()])
        totals = self.accelerator.reduce(totals, "sum").tolist()
        metrics = {
            "eval_loss": totals[4] / max(totals[1], 1),
            "eval_masked_accuracy": totals[0] / max(totals[1], 1),
        }
        if totals[3]:
            metrics["eval_type_loss"] = totals[5] / totals[3]
            metrics["eval_type_accuracy"] = totals[2] / totals[3]
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        self._since += time.monotonic() - began  # not a part of the training speed
        return metrics


class FiniteSteps(TrainerCallback):
    """Leave out steps whose gradient is not finite; end the run after `PATIENCE` in a row."""

    def __init__(self) -> None:
        self.skipped = 0
        self.row = 0

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):  # type: ignore[no-untyped-def]
        """Look at the gradient just before it is used."""
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        if torch.isfinite(norm):
            self.row = 0
            return
        self.skipped += 1
        self.row += 1
        if self.row >= PATIENCE:
            raise StemloopError(
                f"step {state.global_step + 1}: no finite gradient in {self.row} steps; the last "
                "checkpoint is good: lower the learning rate and start from it"
            )
        for parameter in model.parameters():
            parameter.grad = None  # AdamW passes over parameters without one

    def on_log(self, args, state, control, logs=None, **kwargs):  # type: ignore[no-untyped-def]
        """Say how many steps were left out."""
        if self.skipped and logs is not None and "loss" in logs:
            logs["skipped_steps"] = self.skipped
