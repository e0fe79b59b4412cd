"""Records of the input files of a corpus, one at a time, whatever the files are.

Archives are read member by member as a stream; nothing is unpacked to disk. A damaged file is an
error that names it. What a record says of its RNA type and Rfam family is read here, too.
"""

from __future__ import annotations

import csv
import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, NamedTuple, cast

from stemloop.data.corpus_sources import InputFile, SourceRule, format_of, matches
from stemloop.data.rna_types import described_type, family_type, more_specific, rna_type
from stemloop.errors import FormatError, InputError
from stemloop.formats.embl import read_embl
from stemloop.formats.fasta import read_sequences
from stemloop.formats.stockholm_rows import read_rows
from stemloop.formats.stream import Source, open_binary, open_text, source_name

_JUNK = re.compile(r"(?:^|/)(?:__MACOSX/|\._|\.DS_Store$)")
#: What a structure line under a sequence is made of (R2DT's templates are such FASTA files).
_BRACKETS = set(".-()[]{}<>")


class Raw(NamedTuple):
    """A record before cleaning.

    `type` is one of RNAErnie's types or empty, `family` an Rfam accession or empty.
    """

    id: str
    sequence: str
    type: str
    family: str


Skip = Callable[[str, str], None]


def read_records(file: InputFile, rule: SourceRule, skip: Skip) -> Iterator[Raw]:
    """Read the records of one input file.

    Parameters
    ----------
    file : InputFile
        From `stemloop.data.corpus_sources.list_inputs`.
    rule : SourceRule
        Its source.
    skip : callable
        Told the name and the reason of every archive member that is not read.

    Yields
    ------
    Raw

    Raises
    ------
    InputError
        The file cannot be read.
    FormatError
        The file is damaged, breaks its format, or lacks a column.
    """
    if file.format == "archive":
        for name, stream in _members(file, rule, skip):
            kind = rule.format or format_of(name)
            yield from _read(stream, cast("str", kind), name, rule)
    else:
        yield from _read(str(file.path), file.format, file.path.as_posix(), rule)


def _read(source: Source, kind: str, name: str, rule: SourceRule) -> Iterator[Raw]:
    label = _Labels(rule, name)
    only = re.compile(rule.only) if rule.only else None
    identifier = re.compile(rule.id_pattern) if rule.id_pattern else None
    records = _READERS[kind](source, rule, label)
    for header, record in records:
        if only is not None and not only.search(header):
            continue
        if identifier is not None and (found := _first_group(identifier, header)):
            record = record._replace(id=found)
        yield record


class _Labels:
    """Type and family of the records of one file."""

    def __init__(self, rule: SourceRule, path: str) -> None:
        self._rule = rule
        self._type = re.compile(rule.type_pattern) if rule.type_pattern else None
        self._family = re.compile(rule.family_pattern) if rule.family_pattern else None
        self._path_family = _first_group(self._family, path)

    def __call__(self, header: str, kind: str = "", family: str = "") -> tuple[str, str]:
        """Give type and family of a record.

        Parameters
        ----------
        header : str
            Identifier and description.
        kind, family : str
            What the format itself says, where it does.
        """
        rule = self._rule
        family = family or self._path_family or _first_group(self._family, header) or rule.family
        found = self._term(kind)
        if not found:
            found = self._term(_first_group(self._type, header))
        if family:
            found = more_specific(family_type(family), found) if found else family_type(family)
        if not found and rule.describe:
            found = described_type(header)
        return more_specific(rule.type, found), family

    def _term(self, term: str) -> str:
        if not term:
            return ""
        return rna_type(self._rule.types.get(term, term))


def _first_group(pattern: re.Pattern[str] | None, text: str) -> str:
    found = pattern.search(text) if pattern else None
    return next((g for g in found.groups() if g), "") if found else ""


def _from_fasta(source: Source, rule: SourceRule, label: _Labels) -> Iterator[tuple[str, Raw]]:
    for record in read_sequences(source, alphabet_check=False, allow_empty=True):
        header = f"{record.id} {record.description}"
        sequence = record.sequence
        half, odd = divmod(len(sequence), 2)
        if not odd and "(" in sequence and _BRACKETS.issuperset(sequence[half:]):
            sequence = sequence[:half]
        yield header, Raw(record.id, sequence, *label(header))


def _from_stockholm(source: Source, rule: SourceRule, label: _Labels) -> Iterator[tuple[str, Raw]]:
    for alignment in read_rows(source):
        family = found[0] if (found := re.match(r"RF\d{5}", alignment.gf.get("AC", ""))) else ""
        kind = alignment.gf.get("TP", "")
        for name, row in alignment.rows:
            yield name, Raw(name, row, *label(name, kind, family))


