"""A pair head as a predictor: official files, what it may pair, what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812

from stemloop.alphabet import RINALMO, normalise
from stemloop.errors import InputError, UsageError, WeightsError
from stemloop.folding.conditions import FoldOptions
from stemloop.folding.decode import allowed_pairs, greedy
from stemloop.folding.pair_head import (
    PairHeadModel,
    is_encoder,
    load_pair_head,
    save_pair_head,
)
from stemloop.models.build import new_encoder
from stemloop.models.pair_head import PairHead
from stemloop.models.presets import PRESETS, EncoderConfig
from stemloop.models.rinalmo import RiNALMo
from stemloop.models.rnaernie_config import RNAErnieConfig
from stemloop.pairs import dot_bracket_to_pairs
from stemloop.weights.convert import convert
from stemloop.weights.locate import bundled
from stemloop.weights.store import Head, load, save_model_dir

CONFIG = EncoderConfig(vocab_size=22, hidden=40, layers=2, heads=20, ffn_inner=106)
THRESHOLD = 0.17
Content = dict[str, object]


@pytest.fixture(scope="module")
def official() -> Content:
    """A fine-tuned file as published: ``lm.*``, ``pred_head.*`` and a float."""
    torch.manual_seed(5)
    content: Content = {f"lm.{key}": value for key, value in RiNALMo(CONFIG).state_dict().items()}
    shapes: dict[str, tuple[int, ...]] = {
        "linear_in.weight": (64, 80), "linear_in.bias": (64,),
        "conv_out.weight": (1, 64, 3, 3), "conv_out.bias": (1,),
    }  # fmt: skip
    for k in (0, 1):
        for place, size in ((0, 1), (3, 3), (6, 1)):
            shapes[f"resnet.blocks.{k}.conv_net.{place}.weight"] = (64, 64, size, size)
    content |= {f"pred_head.{name}": 0.1 * torch.randn(shape) for name, shape in shapes.items()}
    return content | {"threshold": THRESHOLD}


@pytest.fixture(scope="module")
def folder(official: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file converted."""
    place = tmp_path_factory.mktemp("official")
    torch.save(official, place / "rinalmo_tiny_ss_ft.pt")
    convert(place / "rinalmo_tiny_ss_ft.pt", place / "model")
    return place / "model"


@pytest.fixture(scope="module")
def model(folder: Path) -> PairHeadModel:
    return load_pair_head(folder)


# The published program's rules once more, in its own terms: full symmetric matrices -----------


def published_probability(sequence: str, content: Content) -> np.ndarray:
    """Sigmoids (L, L) of the published form, before anything is barred."""
    encoder = RiNALMo(CONFIG).eval()
    state = {key[3:]: value for key, value in content.items() if key.startswith("lm.")}
    encoder.load_state_dict(state)  # type: ignore[arg-type]
    tokens = torch.tensor([0, *(5 + "ACGU".index(letter) for letter in sequence), 2])
    with torch.no_grad():
        x = encoder(tokens, torch.tensor([0, len(tokens)])).representation[1:-1]
        length = len(x)
        joined = torch.cat(
            (x[:, None].expand(-1, length, -1), x[None].expand(length, -1, -1)), dim=-1
        )
        y = F.linear(
            joined, content["pred_head.linear_in.weight"], content["pred_head.linear_in.bias"]
        )
        y = y.permute(2, 0, 1)[None]
        for k in (0, 1):
            z = y
            for place in (0, 3, 6):
                weight = content[f"pred_head.resnet.blocks.{k}.conv_net.{place}.weight"]
                z = F.relu(F.instance_norm(F.conv2d(z, weight, padding="same")))
            y = y + z
        y = F.conv2d(
            y, content["pred_head.conv_out.weight"], content["pred_head.conv_out.bias"], padding=1
        )[0, 0]
        return torch.sigmoid(y.triu(1) + y.triu(1).T).numpy()


def published_structure(
    probability: np.ndarray, sequence: str, threshold: float
) -> list[list[int]]:
    """Global maximum first, first index on ties; then all else of both bases is dropped."""
    length = len(sequence)
    p = probability.copy()
    for i in range(length):
        for j in range(length):
            if abs(i - j) < 4 or sequence[i] + sequence[j] not in "AU UA GC CG GU UG".split():
                p[i, j] = 0.0
    p[p <= threshold] = 0.0
    pairs = []
    while p.max() > 0:
        i, j = np.unravel_index(p.argmax(), p.shape)
        pairs.append([int(i), int(j)])
        p[[i, j]] = 0.0
        p[:, [i, j]] = 0.0
    return sorted(pairs)


