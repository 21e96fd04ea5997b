"""The console on a database and a DHIS2 that the command line names, without a stack."""

import hashlib
import json
import os
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from threading import Lock

from cli.comparison import Compared, HeldValues, Line, Preview
from cli.console.jobs import Job
from cli.console.runs import CALLS_SHOWN, Call, KnownRuns, Refused, RunShown
from cli.console.state import Login, SavedSinceError, SavedVersion, Sent, State, Tested
from cli.console.tab import Draft
from cli.console.today import Known, PushRun, is_of_all, link_of, said_of
from cli.console.words import say
from cli.explanation import with_held
from cli.local import (
    Pushed,
    Systems,
    explain,
    held,
    in_words_of_options,
    mapping,
    preview,
    push,
    test_connection,
    told_by_options,
)
from cli.metadata.make import thresholds_of
from cli.metadata.subjects import Thresholds
from cli.options import OptionError, not_utf8
from cli.sender import by_frequency
from msupply_dhis2.domain.log_record import LogRecord
from msupply_dhis2.domain.outcome import Counts
from msupply_dhis2.errors import Dhis2AuthenticationError, MsupplyDhis2Error
from msupply_dhis2.explain.explanation import Explanation
from msupply_dhis2.handlers.orders import DeadLetterGroup
from msupply_dhis2.settings import Settings, parse_settings
from msupply_dhis2.state.run import Outcome


@dataclass(frozen=True)
class TypedSystems(Systems):
    """The systems of the command line, with settings and login as a page has them.

    ``document`` is what is tried, saved or not; ``typed`` is the login, JSON as in a credentials file.
    """

    document: str = ""
    typed: str | None = None

    def settings(self) -> Settings:
        """Read the settings."""
        return parse_settings(self.document, url=self.dhis2_url)

    @cached_property
    def login(self) -> tuple[str, str]:
        """The login as it was typed on the page, else that of the credentials file."""
        if self.typed is not None:
            return self.typed, say("login.typed")
        if self.credentials_file is None:
            raise OptionError(say("login.missing"))
        return super().login


