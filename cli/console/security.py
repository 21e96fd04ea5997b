"""Who may use the console: the browser that opened the printed address, on this machine, and no page of another site."""

import secrets
from typing import ClassVar

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cli.console.server import HOST
from cli.console.words import say


class Security:
    """Answers who may not come in, and adds to every answer what a browser may do with it.

    Only the names of this machine are known as a host, so that no name of another site can be made to lead here (DNS
    rebinding). The token of the printed address is exchanged once for a cookie. What changes something must come from
    a page of the console itself: to a cookie all ports of this machine are one site, so it alone would not say so.

    Parameters
    ----------
    app
        The pages.
    port
        The port on which this machine listens.
    token
        What the printed address ends with.
    """

    HEADERS: ClassVar = {
        "content-security-policy": "default-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
        "object-src 'none'",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        # "no-referrer" would make browsers send no origin with a form.
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
    }

    def __init__(self, app: ASGIApp, *, port: int, token: str) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in (HOST, "localhost")}
        self._token: str | None = token
        self._cookie_name = f"msupply_dhis2_console_{port}"
        self._cookie = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer why not."""
        if scope["type"] != "http":
            # The server's beginning and end; it is started without web sockets.
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.HEADERS)
            await send(message)

        answer = self._answer(Request(scope)) or self._app
        await answer(scope, receive, send_with_headers)

    def _answer(self, request: Request) -> Response | None:
        """Return what is answered at the door; ``None``: the request may come in."""
        host = request.headers.get("host", "")
        if host not in self._hosts:
            return PlainTextResponse(say("security.host"), 421)
        is_known = _equal(request.cookies.get(self._cookie_name, ""), self._cookie)
        token = request.query_params.get("token")
        if token is not None and request.url.path == "/" and request.method == "GET":
            return self._exchange(token, is_known=is_known)
        if not is_known:
            return PlainTextResponse(say("security.unknown"), 403)
        if request.method not in {"GET", "HEAD"} and request.headers.get("origin") != f"http://{host}":
            return PlainTextResponse(say("security.origin"), 403)
        return None

    def _exchange(self, token: str, *, is_known: bool) -> Response:
        home = RedirectResponse("/", 303)
        if is_known:
            return home
        if self._token is None or not _equal(token, self._token):
            return PlainTextResponse(say("security.token"), 403)
        self._token = None
        home.set_cookie(self._cookie_name, self._cookie, httponly=True, samesite="strict")
        return home


def _equal(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode(), expected.encode())
