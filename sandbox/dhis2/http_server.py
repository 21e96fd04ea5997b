"""HTTP/1.1 on 127.0.0.1: bytes in, bytes out."""

import socket
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from sandbox.dhis2.answers import Answer
from sandbox.dhis2.call import Call


class HttpServer(ThreadingHTTPServer):
    """Knows its connections, so that stopping ends those too that a client keeps open.

    ``respond`` answers a call, or returns ``None`` to cut the connection.
    """

    def __init__(self, port: int, respond: Callable[[Call], Answer | None]) -> None:
        self.respond = respond
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def close_connections(self) -> None:
        """End all that clients keep open."""
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # the client has closed it already
                continue


class _Handler(BaseHTTPRequestHandler):
    """Reads requests from one connection and writes the answers; HTTP/1.1, kept open."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave together, not as two packets with a pause between
    server: HttpServer

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        try:
            super().finish()
        except OSError:  # the other side has gone
            self.close_connection = True

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # a client that gave up, or the stand-in that stops
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Leave the log to the stand-in."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        split = urlsplit(self.path)
        call = Call(
            method=self.command,
            target=self.path,
            path=split.path,
            query=parse_qs(split.query, keep_blank_values=True),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
            address=self.client_address[0],
            port=self.client_address[1],
        )
        answer = self.server.respond(call)
        if answer is None:
            self.close_connection = True
            return
        self.send_response(answer.status)
        if answer.content_type is not None:
            self.send_header("Content-Type", answer.content_type)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer  # noqa: N815 - the base class's names
