"""The interface of the decoders: names, parameters, two strands."""

from __future__ import annotations

import numpy as np
import pytest
import RNA

from stemloop.errors import UsageError
from stemloop.folding import decode, thermo
from stemloop.folding.crf import ThermodynamicCRF
from stemloop.folding.decoders import NAMES, Decoder, fold_and_decode
from stemloop.pairs import dot_bracket_to_pairs, is_nested

HAIRPIN = "GGGGAAAACCCC"


@pytest.mark.parametrize("name", NAMES)
def test_every_decoder_finds_a_hairpin(name) -> None:
    pairs, ensemble = fold_and_decode(ThermodynamicCRF(), HAIRPIN, Decoder(name))
    assert pairs.tolist() == dot_bracket_to_pairs("((((....))))").tolist()
    assert ensemble.pair_probability.shape == (12, 12)


def test_names_lead_to_their_rules(trna_phe: tuple[str, str]) -> None:
    sequence = trna_phe[0]
    model = ThermodynamicCRF()
    p = model.ensemble(sequence).pair_probability
    expected = {
        Decoder("mea"): decode.maximum_expected_accuracy(p, 1.0),
        Decoder("mea", gamma=4.0): decode.maximum_expected_accuracy(p, 4.0),
        Decoder("centroid"): decode.gamma_centroid(p, 1.5),
        Decoder("greedy"): decode.greedy(p, 0.4),
        Decoder("greedy", threshold=0.1): decode.greedy(p, 0.1),
        Decoder("mfe"): dot_bracket_to_pairs(RNA.fold(sequence)[0]),
    }
    for decoder, pairs in expected.items():
        found, _ = fold_and_decode(model, sequence, decoder)
        np.testing.assert_array_equal(found, pairs, err_msg=str(decoder))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "best"}, "unknown decoder 'best'; known: mea, centroid, mfe, greedy"),
        ({"name": "greedy", "gamma": 1.0}, "greedy decoder knows no gamma"),
        ({"name": "mfe", "gamma": 1.0}, "mfe decoder knows no gamma"),
        ({"name": "mea", "threshold": 0.5}, "mea decoder knows no threshold"),
        ({"name": "matching", "gamma": -1.0}, "gamma must be positive"),
        ({"name": "greedy", "threshold": 1.0}, "1.0 is no probability"),
        ({"name": "hybrid", "threshold": float("nan")}, "nan is no probability"),
    ],
)
def test_parameters_that_make_no_sense(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Decoder(**options)  # type: ignore[arg-type]


# Two strands --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if name != "hybrid"])
def test_strands_pair_right_up_to_the_cut(name) -> None:
    pairs, _ = fold_and_decode(ThermodynamicCRF(), "GGGGCC&GGCCCC", Decoder(name))
    assert pairs.tolist() == [[k, 11 - k] for k in range(6)]


def test_hairpins_within_a_strand_keep_their_three_bases() -> None:
    model = ThermodynamicCRF()
    for sequence in ("GGGAAACCCA&GGCAAAAGCC", "GGCAUGCA&UGCAAAGCAUCC"):
        pairs, _ = fold_and_decode(model, sequence, Decoder("mea", gamma=20.0))
        cut = sequence.index("&")
        assert is_nested(pairs)
        inside = (pairs < cut).all(1) | (pairs >= cut).all(1)
        assert (pairs[inside, 1] - pairs[inside, 0] >= 4).all()
        # What the decoder drew, the energy model allows.
        text = "".join(
            "(" if k in pairs[:, 0] else ")" if k in pairs[:, 1] else "."
            for k in range(len(sequence) - 1)
        )
        assert np.isfinite(thermo.structure_energy(sequence, text))


def test_hybrid_is_for_one_strand() -> None:
    with pytest.raises(UsageError, match="hybrid decoder does not go with two strands"):
        fold_and_decode(ThermodynamicCRF(), "GGGG&CCCC", Decoder("hybrid"))
