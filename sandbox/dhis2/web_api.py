"""DHIS2's web API: where a call goes, who may make it, and which resource answers."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from threading import Lock
from time import sleep

from sandbox.dhis2 import reading
from sandbox.dhis2.answers import (
    Answer,
    ImportSummary,
    container_error,
    failed_import,
    json_answer,
    login_page,
    message,
    not_found,
    page,
    redirect,
    summary_answer,
    unauthorized,
)
from sandbox.dhis2.call import Call
from sandbox.dhis2.documents import users_of
from sandbox.dhis2.importer import Server
from sandbox.dhis2.importer_groups import import_group
from sandbox.dhis2.importer_rows import import_rows
from sandbox.dhis2.logins import OAUTH2_ADDRESS, SESSION_COOKIE, Logins
from sandbox.dhis2.metadata import MAY_ADD_DATA_VALUES, Metadata, User
from sandbox.dhis2.payload import Push, RowKey, UnreadableBodyError, read_push
from sandbox.dhis2.periods import parse_period
from sandbox.dhis2.rates import Rates
from sandbox.dhis2.setting_up import SettingUp
from sandbox.dhis2.values import ValueStore
from sandbox.dhis2.versions import Version

_LONGEST_ADDRESS = 8192
_OLDEST_API = 28
_BARE_UP_TO_API = 37


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be sent (``None``: nothing, the connection is cut), and what is to be noted of the call.

    ``seconds`` is how long a real server takes until then, where that is asked for.
    """

    answer: Answer | None
    username: str | None = None
    values: int = 0
    seconds: float = 0


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What else goes on while the server carries out a call.

    Attributes
    ----------
    period_race
        Whether another call is opening the periods of this push.
    stale_cache
        The code for which rows are refused because of what the server read before.
    import_seconds
        How long the import takes.
    rates
        How long imports and readings of data values take, by what they hold.
    pause
        What waits, for so many seconds or until the stand-in stops.
    """

    period_race: bool = False
    stale_cache: str | None = None
    import_seconds: float = 0
    rates: Rates | None = None
    pause: Callable[[float], object] = sleep


_CALM = Circumstances()
_LOOK_AGAIN_SECONDS = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class _Import:
    """An import that is under way: its keys, where it is a slow one, and the periods that it is the first to use."""

    keys: frozenset[RowKey]
    new_periods: frozenset[str]


@dataclass(slots=True)
class WebApi:
    """The server behind the addresses; ``StandIn`` says what its parts are."""

    version: Version
    metadata: Metadata
    logins: Logins
    clock: Callable[[], datetime]
    base_path: str
    url: str = ""
    values: ValueStore = field(default_factory=ValueStore)
    setting_up: SettingUp = field(default_factory=SettingUp)
    _importing: Lock = field(default_factory=Lock)
    _arriving: Lock = field(default_factory=Lock)
    _in_flight: list[_Import] = field(default_factory=list)

    def carry_out(self, call: Call, circumstances: Circumstances = _CALM) -> Outcome:  # noqa: PLR0911 - one for each thing that can end a call early
        """Answer a call as DHIS2 does when nothing goes wrong on the way."""
        if len(call.target) > _LONGEST_ADDRESS:
            if self.version.runs_on_tomcat:
                return Outcome(page(400, "HTTP Status 400 – Bad Request", "Request header is too large"))  # noqa: RUF001 - Tomcat's dash
            return Outcome(page(414, "Bad Message 414", "reason: URI Too Long"))
        page_to_log_in = self._login_page(call)
        if page_to_log_in is not None:
            return Outcome(page_to_log_in)
        if self.version.has_password_grant and call.path == f"{self.base_path}{OAUTH2_ADDRESS}":
            if not self.logins.oauth2_is_on:
                return Outcome(not_found(self.version, call.path, dispatched=True))
            return Outcome(self.logins.hand_out_access_token(call))
        misplaced = self._misplaced(call)
        if misplaced is not None and not self.version.runs_on_tomcat:
            return Outcome(misplaced)
        user = self.logins.user_of(call)
        if user is None and self.version.runs_on_tomcat and call.path == f"{self.base_path}/api/ping":
            return Outcome(Answer(200))
        if not isinstance(user, User):
            return Outcome(user or self._ask_to_log_in(call))
        if misplaced is not None:
            return Outcome(misplaced, user.username)
        outcome = self._route(call, user, circumstances)
        return replace(outcome, answer=self._with_session(call, user, outcome.answer), username=user.username)

    # Where: the address

    def _misplaced(self, call: Call) -> Answer | None:
        """Answer for an address outside the web API: a wrong context path, or the bare server."""
        if call.path.rstrip("/") == self.base_path:
            return redirect(f"{self.url}{self._landing_page()}")
        if call.path.startswith(f"{self.base_path}/api/"):
            return None
        if self.version.runs_on_tomcat:
            if call.path.endswith("/"):
                return not_found(self.version, call.path, dispatched=False)
            return redirect(f"{call.path}/{call.target.removeprefix(call.path)}", 301)
        if call.method == "POST":
            return container_error(
                405, "HTTP method POST is not supported by this URL", call.path, dispatched=False
            )
        return not_found(self.version, call.path, dispatched=False)

    def _landing_page(self) -> str:
        if self.version.runs_on_tomcat:
            return "/apps/"
        return self.version.login_page if self.version.is_at_least(Version.V2_41) else "/index.html"

    # Who: the login

    def _login_page(self, call: Call) -> Answer | None:
        """Answer for the page that one is sent to without a login.

        From 2.42 it is an app; the recorded servers had none installed, and a client must take what they say
        for no page as well as a page for no data.
        """
        version = self.version
        path = call.path.removeprefix(self.base_path)
        if version is Version.V2_43 and path == Version.V2_42.login_page:
            return redirect(f"{self.base_path}{version.login_page}", 301)
        if path != version.login_page:
            return None
        if version is Version.V2_43:
            return message(404, "App 'login' not found.")
        return not_found(version, path, dispatched=False) if version.runs_on_tomcat else login_page()

    def _ask_to_log_in(self, call: Call) -> Answer:
        if call.headers.get("x-requested-with") == "XMLHttpRequest":
            return unauthorized()
        wants_html = "text/html" in call.headers.get("accept", "")
        page_path = (
            "/index.html"
            if wants_html and not self.version.is_at_least(Version.V2_42)
            else self.version.login_page
        )
        return redirect(f"{self.url}{page_path}")

    def _with_session(self, call: Call, user: User, answer: Answer | None) -> Answer | None:
        """Open a session with the first answer to a user, as the server does."""
        session = self.logins.with_session(call, user) if answer is not None else None
        if answer is None or session is None:
            return answer
        cookie = f"{SESSION_COOKIE}={session}; Path={self.base_path or '/'}; HttpOnly; SameSite=Lax"
        return answer.with_headers({"Set-Cookie": cookie})

    # What: the resources of the web API

    def _route(self, call: Call, user: User, circumstances: Circumstances) -> Outcome:  # noqa: PLR0911 - one for each way that a call ends
        parts = call.path.removeprefix(f"{self.base_path}/api/").rstrip("/").removesuffix(".json").split("/")
        api = int(parts.pop(0)) if parts[0].isdigit() else None
        if api is not None and not _OLDEST_API <= api <= self.version.newest_api:
            return Outcome(not_found(self.version, call.path, dispatched=True))
        server = Server(
            self.version,
            self.metadata,
            self.values,
            self.clock(),
            user,
            stale_cache=circumstances.stale_cache,
            users=self.logins.users,
            last_analytics=self.setting_up.tables.built,
        )
        if parts == ["dataValueSets"] and call.method == "POST":
            bare = self.version.sends_bare_summary or (
                api is not None and api <= _BARE_UP_TO_API and not self.version.is_at_least(Version.V2_42)
            )
            return self._push(call, server, circumstances, bare=bare)
        with self._importing:
            done = self.setting_up.answer(call, parts, server)
            if done is not None:
                self.metadata = done.metadata
                self.logins.users.update(users_of(done.metadata, self.logins.users))
                return Outcome(done.answer)
        answer = self._read(call, parts, server)
        if answer is None:
            return Outcome(not_found(self.version, call.path, dispatched=True))
        if call.method == "OPTIONS":
            return Outcome(Answer(200))
        if call.method not in ("GET", "HEAD"):
            verb = "is not supported" if self.version.is_at_least(Version.V2_42) else "not supported"
            return Outcome(message(405, f"Request method '{call.method}' {verb}"))
        said = answer()
        if parts[0] == "dataSets":
            self.setting_up.note_reading(said.content)
        rates = circumstances.rates if parts == ["dataValueSets"] else None
        return Outcome(said, seconds=rates.reading(said.content.count(b'"dataElement"')) if rates else 0)

    def _read(  # noqa: PLR0911 - one for each resource
        self, call: Call, parts: list[str], server: Server
    ) -> Callable[[], Answer] | None:
        """Find what answers this address; ``None`` where nothing does."""
        query = call.query
        match parts:
            case ["ping"]:
                return lambda: Answer(200)
            case ["me"]:
                return lambda: reading.me(server, query)
            case ["me", "authorization", authority]:
                return lambda: json_answer(server.user.may(authority))
            case ["system", "info"]:
                return lambda: reading.system_info(server, query, self.url)
            case ["systemSettings", *keys] if keys or query.get("key"):
                key = (*keys, *query.get("key", ()))[0]
                locks = self.logins.lock_after_failures is not None
                return lambda: reading.system_setting(server, key, locks_accounts=locks)
            case ["dataApprovals", "approvals"]:
                return lambda: reading.approvals(server, query)
            case ["dataValueSets"]:
                return lambda: reading.data_value_sets(server, query)
            case [name] if name in reading.listing_names():
                return lambda: reading.listing(server, name, query, self.url)
            case [name, identifier] if name in reading.listing_names():
                return lambda: reading.one(server, name, identifier, query)
        return None

    def _push(self, call: Call, server: Server, circumstances: Circumstances, *, bare: bool) -> Outcome:
        """Answer ``POST /api/dataValueSets``; one import at a time."""
        if not server.user.may(MAY_ADD_DATA_VALUES):
            wanted = (
                f", requires one Authority from [{MAY_ADD_DATA_VALUES}]"
                if self.version.is_at_least(Version.V2_42)
                else ""
            )
            return Outcome(message(403, f"Access is denied{wanted}"))
        content_type = call.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() != "application/json":
            return Outcome(message(415, self._unsupported(content_type)))
        options = {name: values[-1] for name, values in call.query.items()}
        try:
            push = read_push(call.body, options, self.version, bare=bare)
        except UnreadableBodyError as unreadable:
            return Outcome(unreadable.answer)
        done = self._import(push, server, circumstances)
        answer = done if isinstance(done, Answer) else summary_answer(done, self.version, bare=bare)
        seconds = circumstances.rates.importing(push) if circumstances.rates else 0
        return Outcome(answer, values=len(push.rows), seconds=seconds)

    def _import(self, push: Push, server: Server, circumstances: Circumstances) -> ImportSummary | Answer:
        """Import, as far as others that are under way let it.

        See ``FaultKind.SLOW_IMPORT`` for those of the same keys, and ``FaultKind.PERIOD_RACE`` for those that are the
        first to use the same period: what came first opens it, and what came second waits for that and is lost.
        """
        used = _periods_of(push)
        with self._arriving:
            if self.version.has_colliding_imports and any(push.keys & it.keys for it in self._in_flight):
                return failed_import("Failed to flush BatchHandler")
            new = frozenset(period for period in used if not self.values.has_period(period))
            opening = frozenset(period for it in self._in_flight for period in it.new_periods)
            raced = new if circumstances.period_race else new & opening
            this = _Import(push.keys if circumstances.import_seconds else frozenset(), new - raced)
            before = list(self._in_flight)
            self._in_flight.append(this)
        try:
            if circumstances.import_seconds:
                circumstances.pause(circumstances.import_seconds)
            while any(it in self._in_flight and it.new_periods & raced for it in before):
                if circumstances.pause(_LOOK_AGAIN_SECONDS):
                    break
            with self._importing:
                server = self.setting_up.with_stale_cache(replace(server, raced_periods=raced), push)
                group = self.version.imports_by_group
                done = import_group(push, server) if group else import_rows(push, server)
                self.values.opened.update(raced if group else new)
                return done
        finally:
            with self._arriving:
                self._in_flight.remove(this)

    def _unsupported(self, content_type: str) -> str:
        if not self.version.is_at_least(Version.V2_42):
            return f"Content type '{content_type}' not supported"
        return f"Content-Type {f"'{content_type}' " if content_type else ''}is not supported"


def _periods_of(push: Push) -> frozenset[str]:
    """Return the periods that a push makes the server hold, by their ISO names."""
    if push.strategy == "DELETE" or push.flag("dryRun"):
        return frozenset()
    labels = {row.period for row in push.rows if row.period is not None}
    return frozenset(period.iso for label in labels if (period := parse_period(label)) is not None)
