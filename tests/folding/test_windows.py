"""Long RNAs in windows: against the whole RNA, against a plain loop, and with constraints."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from stemloop.errors import InputError, UsageError
from stemloop.folding import decode
from stemloop.folding.conditions import Ensemble, FoldOptions
from stemloop.folding.crf import ThermodynamicCRF
from stemloop.folding.reactivity import Reactivity
from stemloop.folding.windows import WindowedModel, longest_span, starts
from stemloop.records import SequenceRecord, Structure
from stemloop.tasks.structure import Folder, FoldSettings, fold, fold_stream
from stemloop.tasks.structure_jobs import Job

PLAIN = ThermodynamicCRF()


def rna(length: int, seed: int = 0) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGU"), length))


@dataclass
class Recorder:
    """Stands in for a model: notes what it is asked, answers with numbers of its own."""

    calls: list[tuple[str, int, str | None, list[float] | None]] = field(default_factory=list)

    def ensemble(self, sequence, options=FoldOptions(), constraint=None, reactivity=None):
        values = None if reactivity is None else reactivity.values.tolist()
        self.calls.append((sequence, options.max_span, constraint, values))
        matrix = np.random.default_rng(len(self.calls)).random((len(sequence),) * 2)
        reach = np.triu(np.ones_like(matrix), 4) - np.triu(np.ones_like(matrix), options.max_span)
        return Ensemble(matrix * reach / len(sequence), -1.0)


@pytest.mark.parametrize(("length", "window"), [(240, 100), (101, 100), (233, 80), (400, 160)])
def test_every_pair_lies_well_inside_a_window(length: int, window: int) -> None:
    places = starts(length, window)
    assert places[0] == 0
    assert places[-1] == length - window
    for i in range(length):
        for j in range(i, min(length, i + longest_span(window))):
            room = [
                min(
                    i - a if a else window,
                    a + window - 1 - j if a + window < length else window,
                )
                for a in places
                if a <= i and j < a + window
            ]
            assert max(room) >= window // 8 - 1


def test_one_window_is_the_whole_rna() -> None:
    sequence = rna(120)
    mine = WindowedModel(PLAIN, 200).ensemble(sequence)
    whole = PLAIN.ensemble(sequence, FoldOptions(max_span=100))
    np.testing.assert_allclose(mine.pair_probability, whole.pair_probability, atol=1e-12)
    assert np.isnan(mine.free_energy)


def test_against_a_plain_loop() -> None:
    """Weighted means, one pair after the other, from the same answers of the model."""
    sequence, window = rna(150), 80
    recorder = Recorder()
    mine = WindowedModel(recorder, window).ensemble(sequence).pair_probability
    again = Recorder()
    answers = [
        (a, again.ensemble(sequence[a : a + window], FoldOptions(max_span=40)).pair_probability)
        for a in starts(150, window)
    ]
    expected = np.zeros((150, 150))
    for i in range(150):
        for j in range(i, 150):
            weights, values = [], []
            for a, p in answers:
                if a <= i and j < a + window:
                    left = i - a + 1 if a > 0 else window
                    right = a + window - j if a + window < 150 else window
                    weights.append(min(left, right))
                    values.append(p[i - a, j - a])
            if weights and j - i < 40:
                expected[i, j] = np.average(values, weights=weights)
    paired = expected.sum(0) + expected.sum(1)
    for i in range(150):
        for j in range(i, 150):
            expected[i, j] /= max(1.0, paired[i], paired[j])
    assert paired.max() > 0.2
    np.testing.assert_allclose(mine, expected, atol=1e-12)


def test_bases_whose_windows_disagree_keep_a_probability() -> None:
    class Sure:
        """Each window pairs its first bases with certainty, so neighbours contradict it."""

        def ensemble(self, sequence, options=FoldOptions(), constraint=None, reactivity=None):
            p = np.zeros((len(sequence),) * 2)
            for i in range(15):
                p[i, 39 - i] = 1.0
            return Ensemble(p, 0.0)

    ensemble = WindowedModel(Sure(), 80).ensemble("A" * 300)
    assert ensemble.unpaired_probability.min() >= -1e-12
    assert ensemble.pair_probability.max() > 0.3


def test_a_short_limit_against_the_whole_rna() -> None:
    """Domains that cutting leaves alone come out as in the whole RNA."""
    hairpins = ["GGGACGCGAAAGCGUCCC", "GCAGCUCGUUCGCGAGCUGC", "GACCGUGGAAACACGGUC"]
    sequence = "AAAAAAAAAAAA".join(hairpins * 5)
    mine = WindowedModel(PLAIN, 100).ensemble(sequence)
    whole = PLAIN.ensemble(sequence, FoldOptions(max_span=50))
    np.testing.assert_allclose(mine.pair_probability, whole.pair_probability, atol=0.02)
    a, b = (decode.maximum_expected_accuracy(e.pair_probability) for e in (mine, whole))
    np.testing.assert_array_equal(a, b)
    assert len(a) == 5 * (7 + 8 + 7)


def test_windows_are_nearer_to_the_whole_rna_the_longer_they_are() -> None:
    differences = []
    for window in (80, 320):
        difference = 0.0
        for seed in range(4):
            sequence = rna(400, seed)
            mine = WindowedModel(PLAIN, window).ensemble(sequence, FoldOptions(max_span=40))
            whole = PLAIN.ensemble(sequence, FoldOptions(max_span=40))
            assert not np.triu(mine.pair_probability, 40).any()
            change = mine.unpaired_probability - whole.unpaired_probability
            difference += float(np.abs(change).mean()) / 4
        differences.append(difference)
    assert differences[1] < 0.4 * differences[0]
    assert differences[1] < 0.03


def test_constraints_and_reactivities_are_cut_too() -> None:
    sequence = rna(150)
    signs = ["."] * 150
    signs[30], signs[60], signs[70], signs[100] = "(", ")", "x", "|"
    values = np.arange(150.0)
    recorder = Recorder()
    WindowedModel(recorder, 80).ensemble(
        sequence, constraint="".join(signs), reactivity=Reactivity(values)
    )
    places = starts(150, 80)
    assert places == [0, 20, 40, 60, 70]
    for start, (part, span, constraint, reactivities) in zip(places, recorder.calls, strict=True):
        assert part == sequence[start : start + 80]
        assert span == 40
        assert reactivities == values[start : start + 80].tolist()
        assert constraint is not None
        # The partners stay together or, apart, unpaired.
        if start <= 30:
            assert (constraint[30 - start], constraint[60 - start]) == ("(", ")")
        elif start <= 60:
            assert constraint[60 - start] == "x"
        if start <= 70:
            assert constraint[70 - start] == "x"
        if 20 < start <= 90:
            assert constraint[100 - start] == "|"
    # Position 100 is the last of the second window: its partner may lie beyond.
    assert recorder.calls[1][2][79] == "."


def test_constraints_hold() -> None:
    sequence = rna(300)
    i = sequence.index("G", 100)
    j = sequence.index("C", i + 20)
    signs = ["."] * 300
    signs[i], signs[j], signs[200] = "(", ")", "x"
    options = {"model": "turner2004", "window": 100, "probabilities": True}
    (result,) = fold(sequence, constraint="".join(signs), **options)
    assert result.arrays["pair_probability"][i, j] > 0.99
    assert [i, j] in result.structure.pairs.tolist()
    assert 200 not in result.structure.pairs
    signs = ["."] * 300
    signs[10], signs[100] = "()"
    with pytest.raises(InputError, match=r"positions 11 and 101 \(expected a span of at most 50"):
        fold(sequence, constraint="".join(signs), **options)
    with pytest.raises(InputError, match="closes a bracket at position 1"):
        fold(sequence, constraint=")" + "." * 299, **options)


def test_which_rnas_are_cut() -> None:
    assert [FoldSettings().window_for(n) for n in (76, 3000, 3001, 10000)] == [0, 0, 1000, 1000]
    assert [FoldSettings(window=0).window_for(n) for n in (76, 10000)] == [0, 0]
    assert [FoldSettings(window=200).window_for(n) for n in (200, 201)] == [0, 200]
    for length in (79, -1):
        with pytest.raises(UsageError, match="80 nucleotides or more"):
            FoldSettings(window=length)


@pytest.mark.parametrize("decoder", ["mea", "centroid", "greedy", "matching", "hybrid"])
def test_every_decoder_but_one_takes_windows(decoder: str) -> None:
    settings = FoldSettings(model="turner2004", decoder=decoder, window=100)  # type: ignore[arg-type]
    short, long = fold_stream(
        [Job(SequenceRecord("short", rna(100))), Job(SequenceRecord("long", rna(250)))], settings
    )
    assert "window" not in short.values
    assert (long.values["window"], long.values["longest_span"]) == (100, 50)
    assert np.isnan(long.values["ensemble_energy"])
    pairs = long.structure.pairs
    assert len(pairs) > 20
    assert (pairs[:, 1] - pairs[:, 0]).max() < 50
    assert ((long.arrays["confidence"] >= 0) & (long.arrays["confidence"] <= 1)).all()


def test_short_rnas_are_folded_as_before() -> None:
    record = SequenceRecord("x", rna(120))
    results = [Folder(FoldSettings(window=w))(record) for w in (None, 0, 120)]
    for other in results[1:]:
        assert other.values == results[0].values
        assert other.structure == results[0].structure
        np.testing.assert_array_equal(other.arrays["confidence"], results[0].arrays["confidence"])


def test_known_structures_are_evaluated_in_windows() -> None:
    sequence = rna(220)
    predicted = fold(sequence, model="turner2004", window=100)[0]
    known = Structure(SequenceRecord("k", sequence), predicted.structure.pairs)
    settings = FoldSettings(model="turner2004", window=100)
    (result,) = fold_stream([Job(known.record, known=known)], settings)
    assert result.values["window"] == 100
    assert result.values["energy"] == predicted.values["energy"]
    np.testing.assert_array_equal(result.arrays["confidence"], predicted.arrays["confidence"])


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"circular": True}, "a circle"),
        ({"samples": 2}, "samples"),
        ({"decoder": "mfe"}, "the mfe decoder"),
    ],
)
def test_what_windows_do_not_go_with(options: dict[str, object], what: str) -> None:
    with pytest.raises(UsageError, match=f"'sequence1' of 110 .* do not go with {what}"):
        fold(rna(110), model="turner2004", window=100, **options)  # type: ignore[arg-type]
    assert fold(rna(110), model="turner2004", window=0, **options)  # type: ignore[arg-type]


def test_two_strands_are_not_cut() -> None:
    with pytest.raises(UsageError, match="do not go with two strands"):
        fold(f"{rna(60)}&{rna(60, 1)}", model="turner2004", window=100)
