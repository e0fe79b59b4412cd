"""What a user does, in a real browser: example, fold, hover, keys, downloads, cancel, widths."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stemloop.draw import draw, draw_arcs
from stemloop.folding.thermo.places import layout
from stemloop.records import SequenceRecord, Structure

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium of the system without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, live: str) -> Iterator[Any]:
    """The page; an error in its scripts or anything it may not load fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    found = context.new_page()
    found.set_default_timeout(30_000)
    wrong: list[str] = []
    found.on("pageerror", lambda error: wrong.append(str(error)))
    # Chromium logs refusals (422), which tests ask for.
    found.on(
        "console",
        lambda note: (
            wrong.append(note.text)
            if note.type == "error" and "Failed to load resource" not in note.text
            else None
        ),
    )
    found.goto(live)
    # Its buttons work from now on.
    found.wait_for_selector("#compute input")
    yield found
    context.close()
    assert wrong == []


def fold(page: Any) -> None:
    page.click("#run")
    page.wait_for_selector("#results:not([hidden]) #brackets")
    page.wait_for_selector("#cancel", state="hidden")
    page.wait_for_selector("#view .base, #view .arc, #view canvas")


def test_example_to_download(page: Any, tmp_path: Path) -> None:
    page.click("#example")
    fold(page)
    assert page.locator("#list button").count() == 5
    assert "5 of 5" in page.inner_text("#status")
    page.hover(".base[data-k='0'] circle")
    assert page.inner_text("#info").startswith("G1 pairs with C72, p = 0.9")
    assert page.locator(".hit").count() == 2
    # Keys walk along the bases, zoom and go back.
    page.focus("#view svg")
    page.keyboard.press("End")
    assert page.inner_text("#info").startswith("A76 unpaired")
    whole = page.get_attribute("#view svg", "viewBox")
    page.keyboard.press("+")
    assert page.get_attribute("#view svg", "viewBox") != whole
    page.keyboard.press("0")
    assert page.get_attribute("#view svg", "viewBox") == whole
    # So do the wheel and a drag; a double click shows all again.
    page.hover("#view svg", position={"x": 30, "y": 30})
    page.mouse.wheel(0, -300)
    page.wait_for_function(
        "w => document.querySelector('#view svg').getAttribute('viewBox') !== w", arg=whole
    )
    zoomed = page.get_attribute("#view svg", "viewBox")
    page.mouse.down()
    page.mouse.move(400, 600)
    page.mouse.up()
    assert page.get_attribute("#view svg", "viewBox") != zoomed
    page.dblclick("#view svg", position={"x": 30, "y": 30})
    assert page.get_attribute("#view svg", "viewBox") == whole
    page.select_option("#colour", "loop")
    assert "multiloop" in page.inner_text(".legend")
    page.click("[data-view=arcs]")
    page.wait_for_selector("#view .arc")
    assert page.locator("#view .arc").count() == 21
    # Tabs are walked with the arrow keys.
    page.focus("[data-view=arcs]")
    page.keyboard.press("ArrowRight")
    page.focus("#view canvas")
    page.hover("#view canvas", position={"x": 100, "y": 60})
    assert " with " in page.inner_text("#info")
    whole = page.evaluate("document.querySelector('#view canvas').toDataURL()")
    for key in "+0":
        page.keyboard.press(key)
        changed = page.evaluate("document.querySelector('#view canvas').toDataURL()") != whole
        assert changed == (key == "+")
    page.click("[data-view=drawing]")
    page.wait_for_selector(".base")
    assert "tRNA" in page.inner_text(".facts")
    for name in ("dbn", "ct", "bpseq", "svg", "arcs.svg", "json", "csv"):
        with page.expect_download() as waiting:
            page.click(f"#downloads [data-format='{name}']")
        path = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(path)
        assert path.name == f"tRNA-Phe-1.{name}"
        assert path.stat().st_size > 100
    brackets = page.inner_text("#brackets").split()
    assert (tmp_path / "tRNA-Phe-1.dbn").read_text().split("\n")[2].startswith(brackets[1])
    assert json.loads((tmp_path / "tRNA-Phe-1.json").read_text())["structure"] == brackets[1]
    # What is shown, in its colours.
    with page.expect_download() as waiting:
        page.click("#save-svg")
    assert waiting.value.suggested_filename == "tRNA-Phe.drawing.svg"
    waiting.value.save_as(tmp_path / "x.svg")
    shown, plain = ((tmp_path / name).read_text() for name in ("x.svg", "tRNA-Phe-1.svg"))
    assert "multiloop" in shown
    assert "probability of the state drawn" in plain
    for view in ("drawing", "arcs", "matrix"):
        page.click(f"[data-view={view}]")
        page.wait_for_selector("#view .base, #view .arc, #view canvas")
        with page.expect_download() as waiting:
            page.click("#save-png")
        waiting.value.save_as(tmp_path / "x.png")
        assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_two_strands_bind(page: Any) -> None:
    page.click("#example-two")
    fold(page)
    assert "22 + 23 nt" in page.inner_text(".facts")
    assert "8mer" in page.inner_text("#bound")
    assert page.inner_text("#duplex").splitlines() == [
        "5'  1 UGAGGUAGU--AGGUU 14 3'", "      |||||||||  |||:|", "3' 17 ACUCCAUCAAUUCCGA 2 5'",
    ]  # fmt: skip
    page.hover(".base[data-k='22'] circle")
    assert page.inner_text("#info").startswith("A1 of strand 2 unpaired")
    assert page.locator("#view .labels text", has_text="5\u2032").count() == 2
    page.click("[data-view=arcs]")
    page.wait_for_selector("#view .arc")
    assert page.locator("#view .arc").count() == 14
    assert page.locator("#downloads [data-format=ct]").count() == 0


