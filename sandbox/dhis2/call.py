"""A call as the stand-in gets it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request, read; ``target`` is path and query as they were sent, header names are lower case.

    ``address`` is the IP address that it came from, ``port`` the client's own.
    """

    method: str
    target: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    address: str = "127.0.0.1"
    port: int = 0
