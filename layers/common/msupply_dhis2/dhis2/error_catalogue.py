"""DHIS2's error codes and the faults of a connection. Their words stand in ``error_catalogue.yaml`` beside this file.

The words are read when the first fault is told: a cold start does not wait for them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from pathlib import Path

import yaml

from msupply_dhis2.errors import (
    Dhis2AuthenticationError,
    Dhis2BlockedError,
    Dhis2DownError,
    Dhis2Error,
    Dhis2FaultError,
    Dhis2PermanentError,
    Dhis2SlowError,
    Dhis2TooLargeError,
    Dhis2TransientError,
)

NO_REASON = "no_reason"
FRACTION = "fraction"
ZERO_NOT_KEPT = "zero_not_kept"
TRUE_ONLY = "true_only"
CALENDAR = "calendar"
VANISHED = "vanished"
UNACCOUNTED = "unaccounted"
STORED_DIFFERENTLY = "stored_differently"
STILL_THERE = "still_there"
CHANGED_SINCE = "changed_since"
FAILS_ALONE = "too_large_alone"
CALL_REFUSED = "call_refused"
"""Our own codes."""

HELD_BACK = "held_back"
"""The value is fine, but another of its call is not: it is sent again, so that nobody is told of it."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Who can fix what a code stands for, what it means, and how.

    ``may_pass``: a later push of the same value may succeed although nobody fixed anything.
    """

    who: str
    meaning: str
    cure: str
    may_pass: bool = False


class ConnectionFault(Enum):
    """What can go wrong between here and DHIS2 before it says anything about a value.

    ``kind`` is what the log and the catalogue call it; ``error`` says what follows. ``may_still_be_applied``: the call may be
    on its way already, or a proxy that gave DHIS2 up says so.
    """

    NAME_NOT_RESOLVED = "name not resolved", Dhis2DownError
    CONNECTION_REFUSED = "connection refused", Dhis2DownError
    UNREACHABLE = "unreachable", Dhis2DownError, True
    CONNECT_TIMED_OUT = "connect timed out", Dhis2DownError
    READ_TIMED_OUT = "read timed out", Dhis2SlowError, True
    CONNECTION_CUT = "connection cut", Dhis2TransientError, True
    PROXY = "proxy", Dhis2DownError, True
    CERTIFICATE_EXPIRED = "certificate expired", Dhis2DownError
    CERTIFICATE_SELF_SIGNED = "certificate self signed", Dhis2TransientError
    CERTIFICATE_OTHER_NAME = "certificate other name", Dhis2TransientError
    CERTIFICATE_NOT_TRUSTED = "certificate not trusted", Dhis2TransientError
    NO_TLS = "no tls", Dhis2TransientError, True
    FORBIDDEN_ADDRESS = "forbidden address", Dhis2PermanentError
    PLAIN_HTTP = "plain http", Dhis2TransientError
    BAD_ADDRESS = "bad address", Dhis2PermanentError
    REDIRECT_TO_HTTPS = "redirect to https", Dhis2PermanentError
    REDIRECT_TO_LOGIN = "redirect to login", Dhis2PermanentError
    REDIRECT = "redirect", Dhis2PermanentError
    BEFORE_DHIS2 = "before dhis2", Dhis2BlockedError
    FAULT_PAGE = "fault page", Dhis2FaultError, True
    NOT_DHIS2 = "not dhis2", Dhis2PermanentError
    NOT_FOUND = "not found", Dhis2PermanentError
    NOT_JSON = "not json", Dhis2TransientError
    ANSWER_TOO_LARGE = "answer too large", Dhis2TransientError
    AUTHENTICATION_FAILED = "authentication failed", Dhis2AuthenticationError
    ACCOUNT_DISABLED = "account disabled", Dhis2AuthenticationError
    ACCOUNT_LOCKED = "account locked", Dhis2AuthenticationError
    TOKEN_MISTYPED = "token mistyped", Dhis2AuthenticationError
    TOKEN_EXPIRED = "token expired", Dhis2AuthenticationError
    TOKEN_METHOD = "token method", Dhis2AuthenticationError
    TOKEN_ADDRESS = "token address", Dhis2AuthenticationError
    TOKEN_UNKNOWN = "token unknown", Dhis2AuthenticationError
    TOKEN_USER = "token user", Dhis2AuthenticationError
    TOKEN_REFUSED = "token refused", Dhis2AuthenticationError
    OAUTH2_USER = "oauth2 user", Dhis2AuthenticationError
    OAUTH2_SECRET = "oauth2 secret", Dhis2AuthenticationError
    OAUTH2_CLIENT = "oauth2 client", Dhis2AuthenticationError
    OAUTH2_GRANT_TYPE = "oauth2 grant type", Dhis2AuthenticationError
    OAUTH2_GONE = "oauth2 gone", Dhis2AuthenticationError
    OAUTH2_OFF = "oauth2 off", Dhis2AuthenticationError
    OAUTH2_REFUSED = "oauth2 refused", Dhis2AuthenticationError
    FORBIDDEN = "forbidden", Dhis2PermanentError
    REQUEST_TOO_LARGE = "request too large", Dhis2TooLargeError
    TOO_MANY_REQUESTS = "too many requests", Dhis2TransientError
    SERVER_FAULT = "server fault", Dhis2FaultError, True
    SERVER_NOT_AVAILABLE = "server not available", Dhis2DownError, True
    GATEWAY_TIMED_OUT = "gateway timed out", Dhis2SlowError, True
    REFUSED_REQUEST = "refused request", Dhis2PermanentError

    def __init__(self, kind: str, error: type[Dhis2Error], may_still_be_applied: bool = False) -> None:  # noqa: FBT001, FBT002 - the members are tuples
        self.kind = kind
        self.error = error
        self.may_still_be_applied = may_still_be_applied

    def words(self, **about: str) -> tuple[str, str]:
        """Return the problem and its cure; ``about`` are the ``url``, the ``username`` and the ``seconds`` waited."""
        catalogue = read_catalogue()
        words = catalogue.connection[self.kind]
        return words["problem"].format(**about), words["cure"].format(**catalogue.phrases)


@dataclass(frozen=True, slots=True)
class _Catalogue:
    """What the file holds, our own codes and DHIS2's each by itself."""

    connection: Mapping[str, Mapping[str, str]]
    ours: Mapping[str, Explanation]
    dhis2: Mapping[str, Explanation]
    said_without_code: Mapping[str, str]
    phrases: Mapping[str, str]


@cache
def read_catalogue() -> _Catalogue:
    """Read the words."""
    text = Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
    read = yaml.safe_load(text)
    for kind in ("ours", "dhis2"):
        read[kind] = {
            code: Explanation(
                **entry | {part: entry[part].format(**read["phrases"]) for part in ("meaning", "cure")}
            )
            for codes, entry in read[kind].items()
            for code in codes.split()
        }
    return _Catalogue(**read)


def explain(code: str, text: str) -> Explanation:
    """Explain a code of DHIS2's, or of ours, with DHIS2's own words: servers before 2.37 give no code."""
    catalogue = read_catalogue()
    if code == NO_REASON:
        said = catalogue.said_without_code.items()
        code = next((known for phrase, known in said if phrase in text.lower()), NO_REASON)
    unknown = f"The code {code} is not in the catalogue of this integration."
    explanation = catalogue.ours.get(code) or catalogue.dhis2.get(code)
    return explanation or replace(catalogue.ours[NO_REASON], meaning=unknown)
