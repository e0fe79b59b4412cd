"""What can be asked of `stemloop.tasks.embed`, completed and checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from stemloop.alphabet import RNAERNIE_TYPES
from stemloop.errors import UsageError
from stemloop.models.presets import Config
from stemloop.tasks.base import TOKEN_BUDGET, Long, pick_device
from stemloop.weights.store import ALPHABETS

POOLS = ("mean", "cls", "tokens")
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedOptions:
    """What is asked for, complete: two runs with equal options and input do the same.

    Parameters
    ----------
    pool : tuple of str
        Of `POOLS`.
    layers : tuple of int
        -1, or 0 to the number of blocks.
    long : {"error", "window", "allow"}
        What becomes of sequences longer than `max_length`.
    max_length : int
        Nucleotides.
    window, overlap : int
        Nucleotides.
    token_budget : int
        Tokens of a batch.
    dtype, device : str
        Of the computation.
    rna_type : str, optional
        Of `stemloop.alphabet.RNAERNIE_TYPES`; told to the encoder after each sequence.
    """

    pool: tuple[str, ...]
    layers: tuple[int, ...]
    long: Long
    max_length: int
    window: int
    overlap: int
    token_budget: int
    dtype: str
    device: str
    rna_type: str | None = None

    @property
    def names(self) -> dict[str, tuple[str, int]]:
        """Name of each array to its pool and layer.

        A single layer is not named: ``mean``; several are: ``mean.layer6``, ``mean.layer-1``.
        """
        return {
            pool if len(self.layers) == 1 else f"{pool}.layer{layer}": (pool, layer)
            for pool in self.pool
            for layer in self.layers
        }


def make_options(
    config: Config,
    *,
    pool: str | Sequence[str] = "mean",
    layers: int | Sequence[int] = -1,
    long: Long = "error",
    max_length: int | None = None,
    window: int | None = None,
    overlap: int | None = None,
    token_budget: int | None = None,
    dtype: str = "float32",
    device: str = "auto",
    rna_type: str | None = None,
) -> EmbedOptions:
    """Fill in defaults and refuse what cannot be; see `embed` for the parameters.

    Raises
    ------
    UsageError
        An unknown pool, layer, policy, dtype or device; or more nucleotides than the encoder has
        positions for.

    Examples
    --------
    >>> from stemloop.models.presets import PRESETS
    >>> options = make_options(PRESETS["rinalmo-micro"], layers=[-1, -2, 0], device="cpu")
    >>> options.layers, options.max_length, list(options.names)
    ((-1, 11, 0), 1022, ['mean.layer-1', 'mean.layer11', 'mean.layer0'])
    """
    pools = (pool,) if isinstance(pool, str) else tuple(dict.fromkeys(pool))
    for name in pools:
        if name not in POOLS:
            raise UsageError(f"unknown pool {name!r} (known: {', '.join(POOLS)})")
    if long not in get_args(Long):
        raise UsageError(f"unknown policy {long!r} (known: {', '.join(get_args(Long))})")
    if dtype not in DTYPES:
        raise UsageError(f"unknown dtype {dtype!r} (known: {', '.join(DTYPES)})")
    numbers = [layers] if isinstance(layers, int) else list(layers)
    if not pools or not numbers:
        raise UsageError("nothing to compute: at least one pool and one layer are needed")
    chosen: dict[int, None] = {}
    for number in numbers:
        if not -config.layers - 1 <= number <= config.layers:
            raise UsageError(
                f"no layer {number}: this encoder has 0 (embedding) to {config.layers}, "
                "and -1 (output) counting back"
            )
        chosen[number if number >= -1 else config.layers + 1 + number] = None
    if rna_type is not None and "[IND]" not in ALPHABETS[config.alphabet].ids:
        raise UsageError(f"this encoder's alphabet, {config.alphabet!r}, has no RNA types")
    if rna_type is not None and rna_type not in RNAERNIE_TYPES:
        raise UsageError(f"unknown RNA type {rna_type!r} (known: {', '.join(RNAERNIE_TYPES)})")
    # CLS and EOS; [IND] and the type.
    specials = 2 if rna_type is None else 4
    limit = max_length or config.max_length - specials
    if config.longest is not None and (long == "allow" or limit > config.longest - specials):
        raise UsageError(
            f"this encoder has positions for {config.longest - specials} nt: longer sequences "
            "cannot be passed whole; --long window cuts them"
        )
    place = pick_device(device)
    budget = token_budget or TOKEN_BUDGET.get(place.type, TOKEN_BUDGET["cpu"])
    width = window or limit
    for name, value in (("max_length", limit), ("token_budget", budget), ("window", width)):
        if value < 1:
            raise UsageError(f"{name} must be positive, not {value}")
    return EmbedOptions(
        pool=pools,
        layers=tuple(chosen),
        long=long,
        max_length=limit,
        window=width,
        overlap=width // 4 if overlap is None else overlap,
        token_budget=budget,
        dtype=dtype,
        device=str(place),
        rna_type=rna_type,
    )
