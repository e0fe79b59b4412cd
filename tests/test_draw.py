"""Drawings: valid XML, everything in it once, nothing on top of anything else."""

from __future__ import annotations

import math
import re
import time
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from stemloop.draw import draw, draw_arcs
from stemloop.errors import StructureError
from stemloop.pairs import nested_subset, pairs_to_dot_bracket
from stemloop.records import SequenceRecord, Structure

TRNA = "GCGGAUUUAGCUCAGUUGGGAGAGCGCCAGACUGAAGAUCUGGAGGUCCUGUGUUCGAUCCACAGAAUUCGCACCA"
CLOVERLEAF = "(((((((..((((........)))).(((((.......))))).....(((((.......))))))))))))...."
SVG = "{http://www.w3.org/2000/svg}"


def _circle(length):
    """Any nested structure can be drawn on a circle without crossings."""
    angle = -2 * math.pi * np.arange(length) / max(length, 2)
    return np.column_stack([np.cos(angle), np.sin(angle)]) * length


def _structure(sequence, dot_bracket, name="rna"):
    return Structure.from_dot_bracket(SequenceRecord(name, sequence), dot_bracket)


def _parse(svg):
    return ET.fromstring(svg)


def _letters(root):
    return [group.find(f"{SVG}text").text for group in root.iter(f"{SVG}g") if _is_base(group)]


def _is_base(group):
    return group.find(f"{SVG}circle") is not None


def _labels(root):
    """Numbers and ends: text, x, y, size."""
    group = next(g for g in root.iter(f"{SVG}g") if g.get("text-anchor") and not g.get("font-size"))
    return [
        (t.text, float(t.get("x")), float(t.get("y")), float(t.get("font-size")))
        for t in group.findall(f"{SVG}text")
    ]


def test_trna_has_everything_once():
    structure = _structure(TRNA, CLOVERLEAF)
    svg = draw(structure, _circle(76), np.linspace(0, 1, 76), title="tRNA-Phe")
    root = _parse(svg)
    assert "".join(_letters(root)) == TRNA
    assert [text for text, *_ in _labels(root)] == ["5′", "3′", *map(str, range(10, 77, 10))]
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert "tRNA-Phe" in texts
    assert {"GC", "AU", "GU", "0", "0.25", "0.5", "0.75", "1"} <= set(texts)
    assert not {"other pair", "pseudoknot"} & set(texts)
    hints = [element.text for element in root.iter(f"{SVG}title")]
    assert hints[1] == "G1 - C72, p = 0.00"
    assert hints[76] == "A76, p = 1.00"
    fills = [c.get("fill") for c in root.iter(f"{SVG}circle")]
    assert (fills[0], fills[-1]) == ("#440154", "#fde725")
    assert root.find(f"{SVG}rect").get("fill") == "#ffffff"
    assert draw(structure, _circle(76), np.linspace(0, 1, 76), title="tRNA-Phe") == svg


def test_everything_lies_on_the_page_whatever_the_unit_and_origin():
    structure = _structure(TRNA, CLOVERLEAF)
    svg = draw(structure, _circle(76) * 1e-3 - 7)
    assert svg == draw(structure, _circle(76) * 1e-3 - 7)
    root = _parse(svg)
    width, height = map(float, root.get("viewBox").split()[2:])
    shift = re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", svg)
    dx, dy = map(float, shift.groups())
    for circle in root.iter(f"{SVG}circle"):
        assert 8.5 <= float(circle.get("cx")) + dx <= width - 8.5
        assert 8.5 <= float(circle.get("cy")) + dy <= height - 8.5


