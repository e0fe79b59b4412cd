"""stemloop: RNA foundation models in one toolkit.

Importing the package imports no torch; each public name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from stemloop.models.register import install

__version__ = "0.1.0"

_PUBLIC = {
    "SequenceRecord": "stemloop.records",
    "Structure": "stemloop.records",
    "Result": "stemloop.records",
    "read_sequences": "stemloop.formats.fasta",
    "read_structures": "stemloop.formats.structure",
    "fold": "stemloop.tasks.structure",
    "embed": "stemloop.tasks.embed",
    "load": "stemloop.weights.store",
    "find_model": "stemloop.weights.locate",
    "to_frame": "stemloop.formats.frames",
    "Labeller": "stemloop.tasks.labels",
    "scan_mutations": "stemloop.tasks.mutations",
    "interact": "stemloop.tasks.interaction",
    "annotate": "stemloop.tasks.annotate",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


# transformers' Auto classes and pipelines learn of our model directories when they are loaded.
install(pipelines="stemloop.tasks.pipeline")


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'stemloop' has no attribute {name!r}")
