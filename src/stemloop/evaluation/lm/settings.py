"""How much is examined: sizes of samples, and the seed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Sizes of the samples, and the seed of everything that is drawn.

    Parameters
    ----------
    rnas : int
        RNAs of each held-out split.
    turns : {"type", "cluster"}
        Whether RNA types take turns in the sample of held-out clusters, or all clusters are
        equally likely, so that types are as frequent as they are in the corpus.
    window : int
        Longer RNAs are cropped; at most what the models were trained on.
    ratio : float
        Part of the nucleotides hidden at once.
    single_rnas, single_positions : int
        RNAs, and positions of each, for the pseudo-perplexity.
    baseline_tokens : int
        Nucleotides of the training sequences that the network of ten neighbours sees.
    type_rnas : int
        RNAs that the regression of types is fitted on.
    fitted_pairs, pair_rnas, pair_family, pair_longest : int
        RNAs with known structure to fit on; to test on, in all and of a family; and their length.
    family_rnas, family_members : int
        RNAs whose embeddings are compared, in all and of a family.
    seed, resamples : int
        Of draws, masks and bootstraps.
    """

    rnas: int = 1500
    turns: str = "type"
    window: int = 510
    ratio: float = 0.15
    single_rnas: int = 100
    single_positions: int = 24
    baseline_tokens: int = 3_000_000
    type_rnas: int = 5000
    fitted_pairs: int = 20
    pair_rnas: int = 150
    pair_family: int = 2
    pair_longest: int = 200
    family_rnas: int = 600
    family_members: int = 12
    seed: int = 0
    resamples: int = 1000
