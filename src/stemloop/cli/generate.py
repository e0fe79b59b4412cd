"""``stemloop generate``: labelled sequences of an RNA family, with scores and filters."""

from __future__ import annotations

from typing import Annotated

import typer

from stemloop.cli.rbm_options import (
    Device,
    Force,
    HiddenChain,
    Keep,
    Seed,
    Sequences,
    Start,
    Steps,
    Threads,
    hidden_mode,
    sites_of,
)


def generate(
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Sequences in all.")],
    family: Annotated[
        str | None, typer.Option(help="Family whose generator ships: accession or name.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Instead: folder of a generator or of a run, or model file.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="Label, or LABEL=SHARE; repeatable. As in the training data by default."),
    ] = None,
    between: Annotated[
        bool, typer.Option("--between", help="One kind between the labels, by their shares.")
    ] = False,
    random_label: Annotated[
        bool, typer.Option("--random-label", help="A label at random for each sequence.")
    ] = False,
    where: Annotated[
        list[str] | None,
        typer.Option(help="Condition on a value, as cm_score>=GA or distance>5; repeatable."),
    ] = None,
    unique: Annotated[bool, typer.Option("--unique", help="No sequence twice.")] = False,
    energies: Annotated[
        bool, typer.Option("--energies", help="Fold: energy of the ensemble and the consensus.")
    ] = False,
    output: Sequences = "-",
    gaps: Annotated[bool, typer.Option("--gaps", help="Keep gaps (.sto always does).")] = False,
    steps: Steps = 10,
    seed: Seed = 0,
    start: Start = None,
    keep: Keep = None,
    hidden_chain: HiddenChain = None,
    device: Device = "cpu",
    threads: Threads = 1,
    force: Force = False,
) -> None:
    """Generate labelled sequences of an RNA family, with their scores."""
    import torch

    from stemloop.errors import UsageError
    from stemloop.tasks.base import pick_device
    from stemloop.tasks.generate_family import Order, make, report
    from stemloop.tasks.generate_files import write_results
    from stemloop.tasks.generators import open_generator

    torch.set_num_threads(threads)
    if (family is None) == (model is None):
        raise UsageError("give --family or --model")
    opened = open_generator(family or model or "", device=str(pick_device(device)))
    shares = _shares(label or [])
    if random_label:
        if label:
            raise UsageError("--label or --random-label, not both")
        shares = dict.fromkeys(opened.stored.machine.config.labels, 1.0)
    if between and len(shares) < 2:
        raise UsageError("--between needs two --label or more")
    order = Order(
        shares,
        between,
        steps,
        seed,
        start,
        sites_of(keep),
        hidden_mode(hidden_chain),
        where or (),
        unique,
        energies,
    )
    made = make(opened, count, order)
    facts = {"CC": f"{opened.stored.facts.get('name', 'RBM')}, {steps} Gibbs steps, seed {seed}"}
    columns = {"SS_cons": opened.facts["structure"]} if opened.facts.get("structure") else {}
    aligned = gaps or output.removesuffix(".gz").endswith((".sto", ".stk"))
    write_results(
        output, made.results, ungapped=not aligned, facts=facts, columns=columns, force=force
    )
    for line in report(made, opened):
        typer.echo(line, err=True)


def _shares(words: list[str]) -> dict[str, float]:
    """Labels and their shares of NAME or NAME=SHARE."""
    from stemloop.errors import UsageError

    shares: dict[str, float] = {}
    for word in words:
        name, equals, share = word.rpartition("=")
        try:
            shares[name if equals else word] = float(share) if equals else 1.0
        except ValueError:
            raise UsageError(f"--label {word!r}: write NAME or NAME=SHARE") from None
    return shares
