"""Laws of a push, over random batches, servers and what is wrong with them, with the stand-in as judge."""

from collections import Counter
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from itertools import chain, repeat

from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.domain.batch import Operation
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.domain.outcome import Counts
from msupply_dhis2.errors import Dhis2TransientError
from msupply_dhis2.push.job import Dhis2Session, push
from msupply_dhis2.push.outcome import BatchResult
from sandbox.dhis2 import FaultKind, Metadata, stock_metadata
from sandbox.dhis2.faults import Fault
from sandbox.dhis2.metadata import MetadataAccess
from sandbox.dhis2.server import ADMIN
from tests.support.batches import batch_of, settings_of, value_of
from tests.support.direct import DirectClient
from tests.support.laws import tried

NOW = date(2026, 2, 10)
VERSIONS = ("2.37", "2.40", "2.41", "2.42", "2.43")
ORG_UNITS = [(f"OU_{number}", f"Clinic {number}") for number in range(5)]
ITEMS = [(f"item{number}", f"Item {number}") for number in range(5)]
ELEMENTS = [*(f"SOH_{item}" for item, _ in ITEMS), "SOH_nothing"]
PLACES = [*(org_unit for org_unit, _ in ORG_UNITS), "OU_nowhere", "COUNTRY"]
PERIODS = ["202512", "202601", "202602", "202612", "20260105", "2026W5"]
NUMBERS = ["0", "1", "12", "-3", "2.5", "156.666667", "0.5", "100.5"]
TYPES = ["NUMBER", "INTEGER", "INTEGER_POSITIVE", "PERCENTAGE", "BOOLEAN", "TRUE_ONLY", "TEXT"]


@st.composite
def worlds(draw: st.DrawFn) -> Metadata:
    """Return data elements of any type, whose zeros may not be significant."""
    metadata = stock_metadata(ORG_UNITS, ITEMS, ["stock_on_hand"])
    elements = tuple(
        element.model_copy(
            update={
                "value_type": draw(st.sampled_from(TYPES)),
                "zero_is_significant": draw(st.booleans()),
                "aggregation_type": draw(st.sampled_from(["SUM", "LAST", "AVERAGE_SUM_ORG_UNIT"])),
            }
        )
        if (element.code or "").startswith("SOH_")
        else element
        for element in metadata.data_elements
    )
    return metadata.model_copy(update={"data_elements": elements})


batches = st.lists(
    st.builds(
        value_of,
        st.sampled_from(ELEMENTS),
        st.sampled_from(NUMBERS),
        org_unit=st.sampled_from(PLACES),
        period=st.sampled_from(PERIODS),
    ),
    min_size=1,
    max_size=40,
    unique_by=lambda value: value.key,
)

calls = st.tuples(
    st.integers(1, 50),
    # Enough to find one refused value by halving: a delivery that gets less far begins the search anew.
    st.integers(15, 60),
    st.sampled_from([1, 50]),
)
"""How many values a call may hold, for how many calls there is time, and how many values are worth reading first."""


