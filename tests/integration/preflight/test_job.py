"""The connection test, against the stand-in for DHIS2 and the table on moto."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from cli.report import as_text
from msupply_dhis2.dhis2.client import Answer, Dhis2Client
from msupply_dhis2.dhis2.models import Query
from msupply_dhis2.domain.mapped import DatabaseAnswer, MappedItem, MappedNames, MappedStore
from msupply_dhis2.errors import CredentialsError, SettingsError, SourceUnreachableError
from msupply_dhis2.periods import Calendar
from msupply_dhis2.preflight import job
from msupply_dhis2.settings import Settings, parse_settings
from msupply_dhis2.settings.credentials import Dhis2Credentials, LoginKind, parse_dhis2_credentials
from msupply_dhis2.state.connections import record_success
from sandbox.dhis2 import Fault, FaultKind, Metadata, StandIn, User, Version, stock_metadata
from tests.conftest import Aws

NOW = datetime(2026, 2, 5, 1, 3, tzinfo=UTC)
TODAY = "2026-02-05 14:03 (Pacific/Auckland)"
YESTERDAY = "2026-02-04 14:03 (Pacific/Auckland)"
CALENDAR = Calendar(ZoneInfo("Pacific/Auckland"))
PASSWORD = "correct-horse-battery"
PUSHER = User(username="pusher", password=SecretStr(PASSWORD), authorities=("F_DATAVALUE_ADD",))
METADATA = stock_metadata([("KAMO", "Kamo")], [("368c74bf", "Amoxicillin")], ["stock_on_hand"])
DATA_SET = "STOCK_SINGLE"

every_version = pytest.mark.parametrize("version", list(Version))


@pytest.fixture
def dhis2() -> Iterator[StandIn]:
    with StandIn(METADATA, users=(PUSHER,)) as running:
        yield running


def document(url: str | None, **changes: object) -> str:
    fields = {
        "use_dhis2": True,
        "url": url,
        "setup": "single_data_element",
        "data_elements": [
            {"metric": "stock_on_hand", "active": True, "interval": "monthly", "basis": "previous_month"}
        ],
        "data_set_id": DATA_SET,
        "data_set_id_scheme": "code",
        "period_format": "YYYYMM",
        "item_field_reference": "universal_code",
        "data_element_id_scheme": "code",
        "org_unit_scheme": "code",
        **changes,
    }
    return json.dumps({name: value for name, value in fields.items() if value is not None})


MAPPED = MappedNames(
    stores=(MappedStore("Kamo Clinic", "KAM", "KAMO"),),
    items=(MappedItem("Amoxicillin 250mg tabs", "AMX250", ("368c74bf",)),),
)


def database_answers() -> DatabaseAnswer:
    return DatabaseAnswer(message="mSupply's database answers.", mapped=MAPPED)


def database_is_out_of_reach() -> DatabaseAnswer:
    raise SourceUnreachableError("mSupply's database at db.example.org does not answer.")


def report_of(  # noqa: PLR0913 - all but the first have defaults
    settings: str,
    *,
    password: str = PASSWORD,
    aws: Aws | None = None,
    database: Callable[[], DatabaseAnswer] = database_answers,
    now: datetime = NOW,
    time_limit: float | None = None,
    read_settings: Callable[[], Settings] | None = None,
    read_credentials: Callable[[Settings], Dhis2Credentials] | None = None,
) -> job.ConnectionReport:
    secret = json.dumps({"username": "pusher", "password": password})
    return job.test_connection(
        settings_reader=read_settings or (lambda: parse_settings(settings)),
        credentials_reader=read_credentials or (lambda parsed: parse_dhis2_credentials(secret, parsed)),
        client_factory=lambda parsed, login: Dhis2Client(parsed.url, login, read_timeout=5),
        database_check=database,
        table=aws.table if aws else None,
        calendar=CALENDAR,
        clock=lambda: now,
        as_of=None,
        time_limit=time_limit,
    )


def message_of(report: job.ConnectionReport, name: str) -> str:
    """The message of a check that went wrong."""
    (check,) = (check for check in report.checks if check.name == name)
    assert not check.ok
    return check.message


def went_wrong(report: job.ConnectionReport) -> list[str]:
    return [check.name for check in report.checks if not check.ok]


@every_version
def test_all_well(version: Version, aws: Aws) -> None:
    with StandIn(METADATA, version=version, users=(PUSHER,)) as dhis2:
        report = report_of(document(dhis2.url), aws=aws)
    assert report.connected
    assert report.message == "Connection successful"
    assert report.server is not None
    assert report.server.version.startswith(version.value)
    assert report.server.name == "DHIS 2"
    assert report.user == "pusher"
    assert report.last_successful_connection == TODAY
    assert [check.name for check in report.checks] == [
        "settings",
        "credentials",
        "login",
        "server",
        "authority",
        "data set",
        "write access",
        "trial call",
        "period format",
        "open period, previous month",
        "a manual push now",
        "database",
        "stores",
        "org unit reach",
        "org units without a store",
        "items",
        "data elements without an item",
        "option combos",
        "category options",
        "value types",
        "zeros",
        "aggregation",
    ]
    assert went_wrong(report) == []


def test_json_shape(dhis2: StandIn) -> None:
    shape = report_of(document(dhis2.url)).model_dump(mode="json")
    assert list(shape) == [
        "connected",
        "message",
        "summary",
        "server",
        "data_set",
        "user",
        "last_successful_connection",
        "checks",
        "not_asked",
        "offers",
    ]
    assert {"id", "code", "name"} == set(shape["offers"]["data_sets"][0])
    assert "Monthly" in shape["offers"]["period_types"]
    assert shape["offers"]["option_combos"]
    assert shape["data_set"] == "Stock, one metric"
    assert shape["server"] == {"version": dhis2.version.release, "name": "DHIS 2"}
    assert list(shape["checks"][0]) == ["name", "ok", "note", "message", "details", "more_details"]
    assert json.loads(json.dumps(shape)) == shape


@every_version
def test_wrong_password_once(version: Version) -> None:
    with StandIn(METADATA, version=version, users=(PUSHER,)) as dhis2:
        report = report_of(document(dhis2.url), password=PASSWORD + "x")
        assert len(dhis2.requests) == 1
    assert not report.connected
    assert report.message == "Authentication failed"
    assert report.user == "pusher"
    assert report.server is None
    assert "make credentials" in message_of(report, "login")
    assert "Last successful connection: none on record" in as_text(report)
    assert report.summary[:2] == (
        "There is no connection to DHIS2, so nothing can be sent:",
        "login: Authentication failed.",
    )
    assert PASSWORD not in report.model_dump_json()


def test_short_proxy_wait(dhis2: StandIn) -> None:
    for after in range(0, 8, 2):
        dhis2.faults.next(FaultKind.TOO_MANY_REQUESTS, after=after, seconds=0)
    report = report_of(document(dhis2.url), time_limit=30)
    assert went_wrong(report) == []
    passed = [request.path for request in dhis2.requests if request.status == 200]
    assert len(passed) == len(dhis2.requests) - 4
    assert passed == [
        "/api/me",
        "/api/system/info",
        "/api/dataSets",
        "/api/dataValueSets",
        "/api/systemSettings/keyDataImportRequireCategoryOptionCombo",
        "/api/systemSettings/keyDataImportRequireAttributeOptionCombo",
        "/api/categoryOptionCombos",
        # What there is to choose from.
        "/api/dataSets",
    ]


@pytest.mark.parametrize(
    ("passed", "untold"),
    [
        (0, ["login"]),
        (1, ["server", "data set", "trial call", "stores", "items"]),
        (2, ["data set", "trial call", "stores", "items"]),
    ],
)
def test_long_proxy_wait(dhis2: StandIn, passed: int, untold: list[str]) -> None:
    dhis2.faults.next(FaultKind.TOO_MANY_REQUESTS, times=None, after=passed, seconds=90)
    report = report_of(document(dhis2.url), time_limit=30)
    assert len(dhis2.requests) == passed + 1
    assert report.connected == (passed > 0)
    assert went_wrong(report) == untold
    for name in untold:
        said = message_of(report, name)
        assert "asks for fewer requests (status 429, " in said
        assert ", Retry-After: 90)" in said
    if passed > 0:
        assert "A push waits until it can" in message_of(report, "data set")


def test_oauth2_switched_off() -> None:
    client = Dhis2Credentials(
        kind=LoginKind.OAUTH2, username="pusher", password=SecretStr(PASSWORD), client="msupply"
    )
    with StandIn(METADATA, version=Version.V2_41, users=(PUSHER,)) as old:
        old.oauth2_is_on = False
        report = report_of(document(old.url), read_credentials=lambda _: client)
    assert report.message == "Authentication failed: OAuth2 is switched off"
    assert "oauth2.authorization.server.enabled" in message_of(report, "login")


def test_disabled_account() -> None:
    disabled = PUSHER.model_copy(update={"disabled": True})
    with StandIn(METADATA, users=(disabled,)) as dhis2:
        report = report_of(document(dhis2.url))
    assert report.message == "Authentication failed: the account is disabled"


@every_version
def test_missing_authority(version: Version) -> None:
    reader = PUSHER.model_copy(update={"authorities": ()})
    with StandIn(METADATA, version=version, users=(reader,)) as dhis2:
        report = report_of(document(dhis2.url))
    assert report.connected
    assert went_wrong(report) == ["authority"]
    assert "no right to add data values" in message_of(report, "authority")


@every_version
@pytest.mark.parametrize(
    ("data_set_id", "scheme"), [("NOWHERE", "code"), ("abcdefghij1", "uid"), (DATA_SET.lower(), "code")]
)
def test_missing_data_set(version: Version, data_set_id: str, scheme: str) -> None:
    with StandIn(METADATA, version=version, users=(PUSHER,)) as dhis2:
        report = report_of(document(dhis2.url, data_set_id=data_set_id, data_set_id_scheme=scheme))
    assert report.connected
    assert went_wrong(report) == ["data set"]
    assert f"no data set whose {scheme} is {data_set_id}" in message_of(report, "data set")


@every_version
def test_data_set_by_uid(version: Version) -> None:
    (uid,) = (data_set.id for data_set in METADATA.data_sets if data_set.code == DATA_SET)
    with StandIn(METADATA, version=version, users=(PUSHER,)) as dhis2:
        report = report_of(document(dhis2.url, data_set_id=uid, data_set_id_scheme="uid"))
    assert went_wrong(report) == []


def test_data_set_not_writable() -> None:
    closed = tuple(data_set.model_copy(update={"writers": ()}) for data_set in METADATA.data_sets)
    metadata: Metadata = METADATA.model_copy(update={"data_sets": closed})
    with StandIn(metadata, users=(PUSHER,)) as dhis2:
        report = report_of(document(dhis2.url))
    assert went_wrong(report) == ["write access"]
    assert "may not enter data" in message_of(report, "write access")


def test_settings_and_database() -> None:
    report = report_of(document("ftp://nowhere", setup="none"), database=database_is_out_of_reach)
    assert not report.connected
    assert went_wrong(report) == ["settings", "database"]
    assert report.message.startswith("Settings invalid. ")
    assert "URL" in report.message
    assert "Setup" in report.message
    assert "db.example.org" in message_of(report, "database")
    assert report.last_successful_connection is None


def test_database_down(dhis2: StandIn) -> None:
    report = report_of(document(dhis2.url), database=database_is_out_of_reach)
    assert report.connected
    assert report.message == "Connection successful"
    assert went_wrong(report) == ["database"]


def test_empty_credentials(dhis2: StandIn) -> None:
    def nothing_yet(_: Settings) -> Dhis2Credentials:
        raise CredentialsError("The secret with DHIS2's credentials is not filled in yet.")

    report = report_of(document(dhis2.url), read_credentials=nothing_yet)
    assert report.message == "The secret with DHIS2's credentials is not filled in yet."
    assert went_wrong(report) == ["credentials"]
    assert dhis2.requests == []


def test_missing_settings() -> None:
    def none_there() -> Settings:
        raise SettingsError(["There are no settings yet: make settings."])

    report = report_of("", read_settings=none_there)
    assert report.message == "Settings invalid. There are no settings yet: make settings."


def test_switch_off(dhis2: StandIn) -> None:
    report = report_of(document(dhis2.url, use_dhis2=False))
    assert report.connected
    assert went_wrong(report) == []
    assert "Use DHIS2 is off" in report.checks[0].message
    assert "Dry runs work" in report.checks[0].message


def test_incomplete_settings(dhis2: StandIn) -> None:
    report = report_of(document(dhis2.url, use_dhis2=False, data_set_id=None, period_format=None))
    assert report.connected
    assert went_wrong(report) == ["settings"]
    assert "Data set ID" in message_of(report, "settings")
    assert "data set" not in [check.name for check in report.checks]


def test_no_address() -> None:
    report = report_of(document(None, use_dhis2=False))
    assert not report.connected
    assert "URL" in report.message
    assert [check.name for check in report.checks] == ["settings", "database"]


def test_oauth2_without_client(dhis2: StandIn) -> None:
    report = report_of(document(dhis2.url, basic_authentication=False))
    assert "Basic authentication is off" in report.message
    assert went_wrong(report) == ["credentials"]


def test_refused_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    report = report_of(document(f"http://127.0.0.1:{port}"))
    assert not report.connected
    assert "refused the connection" in report.message
    assert report.message == message_of(report, "login")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(kind=FaultKind.LOGIN_PAGE, times=None), "no DHIS2 at"),
        (Fault(kind=FaultKind.REDIRECT, times=None), "Use https:// in URL"),
        (Fault(kind=FaultKind.CUT, times=None), "was cut"),
        (Fault(kind=FaultKind.STATUS, status=503, times=None), "not available now"),
        (Fault(kind=FaultKind.STATUS, status=403, times=None), 'the page "403 from a proxy"'),
    ],
    ids=["page", "https", "cut", "starting", "firewall"],
)
def test_other_causes(dhis2: StandIn, fault: Fault, words: str) -> None:
    dhis2.faults.plan(fault)
    report = report_of(document(dhis2.url))
    assert not report.connected
    assert words in report.message


def test_fault_after_login(dhis2: StandIn) -> None:
    dhis2.faults.next(FaultKind.STATUS, status=502, path="/api/system/info")
    report = report_of(document(dhis2.url))
    assert report.connected
    assert report.server is None
    assert went_wrong(report) == ["server"]


@pytest.mark.parametrize("fault", [{"kind": FaultKind.STATUS, "status": 403}, {"kind": FaultKind.LOGIN_PAGE}])
def test_firewall(dhis2: StandIn, fault: dict[str, Any]) -> None:
    dhis2.faults.next(path="/api/dataSets", times=None, **fault)
    report = report_of(document(dhis2.url))
    assert report.connected
    said = message_of(report, "data set")
    assert "Something before DHIS2" in said
    assert "whoever runs that firewall or proxy" in said
    assert "no DHIS2" not in said


def test_foreign_json(dhis2: StandIn) -> None:
    class Other(Dhis2Client):
        def get(self, path: str, params: Query | None = None) -> object:  # noqa: ARG002
            return {"hello": "world"}

        def post_data_values(self, *_: object, **__: object) -> Answer:
            raise AssertionError("nothing is posted to whatever this is")

    report = job.test_connection(
        settings_reader=lambda: parse_settings(document(dhis2.url)),
        credentials_reader=lambda _: Dhis2Credentials(username="pusher", password=SecretStr(PASSWORD)),
        client_factory=Other.of,
        database_check=database_answers,
        table=None,
        calendar=CALENDAR,
        clock=lambda: NOW,
        as_of=None,
        time_limit=None,
    )
    assert not report.connected
    assert report.message.startswith("DHIS2 answered /api/me in a way that is not understood")
    assert "Check URL" in report.message


def test_last_success_stays(dhis2: StandIn, aws: Aws) -> None:
    record_success(aws.table, dhis2.url, "pusher", NOW - timedelta(days=1))
    report = report_of(document(dhis2.url), password="wrong", aws=aws)
    assert report.last_successful_connection == YESTERDAY
    assert report_of(document(dhis2.url), aws=aws).last_successful_connection == TODAY
    assert report_of(document(dhis2.url), password="wrong", aws=aws).last_successful_connection == TODAY


def test_unusable_table(dhis2: StandIn, aws: Aws) -> None:
    aws.table.delete()
    report = report_of(document(dhis2.url), aws=aws)
    assert report.connected
    assert report.last_successful_connection == TODAY
    assert went_wrong(report) == ["last successful connection"]


def test_text(dhis2: StandIn) -> None:
    report = report_of(document(dhis2.url), database=database_is_out_of_reach)
    lines = as_text(report).splitlines()
    assert lines[0] == "Connection successful"
    assert f"Server: DHIS 2, version {dhis2.version.release}" in lines
    assert "User: pusher" in lines
    assert f"Last successful connection: {TODAY}" in lines
    assert "ok      login: DHIS2 authenticates pusher." in lines
    assert "not ok  database: mSupply's database at db.example.org does not answer." in lines


def test_colours(dhis2: StandIn) -> None:
    good = report_of(document(dhis2.url), database=database_is_out_of_reach)
    bad = report_of(document(dhis2.url), password="wrong")
    assert "\x1b" not in as_text(good) + bad.model_dump_json()
    assert as_text(good, colour=True).startswith("\x1b[32mConnection successful\x1b[0m\n")
    assert as_text(bad, colour=True).startswith("\x1b[31mAuthentication failed\x1b[0m\n")
    assert re.sub(r"\x1b\[\d+m", "", as_text(good, colour=True)) == as_text(good)
