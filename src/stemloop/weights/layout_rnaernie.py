"""RNAErnie's checkpoints in the three layouts that are found, brought to transformers' Ernie names.

=============  ================================================================================
paddle         ``model_state.pdparams`` of the authors' program, or the same names in a ``.pt``:
               ``ernie.encoder.layers.{i}.self_attn.q_proj.weight``; 39 ids. The matrices of all
               linear layers are stored (in, out), the transpose of ours.
hub            ``BertForMaskedLM`` or ``ErnieForMaskedLM`` directory (RNAErnie 2): our own names
               but for the prefix; 11 ids, or 39.
multimolecule  ``layer_norm`` and ``lm_head``; 28 ids, older directories 26. It has dropped
               ``[IND]`` and the RNA types, so that the model takes no prompt; what is left has
               RiNALMo's 22 tokens.
=============  ================================================================================

The language-model head and the pooler may be absent, each as a whole. Stored copies of tied
parameters must be equal to what they are tied to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stemloop.alphabet import RINALMO, RNAERNIE, RNAERNIE2, Alphabet
from stemloop.errors import WeightsError
from stemloop.models.rnaernie_config import RNAErnieConfig
from stemloop.weights.checkpoint import Checkpoint
from stemloop.weights.layout_multimolecule import token_rows
from stemloop.weights.tensors import expected_shapes

if TYPE_CHECKING:
    from torch import Tensor

WORDS = "ernie.embeddings.word_embeddings.weight"
_POSITIONS = "ernie.embeddings.position_embeddings.weight"
_TYPES = "ernie.embeddings.token_type_embeddings.weight"
_INNER = "ernie.encoder.layer.0.intermediate.dense.bias"
_BIAS = "cls.predictions.bias"

#: Under which names, in our terms, a tied parameter may stand once more.
_TIED = {
    "cls.predictions.decoder.weight": WORDS,
    "cls.predictions.decoder_weight": WORDS,
    "cls.predictions.decoder.bias": _BIAS,
}

#: The published model has 12 heads; the tensors do not tell.
PUBLISHED_HEADS = 12

#: Longest input that RNAErnie 2 was trained on, in tokens.
RNAERNIE2_LENGTH = 2048

#: Buffers, which follow from the shape.
_BUFFERS = re.compile(r"(?:.*\.)?(?:position_ids|token_type_ids)")

_LAYER = re.compile(r"ernie\.encoder\.layers\.(\d+)\.")

#: Ours to Paddle's, in this order.
_PADDLE = (
    ("encoder.layer.", "encoder.layers."),
    (".attention.self.query.", ".self_attn.q_proj."),
    (".attention.self.key.", ".self_attn.k_proj."),
    (".attention.self.value.", ".self_attn.v_proj."),
    (".attention.output.dense.", ".self_attn.out_proj."),
    (".attention.output.LayerNorm.", ".norm1."),
    (".intermediate.dense.", ".linear1."),
    (".output.dense.", ".linear2."),
    (".output.LayerNorm.", ".norm2."),
    (".transform.dense.", ".transform."),
    (".transform.LayerNorm.", ".layer_norm."),
    (".LayerNorm.", ".layer_norm."),
    ("predictions.bias", "predictions.decoder_bias"),
)

Rename = Callable[[str], str]


def is_paddle(content: Mapping[str, Any]) -> bool:
    """Whether the keys are those of the authors' program."""
    return any(key.startswith(("ernie.encoder.layers.", "ernie.embeddings.")) for key in content)


def read_paddle(content: Mapping[str, Tensor], where: str, heads: int | None = None) -> Checkpoint:
    """Bring the content of a Paddle checkpoint to our terms.

    Parameters
    ----------
    content : mapping of str to Tensor
        As it was stored.
    where : str
        Name of the file, for messages.
    heads : int, optional
        Attention heads; 12 by default.

    Raises
    ------
    WeightsError
        A key is missing, unexpected or of another shape; it is named as the file does.
    """

    def name(ours: str) -> str:
        for mine, theirs in _PADDLE:
            ours = ours.replace(mine, theirs)
        return ours

    numbers = {int(match[1]) for key in content if (match := _LAYER.match(key))}
    shape = _shape(content, name, where)
    config = RNAErnieConfig(
        **shape,
        # A gap in the numbers shows up as missing keys.
        layers=max(numbers, default=0) + 1,
        heads=heads or PUBLISHED_HEADS,
        vocab_size=len(RNAERNIE),
        max_length=max(shape["positions"] - 1, 1),
    )
    state = _take(content, config, name, where, turned=True)
    return Checkpoint("RNAErnie, Paddle", config, state)