SEQUENCES = ["GGGGAAAACCCC", "GCGGAUUUAGCUCAGUUGGGAGAGCGCCAGACUGAAGAUCUGGAGGUCCUGUGUUCGAUCCACAG"]


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_an_official_file_predicts_as_published(
    sequence: str, model: PairHeadModel, official: Content
) -> None:
    expected = published_probability(sequence, official)
    free = model.probability(model.represent(sequence))
    np.testing.assert_allclose(free, np.triu(expected, 1), atol=1e-5)
    assert model.threshold == THRESHOLD
    for threshold in (THRESHOLD, 0.01, float(np.median(expected))):
        model_there = PairHeadModel(model.encoder, model.alphabet, model.head, threshold)
        pairs = model_there.predict(sequence).tolist()
        assert pairs == published_structure(free + free.T, sequence, threshold)
    assert pairs


@settings(max_examples=60)
@given(sequence=st.text("ACGU", min_size=1, max_size=16), seed=st.integers(0, 10**6))
def test_ties_are_decided_as_published(sequence: str, seed: int) -> None:
    length = len(sequence)
    p = np.triu(np.random.default_rng(seed).integers(0, 4, (length, length)) / 4, 1)
    found = greedy(p, 0.25, allowed_pairs(sequence)).tolist()
    assert found == published_structure(p + p.T, sequence, 0.25)


@settings(max_examples=15)
@given(sequence=st.text("ACGUN", min_size=1, max_size=40))
def test_what_may_not_pair_has_probability_zero(sequence: str, model: PairHeadModel) -> None:
    p = model.ensemble(sequence).pair_probability
    assert p.shape == (len(sequence),) * 2
    assert p.dtype == np.float64
    for i in range(len(sequence)):
        for j in range(len(sequence)):
            may = j - i >= 4 and sequence[i] + sequence[j] in ("AU", "UA", "GC", "CG", "GU", "UG")
            assert (0 < p[i, j] < 1) if may else p[i, j] == 0
    pairs = model.predict(sequence)
    assert len(set(pairs.ravel().tolist())) == pairs.size


def test_case_and_t_do_not_matter(model: PairHeadModel) -> None:
    expected = model.ensemble(SEQUENCES[1]).pair_probability
    for text in (SEQUENCES[1].lower(), SEQUENCES[1].replace("U", "T").lower()):
        assert np.array_equal(model.ensemble(normalise(text)).pair_probability, expected)
        assert np.array_equal(model.ensemble(text).pair_probability, expected)


def test_longest_span(model: PairHeadModel) -> None:
    whole = model.ensemble(SEQUENCES[1]).pair_probability
    near = model.ensemble(SEQUENCES[1], FoldOptions(max_span=12)).pair_probability
    i, j = np.nonzero(whole)
    assert np.array_equal(near[i, j] > 0, j - i + 1 <= 12)


def test_there_is_no_energy(model: PairHeadModel) -> None:
    assert np.isnan(model.ensemble("GGGGAAAACCCC").free_energy)


@pytest.mark.parametrize(
    ("options", "constraint"),
    [
        (FoldOptions(temperature=20.0), None),
        (FoldOptions(circular=True), None),
        (FoldOptions(), "((((....))))"),
    ],
)
def test_conditions_that_the_network_does_not_know(
    options: FoldOptions, constraint: str | None, model: PairHeadModel
) -> None:
    with pytest.raises(UsageError, match="a pair head"):
        model.ensemble("GGGGAAAACCCC", options, constraint)


def test_no_nucleotides_and_too_many(model: PairHeadModel) -> None:
    with pytest.raises(InputError, match="no nucleotides"):
        model.ensemble("")
    config = RNAErnieConfig(
        vocab_size=39, hidden=16, layers=1, heads=2, ffn_inner=16, positions=20, max_length=20
    )
    short = PairHeadModel(new_encoder(config).eval(), RINALMO, PairHead(16).eval())
    with pytest.raises(InputError, match="at most 18 for this encoder"):
        short.ensemble("A" * 19)


def test_half_precision_is_close(folder: Path, model: PairHeadModel) -> None:
    rough = load_pair_head(folder, dtype=torch.bfloat16)
    exact, other = (m.ensemble(SEQUENCES[1]).pair_probability for m in (model, rough))
    assert np.abs(exact - other).max() < 0.05


