"""``stemloop serve``: a web page and a JSON API on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine can reach 0.0.0.0.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    max_rnas: Annotated[int, typer.Option(min=1, help="Sequences of a request.")] = 1000,
    max_length: Annotated[int, typer.Option(min=1, help="Nucleotides of a sequence.")] = 3000,
    max_total: Annotated[int, typer.Option(min=1, help="Nucleotides of a request.")] = 200_000,
    max_body: Annotated[int, typer.Option(min=1, help="Kilobytes of a request.")] = 2048,
    generator: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of a generator, beside those that ship; repeatable."),
    ] = None,
    queue: Annotated[int, typer.Option(min=1, help="Jobs that may wait.")] = 16,
) -> None:
    """Serve a page for folding RNAs and looking at them, and the same as a JSON API.

    There are no accounts: whoever reaches the address may use it. Nothing is written to disk.
    """
    from stemloop.web.engine import ProcessEngine
    from stemloop.web.limits import Limits

    limits = Limits(
        rnas=max_rnas, length=max_length, total=max_total, body=max_body * 1024, waiting=queue
    )
    engine = ProcessEngine()
    # Its libraries load in the other process while those of the server load in this one.
    engine.start()
    try:
        from stemloop.web.server import serve as run

        run(host, port, limits, tuple(folder.resolve() for folder in generator or ()), engine)
    finally:
        engine.close()
