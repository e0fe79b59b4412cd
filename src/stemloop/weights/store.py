"""Where weights live, and loading them: complete and of the right shape, or not at all.

A model directory holds

======================  ======================================================================
``config.json``         the encoder's configuration (`stemloop.models.presets`)
``model.safetensors``   encoder and language-model head, under the published parameter names (for
                        RNAErnie those of transformers' Ernie)
``tokenizer*.json``     the alphabet as a transformers tokenizer
``stemloop.json``       where the weights came from, checksums, the task head's settings
``head.safetensors``    task head of a fine-tuned model, if there is one
======================  ======================================================================
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemloop import __version__
from stemloop.alphabet import RINALMO, RNAERNIE, RNAERNIE2, STEMLOOP, Alphabet
from stemloop.errors import OutputExistsError, WeightsError
from stemloop.formats.folder import new_dir
from stemloop.models.presets import Config, config_from_json
from stemloop.models.tokenizer import tokenizer_files
from stemloop.weights.card import write_card
from stemloop.weights.locate import (
    CONFIG,
    available,
    bundled,
    cache_dir,
    check_bundled,
    find_model,
    sha256_file,
)
from stemloop.weights.tensors import check_state, read_tensors, write_tensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from stemloop.models.build import Encoder

__all__ = [
    "Head",
    "Model",
    "available",
    "bundled",
    "cache_dir",
    "check_bundled",
    "find_model",
    "load",
    "load_encoder",
    "load_state",
    "read_head",
    "save_model_dir",
    "sha256_file",
]

WEIGHTS, FACTS, HEAD = "model.safetensors", "stemloop.json", "head.safetensors"

#: Layout of ``stemloop.json``; raised when an older program could misread it.
FORMAT = 1

ALPHABETS: dict[str, Alphabet] = {a.name: a for a in (RINALMO, STEMLOOP, RNAERNIE, RNAERNIE2)}


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """Task head of a fine-tuned checkpoint, kept as it came.

    Parameters
    ----------
    kind : str
        ``structure``, ``regression`` or ``classifier``, told by its parameters; ``sequence`` for
        the heads of ``stemloop finetune sequence``.
    prefix : str
        Prefix of the encoder in the published file (``lm`` or ``rinalmo``), to write it back.
    tensors : mapping of str to Tensor
        Parameters under their published names (``pred_head.*``, ``scaler._mean``, ...).
    threshold : float, optional
        Probability above which a base pair is predicted, as tuned by the authors.
    settings : mapping
        What else the head needs to be built and read (JSON values), such as its labels.
    """

    kind: str
    prefix: str
    tensors: Mapping[str, Tensor]
    threshold: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A loaded model directory.

    Parameters
    ----------
    encoder : RiNALMo or RNAErnie
        In evaluation mode.
    alphabet : Alphabet
        Letters to ids.
    config : EncoderConfig or RNAErnieConfig
        Shape.
    path : pathlib.Path
        The directory.
    head : Head, optional
        Task head.
    facts : mapping
        Content of ``stemloop.json``.
    """

    encoder: Encoder
    alphabet: Alphabet
    config: Config
    path: Path
    head: Head | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def read_config(path: Path) -> Config:
    """Configuration of a model directory.

    Raises
    ------
    WeightsError
        No such file, damaged, or of another model.
    """
    file = path / CONFIG
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path}: no readable {CONFIG}: not a model directory") from error
    try:
        return config_from_json(text)
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from error


