"""The push of a batch over HTTP to the stand-in: every value ends stored, or named with its reason."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import date
from threading import Barrier
from time import sleep
from typing import Any

import pytest

from msupply_dhis2.dhis2.client import Answer, Dhis2Client
from msupply_dhis2.dhis2.models import Query
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import (
    Dhis2AuthenticationError,
    Dhis2PermanentError,
    Dhis2TransientError,
)
from msupply_dhis2.push.job import Dhis2Session, push
from msupply_dhis2.push.outcome import BatchResult
from msupply_dhis2.settings import Scheme, Settings
from msupply_dhis2.settings.credentials import Dhis2Credentials, parse_dhis2_credentials
from sandbox.dhis2 import ADMIN, FaultKind, Metadata, StandIn, stock_metadata, uid
from sandbox.dhis2.metadata import LockException, MetadataAccess, SystemSettings
from tests.support.batches import batch_of, outcomes_in_the_file, outcomes_in_the_log, settings_of, value_of

VERSIONS = ("2.37", "2.40", "2.41", "2.42", "2.43")
BY_ROW = VERSIONS[:-1]
NOW = date(2026, 2, 10)
ORG_UNITS = [(f"OU_{number}", f"Clinic {number}") for number in range(51)]
ITEMS = [(f"item{number}", f"Item {number}") for number in range(200)]
WITHOUT_DATA_SET = "OU_50"


def metadata_of(items: int = 5, **of_elements: object) -> Metadata:
    """Set up the items; the last org unit is in no data set."""
    metadata = stock_metadata(ORG_UNITS, ITEMS[:items], ["stock_on_hand", "stocked_out"])
    unassigned = metadata.org_unit.by_scheme("CODE", WITHOUT_DATA_SET)
    assert unassigned is not None
    return metadata.model_copy(
        update={
            "data_elements": tuple(
                element.model_copy(update=of_elements) for element in metadata.data_elements
            ),
            "data_sets": tuple(
                data_set.model_copy(
                    update={
                        "org_unit_ids": tuple(uid for uid in data_set.org_unit_ids if uid != unassigned.id)
                    }
                )
                for data_set in metadata.data_sets
            ),
        }
    )


def credentials_of(settings: Settings) -> Dhis2Credentials:
    return parse_dhis2_credentials(
        f'{{"username": "{ADMIN.username}", "password": "{ADMIN.password.get_secret_value()}"}}', settings
    )


@pytest.fixture
def connect() -> Iterator[Callable[[StandIn], Dhis2Session]]:
    clients = []

    def connect_to(dhis2: StandIn) -> Dhis2Session:
        client = Dhis2Client(dhis2.url, credentials_of(settings_of(dhis2.url)))
        clients.append(client)
        return Dhis2Session(client)

    yield connect_to
    for client in clients:
        client.close()


def codes(result: BatchResult) -> list[object]:
    return [line.fields["code"] for line in result.lines if "code" in line.fields]


def said(result: BatchResult, code: str) -> str:
    (line,) = (line for line in result.lines if line.fields.get("code") == code)
    return line.message


def pushes(dhis2: StandIn) -> list[int]:
    return [request.values for request in dhis2.requests if request.method == "POST"]


type Connect = Callable[[StandIn], Dhis2Session]


@pytest.mark.parametrize("version", ["2.42", "2.43"])
@pytest.mark.slow
def test_ten_bad_of_10_000(version: str, connect: Connect) -> None:
    places = [org_unit for org_unit, _ in ORG_UNITS[:50]]
    values = [
        value_of(f"SOH_{item}", str(number), org_unit=org_unit)
        for number, (item, _) in enumerate(ITEMS)
        for org_unit in places
    ]
    for number in range(10):
        values[1000 * number] = value_of(f"SOH_item{number}", "7", org_unit=WITHOUT_DATA_SET)
    with StandIn(metadata_of(200), version=version, now=NOW) as dhis2:
        settings, session = settings_of(dhis2.url), connect(dhis2)
        results = [
            push(batch_of(values[start : start + 1000], settings), session, settings=settings)
            for start in range(0, 10_000, 1000)
        ]
        assert len(dhis2.values) == 9_990
        # What is set up is read once: server, user, data set, and whether the strange org unit exists elsewhere.
        assert len(dhis2.requests) <= 10 + 6
    assert sum(result.counts.stored for result in results) == 9_990
    assert sum(result.counts.rejected for result in results) == 10
    for number, result in enumerate(results):
        message = said(result, "E7636")
        assert f"item SOH_item{number}, store OU_50, stock on hand: rejected. " in message
        assert "Assign the org unit to the data set" in message
        (row,) = result.rejected_rows
        value = row.value
        assert (row.outcome, value.store, value.item, value.org_unit, value.value) == (
            "rejected",
            "store OU_50",
            f"item SOH_item{number}",
            WITHOUT_DATA_SET,
            "7",
        )
        assert row.reasons[0].code == "E7636"


@pytest.mark.parametrize("version", VERSIONS)
def test_same_words_on_every_version(version: str, connect: Connect) -> None:
    values = [
        value_of("SOH_item0"),
        value_of("SOH_nothing"),
        value_of("SOH_item1", org_unit="OU_nowhere"),
        value_of("SOH_item2", org_unit=WITHOUT_DATA_SET),
        value_of("SOH_item3", period="202612"),
        value_of("SOH_item4", period="20260105"),
    ]
    # A superuser may write into future periods of 2.43.
    user = ADMIN.model_copy(update={"authorities": ("F_DATAVALUE_ADD",)})
    with StandIn(metadata_of(), version=version, now=NOW, users=(user,)) as dhis2:
        settings, session = settings_of(dhis2.url), connect(dhis2)
        result = push(batch_of(values, settings), session, settings=settings)
        assert len(dhis2.values) == 1
        assert pushes(dhis2) == [1]
    assert codes(result) == ["E7610", "E7612", "E7636", "E7641", "E7632"]
    assert outcomes_in_the_log(result) == outcomes_in_the_file(result)
    assert {outcome for _, _, outcome in outcomes_in_the_log(result)} == {"rejected"}
    assert (result.counts.sent, result.counts.stored, result.counts.rejected) == (6, 1, 5)
    assert result.settled == frozenset(range(6))
    assert all(line.fields["sent_to_dhis2"] is False for line in result.lines if "code" in line.fields)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("access", [MetadataAccess.HIDDEN, MetadataAccess.FORBIDDEN])
def test_hidden_metadata(version: str, access: MetadataAccess, connect: Connect) -> None:
    values = [value_of(f"SOH_item{number}") for number in range(5)]
    values[2] = value_of("SOH_nothing")
    user = ADMIN.model_copy(update={"metadata_access": access})
    with StandIn(metadata_of(), version=version, users=[user], now=NOW) as dhis2:
        settings, session = settings_of(dhis2.url), connect(dhis2)
        result = push(batch_of(values, settings), session, settings=settings)
        assert len(dhis2.values) == 4
    assert (result.counts.stored, result.counts.rejected) == (4, 1)
    assert "item SOH_nothing" in said(result, "E8103" if version == "2.43" else "E7610")


def strict_flags(dhis2: StandIn) -> list[set[str]]:
    return [
        set(re.findall(r"strict(\w+)=true", each.query)) for each in dhis2.requests if each.method == "POST"
    ]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("access", MetadataAccess)
def test_strict_flags(version: str, access: MetadataAccess, connect: Connect) -> None:
    combos_and_periods = {"Periods", "CategoryOptionCombos", "AttributeOptionCombos"}
    of_data_set = {"DataElements", "OrganisationUnits"}
    user = ADMIN.model_copy(update={"metadata_access": access})
    with StandIn(metadata_of(), version=version, now=NOW, users=[user]) as dhis2:
        settings = settings_of(dhis2.url)
        push(batch_of([value_of("SOH_item0")], settings), connect(dhis2), settings=settings)
        is_read = access is MetadataAccess.READABLE
        assert strict_flags(dhis2) == [combos_and_periods | (set() if is_read else of_data_set)]


@pytest.mark.parametrize("version", VERSIONS)
def test_unassigned_meanwhile(version: str, connect: Connect) -> None:
    assigned, now = stock_metadata(ORG_UNITS, ITEMS[:1], ["stock_on_hand"]), [1000.0]
    values = [value_of("SOH_item0", "7", org_unit=WITHOUT_DATA_SET)]
    with StandIn(assigned, version=version, now=NOW) as dhis2:
        settings, session = settings_of(dhis2.url), connect(dhis2)
        session.clock = lambda: now[0]
        assert push(batch_of(values, settings), session, settings=settings).counts.stored == 1
        dhis2.metadata = metadata_of(1)
        now[0] += 301
        result = push(batch_of(values, settings), session, settings=settings)
        assert codes(result) == ["E7636"]
        assert pushes(dhis2) == [1]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("changed", [0, 7, 100])
def test_only_changed_are_sent(version: str, changed: int, connect: Connect) -> None:
    values = [
        value_of(f"SOH_item{number}", "7", org_unit=f"OU_{place}")
        for number in range(5)
        for place in range(20)
    ]
    newer = [*(each._replace(value="8") for each in values[:changed]), *values[changed:]]
    with StandIn(metadata_of(), version=version, now=NOW) as dhis2:
        settings, session = settings_of(dhis2.url), connect(dhis2)
        push(batch_of(values, settings), session, settings=settings)
        session.sent_unread = None
        counts = push(batch_of(newer, settings), session, settings=settings).counts
        assert (counts.stored, counts.unchanged) == (changed, 100 - changed)
        assert pushes(dhis2) == [100, *([changed] if changed else [])]
        assert sorted(dhis2.values.values()) == ["7"] * (100 - changed) + ["8"] * changed


def test_reading_that_does_not_pay(connect: Connect) -> None:
    values = [
        value_of(f"SOH_item{number}", org_unit=f"OU_{place}") for number in range(5) for place in range(50)
    ]
    with StandIn(metadata_of(), version="2.42", now=NOW) as dhis2:
        settings, session = settings_of(dhis2.url), connect(dhis2)
        for some in (values[:100], values[100:]):
            push(batch_of(some, settings), session, settings=settings)
        calls = [each.method for each in dhis2.requests if each.path == "/api/dataValueSets"]
        assert calls == ["GET", "POST", "POST"]
        assert session.sent_unread == "run-1"


@pytest.mark.parametrize(("version", "calls"), [("2.42", [3_000]), ("2.43", [1_250, 1_250, 500])])
def test_call_size(version: str, calls: list[int], connect: Connect) -> None:
    values = [
        value_of(f"SOH_item{number}", org_unit=f"OU_{place}") for number in range(60) for place in range(50)
    ]
    with StandIn(metadata_of(60), version=version, now=NOW) as dhis2:
        settings = settings_of(dhis2.url, items_per_payload=5_000)
        push(batch_of(values, settings), connect(dhis2), settings=settings)
        assert pushes(dhis2) == calls


# Zeros


@pytest.mark.parametrize("version", BY_ROW)
def test_dropped_zero(version: str, connect: Connect) -> None:
    with StandIn(metadata_of(zero_is_significant=False), version=version, now=NOW) as dhis2:
        settings, session = settings_of(dhis2.url), connect(dhis2)
        batch = batch_of([value_of("SOH_item0", "0"), value_of("SOH_item1", "5")], settings)
        result = push(batch, session, settings=settings)
        assert list(dhis2.values.values()) == ["5"]
        assert pushes(dhis2) == [1]
    assert (result.counts.stored, result.counts.rejected, result.counts.unaccounted) == (1, 1, 0)
    assert "Store zero data values" in said(result, "zero_not_kept")


@pytest.mark.parametrize("version", BY_ROW)
def test_stale_value_removed_once(version: str, connect: Connect) -> None:
    with StandIn(metadata_of(zero_is_significant=False), version=version, now=NOW) as dhis2:
        settings, session = settings_of(dhis2.url), connect(dhis2)
        push(batch_of([value_of("SOH_item0", "3")], settings), session, settings=settings)
        zero = batch_of([value_of("SOH_item0", "0")], settings)
        first = push(zero, session, settings=settings)
        calls = len(pushes(dhis2))
        second = push(zero, session, settings=settings)
        assert len(dhis2.values) == 0
        assert len(pushes(dhis2)) == calls
    assert "to remove 3" in said(first, "zero_not_kept")
    assert codes(second) == ["zero_not_kept"]


def test_zero_from_2_43(connect: Connect) -> None:
    with StandIn(metadata_of(zero_is_significant=False), version="2.43", now=NOW) as dhis2:
        settings, session = settings_of(dhis2.url), connect(dhis2)
        result = push(batch_of([value_of("SOH_item0", "0")], settings), session, settings=settings)
        assert list(dhis2.values.values()) == ["0"]
    assert result.counts.stored == 1


@pytest.mark.parametrize("version", BY_ROW)
def test_vanished_zero(version: str, connect: Connect) -> None:
    with StandIn(metadata_of(), version=version, now=NOW) as dhis2:
        settings, session = settings_of(dhis2.url), connect(dhis2)
        push(batch_of([value_of("SOH_item0", "3")], settings), session, settings=settings)
        # Changed behind the back of the metadata that were read a moment ago.
        dhis2.metadata = metadata_of(zero_is_significant=False)
        values = [value_of(f"SOH_item{number}", "0" if number < 2 else "4") for number in range(5)]
        result = push(batch_of(values, settings), session, settings=settings)
        assert sorted(dhis2.values.values()) == ["4", "4", "4"]
    assert (result.counts.stored, result.counts.rejected, result.counts.unaccounted) == (3, 2, 0)
    assert codes(result) == ["zero_not_kept", "zero_not_kept"]


# What live servers showed


@pytest.mark.parametrize("code", ["E7632", "E7644"])
@pytest.mark.parametrize("version", ["2.41", "2.42"])
def test_stale_cache(version: str, code: str, connect: Connect) -> None:
    values = [value_of(f"SOH_item{number}", str(number + 1)) for number in range(4)]
    with StandIn(metadata_of(), version=version, now=NOW) as dhis2:
        settings, session = settings_of(dhis2.url), connect(dhis2)
        dhis2.faults.next(FaultKind.STALE_CACHE, error_code=code, times=2)
        batch = batch_of([*values, value_of("SOH_nothing")], settings)
        first = push(batch, session, settings=settings)
        assert codes(first) == ["E7610"]
        assert first.settled == {4}
        assert "although its own metadata allow them" in str(first.failure)
        second = push(batch, session, settings=settings, done=first.settled)
        assert second.counts.sent == 0
        third = push(batch, session, settings=settings, done=first.settled)
        assert sorted(dhis2.values.values()) == ["1", "2", "3", "4"]
    assert (third.counts.stored, third.counts.rejected, third.failure) == (4, 0, None)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("data_set", ["MSUPPLY_STOCK", "STOCK_ATTRIBUTE", "STOCK_CATEGORY"])
def test_required_option_combos(data_set: str, version: str, connect: Connect) -> None:
    required = SystemSettings(require_category_option_combo=True, require_attribute_option_combo=True)
    metadata = metadata_of().model_copy(update={"system_settings": required})
    prefix = {"MSUPPLY_STOCK": "SOH_", "STOCK_CATEGORY": "STOCK_"}.get(data_set, "")
    combo = None if data_set == "MSUPPLY_STOCK" else "STOCK_ON_HAND"
    values = [
        value_of(f"{prefix}item{number}", attribute_option_combo=combo, scheme=Scheme.CODE)
        for number in range(4)
    ]
    with StandIn(metadata, version=version, now=NOW) as dhis2:
        settings = settings_of(dhis2.url, data_set_id=data_set)
        result = push(batch_of(values, settings), connect(dhis2), settings=settings)
    assert (result.counts.stored, result.counts.rejected) == (4, 0)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("authority", ["ALL", "F_EDIT_EXPIRED"])
def test_future_periods(authority: str, version: str, connect: Connect) -> None:
    user = ADMIN.model_copy(update={"authorities": ("F_DATAVALUE_ADD", authority)})
    with StandIn(metadata_of(), version=version, now=NOW, users=(user,)) as dhis2:
        settings, session = settings_of(dhis2.url), connect(dhis2)
        batch = batch_of([value_of("SOH_item0", period="202612")], settings)
        result = push(batch, session, settings=settings)
    assert codes(result) == ([] if version == "2.43" else ["E7641"])
    assert result.counts.stored == (version == "2.43")


@pytest.mark.parametrize("version", VERSIONS)
def test_lock_exceptions(version: str, connect: Connect) -> None:
    metadata = metadata_of()
    data_set, excepted = uid("dataSet", "MSUPPLY_STOCK"), uid("organisationUnit", "OU_1")
    metadata = metadata.model_copy(
        update={
            "data_sets": tuple(each.model_copy(update={"expiry_days": 2}) for each in metadata.data_sets),
            "lock_exceptions": (LockException(data_set_id=data_set, org_unit_id=excepted, period="202601"),),
        }
    )
    user = ADMIN.model_copy(update={"authorities": ("F_DATAVALUE_ADD",)})
    values = [value_of("SOH_item0", str(number), org_unit=f"OU_{number}") for number in range(4)]
    with StandIn(metadata, version=version, now=NOW, users=(user,)) as dhis2:
        settings = settings_of(dhis2.url)
        result = push(batch_of(values, settings), connect(dhis2), settings=settings)
        assert list(dhis2.values.values()) == ["1"]
        assert pushes(dhis2) == [1]
    assert codes(result) == ["E7640"] * 3


# Two calls at once for a new period


@pytest.mark.parametrize("version", VERSIONS)
def test_concurrent_new_period(version: str, connect: Connect) -> None:
    """So it may be where DHIS2 was set up anew, or somebody else enters data for the period."""

    def put(org_unit: str, session: Dhis2Session) -> BatchResult:
        values = [value_of(f"SOH_item{number}", "7", org_unit=org_unit) for number in range(5)]
        return push(batch_of(values, settings), session, settings=settings)

    with StandIn(metadata_of(), version=version, now=NOW) as dhis2, ThreadPoolExecutor(2) as pool:
        settings = settings_of(dhis2.url)
        dhis2.faults.next(FaultKind.SLOW_IMPORT, times=2, seconds=0.3)
        both_import = Barrier(2)
        dhis2.pause = lambda seconds: both_import.wait(60) if seconds == 0.3 else sleep(seconds)
        sessions = [connect(dhis2), connect(dhis2)]
        results = list(pool.map(put, ("OU_0", "OU_1"), sessions))
        assert list(dhis2.values.values()) == ["7"] * 10
    assert [(result.counts.stored, result.failure) for result in results] == [(5, None)] * 2
    assert [result.held_periods for result in results] == [{"202601"}] * 2


class Ignoring(Dhis2Client):
    """Gets answers of a 2.43 that has lost the first calls, but for a value that it refuses in each."""

    losing = 1
    may_read = True

    def get(self, path: str, params: Query | None = None) -> object:
        if path.endswith("dataValueSets") and not self.may_read:
            raise Dhis2PermanentError("DHIS2 does not let the user read the values")
        return super().get(path, params)

    def post_data_values(self, body: Any, *arguments: Any, **options: Any) -> Answer:  # noqa: ANN401 - handed on
        if not self.losing:
            return super().post_data_values(body, *arguments, **options)
        self.losing -= 1
        number = len(body["dataValues"])
        refused = [index for index, row in enumerate(body["dataValues"]) if row["value"] == "13"]
        conflicts = [
            {"value": f"Value #{index} is refused", "errorCode": "E8123", "indexes": [index]}
            for index in refused
        ]
        counts = {"imported": 0, "updated": 0, "ignored": number, "deleted": 0}
        summary = {
            "status": "WARNING" if refused else "SUCCESS",
            "importCount": counts,
            "conflicts": conflicts,
            "rejectedIndexes": refused,
        }
        return Answer(200, {"response": summary}, seconds=0.1)


@pytest.mark.parametrize("readable", [True, False], ids=["read back", "not readable"])
def test_ignored_is_sent_again(
    readable: bool,  # noqa: FBT001 - a parameter
) -> None:
    with StandIn(metadata_of(), version="2.43", now=NOW) as dhis2:
        settings = settings_of(dhis2.url)
        with closing(Ignoring(dhis2.url, credentials_of(settings))) as client:
            client.may_read = readable
            values = [value_of(f"SOH_item{number}", str(11 + number)) for number in range(5)]
            result = push(batch_of(values, settings), Dhis2Session(client), settings=settings)
        assert sorted(dhis2.values.values()) == ["11", "12", "14", "15"]
    assert (result.counts.stored, result.counts.rejected, result.counts.unaccounted) == (4, 1, 0)
    assert codes(result) == ["E8123"]
    assert result.failure is None


def test_ignored_again_waits() -> None:
    with StandIn(metadata_of(), version="2.43", now=NOW) as dhis2:
        settings = settings_of(dhis2.url)
        with closing(Ignoring(dhis2.url, credentials_of(settings))) as client:
            client.losing = 3
            values = [value_of(f"SOH_item{number}", str(11 + number)) for number in range(5)]
            batch, session = batch_of(values, settings), Dhis2Session(client, pause=lambda _: None)
            first = push(batch, session, settings=settings)
            assert first.settled == {2}
            assert "counts 0 of 4 values" in str(first.failure)
            second = push(batch, session, settings=settings, done=first.settled)
        assert len(dhis2.values) == 4
    assert (second.counts.stored, second.failure) == (4, None)


# A proxy that limits the rate


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("seconds", "times", "waited", "passes"),
    [(7, 1, [7], True), (7, 2, [7], False), (90, 1, [], False)],
    ids=["for a moment", "and again", "for long"],
)
def test_short_proxy_wait(
    method: str,
    seconds: float,
    times: int,
    waited: list[float],
    passes: bool,  # noqa: FBT001 - a parameter
) -> None:
    with StandIn(metadata_of(), version="2.42", now=NOW) as dhis2:
        dhis2.faults.next(FaultKind.TOO_MANY_REQUESTS, method=method, seconds=seconds, times=times)
        settings, pauses = settings_of(dhis2.url), list[float]()
        with closing(Dhis2Client(dhis2.url, credentials_of(settings))) as client:
            session = Dhis2Session(client, pause=pauses.append)
            batch = batch_of([value_of("SOH_item0")], settings)
            result = push(batch, session, settings=settings)
            assert len(dhis2.values) == passes
            if result.failure is not None:
                assert isinstance(result.failure, Dhis2TransientError)
                assert result.failure.retry_after == seconds
                result = push(batch, session, settings=settings)
            assert (result.counts.stored, result.failure) == (1, None)
    assert pauses == waited


def test_proxy_wait_near_the_end() -> None:
    with StandIn(metadata_of(), version="2.42", now=NOW) as dhis2:
        dhis2.faults.next(FaultKind.TOO_MANY_REQUESTS, method="POST", seconds=7)
        settings = settings_of(dhis2.url)
        with closing(Dhis2Client(dhis2.url, credentials_of(settings))) as client:
            result = push(
                batch_of([value_of("SOH_item0")], settings),
                Dhis2Session(client, pause=lambda _: pytest.fail("it waits")),
                settings=settings,
                seconds_left=lambda: 65,
            )
    assert isinstance(result.failure, Dhis2TransientError)


# Value types


def of_type(value_type: str) -> Metadata:
    return metadata_of(value_type=value_type)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("value_type", "number", "stored"),
    [
        ("NUMBER", "156.666667", "156.666667"),
        ("INTEGER", "5.0", "5"),
        ("INTEGER_ZERO_OR_POSITIVE", "0", "0"),
        ("BOOLEAN", "1", "true"),
        ("BOOLEAN", "0", "false"),
        ("TRUE_ONLY", "1", "true"),
        ("PERCENTAGE", "99.5", "99.5"),
        ("TEXT", "12", "12"),
    ],
)
def test_value_type_form(version: str, value_type: str, number: str, stored: str, connect: Connect) -> None:
    with StandIn(of_type(value_type), version=version, now=NOW) as dhis2:
        settings, session = settings_of(dhis2.url), connect(dhis2)
        batch = batch_of([value_of("SOH_item0", number)], settings)
        result = push(batch, session, settings=settings)
        assert list(dhis2.values.values()) == [stored]
    assert result.counts.stored == 1


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("value_type", "number", "code", "cure"),
    [
        ("INTEGER", "2.5", "fraction", "Round off"),
        ("INTEGER_POSITIVE", "-3", "E7619", "negative"),
        ("PERCENTAGE", "101", "E7619", "value type"),
        ("BOOLEAN", "12", "E7619", "value type"),
    ],
)
def test_unfit_value_type(
    version: str, value_type: str, number: str, code: str, cure: str, connect: Connect
) -> None:
    with StandIn(of_type(value_type), version=version, now=NOW) as dhis2:
        settings, session = settings_of(dhis2.url), connect(dhis2)
        result = push(batch_of([value_of("SOH_item0", number)], settings), session, settings=settings)
        assert len(dhis2.values) == 0
    assert result.counts.rejected == 1
    assert cure in said(result, code)


def test_no_of_yes_only(
    connect: Connect,
) -> None:
    with StandIn(of_type("TRUE_ONLY"), version="2.42", now=NOW) as dhis2:
        settings, session = settings_of(dhis2.url), connect(dhis2)
        no = value_of("OUT_item0", "0", metric=Metric.STOCKED_OUT)
        without = push(batch_of([no], settings), session, settings=settings)
        push(batch_of([value_of("OUT_item0", "1")], settings), session, settings=settings)
        stale = push(batch_of([no], settings), session, settings=settings)
        assert list(dhis2.values.values()) == ["true"]
    assert (without.counts.unchanged, without.counts.rejected) == (1, 0)
    assert "'true' is there" in said(stale, "true_only")


# Time, pace and failures


def test_time_up(connect: Connect) -> None:
    with StandIn(metadata_of(), version="2.42", now=NOW) as dhis2:
        settings = settings_of(dhis2.url, items_per_payload=2)
        session = connect(dhis2)
        batch = batch_of([value_of(f"SOH_item{number}") for number in range(5)], settings)
        left = iter([300.0] * 4 + [3.0] * 99)
        first = push(batch, session, settings=settings, seconds_left=lambda: next(left))
        second = push(batch, session, settings=settings, done=first.settled)
        assert len(dhis2.values) == 5
        assert sum(pushes(dhis2)) == 5
    assert isinstance(first.failure, Dhis2TransientError)
    assert 0 < first.counts.stored < 5
    assert second.failure is None
    assert first.counts.stored + second.counts.stored == 5
    assert second.settled == frozenset(range(5))


class Forgetful(Dhis2Client):
    """Posts, and then something else happens to what was stored."""

    then: Callable[[], None]

    def post_data_values(self, *arguments: Any, **options: Any) -> Answer:  # noqa: ANN401 - handed on
        answer = super().post_data_values(*arguments, **options)
        self.then()
        return answer


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("read_back", ["sample", "all"])
def test_different_read_back(version: str, read_back: str) -> None:
    with StandIn(metadata_of(), version=version, now=NOW) as dhis2:
        settings = settings_of(dhis2.url, read_back=read_back)
        client = Forgetful(dhis2.url, credentials_of(settings))

        def change_and_lose() -> None:
            keys = sorted(dhis2.values)
            for key in keys[:1]:
                dhis2.values.rows[key] = replace(dhis2.values.rows[key], value="99")
            for key in keys[1:2]:
                del dhis2.values.rows[key]

        client.then = change_and_lose
        with closing(client):
            values = [value_of(f"SOH_item{number}") for number in range(5)]
            result = push(batch_of(values, settings), Dhis2Session(client), settings=settings)
    assert (result.counts.stored, result.counts.unaccounted) == (3, 2)
    assert sorted(map(str, codes(result))) == ["stored_differently", "vanished"]
    assert outcomes_in_the_log(result) == outcomes_in_the_file(result)
    assert {outcome for _, _, outcome in outcomes_in_the_log(result)} == {"unaccounted"}
    assert any(
        "Read back 5 values: 3 are in DHIS2 as they were sent." in line.message for line in result.lines
    )


@pytest.mark.parametrize("version", BY_ROW)
def test_unreadable_zeros(version: str, connect: Connect) -> None:
    with StandIn(metadata_of(zero_is_significant=False), version=version, now=NOW) as dhis2:
        settings, session = settings_of(dhis2.url), connect(dhis2)
        dhis2.faults.next(FaultKind.STATUS, status=500, method="GET", path="dataValueSets", times=None)
        batch = batch_of([value_of("SOH_item0", "0"), value_of("SOH_item1", "5")], settings)
        results, done = [], frozenset[int]()
        for _ in range(4):
            results.append(push(batch, session, settings=settings, done=done))
            done = results[-1].settled
            if results[-1].failure is None:
                break
        assert len(results) > 1
        assert done == {0, 1}
        assert list(dhis2.values.values()) == ["5"]
    assert sum(result.counts.stored for result in results) == 1
    assert sum(result.counts.unaccounted for result in results) == 1


def test_no_read_near_the_end(connect: Connect) -> None:
    with StandIn(metadata_of(zero_is_significant=False), version="2.42", now=NOW) as dhis2:
        settings, session = settings_of(dhis2.url), connect(dhis2)
        batch = batch_of([value_of("SOH_item0", "0"), value_of("SOH_item1", "5")], settings)
        result = push(batch, session, settings=settings, seconds_left=lambda: 30.0)
        assert not [r for r in dhis2.requests if r.method == "GET" and r.path.endswith("dataValueSets")]
    assert result.settled == {1}
    assert isinstance(result.failure, Dhis2TransientError)


def test_no_read_with_refused_login(connect: Connect) -> None:
    with StandIn(metadata_of(), version="2.42", now=NOW) as dhis2:
        settings, session = settings_of(dhis2.url, items_per_payload=2), connect(dhis2)
        push(batch_of([value_of("SOH_item4", "1")], settings), session, settings=settings)
        # Zeros vanish unforeseen, and the login is refused from the second call on.
        dhis2.metadata = metadata_of(zero_is_significant=False)
        dhis2.faults.next(FaultKind.UNAUTHORIZED, method="POST", after=1)
        values = [value_of(f"SOH_item{number}", "0" if number == 0 else "4") for number in range(4)]
        dhis2.requests.clear()
        result = push(batch_of(values, settings), session, settings=settings)
        assert [(r.method, r.status) for r in dhis2.requests] == [("POST", 200), ("POST", 401)]
    assert isinstance(result.failure, Dhis2AuthenticationError)


def test_no_read_by_default(connect: Connect) -> None:
    with StandIn(metadata_of(), version="2.42", now=NOW) as dhis2:
        settings, session = settings_of(dhis2.url), connect(dhis2)
        push(batch_of([value_of("SOH_item0")], settings), session, settings=settings)
        assert not [r for r in dhis2.requests if r.method == "GET" and r.path.endswith("dataValueSets")]


def test_no_zeros_and_little_time(connect: Connect) -> None:
    with StandIn(metadata_of(3), version="2.42", now=NOW) as dhis2:
        settings, session = settings_of(dhis2.url), connect(dhis2)
        batch = batch_of([value_of("SOH_item0", "5")], settings)
        result = push(batch, session, settings=settings, seconds_left=lambda: 30.0 if dhis2.values else 300.0)
    assert (result.counts.stored, result.failure) == (1, None)
