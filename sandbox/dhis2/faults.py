"""Faults on request: what networks, proxies and restarting servers do to a client."""

import random
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

from sandbox.dhis2.answers import (
    Answer,
    failed_import,
    login_page,
    message,
    page,
    redirect,
    summary_answer,
    unauthorized,
)
from sandbox.dhis2.call import Call
from sandbox.dhis2.payload import count_values, is_gzip, is_push, names_any
from sandbox.dhis2.versions import Version


class FaultKind(StrEnum):
    """What goes wrong."""

    STATUS = "status"
    """An answer with ``status`` and a proxy's HTML page."""
    DELAY = "delay"
    """``seconds``, and ``seconds_per_value``, pass on the way; then all goes on as usual."""
    CUT = "cut"
    """The connection is closed without an answer."""
    LOGIN_PAGE = "login_page"
    """200 with the HTML of the login page."""
    UNAUTHORIZED = "unauthorized"
    """401 in JSON, whatever the credentials."""
    TOO_MANY_REQUESTS = "too_many_requests"
    """429 with ``Retry-After: seconds``."""
    TOO_LARGE = "too_large"
    """413 for a body of more than ``size`` bytes, as a proxy does; smaller ones pass and do not use it up."""
    TRANSIENT_CONFLICT = "transient_conflict"
    """409 "The import process failed:", zero counts, no conflicts (docs/dhis2.md, 3); from 2.43 a 500."""
    REDIRECT = "redirect"
    """``status`` (301 by default) to ``location``, or to the same address with https."""
    GZIP_REFUSED = "gzip_refused"
    """``status`` (415 by default) of a proxy for a gzip body; plain ones pass."""
    GZIP_DAMAGED = "gzip_damaged"
    """A gzip body arrives cut in half, and is answered as the version does; plain ones pass."""
    DEADLOCK = "deadlock"
    """Up to 2.42 the first half of the rows is stored and the answer that of ``TRANSIENT_CONFLICT``; from 2.43
    a 500 and nothing is stored. Strikes pushes only."""
    PERIOD_RACE = "period_race"
    """The rows of periods that were never used before are lost, as happens where two calls open a period at once:
    up to 2.42 refused with E7611, from 2.43 ignored without a word. Afterwards the periods are there. Strikes pushes
    only. Calls that do come at once lose so by themselves."""
    RESTART = "restart"
    """The server restarts: sessions are lost, and a proxy answers ``status`` (503 by default)."""
    CREDENTIALS_CHANGED = "credentials_changed"
    """From this request on all passwords and client secrets are others, and tokens and sessions gone."""
    POISON = "poison"
    """A 500 for a push that holds a data element or an org unit: ``holds``, its code or UID."""
    STALE_CACHE = "stale_cache"
    """Up to 2.42 each row is refused with ``error_code``, E7632 or E7644, as happens for some minutes after metadata were
    imported, whatever the metadata are now. Strikes pushes only."""
    REAL_RATES = "real_rates"
    """Data values are imported and read at the rates of real servers (``rates``); nothing else goes wrong."""
    SLOW_IMPORT = "slow_import"
    """The import itself takes ``seconds`` and ``seconds_per_value``. On 2.41 and 2.42 another push that shares
    a key with it meanwhile is answered as for ``TRANSIENT_CONFLICT``. Strikes pushes only."""


_GO_ON = {
    FaultKind.DELAY,
    FaultKind.GZIP_DAMAGED,
    FaultKind.PERIOD_RACE,
    FaultKind.STALE_CACHE,
    FaultKind.CREDENTIALS_CHANGED,
    FaultKind.REAL_RATES,
    FaultKind.SLOW_IMPORT,
}
"""After these the request goes on its way, to the next fault or to DHIS2."""

_PAGES = {
    FaultKind.STATUS: 503,
    FaultKind.TOO_LARGE: 413,
    FaultKind.GZIP_REFUSED: 415,
    FaultKind.RESTART: 503,
}
"""What a proxy answers with a page of its own, and its status unless the fault says another."""

_ON_PUSHES = {
    FaultKind.DEADLOCK,
    FaultKind.PERIOD_RACE,
    FaultKind.POISON,
    FaultKind.SLOW_IMPORT,
    FaultKind.STALE_CACHE,
}
_ON_GZIP = {FaultKind.GZIP_REFUSED, FaultKind.GZIP_DAMAGED}

type NamesOf = Callable[[str], Collection[str]]
"""Gives all the identifiers of the data element or org unit that has this one."""


