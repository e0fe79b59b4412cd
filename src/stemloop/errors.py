"""One exception tree; every class carries the exit code that the command line returns.

===========  ====  =======================================================================
class        code  meaning
===========  ====  =======================================================================
(success)    0
(unexpected) 1     a defect in stemloop: the traceback is shown
UsageError   2     options that do not go together
InputError   3     a file or sequence that breaks its format (FormatError, AlphabetError,
                   StructureError)
OutputError  4     the output exists already, or cannot be written
WeightsError 5     a checkpoint that is missing, damaged, unsafe or of another shape
ExtraError   6     an optional package is needed: the message names the extra to install
FetchError   7     a download failed, or the network is switched off
ResultError  8     a check of the installation failed (``stemloop doctor``), or weights exploded in
                   training
===========  ====  =======================================================================
"""

from __future__ import annotations


class StemloopError(Exception):
    """Base class of all errors that stemloop raises on purpose."""

    exit_code: int = 1


class UsageError(StemloopError):
    """Options or arguments that do not go together."""

    exit_code = 2


class InputError(StemloopError):
    """Input that cannot be used.

    Parameters
    ----------
    message : str
        What is wrong.
    path : str, optional
        File the input came from (``-`` is standard input).
    line : int, optional
        Line in that file, counted from 1.
    record : str, optional
        Identifier of the record.
    expected : str, optional
        What would have been right.

    Examples
    --------
    >>> print(InputError("unknown character 'J'", path="a.fa", line=2, record="x"))
    a.fa:2: record 'x': unknown character 'J'
    """

    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        line: int | None = None,
        record: str | None = None,
        expected: str | None = None,
    ) -> None:
        self.message = message
        self.path = path
        self.line = line
        self.record = record
        self.expected = expected
        super().__init__(message)

    def __str__(self) -> str:
        where = ""
        if self.path is not None:
            where = "standard input" if self.path == "-" else self.path
        if self.line is not None:
            where += f":{self.line}" if where else f"line {self.line}"
        parts = [where] if where else []
        if self.record is not None:
            parts.append(f"record {self.record!r}")
        parts.append(self.message)
        text = ": ".join(parts)
        if self.expected is not None:
            text += f" (expected {self.expected})"
        return text


class FormatError(InputError):
    """A file that breaks its format."""


class AlphabetError(InputError):
    """A sequence with a character that is no nucleotide code."""


class StructureError(InputError):
    """Base pairs that contradict each other or the sequence."""


class OutputError(StemloopError):
    """The output cannot be written."""

    exit_code = 4


class OutputExistsError(OutputError):
    """The output is there already and may not be replaced."""


class WeightsError(StemloopError):
    """A checkpoint that is missing, damaged, unsafe or of another shape."""

    exit_code = 5


class ExtraError(StemloopError):
    """An optional package is needed.

    Parameters
    ----------
    package : str
        Package that could not be imported.
    extra : str
        Extra of stemloop that installs it.

    Examples
    --------
    >>> print(ExtraError("matplotlib", "plots"))
    this needs matplotlib: pip install 'stemloop[plots]'
    """

    exit_code = 6

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"this needs {package}: pip install 'stemloop[{extra}]'")


class FetchError(StemloopError):
    """A download failed, or the network is switched off."""

    exit_code = 7


class ResultError(StemloopError):
    """Results differ from what they must be."""

    exit_code = 8
