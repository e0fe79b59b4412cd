"""Folding as a task: what comes out, in which order, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import RNA
import torch

import stemloop
from stemloop.errors import AlphabetError, FormatError, InputError, UsageError, WeightsError
from stemloop.folding.crf import save_crf
from stemloop.models.foldnet import FoldNet, FoldNetConfig
from stemloop.records import SequenceRecord
from stemloop.tasks.structure import Folder, FoldSettings, fold, fold_stream
from stemloop.tasks.structure_jobs import read_jobs

PLAIN = FoldSettings(model="turner2004")
HAIRPIN = "GGGGAAAACCCC"


def random_rnas(number: int, low: int = 8, high: int = 70) -> list[SequenceRecord]:
    rng = np.random.default_rng(0)
    return [
        SequenceRecord(f"r{k}", "".join(rng.choice(list("ACGU"), n)), index=k)
        for k, n in enumerate(rng.integers(low, high, number))
    ]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a small model that is not plain ViennaRNA."""
    torch.manual_seed(0)
    net = FoldNet(FoldNetConfig(channels=4, hidden=8))
    with torch.no_grad():
        net.pair_out.weight.normal_(0, 0.5)
        net.base_out.weight.normal_(0, 0.5)
    folder = tmp_path_factory.mktemp("models") / "small"
    save_crf(folder, net, {})
    return str(folder)


def test_trna_folds_into_its_cloverleaf(trna_phe: tuple[str, str]) -> None:
    """By the weights that ship with the package, with nothing else said."""
    sequence, cloverleaf = trna_phe
    (result,) = fold(sequence)
    assert result.structure is not None
    assert result.structure.dot_bracket == cloverleaf


def test_a_result_is_complete(trna_phe: tuple[str, str], model: str) -> None:
    (result,) = fold(trna_phe[0], model=model, probabilities=True)
    structure = result.structure
    assert structure is not None
    energy = RNA.fold_compound(trna_phe[0]).eval_structure(structure.dot_bracket)
    assert result.values["energy"] == structure.energy == pytest.approx(energy, abs=1e-4)
    p = result.arrays["pair_probability"]
    assert p.shape == (76, 76)
    assert not np.tril(p).any()
    assert p.sum(0).max() <= 1 + 1e-9
    assert (p + p.T).sum(0).max() <= 1 + 1e-6
    confidence = result.arrays["confidence"]
    expected = 1 - (p + p.T).sum(0)
    for i, j in structure.pairs:
        expected[i] = expected[j] = p[i, j]
    np.testing.assert_allclose(confidence, expected.clip(0, 1), atol=1e-12)
    assert "pair_probability" not in fold(HAIRPIN, model=model)[0].arrays


def test_plain_mfe_is_rnafold() -> None:
    for record in random_rnas(10):
        result = Folder(FoldSettings(model="turner2004", decoder="mfe"))(record)
        structure, energy = RNA.fold(record.sequence)
        assert result.structure is not None
        assert result.structure.dot_bracket == structure
        assert result.structure.energy == pytest.approx(energy, abs=1e-3)


def test_plain_centroid_is_rnafolds() -> None:
    for record in random_rnas(10):
        (result,) = fold(record, model="turner2004", decoder="centroid", gamma=1.0)
        compound = RNA.fold_compound(record.sequence)
        compound.pf()
        assert result.structure is not None
        assert result.structure.dot_bracket == compound.centroid()[0]


def test_ensemble_energy_is_below_every_structure() -> None:
    for record in random_rnas(5):
        result = Folder(FoldSettings(model="turner2004", decoder="mfe"))(record)
        assert float(result.values["ensemble_energy"]) <= float(result.values["energy"]) + 1e-4


def comparable(results: list[stemloop.Result]) -> list[object]:
    return [
        (
            r.record,
            r.structure.dot_bracket if r.structure else None,
            dict(r.values),
            r.arrays["confidence"].tobytes(),
            r.arrays["pair_probability"].tobytes(),
        )
        for r in results
    ]


def test_processes_change_nothing(model: str) -> None:
    records = random_rnas(20)
    one, two = (
        fold(records, model=model, average=["andronescu2007"], probabilities=True, processes=n)
        for n in (1, 2)
    )
    assert [r.record for r in one] == records
    assert comparable(one) == comparable(two)


def test_neighbours_change_nothing(model: str) -> None:
    """Parameter sets are global to ViennaRNA: folding with others in between must not matter."""
    records = random_rnas(4)
    alone = fold(records[2], model=model, probabilities=True)
    fold(records, model="langdon2018")
    fold(records, model="turner1999", temperature=20.0)
    among = fold(records, model=model, probabilities=True)
    assert comparable(alone) == comparable(among[2:3])