# Model directories ----------------------------------------------------------------------------


def test_saved_and_read_again_and_back_to_the_official_file(
    model: PairHeadModel, official: Content, tmp_path: Path
) -> None:
    saved = save_pair_head(tmp_path / "m", model, source={"recipe": "x"})
    back = load_pair_head(saved)
    assert back.threshold == THRESHOLD
    expected = model.ensemble(SEQUENCES[1]).pair_probability
    assert np.array_equal(back.ensemble(SEQUENCES[1]).pair_probability, expected)
    convert(saved, tmp_path / "back.pt", to="official")
    content = torch.load(tmp_path / "back.pt", weights_only=True)
    assert content.keys() == official.keys()
    for key, value in official.items():
        assert torch.equal(torch.as_tensor(content[key]), torch.as_tensor(value)), key


def test_a_threshold_that_was_never_tuned(folder: Path, tmp_path: Path) -> None:
    known = load(folder)
    assert known.head is not None
    head = Head("structure", "lm", known.head.tensors)
    save_model_dir(tmp_path / "m", known.config, known.encoder.state_dict(), head=head)
    assert load_pair_head(tmp_path / "m").threshold == 0.5


def with_head(tmp_path: Path, tensors: dict[str, torch.Tensor], kind: str) -> Path:
    head = Head(kind, "lm", tensors, 0.2)
    state = RiNALMo(CONFIG).state_dict()
    return save_model_dir(tmp_path / "m", CONFIG, state, head=head)


def test_refused_directories(tmp_path: Path) -> None:
    bare = save_model_dir(tmp_path / "bare", CONFIG, RiNALMo(CONFIG).state_dict())
    with pytest.raises(WeightsError, match=r"no key 'pred_head\.conv_out\.weight'.*finetune"):
        load_pair_head(bare)
    tensors = {"pred_head.classifier.0.weight": torch.ones(2, 2)}
    other = with_head(tmp_path / "a", tensors, "classifier")
    with pytest.raises(WeightsError, match=r"for classifier.*'pred_head\.classifier\.0\.weight'"):
        load_pair_head(other)
    tensors = {f"pred_head.{k}": v for k, v in PairHead(8).state_dict().items()}
    narrow = with_head(tmp_path / "b", tensors, "structure")
    with pytest.raises(
        WeightsError, match=r"'pred_head\.linear_in\.weight' is for an encoder of width 8"
    ):
        load_pair_head(narrow)
    del tensors["pred_head.resnet.blocks.0.conv_net.3.weight"]
    cut = with_head(tmp_path / "c", tensors, "structure")
    with pytest.raises(
        WeightsError, match=r"missing key 'pred_head\.resnet\.blocks\.0\.conv_net\.3"
    ):
        load_pair_head(cut)
    with pytest.raises(WeightsError, match="no model directory"):
        load_pair_head(tmp_path / "none")


def test_which_directories_are_encoders(folder: Path, tmp_path: Path) -> None:
    assert is_encoder(folder)
    assert not is_encoder(bundled("fold-crf"))
    assert not is_encoder(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    assert not is_encoder(tmp_path)


def test_every_preset_takes_a_head() -> None:
    for config in PRESETS.values():
        with torch.device("meta"):
            assert PairHead(config.hidden).linear_in.in_features == 2 * config.hidden


def test_fold_takes_the_directory(folder: Path, model: PairHeadModel, cli) -> None:
    """The command decodes greedily above the stored threshold, as the model itself does."""
    import json

    ran = cli("fold", "-s", SEQUENCES[1].lower(), "--model", folder, "-f", "jsonl")
    assert ran.code == 0, ran.err
    line = json.loads(ran.out)
    pairs = model.predict(SEQUENCES[1])
    assert dot_bracket_to_pairs(line["structure"]).tolist() == pairs.tolist()
    assert line["ensemble_energy"] is None
    assert line["energy"] is None or isinstance(line["energy"], float)
    confidence = np.array(line["confidence"])
    assert ((confidence >= 0) & (confidence <= 1)).all()
    other = cli("fold", "-s", SEQUENCES[1], "--model", folder, "-d", "mea")
    assert other.code == 0, other.err
    assert cli("fold", "-s", SEQUENCES[1], "--model", folder, "-d", "mfe").code == 2