class LocalState(State):
    """The systems of the command line; nothing but the settings is kept when the console ends.

    Parameters
    ----------
    systems
        What the command line names.
    """

    has_stack = False

    def __init__(self, systems: Systems) -> None:
        super().__init__()
        self._systems = systems
        self._saving = Lock()
        self._refused_login = ""
        self._runs: dict[str, RunShown] = {}
        self.place = say("head.here")
        self.time_zone = systems.time_zone
        self.database = systems.database(None)[0].described
        self.settings_file: Path = systems.settings_file
        self.settings_name = str(systems.settings_file)
        self.dhis2_url = systems.dhis2_url
        self.credentials_file: Path | None = systems.credentials_file

    def document(self) -> str:
        """Read the settings document; empty where the file does not exist yet."""
        try:
            return self.settings_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError as error:
            raise OptionError(not_utf8(self.settings_file, error)) from error
        except OSError as error:
            raise OptionError(
                say("settings.unreadable", file=self.settings_file, why=error.strerror)
            ) from error

    def version(self) -> str:
        """Return what tells one state of the file from another."""
        return hashlib.sha256(self.document().encode()).hexdigest()[:12]

    def save(self, draft: Draft, version: str) -> None:
        """Write a draft into the settings file; what stood there is kept beside it."""
        with self._saving:
            if self.version() != version:
                raise SavedSinceError(say("settings.saved_since"))
            file, before = self.settings_file, self.document()
            try:
                if before:
                    Path(self.kept_as).write_text(before, encoding="utf-8")
                new = file.with_name(f"{file.name}.new")
                new.write_text(draft.document, encoding="utf-8")
                if before:
                    new.chmod(file.stat().st_mode)
                os.replace(new, file)  # noqa: PTH105 - the same, and shorter
            except OSError as error:
                raise OptionError(say("settings.unwritable", file=file, why=error.strerror)) from error

    def versions(self) -> list[SavedVersion]:
        """Return the settings as they are, and as they stood before."""
        found = []
        for file in (self.settings_file, Path(self.kept_as)):
            try:
                saved = datetime.fromtimestamp(file.stat().st_mtime, UTC)
                found.append(SavedVersion(file.name, file.name, file.read_text(encoding="utf-8"), saved))
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError) as error:
                raise OptionError(say("settings.unreadable", file=file, why=error)) from error
        return found

    @property
    def tested_from(self) -> str:
        """The officer's own machine."""
        return say("from.here")

    @property
    def kept_as(self) -> str:
        """The file beside the settings."""
        return str(self.settings_file.with_name(f"{self.settings_file.name}.before"))

    def test(self, draft: Draft, version: str, login: Login | None) -> Tested:
        """Test the connection with a draft and a login; both are kept where DHIS2 lets the user in."""
        with told_by_options():
            report = test_connection(self._systems_with(draft.document, login), {"manual": True})
        note = ""
        if report.connected:
            self.keep_login(login)
            note = self.keep(draft, version)
        return Tested(report, draft, version, login, note)

    def about_secrets(self) -> tuple[str, str]:
        """Return what the command line names, and whose login the console knows."""
        database = say("database.named", database=self.database, zone=self.time_zone)
        if self.login:
            return database, say("login.known", user=self.login.user)
        file = self.credentials_file
        return database, say("login.file", file=file) if file else say("login.unknown")

    def keep_login(self, login: Login | None) -> None:
        """Keep it in memory."""
        self.login, self._refused_login = login or self.login, ""

    def insist_on(self, event: Mapping[str, object]) -> None:
        """Raise an EventError where an event cannot be understood."""
        self._systems.as_of(self._systems.event({**event, "dry_run": True}))

    def compute(self, event: Mapping[str, object], job: Job[Compared]) -> Preview:
        """Compute what an event asks for."""
        with told_by_options():
            return preview(self._systems_with(), event, tell=job.tell, watch=job.watch)

    def mapping(self) -> list[Line]:
        """Return which stores and items are sent."""
        return mapping(self._systems_with())

    def thresholds(self) -> Thresholds:
        """Read the preferences of the stores."""
        systems = self._systems_with()
        return thresholds_of(systems, systems.settings())

    def held(self, question: Mapping[str, object]) -> HeldValues:
        """Read what DHIS2 holds; a login that it refused is not tried again by looking, because that could lock the account."""
        systems = self._systems_with()
        if systems.login[0] == self._refused_login:
            raise OptionError(say("login.refused_before"))
        try:
            return held(systems, question)
        except Dhis2AuthenticationError:
            self._refused_login = systems.login[0]
            raise

    def send(self, event: Mapping[str, object], job: Job[Sent]) -> Sent:
        """Compute what an event asks for, and send it."""
        calls: deque[Call] = deque(maxlen=CALLS_SHOWN)
        kept = RunShown(
            id=f"push-{len(self._runs) + 1}",
            event=event,
            started_by="manual",
            as_of=None,
            started_at=job.begun,
            ended_at=None,
            outcomes={"waiting": job.queued},
            ended=None,
            calls=calls,
        )
        job.run_id = kept.id
        self._runs[kept.id] = kept

        def follow(counts: Counts, given_up: int) -> bool:
            job.outcomes = {**counts.by_name(), "given_up": given_up}
            self._runs[kept.id] = replace(kept, outcomes=_with_waiting(job))
            return not job.is_stopped

        def log(record: LogRecord) -> None:
            calls.append(Call(datetime.now(UTC), record.fields))

        try:
            with told_by_options():
                pushed = push(
                    self._systems_with(), event, tell=job.tell, watch=job.watch, follow=follow, log=log
                )
        except BaseException as error:
            why = str(error) if isinstance(error, MsupplyDhis2Error) else say("error.unexpected")
            outcomes = {**job.outcomes, "not_sent": job.queued - job.settled}
            self._runs[kept.id] = replace(
                kept,
                ended_at=datetime.now(UTC),
                ended=Outcome.FAILED,
                outcomes=outcomes,
                said=(self.in_words(why),),
            )
            raise
        refused = [
            Refused(outcome, code, line.message, str(line.fields["cure"]), line.fields)
            for (code, outcome), lines in by_frequency(pushed.refusals)
            for line in lines
        ]
        outcomes = {**pushed.counts.by_name(), "given_up": pushed.given_up, "not_sent": pushed.not_sent}
        said = (say("run.stopped"),) if pushed.not_sent else ()
        self._runs[kept.id] = replace(
            kept,
            ended_at=datetime.now(UTC),
            as_of=pushed.result.as_of,
            periods=pushed.result.periods,
            outcomes=outcomes,
            ended=_outcome(pushed),
            said=said if pushed.is_sent else (pushed.result.message,),
            has_refused=bool(refused),
            refused=refused,
        )
        return Sent(pushed.result, outcomes, refused, pushed.all_well, said, kept.id)

    def known_runs(self) -> KnownRuns:
        """Return the pushes since the console was started."""
        return KnownRuns(list(reversed(self._runs.values())))

    def run(self, run_id: str) -> RunShown | None:
        """Return one of them."""
        return self._runs.get(run_id)

    def run_and_refused(self, run_id: str) -> tuple[RunShown | None, Sequence[Refused], str]:
        """Return one of them with its values that are not in DHIS2."""
        run = self._runs.get(run_id)
        return run, run.refused if run else (), ""

    def refused_of_all(self, value: Mapping[str, str]) -> list[tuple[RunShown, Sequence[Refused], str]]:
        """Return those that may be about a value."""
        return [(run, run.refused, "") for run in self.known_runs().runs if run.may_be_about(value)]

    def calls(self, run_id: str, since: datetime | None, until: datetime | None) -> Sequence[Call]:  # noqa: ARG002 - those that are kept
        """Return the calls that are kept of one."""
        run = self._runs.get(run_id)
        return list(run.calls) if run else ()

    def not_delivered(self) -> tuple[Sequence[DeadLetterGroup], Sequence[str]]:
        """Return nothing: only a stack keeps what was not delivered."""
        return (), ()

    def stop(self, run_id: str) -> None:
        """Have the push that goes on send nothing more, once DHIS2 has answered for what it was given."""
        if self.push is not None and self.push.is_running and self.push.run_id == run_id:
            self.push.is_stopped = True

    def known(self) -> Known:
        """Return what is kept in memory."""
        url = self.dhis2_url or self.draft().settings.url
        runs = [_push_run(run) for run in self.known_runs().runs if run.ended is not None]
        return Known(runs=runs, last=self.titles(url) if url else None)

    @property
    def knows_login(self) -> bool:
        """Whether a login was typed, or is in a file."""
        return self.login is not None or self.credentials_file is not None

    def explain(self, question: Mapping[str, str]) -> Explanation:
        """Explain a value, also what DHIS2 holds of it, where there is a login."""
        # Without a login of its own: what DHIS2 holds is asked here, where a refused login is remembered.
        explanation = explain(replace(self._systems_with(), credentials_file=None), question)
        return (
            with_held(explanation, lambda asked: self.held(asked).values) if self.knows_login else explanation
        )

    def in_words(self, sentence: str) -> str:
        """Return a sentence of the functions in the words of the options."""
        return in_words_of_options(sentence)

    def _systems_with(self, document: str | None = None, login: Login | None = None) -> TypedSystems:
        """Return the systems as they are now: with the settings of the file or others, and with the login typed last."""
        login = login or self.login
        return TypedSystems(
            self.settings_file,
            self._systems.source,
            self.dhis2_url,
            self.credentials_file,
            self.time_zone,
            document=self.document() if document is None else document,
            typed=login.text if login else None,
        )


