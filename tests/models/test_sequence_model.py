"""Heads for whole sequences: no neighbours, no padding, types combined as they should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from stemloop.alphabet import RINALMO, RNAERNIE_TYPES, STEMLOOP
from stemloop.errors import InputError, UsageError
from stemloop.models.build import new_encoder
from stemloop.models.letters import Letters
from stemloop.models.presets import EncoderConfig
from stemloop.models.sequence_head import HeadConfig, PackedConvolution
from stemloop.models.sequence_model import SequenceModel, TypeGuide, cut

CONFIG = EncoderConfig(
    vocab_size=56, hidden=16, layers=2, heads=2, ffn_inner=24, alphabet="stemloop", max_length=24
)
HEADS: dict[str, dict[str, Any]] = {
    "mean": {},
    "all": {"pools": ("mean", "max", "cls", "type"), "layers": (0, -1)},
    "convolution": {"kind": "convolution", "channels": 6, "blocks": 2, "kernel": 5},
    "frames": {"kind": "frames", "channels": 6, "blocks": 1, "kernel": 3},
    "window": {"kind": "window", "window": 12, "channels": 4},
    "members": {"kind": "convolution", "channels": 6, "blocks": 1, "members": 3},
    "deep window": {"kind": "window", "window": 12, "channels": 4, "blocks": 2, "kernel": 5},
    "end": {"kind": "window", "window": 12, "anchor": "end", "channels": 4},
}


def model(guide: TypeGuide | None = None, **head: Any) -> SequenceModel:
    torch.manual_seed(4)
    config = HeadConfig(width=16, outputs=3, **head)
    return SequenceModel(new_encoder(CONFIG), STEMLOOP, config, guide).eval()


def draw(lengths: list[int]) -> list[str]:
    rng = np.random.default_rng(9)
    return ["".join(rng.choice(list("ACGU"), n)) for n in lengths]


@pytest.mark.parametrize("guide", [None, TypeGuide(2), TypeGuide(2, combine="features")])
@pytest.mark.parametrize("name", HEADS)
def test_outputs_do_not_depend_on_the_batch(name: str, guide: TypeGuide | None) -> None:
    net = model(guide, **HEADS[name])
    sequences = draw([12] * 5 if name.endswith("window") else [3, 50, 20, 21, 1])
    with torch.inference_mode():
        together = net(sequences)
        alone = torch.cat([net([s]) for s in sequences])
        other_way = net(sequences[::-1]).flip(0)
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together, other_way, atol=1e-6, rtol=1e-5)


def test_long_sequences_are_the_mean_of_their_pieces() -> None:
    net = model()
    (sequence,) = draw([47])
    parts = [sequence[a:b] for a, b in cut(47, net.limit)]
    assert "".join(parts) == sequence
    assert len(parts) == 3
    with torch.inference_mode():
        torch.testing.assert_close(net([sequence])[0], net(parts).mean(dim=0))


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_packed_convolution_is_a_convolution_of_each_sequence(kernel: int) -> None:
    torch.manual_seed(0)
    layer, lengths = PackedConvolution(4, kernel), [3, 1, 6]
    x = torch.randn(10, 4)
    whose = torch.arange(3).repeat_interleave(torch.tensor(lengths))
    weight = layer.weight.view(4, kernel, 4).transpose(1, 2)  # out, in, place
    expected = [
        F.conv1d(part.T[None], weight, layer.bias, padding=kernel // 2)[0].T
        for part in x.split(lengths)
    ]
    torch.testing.assert_close(layer(x, whose), torch.cat(expected))
    alone = layer(x[None, 4:], None)[0]  # sequences of one length, as rows of a matrix
    torch.testing.assert_close(alone, expected[2])


def test_reading_frames_count_from_the_end() -> None:
    net = model(kind="frames", channels=6)
    rows = torch.randn(8, 16)
    with torch.inference_mode():
        x = net.head.linear_in(rows)
        frames = [x[[7, 4, 1]], x[[6, 3, 0]], x[[5, 2]]]
        pooled = torch.cat([f(part) for part in frames for f in (mean, greatest)])
        torch.testing.assert_close(net.head(rows, [8])[0], net.head.out(pooled[None])[0])
        # One nucleotide: two frames are empty.
        alone = torch.cat([x[0], x[0], torch.zeros(24)])
        torch.testing.assert_close(net.head(rows[:1], [1])[0], net.head.out(alone[None])[0])


def test_members_are_averaged_and_learn_apart() -> None:
    net = model(**HEADS["members"])
    rows, lengths = torch.randn(9, 16), [5, 4]
    each = torch.stack([member(rows, lengths) for member in net.head.members])
    torch.testing.assert_close(net.head(rows, lengths), each.mean(dim=0))
    assert not torch.allclose(each[0], each[1])
    sequences = draw([50, 12])  # one is cut into pieces
    assert net.train()(sequences).shape == (3, 2, 3)
    guided = model(TypeGuide(2), **HEADS["members"]).train()
    assert guided(sequences).shape == (3, 2, 3)


def mean(x: torch.Tensor) -> torch.Tensor:
    return x.mean(dim=0)


def greatest(x: torch.Tensor) -> torch.Tensor:
    return x.amax(dim=0)


def test_letters_are_what_they_may_stand_for() -> None:
    net = SequenceModel(Letters(), RINALMO, HeadConfig(width=4, outputs=1, kind="convolution"))
    rows, lengths = net.features(["ACGU", "RN-"])
    assert lengths == [4, 3]
    torch.testing.assert_close(rows[:4], torch.eye(4))
    assert rows[4:].tolist() == [[0.5, 0, 0.5, 0], [0.25] * 4, [0] * 4]
    with pytest.raises(UsageError, match="no RNA types"):
        SequenceModel(Letters(), RINALMO, HeadConfig(width=4, outputs=2, pools=("type",)))


def test_a_window_at_the_end_reads_what_stands_there() -> None:
    net = model(**HEADS["end"])
    rows = torch.randn(15, 16)
    padded = torch.cat([torch.zeros(7, 4), F.gelu(net.head.linear_in(rows[:5]))])
    with torch.inference_mode():
        torch.testing.assert_close(net.head(rows, [15]), net.head(rows[3:], [12]))
        torch.testing.assert_close(net.head(rows[:5], [5]), net.head.out(padded.flatten()[None]))


def test_a_row_of_each_pool_is_what_it_says() -> None:
    net = model(pools=("mean", "max", "cls", "type"), layers=(1, -1))
    sequence, ids = "GGACU", STEMLOOP.ids
    with torch.inference_mode():
        rows, lengths = net.features([sequence])
        tokens = torch.tensor([*STEMLOOP.encode(sequence)[:-1].tolist(), ids["[IND]"],
                               STEMLOOP.mask_id, STEMLOOP.eos_id])  # fmt: skip
        out = net.encoder(tokens, torch.tensor([0, 9], dtype=torch.int32), hidden_layers=[1])
        x = torch.cat([out.hidden[1], out.representation], dim=1)
    expected = torch.cat([x[1:6].mean(0), x[1:6].amax(0), x[0], x[7]])
    assert lengths == [1]
    torch.testing.assert_close(rows[0], expected)


def test_types_are_combined_by_their_probabilities() -> None:
    """Against all 28 types, one by one."""
    (sequence,) = draw([15])
    for combine in ("outputs", "features"):
        net = model(TypeGuide(3, combine=combine))
        ids = STEMLOOP.ids
        with torch.inference_mode():
            tokens = torch.tensor([*STEMLOOP.encode(sequence)[:-1].tolist(), ids["[IND]"],
                                   STEMLOOP.mask_id, STEMLOOP.eos_id])  # fmt: skip
            starts = torch.tensor([0, len(tokens)], dtype=torch.int32)
            logits = net.encoder(tokens, starts, need_logits=True).logits[-2]
            p = {name: float(logits[ids[name]].exp()) for name in RNAERNIE_TYPES}
            best = sorted(p, key=p.get, reverse=True)[:3]
            total = sum(p[name] for name in best)
            rows = {name: net.features([sequence], [ids[name]])[0] for name in best}
            if combine == "outputs":
                expected = sum(p[n] / total * net.head(rows[n], [1])[0] for n in best)
            else:
                expected = net.head(sum(p[n] / total * rows[n] for n in best), [1])[0]
            torch.testing.assert_close(net([sequence])[0], expected, atol=1e-5, rtol=1e-4)


def test_random_types_are_drawn_by_the_sequence() -> None:
    net = model(TypeGuide(4, choice="random"))
    pieces = draw([10, 11])
    ids, weight = net.guess_types(pieces)
    again, _ = net.guess_types(pieces[::-1])
    assert torch.equal(ids, again.flip(0))
    assert not torch.equal(ids[0], ids[1])
    assert all(len(set(row)) == 4 for row in ids.tolist())
    assert weight.sum(dim=1).tolist() == pytest.approx([1, 1])


def test_what_cannot_be_is_refused() -> None:
    encoder = new_encoder(EncoderConfig(vocab_size=22, hidden=16, layers=1, heads=2, ffn_inner=8))
    with pytest.raises(UsageError, match="no RNA types"):
        SequenceModel(encoder, RINALMO, HeadConfig(width=16, outputs=2, pools=("type",)))
    with pytest.raises(UsageError, match="no RNA types"):
        SequenceModel(encoder, RINALMO, HeadConfig(width=16, outputs=2), TypeGuide(2))
    with pytest.raises(UsageError, match="layers are 0 to 1"):
        SequenceModel(encoder, RINALMO, HeadConfig(width=16, outputs=2, layers=(2,)))
    with pytest.raises(UsageError, match="length of its windows"):
        HeadConfig(width=16, outputs=2, kind="window")
    net = model(**HEADS["window"])
    with pytest.raises(InputError, match="11 nt"):
        net(["A" * 11])
    with pytest.raises(InputError, match="no nucleotides"):
        model()([""])