@tried(200)
@given(
    world=worlds(),
    version=st.sampled_from(VERSIONS),
    access=st.sampled_from(MetadataAccess),
    earlier=batches,
    values=batches,
    calls=calls,
)
def test_one_outcome_per_value(
    world: Metadata,
    version: str,
    access: MetadataAccess,
    earlier: list[DataValue],
    values: list[DataValue],
    calls: tuple[int, int, int],
) -> None:
    per_call, calls_in_time, fewest_left_out = calls
    user = ADMIN.model_copy(update={"metadata_access": access})
    client = DirectClient(world, version, NOW, user)
    session = session_of(client, fewest_left_out)
    of_tab = settings_of(items_per_payload=per_call)
    push(batch_of(earlier, of_tab), session, settings=of_tab)
    session.sent_unread = None
    before = dict(client.dhis2.values)

    batch = batch_of(values, of_tab)
    counts, done, named = Counts(), frozenset[int](), Counter[tuple[object, ...]]()
    for _ in range(200):
        left = chain(repeat(300.0, 2 * calls_in_time), repeat(0.0))
        result = push(batch, session, settings=of_tab, done=done, seconds_left=left.__next__)
        assert done <= result.settled
        assert_adds_up(result, done)
        counts, done = counts + result.counts, result.settled
        named.update(
            (line.fields["data_element"], line.fields["org_unit"], line.fields["period"])
            for line in result.lines
            if "data_element" in line.fields
        )
        if result.failure is None:
            break
        assert isinstance(result.failure, Dhis2TransientError)

    # One outcome for each, and each that is not in DHIS2 named once where DHIS2 lets it be told.
    assert done == frozenset(range(len(values)))
    assert counts.sent == len(values)
    assert all(times == 1 for times in named.values())
    if access is MetadataAccess.READABLE:
        assert counts.rejected + counts.unaccounted == len(named)
        assert counts.unaccounted == 0
    # What is counted as was applied is there, and nothing else has come.
    after = client.dhis2.values
    assert len(set(after) - set(before)) <= counts.stored + counts.unchanged
    applied = [
        value
        for value in values
        if (value.data_element, value.org_unit, value.period) not in named
        and not (value.value == "0" and is_true_only(world, value))
    ]
    if access is MetadataAccess.READABLE:
        for value in applied:
            stored = client.dhis2.value(value.data_element, value.org_unit, value.period)
            assert stored is not None
            assert stored in {value.value, {"0": "false", "1": "true"}.get(value.value)}


faults = st.lists(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(
                [
                    FaultKind.STATUS,
                    FaultKind.CUT,
                    FaultKind.TOO_MANY_REQUESTS,
                    FaultKind.TOO_LARGE,
                    FaultKind.TRANSIENT_CONFLICT,
                    FaultKind.DEADLOCK,
                    FaultKind.PERIOD_RACE,
                ]
            ),
            "method": st.just("POST"),
            "after": st.integers(0, 4),
            "times": st.integers(1, 3),
            "after_import": st.booleans(),
        }
    )
    | st.fixed_dictionaries(
        {
            "kind": st.just(FaultKind.POISON),
            "holds": st.sampled_from(["SOH_item0", "SOH_item1", "OU_0", "OU_1"]),
            "times": st.sampled_from([1, 5, None]),
        }
    )
    | st.fixed_dictionaries(
        {
            "kind": st.just(FaultKind.STATUS),
            "status": st.sampled_from([500, 503, 504]),
            "method": st.just("GET"),
            "path": st.just("/dataValueSets"),
            "times": st.sampled_from([1, 4, None]),
        }
    ),
    max_size=4,
)


