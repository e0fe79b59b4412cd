"""The site builds without a network, holds every page, and its notebooks and example run."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

import stemloop

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))


# The site -------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    pytest.importorskip("material", reason="mkdocs-material is not installed (extra dev)")
    pytest.importorskip("mkdocstrings_handlers.python", reason="mkdocstrings is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    # No proxy answers there: whatever asked the network would fail.
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1", "https_proxy": "http://127.0.0.1:9"}
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return folder


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        fetched = re.findall(
            r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(https?://[^"]+)', page.read_text()
        )
        assert not fetched, f"{page.name}: {fetched}"


def test_every_page_is_on_the_site(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        assert (site / page.relative_to(ROOT / "docs").with_suffix(".html")).is_file(), page
    assert "What it does" in (site / "index.html").read_text()
    assert "archiveii_family_fold_seed0" in (site / "results.html").read_text()


def test_the_reference_has_the_public_names(site: Path) -> None:
    text = "".join(page.read_text() for page in (site / "reference").glob("*.html"))
    for name in set(stemloop.__all__) - {"__version__"}:
        module = getattr(stemloop, name).__module__
        assert f'id="{module}.{name}"' in text, f"{module}.{name}"


def test_every_page_is_in_the_navigation() -> None:
    config = (ROOT / "mkdocs.yml").read_text()
    tabs = yaml.safe_load(config)["nav"]
    listed = set(re.findall(r"[\w/-]+\.md", yaml.dump(tabs)))
    for page in (ROOT / "docs").rglob("*.md"):
        assert page.relative_to(ROOT / "docs").as_posix() in listed


# Notebooks ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def kernel() -> Any:
    """One kernel for all notebooks: torch is loaded once."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (extra dev)")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed (extra dev)")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra plots)")
    import nbformat

    client = nbclient.NotebookClient(nbformat.v4.new_notebook(), kernel_name="python3")
    client.create_kernel_manager()
    client.start_new_kernel()
    client.start_new_kernel_client()
    yield client.km
    client.kc.stop_channels()
    client.km.shutdown_kernel(now=True)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_and_say_what_they_show(path: Path, kernel: Any) -> None:
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    shown = [_texts(cell) for cell in notebook.cells]
    client = nbclient.NotebookClient(notebook, km=kernel, timeout=600)
    client.execute(cleanup_kc=False)
    assert [_texts(cell) for cell in notebook.cells] == shown


def _texts(cell: Any) -> str:
    """Text that a cell printed, in one piece or several; pictures may differ between machines."""
    found = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "image/png" not in data and "<svg" not in data.get("text/html", ""):
            found.append(output.get("text", data.get("text/plain", "")))
    return "".join(found)


# The example ----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def example() -> ModuleType:
    """``examples/extend.py``."""
    spec = importlib.util.spec_from_file_location("extend", ROOT / "examples" / "extend.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_is_short() -> None:
    assert len((ROOT / "examples" / "extend.py").read_text().splitlines()) < 100


def test_the_task_of_the_example_finds_the_loop(example: ModuleType) -> None:
    task = example.OpenStretch(4, model="turner2004")
    result = task(stemloop.SequenceRecord("x", "GGGGGAAAACCCCC"))
    assert result.values["start"] == 6
    assert result.values["open"] > 0.9
    with pytest.raises(stemloop.errors.UsageError):
        example.OpenStretch(0)


def test_the_model_of_the_example_is_an_encoder(example: ModuleType) -> None:
    model = example.neighbours(hidden=8)
    together = stemloop.embed(["GGGAAACCC", "ACGU"], model, pool=["mean", "tokens"])
    alone = stemloop.embed(["ACGU"], model, pool=["mean", "tokens"])[0]
    assert together[0].arrays["tokens"].shape == (9, 8)
    np.testing.assert_allclose(together[1].arrays["mean"], alone.arrays["mean"], atol=1e-6)
