"""Model directories with a head for whole sequences, saved and loaded with labels and scale.

A head on an encoder that ships with the package may be kept by itself: ``config.json`` then names
the encoder and the checksum of its weights, without which the head means nothing. The encoder
``letters`` is the nucleotides themselves (`stemloop.models.letters`), and has no weights.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemloop import __version__
from stemloop.errors import OutputExistsError, UsageError, WeightsError
from stemloop.formats.folder import new_dir
from stemloop.weights.card import write_card
from stemloop.weights.locate import CONFIG, find_model, sha256_file
from stemloop.weights.store import (
    FACTS,
    FORMAT,
    HEAD,
    WEIGHTS,
    Head,
    Model,
    load,
    read_head,
    save_model_dir,
)
from stemloop.weights.tensors import write_tensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from stemloop.models.sequence_model import SequenceModel

KIND = "sequence"

#: Name of the encoder that is none: the head reads the nucleotides.
LETTERS = "letters"

#: ``model_type`` of a head that is kept without its encoder.
ALONE = "stemloop-sequence-head"


@dataclass(frozen=True)
class Meaning:
    """What the outputs of a head mean.

    Parameters
    ----------
    task : str
        ``classify`` or ``regress``.
    labels : tuple of str
        Class of each output, for ``classify``.
    mean, deviation : float
        For ``regress``: the number is output * deviation + mean, in the units of the training set.
    """

    task: str
    labels: tuple[str, ...] = ()
    mean: float = 0.0
    deviation: float = 1.0


def save_sequence_model(
    path: str | os.PathLike[str],
    model: SequenceModel,
    meaning: Meaning,
    *,
    source: Mapping[str, Any] | None = None,
    card: str | None = None,
    alone: str | None = None,
    half: bool = False,
    force: bool = False,
) -> Path:
    """Write a model directory that `load_sequence_model` reads; see `stemloop.weights.store`.

    Parameters
    ----------
    path : str or path
        The directory.
    model : SequenceModel
        Encoder and head.
    meaning : Meaning
        Labels, or the scale.
    source : mapping, optional
        Where the weights came from (JSON values).
    card : str, optional
        Model card, Markdown, kept as ``README.md``.
    alone : str, optional
        Name of the bundled encoder that this is the unchanged head of, or ``letters``: only the
        head is written.
    half : bool
        Write float16; they are read as float32.
    force : bool
        Replace a model directory that is there already.

    Raises
    ------
    OutputExistsError, OutputError
        See `stemloop.weights.store.save_model_dir`.
    """
    head = _head(model, meaning, half)
    if alone is not None:
        return _save_alone(Path(path), head, alone, source or {}, card, force)
    state = _tensors(model.encoder, half)
    return save_model_dir(
        path,
        model.encoder.config,
        state,
        head=head,
        source=source,
        card=card,
        force=force,
    )


def _tensors(module: nn.Module, half: bool, prefix: str = "") -> dict[str, Tensor]:
    found = {prefix + name: value.detach().cpu() for name, value in module.state_dict().items()}
    return {name: value.half() for name, value in found.items()} if half else found


def _head(model: SequenceModel, meaning: Meaning, half: bool) -> Head:
    tensors = _tensors(model.head, half, "head.")
    settings = {
        "head": model.head.config.to_dict(),
        "meaning": asdict(meaning) | {"labels": list(meaning.labels)},
        "guide": asdict(model.guide) if model.guide else None,
    }
    return Head(KIND, "", tensors, settings=settings)


def _save_alone(
    target: Path,
    head: Head,
    encoder: str,
    source: Mapping[str, Any],
    card: str | None,
    force: bool,
) -> Path:
    if target.exists() and not (force and (target / HEAD).is_file()):
        raise OutputExistsError(f"{target} exists already")
    digest = encoder_digest(encoder)
    with new_dir(target) as folder:
        write_tensors(folder / HEAD, head.tensors)
        facts = {
            "format": FORMAT,
            "stemloop": __version__,
            "source": dict(source),
            "head": {"kind": KIND, "prefix": "", "threshold": None, "settings": head.settings},
            "sha256": {HEAD: sha256_file(folder / HEAD)},
        }
        named = {"model_type": ALONE, "encoder": encoder, "encoder_sha256": digest}
        for name, content in ((CONFIG, named), (FACTS, facts)):
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        task = head.settings["meaning"]["task"]
        write_card(folder, task, body=card, title=target.name, facts=source)
    return target


def encoder_digest(name: str) -> str:
    """SHA-256 of the weights of an encoder; empty for `LETTERS`, which has none."""
    return "" if name == LETTERS else sha256_file(find_model(name) / WEIGHTS)


def named_encoder(
    path: Path, name: str, digest: str, *, device: str | torch.device = "cpu"
) -> Model:
    """Encoder that a head in the folder `path` names, with the checksum that its weights must have.

    Raises
    ------
    WeightsError
        It is not here, or it is another version.
    """
    if encoder_digest(name) != digest:
        raise WeightsError(f"{path}: for another version of the encoder {name}: train it anew")
    return load_base(name, device=device)


def load_base(name_or_path: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> Model:
    """Read an encoder that a head may be put on, as `stemloop.weights.store.load`, or `LETTERS`."""
    if os.fspath(name_or_path) != LETTERS:
        return load(name_or_path, device=device)
    from stemloop.alphabet import RINALMO
    from stemloop.models.letters import Letters

    encoder = Letters().to(device)
    return Model(encoder, RINALMO, encoder.config, Path(LETTERS))  # type: ignore[arg-type]


def _find(name_or_path: str | os.PathLike[str], device: str | torch.device) -> Model:
    """Model of a directory, with the encoder that it names if it has none of its own."""
    path = find_model(name_or_path)
    try:
        named = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        alone = named["model_type"] == ALONE
        encoder, digest = (named["encoder"], named["encoder_sha256"]) if alone else ("", "")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise WeightsError(f"{path / CONFIG}: damaged: {error!r}") from error
    if not alone:
        return load(path, device=device)
    found = named_encoder(path, encoder, digest, device=device)
    return replace(found, path=path, head=read_head(path))


def load_sequence_model(
    name_or_path: str | os.PathLike[str], *, device: str | torch.device = "cpu"
) -> tuple[SequenceModel, Meaning]:
    """Read a model directory that has a head for whole sequences, in evaluation mode.

    Raises
    ------
    WeightsError
        Not found or damaged; no head, or the head of another task; or one that does not fit.
    """
    from stemloop.models.sequence_head import HeadConfig
    from stemloop.models.sequence_model import SequenceModel, TypeGuide

    found = _find(name_or_path, device)
    if found.head is None or found.head.kind != KIND:
        what = "no head" if found.head is None else f"a head for {found.head.kind}"
        raise WeightsError(
            f"{found.path}: {what}, not one for whole sequences: train one with "
            "'stemloop finetune sequence'"
        )
    where = str(found.path / HEAD)
    try:
        values = dict(found.head.settings)
        config = HeadConfig.from_dict(values["head"])
        said = values["meaning"]
        meaning = Meaning(**(said | {"labels": tuple(said["labels"])}))
        guide = TypeGuide(**values["guide"]) if values["guide"] else None
        model = SequenceModel(found.encoder, found.alphabet, config, guide)
        tensors = {k.removeprefix("head."): v for k, v in found.head.tensors.items()}
        model.head.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError, UsageError) as error:
        raise WeightsError(f"{where}: does not fit its settings: {error}") from error
    if config.width != found.config.hidden:
        raise WeightsError(
            f"{where}: for an encoder of width {config.width}, this one has {found.config.hidden}"
        )
    wanted = len(meaning.labels) if meaning.task == "classify" else 1
    if config.outputs != wanted:
        raise WeightsError(f"{where}: {config.outputs} outputs for {wanted} labels")
    model.head.to(device)
    return model.requires_grad_(False).eval(), meaning
