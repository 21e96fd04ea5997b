"""Values explained from real databases: what stands in an explanation, and why there is no value."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.explanation import as_text
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import EventError
from msupply_dhis2.explain.explanation import Explanation
from msupply_dhis2.explain.job import Question, explain
from tests.support.customer_world import CustomerWorld, settings_of
from tests.support.open_msupply_database import CALENDAR, OpenMsupplyDatabase
from tests.support.paths import PROJECT

NOW = datetime(2026, 2, 9, 20, tzinfo=UTC)
"""The morning of 10 February in Auckland."""

type Ask = Callable[..., Explanation]


@pytest.fixture
def world(tmp_path: Path) -> CustomerWorld:
    return CustomerWorld(OpenMsupplyDatabase(f"sqlite:///{tmp_path}/msupply.sqlite"))


@pytest.fixture
def ask(world: CustomerWorld) -> Ask:
    def ask(**question: str) -> Explanation:
        asked = {"item": "amoxicillin", "metric": "stock_on_hand", "period": "202601", **question}
        asked = asked if "customer" in asked else {"store": "KAMO", **asked}
        with world.database.open(CALENDAR, began=NOW.replace(tzinfo=None)) as source:
            return explain(
                Question.model_validate(asked),
                settings=settings_of(),
                calendar=CALENDAR,
                source=source,
                now=NOW,
            )

    return ask


def open_msupply(world: CustomerWorld) -> OpenMsupplyDatabase:
    assert isinstance(world.database, OpenMsupplyDatabase)
    return world.database


def fill_with_worked_example(world: CustomerWorld) -> None:
    """Put the worked example of docs/metrics.md into the database; its hours are those of Auckland."""
    database, store, item = open_msupply(world), world.store, world.amoxicillin
    a = database.add_stock(store, item, 30, batch="A", expiry_date="2026-03-01")
    b = database.add_stock(store, item, 10, batch="B", expiry_date="2026-01-20")
    for number, (day, packs, line) in enumerate(
        (
            ("2025-11-30", 100, a),
            ("2025-12-19", -60, a),
            ("2026-01-04", -40, a),
            ("2026-01-14", 30, a),
            ("2026-01-19", 20, b),
            ("2026-02-02", -10, b),
        ),
        1,
    ):
        kind = "INBOUND_SHIPMENT" if packs > 0 else "OUTBOUND_SHIPMENT"
        invoice = database.add_invoice(store, kind, f"{day} 21:00:00", invoice_number=number)
        database.add_line(invoice, item, packs, stock_line_id=line)


def test_documented_example(world: CustomerWorld, ask: Ask) -> None:
    fill_with_worked_example(world)
    reference = (PROJECT / "docs" / "reference.md").read_text(encoding="utf-8")
    printed = reference.partition("<!-- explanation -->\n```\n")[2].partition("\n```\n")[0]
    assert printed == as_text(ask(metric="days_out_of_stock"))


def test_movement_columns(world: CustomerWorld, ask: Ask) -> None:
    fill_with_worked_example(world)
    movements = ask().movements
    told = [
        (each.instant.isoformat(), each.number, each.batch, each.units, each.stock_after)
        for each in movements
    ]
    assert told[0] == ("2025-12-01T10:00:00+13:00", "1", "A", "100", "100")
    assert told[-1] == ("2026-02-03T10:00:00+13:00", "6", "B", "-10", "40")


def test_sum_before_the_list(world: CustomerWorld, ask: Ask) -> None:
    fill_with_worked_example(world)
    open_msupply(world).move(world.store, world.amoxicillin, 7, "INVENTORY_ADDITION", "2024-05-05 00:00:00")
    explained = ask()
    assert explained.earlier is not None
    # The stock lines hold 40, and the ledger explains 47.
    assert (explained.earlier.units, explained.earlier.stock_after) == ("7", "0")
    assert any("stock lines differ from the sum of their movements" in each for each in explained.left_out)


def test_moved_date_note(world: CustomerWorld, ask: Ask) -> None:
    database = open_msupply(world)
    database.add_stock(world.store, world.amoxicillin, 3)
    issue = database.add_invoice(world.store, "PRESCRIPTION", "2026-01-31 10:59:55")
    cancel = database.add_invoice(
        world.store, "PRESCRIPTION", "2026-01-31 11:00:05", is_cancellation=True, linked_invoice_id=issue
    )
    later = database.add_invoice(
        world.store, "PRESCRIPTION", "2026-02-10 10:59:00", created_datetime="2026-02-09 19:00:00"
    )
    database.add_line(issue, world.amoxicillin, -2)
    database.add_line(cancel, world.amoxicillin, 2)
    database.add_line(later, world.amoxicillin, -1)
    notes = [each.note for each in ask(metric="issued").movements]
    assert notes == [
        None,
        "Its invoice says 1 February 2026, 00:00, but it cancels another, and counts when that one does.",
        "Its invoice says 10 February 2026, 23:59, later than the database was read; it counts when it was made.",
    ]


def test_latest_movements(world: CustomerWorld, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_with_worked_example(world)
    monkeypatch.setattr("msupply_dhis2.explain.job.MOST_MOVEMENTS", 2)
    explained = ask()
    assert [each.number for each in explained.movements] == ["5", "6"]
    assert explained.earlier is not None
    assert explained.earlier.stock_after == "30"


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ({"store": "nobody"}, "stores: 'nobody' is not among the stores that are sent."),
        ({"item": "aspirin"}, "items: 'aspirin' is not among the items that are sent."),
        ({"item": "paracetamol"}, "the item is on no master list of the store"),
        ({"metric": "months_of_stock"}, "the average monthly consumption is 0 or less"),
        ({"customer": "A"}, "no document of the customer about this period has the item"),
    ],
)
def test_reason_for_no_value(world: CustomerWorld, ask: Ask, question: dict[str, str], why: str) -> None:
    world.database.add_stock(world.store, world.amoxicillin, 3)
    world.customer("A")
    explained = ask(**question)
    assert explained.value is None
    assert ": there is no value" in explained.message
    assert why in explained.message


def test_unreadable_row(world: CustomerWorld, ask: Ask) -> None:
    world.database.add_stock(world.store, world.amoxicillin, 1e300, pack_size=1e300)
    explained = ask()
    assert explained.value is None
    assert "total_number_of_packs or pack_size is not a finite number" in explained.message


def test_unsent_metric(world: CustomerWorld) -> None:
    settings = settings_of({Metric.ISSUED: "previous_month"})
    with world.database.open(CALENDAR) as source:
        question = Question(store="KAMO", item="amoxicillin", metric=Metric.RECEIVED)
        explained = explain(question, settings=settings, calendar=CALENDAR, source=source, now=NOW)
    assert "no active row of 'Data elements to push' has the metric received" in explained.message


def test_ambiguous_store(world: CustomerWorld, ask: Ask) -> None:
    world.database.add_stock(world.store, world.amoxicillin, 3)
    world.customer("A", name="One name")
    world.customer("B", name="One name")
    with pytest.raises(
        EventError, match=r"'One name' could be One name \(A\) and One name \(B\)\. Write the code"
    ):
        ask(customer="One name")


@pytest.mark.parametrize("period", ["202512", "202601", "202602"])
def test_end_of_period_or_now(world: CustomerWorld, ask: Ask, period: str) -> None:
    fill_with_worked_example(world)
    explained = ask(period=period)
    assert explained.period == period
    assert explained.value == {"202512": "40", "202601": "50", "202602": "40"}[period]


def test_future_period(ask: Ask) -> None:
    with pytest.raises(EventError, match=r"is about 202603\. Its values are about 202601 and 202602"):
        ask(period="202603")


def test_customer(world: CustomerWorld, ask: Ask) -> None:
    customer = world.customer("A")
    world.report(customer, {"stock": 40, "initial": 50, "received": 30, "issued": 45, "added": 5}, number=14)
    world.report(customer, {}, number=15)
    explained = ask(customer="A", metric="received")
    assert explained.value == "30"
    assert explained.formula == "received = 30, reported in requisition 14"
    assert "Org unit OU_A (code): the customer's field Dhis2Code." in explained.mapping
    told = [(each.document, str(each.day), each.columns, each.note) for each in explained.reports]
    assert told == [
        (
            "requisition 14",
            "2026-01-31",
            {
                "stock on hand": "40",
                "opening stock": "50",
                "received": "30",
                "issued": "45",
                "additions": "5",
            },
            None,
        ),
        ("requisition 15", "2026-01-31", {}, "nobody has filled it in"),
    ]
    assert any("nobody has filled in" in each and "requisition 15" in each for each in explained.left_out)