def _with_waiting(job: Job[Sent]) -> dict[str, int]:
    return {**job.outcomes, "waiting": max(0, job.queued - job.settled)}


def _outcome(pushed: Pushed) -> Outcome:
    if pushed.given_up or pushed.not_sent or pushed.counts.unaccounted:
        return Outcome.INCOMPLETE
    return Outcome.COMPLETE if pushed.all_well else Outcome.WITH_REJECTIONS


def _push_run(run: RunShown) -> PushRun:
    """Return a push as the first page tells it."""
    counts = {name: number for name, number in run.outcomes.items() if number}
    return PushRun(
        began=run.started_at,
        started_by="manual",
        what=say("today.manual"),
        of_all=is_of_all(json.dumps(run.event)),
        outcome=say("ended." + run.ended_name),
        is_well=run.is_well,
        counts=counts,
        said=said_of(counts) if counts else " ".join(run.said),
        link=link_of(run.id),
    )


def typed_login(form: Mapping[str, str]) -> Login | None:
    """Return the login of a form; ``None`` where nothing was typed."""
    names = ("username", "password", "client", "secret", "token")
    typed = {name: form.get(f"login.{name}", "") for name in names}
    given = {name: text for name, text in typed.items() if text}
    if not given:
        return None
    return Login(given.get("username") or say("login.by_token"), json.dumps(given))
