"""What stands before DHIS2 and gives back what it is told: a proxy, or an error page, that shows the credentials."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import requests


@contextmanager
def echo(dhis2: str, status: int, *, only_pushes: bool) -> Iterator[str]:
    """Answer calls with this status and all that can be read out of them; yield the address.

    A question that is answered at all is answered by DHIS2: its answer is data, with identifiers that stay as they are.

    Parameters
    ----------
    only_pushes
        Pushes are answered so; all other calls DHIS2 answers.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            is_login = self.path.startswith("/uaa/")
            if is_login or (self.command == "GET" and (only_pushes or status == requests.codes.ok)):
                self._hand_on(body)
            else:
                self._echo()

        do_GET = do_POST = answer  # noqa: N815 http.server's names

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

        def _hand_on(self, body: bytes) -> None:
            headers = {name: text for name, text in self.headers.items() if name.lower() != "host"}
            answer = requests.request(
                self.command, dhis2 + self.path, data=body, headers=headers, timeout=10, allow_redirects=False
            )
            cookies = {"Set-Cookie": answer.headers["Set-Cookie"]} if "Set-Cookie" in answer.headers else {}
            self._send(answer.status_code, answer.content, cookies)

        def _echo(self) -> None:
            said = (
                " ".join(_readings(self.headers.get("Authorization", "")))
                + f" {self.headers.get('Cookie', '')}"
            )
            conflict = {"value": said, "errorCode": said, "object": said, "property": said}
            content = {
                "httpStatus": "whatever",
                "message": said,
                "error_description": said,
                "version": said,
                "id": said,
                "username": said,
                "description": said,
                "status": "WARNING",
                "importCount": {"imported": 0, "updated": 0, "ignored": 1, "deleted": 0},
                "conflicts": [
                    {**conflict, "indexes": [0]},
                    conflict,
                    {"value": json.dumps(said), "object": quote(said)},
                ],
            }
            one_line = quote(said, safe=" /+=:")
            headers = {"Retry-After": one_line, "WWW-Authenticate": one_line, "X-Echo": one_line}
            if status in {301, 302}:
                secret = quote(said, safe="")
                headers["Location"] = (
                    f"http://{secret}@127.0.0.1/login/{secret};{secret}?password={secret}#{secret}"
                )
            self._send(status, json.dumps(content).encode(), headers)

        def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, text in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _readings(header: str) -> Iterator[str]:
    """Yield a header ``Authorization``, and the password in it, as they are and as they may be encoded."""
    _, _, credentials = header.partition(" ")
    yield header
    yield quote(header, safe="")
    if header.startswith("Basic "):
        login = base64.b64decode(credentials).decode()
        password = login.partition(":")[2]
        yield login
        yield password
        yield quote(password, safe="")
        yield base64.b64encode(password.encode()).decode()
