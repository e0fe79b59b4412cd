"""Recipe of a leaderboard: tables of a protocol or data set, and what each compares."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from stemloop.evaluation.protocols import PROTOCOLS
from stemloop.training.recipe_base import Strict, read_recipe


class Published(Strict):
    """A figure from a paper: quoted, not measured here."""

    name: str
    scores: dict[str, float]
    source: str
    differs: str


class Entry(Strict):
    """A line of a table: ``recipe`` trains a model, ``model`` names one, ``peer`` quotes scores.

    With a recipe for sequences ``model`` is the encoder, ``encoder`` what learns; ``untrained``
    takes an encoder of that shape with random weights, ``hold_out`` names a group to test on, and
    ``start`` another entry of the table whose head to start from.
    """

    name: str
    recipe: str | None = None
    model: str | None = None
    peer: str | None = None
    seed: int | None = None
    encoder: str | None = None
    untrained: bool = False
    hold_out: str | None = None
    start: str | None = None
    decoder: Literal["mea", "centroid", "mfe", "greedy", "matching", "hybrid"] = "mea"
    homologs: Literal["known", "sequences"] | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Entry:
        if self.peer is not None and (self.recipe or self.model):
            raise ValueError("a peer has neither recipe nor model")
        if not (self.recipe or self.model or self.peer):
            raise ValueError("give a recipe, a model or a peer")
        return self


class Table(Strict):
    """One protocol, or one data set, and what is compared on it."""

    name: str
    kind: Literal["structure", "sequence"]
    data: str = "."
    protocol: str | None = None
    split: list[str] | None = None
    sample: int | None = Field(None, ge=1)
    peers: str | None = None
    scores: list[str] = Field(min_length=1)
    entries: list[Entry] = Field(min_length=1)
    published: list[Published] = []

    @model_validator(mode="after")
    def _goes_together(self) -> Table:
        if self.kind == "structure" and self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}")
        if self.kind == "sequence":
            if self.protocol or self.split or self.sample or self.peers:
                raise ValueError("protocol, split, sample and peers are of structure tables")
            if any(entry.recipe is None for entry in self.entries):
                raise ValueError("entries of a sequence table need a recipe")
        if self.peers is None and any(entry.peer for entry in self.entries):
            raise ValueError("peers: is missing, the file with their scores")
        names = [entry.name for entry in self.entries]
        if len(set(names)) < len(names):
            raise ValueError("two entries have one name")
        for k, entry in enumerate(self.entries):
            if entry.start is not None and entry.start not in names[:k]:
                raise ValueError(f"start: no entry {entry.start!r} further up")
        return self


class Board(Strict):
    """A leaderboard."""

    task: Literal["benchmark"]
    name: str
    tables: list[Table] = Field(min_length=1)

    @model_validator(mode="after")
    def _names(self) -> Board:
        names = [table.name for table in self.tables]
        if len(set(names)) < len(names):
            raise ValueError("two tables have one name")
        return self


def load_board(path: str | Path) -> Board:
    """Read the recipe of a leaderboard; see `stemloop.training.recipe_base.read_recipe`."""
    return read_recipe(path, Board)
