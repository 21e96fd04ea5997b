"""The stand-in itself: an HTTP server on 127.0.0.1 that answers as a DHIS2 of the chosen version."""

import socket
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, time
from time import perf_counter
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError

from sandbox.dhis2.answers import Answer, json_answer
from sandbox.dhis2.call import Call
from sandbox.dhis2.faults import Fault, FaultKind, Faults
from sandbox.dhis2.http_server import HttpServer
from sandbox.dhis2.logins import Logins, OAuth2Client, PersonalAccessToken, by_token
from sandbox.dhis2.metadata import DEFAULT_OPTION_COMBO_ID, Identified, Index, Metadata, User
from sandbox.dhis2.payload import count_values, first_half, is_gzip
from sandbox.dhis2.periods import parse_period
from sandbox.dhis2.rates import rates_of
from sandbox.dhis2.values import ValueKey, ValueStore
from sandbox.dhis2.versions import Version
from sandbox.dhis2.web_api import Circumstances, Outcome, WebApi

ADMIN = User(username="admin", password=SecretStr("district"), first_name="admin", surname="admin")
"""Who can log in where no users are given: DHIS2's own first user, who may do everything."""


@dataclass(frozen=True, slots=True)
class Request:
    """A call that the server got, for tests to look at.

    ``status`` is that of the answer, ``None`` where the connection was cut; ``values`` the number of data
    values in a push; ``gzip`` whether its body was compressed.
    """

    method: str
    path: str
    query: str
    status: int | None
    username: str | None = None
    values: int = 0
    gzip: bool = False


