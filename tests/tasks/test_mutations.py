"""Scores of substitutions against a plain loop: one hidden nucleotide, one sequence a pass."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from stemloop.draw_heatmap import heatmap
from stemloop.errors import InputError, StructureError, UsageError
from stemloop.models.presets import EncoderConfig
from stemloop.models.rinalmo import RiNALMo
from stemloop.records import SequenceRecord
from stemloop.tasks.mutations import MutationScanner, ScanSettings, scan_mutations, substitutions
from stemloop.weights.store import load, save_model_dir

LETTERS = "ACGU"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    config = EncoderConfig(vocab_size=22, hidden=32, layers=2, heads=2, ffn_inner=64, max_length=34)
    state = RiNALMo(config).state_dict()
    state["lm_mask_head.linear2.weight"] *= 8  # untrained logits are all but equal
    return save_model_dir(tmp_path_factory.mktemp("models") / "tiny", config, state)


def guess(model, sequence: str, hidden: list[int]) -> np.ndarray:
    """Log-probabilities of A, C, G, U at hidden places, one sequence, all logits."""
    tokens = model.alphabet.encode(sequence).astype(np.int64)
    tokens[np.array(hidden) + 1] = model.alphabet.mask_id
    starts = torch.tensor([0, len(tokens)], dtype=torch.int32)
    with torch.inference_mode():
        out = model.encoder(torch.from_numpy(tokens), starts, need_logits=True)
    letters = model.alphabet.encode(LETTERS, special=False).astype(np.int64)
    return out.logits[np.array(hidden) + 1][:, letters].double().log_softmax(1).numpy()


def pll(model, sequence: str, groups: list[list[int]]) -> float:
    total = 0.0
    for group in groups:
        log_p = guess(model, sequence, group)
        total += sum(log_p[k, LETTERS.index(sequence[at])] for k, at in enumerate(group))
    return total


def random_rna(length: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list(LETTERS), length))


def test_masked_scores_are_those_of_a_plain_loop(folder: Path) -> None:
    model, scanner = load(folder), MutationScanner(load(folder))
    for length in (1, 5, 30):
        sequence = random_rna(length, length)
        found = scanner(SequenceRecord("x", sequence))
        for place, letter in enumerate(sequence):
            log_p = guess(model, sequence, [place])[0]
            expected = log_p - log_p[LETTERS.index(letter)]
            np.testing.assert_allclose(found.arrays["score"][place], expected, atol=2e-5)
            assert found.arrays["score"][place, LETTERS.index(letter)] == 0.0


@pytest.mark.parametrize("every", [0, 1, 4])
def test_pseudo_likelihoods_are_those_of_a_plain_loop(folder: Path, every: int) -> None:
    model = load(folder)
    scanner = MutationScanner(model, ScanSettings("pseudo-likelihood", every=every))
    sequence = random_rna(9, 5)
    found = scanner(SequenceRecord("x", sequence))
    step = every or len(sequence)
    groups = [list(range(k, len(sequence), step)) for k in range(step)]
    own = pll(model, sequence, groups)
    assert found.values["log_likelihood"] == pytest.approx(own / len(sequence), abs=1e-5)
    for place in range(len(sequence)):
        for column, letter in enumerate(LETTERS):
            mutant = sequence[:place] + letter + sequence[place + 1 :]
            expected = pll(model, mutant, groups) - own
            assert found.arrays["score"][place, column] == pytest.approx(expected, abs=1e-4)


def test_long_sequences_are_scored_in_the_window_that_keeps_the_place(folder: Path) -> None:
    model = load(folder)
    scanner = MutationScanner(model, ScanSettings(window=12, overlap=4))
    sequence = random_rna(30, 8)
    found = scanner(SequenceRecord("x", sequence)).arrays["score"]
    # Windows at 0, 8, 16 and 18; each place belongs to the one whose edges are farther away.
    for place, start in ((0, 0), (9, 0), (10, 8), (17, 8), (18, 16), (22, 16), (23, 18), (29, 18)):
        piece = sequence[start : start + 12]
        log_p = guess(model, piece, [place - start])[0]
        expected = log_p - log_p[LETTERS.index(sequence[place])]
        np.testing.assert_allclose(found[place], expected, atol=2e-5)


def test_a_sequence_gets_the_same_scores_whatever_else_is_read(folder: Path) -> None:
    records = [SequenceRecord(f"r{k}", random_rna(10 + 7 * k, k), index=k) for k in range(3)]
    together = scan_mutations(records, folder)
    for record, result in zip(records, together, strict=True):
        (alone,) = scan_mutations([record], folder)
        assert np.array_equal(alone.arrays["score"], result.arrays["score"])


@pytest.mark.parametrize("score", ["masked", "pseudo-likelihood"])
def test_places_of_other_letters_have_no_scores(folder: Path, score) -> None:
    (result,) = scan_mutations([SequenceRecord("x", "ACNGU")], folder, score=score)
    assert np.isnan(result.arrays["score"][2]).all()
    assert np.isfinite(np.delete(result.arrays["score"], 2, axis=0)).all()
    assert {row["position"] for row in substitutions(result)} == {1, 2, 4, 5}
    (empty,) = scan_mutations([SequenceRecord("x", "NN")], folder, score=score)
    assert list(substitutions(empty)) == []


def test_what_cannot_be_is_refused(folder: Path) -> None:
    model = load(folder)
    with pytest.raises(UsageError, match="window 40"):
        MutationScanner(model, ScanSettings(window=40))
    with pytest.raises(UsageError, match="has no RNA types"):
        MutationScanner(model, ScanSettings(rna_type="tRNA"))
    with pytest.raises(UsageError, match="unknown score"):
        ScanSettings("other")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no nucleotides"):
        MutationScanner(model)(SequenceRecord("x", ""))


def test_the_bundled_model_knows_what_a_trna_cannot_do_without(trna_phe) -> None:
    (result,) = scan_mutations([SequenceRecord("x", trna_phe[0])])
    worst = np.nanmin(result.arrays["score"], axis=1)
    # The T loop's GUUCGA against the variable anticodon loop.
    start = trna_phe[0].index("GUUCGA")
    assert worst[start : start + 6].mean() < worst[32:38].mean() - 1


def test_the_program_writes_a_table_and_heat_maps(cli, folder: Path, tmp_path: Path) -> None:
    fasta = tmp_path / "x.fa"
    fasta.write_text(">a<b>&c\nACGUN\n>b\nGG\n")
    ran = cli("scan-mutations", fasta, "--model", folder, "--svg", tmp_path / "maps")
    assert ran.code == 0, ran.err
    rows = list(csv.DictReader(io.StringIO(ran.out), delimiter="\t"))
    assert len(rows) == 3 * 4 + 3 * 2
    assert list(rows[0]) == ["id", "position", "reference", "substitution", "score"]
    (first,) = scan_mutations([SequenceRecord("a", "ACGUN")], folder)
    assert float(rows[0]["score"]) == pytest.approx(first.arrays["score"][0, 1], abs=1e-5)
    pictures = sorted((tmp_path / "maps").iterdir())
    assert len(pictures) == 2
    for picture in pictures:
        ElementTree.parse(picture)
    assert cli("scan-mutations", fasta, "-o", fasta).code == 4
    again = cli("scan-mutations", fasta, "--model", folder, "-o", tmp_path / "x.parquet")
    assert again.code == 0, again.err


def test_heat_maps_mark_what_is_there() -> None:
    record = SequenceRecord('<"&>', "ACG" * 41)
    scores = np.random.default_rng(0).normal(size=(123, 4))
    picture = ElementTree.fromstring(heatmap(record, scores))
    dots = picture.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(dots) == 123
    assert picture[0].text == '<"&>'
    assert heatmap(record, scores) == heatmap(record, scores)
    with pytest.raises(StructureError, match="shape"):
        heatmap(record, scores[:5])
