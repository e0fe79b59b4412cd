"""Recipes of RBMs, as validated objects, and reading the data they name."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from stemloop.data.aligned import read_alignment
from stemloop.data.binary import read_binary
from stemloop.data.covariance import CovarianceModel, align, build, find_family, read_model
from stemloop.data.hdf5 import read_hdf5
from stemloop.data.labelled import (
    Labelled,
    apply_names,
    label_rows,
    labels_by_pattern,
    labels_from_table,
)
from stemloop.data.taxonomy import labels_by_taxonomy
from stemloop.errors import InputError, UsageError
from stemloop.formats.alignment import format_alignment, read_stockholm
from stemloop.formats.fasta import read_sequences
from stemloop.training.recipe_base import Strict


class TableLabels(Strict):
    """Labels from a table, see `stemloop.data.labelled.labels_from_table`."""

    file: str
    key: str
    label: str
    pattern: str | None = None


class TaxonomyLabels(Strict):
    """Labels from a taxonomy, see `stemloop.data.taxonomy`."""

    file: str
    rank: str = "phylum"
    headers: str | None = None


class LabelRecipe(Strict):
    """Where labels come from: the rows' own column, their headers, a table or a taxonomy."""

    column: str | int | None = None
    header: str | None = None
    table: TableLabels | None = None
    taxonomy: TaxonomyLabels | None = None
    names: dict[str, str] = {}
    least: int = Field(2, ge=2)
    rare: Literal["error", "missing", "drop"] = "error"
    unlabelled: Literal["keep", "drop"] = "keep"

    @model_validator(mode="after")
    def _one_source(self) -> LabelRecipe:
        if sum(s is not None for s in (self.column, self.header, self.table, self.taxonomy)) != 1:
            raise ValueError("give one of column, header, table, taxonomy")
        return self


class Split(Strict):
    """What is held out, see `stemloop.data.labelled.split_rows`."""

    test: float = Field(0.2, gt=0, lt=1)
    seed: int = Field(0, ge=0)
    group: str | None = None


class FamilyRecipe(Strict):
    """A covariance model: its file, or a family of a Stockholm file of seed alignments."""

    model: str | None = None
    seed: str | None = None
    name: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> FamilyRecipe:
        if (self.model is None) == (self.seed is None):
            raise ValueError("give a covariance model, or a seed alignment to build it from")
        return self

    def read(self, folder: Path) -> CovarianceModel:
        """Read the model, or build it."""
        if self.model is not None:
            return read_model(folder / self.model)
        assert self.seed is not None
        path = folder / self.seed
        return build(find_family(path, self.name) if self.name else read_stockholm(path))


class DataRecipe(Strict):
    """A data file and how to read it.

    ``kind: alignment`` takes format, alphabet, max_gaps, ambiguous, name, sequence;
    ``kind: unaligned``, FASTA of RNA, takes family, max_gaps, ambiguous;
    ``kind: binary`` takes name, skip, threshold, header (columns by number);
    ``kind: hdf5``, a file of the F&F program, takes letters; `labels.column` may be any word.
    """

    file: str
    kind: Literal["alignment", "unaligned", "binary", "hdf5"] = "alignment"
    letters: str | None = None
    family: FamilyRecipe | None = None
    format: Literal["fasta", "a2m", "stockholm", "table"] | None = None
    alphabet: Literal["rna", "protein"] = "rna"
    max_gaps: float | None = Field(None, ge=0, lt=1)
    ambiguous: Literal["error", "gap", "drop"] = "error"
    name: str | int | None = None
    sequence: str = "sequence"
    skip: tuple[int, ...] = ()
    threshold: float | None = None
    header: bool = False
    labels: LabelRecipe | None = None
    split: Split | None = Split()

    @model_validator(mode="after")
    def _fits(self) -> DataRecipe:
        binary = self.kind == "binary"
        column = self.labels.column if self.labels else None
        for what, value in (("name", self.name), ("labels.column", column)):
            if value is not None and isinstance(value, int) != binary:
                raise ValueError(f"{what}: a number for binary data, else a word")
        if (self.kind == "unaligned") != (self.family is not None):
            raise ValueError("family: for unaligned data, and needed there")
        return self

    def reading(self) -> dict[str, Any]:
        """How to read other files of this kind, as JSON values: without labels and split."""
        left_out = {"file", "labels", "split", "max_gaps", "family", "kind"}
        kind = "alignment" if self.kind == "unaligned" else self.kind
        return {**self.model_dump(mode="json", exclude=left_out), "kind": kind, "split": None}

    def read(self, folder: str | Path, names: tuple[str, ...] | None = None) -> Labelled:
        """Read the data with its labels.

        Parameters
        ----------
        folder : str or path
            Folder that the recipe's files are in.
        names : tuple of str, optional
            Labels of a trained model, in its order.

        Raises
        ------
        StemloopError
            See the readers.
        """
        path = Path(folder) / self.file
        if not path.exists():
            raise InputError("no such file", path=str(path), expected="the recipe's data file")
        column = self.labels.column if self.labels else None
        if self.kind == "binary":
            assert not isinstance(self.name, str)
            assert not isinstance(column, str)
            data = read_binary(
                path, name=self.name, label=column, skip=self.skip, threshold=self.threshold,
                header=self.header,
            )  # fmt: skip
        elif self.kind == "hdf5":
            data = read_hdf5(path, letters=self.letters)
        else:
            assert not isinstance(self.name, int)
            assert not isinstance(column, int)
            source: Path | io.StringIO = path
            kind = self.format
            if self.family is not None:
                rows = align(self.family.read(Path(folder)), read_sequences(path))
                source, kind = io.StringIO(format_alignment(rows)), "stockholm"
            data = read_alignment(
                source, format=kind, alphabet=self.alphabet, max_gaps=self.max_gaps,
                ambiguous=self.ambiguous, columns=(self.name, self.sequence, column),
            )  # fmt: skip
        return self._labelled(data, Path(folder), names)

    def _labelled(self, data: Labelled, folder: Path, names: tuple[str, ...] | None) -> Labelled:
        rule = self.labels
        if rule is None:
            return data
        if rule.header is not None:
            words = labels_by_pattern(data, rule.header)
        elif rule.table is not None:
            t = rule.table
            words = labels_from_table(
                data, folder / t.file, key=t.key, label=t.label, pattern=t.pattern
            )
        elif rule.taxonomy is not None:
            x = rule.taxonomy
            headers = folder / x.headers if x.headers else None
            words = labels_by_taxonomy(data, folder / x.file, rank=x.rank, headers=headers)
        else:
            words = list(data.given)
        data = label_rows(
            data, apply_names(words, rule.names), names=names, least=rule.least, rare=rule.rare
        )
        return data.take(data.labels >= 0) if rule.unlabelled == "drop" else data


