"""Making sequences of a family: what is asked for, their values, and which are kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from stemloop.data.covariance import bit_scores
from stemloop.errors import ExtraError, ResultError, UsageError
from stemloop.evaluation.generated import nearest_rows
from stemloop.folding.thermo import fold_ensemble
from stemloop.models.rbm_chains import generate
from stemloop.models.rbm_tables import HiddenMode
from stemloop.pairs import PairArray, canonical, nested_subset, pairs_to_dot_bracket
from stemloop.records import Result, SequenceRecord
from stemloop.tasks.conditions import condition
from stemloop.tasks.generate import (
    BLOCK,
    block_generator,
    label_numbers,
    starting_point,
    values_of,
)
from stemloop.tasks.generators import Generator

#: Sequences drawn for every one asked for, before a filter is said to let too few pass.
_TRIES = 50

_ENERGIES = ("ensemble_energy", "consensus_energy")


@dataclass(frozen=True, slots=True)
class Order:
    """What to generate.

    Parameters
    ----------
    labels : mapping of str to float
        Share of each label among the sequences; empty: as among the training rows.
    between : bool
        One kind of sequence between the labels, instead of some sequences of each.
    steps : int
        Gibbs steps from random states.
    seed : int
        The same seed gives the same sequences; fewer are the first of more.
    start, keep
        See `stemloop.tasks.generate.sample`.
    hidden : str, optional
        How chains pass on hidden units; as the generator says by default.
    where : sequence of str
        Conditions that every sequence fulfils (`condition`).
    unique : bool
        No sequence twice.
    energies : bool
        Fold every sequence; conditions on energies do so anyway.
    """

    labels: Mapping[str, float] = field(default_factory=dict)
    between: bool = False
    steps: int = 10
    seed: int = 0
    start: str | None = None
    keep: Sequence[int] = ()
    hidden: HiddenMode | None = None
    where: Sequence[str] = ()
    unique: bool = False
    energies: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """What came of an order.

    Parameters
    ----------
    results : list of Result
        Aligned sequences with their values.
    drawn : int
        Sequences drawn for them.
    left_out : tuple of str
        Values that could not be computed, and why.
    """

    results: list[Result]
    drawn: int
    left_out: tuple[str, ...] = ()


def make(generator: Generator, count: int, order: Order = Order()) -> Made:
    """Generate sequences that fulfil the conditions, with their values.

    Parameters
    ----------
    generator : Generator
        The generator.
    count : int
        Sequences in all.
    order : Order
        What they are to be.

    Returns
    -------
    Made
        Values of a sequence: ``label``; ``label_probability``, exact p(label | sequence);
        ``free_energy``, minus log p(sequence) but for a constant; ``pairs``, share of the
        consensus pairs that are Watson-Crick or GU pairs here (pairs that both have gaps left
        out); ``distance``, sites that differ from the nearest training row, and ``nearest``, its
        name; ``cm_score``, bits of the covariance model; with `Order.energies`
        ``ensemble_energy`` and ``consensus_energy``, kcal/mol, of the whole ensemble and of the
        structures that have all consensus pairs that can pair here.

    Raises
    ------
    UsageError
        Unknown label or value, a count or steps below their least.
    ResultError
        Fewer than `count` of 50 times as many sequences fulfil the conditions.
    """
    if count < 1 or order.steps < 0:
        raise UsageError(f"{count} sequences after {order.steps} steps")
    stored = generator.stored
    conditions = [condition(text, generator) for text in order.where]
    scorer = Scorer(generator, order.energies or any(c.name in _ENERGIES for c in conditions))
    names, shares = _wanted(generator, order)
    results: list[Result] = []
    seen: set[bytes] = set()
    drawn = 0
    for visible, numbers in _blocks(generator, order, shares):
        place = 0
        while place < len(visible) and len(results) < count:
            if drawn >= _TRIES * count:
                raise ResultError(
                    f"{len(results)} of {drawn} sequences fulfil the conditions, {count} are "
                    "wanted: ask for less"
                )
            size = count - len(results)
            if conditions:  # a few more at once; what is left over is thrown away
                size = max(20, 2 * size)
            part = visible[place : place + size]
            asked = None if order.between else numbers[place : place + size].tolist()
            place += len(part)
            drawn += len(part)
            for states, values in scorer.rows(part, asked):
                key = states.tobytes()
                if order.unique and key in seen:
                    continue
                if len(results) < count and all(c.holds(values) for c in conditions):
                    seen.add(key)
                    text = "".join(stored.machine.config.letters[s] for s in states)
                    name = f"{'-'.join(names) if order.between else values['label'] or 'sample'}"
                    record = SequenceRecord(f"{name}-{len(results) + 1}", text, "", len(results))
                    results.append(Result(record, values))
        if len(results) == count:
            break
    return Made(results, drawn, tuple(scorer.left_out))


def _blocks(
    generator: Generator, order: Order, shares: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Sequences and their labels without end, in an order that the seed alone decides."""
    machine = generator.stored.machine
    first, fixed = starting_point(generator.stored, order.start, order.keep)
    for block in itertools.count():
        random = block_generator(machine.device, order.seed, block)
        numbers = torch.multinomial(shares, BLOCK, replacement=True, generator=random)
        yield (
            generate(
                machine, shares.expand(BLOCK, -1) if order.between else numbers, order.steps,
                random, fixed=fixed, hidden=order.hidden or generator.hidden_chain,
                start=None if first is None else first.expand(BLOCK, -1),
            ),
            numbers,
        )  # fmt: skip