class Fault(BaseModel):
    """A fault and when it strikes.

    Attributes
    ----------
    times
        How many requests it strikes; ``None`` is all of them until ``Faults.clear``.
    after
        How many requests that it is meant for pass before it strikes.
    share
        How large a share of the requests that it is meant for it strikes, by chance.
    path, method
        It strikes only requests whose path ends so, and that have this method; ``None`` is any.
    more_than_values
        It strikes only pushes of more values than this; ``None`` is any request.
    after_import
        Whether the request is carried out first, and only its answer is lost: the client knows nothing, but
        the values are stored.
    seconds, seconds_per_value
        How long it takes: a fixed time, and one for each value of a push.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FaultKind
    times: PositiveInt | None = 1
    after: NonNegativeInt = 0
    share: float = Field(default=1.0, gt=0, le=1)
    path: str | None = None
    method: str | None = None
    more_than_values: NonNegativeInt | None = None
    after_import: bool = False
    status: int | None = None
    seconds: float = 0
    seconds_per_value: float = 0
    size: int = 0
    location: str | None = None
    holds: str | None = None
    error_code: Literal["E7632", "E7644"] = "E7632"

    @model_validator(mode="after")
    def _says_what_is_poison(self) -> Self:
        if (self.kind is FaultKind.POISON) != (self.holds is not None):
            raise ValueError("holds is for poison, and poison needs it")
        return self

    def strikes(self, call: Call, names_of: NamesOf) -> bool:
        """Whether the request is one that it is meant for."""
        return (
            (self.path is None or call.path.endswith(self.path))
            and (self.method is None or call.method == self.method)
            and (self.kind is not FaultKind.TOO_LARGE or len(call.body) > self.size)
            and (self.kind not in _ON_GZIP or is_gzip(call.body))
            and (self.kind not in _ON_PUSHES or is_push(call))
            and (self.more_than_values is None or count_values(call) > self.more_than_values)
            and (self.holds is None or names_any(call, names_of(self.holds)))
        )

    def seconds_for(self, call: Call) -> float:
        """How long it takes for this request."""
        return self.seconds + (self.seconds_per_value and self.seconds_per_value * count_values(call))

    def answer(self, version: Version, https_address: str) -> Answer | None:  # noqa: PLR0911 - one for each kind
        """Return what it answers instead; ``None`` where it gives no answer of its own."""
        if self.kind in _PAGES:
            status = self.status or _PAGES[self.kind]
            return page(status, f"{status} from a proxy")
        match self.kind:
            case FaultKind.LOGIN_PAGE:
                return login_page()
            case FaultKind.UNAUTHORIZED:
                return unauthorized()
            case FaultKind.TOO_MANY_REQUESTS:
                return page(429, "429 Too Many Requests").with_headers({"Retry-After": f"{self.seconds:g}"})
            case FaultKind.POISON:
                return message(500, "An unexpected error occurred")
            case FaultKind.TRANSIENT_CONFLICT | FaultKind.DEADLOCK:
                if version.imports_by_group:
                    return message(500, "Failed to flush BatchHandler")
                return summary_answer(
                    failed_import("Failed to flush BatchHandler"), version, bare=version.sends_bare_summary
                )
            case FaultKind.REDIRECT:
                return redirect(self.location or https_address, self.status or 301)
        return None


@dataclass(slots=True)
class _Planned:
    fault: Fault
    to_pass: int
    left: int | None


class Faults:
    """The faults that are still to come, in the order in which they were asked for.

    Attributes
    ----------
    chance
        Decides which requests a fault strikes that is meant for a share of them.
    """

    def __init__(self) -> None:
        self.chance = random.Random(0)  # noqa: S311 - nothing secret
        self._planned: list[_Planned] = []
        self._lock = threading.Lock()

    def next(self, kind: FaultKind, **of_fault: object) -> None:
        """Plan a fault for the next requests; see ``Fault`` for the parameters."""
        self.plan(Fault.model_validate({"kind": kind, **of_fault}))

    def plan(self, fault: Fault) -> None:
        """Plan a fault for the next requests that it is meant for."""
        with self._lock:
            self._planned.append(_Planned(fault, fault.after, fault.times))

    def clear(self) -> None:
        """Forget all that are still to come."""
        with self._lock:
            self._planned.clear()

    @property
    def planned(self) -> tuple[Fault, ...]:
        """The faults that are still to come."""
        with self._lock:
            return tuple(planned.fault for planned in self._planned)

    def take(self, call: Call, names_of: NamesOf) -> tuple[Fault, ...]:
        """Use up what strikes this request: those that let it go on, and the first one that answers it."""
        taken: list[Fault] = []
        with self._lock:
            for planned in list(self._planned):
                if not planned.fault.strikes(call, names_of):
                    continue
                if planned.to_pass > 0:
                    planned.to_pass -= 1
                    continue
                if planned.fault.share < 1 and self.chance.random() >= planned.fault.share:
                    continue
                taken.append(planned.fault)
                if planned.left is not None:
                    planned.left -= 1
                    if planned.left <= 0:
                        self._planned.remove(planned)
                if planned.fault.kind not in _GO_ON:
                    break
        return tuple(taken)
