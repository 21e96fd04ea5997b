"""Values to messages and back."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.domain.batch import (
    MAXIMUM_MESSAGE_BYTES,
    Operation,
    Strip,
    blocks,
    decode,
    encode,
)
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import Kind
from msupply_dhis2.errors import BatchError
from msupply_dhis2.settings import Scheme, Settings, parse_settings

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


@pytest.fixture(scope="module")
def settings() -> Settings:
    return parse_settings(SETTINGS)


def value(
    org_unit: int, data_element: int, scheme: Scheme = Scheme.UID, combo: int | None = None, names: str = ""
) -> DataValue:
    return DataValue(
        data_element=f"DE{data_element:04}",
        period="202601",
        org_unit=f"OU{org_unit:04}",
        category_option_combo=None,
        attribute_option_combo=None if combo is None else f"COMBO{combo}",
        option_combo_scheme=scheme,
        value="12.5",
        store=f"Store {org_unit}{names}",
        item=f"Item {data_element}{names}",
        metric=Metric.STOCK_ON_HAND,
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
    maximum_bytes: int = MAXIMUM_MESSAGE_BYTES,
    values_per_cell: int = 1,
) -> Iterator[list[DataValue]]:
    """Cut values into payloads strip by strip, as compute does."""
    strip = Strip(maximum_values=maximum_values, values_per_cell=values_per_cell)
    for values in org_units:
        strip.add(values)
        if strip.is_full:
            yield from blocks(strip.take(), maximum_values=maximum_values, maximum_bytes=maximum_bytes)
    yield from blocks(strip.take(), maximum_values=maximum_values, maximum_bytes=maximum_bytes)


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


@given(
    values=sparse_matrices(),
    limit=st.integers(1, 30),
    per_cell=st.integers(1, 5),
    room=st.integers(2000, 9000),
)
def test_exact_partition(values: list[list[DataValue]], limit: int, per_cell: int, room: int) -> None:
    settings = parse_settings(SETTINGS)
    payloads = list(cut(values, maximum_values=limit, maximum_bytes=room, values_per_cell=per_cell))
    everything = [value for org_unit in values for value in org_unit]
    assert sorted((v for p in payloads for v in p), key=repr) == sorted(everything, key=repr)
    assert all(1 <= len(payload) <= limit for payload in payloads)
    assert all(len({value.option_combo_scheme for value in payload}) == 1 for payload in payloads)
    envelope = 600
    for payload in payloads:
        message = encode(payload, run_id="run", as_of=AS_OF, destination=settings.destination).encoded()
        assert len(message) <= room + envelope or len(payload) == 1


@given(values=sparse_matrices(), limit=st.integers(1, 30))
def test_deterministic(values: list[list[DataValue]], limit: int) -> None:
    settings = parse_settings(SETTINGS)

    def batches() -> list[str]:
        payloads = cut(values, maximum_values=limit)
        return [
            encode(payload, run_id="run", as_of=AS_OF, destination=settings.destination).encoded()
            for payload in payloads
        ]

    assert batches() == batches()


@given(values=sparse_matrices())
def test_message_round_trip(values: list[list[DataValue]]) -> None:
    settings = parse_settings(SETTINGS)
    for payload in cut(values, maximum_values=1000):
        batch = decode(encode(payload, run_id="run", as_of=AS_OF, destination=settings.destination).encoded())
        assert list(batch.values()) == payload


def test_square_blocks() -> None:
    payloads = list(cut(matrix(62, 64), maximum_values=1000))
    assert {shape(payload) for payload in payloads} == {(31, 32)}
    assert len(payloads) == 4


def test_option_combos_count() -> None:
    payloads = list(cut(matrix(18, 18, combos=12), maximum_values=1000, values_per_cell=12))
    assert {shape(payload) for payload in payloads} == {(9, 9)}


def test_one_value_each() -> None:
    assert [len(payload) for payload in cut(matrix(2, 3), maximum_values=1)] == [1] * 6


def test_identity(settings: Settings) -> None:
    values = [value(1, 1), value(1, 2)]
    batch = encode(values, run_id="run", as_of=AS_OF, destination=settings.destination)
    assert batch.batch_id.startswith("run-")
    assert (
        encode(values, run_id="other", as_of=AS_OF, destination=settings.destination).batch_id
        != batch.batch_id
    )
    assert (
        encode(values[:1], run_id="run", as_of=AS_OF, destination=settings.destination).batch_id
        != batch.batch_id
    )


def test_delete_has_own_identity(settings: Settings) -> None:
    values = [value(1, 1), value(1, 2)]
    stored = encode(values, run_id="run", as_of=AS_OF, destination=settings.destination)
    deleted = encode(
        values, run_id="run", as_of=AS_OF, destination=settings.destination, operation=Operation.DELETE
    )
    assert deleted.batch_id != stored.batch_id
    assert decode(deleted.encoded()) == deleted
    assert decode(stored.encoded()).operation is Operation.IMPORT


def test_queue_limit(settings: Settings) -> None:
    payloads = list(cut(matrix(100, 200), maximum_values=20_000))
    sizes = [
        len(encode(payload, run_id="run", as_of=AS_OF, destination=settings.destination).encoded())
        for payload in payloads
    ]
    assert max(sizes) <= MAXIMUM_MESSAGE_BYTES + 600
    assert sum(map(len, payloads)) == 20_000


@pytest.mark.parametrize("body", ["", "hello", "{}", '{"version": 1}', "[]"])
def test_foreign_message_refused(body: str) -> None:
    with pytest.raises(BatchError, match="invoke compute"):
        decode(body)


def test_missing_names_refused(settings: Settings) -> None:
    batch = encode([value(1, 1)], run_id="run", as_of=AS_OF, destination=settings.destination)
    with pytest.raises(BatchError):
        decode(batch.model_copy(update={"stores": ()}).encoded())


def test_customer_document(settings: Settings) -> None:
    reported = replace(
        value(2, 1), store="Store 1", kind=Kind.CUSTOMER, document="requisition 14; requisition 15"
    )
    supplied = replace(value(2, 2), store="Store 1", kind=Kind.CUSTOMER)
    values = [value(1, 1), reported, supplied]
    batch = encode(values, run_id="run", as_of=AS_OF, destination=settings.destination)
    assert list(decode(batch.encoded()).values()) == values
    assert batch.documents == ("requisition 14; requisition 15",)
    assert [each["kind"] for each in map(DataValue.by_name, values)] == ["store", "customer", "customer"]
    assert [each["document"] for each in map(DataValue.by_name, values)] == [None, reported.document, None]


def test_documents_take_space() -> None:
    values = [replace(value(1, number), document=f"{number} {'x' * 400}") for number in range(9)]
    payloads = list(blocks([values], maximum_values=1000, maximum_bytes=2000))
    assert [len(payload) for payload in payloads] == [3, 3, 3]
