"""What a user does, in a real browser: example, fold, hover, keys, downloads, cancel, widths."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stemloop.folding.thermo import layout
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
    yield found
    context.close()
    assert wrong == []


def fold(page: Any) -> None:
    page.click("#run")
    page.wait_for_selector("#results:not([hidden]) #brackets")
    page.wait_for_selector("#cancel", state="hidden")


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
    page.select_option("#colour", "loop")
    assert "multiloop" in page.inner_text(".legend")
    page.click("[data-view=arcs]")
    assert page.locator("#view path.arc").count() == 21
    page.click("[data-view=matrix]")
    page.hover("#view canvas", position={"x": 100, "y": 60})
    assert " with " in page.inner_text("#info")
    page.click("[data-view=drawing]")
    assert "tRNA" in page.inner_text(".facts")
    for name in ("dbn", "ct", "bpseq", "svg", "json", "csv"):
        with page.expect_download() as waiting:
            page.click(f"#downloads [data-format={name}]")
        path = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(path)
        assert path.name == f"tRNA-Phe-1.{name}"
        assert path.stat().st_size > 100
    brackets = page.inner_text("#brackets").split()
    assert (tmp_path / "tRNA-Phe-1.dbn").read_text().split("\n")[2].startswith(brackets[1])
    assert json.loads((tmp_path / "tRNA-Phe-1.json").read_text())["structure"] == brackets[1]
    with page.expect_download() as waiting:
        page.click("#png")
    waiting.value.save_as(tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


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
    page.route("**/api/fold*", lambda route: route.fulfill(json=job))
    page.fill("#fasta", structure.record.sequence)
    fold(page)
    assert page.locator("#view path.knot").count() == 4
    page.hover(".base[data-k='7'] circle")
    assert page.inner_text("#info") == "C8 pairs with G21, p = 0.500 (pseudoknot)"
    page.click("[data-view=arcs]")
    assert page.locator("#view path.arc").count() == 8


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
    page.click("#made tbody tr:first-child button")
    page.wait_for_selector("#brackets")
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
    page.click("#example")
    fold(page)
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
