"""What mkdocs cannot do by itself with pages that are also read as plain files.

- The README is the first page.
- Links that lead out of ``docs/`` (recipes, results, the licence) get a copy on the site.
- Notebooks of ``examples/notebooks`` become pages, with the outputs that are stored in them.
- The results in ``benchmarks/results`` get a table.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(\]\(|src=\")([^)#\s\"]+)((?:#[^)]*)?[)\"])")
FOLDERS = {"benchmarks/results": "results.md", "examples/notebooks": "notebooks/fold.md"}
SCHEMAS = {
    "stemloop.structure-scores": "stemloop evaluate structure",
    "stemloop.language-model": "stemloop evaluate lm",
    "stemloop.label-scores": "stemloop evaluate sequence",
    "stemloop.interaction-scores": "stemloop evaluate interaction",
}
SHOWN = {".yaml": "yaml", ".py": "python", ".cff": "yaml"}


def outward(text: str, folder: str, files: Files, config: MkDocsConfig) -> str:
    """Give the links of a page in ``folder`` targets on the site; add what they lead to."""

    def target(match: re.Match[str]) -> str:
        link = match[2]
        if "://" in link or link.startswith("mailto:"):
            return match[0]
        path = (ROOT / folder / link).resolve()
        inside = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
        if inside.startswith("docs/"):
            new = inside.removeprefix("docs/")
        elif inside == "README.md":
            new = "index.md"
        elif inside in FOLDERS:
            new = FOLDERS[inside]
        elif path.suffix == ".ipynb" and path.is_file():
            new = f"notebooks/{path.stem}.md"
        elif path.is_file():
            new = _copy(path, inside, files, config)
        else:
            return match[0]  # mkdocs complains
        return match[1] + new + match[3]

    return LINK.sub(target, text)


def _copy(path: Path, inside: str, files: Files, config: MkDocsConfig) -> str:
    """Put a file of the repository on the site: as a page if it can be read there."""
    language = SHOWN.get(path.suffix)
    if language is None:
        address = f"files/{inside}"
        if files.get_file_from_path(address) is None:
            files.append(File.generated(config, address, abs_src_path=str(path)))
        return address
    address = f"files/{inside}.md"
    if files.get_file_from_path(address) is None:
        head = "---\nsearch: {exclude: true}\n---\n"
        page = f"{head}# {inside}\n\n```{language}\n{path.read_text()}```\n"
        files.append(
            File.generated(config, address, content=page, inclusion=InclusionLevel.NOT_IN_NAV)
        )
    return address


def notebook(path: Path) -> str:
    """Text of a notebook as a page."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data: dict[str, Any] = output.get("data", {})
            if "text/html" in data:
                parts.append(f'<div class="output">{"".join(data["text/html"])}</div>')
            elif "image/svg+xml" in data:
                image = base64.b64encode("".join(data["image/svg+xml"]).encode()).decode()
                parts.append(f"![output](data:image/svg+xml;base64,{image})")
            elif "image/png" in data:
                parts.append(f"![output](data:image/png;base64,{data['image/png'].strip()})")
            else:
                text = "".join(output.get("text", data.get("text/plain", "")))
                parts.append(f"```text\n{text}\n```")
    run = f"*A notebook: `examples/notebooks/{path.name}` in the repository.*"
    parts.insert(1, run)
    return "\n\n".join(parts) + "\n"


def writer(path: Path, record: dict[str, Any]) -> str:
    """What wrote a result that does not say so: the script of its name, or its schema's command."""
    script = ROOT / "benchmarks" / f"{record.get('benchmark', path.stem)}.py"
    if script.is_file():
        return f"python benchmarks/{script.name}"
    if path.stem.startswith("rbm_family"):
        return "python benchmarks/rbm_family.py"
    if path.stem.startswith("rbm_"):
        return "stemloop rbm evaluate"
    return SCHEMAS.get(record.get("schema", ""), "")


def results() -> str:
    """A table of the measured results, a row a file."""
    rows = []
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.json")):
        record = json.loads(path.read_text())
        command = str(record.get("command", "")) or writer(path, record)
        rows.append(
            f"| [{path.stem}](../benchmarks/results/{path.name}) | "
            f"{f'`{command}`' if command else ''} |"
        )
    return "\n".join(
        [
            "# Results",
            "",
            "The figures of these pages come from files that a command wrote: which, with what",
            "seed and data, is in them. A test compares figures in the text with the files.",
            "",
            "| file | written by |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and the files that pages lead to."""
    for path in (ROOT / "docs").glob("*.md"):
        outward(path.read_text(), "docs", files, config)
    made = {"index.md": outward((ROOT / "README.md").read_text(), ".", files, config)}
    made["results.md"] = outward(results(), "docs", files, config)
    for path in sorted((ROOT / "examples" / "notebooks").glob("*.ipynb")):
        made[f"notebooks/{path.stem}.md"] = notebook(path)
    for address, text in made.items():
        files.append(File.generated(config, address, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Follow links out of ``docs/``, but in pages that were made."""
    if page.file.generated_by is not None or "/" in page.file.src_uri:
        return markdown
    return outward(markdown, "docs", files, config)
