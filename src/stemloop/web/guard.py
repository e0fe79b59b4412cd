"""What every request passes first: whose name it was sent to, how large it is, how slowly it comes.

Plain ASGI, since the body has to be counted while it comes in.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from stemloop.web.limits import Limits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

#: A refused body is read to this many times its limit, and thrown away: a client that is still
#: sending when the connection closes would not see why.
_DRAIN = 20

#: Nothing from elsewhere, nothing inline, in nobody's frame.
_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


class Guard:
    """Refuse foreign names (400) and pages (403), large bodies (413), slow ones (408); add headers.

    Parameters
    ----------
    app : ASGI application
        What comes behind.
    limits : Limits
        Of the body.
    hosts : collection of str, optional
        Names that the server may be called by, any without. A page elsewhere whose name was made to
        point to this machine would otherwise read what is computed here.
    """

    def __init__(self, app: App, *, limits: Limits, hosts: Collection[str] | None = None) -> None:
        self.app, self.limits, self.hosts = app, limits, hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if self.hosts is not None and _name(host) not in self.hosts:
            await _refuse(send_more, 400, f"unknown host {host!r}")
            return
        if _from_elsewhere(headers):
            await _refuse(send_more, 403, "a page of another site asked for this")
            return
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                body = await self._body(receive, headers)
        except TimeoutError:
            text = f"the request did not arrive within {self.limits.body_seconds:g} s"
            await _refuse(send_more, 408, text)
            return
        if body is None:
            await _refuse(send_more, 413, f"the request is larger than {self.limits.body} bytes")
            return
        handed = False

        async def receive_again() -> Message:
            nonlocal handed
            if handed:
                return await receive()
            handed = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, receive_again, send_more)

    async def _body(self, receive: Receive, headers: dict[bytes, bytes]) -> bytes | None:
        """The whole body, none if it is too large."""
        limit = self.limits.body
        try:
            told = int(headers.get(b"content-length", b"0"))
        except ValueError:
            told = 0
        if told > _DRAIN * limit:
            return None
        parts: list[bytes] = []
        size, more = 0, True
        while more and size <= _DRAIN * limit:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            chunk = message.get("body", b"")
            size += len(chunk)
            if size <= limit:
                parts.append(chunk)
            else:
                parts.clear()
            more = message.get("more_body", False)
        return None if size > limit else b"".join(parts)


def _from_elsewhere(headers: dict[bytes, bytes]) -> bool:
    """Whether a browser says that another site's page is behind it, other than by a link.

    Such a page could not read the answer, but it could make this machine compute.
    """
    if headers.get(b"sec-fetch-site") not in (b"cross-site", b"same-site"):
        return False
    return headers.get(b"sec-fetch-dest") != b"document"


def _name(host: str) -> str:
    """Host without port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower()


async def _refuse(send: Send, status: int, text: str) -> None:
    body = json.dumps({"error": text, "record": None}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
