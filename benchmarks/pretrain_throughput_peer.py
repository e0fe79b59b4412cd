"""Run by `pretrain_throughput.py` under another Python: a padded Trainer loop with the peer."""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def main() -> None:
    task = json.loads(sys.argv[1])
    import torch
    from multimolecule import RiNALMoConfig, RiNALMoForMaskedLM, RnaTokenizer
    from torch.utils.data import Dataset
    from transformers import (
        DataCollatorForLanguageModeling,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    torch.set_num_threads(task["threads"])
    tokenizer = RnaTokenizer()
    with open(task["sequences"]) as handle:
        texts = json.load(handle)

    class Rows(Dataset):
        def __len__(self) -> int:
            return len(texts)

        def __getitem__(self, place: int) -> dict[str, Any]:
            ids = tokenizer(texts[place])["input_ids"]
            return {"input_ids": ids, "length": len(ids)}

    model = RiNALMoForMaskedLM(
        RiNALMoConfig(
            hidden_size=task["hidden"],
            num_hidden_layers=task["layers"],
            num_attention_heads=task["heads"],
            intermediate_size=task["inner"],
        )
    )
    base = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    seen = {"tokens": 0, "counted": 0, "cpu": 0.0, "start": 0.0}

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch = base([{"input_ids": row["input_ids"]} for row in rows])
        batch["attention_mask"] = (batch["input_ids"] != tokenizer.pad_token_id).long()
        return batch

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 2:
                seen.update(
                    counted=seen["tokens"], cpu=time.process_time(), start=time.perf_counter()
                )

    class Counting(Trainer):
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            seen["tokens"] += int(inputs["attention_mask"].sum())
            return super().compute_loss(model, inputs, *args, **kwargs)

    arguments = TrainingArguments(
        output_dir=task["run"],
        max_steps=task["steps"],
        per_device_train_batch_size=task["batch"],
        learning_rate=1e-4,
        use_cpu=task["device"] == "cpu",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        train_sampling_strategy="group_by_length" if task["grouped"] else "random",
        length_column_name="length",
    )
    trainer = Counting(
        model=model, args=arguments, data_collator=collate, train_dataset=Rows(),
        callbacks=[Clock()],
    )  # fmt: skip
    trainer.train()
    print(
        json.dumps(
            {
                "tokens": seen["tokens"] - seen["counted"],
                "seconds": time.perf_counter() - seen["start"],
                "cpu_seconds": time.process_time() - seen["cpu"],
                "parameters": sum(p.numel() for p in model.parameters()),
            }
        )
    )


if __name__ == "__main__":
    main()
