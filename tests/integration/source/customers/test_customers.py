"""Customers that are no stores, rule by rule, in Open mSupply on both databases and in the mirror of the older mSupply."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from msupply_dhis2.compute.mapped import check_database, export_mapping
from msupply_dhis2.domain.mapped import MappedNames
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import SourceError
from msupply_dhis2.preflight.counterparts import check_customers
from msupply_dhis2.source import open_source
from msupply_dhis2.source.connection import Verification
from sandbox.postgres import TemporaryPostgres, temporary_postgres
from tests.support.customer_world import JANUARY, CustomerWorld, settings_of
from tests.support.mirror_database import MirrorDatabase
from tests.support.open_msupply_database import CALENDAR, OpenMsupplyDatabase, clock_of_database

LEVELS = {"stock_on_hand", "closing_stock", "expiring", "stocked_out"}
FLOWS = {"opening_stock", "received", "issued", "adjustments", "days_out_of_stock"}


@pytest.fixture(scope="module")
def postgres() -> Iterator[TemporaryPostgres]:
    with temporary_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql", "mirror"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> CustomerWorld:
    if request.param == "sqlite":
        return CustomerWorld(OpenMsupplyDatabase(f"sqlite:///{tmp_path}/msupply.sqlite"))
    server: TemporaryPostgres = request.getfixturevalue("postgres")
    kind = MirrorDatabase if request.param == "mirror" else OpenMsupplyDatabase
    return CustomerWorld(kind(server.url))


def test_eleven_metrics(world: CustomerWorld) -> None:
    columns: dict[str, Any] = {
        "stock": 40,
        "consumption": 20,
        "initial": 50,
        "received": 30,
        "issued": 45,
        "lost": 3,
        "added": 8,
        "expiring": 6,
        "days_out": 4,
    }
    world.report(world.customer("A"), columns, number=14)
    computed = world.compute()
    assert computed.of("OU_A") == {
        "stock_on_hand": "40",
        "months_of_stock": "2",
        "adjustments": "5",
        "received": "30",
        "issued": "45",
        "expiring": "6",
        "average_monthly_consumption": "20",
        "days_out_of_stock": "4",
        "opening_stock": "50",
        "closing_stock": "40",
        "stocked_out": "0",
    }
    for value in computed.values:
        about = (value.store, value.origin.kind.value, value.origin.document, value.period)
        assert about == ("A post", "customer", "requisition 14", "202601")
    assert (computed.result.stores, computed.result.customers, computed.result.items) == (0, 1, 1)
    assert "1 customer and 1 item" in computed.result.message
    assert "contradict" not in computed.warnings


def test_off_reads_nothing(world: CustomerWorld) -> None:
    world.report(world.customer("A"), {"stock": 40})
    for table in ("requisition_line", "requisition", "period"):
        world.database.execute(f"DROP TABLE {table}")
    assert world.compute(settings_of(customers="none")).values == []


# Who


def test_who_is_a_customer(
    world: CustomerWorld,
) -> None:
    world.customer("A")
    world.customer("NONE", None)
    if world.is_mirror:
        world.customer("STORE", type="store")
        world.customer("PATIENT", type="patient")
        world.customer("SUPPLIER", customer=False)
    else:
        world.customer("STORE", type="STORE")
        world.customer("PATIENT", type="PATIENT")
        world.customer("SUPPLIER", is_customer=False)
        world.customer("GONE", deleted_datetime="2026-01-01 00:00:00")
        of_a_store = world.customer("OF A STORE", is_customer=False)
        world.database.add(
            "name_store_join",
            name_link_id=of_a_store,
            store_id=world.store,
            name_is_customer=True,
            name_is_supplier=False,
        )
        merged = world.database.add(
            "name", id="merged", name="merged", custom_data='{"Dhis2Code": "OU_MERGED"}'
        )
        world.database.add("name_link", id=merged, name_id="customer-A")
    world.database.add_store("SHUT", **{"disabled" if world.is_mirror else "is_disabled": True})
    world.report(world.customer("ALONE"), {"stock": 1})
    codes = ["A", "STORE", "PATIENT", "SUPPLIER", *([] if world.is_mirror else ["GONE", "OF A STORE"])]
    for code in codes:
        world.report(f"customer-{code}", {"stock": 1})
    if not world.is_mirror:
        # What was reported before the names were merged is the kept name's.
        world.report("merged", {"item": world.paracetamol, "stock": 7})
    computed = world.compute()
    sent = {"OU_A", "OU_STORE", "OU_ALONE"} | (set() if world.is_mirror else {"OU_OF A STORE"})
    assert {value.org_unit for value in computed.values} == sent
    if not world.is_mirror:
        assert computed.of("OU_A", "paracetamol")["stock_on_hand"] == "7"
    blank = "1, namely NONE post (NONE)" if world.is_mirror else "2, namely NONE post (NONE), SHUT clinic ()"
    assert f"Customers without a value in Dhis2Code, which are not sent: {blank}." in computed.warnings


def test_store_before_customer(world: CustomerWorld) -> None:
    world.report(world.customer("A", "OU_KAMO"), {"stock": 1})
    world.database.add_store("SHUT", **{"disabled" if world.is_mirror else "is_disabled": True})
    world.report(world.customer("B", "OU_SHUT"), {"stock": 1})
    computed = world.compute()
    assert {value.org_unit for value in computed.values} == {"OU_SHUT"}
    said = "customer A post (A): its org unit OU_KAMO is that of the store KAMO clinic, which is sent"
    assert said in computed.warnings


def test_other_org_unit_field(world: CustomerWorld) -> None:
    world.report(world.customer("A", custom_data='{"facility": {"data": " OU_X "}}'), {"stock": 1})
    computed = world.compute(settings_of(customer_field_reference="facility"))
    assert {value.org_unit for value in computed.values} == {"OU_X"}


def test_reports_add_up(world: CustomerWorld) -> None:
    code = "universalcodes_code" if world.is_mirror else "universal_code"
    world.database.execute(f"UPDATE item SET {code} = 'uc-amoxicillin'")  # noqa: S608 - a column
    world.report(
        world.customer("A", "OU_X"),
        {"stock": -10, "consumption": 5, "received": 3, "days_out": 9},
        {"item": world.paracetamol, "stock": 2, "consumption": 0, "days_out": 7},
    )
    world.report(world.customer("B", "OU_X"), {"stock": 8, "consumption": 15, "received": 4, "days_out": 31})
    values = world.compute().of("OU_X")
    assert (values["stock_on_hand"], values["stocked_out"], values["received"]) == ("0", "1", "7")
    assert (values["average_monthly_consumption"], values["months_of_stock"]) == ("20", "0")
    assert values["days_out_of_stock"] == "7"


def test_limited_run(world: CustomerWorld) -> None:
    for code in ("A", "B"):
        world.report(world.customer(code), {"stock": 1})
    computed = world.compute(stores=["b post"])
    assert {value.org_unit for value in computed.values} == {"OU_B"}


# Which documents


def test_documents_that_count(world: CustomerWorld) -> None:
    reference = "requester_reference" if world.is_mirror else "their_reference"
    counts: dict[str, dict[str, Any]] = {
        "COMMENT": {"comment": "late, sorry"},
        "IMPREST": {"kind": "imprest", "linked_requisition_id": "any"},
        "HISTORY": {"kind": "stock history"},
        "FINALISED": {"status": "wf"} if world.is_mirror else {},
    }
    others: dict[str, dict[str, Any]] = {
        "REQUEST": {"kind": "request"},
        "ORDER": {"linked_requisition_id": "an order of a store"},
        "EMERGENCY": {"is_emergency": True},
        "OPEN": {"status": "cn" if world.is_mirror else "NEW"},
        "FETCHED": {"comment": "fetched from DHIS2", "number": 14},
        "EVENT": {reference: "dhis2-event-7", "number": 15},
    }
    for code, changes in (counts | others).items():
        world.report(world.customer(code), {"stock": 40, "consumption": 3, "received": 9}, **changes)
    computed = world.compute()
    assert {value.org_unit for value in computed.values} == {f"OU_{code}" for code in counts}
    named = "2 in 2 documents, namely requisition 15 of EVENT post: 1; requisition 14 of FETCHED post: 1."
    assert f"names DHIS2, not sent back to DHIS2: {named}" in computed.warnings
    # They tell the stock only.
    for org_unit in ("OU_IMPREST", "OU_HISTORY"):
        assert computed.of(org_unit) == {"stock_on_hand": "40", "stocked_out": "0"}


def test_report_only_document(world: CustomerWorld) -> None:
    if not world.is_mirror:
        pytest.skip("Open mSupply has none of these")
    world.report(world.customer("A"), {"stock": 40, "received": 9}, kind="report", number=3)
    computed = world.compute()
    assert computed.of("OU_A")["received"] == "9"
    assert {value.origin.document for value in computed.values} == {"report 3"}


def test_untouched_line(world: CustomerWorld) -> None:
    world.report(world.customer("A"), {}, {"item": world.paracetamol, "comment": " "}, number=14)
    world.report(world.customer("B"), {"comment": "none left"})
    world.report(world.customer("C"), {"reason": "expired"})
    world.report(world.customer("D"), {"requested": 5})
    computed = world.compute()
    for org_unit in ("OU_B", "OU_C", "OU_D"):
        assert computed.of(org_unit)["stocked_out"] == "1"
    assert {value.org_unit for value in computed.values} == {"OU_B", "OU_C", "OU_D"}
    said = "nobody has filled in, not sent: 2 in 1 document, namely requisition 14 of A post: 2."
    assert said in computed.warnings


def test_lines_of_one_item(world: CustomerWorld) -> None:
    world.report(world.customer("A"), {"stock": 0.1, "issued": 5}, {"stock": 0.2, "days_out": 3}, {})
    values = world.compute().of("OU_A")
    assert (values["stock_on_hand"], values["issued"], values["days_out_of_stock"]) == ("0.3", "5", "3")


# Which period


def test_month_of_period_end(world: CustomerWorld) -> None:
    a = world.customer("A")
    world.report(a, {"stock": 1}, period=("2025-12-01", "2025-12-31"))
    world.report(a, {"stock": 2})
    world.report(a, {"stock": 3}, period=("2026-02-01", "2026-02-28"))
    for as_of, stock in (("2026-01-05", "1"), ("2026-02-05", "2"), ("2026-03-05", "3")):
        assert world.compute(as_of=as_of).of("OU_A")["stock_on_hand"] == stock
    # An older report is never carried forward.
    assert world.compute(as_of="2026-04-05").values == []


def test_quarter(world: CustomerWorld) -> None:
    a = world.customer("A")
    quarterly = settings_of(period_format="Quarterly")
    for month, (last, stock) in enumerate(((31, 5), (28, 6), (31, 7)), start=1):
        columns = {"stock": stock, "initial": 10 * month, "received": month, "issued": 1, "days_out": month}
        world.report(a, columns, period=(f"2026-{month:02}-01", f"2026-{month:02}-{last}"), number=month)
    computed = world.compute(quarterly, as_of="2026-03-05")
    values = computed.of("OU_A")
    assert (values["opening_stock"], values["received"], values["issued"]) == ("10", "3", "2")
    assert (values["days_out_of_stock"], values["stock_on_hand"]) == ("3", "6")
    documents = {value.metric.value: value.origin.document for value in computed.values}
    assert documents["received"] == "requisition 1; requisition 2"
    assert (documents["opening_stock"], documents["stock_on_hand"]) == ("requisition 1", "requisition 2")
    assert "later report" not in computed.warnings
    assert world.compute(quarterly, as_of="2026-04-05").of("OU_A")["received"] == "6"


def test_quarterly_form_in_months(world: CustomerWorld) -> None:
    columns = {"stock": 9, "initial": 2, "received": 8, "issued": 1, "days_out": 3}
    world.report(world.customer("A"), columns, period=("2025-11-01", "2026-01-31"), number=14)
    computed = world.compute()
    assert computed.of("OU_A").keys() == LEVELS
    assert "longer period than that of DHIS2" in computed.warnings
    assert "1 in 1 document, namely requisition 14 of A post: 1." in computed.warnings
    # With metrics that it does not concern nothing is withheld.
    assert "longer period" not in world.compute(metrics=["stock_on_hand"]).warnings


def test_week_across_months(world: CustomerWorld) -> None:
    a = world.customer("A")
    world.report(a, {"stock": 3, "issued": 50}, period=("2025-12-29", "2026-01-04"), number=1)
    world.report(a, {"stock": 2, "issued": 6}, period=("2026-01-05", "2026-01-11"), number=2)
    computed = world.compute()
    assert (computed.of("OU_A")["stock_on_hand"], computed.of("OU_A")["issued"]) == ("2", "6")
    assert "or one that begins before it" in computed.warnings
    assert "cannot be divided: 1 in 1 document, namely requisition 1 of A post: 1." in computed.warnings


def test_withheld_counted_once(world: CustomerWorld) -> None:
    world.report(world.customer("A"), {"stock": 3}, comment="DHIS2", number=7)
    both = settings_of({Metric.STOCK_ON_HAND: "previous_month", Metric.ISSUED: "current_day"})
    assert (
        "1 in 1 document, namely requisition 7 of A post: 1."
        in world.compute(both, basis="as_in_settings").warnings
    )


def test_last_finalised_counts(world: CustomerWorld) -> None:
    a, b = world.customer("A"), world.customer("B")
    # Finalised without a date: first of all. In the mirror the number alone decides.
    world.report(a, {"stock": 1, "issued": 1}, number=1, finalised=None)
    world.report(a, {"stock": 2, "issued": 2}, number=2, finalised="2026-02-03 00:00:00")
    world.report(a, {"stock": 3, "issued": 3}, number=3, finalised="2026-02-03T00:00:00.5")
    world.report(b, {"stock": 4}, number=2, finalised="2026-02-03 00:00:00")
    world.report(b, {"stock": 5}, number=9, finalised="2026-02-03 00:00:00")
    # A program of its own with the same item is no sum either; a line that nobody touched replaces nothing.
    world.report(b, {}, number=10, finalised="2026-02-09 00:00:00")
    computed = world.compute()
    assert (computed.of("OU_A")["stock_on_hand"], computed.of("OU_A")["issued"]) == ("3", "3")
    assert computed.of("OU_B")["stock_on_hand"] == "5"
    replaced = "requisition 1 of A post: 1; requisition 2 of A post: 1; requisition 2 of B post: 1"
    assert (
        f"Report lines that a later report replaces, not sent: 3 in 3 documents, namely {replaced}."
        in computed.warnings
    )


def test_overlapping_periods(world: CustomerWorld) -> None:
    a = world.customer("A")
    world.report(a, {"issued": 5, "stock": 1}, period=("2026-01-01", "2026-01-15"), number=1)
    world.report(a, {"issued": 7, "stock": 2}, period=("2026-01-16", "2026-01-31"), number=2)
    earlier = "2026-02-01 00:00:00"
    world.report(a, {"issued": 90, "stock": 3}, period=JANUARY, finalised=earlier, number=0)
    computed = world.compute()
    values = computed.of("OU_A")
    assert (values["issued"], values["stock_on_hand"]) == ("12", "2")
    assert "requisition 0 of A post: 1." in computed.warnings


def test_no_period(
    world: CustomerWorld,
) -> None:
    a = world.customer("A")
    columns = {"stock": 9, "received": 4, "consumption": 3, "days_out": 1}
    if world.is_mirror:
        world.report(a, columns, period=None, date_stock_take="2026-01-31", date_entered="2026-02-01")
        world.report(world.customer("B"), columns, period=None, date_entered="2026-01-31")
        world.report(world.customer("C"), columns, period=None, date_entered="2026-02-01")
    else:
        # Midnight in Auckland is 11:00 of the day before in UTC.
        world.report(
            a, columns | {"snapshot": "2026-01-31 10:59:00"}, period=None, created_datetime="2026-02-01"
        )
        world.report(world.customer("B"), columns, period=None, created_datetime="2025-12-31 11:00:00")
        world.report(world.customer("C"), columns, period=None, created_datetime="2026-01-31 11:00:00")
        stock_take = world.report(
            world.customer("D"),
            columns | {"snapshot": "2026-03-01"},
            period=None,
            created_datetime="2026-03-01",
        )
        world.database.add(
            "sync_buffer",
            record_id=stock_take,
            table_name="requisition",
            data='{"ID": "x", "date_stock_take" : "2026-01-30", "broken',
        )
        assert world.compute().of("OU_D")["stock_on_hand"] == "9"
    computed = world.compute()
    for org_unit in ("OU_A", "OU_B"):
        # The sum of what moved, without an opening stock, is what a document without a program says of its end.
        assert computed.of(org_unit) == {
            "stock_on_hand": "9",
            "closing_stock": "4",
            "expiring": "0",
            "average_monthly_consumption": "3",
            "months_of_stock": "3",
            "stocked_out": "0",
        }
    assert computed.of("OU_C") == {}


def test_levels_of_latest_day(world: CustomerWorld) -> None:
    a = world.customer("A")
    day = "date_entered" if world.is_mirror else "created_datetime"
    world.report(a, {"stock": 1}, period=None, number=9, **{day: "2026-01-12"})
    world.report(a, {"stock": 2}, period=None, number=1, finalised=None, **{day: "2026-01-13"})
    computed = world.compute()
    assert computed.of("OU_A")["stock_on_hand"] == "2"
    assert (
        "a later report replaces, not sent: 1 in 1 document, namely requisition 9 of A post: 1."
        in computed.warnings
    )


def test_unfinished_period(world: CustomerWorld) -> None:
    a = world.customer("A")
    world.report(a, {"stock": 1, "issued": 3}, period=("2026-02-01", "2026-02-07"))
    world.report(a, {"stock": 2, "issued": 4}, period=("2026-02-08", "2026-02-14"))
    for as_of, stock, issued in (("2026-02-14", "1", "3"), ("2026-02-15", "2", "7")):
        computed = world.compute(as_of=as_of, basis="current_day")
        assert (computed.of("OU_A")["stock_on_hand"], computed.of("OU_A")["issued"]) == (stock, issued)
    assert world.compute(as_of="2026-02-07T12:00", basis="current_day").values == []
    assert world.compute(as_of="2026-03-01", basis="current_day").values == []


def test_no_period_table(world: CustomerWorld) -> None:
    day: dict[str, Any] = {"date_entered" if world.is_mirror else "created_datetime": "2026-01-13"}
    world.report(world.customer("A"), {"stock": 2, "initial": 5, "issued": 1}, **day)
    world.database.execute("DROP TABLE period")
    values = world.compute().of("OU_A")
    assert values.keys() == LEVELS
    assert values["closing_stock"] == "4"


# What each metric takes


def test_closing_stock(world: CustomerWorld) -> None:
    moved = {"initial": 10, "received": 5, "added": 2, "issued": 4, "lost": 1}
    cases: dict[str, tuple[dict[str, Any], str, str]] = {
        "COUNTED": ({"stock": 7}, "7", "7"),
        "MOVED": ({"stock": 0, **moved}, "12", "12"),
        "BOTH": ({"stock": 12, **moved}, "12", "12"),
        "DIFFERENT": ({"stock": 9, "initial": 10, "received": 5}, "9", "15"),
        "NOTHING": ({"stock": 0, "initial": 4, "issued": 4}, "0", "0"),
        "LESS": ({"stock": 0, "issued": 4, "requested": 1}, "-4", "-4"),
    }
    for number, (code, (columns, _, _)) in enumerate(cases.items()):
        world.report(world.customer(code), columns, number=number)
    computed = world.compute()
    for code, (_, stock, closing) in cases.items():
        values = computed.of(f"OU_{code}")
        assert (values["stock_on_hand"], values["closing_stock"]) == (stock, closing), code
        assert values["stocked_out"] == ("1" if stock in {"0", "-4"} else "0")
    assert (
        "sent as they are: 1 in 1 document, namely requisition 3 of DIFFERENT post: 1." in computed.warnings
    )


def test_unknown_consumption(world: CustomerWorld) -> None:
    world.report(world.customer("A"), {"stock": 5, "consumption": 0})
    values = world.compute().of("OU_A")
    assert values.keys() == LEVELS | FLOWS
    assert "expired" not in values


def test_too_many_days_out(world: CustomerWorld) -> None:
    world.report(world.customer("A"), {"stock": 5, "days_out": 31})
    world.report(world.customer("B"), {"stock": 5, "days_out": 32}, number=14)
    computed = world.compute()
    assert computed.of("OU_A")["days_out_of_stock"] == "31"
    assert computed.of("OU_B").keys() == (LEVELS | FLOWS) - {"days_out_of_stock"}
    assert (
        "days out of stock are not sent: 1 in 1 document, namely requisition 14 of B post: 1."
        in computed.warnings
    )


def test_mirror_columns(world: CustomerWorld) -> None:
    if not world.is_mirror:
        pytest.skip("Open mSupply has one for each")
    world.report(world.customer("A"), {"stock": 5, "adjusted": -3, "other_days_out": 6})
    world.report(
        world.customer("B"), {"stock": 5, "adjusted": -3, "added": 2, "days_out": 4, "other_days_out": 6}
    )
    computed = world.compute()
    values = computed.of("OU_A")
    assert (values["adjustments"], values["days_out_of_stock"], values["closing_stock"]) == ("-3", "6", "-3")
    values = computed.of("OU_B")
    assert (values["adjustments"], values["days_out_of_stock"]) == ("2", "4")
    assert "contradict each other" in computed.warnings
    # Without a program the column of the opening stock holds the current stock.
    world.report(world.customer("C"), {"stock": 5, "initial": 5, "received": 2}, programid="")
    values = world.compute().of("OU_C")
    assert "opening_stock" not in values
    assert (values["closing_stock"], values["stock_on_hand"]) == ("2", "5")


def test_fewer_mirror_columns(world: CustomerWorld) -> None:
    if not world.is_mirror:
        pytest.skip("Open mSupply has them all")
    world.report(world.customer("A"), {"stock": 5, "days_out": 4})
    for column in ("dosforamcadjustment", "stockexpiring", "comment", "optionid"):
        world.database.execute(f"ALTER TABLE requisition_line DROP COLUMN {column}")
    world.database.execute("ALTER TABLE requisition DROP COLUMN serial_number")
    values = world.compute().of("OU_A")
    assert (values["stock_on_hand"], values["days_out_of_stock"], values["expiring"]) == ("5", "4", "0")


# What stores have issued to them


def test_received_as_issued(world: CustomerWorld) -> None:
    supplied = settings_of(customer_received="supplied")
    a = world.customer("A")
    world.report(a, {"stock": 5, "received": 99}, {"item": world.paracetamol, "stock": 1, "received": 99})
    other = world.database.add_store("OPUA", {})
    never_reports = world.customer("B")
    # Eleven o'clock in UTC is midnight in Auckland: the first is December's, the last February's.
    moves = [
        (a, world.store, "out", -1000, ("2025-12-31", 10)),
        (a, world.store, "out", -50, ("2025-12-31", 11)),
        (a, other, "out", -20, ("2026-01-15", 0)),
        (a, world.store, "return", 8, ("2026-01-16", 0)),
        (a, world.store, "prescription", -300, ("2026-01-17", 0)),
        (a, world.store, "out", -4000, ("2026-01-31", 11)),
        (never_reports, world.store, "return", 2.5, ("2026-01-20", 0)),
    ]
    for customer, store, kind, packs, (day, hour) in moves:
        world.move(customer, store, kind, packs, day, hour)
    computed = world.compute(supplied)
    assert computed.of("OU_A")["received"] == "62"
    assert computed.of("OU_A", "paracetamol")["received"] == "0"
    assert computed.of("OU_B") == {"received": "-2.5"}
    assert {value.origin.document for value in computed.values if value.metric.value == "received"} == {""}
    assert computed.of("OU_A")["stock_on_hand"] == "5"


def test_cancelled_issue(world: CustomerWorld) -> None:
    a = world.customer("A")
    world.cancelled_issue(a, "2026-01-31", 40)
    assert world.compute(settings_of(customer_received="supplied")).of("OU_A") == {"received": "0"}


# What cannot be read, or is not there


def test_unreadable_quantity(world: CustomerWorld) -> None:
    world.report(world.customer("A"), {"stock": 1e13}, {"item": world.paracetamol, "stock": 4})
    world.move(world.customer("B"), world.store, "out", -1e13, "2026-01-15", 0)
    computed = world.compute(settings_of(customer_received="supplied"))
    assert computed.of("OU_A") == {}
    assert computed.of("OU_A", "paracetamol")["stock_on_hand"] == "4"
    assert computed.of("OU_B") == {}
    assert computed.result.unreadable_groups == 3
    assert "amoxicillin tabs (item amoxicillin) in A post (customer A): not sent" in computed.warnings
    assert "requisition_line requisition_line-" in computed.warnings


def test_no_requisitions(world: CustomerWorld) -> None:
    world.customer("A")
    world.database.execute("DROP TABLE requisition_line")
    with pytest.raises(SourceError, match=r"has no requisition_line .* or set customers: none"):
        world.compute()


def test_missing_right(world: CustomerWorld) -> None:
    if world.kind == "sqlite":
        pytest.skip("SQLite knows no rights")
    world.customer("A")
    world.database.execute("DROP ROLE IF EXISTS reader")
    world.database.execute("CREATE ROLE reader LOGIN PASSWORD 'x'")
    world.database.execute("GRANT USAGE ON SCHEMA public TO reader")
    world.database.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    world.database.execute("REVOKE SELECT ON requisition, period FROM reader")
    said = r'does not let this user read requisition, period\. .* GRANT SELECT ON requisition, period TO "reader"; or set'
    with pytest.raises(SourceError, match=said):
        world.compute(user="reader")
    assert world.compute(settings_of(customers="none"), user="reader").values == []


def test_duplicate_rows(world: CustomerWorld) -> None:
    if not world.is_mirror:
        pytest.skip("Open mSupply has keys")
    world.report(world.customer("A"), {"stock": 4})
    world.database.execute("ALTER TABLE requisition_line DROP CONSTRAINT requisition_line_pkey")
    world.database.execute("INSERT INTO requisition_line SELECT * FROM requisition_line")
    with pytest.raises(SourceError, match="Rows of requisition_line are there more than once"):
        world.compute()


def test_mirror_of_text(world: CustomerWorld) -> None:
    if not isinstance(world.database, MirrorDatabase):
        pytest.skip("Open mSupply's columns have types")
    world.report(world.customer("A"), {"stock": 0.5, "consumption": 3, "received": 4}, number=14)
    world.report(world.customer("B"), {"stock": 2}, period=None, date_stock_take="2026-01-15")
    typed = world.compute()
    world.database.make_all_text()
    text = world.compute()
    assert text.values == typed.values
    world.database.execute("UPDATE period SET enddate = 'soon'")
    assert "period or date cannot be read" in world.compute().warnings


# Division, and what a customer's own custom fields are


def test_shard_lines(world: CustomerWorld) -> None:
    a, b = world.customer("A"), world.customer("B")
    world.report(a, *[{"stock": 1}] * 7)
    world.report(a, *[{"stock": 1}] * 9, period=("2025-12-01", "2025-12-31"))
    world.report(b, {"stock": 1}, {"item": world.paracetamol, "stock": 1})
    result = world.compute(lines_per_invocation=5).result
    assert result.status == "planned"
    shards = {shard.org_units or (): shard.ledger_lines for shard in result.to_follow}
    assert set(map(frozenset, shards)) == {frozenset({"OU_A"}), frozenset({"OU_B", "OU_KAMO"})}
    assert sorted(shards.values()) == [2, 7]


def test_custom_fields_of_release_3(tmp_path: Path) -> None:
    database = OpenMsupplyDatabase(f"sqlite:///{tmp_path}/msupply.sqlite")
    world = CustomerWorld(database)
    a = world.customer("A", None)
    document = world.report(a, {"stock": 4}, period=None, created_datetime="2026-03-01")
    database.upgrade_to_3()
    database.define_field("key-7", "Dhis2Code", "customer")
    database.set_custom_fields("name", a, {"key-7": "OU_NEW"})
    for day in ("2026-03-09", "2026-01-09"):
        database.log(document, {"date_stock_take": day}, table="requisition")
    database.log(document, {"custom": "of the new protocol"}, table="requisition")
    assert world.compute().of("OU_NEW")["stock_on_hand"] == "4"
    database.log(document, {"date_stock_take": "0000-00-00"}, table="requisition")
    assert world.compute().values == []


# What the connection test is told


def test_connection_test_counts(world: CustomerWorld) -> None:
    november, december = ("2025-11-01", "2025-11-30"), ("2025-12-01", "2025-12-31")
    for code, period in (
        ("A", JANUARY),
        ("B", december),
        ("C", november),
        ("D", ("2025-10-01", "2025-10-31")),
    ):
        world.report(world.customer(code), {"stock": 1}, period=period)
    world.customer("NEVER")
    world.customer("BLANK", None)
    world.customer("OF A STORE", "OU_KAMO")
    began = datetime(2026, 2, 10)  # noqa: DTZ001 - instants of a source are naive, in UTC
    with clock_of_database(began):
        answer = check_database(
            lambda: open_source(world.database.address, calendar=CALENDAR),
            settings_of(),
            Verification.NOT_NEEDED,
        )
    assert answer.mapped is not None
    reports = answer.mapped.customers
    assert reports is not None
    assert (reports.mapped, reports.blank, reports.silent) == (5, 1, 2)
    assert (reports.reporting, reports.since) == ({"202601": 1}, date(2025, 11, 1))
    assert reports.details == (
        "D post (D) has not reported.",
        "NEVER post (NEVER) has not reported.",
        "BLANK post (BLANK): it has no value in the custom field 'Dhis2Code' (Customer field reference).",
    )
    assert len(answer.mapped.stores) == 6
    lines: list[Mapping[str, object]] = []
    export_mapping(
        lambda: open_source(world.database.address, calendar=CALENDAR), settings_of(), lines.append
    )
    assert [line["kind"] for line in lines].count("customer") == 5
    assert answer.mapped.skipped_stores == 1
    check = check_customers(settings_of(), reports)
    assert check.ok
    assert check.message.startswith(
        "5 customers that are not stores have an org unit. Reports: 1 in 202601; 2 without a report for three periods, since "
        "2025-11-01. Not sent: 1 customer without a value in Dhis2Code. Check that mSupply does not fetch"
    )
    # Through JSON, as from one function to the other.
    assert MappedNames.model_validate_json(answer.mapped.model_dump_json()) == answer.mapped