def test_the_stream_is_lazy() -> None:
    asked: list[int] = []

    def endless() -> Iterator[tuple[SequenceRecord, None]]:
        while True:
            asked.append(1)
            yield SequenceRecord("x", HAIRPIN), None

    stream = fold_stream(endless(), PLAIN)
    assert next(stream).record.id == "x"
    assert len(asked) == 1


@pytest.mark.parametrize("letters", [HAIRPIN.lower(), "ggggTTTTcccc"])
def test_spelling(letters: str) -> None:
    (result,) = fold(letters, model="turner2004")
    assert result.record.sequence == letters.upper().replace("T", "U")
    assert result.structure is not None
    assert result.structure.dot_bracket == "((((....))))"


@pytest.mark.parametrize("sequence", ["A", "GC", "GGGNNNNCCC", "RYKMSWBDHVNI", "GGG-AAA-CCC"])
def test_unusual_sequences_fold(sequence: str, model: str) -> None:
    for name in ("turner2004", model):
        (result,) = fold(sequence, model=name)
        assert result.structure is not None
        assert len(result.structure.dot_bracket) == len(sequence)
        assert np.isfinite(float(result.values["ensemble_energy"]))


def test_inputs_of_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_text(f">x first\n{HAIRPIN}\n>x second\n{HAIRPIN}\n")
    from_file = fold(path, model="turner2004")
    assert [r.record.description for r in from_file] == ["first", "second"]
    assert [r.record.index for r in from_file] == [0, 1]
    mixed = fold([HAIRPIN, SequenceRecord("own", HAIRPIN)], model="turner2004")
    assert [r.record.id for r in mixed] == ["sequence1", "own"]
    assert stemloop.fold(HAIRPIN, model="turner2004")[0].record.id == "sequence1"
    assert fold([], model="turner2004") == []


# Settings -------------------------------------------------------------------------------------


def test_temperature() -> None:
    cold, warm, hot = (fold(HAIRPIN, model="turner2004", temperature=t)[0] for t in (10, 37, 90))
    assert cold.structure is not None
    assert warm.structure is not None
    assert hot.structure is not None
    assert cold.structure.energy < warm.structure.energy < 0  # type: ignore[operator]
    assert len(hot.structure.pairs) == 0


def test_gamma_and_decoders(trna_phe: tuple[str, str]) -> None:
    def pairs(**options: object) -> int:
        (result,) = fold(trna_phe[0], model="turner2004", **options)  # type: ignore[arg-type]
        assert result.structure is not None
        return len(result.structure.pairs)

    for decoder in ("mea", "centroid"):
        assert pairs(decoder=decoder, gamma=0.01) < pairs(decoder=decoder, gamma=8.0)
    assert pairs(decoder="centroid") == pairs(decoder="centroid", gamma=1.5)
    assert pairs(decoder="mea") == pairs(decoder="mea", gamma=1.0)


def test_average_changes_the_probabilities(trna_phe: tuple[str, str]) -> None:
    (plain,) = fold(trna_phe[0], model="turner2004", probabilities=True)
    (other,) = fold(trna_phe[0], model="andronescu2007", probabilities=True)
    (mean,) = fold(trna_phe[0], model="turner2004", average=["andronescu2007"], probabilities=True)
    parts = [r.arrays["pair_probability"] for r in (plain, other)]
    np.testing.assert_allclose(mean.arrays["pair_probability"], sum(parts) / 2, atol=1e-12)
    assert np.abs(parts[0] - parts[1]).max() > 0.01


