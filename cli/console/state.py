"""What the console knows between two requests, and what it asks of the systems, with a stack or without one."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cli.comparison import Compared, HeldValues, Line, Preview, compare, not_compared
from cli.console.blame import blamed
from cli.console.jobs import Job, begin
from cli.console.runs import Call, KnownRuns, Refused, RunShown
from cli.console.tab import Draft
from cli.console.today import Known, Remembered
from cli.console.words import say
from cli.metadata.subjects import Thresholds
from msupply_dhis2.compute.event import parse_compute_event
from msupply_dhis2.compute.result import ComputeResult, Status
from msupply_dhis2.errors import MsupplyDhis2Error
from msupply_dhis2.explain.explanation import Explanation
from msupply_dhis2.handlers.orders import DeadLetterGroup
from msupply_dhis2.preflight.job import ConnectionReport

if TYPE_CHECKING:
    from cli.console.metadata_page import MetadataWork


class SavedSinceError(MsupplyDhis2Error):
    """Somebody saved the settings after the page was opened."""


@dataclass(frozen=True, slots=True)
class Login:
    """A login that was typed on the page: kept in memory only, and shown without its secret parts."""

    user: str
    text: str


@dataclass(frozen=True, slots=True)
class SavedVersion:
    """A state of the settings document: its name and title, who saved it and when, as far as that is known."""

    name: str
    title: str
    document: str
    when: datetime | None = None
    who: str = ""


@dataclass(frozen=True, slots=True)
class Tested:
    """A connection test, and what was tried: ``note`` says what became of it, where it is not what is saved already."""

    report: ConnectionReport
    tried: Draft
    version: str
    login: Login | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """A push that somebody looks at before it is sent; ``id`` tells it from a later one.

    ``asked_for`` is how many values somebody wants to push again, ``None`` where it is not about certain ones.
    """

    id: str
    event: Mapping[str, object]
    job: Job[Compared]
    asked_for: int | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a push: how many values have which outcome, which add up to all, and those that were refused.

    ``said`` is told beside; ``run_id`` names its run.
    """

    result: ComputeResult
    outcomes: Mapping[str, int]
    refused: Sequence[Refused] = ()
    all_well: bool = True
    said: Sequence[str] = ()
    run_id: str = ""

    @property
    def is_sent(self) -> bool:
        """Whether there was anything to send, and it may be sent."""
        return self.result.status in {Status.SENT, Status.PLANNED}


