"""What requests and answers look like."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stemloop.folding.conditions import ParameterSet
from stemloop.folding.decoders import Name

#: A path would let the user look around on the server's disk, so models have names only.
ModelName = Literal["fold-crf"] | ParameterSet
Wanted = Literal[
    "structure", "class", "type", "mutations", "splice", "ribosome_load", "interaction"
]  # fmt: skip

Identifier = Annotated[str, Field(pattern=r"^\S*$", max_length=1000)]


class Rna(BaseModel):
    """One RNA of a request."""

    model_config = ConfigDict(extra="forbid")

    id: Identifier = ""
    sequence: str = Field(
        min_length=1, description="Nucleotides, DNA letters too; two strands with & between them."
    )
    constraint: str | None = Field(
        None,
        description="a character a nucleotide, as fold -C takes them: ( ) | < > x and . for free",
    )


class Options(BaseModel):
    """What to compute, and how; named as the options of ``stemloop fold``."""

    model_config = ConfigDict(extra="forbid")

    compute: list[Wanted] = Field(
        ["structure"],
        min_length=1,
        max_length=7,
        description="splice looks at RNAs of its model's length, ribosome_load at 25 to 100 nt, "
        "interaction at two strands, class, type and mutations at one",
    )
    model: ModelName = "fold-crf"
    decoder: Name | None = Field(None, description="mea unless given")
    gamma: float | None = Field(None, gt=0, le=1e6, description="of the decoder")
    threshold: float | None = Field(None, ge=0, le=1, description="of greedy and hybrid")
    temperature: float = Field(37.0, ge=-100, le=150, description="degrees Celsius")
    max_span: int = Field(0, ge=0, le=1_000_000, description="longest j - i + 1 of a pair, 0: any")


class FoldRequest(Options):
    """RNAs, as FASTA text or as a list, and what to compute of them."""

    fasta: str | None = Field(
        None, min_length=1, description="FASTA or FASTQ; without headers, a sequence a line"
    )
    sequences: list[Rna] | None = Field(None, min_length=1)
    constraints: bool = Field(
        False, description="in fasta, a constraint follows each sequence, as for fold -C"
    )
    reactivities: str | None = Field(
        None,
        min_length=1,
        description="text of a file for fold --shape: lines of position and reactivity, of several "
        "RNAs under lines of >identifier",
    )
    shape_method: str | None = Field(
        None, max_length=40, description="deigan or zarringhalam, with numbers as in Dm1.8b-0.6"
    )
    reagent: Literal["shape", "dms"] | None = Field(None, description="of the reactivities")

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        if (self.fasta is None) == (self.sequences is None):
            raise ValueError("give either 'fasta' or 'sequences'")
        if self.constraints and self.fasta is None:
            raise ValueError("constraints stand in 'fasta', or in each of 'sequences'")
        return self


class Link(Options, Rna):
    """One RNA and its options, as parts of an address."""

    wait: float = Field(30, ge=0, le=600, description="seconds to wait for results")


class GenerateRequest(BaseModel):
    """Sequences of a family."""

    model_config = ConfigDict(extra="forbid")

    family: str = Field(max_length=200, description="of those that /api/info lists")
    count: int = Field(100, ge=1, le=1000)
    steps: int = Field(10, ge=0, le=1000, description="Gibbs steps from random states")
    seed: int = Field(0, ge=0, le=2**63 - 1)
    unique: bool = Field(False, description="no sequence twice")
    labels: dict[str, Annotated[float, Field(gt=0, le=1e6)]] = Field(
        {}, max_length=100, description="shares of labels; none: as in the training data"
    )


class Classes(BaseModel):
    """Class of a non-coding RNA, or its type as the language model guesses it."""

    label: str
    probability: float
    probabilities: dict[str, float]


class Site(BaseModel):
    """Splice site in the middle of an RNA."""

    site: Literal["donor", "acceptor", "none"]
    p_donor: float
    p_acceptor: float
    p_none: float


class Interaction(BaseModel):
    """Whether and where two strands bind, see ``stemloop interact``; positions count from 1."""

    model: str
    probability: float | None = Field(None, description="of a site, by the network for microRNAs")
    site_start: int | None = None
    site_end: int | None = None
    total_energy: float | None = Field(None, description="kcal/mol, with opening both stretches")
    opening_energy: float | None = None
    energy: float = Field(description="kcal/mol, of the most stable duplex")
    first_start: int
    first_end: int
    second_start: int
    second_end: int
    structure: str = Field(description="of the duplex")
    seed: str = Field(description="kind of seed match, for microRNAs")


class Answer(BaseModel):
    """What was computed of one RNA; positions count from 1."""

    index: int = Field(description="place in the request, from 0")
    id: str
    description: str
    length: int
    sequence: str = Field(description="of two strands, one after the other")
    cut: int | None = Field(None, description="nucleotides of the first of two strands")
    constraint: str | None = None
    command: str = Field(description="shell command that computes the same")
    structure: str | None = Field(None, description="dot-bracket")
    pairs: list[tuple[int, int]] | None = None
    energy: float | None = Field(None, description="kcal/mol, of the structure")
    ensemble_energy: float | None = Field(None, description="kcal/mol")
    ensemble_defect: float | None = Field(None, description="expected share of bases drawn wrongly")
    confidence: list[float] | None = Field(
        None, description="a nucleotide: probability of the state it is drawn in"
    )
    pair_probabilities: list[tuple[int, int, float]] | None = Field(
        None, description="pairs of 0.001 or more"
    )
    window: int | None = None
    longest_span: int | None = None
    binding_energy: float | None = Field(None, description="kcal/mol, of two strands")
    reactivities: list[float | None] | None = Field(None, description="that were used")
    layout: list[tuple[float, float]] | None = Field(
        None, description="places in a drawing, y downwards"
    )
    class_: Classes | None = Field(None, alias="class")
    type: Classes | None = None
    splice: Site | None = None
    ribosome_load: float | None = None
    interaction: Interaction | None = None
    mutations: list[tuple[float, float, float, float] | None] | None = Field(
        None, description="a nucleotide: scores of A, C, G and U in its place"
    )


class MadeSequence(BaseModel):
    """One of them."""

    id: str
    aligned: str
    values: dict[str, str | int | float | None]


class Made(BaseModel):
    """Sequences of a family."""

    family: str
    structure: str | None = Field(description="consensus, a character a column")
    labels: list[str]
    notes: list[str]
    command: str = Field(description="shell command that makes the same")
    sequences: list[MadeSequence]


class Failure(BaseModel):
    """An RNA that could not be computed."""

    index: int
    id: str
    error: str


class JobAnswer(BaseModel):
    """A job and its answers so far."""

    id: str
    state: Literal["waiting", "running", "done", "cancelled", "failed"]
    total: int = Field(description="RNAs")
    done: int = Field(description="RNAs that are through")
    ahead: int = Field(description="jobs that come before it")
    seconds: float = Field(description="of computing")
    message: str = Field(description="why it failed")
    next: int = Field(description="where to go on reading: from=")
    results: list[Answer | Made]
    errors: list[Failure]


class Problem(BaseModel):
    """Why a request was refused."""

    error: str
    record: str | None = Field(None, description="the RNA at fault")


class Family(BaseModel):
    """What sequences can be made of."""

    name: str
    labels: list[str]


class Info(BaseModel):
    """What the server offers, and its limits."""

    version: str
    compute: list[str]
    models: list[str]
    decoders: list[str]
    families: list[Family]
    limits: dict[str, float]
    example: str = Field(description="FASTA")


def first_error(errors: Any) -> str:
    """One line of what a validation found."""
    error = errors[0]
    where = ".".join(str(part) for part in error["loc"] if part not in ("body", "query", "path"))
    text = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {text}" if where else text
