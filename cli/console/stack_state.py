"""The console on a deployed stack, with the officer's own rights at AWS: the functions do the work."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from threading import Lock
from zoneinfo import ZoneInfo

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from cli.announcement import insist_on_open, tell_from_checks
from cli.commands.run import LIMITS
from cli.comparison import Compared, HeldValues, Line, Preview
from cli.console.blame import blamed
from cli.console.jobs import Job, begin
from cli.console.runs import Call, KnownRuns, Refused, RunShown, run_shown
from cli.console.stack_runs import (
    LOOKED_BACK,
    read_calls,
    read_each,
    read_not_delivered,
    read_refused,
    read_run,
)
from cli.console.stack_today import (
    about_database,
    entered_on,
    last_of_any,
    read_breaker,
    read_known,
    recent_runs,
    side_by_side,
)
from cli.console.state import Login, SavedSinceError, SavedVersion, Sent, State, Tested
from cli.console.tab import Draft, as_yaml
from cli.console.today import Known, Remembered, cure_of, why_paused
from cli.console.words import say
from cli.credentials import PendingSecret, write
from cli.explanation import with_held
from cli.settings import Checked, upload
from cli.stack import LoginError, Stack, StackError, in_words
from cli.tokens import require_token
from msupply_dhis2.compute.event import ComputeEvent, parse_as_of, parse_compute_event
from msupply_dhis2.compute.result import ComputeResult, Status
from msupply_dhis2.domain.choices import Scheme
from msupply_dhis2.domain.data_value import Column, DataValue, Origin
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import Kind
from msupply_dhis2.errors import AwsError, CredentialsError, MsupplyDhis2Error
from msupply_dhis2.explain.explanation import Explanation
from msupply_dhis2.handlers.orders import DeadLetterGroup
from msupply_dhis2.periods import Calendar, parse_time_zone
from msupply_dhis2.settings import parse_settings
from msupply_dhis2.settings.credentials import parse_database_address, parse_dhis2_credentials
from msupply_dhis2.settings.model import written_fields
from msupply_dhis2.state.breaker import Breaker
from msupply_dhis2.state.breaker import State as BreakerState
from msupply_dhis2.state.connections import written_in
from msupply_dhis2.state.runs import Runs
from msupply_dhis2.text import count, joined

_REMEMBERED = 1.0
"""Seconds for which the settings are not read again: one page asks for them several times."""

_TITLES_REMEMBERED = 60.0
"""Seconds for which it is not read again what DHIS2 and the data set are called."""

_LOOK_EVERY = 2.0
_PATIENCE = 900.0
"""Seconds for which a run is followed; a stack whose sending is paused may need days."""


class StackState(State):
    """A stack; its settings are a parameter, the login of DHIS2 and mSupply's address are secrets.

    Parameters
    ----------
    name
        The stack's name.
    """

    has_stack = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._deployed: Stack | None = None
        self._saving = Lock()
        self._parameter = f"/{name}/settings"
        self._read: tuple[float, str, str] | None = None
        self._saved_at: datetime | None = None
        self._titles: dict[str, tuple[float, Remembered | None]] = {}
        self.settings_name = say("stack.parameter", name=self._parameter)
        self.database = say("stack.database")

        # All at the beginning: a stack that is not there, or may not be looked at, ends the console at once.
        with self._stack() as stack:
            configuration = stack.client("lambda").get_function_configuration(
                FunctionName=stack.resource("ComputeFunction")
            )
            self.time_zone = configuration["Environment"]["Variables"]["TIMEZONE"]
            self.place = say("stack.place", name=name, region=stack.region, login=_login_at_aws(stack))
            self.may_not = "" if stack.may_call("ComputeFunction") else say("stack.may_not")

    @contextmanager
    def _stack(self) -> Iterator[Stack]:
        try:
            with in_words():
                if self._deployed is None:
                    self._deployed = Stack(self._name, boto3.Session())
                yield self._deployed
        except LoginError:
            # A new session finds the login that the officer gets meanwhile.
            self._deployed = None
            raise

    def _settings(self, *, anew: bool = False) -> tuple[str, str]:
        """Return the document and its version; both empty where there is none yet."""
        if self._read is None or anew or time.monotonic() - self._read[0] > _REMEMBERED:
            with self._stack() as stack:
                client = stack.client("ssm")
                try:
                    found = client.get_parameter(Name=self._parameter)["Parameter"]
                    document, version = str(found["Value"]), str(found["Version"])
                    self._saved_at = found["LastModifiedDate"]
                except client.exceptions.ParameterNotFound:
                    document = version = ""
            self._read = time.monotonic(), document, version
        return self._read[1:]

    def titles(self, url: str) -> Remembered | None:
        """Return what the stack's own tests remember; they are read again after a while, and after each test."""
        if (told := super().titles(url)) is not None:
            return told
        read = self._titles.get(url)
        if read is None or time.monotonic() - read[0] > _TITLES_REMEMBERED:
            found = None
            # Without them the head shows host and data set all the same.
            with suppress(MsupplyDhis2Error), self._stack() as stack:
                found = last_of_any(stack.table("Table"), url)
            read = self._titles[url] = time.monotonic(), found
        return read[1]

    def document(self) -> str:
        """Read the settings document as YAML, which people can read."""
        document, _ = self._settings()
        return as_yaml(Draft(document).written) if document else ""

    def version(self) -> str:
        """Return the version of the parameter."""
        return self._settings(anew=True)[1]

    def save(self, draft: Draft, version: str) -> None:
        """Upload a draft as ``settings upload`` does."""
        with self._saving:
            if self.version() != version:
                who = next((each.who for each in self.versions() if each.who), "")
                by = say("settings.saved_by", who=who) if who else ""
                raise SavedSinceError(f"{say('settings.saved_since')} {by}".strip())
            checked = Checked(self.settings_name, parse_settings(draft.document))
            with self._stack() as stack:
                upload(checked, self._parameter, stack.client("ssm"))
            self._read = None

    def versions(self) -> list[SavedVersion]:
        """Return the versions of the parameter that AWS keeps, a hundred at most."""
        with self._stack() as stack:
            client = stack.client("ssm")
            pages = client.get_paginator("get_parameter_history").paginate(Name=self._parameter)
            try:
                found = [version for page in pages for version in page["Parameters"]]
            except client.exceptions.ParameterNotFound:
                found = []
        newest_first = sorted(found, key=lambda version: int(version["Version"]), reverse=True)
        return [
            SavedVersion(
                str(each["Version"]),
                say("history.version", number=each["Version"]),
                as_yaml(written_fields(each["Value"])),
                each["LastModifiedDate"],
                each.get("LastModifiedUser", ""),
            )
            for each in newest_first
        ]

    @property
    def tested_from(self) -> str:
        """The function's subnets, if it has any: what AWS knows without the right to look at networks."""
        try:
            with self._stack() as stack:
                name = stack.resource("TestConnectionFunction")
                found = stack.client("lambda").get_function_configuration(FunctionName=name)
        except MsupplyDhis2Error as error:
            # The page says it, and shows all else.
            return str(error)
        network = found.get("VpcConfig", {})
        if not network.get("SubnetIds"):
            return say("from.open")
        return say("from.subnets", subnets=joined(network["SubnetIds"]), vpc=network.get("VpcId", ""))

    @property
    def takes_database(self) -> bool:  # type: ignore[override]  # it depends on the stack
        """Whether the stack has a secret for it; otherwise it is one of the officer's own."""
        with self._stack() as stack:
            return stack.has("DatabaseSecret")

    def save_database(self, address: str) -> None:
        """Put it into the stack's secret, as ``credentials`` does."""
        parse_database_address(address)
        with self._stack() as stack:
            write(stack.resource("DatabaseSecret"), address, stack.client("secretsmanager"))

    @property
    def saved_as(self) -> str:
        """The version of the parameter that is in force."""
        return say("stack.version", version=self._settings()[1], name=self._parameter)

    @property
    def next_version(self) -> str:
        """The version of the parameter after this one."""
        return say("history.version", number=int(self._settings()[1] or 0) + 1)

    @property
    def kept_as(self) -> str:
        """The version of the parameter before this one."""
        version = self._settings()[1]
        return say("stack.version", version=int(version or 1) - 1, name=self._parameter)

    def test(self, draft: Draft, version: str, login: Login | None) -> Tested:
        """Have the stack try what was typed; the login is not in force until DHIS2 lets it in."""
        typed = {"settings": draft.document} if self.draft().differences(draft) else {}
        with self._stack() as stack:
            pending = None
            if login:
                _insist_on_login(login, draft)
                client = stack.client("secretsmanager")
                pending = PendingSecret(stack.resource("Dhis2Secret"), login.text, client)
                typed["secret_version"] = pending.version
            connected = False
            try:
                report = stack.test_connection(typed)
                connected = report.connected
            finally:
                if pending is not None:
                    (pending.promote if connected else pending.discard)()
            if connected and pending is not None:
                # What waits because DHIS2 refused the former login need not wait for the probe's own time.
                stack.invoke("TestConnectionFunction", {"probe": True})
        self._titles.clear()
        note = self.keep(draft, version) if connected else ""
        return Tested(report, draft, version, login, note)

    def about_secrets(self) -> tuple[str, str]:
        """Return when both were entered; they are never read back."""
        zone = ZoneInfo(self.time_zone)
        with self._stack() as stack:
            told, faults = side_by_side(
                {
                    "database": lambda: about_database(stack, zone) or say("path.database_missing"),
                    "login": lambda: _about_login(stack, zone),
                }
            )
        # The page says what could not be asked, and shows all else.
        why = " ".join(faults)
        database = " ".join((told.get("database", why), say("database.zone", zone=self.time_zone)))
        return database, told.get("login", why)

    def keep_login(self, login: Login) -> None:
        """Put it into the stack's secret."""
        with self._stack() as stack:
            write(stack.resource("Dhis2Secret"), login.text, stack.client("secretsmanager"))

    def insist_on(self, event: Mapping[str, object]) -> None:
        """Raise an EventError where an event cannot be understood."""
        parse_compute_event({**event, "dry_run": True})

    def compute(self, event: Mapping[str, object], job: Job[Compared]) -> Preview:
        """Have compute export what an event asks for, and read the files."""
        limits = parse_compute_event(event).model_dump(mode="json", include=LIMITS, exclude_none=True)
        with self._stack() as stack:
            result, lines = stack.export(limits, job.look)
        return Preview(tuple(map(_value, lines)), result)

    def mapping(self) -> list[Line]:
        """Have compute export which stores and items are sent, and read the file."""
        with self._stack() as stack:
            return list(stack.mapping())

    def held(self, question: Mapping[str, object]) -> HeldValues:
        """Have test connection, which has the login, read what DHIS2 holds."""
        with self._stack() as stack:
            return stack.held(question)

    def send(self, event: Mapping[str, object], job: Job[Sent]) -> Sent:
        """Have compute queue what an event asks for, and look at the run until nothing of it waits."""
        asked = parse_compute_event(event)
        with self._stack() as stack:
            report = stack.test_connection() if self._is_of_today(asked) else None
            checks = report.checks if report else ()
            tell_from_checks(asked, checks, job.tell)
            insist_on_open(asked, checks, job.tell, report.message if report else say("stack.only_today"))
            result = stack.push(event)
            job.tell(result.message, logging.INFO)
            if result.run_id is None or result.status not in {Status.SENT, Status.PLANNED}:
                return Sent(result, {}, all_well=result.status is not Status.FAILED)
            job.run_id = result.run_id
            return _followed(stack, result, job, ZoneInfo(self.time_zone))

    def known(self) -> Known:
        """Ask the stack."""
        url = self.draft().settings.url
        with self._stack() as stack:
            return read_known(stack, url, self._saved_at, ZoneInfo(self.time_zone))

    def known_runs(self) -> KnownRuns:
        """Read the runs, whether sending is paused, and what was not delivered, side by side."""
        with self._stack() as stack:
            # Known before several threads ask for it.
            stack.resource("RunsTable")
            told, faults = side_by_side(
                {
                    "runs": lambda: recent_runs(stack, datetime.now(UTC) - LOOKED_BACK),
                    "breaker": lambda: read_breaker(stack),
                    "not_delivered": lambda: read_not_delivered(stack),
                }
            )
        runs, damaged = told.get("runs", ((), ()))
        groups, more = told.get("not_delivered", ((), ()))
        breaker = told.get("breaker", Breaker())
        why = why_paused(breaker, ZoneInfo(self.time_zone))
        return KnownRuns(
            runs=[run_shown(run) for run in runs],
            faults=[*faults, *damaged, *more],
            paused=(why, say("cure." + cure_of(breaker))) if why else (),
            is_by_hand=breaker.state is BreakerState.BY_HAND,
            not_delivered=groups,
        )

    def run(self, run_id: str) -> RunShown | None:
        """Read a run."""
        with self._stack() as stack:
            return read_run(stack, run_id)

    def run_and_refused(self, run_id: str) -> tuple[RunShown | None, Sequence[Refused], str]:
        """Read a run and its file, side by side."""
        with self._stack() as stack:
            stack.resource("RunsTable")
            told, faults = side_by_side(
                {
                    "run": lambda: read_run(stack, run_id),
                    "refused": lambda: _refused_or_why(stack, run_id),
                }
            )
        if "run" not in told:
            raise StackError(" ".join(faults))
        run = told["run"]
        refused, fault = told.get("refused", ((), " ".join(faults)))
        # Without a file there is nothing to tell.
        return run, refused, fault if run is not None and run.has_refused else ""

    def refused_of_all(self, value: Mapping[str, str]) -> Iterator[tuple[RunShown, Sequence[Refused], str]]:
        """Read the runs that may be about a value, and their files, side by side."""
        with self._stack() as stack:
            since = datetime.now(UTC) - LOOKED_BACK
            ids = [run.run_id for run in recent_runs(stack, since)[0]]
            runs = [run for run in read_each(ids, lambda run_id: read_run(stack, run_id)) if run is not None]
            about = [run for run in runs if run.may_be_about(value)]
            with_file = {run.id: run for run in about if run.has_refused}
            files = dict(
                zip(
                    with_file,
                    read_each(with_file, lambda run_id: _refused_or_why(stack, run_id)),
                    strict=True,
                )
            )
            for run in about:
                yield run, *files.get(run.id, ((), ""))

    def calls(self, run_id: str, since: datetime | None, until: datetime | None) -> Sequence[Call]:
        """Read the calls of a run from the log of push."""
        with self._stack() as stack:
            return read_calls(stack, run_id, since or datetime.now(UTC) - LOOKED_BACK, until)

    def not_delivered(self) -> tuple[Sequence[DeadLetterGroup], Sequence[str]]:
        """Read what was not delivered."""
        with self._stack() as stack:
            return read_not_delivered(stack)

    def begin_sending_again(self, run_id: str | None, reason: str | None) -> None:
        """Begin to send again what was not delivered, until that was all of it."""

        def send(job: Job[int]) -> int:
            sent = 0
            with self._stack() as stack:
                for answer in stack.redrive(run_id, reason):
                    sent += sum(group.values for group in answer.letters)
                    job.tell(say("undelivered.sent", values=count(sent, "value")), logging.INFO)
            return sent

        self.sending_again = begin(say("undelivered.again"), send, say("error.unexpected"))

    def pause(self, reason: str) -> None:
        """Pause sending."""
        with self._stack() as stack:
            stack.ask_push({"breaker": "open"}, reason=reason)

    def resume(self) -> None:
        """Go on sending."""
        with self._stack() as stack:
            stack.ask_push({"breaker": "close"})

    def stop(self, run_id: str) -> None:
        """Have push stop a run."""
        with self._stack() as stack:
            stack.ask_push({"stop": run_id})

    def _is_of_today(self, asked: ComputeEvent) -> bool:
        """Return whether an event is about the periods of today, which a connection test looks at."""
        calendar = Calendar(parse_time_zone(self.time_zone))
        now = datetime.now(calendar.time_zone)
        as_of = parse_as_of(asked.as_of, calendar, "as_of") if asked.as_of else now
        return asked.months is None and as_of.astimezone(calendar.time_zone).date() == now.date()

    @property
    def knows_login(self) -> bool:
        """Whether there is a login: the stack says so itself."""
        return True

    def explain(self, question: Mapping[str, str]) -> Explanation:
        """Have the stack explain a value, and say what DHIS2 holds of it."""
        with self._stack() as stack:
            return with_held(stack.explain(question), lambda asked: stack.held(asked).values)


