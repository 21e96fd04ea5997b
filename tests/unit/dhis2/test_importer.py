"""Sending: whatever is wrong in a batch, all that can get in does, and the rest is named."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.dhis2.client import Answer
from msupply_dhis2.dhis2.import_request import Schemes, SentValue
from msupply_dhis2.dhis2.import_summary import ImportSummary
from msupply_dhis2.dhis2.importer import AdaptiveBatchSize, Calls, Imported, send
from msupply_dhis2.domain.data_value import DataValueKey
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.outcome import Reason
from msupply_dhis2.errors import (
    Dhis2AuthenticationError,
    Dhis2FaultError,
    Dhis2PermanentError,
    Dhis2SlowError,
    Dhis2TooLargeError,
    Dhis2TransientError,
)
from msupply_dhis2.settings import Scheme
from sandbox.dhis2 import ADMIN, FaultKind, stock_metadata, uid
from sandbox.dhis2.metadata import DataSet, LockException, Metadata
from tests.support.direct import DirectClient
from tests.support.laws import tried

NOW = date(2026, 2, 10)
ORG_UNITS = [(f"OU_{number}", f"Clinic {number}") for number in range(12)]
ITEMS = [(f"item{number}", f"Item {number}") for number in range(10)]
VERSIONS = ("2.37", "2.40", "2.41", "2.42", "2.43")
PUSHER = ADMIN.model_copy(update={"authorities": ("F_DATAVALUE_ADD",)})
"""A superuser may write into future periods of 2.43."""
CODES = Schemes(Scheme.CODE, Scheme.CODE, Scheme.CODE, Scheme.CODE)


def client_of(version: str) -> DirectClient:
    metadata = stock_metadata(ORG_UNITS, ITEMS, ["stock_on_hand"])
    unassigned = metadata.org_unit.by_scheme("CODE", "OU_11")
    assert unassigned is not None
    data_sets = tuple(
        data_set.model_copy(
            update={"org_unit_ids": tuple(uid for uid in data_set.org_unit_ids if uid != unassigned.id)}
        )
        for data_set in metadata.data_sets
    )
    return DirectClient(metadata.model_copy(update={"data_sets": data_sets}), version, NOW, PUSHER)


def row(item: str, org_unit: str, value: str = "12", period: str = "202601") -> SentValue:
    return SentValue(DataValueKey(f"SOH_{item}", period, org_unit), value)


def rekeyed(value: SentValue, **parts: str) -> SentValue:
    return value._replace(key=value.key._replace(**parts))


@dataclass(slots=True, kw_only=True)
class Sent(Imported):
    rows: Mapping[int, SentValue]
    unclear: list[ImportSummary] = field(default_factory=list)

    @property
    def waiting(self) -> set[int]:
        unclear = {place for call in self.unclear for place in call.outcomes}
        return self.rows.keys() - self.outcomes.keys() - unclear


def sent(  # noqa: PLR0913 - each has its default
    client: object,
    rows: Mapping[int, SentValue],
    *,
    schemes: Schemes = CODES,
    data_set: str = "MSUPPLY_STOCK",
    batch_size: AdaptiveBatchSize | None = None,
    values: int = 1000,
    seconds: float = 300,
    try_again: bool = True,
    timely: Collection[int] = (),
    lock_exceptions: Collection[tuple[str, str]] | None = None,
) -> Sent:
    result = Sent(rows=rows)
    calls = Calls(
        result,
        client,  # type: ignore[arg-type]  # scripted clients have no more than the one method
        batch_size or AdaptiveBatchSize(),
        data_set,
        schemes,
        values,
        lambda: seconds,
        pause=lambda _: None,
        lock_exceptions=lock_exceptions,
    )
    rows = {place: row._replace(is_timely=place in timely) for place, row in rows.items()}
    result.unclear = send(rows, calls, try_again=try_again)
    return result


def whole_batch(**wrong: SentValue) -> dict[int, SentValue]:
    """Return 100 good rows; ``wrong`` replaces those at its places (``at_7``)."""
    good = [row(item, org_unit) for item, _ in ITEMS for org_unit, _ in ORG_UNITS[:10]]
    # The keys of the wrong ones are none of the good ones': DHIS2 takes one value for each.
    return dict(enumerate(good)) | {int(place[3:]): bad for place, bad in wrong.items()}


def places_with_outcome(result: Sent) -> list[int]:
    unclear = [place for call in result.unclear for place in call.outcomes]
    assert bool(result.waiting) == (result.failure is not None)
    return sorted([*result.outcomes, *unclear, *result.waiting])


def applied_in(result: Sent) -> list[int]:
    return [place for place, outcome in result.outcomes.items() if outcome.is_applied]


def rejected_in(result: Sent) -> dict[int, tuple[Reason, ...]]:
    return {place: outcome.reasons for place, outcome in result.outcomes.items() if outcome.reasons}


WRONG = {
    "an unknown data element": row("nothing", "OU_1"),
    "an unknown org unit": row("item1", "OU_nowhere"),
    "an org unit without the data set": row("item1", "OU_11"),
    "a period of another type": row("item1", "OU_1", period="20260105"),
    "a period to come": row("item1", "OU_1", period="202612"),
    "no number": row("item1", "OU_10", value="many"),
    "an option combo that there is not": rekeyed(row("item1", "OU_1"), category_option_combo="NOPE"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("what", WRONG)
def test_one_wrong_value(version: str, what: str) -> None:
    client = client_of(version)
    result = sent(client, whole_batch(at_57=WRONG[what]))
    assert list(rejected_in(result)) == [57]
    assert sorted(applied_in(result)) == [place for place in range(100) if place != 57]
    assert len(client.dhis2.values) == 99
    assert len(client.pushes) <= (12 if version == "2.43" else 1)


@pytest.mark.parametrize("what", ["an org unit without the data set", "a period to come"])
def test_named_uids_found_at_once(what: str) -> None:
    client = client_of("2.43")
    rows = {place: with_uids(client, value) for place, value in whole_batch(at_57=WRONG[what]).items()}
    data_set = client.dhis2.metadata.data_set.by_scheme("CODE", "MSUPPLY_STOCK")
    assert data_set is not None
    result = sent(client, rows, schemes=Schemes(), data_set=data_set.id)
    assert list(rejected_in(result)) == [57]
    assert client.pushes == [100, 99]


def with_uids(client: DirectClient, value: SentValue) -> SentValue:
    metadata = client.dhis2.metadata
    element = metadata.data_element.by_scheme("CODE", value.key.data_element)
    org_unit = metadata.org_unit.by_scheme("CODE", value.key.org_unit)
    assert element is not None
    assert org_unit is not None
    return rekeyed(value, data_element=element.id, org_unit=org_unit.id)


rows_of_any_kind = st.dictionaries(st.integers(0, 119), st.sampled_from(sorted(WRONG)), max_size=8)


@tried(60)
@given(wrong=rows_of_any_kind, version=st.sampled_from(VERSIONS), per_call=st.integers(7, 200))
def test_accepted_versus_rejected(wrong: dict[int, str], version: str, per_call: int) -> None:
    good = [row(item, org_unit) for item, _ in ITEMS for org_unit, _ in ORG_UNITS[:11]]
    rows = dict(enumerate(good)) | {
        # A key of its own for each, or one of the two would be a duplicate.
        place: rekeyed(WRONG[what], data_element=f"SOH_item{place % 10}")
        if "data element" not in what
        else WRONG[what]
        for place, what in wrong.items()
        if place < len(good)
    }
    # Wrong rows that share a key are one row to DHIS2: keep one of them.
    unique = {value.key: place for place, value in rows.items()}
    rows = {place: rows[place] for place in sorted(unique.values())}
    client = client_of(version)
    result = sent(client, rows, values=per_call)
    expected = {place for place in rows if rows[place] not in good}
    assert set(rejected_in(result)) == expected
    assert places_with_outcome(result) == sorted(rows)
    assert len(client.dhis2.values) == len(rows) - len(expected)
    assert all(size <= per_call for size in client.pushes)


METRICS = [metric.value for metric in Metric]


def world_with_closed_options(*metrics: str, **limits: object) -> Metadata:
    """Set up all metrics as option combos; nobody may write the category options of some, or they have other limits."""
    metadata = stock_metadata(ORG_UNITS[:6], ITEMS[:5], METRICS)
    codes = {f"OPTION_{metric.upper()}" for metric in metrics}
    options = tuple(
        option.model_copy(update=limits or {"writers": ()}) if option.code in codes else option
        for option in metadata.category_options
    )
    assert sum(option.code in codes for option in options) == len(metrics)
    return metadata.model_copy(update={"category_options": options})


@pytest.mark.parametrize("combos", [1, 3])
@pytest.mark.parametrize(
    ("limits", "periods", "code", "good"),
    [
        ({"org_unit_ids": (uid("organisationUnit", "OU_7"),)}, ["202601"], "E8025", set[str]()),
        ({"org_unit_ids": (uid("organisationUnit", "OU_2"),)}, ["202601"], "E8025", {"OU_2"}),
        ({"end_date": date(2025, 11, 30)}, ["202512", "202601"], "E8032", set[str]()),
        ({"start_date": date(2026, 1, 1)}, ["202512", "202601"], "E8032", {"202601"}),
    ],
)
def test_category_option_refused(
    limits: dict[str, object], periods: list[str], code: str, good: set[str], combos: int
) -> None:
    client = DirectClient(world_with_closed_options(METRICS[0], **limits), "2.43", NOW, PUSHER)
    rows = {
        place: with_uids(
            client, SentValue(DataValueKey(item, period, org_unit, None, uid_of_combo(client, metric)), "12")
        )
        for place, ((item, _), (org_unit, _), metric, period) in enumerate(
            product(ITEMS[:3], ORG_UNITS[:6], METRICS[:combos], periods)
        )
    }
    data_set = client.dhis2.metadata.data_set.by_scheme("CODE", "STOCK_ATTRIBUTE")
    assert data_set is not None
    result = sent(client, rows, schemes=Schemes(), data_set=data_set.id)
    named = good | {uid("organisationUnit", name) for name in good}
    limited = uid_of_combo(client, METRICS[0])
    expected = {
        place
        for place, row in rows.items()
        if row.key.attribute_option_combo == limited and not named & set(row.key)
    }
    assert rejected_in(result).keys() == expected
    assert {reasons[0].code for reasons in rejected_in(result).values()} == {code}
    assert len(client.pushes) <= 2


def uid_of_combo(client: DirectClient, metric: str) -> str:
    combo = client.dhis2.metadata.option_combo.by_scheme("CODE", metric.upper())
    assert combo is not None
    return combo.id


@pytest.mark.parametrize("field", ["attribute_option_combo", "category_option_combo"])
@pytest.mark.parametrize(("closed", "calls"), [(1, 9), (3, 20), (12, 24)])
def test_combo_without_write_access(closed: int, calls: int, field: str) -> None:
    client = DirectClient(world_with_closed_options(*METRICS[:closed]), "2.43", NOW, PUSHER)
    by_data_set = field == "attribute_option_combo"
    rows = {
        place: rekeyed(
            SentValue(DataValueKey(f"{'' if by_data_set else 'STOCK_'}{item}", "202601", org_unit), "12"),
            **{field: metric.upper()},
        )
        for place, ((item, _), (org_unit, _), metric) in enumerate(product(ITEMS[:5], ORG_UNITS[:6], METRICS))
    }
    result = sent(client, rows, data_set="STOCK_ATTRIBUTE" if by_data_set else "STOCK_CATEGORY")
    refused = {metric.upper() for metric in METRICS[:closed]}
    expected = {place for place, row in rows.items() if getattr(row.key, field) in refused}
    assert rejected_in(result).keys() == expected
    assert {reasons[0].code for reasons in rejected_in(result).values()} == {"E8012"}
    assert len(client.dhis2.values) == len(rows) - len(expected)
    assert len(client.pushes) <= calls


@tried(40)
@given(
    closed=st.sets(st.sampled_from(METRICS[:5]), max_size=5),
    wrong=st.dictionaries(
        st.integers(0, 59), st.sampled_from(["org_unit", "data_element", "period", "value"])
    ),
    expired=st.booleans(),
    per_call=st.integers(5, 60),
)
def test_each_value_for_its_own_fault(
    closed: set[str],
    wrong: dict[int, str],
    expired: bool,  # noqa: FBT001 - drawn
    per_call: int,
) -> None:
    metadata = world_with_closed_options(*closed)
    if expired:
        data_sets = tuple(each.model_copy(update={"expiry_days": 1}) for each in metadata.data_sets)
        excepted = tuple(
            LockException(data_set_id=each.id, org_unit_id=metadata.org_units[1].id, period="202601")
            for each in data_sets
        )
        metadata = metadata.model_copy(update={"data_sets": data_sets, "lock_exceptions": excepted})
    client = DirectClient(metadata, "2.43", NOW, PUSHER)
    rows = {
        place: SentValue(DataValueKey(item, "202601", org_unit, None, metric.upper()), "12")
        for place, ((item, _), (org_unit, _), metric) in enumerate(
            product(ITEMS[:3], ORG_UNITS[:4], METRICS[:5])
        )
    }
    strange = {"org_unit": "NOWHERE", "data_element": "NOTHING", "period": "202612", "value": "many"}
    for place, name in wrong.items():
        parts = {name: strange[name]}
        rows[place] = (
            SentValue(rows[place].key, strange[name]) if name == "value" else rekeyed(rows[place], **parts)
        )
    # Of rows that are one and the same to DHIS2, which are the wrong ones here, one is sent.
    rows = {place: rows[place] for place in {row.key: place for place, row in rows.items()}.values()}
    good = {
        place
        for place, row in rows.items()
        if not set(strange.values()) & {*row.key, row.value}
        and str(row.key.attribute_option_combo).lower() not in closed
        and (not expired or row.key.org_unit == metadata.org_units[1].code)
    }
    applied: set[int] = set()
    rejected: set[int] = set()
    waiting = dict(rows)
    for _ in range(5):
        result = sent(client, waiting, data_set="STOCK_ATTRIBUTE", values=per_call)
        assert places_with_outcome(result) == sorted(waiting)
        applied.update(applied_in(result))
        rejected.update(rejected_in(result))
        waiting = {place: rows[place] for place in result.waiting}
    assert waiting == {}
    assert applied == good
    assert rejected == rows.keys() - good


EXCEPTED = ("OU_2", "OU_7")


def client_with_expired_january(*excepted: str) -> DirectClient:
    metadata = stock_metadata(ORG_UNITS, ITEMS, ["stock_on_hand"])
    data_set = data_set_of(metadata)
    locks = tuple(
        LockException(data_set_id=data_set.id, org_unit_id=org_unit.id, period="202601")
        for org_unit in metadata.org_units
        if org_unit.code in excepted
    )
    expiring = data_set.model_copy(update={"expiry_days": 1})
    return DirectClient(
        metadata.model_copy(update={"data_sets": (expiring,), "lock_exceptions": locks}), "2.43", NOW, PUSHER
    )


def data_set_of(metadata: Metadata) -> DataSet:
    data_set = metadata.data_set.by_scheme("CODE", "MSUPPLY_STOCK")
    assert data_set is not None
    return data_set


@pytest.mark.parametrize("are_known", [True, False])
@pytest.mark.parametrize("excepted", [EXCEPTED, ()])
def test_expired_period_exceptions(
    excepted: tuple[str, ...],
    are_known: bool,  # noqa: FBT001 - a column of the table
) -> None:
    client = client_with_expired_january(*excepted)
    rows = {place: with_uids(client, value) for place, value in whole_batch().items()}
    rows |= {place: rekeyed(row, period="202602") for place, row in rows.items() if place >= 90}
    metadata = client.dhis2.metadata
    uids = {org_unit.id for org_unit in metadata.org_units if org_unit.code in excepted}
    locks = {(org_unit, "202601") for org_unit in uids} if are_known else None
    result = sent(client, rows, schemes=Schemes(), data_set=data_set_of(metadata).id, lock_exceptions=locks)
    expected = {
        place for place, row in rows.items() if row.key.period == "202601" and row.key.org_unit not in uids
    }
    assert rejected_in(result).keys() == expected
    assert sorted(applied_in(result)) == sorted(rows.keys() - expected)
    # Where the exceptions are not known, each of the ten org units has a call of its own.
    assert len(client.pushes) <= (2 if are_known else 12)


def test_period_closed_for_all() -> None:
    client = client_of("2.43")
    rows = {place: with_uids(client, rekeyed(row, period="202612")) for place, row in whole_batch().items()}
    excepted = {(rows[0].key.org_unit, "202612")}
    data_set = data_set_of(client.dhis2.metadata).id
    result = sent(client, rows, schemes=Schemes(), data_set=data_set, lock_exceptions=excepted)
    assert rejected_in(result).keys() == rows.keys()
    assert client.pushes == [100, sum(row.key.org_unit == rows[0].key.org_unit for row in rows.values())]


def test_search_spends_its_calls() -> None:
    client = client_of("2.43")
    # From 2.43 each call names one unknown data element only.
    rows = {place: row(f"nothing{place}", "OU_1") for place in range(150)} | {150: row("item1", "OU_1")}
    first = sent(client, rows)
    assert len(client.pushes) == 101
    assert len(rejected_in(first)) == 101
    assert applied_in(first) == []
    assert first.waiting == rows.keys() - rejected_in(first).keys()
    assert isinstance(first.failure, Dhis2TransientError)
    assert "Values that wait are not rejected" in str(first.failure)
    second = sent(client, {place: rows[place] for place in sorted(first.waiting)})
    assert applied_in(second) == [150]
    assert rejected_in(first).keys() | rejected_in(second).keys() == set(range(150))
    assert second.failure is None


@pytest.mark.parametrize("code", ["E7632", "E7644"])
def test_metadata_fault_waits(code: str) -> None:
    client = client_of("2.42")
    client.dhis2.faults.next(FaultKind.STALE_CACHE, error_code=code)
    rows = whole_batch(at_57=WRONG["no number"])
    first = sent(client, rows, timely=rows.keys() - {3})
    assert rejected_in(first).keys() == {3, 57}
    assert first.waiting == rows.keys() - {3, 57}
    assert isinstance(first.failure, Dhis2TransientError)
    assert first.failure.retry_after is None
    assert "DHIS2 refuses 98 values (" in str(first.failure)
    second = sent(client, {place: rows[place] for place in sorted(first.waiting)}, timely=rows.keys())
    assert len(applied_in(second)) == 98


class Scripted:
    """Answers as told, call by call; the rest of its calls succeed."""

    def __init__(self, *answers: Exception | None) -> None:
        self.script = list(answers)
        self.calls: list[tuple[int, ...]] = []

    def post_data_values(
        self,
        body: Mapping[str, object],
        params: Mapping[str, str] | None = None,
        *,
        read_timeout: float | None = None,
    ) -> Answer:
        del params
        assert read_timeout is not None
        rows = body["dataValues"]
        assert isinstance(rows, list)
        values = tuple(int(value["value"]) for value in rows)
        self.calls.append(values)
        if self.script and (error := self.script.pop(0)) is not None:
            raise error
        self.fail_at(values)
        return success(len(values))

    def fail_at(self, values: Sequence[int]) -> None:
        """Raise for certain values."""


def success(values: int) -> Answer:
    counts = {"imported": values, "updated": 0, "ignored": 0, "deleted": 0}
    body = {"status": "SUCCESS", "description": "done", "importCount": counts, "conflicts": []}
    return Answer(200, body, seconds=0.1)


def numbered(count: int) -> dict[int, SentValue]:
    return {place: row(f"item{place}", "OU_1", str(place)) for place in range(count)}


class Poisoned(Scripted):
    """Fails at every call that holds the value 13."""

    def fail_at(self, values: Sequence[int]) -> None:
        if 13 in values:
            raise Dhis2FaultError("status 500")


def test_poisonous_value() -> None:
    client = Poisoned()
    result = sent(client, numbered(40))
    assert list(rejected_in(result)) == [13]
    assert rejected_in(result)[13][0].code == "too_large_alone"
    assert sorted(applied_in(result)) == [place for place in range(40) if place != 13]
    assert result.failure is None


@pytest.mark.parametrize("of", ["item1", "OU_1"])
def test_poisonous_block(of: str) -> None:
    class FailsAt(DirectClient):
        def post_data_values(self, *arguments: Any, **options: Any) -> Answer:  # noqa: ANN401 - handed on
            answer = super().post_data_values(*arguments, **options)
            rows = arguments[0]["dataValues"]
            if any(of in (value["dataElement"].partition("_")[2], value["orgUnit"]) for value in rows):
                raise Dhis2FaultError("status 500")
            return answer

    client = FailsAt(stock_metadata(ORG_UNITS, ITEMS, ["stock_on_hand"]), "2.42", NOW)
    rows = whole_batch()
    result = sent(client, rows)
    guilty = [
        place for place, value in rows.items() if of in (value.key.data_element[4:], value.key.org_unit)
    ]
    assert sorted(rejected_in(result)) == guilty
    assert sorted(applied_in(result)) == [place for place in rows if place not in guilty]


def test_failing_server_gives_up() -> None:
    client = Scripted(*(Dhis2FaultError("status 500") for _ in range(100)))
    result = sent(client, numbered(40))
    assert rejected_in(result) == {}
    assert len(result.waiting) == 40
    assert isinstance(result.failure, Dhis2FaultError)
    assert len(client.calls) <= 8


def test_lone_failure_tried_again() -> None:
    client = Scripted(Dhis2FaultError("status 500"), Dhis2FaultError("status 500"))
    result = sent(client, numbered(40))
    assert sorted(applied_in(result)) == list(range(40))
    assert rejected_in(result) == {}


def test_lone_failure_then_abort() -> None:
    class FailsThenBreaksOff(Scripted):
        def post_data_values(self, *arguments: Any, **options: Any) -> Answer:  # noqa: ANN401 - handed on
            answer = super().post_data_values(*arguments, **options)
            if self.calls[-1] == (1,) and self.calls.count((1,)) > 1:
                return BROKEN_OFF
            if 1 in self.calls[-1]:
                raise Dhis2FaultError("status 500")
            return answer

    result = sent(FailsThenBreaksOff(), numbered(4))
    assert places_with_outcome(result) == [0, 1, 2, 3]
    assert result.waiting == {1}
    assert isinstance(result.failure, Dhis2TransientError)


def test_lone_failures_and_login() -> None:
    class RefusesInTheEnd(Scripted):
        refusals = 0

        def fail_at(self, values: Sequence[int]) -> None:
            if self.calls.count(tuple(values)) > 1 and len(values) == 1:
                self.refusals += 1
                raise Dhis2AuthenticationError("Authentication failed")
            if {2, 3, 4} & set(values):
                raise Dhis2FaultError("status 500")

    client = RefusesInTheEnd()
    result = sent(client, numbered(8))
    assert client.refusals == 1
    assert isinstance(result.failure, Dhis2AuthenticationError)
    assert result.waiting == {2, 3, 4}
    assert places_with_outcome(result) == list(range(8))


def test_passing_failure() -> None:
    client = Scripted(Dhis2FaultError("status 500"))
    result = sent(client, numbered(40))
    assert len(applied_in(result)) == 40
    assert len(client.calls) == 2


def test_too_large_is_halved() -> None:
    class Narrow(Scripted):
        def fail_at(self, values: Sequence[int]) -> None:
            if len(values) > 15:
                raise Dhis2TooLargeError("status 413")

    client, batch_size = Narrow(), AdaptiveBatchSize()
    result = sent(client, numbered(40), batch_size=batch_size)
    assert len(applied_in(result)) == 40
    assert [len(call) for call in client.calls] == [40, 20, 10, 10, 10, 10]
    assert batch_size.limit == 10


def test_time_out_halves() -> None:
    client, batch_size = Scripted(None, Dhis2SlowError("no answer in time")), AdaptiveBatchSize(limit=20)
    result = sent(client, numbered(40), batch_size=batch_size)
    assert len(applied_in(result)) == 20
    assert len(result.waiting) == 20
    assert isinstance(result.failure, Dhis2SlowError)
    assert batch_size.limit == 10


@pytest.mark.parametrize(
    "error", [Dhis2TransientError("503", retry_after=7), Dhis2AuthenticationError("Authentication failed")]
)
def test_others_wait(
    error: Dhis2TransientError | Dhis2AuthenticationError,
) -> None:
    client = Scripted(None, error)
    result = sent(client, numbered(40), values=20)
    assert sorted(applied_in(result)) == list(range(20))
    assert result.waiting == frozenset(range(20, 40))
    assert result.failure is error
    assert len(client.calls) == 2


def test_final_refusal() -> None:
    error = Dhis2PermanentError("There is no DHIS2 at this address")
    client = Scripted(None, error)
    result = sent(client, numbered(40), values=10)
    assert len(applied_in(result)) == 10
    assert sorted(rejected_in(result)) == list(range(10, 40))
    assert result.refused_all is error
    assert len(client.calls) == 2


def test_no_call_near_the_end() -> None:
    client = Scripted()
    result = sent(client, numbered(40), seconds=5)
    assert client.calls == []
    assert len(result.waiting) == 40
    assert isinstance(result.failure, Dhis2TransientError)


@pytest.mark.parametrize(("races", "timely"), [(1, ()), (3, ()), (4, ()), (4, (0, 1, 2))])
@pytest.mark.parametrize("try_again", [True, False])
def test_right_period_tried_again(
    races: int,
    timely: tuple[int, ...],
    try_again: bool,  # noqa: FBT001 - a parameter
) -> None:
    class Raced(Scripted):
        def post_data_values(self, *arguments: Any, **options: Any) -> Answer:  # noqa: ANN401 - handed on
            answer = super().post_data_values(*arguments, **options)
            return answer if len(self.calls) > races else period_refused(len(self.calls[-1]))

    client = Raced()
    result = sent(client, numbered(3), try_again=try_again, timely=timely)
    assert places_with_outcome(result) == [0, 1, 2]
    if timely:
        assert (sorted(result.waiting), rejected_in(result)) == ([0, 1, 2], {})
        assert isinstance(result.failure, Dhis2TransientError)
    elif races > 3:
        assert {reason.code for reasons in rejected_in(result).values() for reason in reasons} == {"E7611"}
    else:
        assert (sorted(applied_in(result)), rejected_in(result)) == ([0, 1, 2], {})
    assert len(client.calls) == min(races, 3) + 1


def test_wrong_period_refused() -> None:
    client = client_of("2.42")
    result = sent(client, {0: row("item1", "OU_1", period="2026/01"), 1: row("item1", "OU_2")})
    assert ([*rejected_in(result)], applied_in(result), client.pushes) == ([0], [1], [2])


def period_refused(values: int) -> Answer:
    conflict = {
        "value": "Period not valid: `202601`",
        "errorCode": "E7611",
        "property": "period",
        "object": "202601",
        "indexes": list(range(values)),
    }
    counts = {"imported": 0, "updated": 0, "ignored": values, "deleted": 0}
    body = {"status": "WARNING", "description": "done", "importCount": counts, "conflicts": [conflict]}
    return Answer(409, {"response": body}, seconds=0.1)


BROKEN_OFF = Answer(
    409,
    {
        "response": {
            "status": "ERROR",
            "description": "The import process failed: Failed to flush BatchHandler",
            "importCount": {"imported": 0, "updated": 0, "ignored": 0, "deleted": 0},
            "conflicts": [],
        }
    },
    seconds=0.1,
)


class BreaksOff(Scripted):
    """Answers that the import broke off, so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def post_data_values(self, *arguments: Any, **options: Any) -> Answer:  # noqa: ANN401 - handed on
        answer = super().post_data_values(*arguments, **options)
        self.times -= 1
        return BROKEN_OFF if self.times >= 0 else answer


