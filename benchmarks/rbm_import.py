"""Free energies of machines that rbms and annadca have trained, theirs beside ours.

    python benchmarks/rbm_import.py --peer-bin PEER/bin -o rbm_import.json

PEER is an environment with ``rbms==0.5.0`` and ``annadca==0.2.3``. Each trains a small machine on
the same random alignment, writes its checkpoint, and computes the free energies of the rows with
its own functions; `stemloop.weights.rbm_import` reads the checkpoint and ours are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stemloop.weights.rbm_import import import_rbm

ROWS, SITES, UPDATES = 300, 20, 30
LETTERS = "-ACGU"

#: What the peers run to compute their own free energies.
THEIRS = {
    "rbms": """
import sys, numpy as np, torch
from rbms.io import load_model
params = load_model(sys.argv[1], int(sys.argv[2]), torch.device("cpu"), torch.float32)[0]
rows = torch.tensor(np.load(sys.argv[3]))
np.save(sys.argv[4], params.compute_energy_visibles(rows.float()).numpy())
""",
    "annadca": """
import sys, numpy as np, torch
from annadca.io import _load_model
from annadca.rbm.categorical.statmech import _compute_energy_visibles
params = _load_model(sys.argv[1], torch.device("cpu"), torch.float32)[1]
rows = torch.tensor(np.load(sys.argv[3])).long()
rows = torch.nn.functional.one_hot(rows, 5).float()
np.save(sys.argv[4], _compute_energy_visibles(rows, params).numpy())
""",
}


def write_data(folder: Path) -> np.ndarray:
    """The alignment as FASTA and CSV, two labels with letters of their own; its states."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, ROWS)
    own = rng.integers(0, 5, (2, SITES))
    rows = np.where(rng.random((ROWS, SITES)) < 0.6, own[labels], rng.integers(0, 5, (ROWS, SITES)))
    with open(folder / "x.fasta", "w") as fasta, open(folder / "x.csv", "w") as table:
        table.write("name,sequence,label\n")
        for i, row in enumerate(rows):
            text = "".join(LETTERS[s] for s in row)
            fasta.write(f">r{i}\n{text}\n")
            table.write(f"r{i},{text},l{labels[i]}\n")
    np.save(folder / "rows.npy", rows.astype(np.uint8))
    return rows


def commands(peers: Path) -> dict[str, tuple[list[str], str]]:
    """Training of each, and the checkpoint it writes."""
    return {
        "rbms": (
            [str(peers / "rbms"), "train", "-d", "x.fasta", "--alphabet", "rna", "--device", "cpu",
             "--dtype", "float", "--num_hiddens", "8", "--batch_size", "100", "--num_chains", "100",
             "--gibbs_steps", "5", "--train_size", "0.9", "--num_updates", str(UPDATES),
             "--n_save", "2", "--learning_rate", "0.1", "-o", "r.h5"], "r.h5"),
        "annadca": (
            [str(peers / "annadca"), "train", "-d", "x.csv", "--alphabet", "rna", "-H", "8",
             "--gibbs_steps", "5", "--nchains", "100", "--nepochs", str(UPDATES),
             "--no_reweighting", "--device", "cpu", "--no-triton", "-o", "anna"], "anna/params.h5"),
    }  # fmt: skip


def run(command: list[str], folder: Path) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-bin", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    peers = args.peer_bin.resolve()
    result: dict[str, Any] = {
        "task": f"{ROWS} x {SITES} x 5, 8 hidden units, {UPDATES} updates", "seed": 0,
        "peers": {"rbms": "0.5.0", "annadca": "0.2.3"}, "free_energies": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = torch.tensor(write_data(folder))
        for program, (command, file) in commands(peers).items():
            run(command, folder)
            found = import_rbm(folder / file)
            update = str(found.facts["update"])
            theirs = [str(peers / "python"), "-c", THEIRS[program], file, update, "rows.npy", "e"]
            run([*theirs[:-1], f"{program}.npy"], folder)
            wanted = np.load(folder / f"{program}.npy")
            ours = found.machine.marginal_free_energy(rows).numpy()
            result["free_energies"][program] = {
                "update": found.facts["update"], "labels": list(found.machine.config.labels),
                "theirs_mean": round(float(wanted.mean()), 5),
                "largest_difference": float(f"{np.abs(wanted - ours).max():.3g}"),
                "spread": round(float(wanted.std()), 5),
            }  # fmt: skip
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if args.output:
        args.output.write_text(text)


if __name__ == "__main__":
    main()