def _wanted(generator: Generator, order: Order) -> tuple[list[str], torch.Tensor]:
    """Names of the labels that are wanted, and the share of every label, (C,)."""
    machine = generator.stored.machine
    if not order.labels:
        return list(machine.config.labels), torch.tensor(generator.shares, device=machine.device)
    numbers = label_numbers(generator.stored, list(order.labels))
    shares = torch.zeros(len(machine.config.labels), device=machine.device)
    for number, share in zip(numbers, order.labels.values(), strict=True):
        if not share > 0:
            raise UsageError(f"share {share:g} of a label: give a positive number")
        shares[number] = share
    return list(order.labels), shares / shares.sum()


def report(made: Made, generator: Generator) -> list[str]:
    """What to tell about generated sequences, a line each."""
    results = made.results
    distinct = len({r.record.sequence for r in results})
    lines = [f"{len(results)} sequences of {made.drawn} drawn, {len(results) - distinct} repeats"]
    if generator.training is not None:
        near = [float(r.values["distance"]) for r in results]
        lines[0] += f", {sum(d == 0 for d in near)} copies of training sequences"
        lines.append(f"median distance to the nearest one: {np.median(near):g} sites")
    threshold = generator.family.gathering if generator.family else None
    if threshold is not None and "cm_score" in results[0].values:
        above = sum(float(r.values["cm_score"]) >= threshold for r in results)
        lines.append(f"{above} reach the gathering threshold of {threshold:g} bits")
    return lines + [f"no {text}" for text in made.left_out]


class Scorer:
    """Computes the values of sequences.

    Parameters
    ----------
    generator : Generator
        Whose.
    energies : bool
        Fold them.
    """

    def __init__(self, generator: Generator, energies: bool = False) -> None:
        self.generator, self.energies = generator, energies
        self.left_out: list[str] = []

    def rows(
        self, visible: torch.Tensor, asked: Sequence[int] | None = None
    ) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        """States and values of each row.

        Parameters
        ----------
        visible : Tensor
            States, (B, N).
        asked : sequence of int, optional
            Label of each row; the likeliest otherwise.
        """
        config = self.generator.stored.machine.config
        states = visible.cpu().numpy()
        texts = ["".join(config.letters[s] for s in row) for row in states]
        values = []
        for row, found in enumerate(values_of(self.generator.stored, visible)):
            posterior = found.pop("_posterior")
            best = int(posterior.argmax()) if asked is None else asked[row]
            values.append(
                {"label": config.labels[best], "label_probability": float(posterior[best]), **found}
            )
        self._distances(states, values)
        if config.letters == "-ACGU":
            self._structure(texts, values)
            self._scores(texts, values)
        yield from zip(states, values, strict=True)

    def _leave_out(self, text: str) -> None:
        if text not in self.left_out:
            self.left_out.append(text)

    def _distances(self, states: np.ndarray, values: list[dict[str, Any]]) -> None:
        training = self.generator.training
        if training is None:
            self._leave_out("distance: the model comes without its training rows")
            return
        places, distances = nearest_rows(states, training.states, len(training.letters))
        for found, place, distance in zip(values, places, distances, strict=True):
            found |= {"distance": int(distance), "nearest": training.ids[place]}

    def _scores(self, texts: Sequence[str], values: list[dict[str, Any]]) -> None:
        if self.generator.family is None:
            self._leave_out("cm_score: the model comes without a covariance model")
            return
        try:
            scores = bit_scores(self.generator.family, [t.replace("-", "") for t in texts])
        except ExtraError as error:
            self._leave_out(f"cm_score: {error}")
            return
        for found, bits in zip(values, scores, strict=True):
            found["cm_score"] = float(bits)

    def _structure(self, texts: Sequence[str], values: list[dict[str, Any]]) -> None:
        pairs = self.generator.pairs
        if pairs is None:
            self._leave_out("pairs: the model comes without a consensus structure")
        for text, found in zip(texts, values, strict=True):
            sequence, kept, share = consensus(text, pairs)
            if pairs is not None:
                found["pairs"] = share
            if not self.energies:
                continue
            found["ensemble_energy"] = fold_ensemble(sequence).free_energy if sequence else 0.0
            if pairs is not None:
                fold = pairs_to_dot_bracket(nested_subset(kept), len(sequence))
                found["consensus_energy"] = (
                    fold_ensemble(sequence, constraint=fold).free_energy if len(kept) else 0.0
                )


def consensus(text: str, pairs: PairArray | None) -> tuple[str, PairArray, float]:
    """Sequence of an aligned row, its consensus pairs, and the share of them that can pair.

    Parameters
    ----------
    text : str
        Aligned row of RNA letters and gaps.
    pairs : numpy.ndarray, shape (n, 2), optional
        Pairs of the consensus, as sites.

    Returns
    -------
    sequence : str
        Without gaps.
    kept : numpy.ndarray, shape (m, 2)
        Consensus pairs that are Watson-Crick or GU pairs of this sequence.
    share : float
        m over the pairs of which at least one site has a letter.

    Examples
    --------
    >>> consensus("G-CAAAG-C", np.array([[0, 8], [1, 7], [2, 6]]))[1:]
    (array([[0, 6],
           [1, 5]], dtype=int32), 1.0)
    """
    sequence = text.replace("-", "")
    none = np.zeros((0, 2), np.int32)
    if pairs is None or not len(pairs):
        return sequence, none, 1.0
    there = np.array([letter != "-" for letter in text])
    place = np.cumsum(there) - 1
    both = there[pairs].all(1)
    seen = int(there[pairs].any(1).sum())
    kept = place[pairs[both]].astype(np.int32)
    if len(kept):
        # Hairpins of fewer than three bases do not fold.
        right = canonical(sequence, kept) & (kept[:, 1] - kept[:, 0] > 3)
        kept = kept[right]
    return sequence, kept, len(kept) / seen if seen else 1.0