def test_aborted_import_retried_once() -> None:
    passing, lasting = BreaksOff(1), BreaksOff(99)
    assert len(applied_in(sent(passing, numbered(40)))) == 40
    result = sent(lasting, numbered(40))
    assert len(result.waiting) == 40
    assert len(lasting.calls) == 2


def test_aborted_after_a_race() -> None:
    class Raced(BreaksOff):
        def post_data_values(self, *arguments: Any, **options: Any) -> Answer:  # noqa: ANN401 - handed on
            answer = super().post_data_values(*arguments, **options)
            return period_refused(3) if len(self.calls) == 1 else answer

    client = Raced(2)
    result = sent(client, numbered(3))
    assert (sorted(applied_in(result)), result.failure) == ([0, 1, 2], None)
    assert len(client.calls) == 3


def test_removing_zero_sent_once() -> None:
    client = BreaksOff(1)
    result = sent(client, numbered(1), try_again=False)
    assert result.waiting == {0}
    assert len(client.calls) == 1


def test_earlier_call_may_land() -> None:
    no_answer, sent_away = Dhis2FaultError("status 502"), Dhis2TransientError("status 429")
    no_answer.may_still_be_applied = True
    result = sent(Scripted(no_answer, sent_away), numbered(4))
    assert result.failure is sent_away
    assert result.may_still_be_applied
    assert not sent(Scripted(sent_away), numbered(4)).may_still_be_applied
