"""What goes into a corpus: the sources file, and the input files it speaks of.

A sources file (YAML) names the collections that a corpus is made of, in the order of preference
(of two copies of a sequence the first source's stays), with licence, address and the hints needed
to read them; and the files that stay out, with the reason. Patterns are those of the shell, where
``*`` also crosses folders: they are compared with the end of a file's path, and for archives with
``path!member``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from stemloop.data.rna_types import rna_type
from stemloop.errors import FormatError, InputError

COMPRESSIONS = (".gz", ".xz", ".zst", ".bz2")
FORMATS = {
    "fasta": (".fa", ".fasta", ".fna", ".ffn", ".fas", ".frn"),
    "stockholm": (".sto", ".stk", ".stockholm", ".seed"),
    "embl": (".embl", ".dat", ".ncr"),
    "table": (".tsv", ".csv"),
    "archive": (".tar", ".tgz", ".txz", ".zip"),
}
#: An Rfam accession that starts a file name or stands alone in a header.
FAMILY_PATTERN = r"(?:^|[/!])(RF\d{5})(?=[^/!]*$)"
#: Where headers state the type: RNAcentral, Ensembl.
TYPE_PATTERN = r"^URS\w+ (\w+) from \d+ species|\btranscript_biotype:(\w+)|\bgene_biotype:(\w+)"


def format_of(name: str) -> str | None:
    """Format that a file name stands for, whatever its compression.

    Examples
    --------
    >>> format_of("a/Rfam.seed.gz"), format_of("x.tar.xz"), format_of("README.md")
    ('stockholm', 'archive', None)
    """
    path = Path(name.lower())
    if path.suffix in COMPRESSIONS:
        path = path.with_suffix("")
    return next((kind for kind, ends in FORMATS.items() if path.suffix in ends), None)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _check_pattern(value: str | None) -> str | None:
    if value is not None:
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        if not groups:
            raise ValueError("the regular expression has no group (...) for what is wanted")
    return value


class Columns(_Strict):
    """Columns of a table: names, or numbers from 1 where the table has no header line."""

    sequence: str | int = "sequence"
    id: str | int | None = None
    type: str | int | None = None
    family: str | int | None = None

    @model_validator(mode="after")
    def _same_kind(self) -> Columns:
        kinds = {type(c) for c in self.wanted.values()}
        if len(kinds) > 1:
            raise ValueError("columns are all names or all numbers")
        if any(isinstance(c, int) and c < 1 for c in self.wanted.values()):
            raise ValueError("column numbers count from 1")
        return self

    @property
    def wanted(self) -> dict[str, str | int]:
        """The columns that are set."""
        return {k: v for k, v in self.model_dump().items() if v is not None}


class SourceRule(_Strict):
    """One collection of sequences (a key of the sources file each; see docs/corpus.md)."""

    name: str = Field(min_length=1, pattern=r"^\S+$")
    files: tuple[str, ...] = Field(min_length=1)
    licence: str
    url: str = ""
    records: str = ""
    note: str = ""
    format: Literal["fasta", "stockholm", "embl", "table"] | None = None
    members: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    columns: Columns = Columns()
    type: str = ""
    type_pattern: str | None = TYPE_PATTERN
    describe: bool = False
    types: dict[str, str] = {}
    family: str = Field("", pattern=r"^(RF\d{5})?$")
    family_pattern: str | None = FAMILY_PATTERN
    id_pattern: str | None = None
    only: str | None = None
    fraction: float = Field(1.0, gt=0, le=1)
    max_records: int | None = Field(None, ge=1)

    _patterns = field_validator("type_pattern", "family_pattern", "id_pattern")(_check_pattern)

    @field_validator("only")
    @classmethod
    def _regular(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"no regular expression: {error}") from error
        return value

    @field_validator("type")
    @classmethod
    def _known(cls, value: str) -> str:
        if value and not rna_type(value):
            raise ValueError(f"unknown RNA type {value!r}")
        return rna_type(value)

    @field_validator("types")
    @classmethod
    def _all_known(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value.values():
            if name and not rna_type(name):
                raise ValueError(f"unknown RNA type {name!r}")
        return value


class Excluded(_Strict):
    """Files that stay out, and why."""

    files: tuple[str, ...] = Field(min_length=1)
    reason: str = Field(min_length=1)


class Sources(_Strict):
    """A sources file."""

    sources: tuple[SourceRule, ...]
    exclude: tuple[Excluded, ...] = ()

    @model_validator(mode="after")
    def _names_differ(self) -> Sources:
        names = [rule.name for rule in self.sources]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sources are called {name!r}")
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the sources, in order."""
        return tuple(rule.name for rule in self.sources)


