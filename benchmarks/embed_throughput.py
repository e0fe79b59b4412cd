"""Throughput of ``stemloop embed`` beside multimolecule's RiNALMo, with the same random weights.

    python benchmarks/embed_throughput.py --data DATA --peer-python PEER/bin/python

DATA holds ``2_secstruct/ArchiveII.csv.xz``; PEER is a virtual environment of its own with
``multimolecule==0.2.2`` and the same torch (it is AGPL: it is run, never imported here). Every
variant is a process of its own, one after the other, with the same number of threads and
``OMP_WAIT_POLICY=PASSIVE``. Start-up (imports and loading weights) is measured apart. Wall times
on a busy machine say little: CPU seconds and the load before and after each variant are recorded
beside them.

Variants: ``stemloop-fp32`` and ``stemloop-bf16`` (the file-to-file path of the command: FASTA in,
mean vectors as NPZ out, journal for --resume included); ``peer-batch8`` and ``peer-batch32``
(padded, in the order of the input) and ``peer-single`` with the peer's defaults, which compute
attention eagerly; ``peer-sdpa-...`` the same with torch's fused attention, which the peer takes as
an option that its documentation of the model does not mention.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import lzma
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

VARIANTS = {
    "stemloop-fp32": {"dtype": "float32"},
    "stemloop-bf16": {"dtype": "bfloat16"},
    "peer-batch8": {"batch": 8, "attention": "eager"},
    "peer-batch32": {"batch": 32, "attention": "eager"},
    "peer-single": {"batch": 1, "attention": "eager"},
    "peer-sdpa-batch8": {"batch": 8, "attention": "sdpa"},
    "peer-sdpa-batch32": {"batch": 32, "attention": "sdpa"},
    "peer-sdpa-single": {"batch": 1, "attention": "sdpa"},
}

PEER = Path(__file__).with_name("embed_throughput_peer.py")

#: RNAs whose every nucleotide is compared; of all others the mean vectors are.
COMPARED = 20


def sample(data: Path, count: int, lengths: tuple[int, int], seed: int) -> tuple[list[str], str]:
    """RNAs of these lengths from ArchiveII, in random order, and the file's checksum."""
    path = data / "2_secstruct" / "ArchiveII.csv.xz"
    with lzma.open(path, "rt") as handle:
        sequences = sorted({row["sequence"].upper() for row in csv.DictReader(handle)})
    usable = [s for s in sequences if lengths[0] <= len(s) <= lengths[1] and set(s) <= set("ACGU")]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return random.Random(seed).sample(usable, count), digest


def run_ours(task: dict[str, Any]) -> None:
    """One variant of ours; called in a process of its own."""
    started = time.perf_counter()
    import numpy as np
    import torch

    from stemloop.cli.embed import keep_memory
    from stemloop.tasks.embed import embed
    from stemloop.tasks.embed_file import embed_file

    keep_memory()
    torch.set_num_threads(task["threads"])
    choices = {
        "dtype": task["dtype"],
        "device": task["device"],
        "token_budget": task["token_budget"],
    }
    embed(["ACGU" * 10], task["model"], **choices)
    loaded = time.perf_counter()
    cpu = time.process_time()
    target = Path(task["output"])
    # Loading the weights once more is inside the measured time.
    embed_file(task["fasta"], target.with_suffix(".mean.npz"), task["model"], **choices)
    ended = time.perf_counter()
    cpu = time.process_time() - cpu
    device_peak = torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sequences = json.loads(Path(task["sequences"]).read_text())
    rows = embed(sequences[: task["compared"]], task["model"], pool="tokens", **choices)
    np.savez(
        target,
        mean=np.load(target.with_suffix(".mean.npz"))["mean"],
        tokens=np.concatenate([row.arrays["tokens"] for row in rows]),
    )
    print(json.dumps({
        "seconds": ended - loaded, "cpu_seconds": cpu, "startup_seconds": loaded - started,
        "peak_rss_mib": peak, "device_peak_mib": device_peak,
    }))  # fmt: skip