def test_bases_are_at_the_places_given():
    xy = _circle(76)
    root = _parse(draw(_structure(TRNA, CLOVERLEAF), xy))
    drawn = np.array([(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{SVG}circle")])
    scale = 22 / np.linalg.norm(xy[1] - xy[0])
    np.testing.assert_allclose(drawn, xy * scale, atol=0.06)


def test_kinds_of_pair_look_different():
    def marks(a, b):
        svg = draw(_structure(f"{a}AAA{b}", "(...)"), _circle(5))
        line = re.search(r'stroke-width="1.6">\n<path d="([^"]+)"/>(.*)', svg)
        return line[1].count("M"), re.findall(r'<ellipse.*?fill="(\S+)"', line[2])

    assert marks("G", "C") == marks("C", "G") == (2, [])
    assert marks("A", "U") == marks("T", "a") == (1, [])
    assert marks("G", "U") == marks("U", "G") == (1, ["#20242a"])
    assert marks("A", "A") == marks("N", "C") == (1, ["#ffffff"])


def test_pseudoknot_pairs_are_curves_outside_the_nested_ones():
    #            0123456789012345678901234567
    structure = _structure("GGGGAAACCCCAAGGGGAAAAACCCCAA", "((((.[[[...))))...]]]".ljust(28, "."))
    svg = draw(structure, _circle(28))
    curves = re.findall(r'<path d="M\S+ \S+Q\S+ \S+ \S+ \S+"/>', svg)
    assert len(curves) == 3
    assert "pseudoknot" in svg
    straight = svg.count('stroke-width="1.6">\n')
    assert straight == 1
    nested = nested_subset(structure.pairs)
    assert pairs_to_dot_bracket(nested, 28).count("(") == 4


@pytest.mark.parametrize(
    "name",
    [
        '<script>alert("x")</script>',
        "a&b]]>'\"",
        "bell\x07 escape\x1b[31m null\x00 lone\ud800",
        "长い名前" * 300,
        "",
    ],
)
def test_hostile_names_stay_text(name):
    svg = draw(_structure("GGGAAACCC", "(((...)))", name), _circle(9))
    root = _parse(svg.encode())
    assert root.find(f".//{SVG}script") is None
    assert root.find(f"{SVG}title").text.startswith(re.split("[\x00-\x1f]", name)[0])
    shown = [t for t in root.iter(f"{SVG}text") if t.get("font-weight") and "′" not in t.text]
    assert all(len(t.text) <= 80 for t in shown)
    assert len(shown) == bool(name)


@pytest.mark.parametrize("sequence", ["", "A", "GC", "NNNN"])
def test_short_and_unpaired(sequence):
    L = len(sequence)
    structure = _structure(sequence, "." * L)
    root = _parse(draw(structure, [(float(k), 0.0) for k in range(L)], [0.5] * L))
    assert "".join(_letters(root)) == sequence
    assert "nan" not in draw(structure, [(float(k), 0.0) for k in range(L)])


@pytest.mark.parametrize(
    ("coordinates", "probabilities", "message"),
    [
        (np.zeros((8, 2)), None, r"coordinates of shape \(8, 2\)"),
        (np.full((9, 2), np.nan), None, "finite"),
        (np.zeros((9, 2)), None, "coincide"),
        ([], None, r"expected finite, \(9, 2\)"),
        (_circle(9), [0.5] * 8, r"probabilities of shape \(8,\)"),
        (_circle(9), [0.5] * 8 + [1.5], "0 to 1"),
        (_circle(9), [0.5] * 8 + [math.nan], "0 to 1"),
    ],
)
def test_arrays_that_do_not_fit(coordinates, probabilities, message):
    with pytest.raises(StructureError, match=message):
        draw(_structure("GGGAAACCC", "(((...)))"), coordinates, probabilities)


def test_probabilities_may_leave_the_interval_by_rounding():
    p = [1 + 1e-9, -1e-9] + [0.5] * 7
    svg = draw(_structure("GGGAAACCC", "(((...)))"), _circle(9), p)
    assert "#fde725" in svg
    assert "#440154" in svg


@pytest.mark.parametrize("length", [20, 76, 200, 500])
def test_numbers_cover_nothing(length):
    generator = np.random.default_rng(length)
    sequence = "".join(generator.choice(list("ACGU"), length))
    arm = "((((((((.....))))))))..".center(25, ".")
    dot_bracket = (arm * (length // 25)).ljust(length, ".")
    start = time.process_time()
    svg = draw(_structure(sequence, dot_bracket), _circle(length))
    assert time.process_time() - start < 5
    root = _parse(svg)
    bases = np.array([(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{SVG}circle")])
    labels = _labels(root)
    assert len(labels) >= 2 + 0.8 * (length // 10)
    boxes = []
    for text, x, y, size in labels:
        half = np.array([0.28 * size * len(text), 0.36 * size])
        middle = np.array([x, y])
        gap = np.linalg.norm(np.maximum(np.abs(bases - middle) - half, 0), axis=1)
        assert gap.min() > 8.5, text
        for other, place, extent in boxes:
            assert (np.abs(place - middle) > extent + half).any(), (text, other)
        boxes.append((text, middle, half))
    # On a circle drawn with all helices inside, outward is away from the middle.
    if length >= 76:
        radius = np.linalg.norm(bases - bases.mean(axis=0), axis=1).mean()
        numbers = np.array([(x, y) for text, x, y, _ in labels if text.isdigit()])
        assert (np.linalg.norm(numbers - bases.mean(axis=0), axis=1) > radius).all()


def test_numbering_can_be_switched_off():
    root = _parse(draw(_structure(TRNA, CLOVERLEAF), _circle(76), numbering=0, title=""))
    assert [text for text, *_ in _labels(root)] == ["5′", "3′"]


def test_layout_of_viennarna_draws_the_cloverleaf():
    from stemloop.folding.thermo.places import layout

    xy = np.asarray(layout(CLOVERLEAF))
    root = _parse(draw(_structure(TRNA, CLOVERLEAF), xy))
    bases = np.array([(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{SVG}circle")])
    distance = np.linalg.norm(bases[:, None] - bases[None], axis=2)[np.triu_indices(76, 1)]
    assert distance.min() > 17  # no circle covers another


def test_two_strands_have_ends_and_numbers_of_their_own():
    from stemloop.folding.thermo.places import layout

    text = "(((((((((((())))))))))))..."
    xy = layout(text, cut=12)
    assert xy.shape == (27, 2)
    structure = _structure("GGGGAGGGGGGGCCCCCCCUCCCCAAA", text, "pair")
    svg = draw(structure, xy, cut=12)
    root = _parse(svg)
    assert [text for text, *_ in _labels(root)] == ["5′", "3′", "5′", "3′", "10", "10"]
    assert len(list(root.iter(f"{SVG}polyline"))) == 2
    hints = [element.text for element in root.iter(f"{SVG}title")]
    assert hints[12] == "G12 of strand 1 - C1 of strand 2"
    # The strands do not touch where neither is joined to the other.
    assert np.linalg.norm(xy[11] - xy[12]) > np.linalg.norm(xy[10] - xy[11])
    with pytest.raises(StructureError, match="first strand of 28"):
        draw(structure, xy, cut=28)


def _ends(path):
    """First and last x of an arc."""
    numbers = re.findall(r"-?[\d.]+", path.get("d"))
    return float(numbers[0]), float(numbers[-2])


def test_arcs_join_the_letters_of_pairs():
    structure = _structure("GGGGAACCCCAACCCCAAGGGG", "((((..[[[[..))))..]]]]", "k")
    others = np.array([(0, 15), (1, 20), (2, 9)])
    svg = draw_arcs(
        structure, np.linspace(0, 1, 8), others=others, other_probabilities=[0.9, 0.2, 0.01]
    )
    root = _parse(svg)
    letters = next(g for g in root.iter(f"{SVG}g") if g.get("class") == "letters")
    at = [float(t.get("x")) for t in letters]
    assert "".join(t.text for t in letters) == structure.record.sequence
    arcs = [p for p in root.iter(f"{SVG}path") if p.get("class") == "arc"]
    assert [_ends(p) for p in arcs] == [(at[i], at[j]) for i, j in structure.pairs.tolist()]
    assert (arcs[0].get("stroke"), arcs[-1].get("stroke")) == ("#440154", "#fde725")
    # Not again what is above, and nothing improbable.
    (below,) = (p for p in root.iter(f"{SVG}path") if p.get("class") == "other")
    assert _ends(below) == (at[1], at[20])
    box = [float(n) for n in root.get("viewBox").split()]
    (drawing,) = (g for g in root.iter(f"{SVG}g") if g.get("class") == "drawing")
    x, y, wide, high = map(float, drawing.get("data-box").split())
    assert x < at[0] < at[-1] < x + wide <= x + box[2]
    assert high <= box[3]
    top = min(y1 for _, y1 in [(0, -10 - 0.8 * (at[j] - at[i]) / 2) for i, j in structure.pairs])
    assert y < top


@pytest.mark.parametrize("length", [0, 1, 30])
def test_arcs_of_nothing_and_of_two_strands(length):
    structure = _structure("A" * length, "." * length)
    for cut in (0, length):
        root = _parse(draw_arcs(structure, cut=cut))
        assert not [p for p in root.iter(f"{SVG}path") if p.get("class") in ("arc", "other")]
    if length == 30:
        letters = [
            float(t.get("x"))
            for g in _parse(draw_arcs(structure, cut=10)).iter(f"{SVG}g")
            if g.get("class") == "letters"
            for t in g
        ]
        steps = np.diff(letters)
        assert steps.argmax() == 9
        assert len(set(np.delete(steps, 9).round(3).tolist())) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probabilities": [0.5]}, r"probabilities of shape \(1,\)"),
        ({"others": [(0, 9)], "other_probabilities": [0.5]}, "outside"),
        ({"others": [(0, 8)]}, r"probabilities of shape \(0,\)"),
        ({"cut": 10}, "first strand of 10"),
    ],
)
def test_arcs_that_do_not_fit(options, message):
    with pytest.raises(StructureError, match=message):
        draw_arcs(_structure("GGGAAACCC", "(((...)))"), **options)