def load_sources(path: str | Path) -> Sources:
    """Read a sources file.

    Raises
    ------
    InputError
        The file cannot be read.
    FormatError
        It is no YAML, or a key is missing, unknown or wrong; the message names it.
    """
    try:
        content: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        return Sources.model_validate(content)
    except OSError as error:
        raise InputError(
            f"cannot read the sources file: {error.strerror}", path=str(path)
        ) from error
    except UnicodeDecodeError as error:
        raise FormatError("not valid YAML", path=str(path), expected="UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        raise FormatError("not valid YAML", path=str(path), line=line) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "sources file"
        raise FormatError(f"{where}: {first['msg']}", path=str(path)) from error


@dataclass(frozen=True)
class InputFile:
    """A file that is read.

    Parameters
    ----------
    name : str
        Path as the manifest shows it: relative to the input it was found in.
    path : pathlib.Path
        Where it is.
    rule : int
        Number of its source.
    format : str
        One of `FORMATS`.
    """

    name: str
    path: Path
    rule: int
    format: str


@dataclass(frozen=True)
class Skipped:
    """A file (or members of an archive) that is not read, and why."""

    name: str
    reason: str


def matches(path: str, patterns: Sequence[str]) -> bool:
    """Tell whether the end of a path fits one of the shell patterns.

    Examples
    --------
    >>> matches("/data/lncrna/x.fa.gz", ["lncrna/*.gz"]), matches("/data/ylncrna/x", ["lncrna/*"])
    (True, False)
    """
    return any(fnmatchcase(path, p) or fnmatchcase(path, f"*/{p}") for p in patterns)


def _walk(top: Path) -> Iterator[tuple[str, Path]]:
    if not top.is_dir():
        if not top.is_file():
            raise InputError("no such file or folder", path=str(top))
        yield top.name, top
        return

    def fail(error: OSError) -> None:
        raise InputError(f"cannot be read: {error.strerror}", path=str(error.filename))

    for folder, folders, names in os.walk(top, onerror=fail):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            yield path.relative_to(top).as_posix(), path


def list_inputs(
    inputs: Sequence[str | Path], sources: Sources | None
) -> tuple[Sources, list[InputFile], list[Skipped]]:
    """Find the files to read, in the order they are read: by source, then by path.

    Parameters
    ----------
    inputs : sequence of path
        Files and folders.
    sources : Sources, optional
        Without one, every input is a source of its own, under no stated licence.

    Returns
    -------
    sources : Sources
    files : list of InputFile
    skipped : list of Skipped
        Files that no reader or no source fits, or that the sources file excludes.

    Raises
    ------
    InputError
        An input does not exist, or nothing in it is understood.
    """
    own = sources is None
    rules: list[SourceRule] = [] if sources is None else list(sources.sources)
    files: list[InputFile] = []
    skipped: list[Skipped] = []
    seen: set[Path] = set()
    for given in inputs:
        top = Path(given)
        understood, passed = False, len(skipped)
        if own:
            name = re.sub(r"\s", "_", _stem(top.resolve().name or "input"))
            while any(rule.name == name for rule in rules):
                name += "+"
            rules.append(SourceRule(name=name, files=("*",), licence="not stated", describe=True))
        for name, path in _walk(top):
            where = path.resolve()
            if where in seen:
                understood = True
                continue
            seen.add(where)
            found = _place(name, where, path, rules[-1:] if own else rules, sources)
            if isinstance(found, Skipped):
                skipped.append(found)
            else:
                understood = True
                rule = len(rules) - 1 if own else found.rule
                files.append(InputFile(found.name, found.path, rule, found.format))
        if not understood:
            reasons = sorted({s.reason for s in skipped[passed:]})[:3]
            raise InputError(
                "nothing in it is understood" + (f" ({'; '.join(reasons)})" if reasons else ""),
                path=str(given),
                expected="FASTA, Stockholm, EMBL, tables, or archives of them, named by the "
                "sources file",
            )
    files.sort(key=lambda f: (f.rule, f.name))
    return Sources(sources=tuple(rules), exclude=sources.exclude if sources else ()), files, skipped


def _stem(name: str) -> str:
    return name.split(".", 1)[0] or name


def _place(
    name: str, where: Path, path: Path, rules: Sequence[SourceRule], sources: Sources | None
) -> InputFile | Skipped:
    full = where.as_posix()
    for excluded in sources.exclude if sources else ():
        if matches(full, excluded.files):
            return Skipped(name, f"excluded: {excluded.reason}")
    for number, rule in enumerate(rules):
        if matches(full, rule.files):
            kind = format_of(name)
            if kind == "archive" or rule.format is None:
                chosen = kind
            else:
                chosen = rule.format
            if chosen is None:
                return Skipped(name, "not understood: no reader for this name")
            if chosen == "table" and sources is None:
                return Skipped(name, "a table, whose columns only a sources file can name")
            return InputFile(name, path, number, chosen)
    return Skipped(name, "no source of the sources file names it")
