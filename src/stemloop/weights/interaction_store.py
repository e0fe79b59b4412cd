"""Networks for interactions on disk: a folder with shape, scale and facts beside the weights.

One that reads states of a language model names it, with the checksum of its weights, as heads for
whole sequences do (`stemloop.weights.sequence_head`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stemloop import __version__
from stemloop.errors import OutputExistsError, WeightsError
from stemloop.formats.folder import new_dir
from stemloop.models.interaction_head import InteractionConfig, InteractionHead
from stemloop.models.interaction_input import StrandStates
from stemloop.models.interaction_recurrent import RecurrentConfig, RecurrentHead
from stemloop.weights.card import write_card
from stemloop.weights.locate import CONFIG, find_model, sha256_file
from stemloop.weights.sequence_head import encoder_digest, named_encoder
from stemloop.weights.store import WEIGHTS
from stemloop.weights.tensors import read_tensors, write_tensors

MODEL_TYPE = "stemloop-interaction"

#: Layout of ``config.json``; raised when an older program could misread it.
FORMAT = 2

Net = InteractionHead | RecurrentHead
KINDS = {kind.kind: kind for kind in (InteractionConfig, RecurrentConfig)}


@dataclass(frozen=True, slots=True, eq=False)
class StoredInteraction:
    """A network with what its input and output need.

    Parameters
    ----------
    head : InteractionHead or RecurrentHead
        The network.
    centre, scale : tuple of float
        Of the numbers of a pair, to standardise them.
    site : int
        Nucleotides of a site, as most it learned from; longer strands are read in windows of this.
    facts : mapping
        About its training.
    encoder : str
        Name or folder of the language model whose states it reads, if it does.
    states : StrandStates, optional
        That language model.
    """

    head: Net
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    site: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    encoder: str = ""
    states: StrandStates | None = None


def save_interaction(
    path: str | os.PathLike[str],
    model: StoredInteraction,
    *,
    card: str | None = None,
    force: bool = False,
) -> Path:
    """Write a folder, whole or not at all.

    Raises
    ------
    OutputExistsError, OutputError
        Something else is there already, or it cannot be written.
    """
    target = Path(path)
    if target.exists() and not (force and (target / WEIGHTS).is_file()):
        raise OutputExistsError(f"{target} exists already")
    tensors = {name: value.detach().cpu() for name, value in model.head.state_dict().items()}
    with new_dir(target) as folder:
        write_tensors(folder / WEIGHTS, tensors)
        content = {
            "model_type": MODEL_TYPE,
            "format": FORMAT,
            "stemloop": __version__,
            "head": model.head.config.to_dict(),
            "centre": list(model.centre),
            "scale": list(model.scale),
            "site": model.site,
            "encoder": model.encoder,
            "encoder_sha256": encoder_digest(model.encoder) if model.encoder else "",
            "facts": dict(model.facts),
            "sha256": sha256_file(folder / WEIGHTS),
        }
        (folder / CONFIG).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        write_card(folder, "interaction", body=card, title=target.name)
    return target


def load_interaction(name_or_path: str | os.PathLike[str]) -> StoredInteraction:
    """Read a folder, in evaluation mode.

    Raises
    ------
    WeightsError
        Not found, of another kind, damaged, or newer than this program; or the language model that
        it reads is not here.
    """
    path = find_model(name_or_path)
    where = path / CONFIG
    try:
        content = json.loads(where.read_text(encoding="utf-8"))
        if content.get("model_type") != MODEL_TYPE:
            raise WeightsError(
                f"{path}: no model of interactions: 'stemloop finetune interaction' makes one"
            )
        if content["format"] > FORMAT:
            raise WeightsError(f"{where}: newer than this program: update stemloop")
        shape = {"kind": InteractionConfig.kind} | content["head"]
        head = KINDS[shape.pop("kind")](**shape).build()
        centre, scale = (tuple(map(float, content[key])) for key in ("centre", "scale"))
        if not len(centre) == len(scale) == head.config.numbers:
            raise WeightsError(f"{where}: {len(centre)} scales for {head.config.numbers} numbers")
        head.load_state_dict(read_tensors(path / WEIGHTS))
        encoder, digest = content.get("encoder", ""), content.get("encoder_sha256", "")
        if bool(encoder) != bool(head.config.states):
            raise WeightsError(f"{where}: does not say whose states it reads")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise WeightsError(f"{path}: damaged: {error!r}") from error
    states = None
    if encoder:
        found = named_encoder(path, encoder, digest)
        states = StrandStates(found.encoder, found.alphabet)
        if states.width != head.config.states:
            raise WeightsError(f"{where}: for a language model of another width than {encoder}")
    return StoredInteraction(
        head.requires_grad_(False).eval(), centre, scale, int(content["site"]), content["facts"],
        encoder, states,
    )  # fmt: skip
