"""Values to messages and back."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.domain.batch import (
    MAXIMUM_MESSAGE_BYTES,
    Batch,
    Operation,
    Strip,
    decode,
    encode,
    small_enough,
)
from msupply_dhis2.domain.data_value import Column, DataValue, Origin
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import Kind
from msupply_dhis2.errors import BatchError
from msupply_dhis2.settings import Scheme, parse_settings

AS_OF = datetime(2026, 2, 1, tzinfo=UTC)
SETTINGS = """
use_dhis2: true
basic_authentication: true
url: https://dhis2.example.org
setup: data_element_per_item
data_elements:
  - {metric: stock_on_hand, active: true, custom_field_name: soh, interval: monthly, basis: previous_month}
data_set_id: DS_STOCK
data_set_id_scheme: code
period_format: YYYYMM
data_element_id_scheme: code
org_unit_scheme: code
"""


def value(
    org_unit: int, data_element: int, scheme: Scheme = Scheme.UID, combo: int | None = None, names: str = ""
) -> DataValue:
    return DataValue(
        Column(
            (f"DE{data_element:04}", None, None if combo is None else f"COMBO{combo}"),
            "202601",
            scheme,
            Metric.STOCK_ON_HAND,
            f"Item {data_element}{names}",
        ),
        Origin(f"OU{org_unit:04}", f"Store {org_unit}{names}"),
        "12.5",
    )


def matrix(org_units: int, data_elements: int, combos: int | None = None) -> list[list[DataValue]]:
    every_combo: Sequence[int | None] = [None] if combos is None else range(combos)
    return [
        [
            value(org_unit, data_element, combo=combo)
            for data_element in range(data_elements)
            for combo in every_combo
        ]
        for org_unit in range(org_units)
    ]


def cut(
    org_units: Sequence[Sequence[DataValue]],
    *,
    maximum_values: int,
    values_per_cell: int = 1,
) -> Iterator[list[DataValue]]:
    """Cut values into payloads strip by strip, as compute does."""
    strip = Strip(maximum_values=maximum_values, values_per_cell=values_per_cell)
    for values in org_units:
        strip.add(values)
        if strip.is_full:
            yield from strip.cut(is_last=False)
    yield from strip.cut(is_last=True)


def shape(payload: Sequence[DataValue]) -> tuple[int, int]:
    return len({value.org_unit for value in payload}), len({value.data_element for value in payload})


@st.composite
def sparse_matrices(draw: st.DrawFn) -> list[list[DataValue]]:
    names = draw(st.sampled_from(["", ' "quoted" \\', " ክሊኒክ", " 🏥", "x" * 300]))
    cells = draw(
        st.lists(
            st.tuples(
                st.integers(0, 12),
                st.integers(0, 12),
                st.sampled_from(list(Scheme)),
                st.none() | st.integers(0, 3),
            ),
            unique_by=lambda cell: (cell[0], cell[1], cell[3]),
            max_size=80,
        )
    )
    org_units: dict[int, list[DataValue]] = {}
    for org_unit, data_element, scheme, combo in cells:
        org_units.setdefault(org_unit, []).append(value(org_unit, data_element, scheme, combo, names))
    return list(org_units.values())


def made(values: Sequence[DataValue], run_id: str = "run", operation: Operation = Operation.IMPORT) -> Batch:
    destination = parse_settings(SETTINGS).destination
    return encode(values, run_id=run_id, as_of=AS_OF, destination=destination, operation=operation)


@given(
    values=sparse_matrices(),
    limit=st.integers(1, 30),
    per_cell=st.integers(1, 5),
    room=st.integers(600, 9000),
)
def test_exact_partition(values: list[list[DataValue]], limit: int, per_cell: int, room: int) -> None:
    batches = [
        batch
        for payload in cut(values, maximum_values=limit, values_per_cell=per_cell)
        for batch in small_enough(payload, made, room)
    ]
    everything = [value for org_unit in values for value in org_unit]
    assert sorted((v for batch in batches for v in batch.values), key=repr) == sorted(everything, key=repr)
    assert all(1 <= len(batch.values) <= limit for batch in batches)
    assert all(len({value.column.option_combo_scheme for value in batch.values}) == 1 for batch in batches)
    assert all(len(batch.body) <= room or len(batch.values) == 1 for batch in batches)


@given(values=sparse_matrices(), limit=st.integers(1, 30))
def test_deterministic(values: list[list[DataValue]], limit: int) -> None:
    def batches() -> list[str]:
        return [made(payload).body for payload in cut(values, maximum_values=limit)]

    assert batches() == batches()


@given(values=sparse_matrices())
def test_message_round_trip(values: list[list[DataValue]]) -> None:
    for payload in cut(values, maximum_values=1000):
        batch = decode(made(payload).body)
        assert list(batch.values) == payload


def test_square_blocks() -> None:
    payloads = list(cut(matrix(62, 64), maximum_values=1000))
    assert [shape(payload) for payload in payloads] == [(31, 33), (39, 33), (62, 17), (62, 16)]


def test_full_payloads() -> None:
    assert [len(payload) for payload in cut(matrix(50, 200), maximum_values=1000)] == [1000] * 10


def test_few_items() -> None:
    assert [len(payload) for payload in cut(matrix(400, 5), maximum_values=1000)] == [1000] * 2


def test_option_combos_count() -> None:
    payloads = list(cut(matrix(18, 18, combos=12), maximum_values=1000, values_per_cell=12))
    assert {shape(payload) for payload in payloads} == {(9, 10), (12, 10), (18, 5)}


def test_one_value_each() -> None:
    assert [len(payload) for payload in cut(matrix(2, 3), maximum_values=1)] == [1] * 6


def test_identity() -> None:
    values = [value(1, 1), value(1, 2)]
    assert made(values).batch_id.startswith("run-")
    ids = [made(values).batch_id, made(values, "other").batch_id, made(values[:1]).batch_id]
    assert len(set(ids)) == 3


def test_delete_has_own_identity() -> None:
    values = [value(1, 1), value(1, 2)]
    stored, deleted = made(values), made(values, operation=Operation.DELETE)
    assert deleted.batch_id != stored.batch_id
    assert decode(deleted.body) == deleted
    assert decode(stored.body).operation is Operation.IMPORT


def test_queue_limit() -> None:
    long = [[each._replace(value="1" * 60) for each in row] for row in matrix(100, 200)]
    (payload,) = cut(long, maximum_values=20_000)
    assert len(made(payload).body) > MAXIMUM_MESSAGE_BYTES
    batches = list(small_enough(payload, made))
    assert max(len(batch.body) for batch in batches) <= MAXIMUM_MESSAGE_BYTES
    assert [each for batch in batches for each in batch.values] == payload


def test_names_stand_once() -> None:
    (payload,) = cut(matrix(31, 32), maximum_values=1000)
    assert len(made(payload).body) / len(payload) < 20


@pytest.mark.parametrize("body", ["", "hello", "{}", '{"version": 1}', "[]"])
def test_foreign_message_refused(body: str) -> None:
    with pytest.raises(BatchError, match="invoke compute"):
        decode(body)


@pytest.mark.parametrize("index", ["1", "-1"])
def test_missing_names_refused(index: str) -> None:
    body = made([value(1, 1)]).body
    with pytest.raises(BatchError):
        decode(body.replace("[0]", f"[{index}]"))


def test_customer_document() -> None:
    customer = Origin("OU0002", "Store 1", Kind.CUSTOMER)
    supplied = value(2, 2)._replace(origin=customer)
    reported = value(2, 1)._replace(origin=customer._replace(document="requisition 14; requisition 15"))
    values = [value(1, 1), reported, supplied]
    assert list(decode(made(values).body).values) == values
    assert [each["kind"] for each in map(DataValue.by_name, values)] == ["store", "customer", "customer"]
    assert [each["document"] for each in map(DataValue.by_name, values)] == [
        None,
        reported.origin.document,
        None,
    ]
