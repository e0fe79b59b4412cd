"""The encoder as one ONNX file, for programs that have no torch.

The file takes padded rows of any number and length: ``input_ids`` and ``attention_mask``, int64
(B, L), padding at the right; ``last_hidden_state`` is float32 (B, L, d), zero at padding. Its
metadata entry ``stemloop`` is JSON with the tokens in the order of their ids and the special ids.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from stemloop import __version__
from stemloop.errors import ExtraError, ResultError, UsageError
from stemloop.formats.stream import atomic_output
from stemloop.models.rinalmo import Block, RiNALMo
from stemloop.weights.store import Model, load

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

#: A protocol buffer cannot be larger, nor therefore a model in one file.
_LIMIT = 2 << 30

#: Largest difference to torch that is written; representations have a spread of 1.
_TOLERANCE = 1e-3


class PaddedEncoder(nn.Module):
    """The encoder's function written for padded rows and for a graph without loops over lengths.

    Parameters
    ----------
    encoder : RiNALMo
        Whose parameters are used.

    Examples
    --------
    >>> from stemloop.models.presets import EncoderConfig
    >>> config = EncoderConfig(vocab_size=22, hidden=32, layers=1, heads=2, ffn_inner=64)
    >>> padded = PaddedEncoder(RiNALMo(config).eval())
    >>> rows = torch.tensor([[0, 5, 6, 2], [0, 8, 2, 1]])
    >>> padded(rows, (rows != 1).long()).shape
    torch.Size([2, 4, 32])
    """

    def __init__(self, encoder: RiNALMo) -> None:
        super().__init__()
        self.config, self.embedding = encoder.config, encoder.embedding
        self.blocks = encoder.transformer.blocks
        self.final_layer_norm = encoder.transformer.final_layer_norm

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Rows of ids and mask (B, L) to representations (B, L, d)."""
        kept = attention_mask != 0
        x = self._embed(input_ids, kept)
        rope = self._rope(input_ids)
        for block in self.blocks:
            x = self._block(block, x, kept, rope)
        return self.final_layer_norm(x) * kept[..., None]

    def _embed(self, ids: Tensor, kept: Tensor) -> Tensor:
        masked = (ids == self.embedding.mask_id) & kept
        size, count = kept.sum(1, keepdim=True).float(), masked.sum(1, keepdim=True).float()
        scale = self.embedding.kept * size / (size - count).clamp_min(1.0)
        x = F.embedding(ids, self.embedding.weight)
        x = x * (scale * (kept & ~masked))[..., None]
        stem = self.embedding.stem
        if stem is None:
            return x
        # The stem's matrix is (d, tokens x d): a convolution's is (d, d, tokens).
        kernel = stem.weight.unflatten(1, (stem.width, -1)).transpose(1, 2)
        around = F.conv1d(x.transpose(1, 2), kernel, stem.bias, padding=stem.width // 2)
        return x + F.gelu(around.transpose(1, 2))

    def _rope(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines, two of (L, head_dim)."""
        config = self.config
        exponent = torch.arange(0, config.head_dim, 2).float() / config.head_dim
        steps = torch.arange(ids.shape[1]).float()
        angle = steps[:, None] * torch.pow(config.rope_base, -exponent)
        cos, sin = angle.cos(), angle.sin()
        return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)

    def _block(self, block: Block, x: Tensor, kept: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        x = block.attn_layer_norm(x)
        attention = block.mh_attn
        # (3, B, heads, L, head_dim)
        split = attention.Wqkv(x).unflatten(-1, (3, attention.heads, attention.head_dim))
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
        q, k = (self._rotate(y, rope) for y in (q, k))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=kept[:, None, None, :])
        x = x + attention.out_proj(out.transpose(1, 2).flatten(2))
        gate, _, down = block.transition
        y = block.out_layer_norm(x)
        g = gate.linear(y)
        return x + down(g * torch.sigmoid(gate.beta * g) * gate.linear_gate(y))

    @staticmethod
    def _rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        low, high = x.chunk(2, dim=-1)
        return x * rope[0] + torch.cat((high, low), dim=-1) * rope[1]


def export_onnx(
    src: str | os.PathLike[str], dst: str | os.PathLike[str], *, force: bool = False
) -> float:
    """Write the encoder of a model directory as an ONNX file that gives the same numbers.

    Parameters
    ----------
    src : str or path
        Model directory, or the name of bundled or downloaded weights.
    dst : str or path
        ``.onnx`` file.
    force : bool
        Replace it.

    Returns
    -------
    float
        Largest absolute difference between onnxruntime and torch on RNAs of 1 to 200 nucleotides.

    Raises
    ------
    ExtraError
        onnx, onnxscript or onnxruntime is not installed.
    UsageError
        Another suffix, an encoder of another architecture, or one too large for one file.
    ResultError
        onnxruntime does not agree with torch; nothing is written.
    """
    if Path(dst).suffix != ".onnx":
        raise UsageError(f"{os.fspath(dst)}: the suffix must be .onnx")
    model = load(src)
    if not isinstance(model.encoder, RiNALMo):
        raise UsageError(
            f"{os.fspath(src)}: only RiNALMo's architecture is exported; an RNAErnie directory "
            "is transformers' Ernie, which general exporters know"
        )
    if sum(p.numel() * 4 for p in model.encoder.parameters()) > 0.95 * _LIMIT:
        raise UsageError(f"{os.fspath(src)}: more than 2 GB do not fit into one ONNX file")
    with atomic_output(dst, force=force, binary=True) as out:
        content = _export(model)
        difference = max_difference(content, model)
        if not difference <= _TOLERANCE:
            raise ResultError(f"onnxruntime and torch differ by {difference:.2g}: not written")
        out.write(content)
    return difference


def _export(model: Model) -> bytes:
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExtraError("onnx and onnxscript", "onnx") from error
    rows, mask = _padded(model, ["ACGUACGU", "GGGAAAUCCCA"])
    sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    noisy = logging.getLogger("torch.onnx")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                PaddedEncoder(model.encoder).eval(),
                (rows, mask),
                dynamo=True,
                verbose=False,
                input_names=["input_ids", "attention_mask"],
                output_names=["last_hidden_state"],
                dynamic_shapes=(sizes, sizes),
            )
    finally:
        noisy.setLevel(level)
    assert program is not None
    proto = program.model_proto
    alphabet = model.alphabet
    about = {
        "stemloop": __version__, "alphabet": alphabet.name, "tokens": list(alphabet.tokens),
        "cls": alphabet.cls_id, "pad": alphabet.pad_id, "eos": alphabet.eos_id,
        "mask": alphabet.mask_id, "max_length": model.config.max_length,
    }  # fmt: skip
    onnx.helper.set_model_props(proto, {"stemloop": json.dumps(about)})
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


def max_difference(content: bytes, model: Model) -> float:
    """Largest absolute difference to torch, over random RNAs in one padded batch."""
    rng = np.random.default_rng(0)
    rnas = ["".join(rng.choice(list("ACGUN"), n)) for n in (1, 2, 17, 64, 200)]
    rows, mask = _padded(model, rnas)
    feed = {"input_ids": rows.numpy(), "attention_mask": mask.numpy()}
    (given,) = onnx_session(content).run(None, feed)
    kept = mask.bool()
    with torch.inference_mode():
        starts = F.pad(mask.sum(1).cumsum(0), (1, 0)).int()
        wanted = model.encoder(rows[kept], starts).representation
    return float((torch.from_numpy(given)[kept] - wanted).abs().max())


def onnx_session(content: bytes | str, threads: int = 1) -> InferenceSession:
    """An onnxruntime session on the CPU.

    Raises
    ------
    ExtraError
        onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ExtraError("onnxruntime", "onnx") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _padded(model: Model, rnas: list[str]) -> tuple[Tensor, Tensor]:
    """Ids and mask of some RNAs, with their special tokens."""
    ids: list[Any] = [torch.from_numpy(model.alphabet.encode(rna).astype(np.int64)) for rna in rnas]
    rows = nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=model.alphabet.pad_id)
    return rows, (rows != model.alphabet.pad_id).long()
