"""The server that runs the application. The only file that imports uvicorn."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from pathlib import Path
from typing import Any

from stemloop.errors import ExtraError, UsageError
from stemloop.web.app import LOOPBACK, create_app
from stemloop.web.engine import Engine
from stemloop.web.generate import families
from stemloop.web.limits import Limits

try:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol
except ImportError as error:
    raise ExtraError("uvicorn", "web") from error


def config_of(app: Any, limits: Limits) -> uvicorn.Config:
    """How the application is served."""

    class Patience(H11Protocol):
        """Closes connections whose request does not get past its headers; bodies are the guard's.

        Whoever sends a header now and then would otherwise keep a connection for ever.
        """

        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is None or self.cycle.response_complete:
                self._wait()
            else:
                self._stop()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop()

        def _wait(self) -> None:
            if self._late is None:
                self._late = self.loop.call_later(limits.body_seconds, self._give_up)

        def _give_up(self) -> None:
            self._late = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

        def _stop(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return uvicorn.Config(
        app, http=Patience, ws="none", log_level="warning", access_log=False, server_header=False,
        limit_concurrency=limits.connections, timeout_keep_alive=10, timeout_graceful_shutdown=2,
    )  # fmt: skip


def serve(
    host: str,
    port: int,
    limits: Limits,
    generators: tuple[Path, ...] = (),
    engine: Engine | None = None,
) -> None:
    """Run the server until it is interrupted.

    Raises
    ------
    UsageError
        The address cannot be listened on.
    WeightsError
        A folder is no generator.
    """
    families(generators)
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise UsageError(f"--host {host}: {error.strerror}") from error
    family, _, _, _, address = infos[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        # From here on whoever connects waits for the server to come up.
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise UsageError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    loopback = ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback
    hosts = (*LOOPBACK, host) if loopback else None
    app = create_app(limits, engine=engine, hosts=hosts, generators=generators)
    shown = f"[{address[0]}]" if family == socket.AF_INET6 else address[0]
    print(f"http://{shown}:{listener.getsockname()[1]}/", flush=True)
    with listener:
        uvicorn.Server(config_of(app, limits)).run(sockets=[listener])
