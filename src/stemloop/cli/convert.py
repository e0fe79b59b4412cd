"""``stemloop convert``: foreign checkpoints to our directories, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert(
    src: Annotated[
        Path,
        typer.Argument(
            help="RiNALMo's official .pt (either key layout, fine-tuned or not), RNAErnie's "
            ".pdparams or RNAErnie 2's directory, the same tensors as .safetensors, a "
            "multimolecule directory of either, or a stemloop model directory."
        ),
    ],
    dst: Annotated[
        Path, typer.Argument(help="Directory; .pt file for official layouts, .onnx file for onnx.")
    ],
    to: Annotated[
        str,
        typer.Option(
            help="stemloop; RiNALMo's official (flash names), official-noflash; onnx: the encoder "
            "of a model directory or name, for programs without torch."
        ),
    ] = "stemloop",
    heads: Annotated[
        int | None,
        typer.Option(help="Attention heads of an authors' file of none of the published sizes."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace DST.")] = False,
) -> None:
    """Convert a checkpoint; its numbers are never changed.

    A pickle that asks for anything but tensors is refused, and so is a checkpoint with a missing,
    unexpected or wrongly shaped key, which is named.
    """
    if to == "onnx":
        from stemloop.weights.onnx_export import export_onnx

        difference = export_onnx(src, dst, force=force)
        typer.echo(f"largest difference to torch: {difference:.1e}", err=True)
        typer.echo(dst)
        return
    from stemloop.weights.convert import convert as run

    checkpoint = run(src, dst, to=to, heads=heads, force=force)
    config, head = checkpoint.config, checkpoint.head
    typer.echo(f"read: {checkpoint.layout}", err=True)
    typer.echo(f"{config.layers} layers of {config.hidden}, {config.heads} heads", err=True)
    if head is not None:
        typer.echo(f"task head: {head.kind}, threshold {head.threshold}", err=True)
    for note in checkpoint.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(dst)
