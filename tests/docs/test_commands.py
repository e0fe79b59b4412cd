"""Every command in the README and the pages is run, or stands in `NOT_RUN` with the reason.

The files that the pages speak of (``rna.fa``, ``known.ct``, ``runs/rbm-sam``, ...) are small
stand-ins made here; those of ``examples/`` and ``recipes/`` are the real ones. The pages share a
folder, and each distinct command runs once.
"""

from __future__ import annotations

import gzip
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer

from stemloop.cli import main
from stemloop.errors import ExtraError
from stemloop.weights.locate import bundled

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OUTPUT = re.compile(r"^```sh\n([^\n]+)\n```\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)

PROGRAM = typer.main.get_command(main.app)

DATA = "needs the data sets, and minutes to hours"
PUBLISHED = "needs published weights, which are downloaded; tests/weights converts made-up ones"
INFERNAL = "needs a family's seed alignment and Infernal: tests/data/test_covariance.py"

#: Beginnings of commands that are not run, and why.
NOT_RUN = {
    "benchmark": DATA,
    "convert giga": PUBLISHED,
    "convert model_state": PUBLISHED,
    "convert rinalmo": PUBLISHED,
    "convert some-": PUBLISHED,
    "convert stemloop-pico pico.onnx": "a minute: tests/weights/test_onnx.py",
    "corpus build DATA": DATA,
    "corpus build downloads": DATA,
    "corpus build rnacentral": DATA,
    "embed - -m rinalmo": PUBLISHED,
    "embed rna.fa -m rinalmo": PUBLISHED,
    "evaluate": DATA,
    "finetune interaction": DATA,
    "finetune pair-head": DATA,
    "finetune sequence recipes/ncrna-class.yaml --data": DATA,
    "finetune sequence recipes/ncrna-class-full.yaml": DATA,
    "finetune sequence recipes/rfam-class.yaml": DATA,
    "finetune sequence recipes/ribosome-load.yaml --data": DATA,
    "finetune sequence recipes/ribosome-load-geo.yaml": DATA,
    "finetune sequence recipes/splice": DATA,
    "finetune structure": DATA,
    "fold rna.fa --engine ray": "starts a cluster: tests/tasks/test_bulk_ray.py",
    "fold rna.fa --model runs/": "folds with the model of a training that is not run",
    "fold rna.fa --model tRNA-model": PUBLISHED,
    "pretrain recipes/tiny-test.yaml --corpus corpus --output": "a minute; docs/tour.md has less",
    "rbm align": INFERNAL,
    "rbm bundle": INFERNAL,
    "rbm train": DATA,
    "serve": "runs until it is stopped: tests/web, benchmarks/walkthrough.py",
    "weights get": PUBLISHED,
}

#: Options that name what a command writes.
WRITTEN = ("-o", "--output", "--bpp", "--svg")

#: Programs that are run.
RUN = ("stemloop", "cat", "python", "zcat")

#: Other programs that the pages call, and why they are not run.
OTHER = {
    ".venv/bin/pip": "installs: .ci/run, benchmarks/walkthrough.py",
    ".venv/bin/lint-imports": "a linter: .ci/run",
    ".venv/bin/mkdocs": "builds the site: tests/docs/test_site.py",
    ".venv/bin/mypy": "a linter: .ci/run",
    ".venv/bin/pytest": "runs this test",
    ".venv/bin/ruff": "a linter: .ci/run",
    "cd": "for developers who change bundled weights",
    "curl": "asks a server: tests/web",
    "nextflow": "a workflow engine that is not installed here",
    "pip": "installs",
    "python3": "installs: .ci/run, benchmarks/walkthrough.py",
    "sbatch": "SLURM: tests/training/test_nodes.py runs the scripts",
    "sha256sum": "for developers who change bundled weights",
    "snakemake": "a workflow engine that is not installed here",
    "torchrun": "several processes: tests/training/test_distributed.py",
}


def name(page: Path) -> str:
    """What a test of a page is called."""
    return str(page.relative_to(ROOT))


def lines(page: Path) -> Iterator[str]:
    """Shell lines of the code blocks of a page, and the commands on examples in its text."""
    text = page.read_text().replace("\\\n", " ")
    code = [body for name, body in BLOCK.findall(text) if name in ("sh", "console", "")]
    rest = BLOCK.sub("", text)
    code += re.findall(r"(?:^    .*\n)+", rest, re.MULTILINE)
    code += [line + "\n" for line in re.findall(r"`(stemloop [^`]*examples/[^`]*)`", rest)]
    code += [
        f"stemloop {row}\n" for row in re.findall(r"^\| \[`(\S+ [^`]+)`\]", rest, re.MULTILINE)
    ]
    for line in "".join(code).splitlines():
        yield line.strip().removeprefix("$ ")


def pipelines(line: str) -> list[list[list[str]]]:
    """Pipelines of a line: the words of each program in them."""
    words = shlex.shlex(line, posix=True, punctuation_chars="|;&")
    words.whitespace_split = True
    found: list[list[list[str]]] = [[[]]]
    for word in words:
        if word == "|":
            found[-1].append([])
        elif set(word) <= set(";&"):
            found.append([[]])
        else:
            found[-1][-1].append(word)
    return found


def calls(page: Path) -> Iterator[list[list[str]]]:
    """Pipelines of a page that end with stemloop."""
    for line in lines(page):
        if re.search(r"(^|[ /])(stemloop|python) ", line):
            for stages in pipelines(line):
                if stages[-1] and stages[-1][0].split("/")[-1] in ("stemloop", "python"):
                    yield stages


def reason(words: list[str]) -> str | None:
    """Why a command is not run, if so."""
    text = " ".join(words) + " "
    return next((why for start, why in NOT_RUN.items() if text.startswith(start)), None)


def commands(page: Path) -> Iterator[list[str]]:
    """Arguments of each call of stemloop."""
    for stages in calls(page):
        yield from (words[1:] for words in stages if words[0].split("/")[-1] == "stemloop")


# What they speak of ---------------------------------------------------------------------------
@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the pages name, small."""
    folder = tmp_path_factory.mktemp("pages")
    for name in ("examples", "recipes"):
        shutil.copytree(ROOT / name, folder / name)
    models = {
        "DIRECTORY": "stemloop-pico",
        "runs/tiny/model": "stemloop-pico",
        "runs/mine/model": "ncrna-class",
        "runs/my-generator": "rbm-fluoride",
    }
    for path, model in models.items():
        shutil.copytree(bundled(model), folder / path)
    (folder / "constraints.txt").touch()
    rna = ">a\nGGGGAAAACCCC\n>b\nGGCACCUUCGGGUGCC\n"
    for name in ("rna.fa", "seqs.fa", "mrnas.fa", "sites.fa", "family.fa"):
        (folder / name).write_text(rna)
    for name in ("mirnas.fa", "srnas.fa"):
        (folder / name).write_text(">m\nUGAGGUAGUAGGUUGUAUAGUU\n>n\nUGAGGUAGUAGGUUGUGUGGUU\n")
    (folder / "rna.fa.gz").write_bytes(gzip.compress(rna.encode()))
    (folder / "known.ct").write_text("2 x\n1 G 0 2 0 1\n2 C 1 0 0 2\n")
    (folder / "known.dbn").write_text(">x\nGGGGAAAACCCC\n((((....))))\n")
    seed = "# STOCKHOLM 1.0\na GGGGAAAACCCC\nb GGCGAAAACGCC\n#=GC SS_cons <<<<....>>>>\n//\n"
    (folder / "Rfam.seed.gz").write_bytes(gzip.compress(seed.encode()))
    (folder / "reactivities").mkdir()
    for name in "ab":
        (folder / "reactivities" / f"{name}.shape").write_text("1 0.1\n6 1.2\n")
    (folder / "pairs.csv").write_text("name,mirna,utr\np,UUGAUAUGUUGGAUGAUGGAGU,CUACCUCA\n")
    rng = np.random.default_rng(0)
    rnas = ["".join(rng.choice(list("ACGU"), 50)) for _ in range(40)]
    table = [f"{rna},{'ab'[i % 2]}" for i, rna in enumerate(rnas)]
    (folder / "mine.csv").write_text("\n".join(["seq,family", *table]) + "\n")
    table = [f"{rna}\t{rna.count('G') / 10}" for rna in rnas]
    (folder / "a.tsv").write_text("\n".join(["sequence\tte", *table[:25]]) + "\n")
    (folder / "b.tsv").write_text("\n".join(["sequence\tte", *table[25:]]) + "\n")
    _machine(folder)
    return folder


def _machine(folder: Path) -> None:
    """A run of an RBM on forty rows, and an alignment for it."""
    from stemloop.training.rbm import train_rbm
    from stemloop.training.rbm_recipe import RBMRecipe

    rng = np.random.default_rng(0)
    rows = ["".join(rng.choice(list("ACGU"), 12)) for _ in range(40)]
    labels = ["Bacillota", "Bacteroidota"] * 20
    table = [f"r{i},{rows[i]},{labels[i]}" for i in range(40)]
    (folder / "DATA").mkdir()
    (folder / "DATA" / "toy.csv").write_text("\n".join(["id,sequence,label", *table]) + "\n")
    (folder / "alignment.fa").write_text("".join(f">r{i}\n{rows[i]}\n" for i in range(10)))
    data = {"file": "toy.csv", "name": "id", "labels": {"column": "label"}, "split": None}
    recipe = {"task": "rbm", "name": "toy", "hidden": 6, "updates": 20, "batch": 20, "data": data}
    machine = RBMRecipe.model_validate(recipe)
    train_rbm(machine, str(folder / "DATA"), str(folder / "runs" / "rbm-sam"))
    h5py = pytest.importorskip("h5py")
    shapes = {"W0": (5, 12, 3), "D0": (2, 3), "vbias0": (5, 12), "hbias0": 3, "lbias0": 2}
    with h5py.File(folder / "other.h5", "w") as file:
        for key, shape in shapes.items():
            file[key] = np.zeros(shape)


# Running --------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def done() -> dict[str, str]:
    """Standard output of the pipelines that have run."""
    return {}


@pytest.fixture
def run(folder: Path, done: dict[str, str], cli, monkeypatch: pytest.MonkeyPatch):
    """Run a pipeline that has not run yet; give its standard output."""
    monkeypatch.chdir(folder)

    def run(stages: list[list[str]]) -> str:
        line = " | ".join(shlex.join(words) for words in stages)
        if line in done:
            return done[line]
        text = ""
        for words in stages:
            if words[0] in ("cat", "zcat"):
                opened = gzip.open if words[0] == "zcat" else open
                with opened(words[1], "rb") as handle:
                    text = handle.read().decode()
                continue
            if words[0] == "python":
                text = subprocess.run(
                    [sys.executable, *words[1:]], check=True, capture_output=True, text=True
                ).stdout
                continue
            outputs = [b for a, b in zip(words, words[1:], strict=False) if a in WRITTEN]
            for output in map(Path, outputs):
                if output.is_dir():
                    shutil.rmtree(output)
                output.unlink(missing_ok=True)
            ran = cli(*words[1:], stdin=text.encode())
            if ran.code == ExtraError.exit_code or (ran.code and "install mmseqs2" in ran.err):
                pytest.skip(f"{line}: {ran.err}")
            assert ran.code == 0, f"{line}: {ran.err}"
            assert all(Path(output).exists() for output in outputs), line
            text = ran.out
        done[line] = text
        return text

    return run


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_run(page: Path, run) -> None:
    for stages in calls(page):
        if not any(reason(words[1:]) for words in stages):
            run(stages)


@pytest.mark.parametrize("page", PAGES[1:], ids=name)
def test_the_output_shown_is_the_output(page: Path, run) -> None:
    for line, shown in OUTPUT.findall(page.read_text()):
        (stages,) = pipelines(line)
        parts = [re.escape(part) for part in shown.split("...\n")]
        ran = run(stages)
        assert re.fullmatch("(?:.*\n)*".join(parts), ran), f"{line} printed:\n{ran}"


def test_there_are_commands_in_the_pages() -> None:
    run = [words for page in PAGES for words in commands(page) if reason(words) is None]
    assert len(run) > 30


def test_the_exceptions_are_needed() -> None:
    texts = [" ".join(words) + " " for page in PAGES for words in commands(page)]
    for start in NOT_RUN:
        assert any(text.startswith(start) for text in texts), f"no page has {start!r}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_and_options_exist(page: Path) -> None:
    for words in commands(page):
        command, rest = PROGRAM, list(words)
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]
        assert not hasattr(command, "commands"), f"no such command: {words}"
        known = {"--help"}.union(*(p.opts + p.secondary_opts for p in command.params))
        assert {word for word in rest if re.match(r"--?[a-zA-Z]", word)} <= known, words


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_other_programs_are_known(page: Path) -> None:
    text = page.read_text().replace("\\\n", " ")
    for body in (body for name, body in BLOCK.findall(text) if name in ("sh", "console")):
        for line in body.splitlines():
            for stages in pipelines(line):
                for words in filter(None, stages):
                    program = words[0]
                    assert program.split("/")[-1] in RUN or (program in OTHER), (
                        f"{page.name}: {program} (run it, or say in OTHER why not)"
                    )
