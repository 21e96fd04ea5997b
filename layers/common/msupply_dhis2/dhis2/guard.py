"""Connections that are looked at before anything is sent over them, and whose answers have an end.

A name may resolve to an address that must not be called (``settings.urls``), and to another one the next time that it is
looked up: so the address that a connection really has decides.

The time-out of a socket begins anew with every byte: a server that sends one now and then could hold a call for ever.
Here it is the time for the whole answer.
"""

import http.client
import io
import socket
import ssl
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.ssl_ import create_urllib3_context

from msupply_dhis2.settings.urls import is_forbidden, is_public

LARGEST_ANSWER = 32_000_000
"""Bytes, unpacked. A data set of 5,000 data elements with 24 option combos each, and 10,000 org units, is 13 million; push
has memory for twice as much."""

_PIECE = 65_536


class AnswerTooLargeError(Exception):
    """More came than any answer of DHIS2's can hold."""


class ForbiddenAddressError(OSError):
    """The address of DHIS2 leads to a machine that it must not lead to."""


class PlainHttpError(OSError):
    """The login would travel over the internet unencrypted."""


class _UntilDeadline(io.RawIOBase):
    """What comes over a socket, until its time-out has passed since now."""

    def __init__(self, connected: socket.socket, received: io.RawIOBase) -> None:
        self._connected = connected
        self._received = received
        seconds = connected.gettimeout()
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - as the base class has it
        if self._deadline is not None:
            if (left := self._deadline - time.monotonic()) <= 0:
                raise TimeoutError("timed out")
            self._connected.settimeout(left)
        return self._received.readinto(buffer)

    def close(self) -> None:
        self._received.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer that is there as a whole, from its first line on, before the connection's time-out has passed."""

    fp: io.BufferedReader

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - as the base class has them
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_UntilDeadline(sock, self.fp.detach()))


class _Connection(HTTPConnection):
    response_class = _Response
    may_be_public = True

    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        host = str(connected.getpeername()[0])
        if self.proxy or not (is_forbidden(host) or (not self.may_be_public and is_public(host))):
            return connected
        connected.close()
        raise ForbiddenAddressError(host) if is_forbidden(host) else PlainHttpError(host)


class _PrivateConnection(_Connection):
    may_be_public = False


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _PrivatePool(HTTPConnectionPool):
    ConnectionCls = _PrivateConnection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    def __init__(self, *, allow_plain_http: bool, ca_certificate: str | None) -> None:
        self._pools = {"http": _Pool if allow_plain_http else _PrivatePool, "https": _SecurePool}
        self._options: dict[str, Any] = {"ssl_context": _context(ca_certificate)} if ca_certificate else {}
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - as the base class has them
        super().init_poolmanager(*arguments, **(options | self._options))
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:  # noqa: ANN401 - as the base class has them
        manager = super().proxy_manager_for(proxy, **(options | self._options))
        manager.pool_classes_by_scheme = self._pools
        return manager


class GuardedSession(requests.Session):
    """Connects to no forbidden machine, follows no redirect, and waits for no answer without end.

    A proxy, which only the function's environment can name and never a setting, is not looked at: it may well be on the
    function's own loopback. What it then connects to is its own matter; the template sets none. ``allow_plain_http`` lets a
    connection that is not encrypted lead out to the internet; ``ca_certificate`` is PEM text.
    """

    def __init__(self, *, allow_plain_http: bool, ca_certificate: str | None) -> None:
        super().__init__()
        adapter = _Adapter(allow_plain_http=allow_plain_http, ca_certificate=ca_certificate)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002 - whatever it is
        """Return none: to see where a redirect leads, requests would read all that comes with it, without bounds."""
        return None


def read_whole(response: requests.Response) -> None:
    """Read an answer to its end, unless it is larger than any that is asked for."""
    content = bytearray()
    for piece in response.iter_content(_PIECE):
        content += piece
        if len(content) > LARGEST_ANSWER:
            response.close()
            raise AnswerTooLargeError
    # requests itself reads all that comes, however much that is.
    response._content = bytes(content)  # noqa: SLF001


def _context(ca_certificate: str) -> ssl.SSLContext:
    """Trust an authority besides the public ones, which requests adds by itself."""
    context = create_urllib3_context()
    context.load_verify_locations(cadata=ca_certificate)
    # The server's own certificate, or one in the middle, may be given; and what a ministry's authority
    # signs seldom has all the extensions that the strict reading of the standard asks for.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