def read_hub(
    content: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    vocabulary: Sequence[str],
    where: str,
) -> Checkpoint:
    """Bring a directory of transformers' Bert or Ernie with RNA tokens to our terms.

    Parameters
    ----------
    content : mapping of str to Tensor
        All tensors of the directory.
    settings : mapping
        Its config.json.
    vocabulary : sequence of str
        Lines of its vocab.txt.
    where : str
        Name of the directory, for messages.

    Raises
    ------
    WeightsError
        Another vocabulary or network, or a key that is missing, unexpected or of another shape.
    """
    alphabet = next((a for a in (RNAERNIE2, RNAERNIE) if a.tokens == tuple(vocabulary)), None)
    if alphabet is None:
        raise WeightsError(
            f"{where}: vocab.txt is not RNAErnie's: {len(vocabulary)} tokens, "
            f"{', '.join(vocabulary[:7])}, ..."
        )
    prefix = _prefix(content, WORDS.removeprefix("ernie."), where)

    def name(ours: str) -> str:
        return prefix + ours.removeprefix("ernie.") if ours.startswith("ernie.") else ours

    shape = _shape(content, name, where)
    limit = RNAERNIE2_LENGTH if alphabet is RNAERNIE2 else 512
    config = _configured(shape, settings, alphabet, min(limit, shape["positions"]), where)
    state = _take(content, config, name, where)
    return Checkpoint(f"RNAErnie, {settings['model_type']} directory", config, state)


def read_multimolecule(
    content: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    vocabulary: Sequence[str],
    where: str,
) -> Checkpoint:
    """Bring a multimolecule directory of RNAErnie to our terms; see `read_hub`."""
    prefix = _prefix(content, WORDS.removeprefix("ernie."), where)

    def name(ours: str) -> str:
        ours = ours.replace("cls.predictions.", "lm_head.").replace(".LayerNorm.", ".layer_norm.")
        return prefix + ours.removeprefix("ernie.") if ours.startswith("ernie.") else ours

    shape = _shape(content, name, where)
    # What the layout does not state is the published model's, not Bert's.
    stated = {"hidden_act": "relu", **settings}
    config = _configured(shape, stated, RINALMO, max(shape["positions"] - 1, 1), where)
    state = _take(content, config, name, where, vocabulary=vocabulary)
    notes = [f"{len(vocabulary)} ids: RNAErnie's prompt and RNA types are not in this layout"]
    head = settings.get("lm_head")
    act = head.get("transform_act") if isinstance(head, dict) else None
    if act not in (None, config.activation):
        notes.append(
            f"config.json says transform_act {act} for the language-model head; trained with "
            f"{config.activation}, which is used"
        )
    return Checkpoint(f"RNAErnie, multimolecule, {len(vocabulary)} ids", config, state, None, notes)


def _prefix(content: Mapping[str, Any], end: str, where: str) -> str:
    """What stands before the encoder's keys."""
    found = [key for key in content if key.endswith(end)]
    if not found:
        raise WeightsError(f"{where}: missing key {end!r}: no encoder in there")
    return found[0].removesuffix(end)


def _shape(content: Mapping[str, Tensor], name: Rename, where: str) -> dict[str, int]:
    """Widths, told by the tensors."""
    shapes = []
    for ours, ndim in ((WORDS, 2), (_INNER, 1), (_POSITIONS, 2), (_TYPES, 2)):
        key = name(ours)
        if key not in content:
            raise WeightsError(f"{where}: missing key {key!r}")
        if content[key].ndim != ndim or not content[key].numel():
            raise WeightsError(
                f"{where}: key {key!r} has shape {tuple(content[key].shape)}, "
                f"expected {ndim} dimension{'s' * (ndim > 1)}"
            )
        shapes.append(content[key].shape)
    return {
        "hidden": int(shapes[0][1]), "ffn_inner": int(shapes[1][0]),
        "positions": int(shapes[2][0]), "token_types": int(shapes[3][0]),
    }  # fmt: skip