def prepare(work: Path, peer_python: str, size: str, seed: int) -> tuple[Path, Path]:
    """The same random weights for both: ours, and the peer's by its own converter."""
    import torch

    from stemloop.models.presets import PRESETS
    from stemloop.models.rinalmo import RiNALMo
    from stemloop.weights.convert import convert
    from stemloop.weights.store import save_model_dir

    torch.manual_seed(seed)
    config = PRESETS[f"rinalmo-{size}"]
    ours = save_model_dir(work / "ours", config, RiNALMo(config).state_dict())
    official = work / "official.pt"
    convert(ours, official, to="official")
    task = {"official": str(official), "model": str(work / "peer"), "size": size}
    subprocess.run(
        [peer_python, str(PEER), json.dumps(task)], check=True, stdout=subprocess.DEVNULL
    )
    return ours, work / "peer"


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    info = Path("/proc/cpuinfo").read_text()
    model = next(
        (line.partition(": ")[2] for line in info.splitlines() if "model name" in line), ""
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "avx512_bf16": "avx512_bf16" in info,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def commit() -> str:
    """Revision of this repository, marked when files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    done = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def compare(outputs: dict[str, Path]) -> dict[str, dict[str, float]]:
    """Largest and mean absolute difference of every variant from peer-single, else the first."""
    import numpy as np

    reference = "peer-single" if "peer-single" in outputs else next(iter(outputs))
    base = np.load(outputs[reference])
    differences = {}
    for name, path in outputs.items():
        content = np.load(path)
        gap = {kind: np.abs(content[kind] - base[kind]) for kind in ("mean", "tokens")}
        differences[name] = {f"{kind}_max": float(value.max()) for kind, value in gap.items()}
        differences[name] |= {f"{kind}_average": float(v.mean()) for kind, v in gap.items()}
    scale = {"tokens_rms": float(np.sqrt((base["tokens"] ** 2).mean()))}
    return {"reference": {"variant": reference, **scale}, **differences}  # type: ignore[dict-item]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--limit", type=int, default=500, help="RNAs")
    parser.add_argument("--lengths", type=int, nargs=2, default=(30, 500), help="nt")
    parser.add_argument("--size", choices=["micro", "mega", "giga"], default="micro")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--token-budget", type=int, help="of ours; its default otherwise")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    default = Path(__file__).parent / "results" / "embed_throughput.json"
    parser.add_argument("-o", "--output", type=Path, default=default)
    options = parser.parse_args()

    sequences, digest = sample(options.data, options.limit, options.lengths, options.seed)
    nucleotides = sum(map(len, sequences))
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        ours, peer = prepare(work, options.peer_python, options.size, options.seed)
        (work / "in.json").write_text(json.dumps(sequences))
        (work / "in.fa").write_text("".join(f">{i}\n{s}\n" for i, s in enumerate(sequences)))
        outputs: dict[str, Path] = {}
        for name in options.variants:
            mine = name.startswith("stemloop")
            outputs[name] = work / f"{name}.npz"
            task = VARIANTS[name] | {
                "model": str(ours if mine else peer), "threads": options.threads,
                "device": options.device, "token_budget": options.token_budget,
                "sequences": str(work / "in.json"), "fasta": str(work / "in.fa"),
                "output": str(outputs[name]), "compared": min(COMPARED, options.limit),
            }  # fmt: skip
            program = [sys.executable, __file__, "--ours"]
            if not mine:
                program = [options.peer_python, str(PEER)]
            threads = str(options.threads)
            environment = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": threads}
            load = [os.getloadavg()[0]]
            done = subprocess.run(
                [*program, json.dumps(task)], env=os.environ | environment, check=True,
                stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            load.append(os.getloadavg()[0])
            facts = json.loads(done.stdout.splitlines()[-1])
            facts |= {
                "nt_per_second": nucleotides / facts["seconds"],
                "nt_per_cpu_second": nucleotides / facts["cpu_seconds"],
                "load_before_after": load,
            }
            results[name] = facts
            print(f"{name}: {facts['nt_per_second']:.0f} nt/s, {facts['nt_per_cpu_second']:.0f} "
                  f"nt/CPU-s, {facts['peak_rss_mib']:.0f} MiB", file=sys.stderr)  # fmt: skip
        agreement = compare(outputs)
    import torch

    from stemloop import __version__

    report = {
        "what": __doc__.splitlines()[0],
        "machine": machine(),
        "versions": {"stemloop": __version__, "torch": torch.__version__},
        "commit": commit(),
        "threads": options.threads,
        "size": options.size,
        "device": options.device,
        "token_budget": options.token_budget,
        "seed": options.seed,
        "data": {"file": "ArchiveII.csv.xz", "sha256": digest, "rnas": len(sequences),
                 "nucleotides": nucleotides},
        "results": results,
        "ratios": {
            f"{a} / {b}": {
                kind: results[a][kind] / results[b][kind]
                for kind in ("nt_per_second", "nt_per_cpu_second", "peak_rss_mib")
            }
            for a in results if a.startswith("stemloop")
            for b in results if b.startswith("peer")
        },
        "differences": agreement,
    }  # fmt: skip
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=2) + "\n")
    print(options.output)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ours"]:
        run_ours(json.loads(sys.argv[2]))
    else:
        main()
