"""What the documentation shows is true: links, examples, output, exit codes."""

from __future__ import annotations

import doctest
import re
import tomllib
from pathlib import Path

import pytest

from stemloop import errors

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
INSTALL = ROOT / "docs" / "install.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [text for name, text in BLOCK.findall(page.read_text()) if name == language]


def test_exactly_two_commands_set_up_a_fresh_machine() -> None:
    lines = [line for text in blocks(README, "sh") for line in text.splitlines()]
    assert lines == [
        "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt . "
        "&& .venv/bin/stemloop fold examples/rnas.fa",
        "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e '.[dev]' "
        "&& .venv/bin/pytest",
    ]


def test_ci_runs_the_second_one() -> None:
    second = blocks(README, "sh")[1].strip()
    script = (ROOT / ".ci" / "run").read_text()
    assert second in script.replace("pip install -q ", "pip install ").splitlines()


def test_the_output_shown_is_the_output(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (shown,) = blocks(README, "text")
    ran = cli("fold", "examples/rnas.fa")
    assert ran.code == 0, ran.err
    assert shown == ran.out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    failed, _ = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_are_python(page: Path) -> None:
    for text in blocks(page, "python"):
        if not text.startswith(">>>"):
            compile(text, page.name, "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\((docs/[^)]+\.md)\)", README.read_text()))
    pages = {f"docs/{page.name}" for page in PAGES[1:]}
    assert pages <= linked


def test_exit_codes_are_the_programs() -> None:
    table = dict(re.findall(r"^\| (\d+) \| (.+) \|$", INSTALL.read_text(), re.MULTILINE))
    kinds = errors.StemloopError.__subclasses__()
    assert {kind.exit_code for kind in kinds} | {0, 1, 130, 141} == set(map(int, table))


def test_every_extra_is_explained() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = re.findall(r"^\| `(\w+)` \| ", INSTALL.read_text(), re.MULTILINE)
    assert set(listed) == set(extras["optional-dependencies"])
