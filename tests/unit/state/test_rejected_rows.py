"""The file of rejected rows as a spreadsheet opens it."""

import csv
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.dhis2.error_catalogue import explain
from msupply_dhis2.domain.outcome import OutcomeKind, Reason, RejectedRow, ValueOutcome, rejected
from msupply_dhis2.domain.stock import Kind
from msupply_dhis2.push.outcome import BatchResult
from msupply_dhis2.state.rejected_rows import COLUMNS, cells_of, safe
from tests.support.batches import batch_of, settings_of, value_of

WHY = Reason("E7612", "Org unit not assigned")
CURE = explain(WHY.code, WHY.text).cure


def row(*reasons: Reason, **names: Any) -> RejectedRow:  # noqa: ANN401 - handed on
    names = {"store": "Kamo", "item": "Amoxicillin 250mg tabs", **names}
    value = value_of("368c74bf", "12", org_unit="KAMO", **names)
    return RejectedRow(value, "rejected", reasons or (WHY,))


def written(*rows: RejectedRow) -> list[list[str]]:
    text = StringIO(newline="")
    csv.writer(text).writerows([COLUMNS, *(cells_of(each, "daily-1") for each in rows)])
    return list(csv.reader(StringIO(text.getvalue(), newline="")))


def test_columns_of_a_row() -> None:
    header, cells = written(row())
    assert dict(zip(header, cells, strict=True)) == {
        "run": "daily-1",
        "outcome": "rejected",
        "store": "Kamo",
        "item": "Amoxicillin 250mg tabs",
        "metric": "stock on hand",
        "data element": "368c74bf",
        "org unit": "KAMO",
        "period": "202601",
        "category option combo": "",
        "attribute option combo": "",
        "value": "12",
        "code": "E7612",
        "reason": "Org unit not assigned",
        "what to do": CURE,
        "kind": "store",
        "document": "",
    }


def test_two_reasons() -> None:
    second = Reason("E7641", "Period too late")
    header, cells = written(row(WHY, second))
    named = dict(zip(header, cells, strict=True))
    assert named["code"] == "E7612; E7641"
    assert named["reason"] == "Org unit not assigned; Period too late"
    assert named["what to do"] == f"{CURE}; {explain(second.code, second.text).cure}"


@pytest.mark.parametrize("number", ["-5", "0", "12", "3.25", "-0.5", "0012"])
def test_numbers_stay_numbers(number: str) -> None:
    assert safe(number) == number


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "+cmd",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        " =1",
        "＝1",  # noqa: RUF001 - Excel takes it for the narrow one
        '=HYPERLINK("http://x")',
        "-5%",
        "1\n=2",
        "\u200b=1",
        "\ufeff=1",
        "\u200d=1",
        "\u0000-1+1",
    ],
)
def test_no_formula(cell: str) -> None:
    shown = safe(cell)
    assert shown.startswith("'") or shown == "1 =2"


def test_no_formula_after_semicolon() -> None:
    assert safe("Kamo;=1+1; @x;y; z") == "Kamo;'=1+1;' @x;y; z"


def test_joining_letters_kept() -> None:
    name = "ශ්\u200dරී"  # a Sinhala word
    assert safe(name) == name


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=40), min_size=2, max_size=2))
def test_any_name(names: list[str]) -> None:
    store, item = names
    lines = written(row(store=store, item=item), row())
    assert len(lines) == 3
    cells = dict(zip(lines[0], lines[1], strict=True))
    for cell, name in ((cells["store"], store), (cells["item"], item)):
        assert not cell.startswith(("=", "+", "@", "\t", "\r", "\n"))
        assert name.isprintable() is False or cell.replace("'", "") == name.replace("'", "")


def test_customer_columns() -> None:
    _, cells = written(row(WHY, WHY, kind=Kind.CUSTOMER, document="requisition 14"))
    assert cells[-2:] == ["customer", "requisition 14"]


def test_rows_not_in_dhis2() -> None:
    values = [value_of(f"de{place}", str(place)) for place in range(4)]
    result = BatchResult(
        batch_of(values, settings_of()),
        outcomes={
            3: ValueOutcome(OutcomeKind.UNACCOUNTED, (Reason("vanished", "gone"),)),
            0: ValueOutcome(OutcomeKind.STORED),
            1: rejected(Reason("E7612", "no"), Reason("E7641", "late")),
        },
    )
    rows = result.rejected_rows
    assert [(each.value.data_element, each.outcome) for each in rows] == [
        ("de1", "rejected"),
        ("de3", "unaccounted"),
    ]
    assert [why.code for why in rows[0].reasons] == ["E7612", "E7641"]
