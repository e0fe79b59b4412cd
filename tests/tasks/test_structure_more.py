"""Folding beyond one structure of one strand: samples, known structures, duplexes, pair heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import RNA
import torch

import stemloop
from stemloop.alphabet import RINALMO
from stemloop.errors import AlphabetError, InputError, UsageError
from stemloop.folding.pair_head import PairHeadModel, save_pair_head
from stemloop.folding.reactivity import Reactivity, ReactivityTable
from stemloop.models.pair_head import PairHead
from stemloop.models.presets import EncoderConfig
from stemloop.models.rinalmo import RiNALMo
from stemloop.records import SequenceRecord, Structure
from stemloop.tasks.structure import Folder, FoldSettings, fold, fold_stream
from stemloop.tasks.structure_jobs import Job, read_jobs

HAIRPIN = "GGGGAAAACCCC"
PLAIN = FoldSettings(model="turner2004")


def test_samples(trna_phe: tuple[str, str]) -> None:
    (result,) = fold(trna_phe[0], model="turner2004", samples=30, seed=5)
    texts, energies = result.arrays["samples"], result.arrays["sample_energy"]
    assert texts.shape == energies.shape == (30,)
    compound = RNA.fold_compound(trna_phe[0])
    for text, energy in zip(texts, energies, strict=True):
        assert compound.eval_structure(str(text)) == pytest.approx(energy, abs=1e-4)
    assert len(set(texts)) > 1
    (plain,) = fold(trna_phe[0], model="turner2004")
    assert "samples" not in plain.arrays
    assert plain.structure == result.structure


def test_samples_depend_on_nothing_else() -> None:
    rng = np.random.default_rng(0)
    rnas = ["".join(rng.choice(list("ACGU"), 40)) for _ in range(4)]
    options = {"model": "turner2004", "average": ["turner1999"], "samples": 5, "seed": 3}

    def drawn(sequences: list[str], **more: int) -> list[list[str]]:
        results = fold(sequences, **options, **more)  # type: ignore[arg-type]
        return [r.arrays["samples"].tolist() for r in results]

    together = drawn(rnas)
    assert drawn(rnas, processes=2) == together
    assert drawn(rnas[::-1]) == together[::-1]
    assert drawn(rnas[2:3]) == together[2:3]


def test_defect_is_the_expected_share_of_wrong_bases(trna_phe: tuple[str, str]) -> None:
    (result,) = fold(trna_phe[0], model="turner2004")
    compound = RNA.fold_compound(trna_phe[0])
    compound.pf()
    assert result.structure is not None
    expected = compound.ensemble_defect(result.structure.dot_bracket)
    assert result.values["ensemble_defect"] == pytest.approx(expected, abs=1e-4)


def test_known_structures_are_evaluated(trna_phe: tuple[str, str]) -> None:
    sequence, cloverleaf = trna_phe
    known = Structure.from_dot_bracket(SequenceRecord("t", sequence), cloverleaf)
    (result,) = fold_stream([Job(known.record, known=known)], PLAIN)
    assert result.structure is not None
    np.testing.assert_array_equal(result.structure.pairs, known.pairs)
    compound = RNA.fold_compound(sequence)
    assert result.values["energy"] == pytest.approx(compound.eval_structure(cloverleaf), abs=1e-4)
    compound.pf()
    defect = compound.ensemble_defect(cloverleaf)
    assert result.values["ensemble_defect"] == pytest.approx(defect, abs=1e-4)


def test_energy_of_pseudoknots_is_that_of_the_round_brackets() -> None:
    record = SequenceRecord("k", "GGGGAAACCAACCCCAAAGG")
    known = Structure.from_dot_bracket(record, "((((...[[..))))...]]")
    nested = Structure.from_dot_bracket(record, "((((.......)))).....")
    energies = [Folder(PLAIN).evaluate(s).values["energy"] for s in (known, nested)]
    assert energies[0] == energies[1]


def test_a_forbidden_structure_has_no_energy() -> None:
    known = Structure.from_dot_bracket(SequenceRecord("x", "GGGGCCCC"), "(((())))")
    result = Folder(PLAIN).evaluate(known)
    assert result.values["energy"] == float("inf")
    assert result.structure is not None
    assert result.structure.energy is None


def test_reactivities_change_the_fold() -> None:
    sequence = "GGGGAAAACCCCAAAAGGGG"
    values = np.zeros(20)
    values[:4] = 3.0
    (free,), (probed,) = (
        fold(sequence, model="turner2004", reactivity=reactivity)
        for reactivity in (None, Reactivity(values))
    )
    assert free.structure is not None
    assert probed.structure is not None
    assert free.structure.dot_bracket == "((((....))))........"
    assert probed.structure.dot_bracket == "........((((....))))"
    with pytest.raises(UsageError, match="one set of reactivities for 2 sequences"):
        fold([HAIRPIN, HAIRPIN], reactivity=Reactivity(np.zeros(12)))
    with pytest.raises(InputError, match="record 'sequence1': 3 reactivities for 12"):
        fold(HAIRPIN, model="turner2004", reactivity=Reactivity(np.zeros(3)))


def test_a_circle() -> None:
    (line,), (circle,) = (
        fold("AACCCCAAAAGGGGAA", model="turner2004", circular=circular)
        for circular in (False, True)
    )
    details = RNA.md()
    details.circ = 1
    compound = RNA.fold_compound("AACCCCAAAAGGGGAA", details)
    assert circle.structure is not None
    energy = compound.eval_structure(circle.structure.dot_bracket)
    assert circle.structure.energy == pytest.approx(energy, abs=1e-4)
    assert circle.values["ensemble_energy"] == pytest.approx(compound.pf()[1], abs=1e-3)
    assert line.values["ensemble_energy"] != circle.values["ensemble_energy"]


# Two strands ----------------------------------------------------------------------------------


def test_a_duplex() -> None:
    (result,) = stemloop.fold("ggggaa&ttcccc", probabilities=True, constraint="......&xx....")
    assert result.record.sequence == "GGGGAAUUCCCC"
    assert result.values["cut"] == 6
    assert result.structure is not None
    assert result.structure.dot_bracket == "((((....))))"
    compound = RNA.fold_compound("GGGGAA&UUCCCC")
    energy = compound.eval_structure("((((....))))")
    assert result.structure.energy == pytest.approx(energy, abs=1e-4)
    assert float(result.values["binding_energy"]) < -3
    assert result.arrays["pair_probability"].shape == (12, 12)
    assert result.arrays["confidence"].shape == (12,)


def test_the_duplex_of_lowest_energy_is_rnacofolds() -> None:
    rng = np.random.default_rng(2)
    for _ in range(5):
        strands = ["".join(rng.choice(list("ACGU"), 14)) for _ in range(2)]
        (result,) = fold("&".join(strands), model="turner2004", decoder="mfe")
        structure, energy = RNA.fold_compound("&".join(strands)).mfe_dimer()
        assert result.structure is not None
        assert result.structure.dot_bracket == structure.replace("&", "")
        assert result.structure.energy == pytest.approx(energy, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"samples": 3}, "no samples"),
        ({"circular": True}, "no circle"),
        ({"max_span": 10}, "no longest span"),
        ({"reactivity": Reactivity(np.zeros(8))}, "no reactivities"),
        ({"decoder": "hybrid"}, "hybrid decoder does not go with two strands"),
    ],
)
def test_what_two_strands_do_not_go_with(options: dict[str, object], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        fold("GGGG&CCCC", model="turner2004", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["&GGGG", "GGGG&", "GG&GG&GG"])
def test_strands_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="record 'x'"):
        Folder(PLAIN)(SequenceRecord("x", text))


def test_files_of_duplexes(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_text(">a\nggga&tccc\n>b\nGGGAAACCC\n")
    assert [job.record.sequence for job in read_jobs(path, duplexes=True)] == [
        "GGGA&UCCC",
        "GGGAAACCC",
    ]
    with pytest.raises(AlphabetError, match="a.fa:2: record 'a'.*--duplex"):
        list(read_jobs(path))
    path.write_text(">a\nGGGA&UCCC\n((..&..))\n")
    assert [job.constraint for job in read_jobs(path, duplexes=True, constraints=True)] == [
        "((..&..))"
    ]
    with pytest.raises(AlphabetError, match="record 'a'"):
        list(read_jobs(path, constraints=True))


def test_jobs_with_reactivities_and_structures(tmp_path: Path) -> None:
    (tmp_path / "a.shape").write_text(">x\n1 0.5\n>y\n2 0.25\n")
    (tmp_path / "a.dbn").write_text(">x\nGGGAAACCC\n(((...)))\n>y\nGGGAAACCC\n.((...)).\n")
    shapes = ReactivityTable(tmp_path / "a.shape")
    jobs = list(read_jobs(tmp_path / "a.dbn", known=True, reactivities=shapes))
    assert [job.known.dot_bracket for job in jobs if job.known] == ["(((...)))", ".((...))."]
    assert [float(job.reactivity.values[k]) for k, job in enumerate(jobs) if job.reactivity] == [
        0.5,
        0.25,
    ]


# A model with a pair head ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair_head(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    config = EncoderConfig(vocab_size=22, hidden=32, layers=1, heads=2, ffn_inner=64)
    model = PairHeadModel(RiNALMo(config).eval(), RINALMO, PairHead(32).eval(), 0.1)
    return str(save_pair_head(tmp_path_factory.mktemp("head") / "model", model))


def test_a_pair_head_folds_greedily_above_its_threshold(
    pair_head: str, trna_phe: tuple[str, str]
) -> None:
    (own,), (same,), (other,) = (
        fold(trna_phe[0], model=pair_head, **more)  # type: ignore[arg-type]
        for more in ({}, {"decoder": "greedy", "threshold": 0.1}, {"threshold": 0.9})
    )
    assert own.structure is not None
    assert other.structure is not None
    assert own.structure == same.structure
    assert len(own.structure.pairs) > len(other.structure.pairs)
    assert np.isnan(float(own.values["ensemble_energy"]))
    assert own.arrays["confidence"].min() >= 0
    (matched,) = fold(trna_phe[0], model=pair_head, decoder="matching")
    assert matched.structure is not None


@pytest.mark.parametrize(
    "options",
    [
        {"decoder": "mfe"},
        {"decoder": "hybrid"},
        {"samples": 3},
        {"circular": True},
        {"average": ["turner1999"]},
        {"reactivity": Reactivity(np.zeros(12))},
    ],
)
def test_what_a_pair_head_has_not(pair_head: str, options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="pair head"):
        fold(HAIRPIN, model=pair_head, **options)  # type: ignore[arg-type]


# Settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.5}, "mea decoder knows no threshold"),
        ({"decoder": "greedy", "threshold": 2.0}, "no probability"),
        ({"samples": -1}, "can be negative"),
        ({"samples": 1, "seed": -1}, "can be negative"),
        ({"samples": 1, "circular": True}, "circular RNAs cannot be sampled"),
        ({"max_span": 30, "circular": True}, "circular RNA has no longest span"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fold(HAIRPIN, **({"model": "turner2004"} | options))  # type: ignore[arg-type]