def read_facts(path: Path) -> dict[str, Any]:
    """Content of ``stemloop.json``; empty for a directory that transformers has written."""
    file = path / FACTS
    if not file.exists():
        return {}
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        number = int(facts["format"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{file}: damaged: {error!r}") from error
    if number > FORMAT:
        raise WeightsError(f"{file}: format {number} is newer than this program: update stemloop")
    return dict(facts)


def alphabet_of(config: Config, where: str) -> Alphabet:
    """Alphabet that the configuration names, with the same special tokens.

    Raises
    ------
    WeightsError
        Unknown, larger than the embedding, or its special tokens have other ids.
    """
    if config.alphabet not in ALPHABETS:
        raise WeightsError(
            f"{where}: unknown alphabet {config.alphabet!r} (known: {', '.join(ALPHABETS)})"
        )
    alphabet = ALPHABETS[config.alphabet]
    if len(alphabet) > config.vocab_size:
        raise WeightsError(f"{where}: {config.vocab_size} rows for {len(alphabet)} tokens")
    for name in ("cls_id", "pad_id", "eos_id", "unk_id", "mask_id"):
        if getattr(config, name) != getattr(alphabet, name):
            raise WeightsError(
                f"{where}: {name} is {getattr(config, name)}, {getattr(alphabet, name)} "
                f"in alphabet {alphabet.name!r}"
            )
    return alphabet


def load_state(path: str | os.PathLike[str]) -> tuple[Config, dict[str, Tensor]]:
    """Configuration and checked parameters of a model directory, in their stored dtype.

    Raises
    ------
    WeightsError
        See `read_config`, `read_tensors` and `check_state`.
    """
    folder = Path(path)
    config = read_config(folder)
    state = read_tensors(folder / WEIGHTS)
    check_state(state, config, str(folder / WEIGHTS))
    return config, state


def read_head(path: Path) -> Head | None:
    """Task head of a model directory, if it has one.

    Raises
    ------
    WeightsError
        Half of it is missing, or it is damaged.
    """
    settings = read_facts(path).get("head")
    if settings is None:
        return None
    tensors = read_tensors(path / HEAD)
    try:
        return Head(
            settings["kind"], settings["prefix"], tensors, settings["threshold"],
            settings.get("settings", {}),
        )  # fmt: skip
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{path / FACTS}: damaged head settings: {error!r}") from error


def load(
    name_or_path: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> Model:
    """Load an encoder, with its alphabet and task head.

    Parameters
    ----------
    name_or_path : str or path
        A model directory, or the name of bundled or downloaded weights. Nothing is downloaded
        here: ``stemloop weights get NAME`` does.
    device : str or torch.device
        Where the encoder goes.
    dtype : torch.dtype, optional
        Of its parameters; float32 by default, whatever is stored.

    Returns
    -------
    Model

    Raises
    ------
    WeightsError
        Not found, damaged, or not exactly the parameters of its configuration.
    """
    import torch

    from stemloop.models.build import encoder_for

    path = find_model(name_or_path)
    config, state = load_state(path)
    alphabet = alphabet_of(config, str(path / CONFIG))
    encoder = encoder_for(config, state)
    # assign: the file's own memory map becomes the parameters, there is no second copy.
    encoder.load_state_dict(state, strict=True, assign=True)
    encoder.requires_grad_(False).eval().to(device=device, dtype=dtype or torch.float32)
    return Model(encoder, alphabet, config, path, read_head(path), read_facts(path))


def load_encoder(
    name_or_path: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> tuple[Encoder, Alphabet]:
    """Encoder in evaluation mode, and its alphabet; see `load`."""
    model = load(name_or_path, device=device, dtype=dtype)
    return model.encoder, model.alphabet


def save_model_dir(
    path: str | os.PathLike[str],
    config: Config,
    state: Mapping[str, Tensor],
    *,
    head: Head | None = None,
    source: Mapping[str, Any] | None = None,
    card: str | None = None,
    force: bool = False,
) -> Path:
    """Write a model directory, whole or not at all.

    Parameters
    ----------
    path : str or path
        The directory.
    config : EncoderConfig or RNAErnieConfig
        Shape; it names the alphabet, whose tokenizer files are written too.
    state : mapping of str to Tensor
        Parameters; exactly those that `config` asks for.
    head : Head, optional
        Task head.
    source : mapping, optional
        Where the weights came from (JSON values), kept in ``stemloop.json``.
    card : str, optional
        Model card, Markdown, kept as ``README.md``; see `stemloop.weights.card.write_card`.
    force : bool
        Replace a model directory that is there already.

    Returns
    -------
    pathlib.Path
        The directory.

    Raises
    ------
    OutputExistsError
        Something is there already.
    OutputError
        It cannot be written.
    WeightsError
        The parameters are not those of `config`.
    """
    target = Path(path)
    check_state(state, config, "parameters to save")
    alphabet = alphabet_of(config, "parameters to save")
    refuse_existing_dir(target, force)
    facts: dict[str, Any] = {
        "format": FORMAT, "stemloop": __version__, "source": dict(source or {})
    }  # fmt: skip
    with new_dir(target) as folder:
        write_tensors(folder / WEIGHTS, state)
        if head is not None:
            write_tensors(folder / HEAD, head.tensors)
            facts["head"] = {
                "kind": head.kind, "prefix": head.prefix, "threshold": head.threshold
            }  # fmt: skip
            if head.settings:
                facts["head"]["settings"] = dict(head.settings)
        facts["sha256"] = {p.name: sha256_file(p) for p in sorted(folder.glob("*.safetensors"))}
        files = {
            CONFIG: config.to_dict() | {"architectures": [config.architecture]},
            **tokenizer_files(alphabet, config.max_length),
        }
        for name, content in {**files, FACTS: facts}.items():
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        title = str(facts["source"].get("recipe") or facts["source"].get("name") or target.name)
        write_card(folder, _kind(head), body=card, title=title, facts=facts["source"])
    return target


def _kind(head: Head | None) -> str:
    """What a directory is, in the words of model cards."""
    if head is None:
        return "language-model"
    task = head.settings.get("meaning", {}).get("task", head.kind)
    return {"regression": "regress", "classifier": "classify"}.get(task, task)


def refuse_existing_dir(target: Path, force: bool) -> None:
    """Before any work: nothing in the way, or a model directory that may be replaced.

    Raises
    ------
    OutputExistsError
        Something is there, and `force` is false or it is no model directory.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not force:
        raise OutputExistsError(f"{target} exists already; use --force to replace it")
    if not (target / CONFIG).is_file() or not (target / WEIGHTS).is_file():
        # A mistyped path must not cost somebody a folder of other things.
        raise OutputExistsError(f"{target} exists and is no model directory: not replaced")