class Optimiser(Strict):
    """Gradient ascent. Rates go from `learning_rate` to `final_learning_rate` geometrically.

    ``warmup``: the rate rises over so many updates first. Many hidden units begin alike and move
    together: large rates may run away with them.
    ``average``: what is kept is a moving average of the weights, of which this share stays at an
    update; it has less of the noise of large rates. Training itself does not see it.
    """

    name: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = Field(0.01, gt=0)
    final_learning_rate: float | None = Field(None, gt=0)
    label_rate: float = Field(1.0, ge=0)
    momentum: float = Field(0.0, ge=0, lt=1)
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: int = Field(0, ge=0)
    average: float = Field(0.0, ge=0, lt=1)
    l1: float = Field(0.0, ge=0)
    l2: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> Optimiser:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs momentum")
        return self


class RBMRecipe(Strict):
    """Training of an RBM with labels.

    ``mode``: ``ff`` (out of equilibrium: chains of `steps` steps from random states, for every
    batch anew), ``pcd`` (persistent chains) or ``cd`` (chains from the data). ``gradients``, for
    ``ff``: ``alternate`` takes two updates a batch, that of the generating chain and that of the
    classifying one; ``combined`` adds both; ``generation`` leaves the second out.
    ``label_gradient``: how the classifying one is estimated, by Gibbs steps or exactly.
    """

    task: Literal["rbm"]
    name: str
    seed: int = Field(0, ge=0)
    data: DataRecipe
    hidden: int = Field(ge=1)
    mode: Literal["ff", "pcd", "cd"] = "ff"
    gradients: Literal["alternate", "combined", "generation"] = "alternate"
    label_gradient: Literal["gibbs", "exact"] = "gibbs"
    missing: Literal["gibbs", "exact"] = "exact"
    steps: int = Field(10, ge=1)
    final_steps: int | None = Field(None, ge=1)
    hidden_chain: Literal["sample", "mean"] = "sample"
    chain_dtype: Literal["float32", "bfloat16"] = "float32"
    batch: int = Field(500, ge=1)
    updates: int = Field(ge=1)
    centred: bool = True
    reweight: float | None = Field(None, gt=0, le=1)
    initial_scale: float = Field(1e-4, gt=0)
    pseudocount: float = Field(0.0, ge=0, lt=1)
    optimiser: Optimiser = Optimiser()
    max_weight: float = Field(100.0, gt=0)
    ages: int = Field(20, ge=1)
    save_every: int = Field(500, ge=1)
    log_every: int = Field(100, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> RBMRecipe:
        if self.save_every % self.log_every:
            raise ValueError("save_every must be a multiple of log_every")
        return self

    def changed(self, settings: Iterable[str]) -> RBMRecipe:
        """With other values, given as ``key=value`` or ``key.key=value``.

        Raises
        ------
        UsageError
            A setting has no equals sign, is unknown or out of range.
        """
        values = self.model_dump()
        for setting in settings:
            path, equals, text = setting.partition("=")
            *above, last = path.split(".")
            place: Any = values
            for key in above:
                place = place.get(key) if isinstance(place, dict) else None
            if not equals or not isinstance(place, dict) or last not in place:
                raise UsageError(f"no setting {setting!r}: write KEY=VALUE, KEY as in the recipe")
            place[last] = yaml.safe_load(text)
        try:
            return RBMRecipe.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UsageError(f"{where or 'recipe'}: {first['msg']}") from error
