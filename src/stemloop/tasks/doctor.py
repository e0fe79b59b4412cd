"""What ``stemloop doctor`` looks at: the facts of an installation, and checks of its results.

A check recomputes something whose right answer is written down here. Checks are independent: one
that breaks is reported and the next one runs.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from stemloop import __version__
from stemloop.errors import ResultError, StemloopError

SCHEMA_VERSION = 1

#: Distributions whose versions matter, and the extra that installs an optional one.
_PACKAGES: dict[str, str | None] = {
    "torch": None,
    "transformers": None,
    "accelerate": None,
    "datasets": None,
    "tokenizers": None,
    "safetensors": None,
    "numpy": None,
    "scikit-learn": None,
    "dnaio": None,
    "zstandard": None,
    "ViennaRNA": None,
    "pydantic": None,
    "typer": None,
    "h5py": "hdf5",
    "pyinfernal": "generate",
    "matplotlib": "plots",
    "fastapi": "web",
    "ray": "cluster",
    "polars": "frames",
    "onnxruntime": "onnx",
}
_VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "MKL_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "STEMLOOP_CACHE",
    "STEMLOOP_OFFLINE",
)
_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")

#: What may go wrong in a damaged installation, as far as it is no defect of this file.
_BROKEN = (
    StemloopError,
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)

#: Yeast tRNA-Phe (unmodified letters), its cloverleaf, and that structure's energy by the
#: Turner 2004 rules in kcal/mol.
TRNA = "GCGGAUUUAGCUCAGUUGGGAGAGCGCCAGACUGAAGAUCUGGAGGUCCUGUGUUCGAUCCACAGAAUUCGCACCA"
CLOVERLEAF = "(((((((..((((........)))).(((((.......))))).....(((((.......))))))))))))...."
CLOVERLEAF_ENERGY = -22.4
#: kcal/mol; ViennaRNA computes in steps of 0.01.
_ENERGY_TOLERANCE = 0.011

#: Mean over the tRNA's nucleotides of the seeded encoder's output, first eight dimensions.
EMBEDDING = (1.161343, 1.497758, 3.103402, 0.729363, 0.895268, 2.364445, 0.144261, 0.332409)
_EMBEDDING_TOLERANCE = 1e-3
_HALF_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class Check:
    """Outcome of one check.

    Parameters
    ----------
    name : str
        What was checked.
    passed : bool
        Whether the result is the one expected.
    detail : str
        What was found.
    """

    name: str
    passed: bool
    detail: str


def facts() -> dict[str, dict[str, str]]:
    """Versions, processor, threads, accelerators and folders, by section.

    Nothing here fails: what cannot be found out says so.

    Examples
    --------
    >>> facts()["versions"]["python"] == platform.python_version()
    True
    """
    return {
        "versions": _versions(),
        "machine": _machine(),
        "torch": _torch(),
        "weights": _weights(),
    }


def _versions() -> dict[str, str]:
    found = {"stemloop": __version__, "python": platform.python_version()}
    for name, extra in _PACKAGES.items():
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            hint = f" (pip install 'stemloop[{extra}]')" if extra else ""
            found[name] = f"not installed{hint}"
    return found


def _machine() -> dict[str, str]:
    model, flags = _processor(Path("/proc/cpuinfo"))
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": model or platform.processor() or "unknown",
        "cores": f"{usable} usable of {os.cpu_count()}",
        "instructions": " ".join(flag for flag in _CPU_FLAGS if flag in flags) or "unknown",
        **{name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def _processor(path: Path) -> tuple[str, set[str]]:
    """Model name and instruction sets as Linux reports them; empty elsewhere."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "", set()
    fields: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields.get("model name", ""), set(
        (fields.get("flags") or fields.get("Features") or "").split()
    )