@tried(300)
@given(
    world=worlds(),
    server=st.tuples(st.sampled_from(VERSIONS), st.sampled_from(MetadataAccess)),
    operation=st.sampled_from(Operation),
    values=batches,
    entered=st.lists(st.integers(0, 39), max_size=5),
    planned=faults,
    calls=calls,
)
def test_applied_is_in_dhis2(
    world: Metadata,
    server: tuple[str, MetadataAccess],
    operation: Operation,
    values: list[DataValue],
    entered: list[int],
    planned: list[dict[str, object]],
    calls: tuple[int, int, int],
) -> None:
    version, access = server
    per_call, calls_in_time, fewest_left_out = calls
    user = ADMIN.model_copy(update={"metadata_access": access})
    client = DirectClient(world, version, NOW, user)
    session = session_of(client, fewest_left_out)
    of_tab = settings_of(items_per_payload=per_call)
    # What a delete finds: the values as they were sent earlier, and some that somebody has entered since.
    push(batch_of(values, of_tab), session, settings=of_tab)
    others = [values[place]._replace(value="7") for place in dict.fromkeys(entered) if place < len(values)]
    if others:
        push(batch_of(others, of_tab), session, settings=of_tab)
    session.sent_unread = None
    before = {value.key: held(client, value) for value in values}
    for fault in planned:
        client.dhis2.faults.plan(Fault.model_validate(fault))

    batch = batch_of(values, of_tab, operation)
    counts, done, applied = Counts(), frozenset[int](), frozenset[int]()
    for _ in range(30):
        left = chain(repeat(300.0, 2 * calls_in_time), repeat(0.0))
        result = push(batch, session, settings=of_tab, done=done, seconds_left=left.__next__)
        assert result.applied <= result.settled - done
        assert_adds_up(result, done)
        counts, done, applied = counts + result.counts, result.settled, applied | result.applied
        assert_true(client, world, batch.values, applied, operation)
        if result.failure is None:
            break

    assert counts.sent == len(done)
    if operation is Operation.DELETE:
        assert counts.stored == counts.unchanged == 0
        assert counts.deleted >= len(applied)
        # A fault while reading may leave DHIS2 to delete blindly; otherwise what somebody entered stays.
        if access is MetadataAccess.READABLE and not any(fault.get("method") == "GET" for fault in planned):
            assert counts.deleted == len(applied)
            for value in values:
                if before[value.key] not in sent_as(value) | {None}:
                    assert held(client, value) == before[value.key]
    else:
        assert counts.deleted == 0
        assert counts.stored + counts.unchanged >= len(applied)

    # What was deleted comes back when it is sent again.
    client.dhis2.faults.clear()
    again = push(batch_of(values, of_tab), session, settings=of_tab)
    assert_true(client, world, values, again.applied, Operation.IMPORT)


def session_of(client: DirectClient, fewest_left_out: int) -> Dhis2Session:
    """Return a session that reads before it sends so many values, however much it reads."""
    return Dhis2Session(client, pause=lambda _: None, fewest_left_out=fewest_left_out, read_for_each=10_000)


def assert_adds_up(result: BatchResult, done: frozenset[int]) -> None:
    """Hold counts, rows of the file and lines of the log, which derive from the outcomes, against each other."""
    counts, new = result.counts, result.settled - done
    assert counts.sent == sum(counts.by_name().values()) == len(new)
    # However its values are divided between two deliveries, each is counted once.
    some = frozenset(place for place in new if place % 3)
    assert result.counts_of(some) + result.counts_of(new - some) == counts
    lines = [line for line in result.lines if "data_element" in line.fields]
    rows = [row for row in result.rejected_rows if row.outcome != "perhaps unaccounted"]
    assert [(row.outcome, row.value.data_element) for row in rows] == [
        (line.fields["outcome"], line.fields["data_element"]) for line in lines
    ]
    assert len(lines) == len(new) - len(result.applied) - (len(result.rejected_rows) - len(rows))
    assert sum(row.outcome in {"rejected", "not deleted"} for row in rows) == counts.rejected


def held(client: DirectClient, value: DataValue) -> str | None:
    """Return what the stand-in holds in the place of a value."""
    try:
        return client.dhis2.value(value.data_element, value.org_unit, value.period)
    except LookupError:
        return None


def sent_as(value: DataValue) -> set[str | None]:
    """Return the shapes in which a value may stand."""
    return {value.value, {"0": "false", "1": "true"}.get(value.value, value.value)}


def assert_true(
    client: DirectClient,
    world: Metadata,
    values: Iterable[DataValue],
    applied: frozenset[int],
    operation: Operation,
) -> None:
    for place, value in enumerate(values):
        if place not in applied:
            continue
        found = held(client, value)
        if operation is Operation.DELETE or (value.value == "0" and is_true_only(world, value)):
            assert found is None
        else:
            assert found is not None
            assert found in sent_as(value) or Decimal(found) == Decimal(value.value)


def is_true_only(world: Metadata, value: DataValue) -> bool:
    element = world.data_element.by_scheme("CODE", value.data_element)
    return element is not None and element.value_type == "TRUE_ONLY"
