"""What the console knows between two requests, where it works on a database and a DHIS2 without a stack."""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from urllib.parse import urlsplit

from cli.console.jobs import Job, begin
from cli.console.tab import Draft
from cli.console.words import say
from cli.local import Preview, Pushed, Systems, test_connection
from cli.options import OptionError, not_utf8
from msupply_dhis2.errors import MsupplyDhis2Error
from msupply_dhis2.preflight.job import ConnectionReport
from msupply_dhis2.settings import Settings, parse_settings


class SavedSinceError(MsupplyDhis2Error):
    """Somebody saved the settings after the page was opened."""


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


@dataclass(frozen=True, slots=True)
class Login:
    """A login that was typed on the page: kept in memory only, and shown without its secret parts."""

    user: str
    text: str


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
    """A push that somebody looks at before it is sent; ``id`` tells it from a later one."""

    id: str
    event: Mapping[str, object]
    job: Job[Preview]


def version_of(document: str) -> str:
    """Return what tells one state of the settings from another."""
    return hashlib.sha256(document.encode()).hexdigest()[:12]


class LocalState:
    """The systems, the login that was typed last, and what was tested, computed and pushed last.

    Parameters
    ----------
    systems
        What the command line names.
    """

    def __init__(self, systems: Systems) -> None:
        self._systems = systems
        self._saving = Lock()
        self.login: Login | None = None
        self.connection: Job[Tested] | None = None
        self.preview: Job[Preview] | None = None
        self.plan: Plan | None = None
        self.push: Job[Pushed] | None = None
        self.pushed_event: Mapping[str, object] = {}

    @property
    def settings_file(self) -> Path:
        """The file with the settings."""
        return self._systems.settings_file

    @property
    def credentials_file(self) -> Path | None:
        """The file with the login of DHIS2."""
        return self._systems.credentials_file

    @property
    def dhis2_url(self) -> str | None:
        """The address of DHIS2 that the command line gives instead of the document's."""
        return self._systems.dhis2_url

    @property
    def time_zone(self) -> str:
        """The name of the time zone."""
        return self._systems.time_zone

    @property
    def database(self) -> str:
        """Which database it is, without user name and password."""
        return self._systems.database(None)[0].described

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

    def draft(self) -> Draft:
        """Return what the settings document holds; Use DHIS2 is off in a new one."""
        return Draft(self.document() or "use_dhis2: false\n")

    def systems(self, document: str | None = None, login: Login | None = None) -> TypedSystems:
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

    def save(self, draft: Draft, version: str) -> None:
        """Write a draft into the settings file; what stood there is kept beside it.

        Raises
        ------
        SavedSinceError
            It is another version than the page began with.
        OptionError
            The file cannot be written.
        """
        with self._saving:
            before = self.document()
            if version_of(before) != version:
                raise SavedSinceError(say("settings.saved_since"))
            file = self.settings_file
            try:
                if before:
                    self.file_before.write_text(before, encoding="utf-8")
                new = file.with_name(f"{file.name}.new")
                new.write_text(draft.document, encoding="utf-8")
                if before:
                    new.chmod(file.stat().st_mode)
                os.replace(new, file)  # noqa: PTH105 - the same, and shorter
            except OSError as error:
                raise OptionError(say("settings.unwritable", file=file, why=error.strerror)) from error

    def begin_test(self, draft: Draft, version: str, login: Login | None) -> None:
        """Test the connection with a draft and a login; both are kept where DHIS2 lets the user in."""

        def work(_: Job[Tested]) -> Tested:
            report = test_connection(self.systems(draft.document, login), {"manual": True})
            note = self._keep(draft, version, login) if report.connected else ""
            return Tested(report, draft, version, login, note)

        if self.connection is None or not self.connection.is_running:
            self.connection = begin(say("connection.title"), work, say("error.unexpected"))

    def _keep(self, draft: Draft, version: str, login: Login | None) -> str:
        self.login = login or self.login
        if not self.draft().differences(draft):
            return ""
        if not draft.can_be_saved:
            return say("connection.not_saved")
        try:
            self.save(draft, version)
        except MsupplyDhis2Error as error:
            return str(error)
        return say("connection.saved", file=self.settings_file)

    @property
    def file_before(self) -> Path:
        """Where the settings are kept as they stood before they were saved last."""
        return self.settings_file.with_name(f"{self.settings_file.name}.before")

    def head(self) -> Mapping[str, str]:
        """Return what stands above every page: the server, the data set and the database."""
        url, data_set = self.dhis2_url, ""
        # The page itself tells settings that cannot be read.
        with suppress(MsupplyDhis2Error):
            settings = self.draft().settings
            url, data_set = self.dhis2_url or settings.url, settings.data_set_id
        tested = self.connection.result if self.connection else None
        server = tested.report.server if tested else None
        return {
            "server": f"{server.name}, {server.version}" if server else "",
            "host": urlsplit(url or "").netloc,
            "data_set": data_set or "",
        }


def typed_login(form: Mapping[str, str]) -> Login | None:
    """Return the login of a form; ``None`` where nothing was typed."""
    names = ("username", "password", "client", "secret", "token")
    typed = {name: form.get(f"login.{name}", "") for name in names}
    given = {name: text for name, text in typed.items() if text}
    if not given:
        return None
    return Login(given.get("username") or say("login.by_token"), json.dumps(given))