class StandIn:
    """A DHIS2 for tests and demonstrations, in memory, on a port of 127.0.0.1.

    Use it as a context manager, or with ``start`` and ``stop``.

    Parameters
    ----------
    metadata
        What is set up.
    version
        The version whose behaviour it has: ``2.37``, ``2.40``, ``2.41``, ``2.42`` or ``2.43``.
    users
        Who can log in; ``admin`` with the password ``district`` unless given.
    tokens
        Their personal access tokens (from 2.40).
    oauth2_clients
        The OAuth2 clients, whose access tokens can be had for a password (up to 2.41).
    lock_after_failures
        After how many wrong passwords in a row an account is locked for 15 minutes; DHIS2 has 4 where that is
        switched on, and by default it is off.
    now
        The server's clock, which decides the periods that are open: a day (its midnight) or an instant, at
        which it then stands still; the real time by default. In UTC.
    port
        0 is any free port.
    base_path
        The context path, such as ``/dhis``.
    log
        Whether each call is written to standard error.

    Attributes
    ----------
    requests
        The calls so far.
    faults
        What is to go wrong next.
    now
        The server's clock, as it was given; another one counts from the next call on.
    before_answer
        Called when a call is carried out and its answer is about to leave, in the thread of that call, with the call
        and what is noted of it: for what happens to clients at just that moment.
    pause
        Lets so many seconds pass, or what is left of them when it stops, wherever a call takes time.
    """

    def __init__(  # noqa: PLR0913 - all but the first have defaults
        self,
        metadata: Metadata,
        *,
        version: Version | str = Version.V2_42,
        users: Iterable[User] = (ADMIN,),
        tokens: Iterable[PersonalAccessToken] = (),
        oauth2_clients: Iterable[OAuth2Client] = (),
        lock_after_failures: int | None = None,
        now: date | None = None,
        port: int = 0,
        base_path: str = "",
        log: bool = False,
    ) -> None:
        self.requests: list[Request] = []
        self.faults = Faults()
        self.now = now
        self.before_answer: Callable[[Call, Request], None] | None = None
        self._stopping = threading.Event()
        self.pause: Callable[[float], object] = self._stopping.wait
        self._logins = Logins(
            version=Version(version),
            users={user.username: user for user in users},
            tokens=by_token(tokens),
            clients={client.client: client for client in oauth2_clients},
            lock_after_failures=lock_after_failures,
            clock=self._clock,
        )
        self._api = WebApi(
            version=Version(version),
            metadata=metadata,
            logins=self._logins,
            clock=self._clock,
            base_path=base_path.rstrip("/"),
        )
        self._port = port
        self._log = log
        self._http: HttpServer | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen and answer, in threads of its own, until ``stop``."""
        self._stopping.clear()
        self._http = HttpServer(self._port, self._respond)
        self._port = self._http.server_port
        self._api.url = self.url
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Close every connection and stop listening; values and requests can still be looked at."""
        if self._http is not None:
            self._stopping.set()
            # It looks only now and then whether it is to end; this wakes it up.
            with suppress(OSError):
                self._http.socket.shutdown(socket.SHUT_RDWR)
            self._http.shutdown()
            self._http.close_connections()
            self._http.server_close()
            self._http = None

    @property
    def url(self) -> str:
        """The address to be entered as the URL of DHIS2."""
        return f"http://127.0.0.1:{self._port}{self._api.base_path}"

    @property
    def version(self) -> Version:
        """The version whose behaviour it has."""
        return self._api.version

    @property
    def metadata(self) -> Metadata:
        """What is set up; a new value counts from the next call on."""
        return self._api.metadata

    @metadata.setter
    def metadata(self, metadata: Metadata) -> None:
        self._api.metadata = metadata

    @property
    def users(self) -> dict[str, User]:
        """Who can log in, by name; what is changed in it counts from the next call on."""
        return self._logins.users

    @property
    def tokens(self) -> dict[str, PersonalAccessToken]:
        """The personal access tokens, by what is sent; one that is taken out is deleted."""
        return self._logins.tokens

    @property
    def oauth2_clients(self) -> dict[str, OAuth2Client]:
        """The OAuth2 clients, by name."""
        return self._logins.clients

    @property
    def oauth2_is_on(self) -> bool:
        """Whether there is OAuth2's address at all (up to 2.41); another value counts from the next call on."""
        return self._logins.oauth2_is_on

    @oauth2_is_on.setter
    def oauth2_is_on(self, is_on: bool) -> None:
        self._logins.oauth2_is_on = is_on

    def expire_access_tokens(self) -> None:
        """Let every OAuth2 access token end now; refresh tokens go on working."""
        self._logins.expire_access_tokens()

    @property
    def failed_logins(self) -> Mapping[str, int]:
        """How often each name came with a wrong password."""
        return self._logins.failed

    def is_locked(self, username: str) -> bool:
        """Whether the account is locked just now because of wrong passwords."""
        return self._logins.is_locked(username)

    @property
    def values(self) -> ValueStore:
        """The stored values: a mapping from ``ValueKey`` to the value.

        Deleted ones do not show in it; they stay in ``values.rows``.
        """
        return self._api.values

    @property
    def sessions(self) -> Mapping[str, str]:
        """The user of each open session, by its cookie."""
        return self._logins.sessions

    def forget_sessions(self) -> None:
        """Lose all sessions, as a restart does."""
        self._logins.restart()

    def value(
        self,
        data_element: str,
        org_unit: str,
        period: str,
        category_option_combo: str | None = None,
        attribute_option_combo: str | None = None,
    ) -> str | None:
        """Return a stored value, or ``None``; everything by code or UID, "default" where there is no combo.

        Raises
        ------
        LookupError
            An identifier that names nothing, so that a mistyped one does not pass for "not stored".
        """
        metadata = self.metadata
        found_period = parse_period(period)
        if found_period is None:
            raise LookupError(period)
        return self.values.get(
            ValueKey(
                _uid_of(metadata.data_element, data_element),
                found_period.iso,
                _uid_of(metadata.org_unit, org_unit),
                _uid_of(metadata.option_combo, category_option_combo or DEFAULT_OPTION_COMBO_ID),
                _uid_of(metadata.option_combo, attribute_option_combo or DEFAULT_OPTION_COMBO_ID),
            )
        )

    def _clock(self) -> datetime:
        if self.now is None:
            return datetime.now(UTC).replace(tzinfo=None)
        if not isinstance(self.now, datetime):
            return datetime.combine(self.now, time())
        return self.now.astimezone(UTC).replace(tzinfo=None) if self.now.tzinfo else self.now

    # One call, from its bytes to what is sent back

    def _respond(self, call: Call) -> Answer | None:
        """Answer a call and note it; ``None`` cuts the connection."""
        if call.path.startswith("/__"):
            return self._control(call)
        began = perf_counter()
        outcome = self._with_faults(call)
        if (left := outcome.seconds - (perf_counter() - began)) > 0:
            self.pause(left)
        split = urlsplit(call.target)
        noted = Request(
            method=call.method,
            path=split.path,
            query=split.query,
            status=outcome.answer.status if outcome.answer is not None else None,
            username=outcome.username,
            values=outcome.values,
            gzip=is_gzip(call.body),
        )
        self.requests.append(noted)
        if self.before_answer is not None:
            self.before_answer(call, noted)
        if self._log:
            sys.stderr.write(f"{noted.method} {noted.path} {noted.status}, {noted.values} values\n")
        return outcome.answer

    def _with_faults(self, call: Call) -> Outcome:
        """Carry out the call, but for the faults that are planned for it."""
        circumstances = Circumstances(pause=self.pause)
        carried_out: Outcome | None = None
        for fault in self.faults.take(call, self._names_of):
            if fault.after_import and carried_out is None:
                carried_out = self._api.carry_out(call, circumstances)
            match fault.kind:
                case FaultKind.DELAY:
                    self.pause(fault.seconds_for(call))
                case FaultKind.SLOW_IMPORT:
                    circumstances = replace(circumstances, import_seconds=fault.seconds_for(call))
                case FaultKind.REAL_RATES:
                    circumstances = replace(circumstances, rates=rates_of(self.version))
                case FaultKind.PERIOD_RACE:
                    circumstances = replace(circumstances, period_race=True)
                case FaultKind.STALE_CACHE:
                    circumstances = replace(circumstances, stale_cache=fault.error_code)
                case FaultKind.GZIP_DAMAGED:
                    call = replace(call, body=call.body[: len(call.body) // 2])
                case FaultKind.CREDENTIALS_CHANGED:
                    self._logins.change_all()
                case _:
                    return self._struck(call, fault, carried_out)
        return carried_out or self._api.carry_out(call, circumstances)

    def _struck(self, call: Call, fault: Fault, carried_out: Outcome | None) -> Outcome:
        """Answer with a fault."""
        if fault.kind is FaultKind.RESTART:
            self.forget_sessions()
        if fault.kind is FaultKind.DEADLOCK and carried_out is None and not self.version.imports_by_group:
            carried_out = self._api.carry_out(replace(call, body=first_half(call.body)))
            if carried_out.answer is None or carried_out.answer.status not in (200, 409):
                return carried_out  # whoever may not push gets no further than to be told so
            carried_out = replace(carried_out, values=count_values(call))
        https = f"https://127.0.0.1:{self._port}{call.target}"
        return replace(carried_out or Outcome(None), answer=fault.answer(self.version, https))

    def _names_of(self, identifier: str) -> set[str]:
        """Return UID and code of the data element or org unit that has this identifier."""
        names = {identifier}
        for index in (self.metadata.data_element, self.metadata.org_unit):
            thing = index.by_id(identifier) or index.by_scheme("CODE", identifier)
            if thing is not None:
                names |= {thing.id, thing.code or thing.id}
        return names

    # For whoever runs the stand-in in a process of its own

    def _control(self, call: Call) -> Answer:
        """Answer the stand-in's own addresses, which need no login.

        ``POST /__faults`` plans a fault (the fields of ``Fault``), ``DELETE /__faults`` forgets them all;
        ``GET /__values`` returns the stored values, ``GET /__requests`` the calls so far.
        """
        match call.method, call.path:
            case "POST", "/__faults":
                try:
                    self.faults.plan(Fault.model_validate_json(call.body))
                except ValidationError as error:
                    return json_answer({"message": str(error)}, 400)
                return Answer(204)
            case "DELETE", "/__faults":
                self.faults.clear()
                return Answer(204)
            case "GET", "/__values":
                return json_answer([self._described(key, value) for key, value in self.values.items()])
            case "GET", "/__requests":
                return json_answer([asdict(request) for request in list(self.requests)])
        return json_answer({"message": f"{call.method} {call.path} is not one of the stand-in's own"}, 404)

    def _described(self, key: ValueKey, value: str) -> dict[str, str | None]:
        """Name a stored value by codes, or UIDs where there is no code."""
        metadata = self.metadata
        return {
            "dataElement": _code_of(metadata.data_element, key.data_element),
            "period": key.period,
            "orgUnit": _code_of(metadata.org_unit, key.org_unit),
            "categoryOptionCombo": _code_of(metadata.option_combo, key.category_option_combo),
            "attributeOptionCombo": _code_of(metadata.option_combo, key.attribute_option_combo),
            "value": value,
        }


def _uid_of[T: Identified](index: Index[T], identifier: str) -> str:
    thing = index.by_id(identifier) or index.by_scheme("CODE", identifier)
    if thing is None:
        raise LookupError(identifier)
    return thing.id


def _code_of[T: Identified](index: Index[T], identifier: str) -> str:
    thing = index.by_id(identifier)
    return thing.code if thing is not None and thing.code is not None else identifier
