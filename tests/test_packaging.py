"""What stands in packaging/ fits the program: commands, options, version, dependencies, linters."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import jinja2
import pytest
import typer
import yaml

import stemloop
from stemloop.cli import main
from stemloop.cli.fold import DecoderName, Layout

ROOT = Path(__file__).resolve().parents[1]
PACKAGING = ROOT / "packaging"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TOOLS = sorted((PACKAGING / "galaxy").glob("stemloop_*.xml"))
DOCKERFILE = PACKAGING / "docker" / "Dockerfile"


def recipe() -> dict:
    """The conda recipe with its variables filled in."""
    template = jinja2.Template((PACKAGING / "bioconda" / "meta.yaml").read_text())
    text = template.render(PYTHON="python", pin_subpackage=lambda name, max_pin: name)
    return yaml.safe_load(text)


def macros() -> ElementTree.Element:
    return ElementTree.parse(PACKAGING / "galaxy" / "macros.xml").getroot()


def command_of(tool: Path) -> str:
    """Shell text of a Galaxy tool, lines of the template language left out."""
    text = ElementTree.parse(tool).getroot().findtext("command")
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def calls(text: str) -> Iterator[list[str]]:
    """Words of each call of the program in shell text."""
    for part in re.split(r"&&|;|\|", text):
        words = re.sub(r"2>\s*\S+", "", part).split()
        if words and words[0] == "stemloop":
            yield words[1:]


def texts() -> dict[str, str]:
    """Shell text of every package."""
    rules = [path.read_text() for path in sorted((PACKAGING / "snakemake").glob("*.smk"))]
    docker = re.findall(r"^RUN (stemloop .*)$", DOCKERFILE.read_text(), re.MULTILINE)
    readme = re.findall(
        r"docker run --rm -i (stemloop .*?) <", (PACKAGING / "README.md").read_text()
    )
    return {
        "bioconda": ";".join(recipe()["test"]["commands"]),
        "docker": ";".join([*docker, *readme]),
        "snakemake": ";".join(re.findall(r'^ +"(stemloop .*)"$', "".join(rules), re.MULTILINE)),
        **{tool.stem: command_of(tool) for tool in TOOLS},
    }


@pytest.mark.parametrize(("name", "text"), texts().items(), ids=texts())
def test_commands_and_options_exist(name: str, text: str) -> None:
    found = list(calls(text))
    assert found
    root = typer.main.get_command(main.app)
    for words in found:
        command = root.commands.get(words[0], root)
        known = {"--help"}.union(*(param.opts for param in command.params))
        used = {word for word in words if re.match(r"--?[a-zA-Z]", word)}
        if name == "stemloop_annotate":
            (switch,) = ElementTree.parse(TOOLS[0]).getroot().iterfind(".//param[@truevalue]")
            used.add(switch.get("truevalue"))
        assert used <= known, words


def test_every_package_has_its_tools() -> None:
    assert [tool.stem for tool in TOOLS] == ["stemloop_annotate", "stemloop_embed", "stemloop_fold"]
    rules = texts()["snakemake"]
    assert {words[0] for words in calls(rules)} == {"fold", "embed", "annotate", "merge"}


def test_versions_are_the_programs() -> None:
    version = stemloop.__version__
    assert PROJECT["version"] == version
    assert recipe()["package"]["version"] == version
    assert f'image.version="{version}"' in DOCKERFILE.read_text()
    assert macros().findtext("token[@name='@TOOL_VERSION@']") == version
    environment = (PACKAGING / "snakemake" / "envs" / "stemloop.yaml").read_text()
    assert yaml.safe_load(environment)["dependencies"] == [f"stemloop ={version}"]
    pinned = re.search(r"torch==(\S+)", DOCKERFILE.read_text())[1]
    assert f"torch=={pinned}\n" in (ROOT / "constraints.txt").read_text()


def test_dependencies_are_the_programs() -> None:
    names = {"torch": "pytorch"}
    wanted = [re.match(r"([A-Za-z-]+)(.*)", item).groups() for item in PROJECT["dependencies"]]
    expected = [f"{names.get(name, name).lower()} {bounds}" for name, bounds in wanted]
    run = recipe()["requirements"]["run"]
    assert run == [f"python {PROJECT['requires-python']}", *expected]
    about = recipe()["about"]
    assert about["license"] == PROJECT["license"]
    entry = "stemloop = " + PROJECT["scripts"]["stemloop"]
    assert recipe()["build"]["entry_points"] == [entry]
    extras = re.search(r"whl\)\[(.*?)\]", DOCKERFILE.read_text())[1].split(",")
    assert set(extras) <= PROJECT["optional-dependencies"].keys()


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.stem)
def test_galaxy_tools_run_as_their_own_tests_say(
    tool: Path, cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command with the defaults of the form, and the first test's claims about its outputs."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(PACKAGING / "galaxy" / "test-data" / "rnas.fa", "dataset_1.dat")
    root = ElementTree.parse(tool).getroot()
    values = {"sequences": "dataset_1.dat", "mutations": ""}
    for param in root.find("inputs").iterfind("param"):
        chosen = param.find("option[@selected='true']")
        values.setdefault(param.get("name"), param.get("value") or "")
        if chosen is not None:
            values[param.get("name")] = chosen.get("value")
    values |= {data.get("name"): f"{data.get('name')}.dat" for data in root.iter("data")}
    text = command_of(tool).replace('"\\${GALAXY_SLOTS:-1}"', "1").replace("'", "")
    text = re.sub(r"\n\s+--decoder .*", "", text)  # under #if, not the default
    text = re.sub(r"\$(\w+)", lambda match: values[match[1]], text)
    for part in text.split("&&"):
        words = part.split()
        if words[0] == "mv":
            shutil.move(words[1], words[2])
        else:
            ran = cli(*words[1:])
            assert ran.code == 0, ran.err
    for output in root.find("tests/test").iterfind("output"):
        content = Path(values[output.get("name")]).read_bytes()
        for claim in output.find("assert_contents"):
            if claim.tag == "has_size":
                assert len(content) >= int(claim.get("min"))
                continue
            text = content.decode()
            holds = {
                "has_text": claim.get("text", "") in text,
                "has_line": claim.get("line") in text.splitlines(),
                "has_n_lines": claim.get("n") == str(text.count("\n")),
                "has_n_columns": claim.get("n") == str(text.split("\n")[0].count("\t") + 1),
            }
            assert holds[claim.tag], claim.attrib


def test_galaxy_choices_are_the_programs() -> None:
    root = ElementTree.parse(PACKAGING / "galaxy" / "stemloop_fold.xml").getroot()
    for name, choices in (("decoder", DecoderName), ("layout", Layout)):
        options = root.iterfind(f".//param[@name='{name}'][@type='select']/option")
        shown = {option.get("value") for option in options} - {"default"}
        assert shown
        assert shown <= set(choices)


LINTERS = {
    "hadolint": ["hadolint", DOCKERFILE],
    "planemo": ["planemo", "lint", PACKAGING / "galaxy"],
    "snakefmt": ["snakefmt", "--check", PACKAGING / "snakemake"],
    "snakemake": ["snakemake", "--lint", "-s", PACKAGING / "snakemake" / "Snakefile"],
    "snakemake bulk": ["snakemake", "--lint", "-s", PACKAGING / "snakemake" / "bulk.smk"],
}


@pytest.mark.parametrize("name", LINTERS)
def test_linters_have_nothing_to_say(name: str, tmp_path: Path) -> None:
    if shutil.which(LINTERS[name][0]) is None:
        pytest.skip(f"{LINTERS[name][0]} is not installed")
    done = subprocess.run(LINTERS[name], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARN" not in done.stdout