def test_longest_span(trna_phe: tuple[str, str]) -> None:
    (result,) = fold(trna_phe[0], model="turner2004", max_span=25)
    assert result.structure is not None
    spans = result.structure.pairs[:, 1] - result.structure.pairs[:, 0] + 1
    assert 10 < spans.max() <= 25
    (whole,) = fold(trna_phe[0], model="turner2004", decoder="mfe")
    assert whole.structure is not None
    assert (whole.structure.pairs[:, 1] - whole.structure.pairs[:, 0] + 1).max() > 25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder": "best"}, "unknown decoder 'best'; known: mea, centroid, mfe"),
        ({"gamma": 0.0}, "gamma must be positive"),
        ({"gamma": float("nan")}, "gamma must be positive"),
        ({"gamma": float("inf")}, "gamma must be positive and finite"),
        ({"decoder": "mfe", "gamma": 1.0}, "mfe decoder knows no gamma"),
        ({"decoder": "mfe", "average": ["turner1999"]}, "averages no parameter sets"),
        ({"average": ["turner2005"]}, "unknown parameter set 'turner2005'; known: turner2004"),
        ({"temperature": 400.0}, "400.0 degrees Celsius makes no sense"),
        ({"temperature": float("nan")}, "makes no sense"),
        ({"max_span": -1}, "cannot be negative"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fold(HAIRPIN, **({"model": "turner2004"} | options))  # type: ignore[arg-type]


@pytest.mark.parametrize("processes", [1, 2])
def test_models_that_are_none(tmp_path: Path, processes: int) -> None:
    with pytest.raises(WeightsError, match="no bundled weights 'turner2005'"):
        fold(HAIRPIN, model="turner2005", processes=processes)
    with pytest.raises(WeightsError, match="is no folding model"):
        fold(HAIRPIN, model=str(tmp_path), processes=processes)


# Input ----------------------------------------------------------------------------------------


def test_an_empty_sequence_is_named() -> None:
    with pytest.raises(InputError, match="record 'x': no nucleotides"):
        fold(SequenceRecord("x", ""), model="turner2004")
    with pytest.raises(InputError, match="record 'sequence1': no nucleotides"):
        fold("", model="turner2004")


def test_a_protein_is_named() -> None:
    with pytest.raises(AlphabetError, match="record 'sequence2'"):
        fold([HAIRPIN, "MKTAYIAKQRQISFVKSHFSRQ"], model="turner2004")


def test_constraints_hold() -> None:
    sequence = "GGGGAAAACCCCAAAAGGGG"
    free = fold(sequence, model="turner2004")[0].structure
    forced = fold(sequence, constraint="........((((....))))", model="turner2004")[0].structure
    assert free is not None
    assert forced is not None
    assert free.dot_bracket == "((((....))))........"
    assert forced.dot_bracket == "........((((....))))"
    for decoder in ("mea", "centroid", "mfe"):
        held = fold(sequence, constraint="xxxx" + "." * 16, decoder=decoder, model="turner2004")
        assert held[0].structure is not None
        assert held[0].structure.dot_bracket == "........((((....))))"


def test_constraint_characters() -> None:
    """The middle arm can pair with either neighbour; each character decides it its way."""
    sequence = "GGGGAAAACCCCAAAAGGGG"

    def folded(middle: str) -> str:
        constraint = "." * 8 + middle + "." * 8
        (result,) = fold(sequence, constraint=constraint, model="turner2004")
        assert result.structure is not None
        return result.structure.dot_bracket

    assert folded("<<<<") == "........((((....))))"
    assert folded(">>>>") == "((((....))))........"
    assert folded("xxxx") == "." * 20
    assert folded("||||").count(".") == 12


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ("...", "constraint of 3 characters for 12 nucleotides"),
        ("((((....))).", "leaves 1 bracket"),
        ("?...........", "unknown character '\\?' at position 1"),
    ],
)
def test_constraints_that_do_not_fit_name_the_record(constraint: str, message: str) -> None:
    with pytest.raises(InputError, match=f"record 'own'.*{message}"):
        fold(SequenceRecord("own", HAIRPIN), constraint=constraint, model="turner2004")


def test_one_constraint_for_one_sequence() -> None:
    with pytest.raises(UsageError, match="one constraint for 2 sequences"):
        fold([HAIRPIN, HAIRPIN], constraint="." * 12, model="turner2004")


def jobs(tmp_path: Path, text: str) -> list[tuple[str, str | None]]:
    path = tmp_path / "a.fa"
    path.write_text(text)
    return [(job.record.sequence, job.constraint) for job in read_jobs(path, constraints=True)]


def test_constraint_lines(tmp_path: Path) -> None:
    text = (
        ">a\nggggAAAATTTT\n((((....))))\n"
        ">b\nGGGG\nAAAA\nCCCC\n<<<<xx\n..>>>>\n"  # wrapped
        ">c\nGGG--AAAC\nx|.......\n"
    )
    assert jobs(tmp_path, text) == [
        ("GGGGAAAAUUUU", "((((....))))"),
        ("GGGGAAAACCCC", "<<<<xx..>>>>"),
        ("GGG--AAAC", "x|......."),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (">a\nGGGAAACCC\n>b\nACGU\n....\n", "record 'a': constraint of 0 characters for 9"),
        (">b\nACGU\n....\n>a\nGGGAAACCC\n((..))\n", "record 'a': constraint of 6 characters for 9"),
        (">a\nGGGAAACCC\n(((...)))GGG\n", "record 'a'"),
        (">a\nMKTAYQ\n......\n", "record 'a'.*protein|record 'a'.*no nucleotide code"),
        ("", "no records"),
    ],
)
def test_constraint_lines_that_do_not_fit(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        jobs(tmp_path, text)
    assert caught.value.path == str(tmp_path / "a.fa")


def test_without_the_option_a_constraint_line_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_text(">a\nGGGAAACCC\n(((...)))\n")
    with pytest.raises((AlphabetError, FormatError), match="record 'a'"):
        list(read_jobs(path))
