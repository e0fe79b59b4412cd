"""What the documentation shows is true: commands, options, links, examples, output, codes."""

from __future__ import annotations

import doctest
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from stemloop import errors
from stemloop.cli import main

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
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
    assert linked == {f"docs/{page.name}" for page in PAGES[1:]}


def commands(page: Path) -> Iterator[list[str]]:
    """Words of each ``stemloop ...`` command in the code blocks of a page."""
    text = page.read_text().replace("\\\n", " ")
    code = [body for name, body in BLOCK.findall(text) if name in ("sh", "")]
    code += re.findall(r"(?:^    .*\n)+", BLOCK.sub("", text), re.MULTILINE)
    for line in "\n".join(code).splitlines():
        for part in re.split(r"[|;&]", line.split("#")[0]):
            words = part.split()
            if words and words[0].split("/")[-1] == "stemloop":
                yield words[1:]


def test_there_are_commands_in_the_pages() -> None:
    assert sum(1 for page in PAGES for _ in commands(page)) > 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    for words in commands(page):
        command = typer.main.get_command(main.app)
        rest = list(words)
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]
        assert not hasattr(command, "commands"), f"no such command: {words}"
        known = {"--help"}.union(*(param.opts for param in command.params))
        assert {word for word in rest if re.match(r"--?[a-zA-Z]", word)} <= known, words


def test_exit_codes_are_the_programs() -> None:
    table = dict(re.findall(r"^\| (\d+) \| (.+) \|$", README.read_text(), re.MULTILINE))
    kinds = errors.StemloopError.__subclasses__()
    assert {kind.exit_code for kind in kinds} | {0, 1, 130, 141} == set(map(int, table))