class State(ABC):
    """What was tested, computed and pushed last, and the login that was typed.

    Attributes
    ----------
    place
        Where the work is done: this machine, or a stack.
    time_zone
        The name of the time zone of all times.
    database
        Which database of mSupply it is, without user name and password.
    settings_name
        What the settings are kept in.
    has_stack
        Whether it is about a stack.
    may_not
        Why the officer may look only; empty where everything may be done.
    pages
        The pages that there are, in their order: paths, each with the key of its name.
    """

    pages = (
        ("/", "today.title"),
        ("/tab", "nav.tab"),
        ("/connection", "connection.title"),
        ("/preview", "preview.title"),
        ("/push", "push.title"),
        ("/runs", "runs.title"),
        ("/explain", "explain.title"),
        ("/metadata", "metadata.title"),
    )
    place: str
    time_zone: str
    database: str
    settings_name: str
    has_stack: bool
    dhis2_url: str | None = None
    credentials_file: object = None
    may_not: str = ""

    def __init__(self) -> None:
        self.login: Login | None = None
        self.connection: Job[Tested] | None = None
        self.preview: Job[Compared] | None = None
        self.plan: Plan | None = None
        self.push: Job[Sent] | None = None
        self.comparison: Job[Compared] | None = None
        self.ticked: frozenset[str] = frozenset()
        self.pushed_event: Mapping[str, object] = {}
        self.metadata: MetadataWork | None = None
        self.sending_again: Job[int] | None = None
        self._has_sent = False

    @abstractmethod
    def document(self) -> str:
        """Read the settings document; empty where there is none yet."""

    @abstractmethod
    def version(self) -> str:
        """Return what tells one state of the settings from another."""

    @abstractmethod
    def save(self, draft: Draft, version: str) -> None:
        """Save a draft, or raise a ``SavedSinceError`` where it is another version than the page began with."""

    @property
    def saved_as(self) -> str:
        """What the settings are kept in, as they are now."""
        return self.settings_name

    @property
    def next_version(self) -> str:
        """What the settings are called once they are saved; empty where versions have no names."""
        return ""

    @property
    @abstractmethod
    def kept_as(self) -> str:
        """Where the settings are kept as they stood before they were saved last."""

    @abstractmethod
    def versions(self) -> Sequence[SavedVersion]:
        """Return the states of the settings that are kept, the newest first."""

    @property
    @abstractmethod
    def tested_from(self) -> str:
        """From where a test asks DHIS2, and which address a firewall must admit, as far as that is known."""

    @abstractmethod
    def about_secrets(self) -> tuple[str, str]:
        """Return what is known of mSupply's database and of the login of DHIS2: which they are, or when they were entered."""

    takes_database = False
    """Whether the address of mSupply's database is entered on the page."""

    @abstractmethod
    def keep_login(self, login: Login) -> None:
        """Keep a login, whether DHIS2 lets it in or not."""

    def keep(self, draft: Draft, version: str) -> str:
        """Save a draft with which DHIS2 has let the user in, and say what became of it; nothing where nothing differs."""
        if not self.draft().differences(draft):
            return ""
        if not draft.can_be_saved:
            return say("connection.not_saved")
        try:
            self.save(draft, version)
        except MsupplyDhis2Error as error:
            return str(error)
        return say("connection.saved", file=self.settings_name)

    @abstractmethod
    def test(self, draft: Draft, version: str, login: Login | None) -> Tested:
        """Test the connection."""

    @abstractmethod
    def insist_on(self, event: Mapping[str, object]) -> None:
        """Raise an EventError where an event cannot be understood, before anything is computed."""

    @abstractmethod
    def compute(self, event: Mapping[str, object], job: Job[Compared]) -> Preview:
        """Compute what an event asks for; nothing is sent."""

    @abstractmethod
    def mapping(self) -> list[Line]:
        """Return which stores and items are sent: the lines of an export of the mapping."""

    def thresholds(self) -> Thresholds | None:
        """Return what mSupply's stores take for too little and too much, where that can be read."""
        return None

    @abstractmethod
    def held(self, question: Mapping[str, object]) -> HeldValues:
        """Read what DHIS2 holds of what a question names."""

    def preview_beside(self, event: Mapping[str, object], job: Job[Compared]) -> Compared:
        """Compute what an event asks for, and set it beside what DHIS2 holds, where that can be known."""
        previewed, asked = self.compute(event, job), parse_compute_event(event)
        try:
            return compare(previewed, asked, self.draft().settings, self.mapping(), self.held)
        except MsupplyDhis2Error as error:
            why = blamed(error, self.in_words(str(error)))
            return not_compared(previewed, asked, say("preview.not_compared", why=why))

    @abstractmethod
    def send(self, event: Mapping[str, object], job: Job[Sent]) -> Sent:
        """Compute what an event asks for, send it, and follow it to its end."""

    @abstractmethod
    def known(self) -> Known:
        """Return what the systems tell of the last pushes, and of what waits."""

    # Runs

    @abstractmethod
    def known_runs(self) -> KnownRuns:
        """Return the last runs, and what is known around them."""

    @abstractmethod
    def run(self, run_id: str) -> RunShown | None:
        """Return a run, ``None`` where there is none."""

    @abstractmethod
    def run_and_refused(self, run_id: str) -> tuple[RunShown | None, Sequence[Refused], str]:
        """Return a run, its values that are not in DHIS2, and why these cannot be told, where that is so."""

    @abstractmethod
    def refused_of_all(self, value: Mapping[str, str]) -> Iterable[tuple[RunShown, Sequence[Refused], str]]:
        """Return the same of each of the last runs that may be about a value."""

    @abstractmethod
    def calls(self, run_id: str, since: datetime | None, until: datetime | None) -> Sequence[Call]:
        """Return the last calls of DHIS2 of a run, which went on between two instants."""

    @abstractmethod
    def not_delivered(self) -> tuple[Sequence[DeadLetterGroup], Sequence[str]]:
        """Return what was not delivered, and why some of it cannot be told."""

    @abstractmethod
    def stop(self, run_id: str) -> None:
        """Stop a run: DHIS2 keeps what it has, and the rest is not sent."""

    def has_sent(self) -> bool:
        """Return whether DHIS2 ever took a value, as far as that is known."""
        # Who may not look at the runs begins with one store.
        with suppress(MsupplyDhis2Error):
            self._has_sent = self._has_sent or any(
                run.outcomes.get("stored") or run.outcomes.get("unchanged") for run in self.known_runs().runs
            )
        return self._has_sent

    @property
    @abstractmethod
    def knows_login(self) -> bool:
        """Whether there is a login of DHIS2 to send with."""

    @abstractmethod
    def explain(self, question: Mapping[str, str]) -> Explanation:
        """Explain a value."""

    def in_words(self, sentence: str) -> str:
        """Return a sentence of the functions as it is true here."""
        return sentence

    def draft(self) -> Draft:
        """Return what the settings document holds; Use DHIS2 is off in a new one."""
        return Draft(self.document() or "use_dhis2: false\n")

    def begin_test(self, draft: Draft, version: str, login: Login | None) -> None:
        """Begin to test the connection, unless a test runs."""
        if self.connection is None or not self.connection.is_running:
            self.connection = begin(
                say("connection.title"), lambda _: self.test(draft, version, login), say("error.unexpected")
            )

    def head(self) -> Mapping[str, str]:
        """Return what stands above every page: the server and the data set, and whether it is a test or production."""
        url, data_set, kind = self.dhis2_url, "", ""
        # The page itself tells settings that cannot be read.
        with suppress(MsupplyDhis2Error):
            settings = self.draft().settings
            url, data_set = self.dhis2_url or settings.url, settings.data_set_id or ""
            kind = "test" if settings.test_server else "production"
        titles = self.titles(url) if url else None
        known = titles is not None and titles.data_set_id == data_set
        return {
            "server": (titles.server or "") if titles else "",
            "host": urlsplit(url or "").netloc,
            "data_set": data_set,
            "data_set_title": (titles.data_set or "") if titles and known else "",
            "kind": kind if url else "",
        }

    def titles(self, url: str) -> Remembered | None:
        """Return what a DHIS2 told of itself and of the data set when it last let somebody in, as far as that is known."""
        job = self.connection
        tested = job.result if job else None
        if job is None or job.ended is None or tested is None or not tested.report.connected:
            return None
        if (self.dhis2_url or tested.tried.settings.url) != url:
            return None
        return remembered(tested, job.ended)


def remembered(tested: Tested, when: datetime) -> Remembered:
    """Return what a test that succeeded leaves to be remembered."""
    report, settings = tested.report, tested.tried.settings
    server = f"{report.server.name}, {report.server.version}" if report.server else None
    return Remembered(when, report.user or "", server, settings.data_set_id, report.data_set)
