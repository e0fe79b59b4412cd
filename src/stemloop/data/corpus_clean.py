"""Which sequences a corpus takes, in which form, and how it is split."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from stemloop.alphabet import normalise
from stemloop.errors import AlphabetError, UsageError

_STATED = b"ACGUI"


@dataclass(frozen=True)
class BuildOptions:
    """How a corpus is built.

    Parameters
    ----------
    min_length, max_length : int
        Nucleotides; RiNALMo kept 16 to 8192.
    max_ambiguous : float
        Largest share of letters other than A, C, G, U and I.
    clusterer : {"mmseqs", "none"}
        ``none`` makes every sequence a cluster of its own.
    identity, coverage : float
        Thresholds of the clusters.
    hold_out_clusters : float
        Share of the clusters held out, see `stemloop.data.corpus_holdout.hold_out`.
    hold_out_families : float
        Share of the Rfam families held out.
    seed : int
        Seed of the hold-outs and of sources taken in part.
    shard_size : int
        Sequences of a Parquet file.
    """

    min_length: int = 16
    max_length: int = 8192
    max_ambiguous: float = 0.1
    clusterer: str = "mmseqs"
    identity: float = 0.7
    coverage: float = 0.8
    hold_out_clusters: float = 0.02
    hold_out_families: float = 0.05
    seed: int = 0
    shard_size: int = 100_000

    def __post_init__(self) -> None:
        if not 1 <= self.min_length <= self.max_length:
            raise UsageError("--min-length must be at least 1 and at most --max-length")
        for name in ("max_ambiguous", "hold_out_clusters", "hold_out_families"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"--{name.replace('_', '-')} is a share between 0 and 1")
        for name in ("identity", "coverage"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(f"--{name} is a share above 0, at most 1")
        if self.clusterer not in ("mmseqs", "none"):
            raise UsageError("--clusterer is mmseqs or none")
        if self.shard_size < 1 or self.seed < 0:
            raise UsageError("--shard-size must be at least 1, --seed at least 0")


def clean(raw: str, options: BuildOptions, fraction: float = 1.0) -> tuple[str | None, str]:
    """Bring a sequence into the form it has in a corpus, or say why it is dropped.

    Examples
    --------
    >>> options = BuildOptions(min_length=4)
    >>> [clean(text, options) for text in ("ac-gt", "acg", "acgnn", "acgf")]
    [('ACGU', ''), (None, 'too short'), (None, 'ambiguous'), (None, 'not nucleotides')]
    """
    try:
        sequence = normalise(raw).replace("-", "")
    except AlphabetError:
        return None, "not nucleotides"
    length = len(sequence)
    if not length:
        return None, "empty"
    if length < options.min_length:
        return None, "too short"
    if length > options.max_length:
        return None, "too long"
    text = sequence.encode("ascii")
    if len(text.translate(None, _STATED)) > options.max_ambiguous * length:
        return None, "ambiguous"
    if fraction < 1:
        # By the sequence, so that neither its place nor its copies matter.
        key = blake2b(b"%d\t" % options.seed + text, digest_size=8).digest()
        if int.from_bytes(key, "big") >= fraction * 2**64:
            return None, "beyond the fraction"
    return sequence, ""