def test_constraints_reactivities_and_links(page: Any, live: str) -> None:
    page.click("#more summary")
    page.check("#constraints")
    page.fill("#fasta", ">c\nGGGGAAAACCCCGGGGAAAACCCC\nxxxx....................\n")
    page.fill("#reactivities", "13 0.1\n17 1.9\n")
    fold(page)
    assert page.inner_text("#brackets").split()[1].startswith("....")
    page.select_option("#colour", "reactivity")
    page.hover(".base[data-k='16'] circle")
    assert page.inner_text("#info").endswith("reactivity 1.90")
    fill = page.get_attribute(".base[data-k='16'] circle", "fill")
    assert fill == "rgb(200,30,30)"
    brackets, command = page.inner_text("#brackets"), page.inner_text("#command")
    link = page.get_attribute("#permalink", "href")
    page.goto("about:blank")
    page.goto(link)
    page.wait_for_selector("#brackets")
    assert page.inner_text("#brackets") == brackets
    assert page.inner_text("#command") == command
    page.fill("#reactivities", "")
    fold(page)
    page.wait_for_selector("#json-link")
    answer = page.request.get(live.rstrip("/") + page.get_attribute("#json-link", "href")).json()
    assert answer["results"][0]["structure"] == page.inner_text("#brackets").split()[1]


def test_substitutions_are_a_map_and_colours(page: Any) -> None:
    page.fill("#fasta", ">m\nGGGGAAAACCCC\n")
    page.check("#mutations")
    fold(page)
    page.click("[data-view=heatmap]")
    page.hover("#view canvas", position={"x": 22 + 7, "y": 16 + 7})
    assert "G1A: " in page.inner_text("#info")
    page.click("[data-view=drawing]")
    page.wait_for_selector(".base")
    before = page.get_attribute(".base[data-k='0'] circle", "fill")
    page.select_option("#colour", "mutations")
    assert "ln p ratio" in page.inner_text(".legend")
    assert page.get_attribute(".base[data-k='0'] circle", "fill") != before


def test_names_and_errors_stay_text(page: Any) -> None:
    evil = "<img/src=x/onerror=document.title='bad'>"
    page.fill("#fasta", f">{evil} {evil}\nGGGGAAAACCCC\n")
    fold(page)
    assert page.inner_text("#detail h2") == evil
    page.fill("#fasta", f">{evil}\nGGGG!\n")
    page.click("#run")
    page.wait_for_selector("#status.bad")
    assert evil in page.inner_text("#status")
    assert page.title() == "stemloop"
    assert page.locator("main img").count() == 0


def test_a_link_brings_an_rna_and_its_options(page: Any, live: str) -> None:
    page.goto("about:blank")
    page.goto(f"{live}#decoder=greedy&model=turner2004&threshold=0.01&fasta=GGGGAAAACCCC")
    page.wait_for_selector("#brackets")
    assert page.input_value("#decoder") == "greedy"
    assert "--decoder greedy --threshold=0.01" in page.inner_text("#command")


