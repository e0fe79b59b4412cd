"""Run by `embed_throughput.py` under another Python, in which the peer is installed.

The peer is driven as its documentation says: its tokenizer, its model class, and for several
sequences the tokenizer's own padding. ``no_grad`` is added in its favour. Nothing of stemloop is
imported here, and nothing of the peer there.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any


def prepare(task: dict[str, Any]) -> None:
    """Write the peer's directory from an official file, with the peer's own converter."""
    from multimolecule import RnaTokenizer
    from multimolecule.models.rinalmo import convert_checkpoint as converter

    def save(settings: Any, model: Any, tokenizer_config: dict[str, Any]) -> None:
        # The converter's own ending also runs the model on samples to write a README.
        model.save_pretrained(settings.output_path)
        RnaTokenizer(**tokenizer_config).save_pretrained(settings.output_path)

    converter.save_checkpoint = save
    converter.convert_checkpoint(
        SimpleNamespace(
            checkpoint_path=task["official"],
            output_path=task["model"],
            size=task["size"],
            task=None,
        )
    )


def main() -> None:
    task = json.loads(sys.argv[1])
    if "official" in task:
        return prepare(task)
    started = time.perf_counter()
    import numpy as np
    import torch
    import transformers
    from multimolecule import RiNALMoModel, RnaTokenizer

    torch.set_num_threads(task["threads"])
    tokenizer = RnaTokenizer.from_pretrained(task["model"])
    # "eager" is what the peer takes when it is asked for nothing.
    attention = task["attention"]
    model = RiNALMoModel.from_pretrained(task["model"], attn_implementation=attention)
    model.eval().to(task["device"])
    with open(task["sequences"]) as handle:
        sequences = json.load(handle)

    def run(texts: list[str]) -> list[np.ndarray]:
        inputs = tokenizer(texts, padding=True, return_tensors="pt").to(task["device"])
        with torch.no_grad():
            rows = model(**inputs).last_hidden_state
        # Row 0 is CLS; EOS and padding follow the last nucleotide.
        return [row[1 : len(text) + 1] for row, text in zip(rows, texts, strict=True)]

    run(["ACGU" * 10])
    loaded = time.perf_counter()
    cpu = time.process_time()
    size, means, tokens = task["batch"], [], []
    for start in range(0, len(sequences), size):
        rows = run(sequences[start : start + size])
        means += [row.mean(dim=0).cpu().numpy() for row in rows]
        if start < task["compared"]:
            tokens += [row.cpu().numpy().copy() for row in rows]
    ended = time.perf_counter()
    cpu = time.process_time() - cpu
    np.savez(
        task["output"], mean=np.stack(means), tokens=np.concatenate(tokens[: task["compared"]])
    )
    versions = {"multimolecule": version("multimolecule"), "torch": torch.__version__,
                "transformers": transformers.__version__}  # fmt: skip
    print(json.dumps({
        "seconds": ended - loaded, "cpu_seconds": cpu, "startup_seconds": loaded - started,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "device_peak_mib": torch.cuda.max_memory_allocated() / 2**20,
        "attention": model.config._attn_implementation, "versions": versions,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
