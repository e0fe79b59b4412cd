"""RiNALMo's secondary-structure head: representations of L nucleotides in, L x L logits out.

Penic et al., "RiNALMo: general-purpose RNA language models can generalize well on structure
prediction tasks", Nature Communications 16:5671 (2025); parameter names as in the published
fine-tuned checkpoints, without their prefix ``pred_head.``.

What is peculiar about it
-------------------------
* It was published on the outer concatenation [e_i ; e_j], 2d numbers a pair, of which a linear
  layer makes 64. That layer is W1 e_i + W2 e_j + b with the two halves of its matrix, so here the
  64 numbers are the sum of two projections and the 2d never exist: the same function and weights.
* Two residual bottlenecks of three convolutions (1, 3 and 1 wide, without bias), each followed by
  an instance norm without parameters and a ReLU; nothing follows the sum. A convolution with bias
  makes one logit of the 64.
* The norms run over all L x L places, so padding would change every logit: there is none, and the
  head takes one RNA at a time.
* Only the strict upper triangle is kept, and mirrored; the diagonal is 0.
* Without gradients every step works in the memory of the map before it, some rows at a time: two
  maps of 64 x L x L are the most that is held.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from stemloop.errors import WeightsError

#: Prefix of the head's parameters in the published files.
PREFIX = "pred_head."

#: Places of a map that are convolved in one go where no gradient is wanted.
_BLOCK = 1 << 15

_NUMBER = re.compile(r"resnet\.blocks\.(\d+)\.")


def convolved_rows(conv: nn.Conv2d, x: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Convolution of a map (C, L, L), some rows at a time: the rows and (C', rows, L).

    The rows of `x` may be overwritten as soon as they have been handed over.
    """
    reach = conv.kernel_size[0] // 2
    rows = max(_BLOCK // x.shape[2], reach, 1)
    above = x.new_zeros(x.shape[0], reach, x.shape[2])
    for start in range(0, x.shape[1], rows):
        block = x[:, start : start + rows]
        below = x[:, start + rows : start + rows + reach]
        missing = x.new_zeros(x.shape[0], reach - below.shape[1], x.shape[2])
        padded = torch.cat((above, block, below, missing), dim=1)
        above = padded[:, block.shape[1] : block.shape[1] + reach].clone()
        y = F.conv2d(padded[None], conv.weight, conv.bias, padding=(0, reach))[0]
        yield slice(start, start + block.shape[1]), y


def normalise_(x: Tensor, eps: float) -> Tensor:
    """Instance norm and ReLU of a map (C, L, L), in place, statistics in float32 or better."""
    for channel in x:
        precise = channel.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(precise, correction=0)
        channel.copy_(precise.sub(mean).mul_((variance + eps).rsqrt()).relu_())
    return x


class Bottleneck(nn.Module):
    """Three convolutions with norm and ReLU, and the way past them; (C, L, L) to (C, L, L)."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size in (1, kernel, 1):
            layers += [
                nn.Conv2d(channels, channels, size, bias=False, padding="same"),
                nn.InstanceNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
        self.conv_net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """x + conv_net(x); in the memory of x where no gradient is wanted."""
        if torch.is_grad_enabled():
            return x + self.conv_net(x)
        y = x.clone()
        for conv, norm in zip(self.conv_net[::3], self.conv_net[1::3], strict=True):
            for rows, values in convolved_rows(conv, y):
                y[:, rows] = values
            normalise_(y, norm.eps)
        return x.add_(y)


class ResNet2D(nn.Module):
    """The bottlenecks one after the other."""

    def __init__(self, channels: int, blocks: int, kernel: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Bottleneck(channels, kernel) for _ in range(blocks))


class PairHead(nn.Module):
    """Logits of all pairs of one RNA.

    Set `gradient_checkpointing` to recompute each bottleneck in the backward pass instead of
    keeping its maps.

    Parameters
    ----------
    width : int
        Width d of the encoder.
    channels, blocks, kernel : int
        Width of the map, number of bottlenecks, size of their middle convolution and of the last
        one (odd); by default as published.

    Examples
    --------
    >>> head = PairHead(16)
    >>> logits = head(torch.randn(9, 16))
    >>> logits.shape, bool((logits == logits.T).all()), bool(logits.diagonal().any())
    (torch.Size([9, 9]), True, False)
    """

    def __init__(self, width: int, channels: int = 64, blocks: int = 2, kernel: int = 3) -> None:
        super().__init__()
        self.linear_in = nn.Linear(2 * width, channels)
        self.resnet = ResNet2D(channels, blocks, kernel)
        self.conv_out = nn.Conv2d(channels, 1, kernel, padding="same")
        self.gradient_checkpointing = False

    def pair_map(self, x: Tensor) -> Tensor:
        """Representations (L, d) to the first map (C, L, L): W1 x_i + W2 x_j + b at (i, j)."""
        left, right = self.linear_in.weight.split(x.shape[1], dim=1)
        first = F.linear(x, left, self.linear_in.bias).T
        second = F.linear(x, right).T
        return first[:, :, None] + second[:, None, :]

    def forward(self, x: Tensor) -> Tensor:
        """Representations (L, d) of the nucleotides, without CLS and EOS, to logits (L, L).

        L must be at least 2: one place has no variance.
        """
        y = self.pair_map(x)
        for block in self.resnet.blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                y = checkpoint(block, y, use_reentrant=False)
            else:
                y = block(y)
        if torch.is_grad_enabled():
            logits = self.conv_out(y)[0]
        else:
            logits = y.new_empty(y.shape[1:])
            for rows, values in convolved_rows(self.conv_out, y):
                logits[rows] = values[0]
        upper = logits.triu(1)
        return upper + upper.T


def pair_loss(logits: Tensor, pairs: npt.NDArray[np.int32]) -> Tensor:
    """Mean binary cross-entropy of the strict upper triangle.

    Parameters
    ----------
    logits : Tensor, shape (L, L)
        Output of a `PairHead`.
    pairs : numpy.ndarray of int, shape (n, 2)
        Reference, i < j; whatever pairs it has, crossing and non-canonical ones too.

    Examples
    --------
    >>> float(pair_loss(torch.zeros(4, 4), np.array([[0, 3]])))
    0.6931471824645996
    """
    length = len(logits)
    target = torch.zeros(length, length, device=logits.device)
    target[tuple(torch.from_numpy(pairs.astype(np.int64)).T)] = 1.0
    upper = torch.ones_like(target, dtype=torch.bool).triu(1)
    return F.binary_cross_entropy_with_logits(logits.float()[upper], target[upper])


def head_from(tensors: Mapping[str, Tensor], where: str) -> PairHead:
    """A head with these parameters, its shape told by them; in evaluation mode, float32.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Parameters with their published names (``pred_head.linear_in.weight``, ...).
    where : str
        Name of the file, for messages.

    Raises
    ------
    WeightsError
        A key is missing, unexpected or of a shape that does not fit the others; it is named.

    Examples
    --------
    >>> tensors = {PREFIX + name: value for name, value in PairHead(8).state_dict().items()}
    >>> head_from(tensors, "x").linear_in.weight.shape
    torch.Size([64, 16])
    """
    shapes = []
    for name, ndim, parity in (("linear_in.weight", 2, 0), ("conv_out.weight", 4, 1)):
        key = PREFIX + name
        if key not in tensors:
            raise WeightsError(f"{where}: missing key {key!r}")
        shape = tuple(tensors[key].shape)
        if len(shape) != ndim or 0 in shape or shape[-1] % 2 != parity:
            raise WeightsError(f"{where}: key {key!r} has shape {shape}: not that of a pair head")
        shapes.append(shape)
    (channels, columns), (*_, kernel) = shapes
    numbers = {int(m[1]) for key in tensors if (m := _NUMBER.match(key.removeprefix(PREFIX)))}
    # A gap in the numbers shows up as missing keys.
    with torch.device("meta"):
        head = PairHead(columns // 2, channels, max(numbers, default=-1) + 1, kernel)
    wanted = {PREFIX + name: tuple(value.shape) for name, value in head.state_dict().items()}
    for what, keys in (
        ("missing", sorted(wanted.keys() - tensors.keys())),
        ("unexpected", sorted(tensors.keys() - wanted.keys())),
    ):
        if keys:
            raise WeightsError(f"{where}: {what} key {keys[0]!r}")
    for key, shape in wanted.items():
        if tuple(tensors[key].shape) != shape:
            raise WeightsError(
                f"{where}: key {key!r} has shape {tuple(tensors[key].shape)}, expected {shape}"
            )
    state = {key.removeprefix(PREFIX): value.float() for key, value in tensors.items()}
    head.load_state_dict(state, assign=True)
    return head.requires_grad_(False).eval()


def head_tensors(head: PairHead) -> dict[str, Tensor]:
    """The parameters under their published names; see `head_from`."""
    return {PREFIX + name: value.detach().cpu() for name, value in head.state_dict().items()}