def test_a_pseudoknot_is_drawn(page: Any) -> None:
    fold_text = "((((..[[[[..))))..]]]]"
    structure = Structure.from_dot_bracket(SequenceRecord("k", "GGGGAACCCCAACCCCAAGGGG"), fold_text)
    L = structure.record.length
    answer = {
        "index": 0, "id": "k", "description": "", "length": L, "command": "stemloop fold",
        "sequence": structure.record.sequence, "structure": fold_text, "energy": -1.0,
        "ensemble_energy": None, "ensemble_defect": 0.5, "confidence": [0.5] * L,
        "pairs": (structure.pairs + 1).tolist(), "pair_probabilities": [[1, 16, 0.5]],
        "window": None, "layout": (layout(fold_text) / 15).tolist(),
    }  # fmt: skip
    job = {
        "id": "x", "state": "done", "total": 1, "done": 1, "ahead": 0, "seconds": 0.1,
        "message": "", "next": 1, "results": [answer], "errors": [],
    }  # fmt: skip
    picture = draw(structure, layout(fold_text), [0.5] * L)
    arcs = draw_arcs(structure, [0.5] * len(structure.pairs))
    page.route("**/api/fold*", lambda route: route.fulfill(json=job))
    page.route("**/files/0.svg", lambda route: route.fulfill(body=picture))
    page.route("**/files/0.arcs.svg", lambda route: route.fulfill(body=arcs))
    page.fill("#fasta", structure.record.sequence)
    fold(page)
    page.wait_for_selector(".base")
    assert page.locator("#view .knots path").count() == 4
    page.hover(".base[data-k='7'] circle")
    assert page.inner_text("#info") == "C8 pairs with G21, p = 0.500 (pseudoknot)"
    page.click("[data-view=arcs]")
    page.wait_for_selector("#view .arc")
    assert page.locator("#view .arc").count() == 8


def test_a_refusal_is_shown(page: Any) -> None:
    text = "the queue is full: try again in 7 s"
    problem = {"error": text, "record": None}
    headers = {"Retry-After": "7"}
    page.route(
        "**/api/fold*", lambda route: route.fulfill(status=503, json=problem, headers=headers)
    )
    page.fill("#fasta", "GGGGAAAACCCC")
    page.click("#run")
    page.wait_for_selector("#status.bad")
    assert page.inner_text("#status") == text
    assert not page.is_visible("#cancel")


def test_a_file_is_dropped(page: Any) -> None:
    page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File([">dropped\\nGGGGAAAACCCC\\n"], "x.fa"));
          const what = { dataTransfer: data, bubbles: true, cancelable: true };
          document.getElementById("fasta").dispatchEvent(new DragEvent("drop", what));
        }"""
    )
    page.wait_for_function("document.getElementById('fasta').value.startsWith('>dropped')")
    page.focus("#fasta")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#brackets")
    assert page.inner_text("#detail h2") == "dropped"


def test_generate_and_fold_a_sample(page: Any, tmp_path: Path) -> None:
    page.click("#to-generate")
    page.select_option("#family", "hairpins")
    page.select_option("#label", "one")
    page.fill("#count", "30")
    page.click("#make")
    page.wait_for_selector("#made table")
    assert "30 sequences" in page.inner_text("#made-status")
    assert page.locator("#made tbody tr").count() == 30
    assert page.locator(".logo text").count() > 14
    with page.expect_download() as waiting:
        page.click("#made [data-format=fa]")
    waiting.value.save_as(tmp_path / "x.fa")
    assert (tmp_path / "x.fa").read_text().count(">one-") == 30
    # The address makes the same again.
    first = page.inner_text("#made tbody tr:first-child code")
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("#made table")
    assert page.inner_text("#made tbody tr:first-child code") == first
    assert "family=hairpins&count=30" in address
    page.click("#made tbody tr:first-child button")
    page.wait_for_selector("#brackets")
    page.wait_for_selector(".base")
    assert page.inner_text("#detail h2") == "one-1"
    assert (tmp_path / "x.fa").read_text().split()[1] in page.inner_text("#brackets")


def test_a_long_job_is_cancelled(page: Any) -> None:
    page.fill("#fasta", "GACU" * 600)
    page.uncheck("#class")
    page.click("#run")
    page.wait_for_selector("#cancel:not([hidden])")
    page.click("#cancel")
    page.wait_for_selector("#cancel", state="hidden")
    assert page.inner_text("#status").startswith("Cancelled")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_sticks_out(browser: Any, live: str, scheme: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(live)
    page.wait_for_selector("#compute input")
    page.click("#example")
    fold(page)
    assert page.locator("html").evaluate("e => e.scrollWidth") == width
    if width == 400:
        page.click("#more summary")
        page.click("#example-two")
        fold(page)
        assert page.locator("html").evaluate("e => e.scrollWidth") == width
        page.click("#to-generate")
        page.select_option("#family", "hairpins")
        page.click("#make")
        page.wait_for_selector("#made table")
        assert page.locator("html").evaluate("e => e.scrollWidth") == width
    back, ink = (
        page.locator("body").evaluate(f"e => getComputedStyle(e).{name}")
        for name in ("backgroundColor", "color")
    )
    bright = [sum(map(int, c[4:-1].split(","))) for c in (back, ink)]
    assert (bright[0] > bright[1]) == (scheme == "light")
    page.close()


def test_the_api_page_lists_every_address(page: Any, live: str) -> None:
    page.goto(f"{live}docs")
    page.wait_for_selector("article")
    shown = page.inner_text("#api")
    for path in ("POST /api/fold", "GET /api/jobs/{id}", "DELETE /api/jobs/{id}", "GET /api/info"):
        assert path in shown
