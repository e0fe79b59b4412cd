"""What one user may ask of the server, so that no request can take it away from the others."""

from __future__ import annotations

from dataclasses import dataclass, fields

from stemloop.errors import UsageError


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the server; all are positive.

    Parameters
    ----------
    body : int
        Bytes of a request.
    body_seconds : float
        Within which a request must have arrived.
    rnas : int
        Sequences of a request.
    length : int
        Nucleotides of a sequence.
    total : int
        Nucleotides of a request.
    waiting : int
        Jobs that wait while one is computed.
    kept : int
        Finished jobs whose results are kept.
    kept_bytes : int
        Memory that all results may take; the oldest finished jobs go first.
    wait_seconds : float
        Longest time that a request may wait for its results.
    connections : int
        Open at the same time.

    Examples
    --------
    >>> Limits(rnas=5).rnas
    5
    """

    body: int = 2 << 20
    body_seconds: float = 20.0
    rnas: int = 1000
    length: int = 3000
    total: int = 200_000
    waiting: int = 16
    kept: int = 50
    kept_bytes: int = 256 << 20
    wait_seconds: float = 60.0
    connections: int = 200

    def __post_init__(self) -> None:
        for item in fields(self):
            if not getattr(self, item.name) > 0:
                raise UsageError(f"limit {item.name!r} must be positive")