def _about_login(stack: Stack, zone: ZoneInfo) -> str:
    set_on = entered_on(stack, "Dhis2Secret")
    return say("login.set_on", time=written_in(set_on, zone)) if set_on else say("login.not_filled")


def _insist_on_login(login: Login, draft: Draft) -> None:
    """Raise a CredentialsError, before anything is written, where what was typed can be no login."""
    try:
        token = parse_dhis2_credentials(login.text, draft.settings).token
        if token is not None:
            require_token(token.get_secret_value())
    except CredentialsError as error:
        raise CredentialsError(say("login.wrong", fault=error.fault), error.fault) from None


def _login_at_aws(stack: Stack) -> str:
    try:
        return str(stack.client("sts").get_caller_identity()["Arn"])
    except (BotoCoreError, ClientError) as error:
        # Everything else may be allowed all the same.
        return say("stack.unknown_login", why=error)


def _followed(stack: Stack, result: ComputeResult, job: Job[Sent], zone: ZoneInfo) -> Sent:
    """Look at a run until nothing of it waits, or for long enough."""
    runs, until = Runs(stack.table("RunsTable")), time.monotonic() + _PATIENCE
    while True:
        run = runs.run(job.run_id)
        if run is not None:
            job.queued, job.outcomes = run.counts.queued, run_shown(run).outcomes
            # Whoever finds that nothing of it waits any more closes it, with its outcome and its file.
            if run.outcome is not None:
                break
        # Whether sending is paused is told beside; the run is followed without it, too.
        with suppress(MsupplyDhis2Error):
            breaker = read_breaker(stack)
            why = why_paused(breaker, zone)
            job.waits = f"{why} {say('cure.' + cure_of(breaker))}" if why else ""
        if time.monotonic() > until:
            break
        time.sleep(_LOOK_EVERY)
    if run is None:
        return Sent(result, {}, all_well=False, said=(say("push.still"),))
    shown = run_shown(run)
    refused, no_file = _refused_or_why(stack, run.run_id) if run.rejected_file else ((), "")
    said = shown.said if run.outcome else tuple(filter(None, (say("push.still"), job.waits)))
    if shown.already_stored:
        said = (*said, say("run.already_stored", number=f"{shown.already_stored:,}"))
    if no_file:
        said = (*said, say("run.no_file", why=no_file))
    return Sent(result, shown.outcomes, refused, shown.is_well, said, run.run_id)


def _refused_or_why(stack: Stack, run_id: str) -> tuple[Sequence[Refused], str]:
    """Return the values of a run that are not in DHIS2, or why they cannot be read."""
    try:
        return read_refused(stack, run_id), ""
    except AwsError as error:
        return (), blamed(error)


def _value(line: Mapping[str, str | None]) -> DataValue:
    told = {name: text or "" for name, text in line.items()}
    identifier = told["data_element"], line["category_option_combo"], line["attribute_option_combo"]
    # The scheme matters only where something is sent.
    column = Column(identifier, told["period"], Scheme.UID, Metric(told["metric"]), told["item"])
    kind = Kind(told.get("kind") or Kind.STORE)
    return DataValue(
        column, Origin(told["org_unit"], told["store"], kind, told.get("document", "")), told["value"]
    )