def _from_embl(source: Source, rule: SourceRule, label: _Labels) -> Iterator[tuple[str, Raw]]:
    for record in read_embl(source):
        header = f"{record.id} {record.description}"
        yield header, Raw(record.id, record.sequence, *label(header, record.kind, record.family))


def _from_table(source: Source, rule: SourceRule, label: _Labels) -> Iterator[tuple[str, Raw]]:
    path = source_name(source)
    wanted = rule.columns.wanted
    with open_text(source) as handle:
        first = handle.readline()
        delimiter = "\t" if "\t" in first else ","
        quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
        head = next(csv.reader([first], delimiter=delimiter, quoting=quoting), [])
        rows = csv.reader(handle, delimiter=delimiter, quoting=quoting)
        ahead: Iterable[list[str]] = ()
        if isinstance(next(iter(wanted.values())), int):
            places = {key: int(column) - 1 for key, column in wanted.items()}
            ahead = (head,)
        else:
            for column in wanted.values():
                if column not in head:
                    raise FormatError(
                        f"no column {column!r}", path=path, line=1, expected=", ".join(head)[:200]
                    )
            places = {key: head.index(str(column)) for key, column in wanted.items()}
        last = max(places.values())
        for number, row in enumerate((row for part in (ahead, rows) for row in part), 1):
            if not row:
                continue
            if len(row) <= last:
                raise FormatError(
                    f"{len(row)} fields", path=path, line=number, expected=f"{last + 1} or more"
                )
            cell = {key: row[place].strip() for key, place in places.items()}
            name = (cell.get("id", "").split() or [f"row{number}"])[0]
            family = found[0] if (found := re.match(r"RF\d{5}", cell.get("family", ""))) else ""
            labels = label(name, cell.get("type", ""), family)
            yield name, Raw(name, cell["sequence"], *labels)


_READERS = {
    "fasta": _from_fasta,
    "stockholm": _from_stockholm,
    "embl": _from_embl,
    "table": _from_table,
}


class _Named(io.RawIOBase):
    """A member of an archive as a stream whose name, for messages, is ``archive!member``."""

    def __init__(self, inner: IO[bytes], name: str) -> None:
        self._inner = inner
        self.name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer))
        with _damage(self.name):
            data = self._inner.read(len(view))
        view[: len(data)] = data
        return len(data)


@contextmanager
def _damage(path: str) -> Iterator[None]:
    """Name the archive whose bytes are wrong."""
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise FormatError(
            f"the archive is damaged: {error}", path=path, expected="a whole file"
        ) from error
    except (RuntimeError, NotImplementedError) as error:
        # zipfile: encrypted, or a compression that is not built in.
        raise FormatError(f"cannot be unpacked: {error}", path=path) from error


def _members(file: InputFile, rule: SourceRule, skip: Skip) -> Iterator[tuple[str, io.BytesIO]]:
    """Readable members in the order of the archive: (archive!member, stream)."""
    walk = _zip_members if file.path.suffix.lower() == ".zip" else _tar_members
    for member, opened in walk(file):
        name = f"{file.path.as_posix()}!{member}"
        shown = f"{file.name}!{member}"
        kind = rule.format or format_of(member)
        if _JUNK.search(member):
            skip(shown, "left behind by the archive program")
        elif rule.members and not matches(name, rule.members):
            skip(shown, "not among the members that its source names")
        elif matches(name, rule.exclude):
            skip(shown, "excluded by its source")
        elif kind is None or kind == "archive":
            skip(shown, "not understood: no reader for this name")
        else:
            with _damage(shown):
                inner = opened()
            stream = _Named(inner, shown)
            yield name, cast("io.BytesIO", io.BufferedReader(stream, 1 << 16))


_Opened = tuple[str, Callable[[], IO[bytes]]]


def _tar_members(file: InputFile) -> Iterator[_Opened]:
    path = str(file.path)
    with open_binary(path) as raw:
        with _damage(path):
            archive = tarfile.open(fileobj=raw, mode="r|")
        with archive:
            while True:
                with _damage(path):
                    member = archive.next()
                if member is None:
                    return
                if member.isfile():
                    yield member.name, partial(_extract, archive, member)


def _zip_members(file: InputFile) -> Iterator[_Opened]:
    path = str(file.path)
    try:
        handle = open(path, "rb")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    with handle:
        with _damage(path):
            archive = zipfile.ZipFile(handle)
        for member in archive.infolist():
            if not member.is_dir():
                yield member.filename, partial(archive.open, member)


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    return cast("IO[bytes]", archive.extractfile(member))
