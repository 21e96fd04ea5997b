"""A stand-in for DHIS2: an HTTP server in memory that answers as 2.37, 2.40, 2.41, 2.42 or 2.43 does.

>>> from sandbox.dhis2 import StandIn, stock_metadata
>>> metadata = stock_metadata([("OPUA", "Opua")], [("368c74bf", "Amoxicillin")], ["stock_on_hand"])
>>> with StandIn(metadata, version="2.42") as dhis2:
...     dhis2.url.startswith("http://127.0.0.1:")
True

``python -m sandbox.dhis2`` runs it in a process of its own.
"""

from sandbox.dhis2.faults import Fault, FaultKind, Faults
from sandbox.dhis2.logins import OAuth2Client, PersonalAccessToken, new_token
from sandbox.dhis2.metadata import Metadata, MetadataAccess, User, uid
from sandbox.dhis2.server import ADMIN, Request, StandIn
from sandbox.dhis2.stock import PREFIXES, empty_metadata, stock_metadata
from sandbox.dhis2.values import ValueKey
from sandbox.dhis2.versions import Version

__all__ = [
    "ADMIN",
    "PREFIXES",
    "Fault",
    "FaultKind",
    "Faults",
    "Metadata",
    "MetadataAccess",
    "OAuth2Client",
    "PersonalAccessToken",
    "Request",
    "StandIn",
    "User",
    "ValueKey",
    "Version",
    "empty_metadata",
    "new_token",
    "stock_metadata",
    "uid",
]
