"""The program as a whole: instant help, no heavy imports, exit codes, signals, pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

import stemloop
from stemloop import errors
from stemloop.cli import main

HEAVY = (
    "torch",
    "transformers",
    "RNA",
    "numpy",
    "pandas",
    "sklearn",
    "datasets",
    "stemloop.records",
)


def commands() -> list[tuple[str, ...]]:
    """Every command and group, as words."""
    found: list[tuple[str, ...]] = [()]

    def walk(command, words: tuple[str, ...]) -> None:
        for name, child in getattr(command, "commands", {}).items():
            found.append((*words, name))
            walk(child, (*words, name))

    walk(typer.main.get_command(main.app), ())
    return found


def test_the_main_commands_are_there() -> None:
    assert {("fold",), ("embed",), ("finetune", "structure"), ("evaluate", "structure")} <= set(
        commands()
    )


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_help_works(cli, words: tuple[str, ...]) -> None:
    ran = cli(*words, "--help")
    assert ran.code == 0
    assert "Usage:" in ran.out
    assert ran.err == ""


def test_version(cli) -> None:
    assert cli("--version").out == f"stemloop {stemloop.__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["fold", "--help"], ["--version"], ["fold", "-x"]]
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from stemloop.cli.main import run\n"
        "try:\n    run()\n"
        "except SystemExit:\n    pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"


def leaves(kind: type) -> set[type]:
    return {kind}.union(*(leaves(child) for child in kind.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(leaves(errors.StemloopError), key=lambda k: k.__name__))
def test_errors_become_one_line_and_their_code(cli, monkeypatch, kind: type) -> None:
    error = kind("torch", "x") if kind is errors.ExtraError else kind("what is wrong")

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("stemloop.tasks.structure.FoldSettings", fail)
    ran = cli("fold", "x.fa")
    assert (ran.code, ran.out, ran.err) == (kind.exit_code, "", f"error: {error}\n")
    assert ran.code != 0


def test_the_codes_are_those_of_the_table() -> None:
    rows = [line.split() for line in (errors.__doc__ or "").splitlines()]
    table = {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[0].endswith("Error")}
    assert len(table) == 7
    for name, code in table.items():
        assert getattr(errors, name).exit_code == code


def test_a_defect_shows_its_traceback(monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("stemloop.tasks.structure.FoldSettings", fail)
    monkeypatch.setattr(sys, "argv", ["stemloop", "fold", "x.fa"])
    with pytest.raises(ZeroDivisionError):
        main.run()


@pytest.mark.parametrize("arguments", [["fold", "--nonsense"], ["nonsense"], ["fold", "-T", "hot"]])
def test_wrong_usage_is_code_2(cli, arguments: list[str]) -> None:
    assert cli(*arguments).code == 2


# Processes --------------------------------------------------------------------------------------

PROGRAM = [sys.executable, "-m", "stemloop.cli.main", "fold", "--model", "turner2004"]


def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,  # type: ignore[call-overload]
    )


def test_results_come_as_they_are_ready_and_ctrl_c_is_130(tmp_path: Path) -> None:
    """The first RNA is answered while standard input is still open; then SIGINT."""
    with start("-") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b">a\nGGGGAAAACCCC\n>b\n")
        process.stdin.flush()
        assert process.stdout.readline() == b">a\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert b"Traceback" not in process.stderr.read()


def test_ctrl_c_leaves_no_output_file(tmp_path: Path) -> None:
    output, drawings = tmp_path / "out.dbn", tmp_path / "svg"
    with start("-", "-o", output, "--svg", drawings) as process:
        assert process.stdin is not None
        process.stdin.write(b">a\nGGGGAAAACCCC\n>b\n")
        process.stdin.flush()
        while process.poll() is None and not list(drawings.glob("*.svg")):
            time.sleep(0.05)  # the first RNA is done when its drawing is there
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["svg"]


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "many.fa"
    path.write_text("".join(f">{k}\nGGGGAAAACCCC\n" for k in range(5000)))
    with start(path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b">0\n"
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("redirected", [True, False])
def test_a_full_disk(tmp_path: Path, redirected: bool) -> None:
    path = tmp_path / "a.fa"
    path.write_text(">a\nGGGGAAAACCCC\n")
    arguments = [*PROGRAM, str(path)] + ([] if redirected else ["-o", "/dev/full"])
    with open("/dev/full" if redirected else os.devnull, "wb") as out:
        done = subprocess.run(arguments, stdout=out, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 4
    name = b"standard output" if redirected else b"/dev/full"
    assert done.stderr == b"error: " + name + b": no space is left\n"


def test_an_option_that_breaks_a_recipe_is_no_traceback(cli) -> None:
    recipe = Path(__file__).parents[2] / "recipes" / "tiny-test.yaml"
    ran = cli("pretrain", recipe, "--corpus", "c", "-o", "run", "--steps", 5)
    assert ran.code == 2
    assert "warm_up must be below steps" in ran.err
