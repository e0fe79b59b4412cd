"""What of an encoder learns together with a head: from which epoch on, and how fast."""

from __future__ import annotations

from torch import nn

from stemloop.models.build import Encoder, blocks
from stemloop.training.lora import add_adapters
from stemloop.training.run_folder import unfreezing_groups
from stemloop.training.sequence_recipe import SequenceRecipe

#: First epoch, learning rate at its peak, parameters.
Group = tuple[int, float, list[nn.Parameter]]


def encoder_groups(encoder: Encoder, recipe: SequenceRecipe) -> list[Group]:
    """Groups of an encoder's parameters; low-rank adapters are put in place.

    Parameters
    ----------
    encoder : RiNALMo or RNAErnie
        Encoder.
    recipe : SequenceRecipe
        ``encoder`` says what learns: nothing, all but the language-model head (``full``), block by
        block (``gradual``), or adapters (``lora``).

    Returns
    -------
    list of tuple
        First epoch, rate, parameters.

    Examples
    --------
    >>> from stemloop.models.presets import EncoderConfig
    >>> from stemloop.models.rinalmo import RiNALMo
    >>> encoder = RiNALMo(EncoderConfig(vocab_size=22, hidden=32, layers=2, heads=2, ffn_inner=64))
    >>> values = {"task": "classify", "name": "x", "data": [{"file": "a.csv"}], "encoder": "full"}
    >>> recipe = SequenceRecipe.model_validate(values | {"encoder_rate": 1, "block_decay": 0.5})
    >>> [rate for _, rate, _ in encoder_groups(encoder, recipe)]
    [1.0, 0.5, 0.25]
    """
    if recipe.encoder == "full":
        return _by_depth(encoder, recipe.encoder_rate, recipe.block_decay)
    if recipe.encoder == "gradual":
        rate = recipe.learning_rate / recipe.unfreeze.divide
        return [(e, rate, p) for e, p in unfreezing_groups(encoder, recipe.unfreeze)]
    if recipe.encoder == "lora":
        adapters = add_adapters(encoder, recipe.lora.rank, recipe.lora.alpha)
        return [(0, recipe.encoder_rate, adapters)]
    return []


def _by_depth(encoder: Encoder, rate: float, decay: float) -> list[Group]:
    """Last block and what follows it first; the embedding counts as a block before the first."""
    layers = list(blocks(encoder))
    depth = {id(p): k for k, layer in enumerate(layers, start=1) for p in layer.parameters()}
    groups: dict[int, list[nn.Parameter]] = {}
    for name, parameter in encoder.named_parameters():
        # Not the language-model head, which has no part in this.
        if "lm_mask_head" in name or name.startswith("cls.") or "pooler" in name:
            continue
        place = depth.get(id(parameter), len(layers) if "final" in name else 0)
        groups.setdefault(0 if decay == 1 else len(layers) - place, []).append(parameter)
    return [(0, rate * decay**k, groups[k]) for k in sorted(groups)]
