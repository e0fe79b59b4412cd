"""Recipes: what is wrong in one is named, and all that we ship are right."""

from __future__ import annotations

from pathlib import Path

import pytest

from stemloop.errors import FormatError, InputError
from stemloop.training.recipes import StructureRecipe, load_recipe

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted(
    path for path in (ROOT / "recipes").glob("*.yaml") if "task: structure" in path.read_text()
)

GOOD = """\
task: structure
name: x
stages:
- name: one
  epochs: 2
  learning_rate: 0.01
  sources:
  - file: a.csv
    draw:
    - {type: "tRNA", members: 3}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def test_defaults(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD))
    assert (recipe.seed, recipe.batch_size) == (0, 8)
    (rule,) = recipe.stages[0].sources[0].rules()
    assert (rule.pattern, rule.families, rule.members) == ("tRNA", -1, 3)
    assert recipe.net.config().channels == 48


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: x", "name: x\nsede: 3", "sede: Extra inputs"),
        ("name: x", "name: x\nnet: {chanels: 4}", r"net\.chanels: Extra inputs"),
        ("name: x\n", "", "name: Field required"),
        ("file: a.csv", "fil: a.csv", r"stages\.0\.sources\.0\.file: Field required"),
        ("epochs: 2", "epochs: two", r"stages\.0\.epochs: Input should be a valid integer"),
        ("epochs: 2", "epochs: 0", r"stages\.0\.epochs: .*greater than or equal to 1"),
        ("learning_rate: 0.01", "learning_rate: -1", r"stages\.0\.learning_rate: .*greater than"),
        ("members: 3", "members: -1", r"stages\.0\.sources\.0\.draw\.0\.members"),
        ('type: "tRNA"', 'type: "tRNA("', r"stages\.0\.sources\.0\.draw\.0\.type: .*pattern"),
        ("name: x", "name: x\nnet: {dropout: 1.0}", r"net\.dropout: .*less than 1"),
        ("name: x", "name: x\nobjective: {probe: 0}", r"objective\.probe"),
        ("name: x", "name: x\nobjective: {soft_f: 0, likelihood: 0}", "nothing to learn"),
        ("name: x", "name: x\nlanguage_model: {training: full}", r"language_model\.model: Field"),
        ("name: x", "name: x\nlanguage_model: {model: m, training: x}", r"model\.training: Input"),
        ("name: x", "name: x\nsets: [turner1066]", r"sets\.0: Input should be"),
        ("task: structure", "task: embedding", "task: Input should be 'structure'"),
        (GOOD[GOOD.index("stages") :], "stages: []\n", "stages: List should have at least 1"),
        (GOOD, "", "recipe: Input should be a valid dictionary"),
        (GOOD, "- 1\n- 2\n", "recipe: Input should be a valid dictionary"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(FormatError, match=message) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(str(path))


def test_not_yaml(tmp_path: Path) -> None:
    path = write(tmp_path, "task: structure\nname: [unclosed\nstages: 3\n")
    with pytest.raises(FormatError, match="not valid YAML") as caught:
        load_recipe(path)
    assert caught.value.line == 3
    path.write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(FormatError, match="not valid YAML"):
        load_recipe(path)


def test_stages_that_all_folds_share_come_first(tmp_path: Path) -> None:
    first = GOOD[GOOD.index("- name: one") :]
    shared = first.replace("epochs: 2", "epochs: 2\n  each_fold: false")
    recipe = load_recipe(write(tmp_path, GOOD.replace(first, shared + first)))
    assert [stage.each_fold for stage in recipe.stages] == [False, True]
    with pytest.raises(FormatError, match="each_fold: false must come before"):
        load_recipe(write(tmp_path, GOOD + shared))


def test_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(InputError, match="cannot read the recipe"):
            load_recipe(path)


def test_there_are_recipes() -> None:
    assert SHIPPED


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_recipes_parse(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert StructureRecipe.model_validate(recipe.model_dump()) == recipe


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_recipes_fit_the_real_data(path: Path, shared_data: Path) -> None:
    """Files exist and have the columns that the recipe names."""
    import lzma

    for stage in load_recipe(path).stages:
        for source in stage.sources:
            with lzma.open(shared_data / "2_secstruct" / source.file, "rt") as handle:
                columns = handle.readline().strip().split(",")
            wanted = [source.id, source.sequence, source.structure, source.family, source.type]
            assert {name for name in wanted if name} <= set(columns)