def _configured(
    shape: Mapping[str, int],
    settings: Mapping[str, Any],
    alphabet: Alphabet,
    max_length: int,
    where: str,
) -> RNAErnieConfig:
    """Shape of the tensors, and what config.json says beside it."""
    for key in ("num_hidden_layers", "num_attention_heads"):
        if not isinstance(settings.get(key), int):
            raise WeightsError(f"{where}: config.json has no {key}")
    for key, width in (("hidden_size", shape["hidden"]), ("intermediate_size", shape["ffn_inner"])):
        if settings.get(key, width) != width:
            raise WeightsError(
                f"{where}: config.json says {key} {settings[key]}, the tensors {width}"
            )
    for key, value in (("position_embedding_type", "absolute"), ("is_decoder", False),
                       ("use_task_id", False), ("tie_word_embeddings", True)):  # fmt: skip
        if settings.get(key, value) != value:
            raise WeightsError(
                f"{where}: config.json says {key} {settings[key]!r}: not RNAErnie's network"
            )
    return RNAErnieConfig(
        **shape,
        vocab_size=len(alphabet),
        layers=settings["num_hidden_layers"],
        heads=settings["num_attention_heads"],
        activation=settings.get("hidden_act", "gelu"),
        layer_norm_eps=settings.get("layer_norm_eps", 1e-12),
        max_length=max_length,
        alphabet=alphabet.name,
        cls_id=alphabet.cls_id, pad_id=alphabet.pad_id, eos_id=alphabet.eos_id,
        unk_id=alphabet.unk_id, mask_id=alphabet.mask_id,
    )  # fmt: skip


def _take(
    content: Mapping[str, Tensor],
    config: RNAErnieConfig,
    name: Rename,
    where: str,
    *,
    turned: bool = False,
    vocabulary: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Our parameters; nothing may be left over. Messages have the names of the source.

    Parameters
    ----------
    content, config, name, where
        What was read, the shape to fill, our names to theirs, the source for messages.
    turned : bool
        Matrices of linear layers are stored (in, out).
    vocabulary : sequence of str, optional
        The stored rows' tokens, where they are not the alphabet's.
    """
    import torch

    rows = None if vocabulary is None else token_rows(vocabulary, where)
    rest = {key: value for key, value in content.items() if not _BUFFERS.fullmatch(key)}
    shapes = expected_shapes(config, (config.lm_head, config.pooler))
    for part in (config.lm_head, config.pooler):
        if not any(key.startswith(part) and name(key) in rest for key in shapes):
            shapes = {key: shape for key, shape in shapes.items() if not key.startswith(part)}
    state: dict[str, Tensor] = {}
    for ours, shape in shapes.items():
        key = name(ours)
        if key not in rest:
            raise WeightsError(f"{where}: missing key {key!r}")
        tensor = rest.pop(key)
        turn = turned and len(shape) == 2 and "_embeddings." not in ours
        pick = rows is not None and ours in (WORDS, _BIAS)
        expected = shape[::-1] if turn else shape
        if pick:
            expected = (len(vocabulary or ()), *shape[1:])
        if tuple(tensor.shape) != expected:
            raise WeightsError(
                f"{where}: key {key!r} has shape {tuple(tensor.shape)}, expected {expected}"
            )
        if not tensor.is_floating_point():
            raise WeightsError(f"{where}: key {key!r} holds {tensor.dtype}, not floating point")
        state[ours] = tensor.T.contiguous() if turn else tensor[rows] if pick else tensor
    for twin, ours in _TIED.items():
        if ours in state and name(twin) in rest:
            if not torch.equal(rest.pop(name(twin)), content[name(ours)]):
                raise WeightsError(
                    f"{where}: key {name(twin)!r} differs from {name(ours)!r}, to which it is tied"
                )
    if rest:
        key = min(rest)
        more = ": a table of later programs, untrained in RNAErnie" if "task_type" in key else ""
        raise WeightsError(f"{where}: unexpected key {key!r}{more}")
    return state