def _torch() -> dict[str, str]:
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"import": f"failed: {error}"}
    found = {
        "threads": str(torch.get_num_threads()),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
        "CUDA": torch.version.cuda or "not in this build",
    }
    for k in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(k)
        found[f"GPU {k}"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    found["attention"] = ", ".join(_backends())
    return found


def _weights() -> dict[str, str]:
    from stemloop.weights.locate import available, cache_dir

    return {"cache": str(cache_dir()), "encoders": ", ".join(available()) or "none"}


def _backends() -> list[str]:
    """Attention back-ends that run here."""
    import torch

    return [*(["varlen"] if torch.cuda.is_available() else []), "grouped", "naive"]


def check_weights() -> str:
    """Compare the files that ship with the package with their SHA-256 sums."""
    from stemloop.weights.locate import check_bundled

    files = check_bundled()
    if not files:
        raise ResultError("no weights ship with this installation")
    wrong = [f"{name} {state}" for name, state in files.items() if state != "ok"]
    if wrong:
        raise ResultError(", ".join(wrong))
    return f"{len(files)} files have their SHA-256"


def check_energy() -> str:
    """Energy of the cloverleaf by ViennaRNA."""
    from stemloop.folding.thermo import structure_energy

    return _energy(structure_energy(TRNA, CLOVERLEAF))


def check_fold() -> str:
    """Fold the tRNA with the weights that ship with the package."""
    from stemloop import fold

    structure = fold(TRNA)[0].structure
    if structure is None or structure.dot_bracket != CLOVERLEAF:
        found = "no structure" if structure is None else structure.dot_bracket
        raise ResultError(f"{found}, expected {CLOVERLEAF}")
    if structure.energy is None:
        raise ResultError("the structure has no energy")
    return f"cloverleaf, {_energy(structure.energy)}"


def _energy(value: float) -> str:
    if not abs(value - CLOVERLEAF_ENERGY) <= _ENERGY_TOLERANCE:
        raise ResultError(f"{value:.2f} kcal/mol, expected {CLOVERLEAF_ENERGY:.2f}")
    return f"{value:.2f} kcal/mol"


def check_embedding() -> str:
    """Embed the tRNA with a small encoder of fixed weights, through every attention back-end."""
    worst = []
    for backend in _backends():
        # The varlen kernel takes half precision only.
        tolerance = _HALF_TOLERANCE if backend == "varlen" else _EMBEDDING_TOLERANCE
        found = golden_embedding(backend)
        error = float(np.abs(found - np.array(EMBEDDING)).max())
        if not error <= tolerance:
            raise ResultError(f"{backend}: off by {error:.2g}, at most {tolerance:g} is right")
        worst.append(f"{backend} {error:.0e}")
    return "largest error " + ", ".join(worst)


def golden_embedding(backend: str) -> np.ndarray:
    """Mean over the tRNA's nucleotides of a small encoder's output, first eight dimensions.

    The weights come from numpy's legacy generator, whose numbers never change between versions.
    """
    import torch

    from stemloop.alphabet import RINALMO
    from stemloop.models.presets import EncoderConfig
    from stemloop.models.rinalmo import RiNALMo

    config = EncoderConfig(vocab_size=22, hidden=128, layers=2, heads=2, ffn_inner=192)
    model = RiNALMo(config).eval()
    numbers = np.random.RandomState(76)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            drawn = torch.from_numpy(numbers.standard_normal(tuple(parameter.shape)))
            matrix = parameter.ndim > 1
            parameter.copy_(drawn / parameter.shape[-1] ** 0.5 if matrix else 1 + 0.1 * drawn)
    if backend == "varlen":
        model = model.to("cuda", torch.bfloat16)
    ids = torch.from_numpy(RINALMO.encode(TRNA).astype(np.int64)).to(model.embedding.weight.device)
    starts = torch.tensor([0, len(ids)], dtype=torch.int32)
    with torch.inference_mode():
        out = model(ids, starts, backend=backend)
    mean: np.ndarray = out.representation[1:-1].float().mean(dim=0)[:8].cpu().numpy()
    return mean


CHECKS: Mapping[str, Callable[[], str]] = {
    "bundled weights": check_weights,
    "energy of tRNA-Phe": check_energy,
    "fold of tRNA-Phe": check_fold,
    "embedding of tRNA-Phe": check_embedding,
}


def run_checks(checks: Mapping[str, Callable[[], str]] = CHECKS) -> list[Check]:
    """Run every check, whatever the others do.

    Parameters
    ----------
    checks : mapping of str to callable
        Each returns what it found, or raises.

    Examples
    --------
    >>> def wrong() -> str:
    ...     raise ResultError("6, expected 4")
    >>> [c.passed for c in run_checks({"right": lambda: "4", "wrong": wrong})]
    [True, False]
    """
    results = []
    for name, check in checks.items():
        try:
            results.append(Check(name, True, check()))
        except _BROKEN as error:
            # Only our own errors speak for themselves.
            kind = "" if isinstance(error, StemloopError) else f"{type(error).__name__}: "
            results.append(Check(name, False, f"{kind}{error}"))
    return results


def examine() -> dict[str, Any]:
    """Facts and checks together, ready for JSON: ``facts``, ``checks``, ``passed``.

    See Also
    --------
    facts, run_checks
    """
    results = run_checks()
    return {
        "schema": "stemloop.doctor",
        "schema_version": SCHEMA_VERSION,
        "executable": sys.executable,
        "facts": facts(),
        "checks": [asdict(result) for result in results],
        "passed": all(result.passed for result in results),
    }
