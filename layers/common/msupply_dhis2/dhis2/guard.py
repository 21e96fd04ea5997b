"""Connections that are looked at before anything is sent over them: where they lead.

A name may resolve to an address that must not be called (``addresses``), and to another one the next time that it is
looked up: so the address that a connection really has decides.
"""

import socket
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from msupply_dhis2.addresses import is_forbidden


class ForbiddenAddressError(OSError):
    """The address of DHIS2 leads to a machine that it must not lead to."""


def _look_at(connected: socket.socket) -> socket.socket:
    """Give a connection back where it may be used.

    Raises
    ------
    ForbiddenAddressError
        It leads to a machine that must not be called; it is closed.
    """
    host = str(connected.getpeername()[0])
    if is_forbidden(host):
        connected.close()
        raise ForbiddenAddressError(host)
    return connected


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _look_at(super()._new_conn())


class _SecureConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _look_at(super()._new_conn())


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class GuardedAdapter(HTTPAdapter):
    """Connects to no forbidden machine.

    A proxy, which only the function's environment can name and never a setting, is not looked at: it may well be on the
    function's own loopback. What it then connects to is its own matter; the template sets none.
    """

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - as the base class has them
        """Make the pool of connections."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
