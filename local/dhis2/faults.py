"""Faults on request: what networks, proxies and restarting servers do to a client."""

import threading
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, PositiveInt

from local.dhis2.answers import (
    Answer,
    failed_import,
    login_page,
    message,
    page,
    redirect,
    summary_answer,
    unauthorized,
)
from local.dhis2.versions import Version


class FaultKind(StrEnum):
    """What goes wrong."""

    STATUS = "status"
    """An answer with ``status`` and a proxy's HTML page."""
    DELAY = "delay"
    """``seconds`` pass, then all goes on as usual."""
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


class Fault(BaseModel):
    """A fault and when it strikes.

    Attributes
    ----------
    times
        How many requests it strikes; ``None`` is all of them until ``Faults.clear``.
    path, method
        It strikes only requests whose path ends so, and that have this method; ``None`` is any.
    after_import
        Whether the request is carried out first, and only its answer is lost: the client knows nothing, but
        the values are stored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FaultKind
    times: PositiveInt | None = 1
    path: str | None = None
    method: str | None = None
    after_import: bool = False
    status: int | None = None
    seconds: float = 0
    size: int = 0
    location: str | None = None

    def strikes(self, method: str, path: str, body_size: int) -> bool:
        """Whether the request is one that it is meant for."""
        return (
            (self.path is None or path.endswith(self.path))
            and (self.method is None or method == self.method)
            and (self.kind is not FaultKind.TOO_LARGE or body_size > self.size)
        )

    def answer(self, version: Version, https_address: str) -> Answer | None:  # noqa: PLR0911 - one for each kind
        """Return what it answers instead; ``None`` where it gives no answer of its own."""
        match self.kind:
            case FaultKind.STATUS:
                status = self.status or 503
                return page(status, f"{status} from a proxy")
            case FaultKind.LOGIN_PAGE:
                return login_page()
            case FaultKind.UNAUTHORIZED:
                return unauthorized()
            case FaultKind.TOO_MANY_REQUESTS:
                limited = page(429, "429 Too Many Requests")
                return Answer(
                    429, limited.content, limited.content_type, {"Retry-After": f"{self.seconds:g}"}
                )
            case FaultKind.TOO_LARGE:
                return page(413, "413 Request Entity Too Large")
            case FaultKind.TRANSIENT_CONFLICT:
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
    left: int | None


class Faults:
    """The faults that are still to come, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._planned: list[_Planned] = []
        self._lock = threading.Lock()

    def next(  # noqa: PLR0913 - a fault's own fields
        self,
        kind: FaultKind,
        *,
        times: int | None = 1,
        path: str | None = None,
        method: str | None = None,
        after_import: bool = False,
        status: int | None = None,
        seconds: float = 0,
        size: int = 0,
        location: str | None = None,
    ) -> None:
        """Plan a fault for the next requests; see ``Fault`` for the parameters."""
        self.plan(
            Fault(
                kind=kind,
                times=times,
                path=path,
                method=method,
                after_import=after_import,
                status=status,
                seconds=seconds,
                size=size,
                location=location,
            )
        )

    def plan(self, fault: Fault) -> None:
        """Plan a fault for the next requests that it is meant for."""
        with self._lock:
            self._planned.append(_Planned(fault, fault.times))

    def clear(self) -> None:
        """Forget all that are still to come."""
        with self._lock:
            self._planned.clear()

    @property
    def planned(self) -> tuple[Fault, ...]:
        """The faults that are still to come."""
        with self._lock:
            return tuple(planned.fault for planned in self._planned)

    def take(self, method: str, path: str, body_size: int) -> tuple[Fault, ...]:
        """Use up what strikes this request: any delays planned before it, and the first fault that answers."""
        taken: list[Fault] = []
        with self._lock:
            for planned in list(self._planned):
                if not planned.fault.strikes(method, path, body_size):
                    continue
                taken.append(planned.fault)
                if planned.left is not None:
                    planned.left -= 1
                    if planned.left <= 0:
                        self._planned.remove(planned)
                if planned.fault.kind is not FaultKind.DELAY:
                    break
        return tuple(taken)
