"""Every value of whole databases, of either kind, against a plain reading and a slow, day-by-day computation.

Who is who (stores, items, references) is read by the product; stock lines and ledger are read here, by plain
SQL and in full, and the metrics are those of the slow reference.
"""

import csv
from collections import defaultdict
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pytest

from msupply_dhis2.compute.event import instant_of_run, parse_compute_event
from msupply_dhis2.compute.job import ComputeJob
from msupply_dhis2.compute.sharding import whole_run
from msupply_dhis2.compute.values import OrgUnitValues
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import MovementKind
from msupply_dhis2.metrics.quantity import format_value
from msupply_dhis2.periods import Basis, Calendar
from msupply_dhis2.settings import Settings, parse_settings
from msupply_dhis2.settings.credentials import parse_database_address
from msupply_dhis2.source import open_source
from msupply_dhis2.source.base import Catalogue
from sandbox.postgres import TemporaryPostgres
from sandbox.sample import SampleKind, generate
from tests.support.mirror_database import REAL_MIRROR, load_files
from tests.support.paths import SHARED
from tests.support.plain_reading import Plain, micro, read_plainly
from tests.support.slow_reference import Entry, Line, Question, reference_values

REAL = SHARED / "real" / "open_msupply.sqlite"
AUCKLAND = ZoneInfo("Pacific/Auckland")
METRICS_OF_ANY_DAY = set(Metric) - {Metric.DAYS_OUT_OF_STOCK}
"""On the first of a month no day of it is over."""


def settings() -> Settings:
    rows = "\n".join(
        f"  - {{metric: {metric.value}, active: true, category_option_id: {metric.value.upper()}, "
        "category_option_combo_id_scheme: code, interval: monthly, basis: previous_month}"
        for metric in Metric
    )
    return parse_settings(f"""
use_dhis2: true
basic_authentication: true
url: https://dhis2.example.org
setup: category_option_combo
item_field_reference: universal_code
data_set_id: STOCK_ATTRIBUTE
data_set_id_scheme: code
data_element_id_scheme: code
org_unit_scheme: code
period_format: YYYYMM
data_elements:
{rows}
""")


def read_mirror_plainly(folder: Path, zone: ZoneInfo) -> Plain:
    """Read the files that a mirror was filled from."""

    def rows(table: str) -> list[dict[str, str]]:
        with (folder / f"{table}.csv").open(encoding="utf-8", newline="") as text:
            return list(csv.DictReader(text))

    plain = Plain(defaultdict(list), defaultdict(list))
    for row in rows("item_line"):
        expires = date.fromisoformat(row["expiry_date"]) if row["expiry_date"] > "0000-00-00" else None
        line = (row["id"], micro(float(row["quantity"]), float(row["pack_size"])), expires)
        plain.lines[row["store_id"], row["item_id"]].append(line)
    adjusting = {row["id"] for row in rows("name") if row["code"] == "invad"}
    transactions = {row["id"]: row for row in rows("transact")}
    for row in rows("trans_line"):
        transaction = transactions.get(row["transaction_id"])
        if transaction is None or transaction["status"] not in {"cn", "fn"}:
            continue
        if row["type"] not in {"stock_in", "stock_out"} or transaction["confirm_date"] <= "0000-00-00":
            continue
        units = micro(float(row["quantity"]), float(row["pack_size"])) * (
            1 if row["type"] == "stock_in" else -1
        )
        of_count = transaction["name_id"] in adjusting
        kind = {
            "si": MovementKind.INVENTORY_ADDITION if of_count else MovementKind.INBOUND_SHIPMENT,
            "sc": MovementKind.INVENTORY_REDUCTION if of_count else MovementKind.SUPPLIER_RETURN,
            "ci": MovementKind.PRESCRIPTION
            if transaction["mode"] == "dispensary"
            else MovementKind.OUTBOUND_SHIPMENT,
            "cc": MovementKind.CUSTOMER_RETURN,
            "sr": MovementKind.REPACK,
            "bu": MovementKind.INVENTORY_ADDITION if units > 0 else MovementKind.INVENTORY_REDUCTION,
        }[transaction["type"]]
        hours, minutes = divmod(int(transaction["confirm_time"]) // 60, 60)
        local = datetime.fromisoformat(f"{transaction['confirm_date']}T{hours:02d}:{minutes:02d}:00")
        instant = local.replace(tzinfo=zone, second=int(transaction["confirm_time"]) % 60).astimezone(UTC)
        plain.ledger[transaction["store_id"], row["item_id"]].append(
            (instant.replace(tzinfo=None), kind, units, row["item_line_id"] or None)
        )
    return plain


def computed(url: str, basis: Basis, as_of: str, zone: ZoneInfo) -> tuple[list[DataValue], Catalogue]:
    values: list[DataValue] = []

    def keep(computed: OrgUnitValues, _: int) -> None:
        values.extend(computed.values)

    calendar = Calendar(zone)
    event = parse_compute_event({"manual": True, "dry_run": True, "basis": basis.value, "as_of": as_of})
    address = parse_database_address(url)
    ComputeJob(
        settings=settings(),
        calendar=calendar,
        open_database=lambda: open_source(address, calendar=calendar),
        send=lambda _: pytest.fail("a dry run sends nothing"),
        watch=keep,
    ).run(whole_run(event, instant_of_run(event, datetime.now(zone), calendar)))
    with open_source(address, calendar=calendar) as source:
        catalogue = source.catalogue(
            store_field="Dhis2Code", item_fields=["universal_code"], include_field=None
        )
    return values, catalogue


def expected(
    plain: Plain, catalogue: Catalogue, question: Question, org_unit: str, reference: str
) -> dict[Metric, str]:
    stores = [store for store in catalogue.stores if store.org_unit == org_unit]
    items = [item for item in catalogue.items if item.fields["universal_code"] == reference]
    pairs = [(store, item) for store in stores for item in items]
    lines = [Line(store, item, *line) for store, item in pairs for line in plain.lines[store.id, item.id]]
    entries = [
        Entry(store, item, *entry) for store, item in pairs for entry in plain.ledger[store.id, item.id]
    ]
    values = reference_values(question, lines, entries, stores)
    return {metric: format_value(value, round_off=False) for metric, value in values.items()}


def differences(
    url: str, plain: Plain, basis: Basis, as_of: str, zone: ZoneInfo
) -> tuple[list[DataValue], list[object]]:
    values, catalogue = computed(url, basis, as_of, zone)
    question = Question(
        basis=basis,
        as_of=datetime.fromisoformat(as_of).replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None),
        zone=zone,
        period_format="YYYYMM",
        expiring_within_days=90,
        include_returns=False,
        days_in_month=catalogue.preferences.days_in_month,
        adjust=catalogue.preferences.adjust_for_days_out_of_stock,
    )
    ours: dict[tuple[str, str], dict[Metric, str]] = defaultdict(dict)
    for value in values:
        ours[value.org_unit, value.data_element][value.metric] = value.value
    wrong: list[object] = []
    for (org_unit, reference), by_metric in ours.items():
        right = expected(plain, catalogue, question, org_unit, reference)
        if by_metric != right:
            wrong.append((org_unit, reference, by_metric, right))
    return values, wrong


@pytest.mark.skipif(
    not REAL.exists(), reason="there is no ../shared/real/open_msupply.sqlite beside the project"
)
@pytest.mark.parametrize("basis", list(Basis))
@pytest.mark.parametrize(
    "as_of", ["2022-05-01T00:30", "2022-06-15T12:00", "2021-10-05T04:30", "2020-08-01", "2020-07-20T23:59"]
)
def test_real_database(basis: Basis, as_of: str) -> None:
    values, wrong = differences(f"sqlite:///{REAL}", read_plainly(REAL, AUCKLAND), basis, as_of, AUCKLAND)
    assert len(values) > 150
    assert wrong == []


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sample") / "omsupply.sqlite"
    generate(f"sqlite:///{file}", stores=4, items=6, seed=11, as_of=date(2026, 10, 31), edge_cases=True)
    return file


@pytest.mark.parametrize("basis", list(Basis))
@pytest.mark.parametrize("as_of", ["2026-10-05T04:30", "2026-10-31T22:30", "2026-04-06"])
def test_sample(sample: Path, basis: Basis, as_of: str) -> None:
    values, wrong = differences(f"sqlite:///{sample}", read_plainly(sample, AUCKLAND), basis, as_of, AUCKLAND)
    assert len(values) > 200
    assert wrong == []


# The older mSupply's mirror


@pytest.fixture(scope="module", params=["typed", "text"])
def mirror(request: pytest.FixtureRequest, postgres: TemporaryPostgres) -> str:
    url = postgres.new_database(f"dashboard_{request.param}")
    load_files(url, REAL_MIRROR, typed=request.param == "typed")
    return url


@pytest.mark.skipif(
    not REAL_MIRROR.exists(), reason="there is no ../shared/real/msupply_mirror beside the project"
)
@pytest.mark.parametrize("basis", list(Basis))
@pytest.mark.parametrize(
    "as_of", ["2020-05-01T00:30", "2020-02-29T12:00", "2020-03-01", "2020-04-15T23:59", "2019-11-04T08:00"]
)
@pytest.mark.slow
def test_real_mirror(mirror: str, basis: Basis, as_of: str) -> None:
    plain = read_mirror_plainly(REAL_MIRROR, AUCKLAND)
    values, wrong = differences(mirror, plain, basis, as_of, AUCKLAND)
    assert wrong == []
    assert {value.org_unit for value in values} >= {"OU_TAMAKI", "OU_OPUA"}
    assert {value.metric for value in values} >= METRICS_OF_ANY_DAY


def values_of(url: str, basis: Basis, as_of: str) -> dict[tuple[str, str, Metric], str]:
    values, _ = computed(url, basis, as_of, AUCKLAND)
    return {(value.org_unit, value.data_element, value.metric): value.value for value in values}


@pytest.fixture(scope="module")
def both_kinds(postgres: TemporaryPostgres) -> tuple[str, str]:
    """One history in the tables of either kind."""
    urls = postgres.new_database("omsupply"), postgres.new_database("dashboard")
    for url, kind in zip(urls, (SampleKind.OPEN_MSUPPLY, SampleKind.MIRROR), strict=True):
        generate(url, stores=5, items=20, seed=7, edge_cases=True, kind=kind, time_zone=AUCKLAND)
    # The older mSupply has no global preferences.
    with psycopg.connect(urls[0]) as connection:
        connection.execute("DELETE FROM preference")
    return urls


@pytest.mark.parametrize("basis", list(Basis))
@pytest.mark.parametrize("as_of", ["2026-11-01", "2026-10-15T11:00", "2026-04-20T06:30", "2025-10-03T23:00"])
@pytest.mark.slow
def test_both_kinds_agree(both_kinds: tuple[str, str], basis: Basis, as_of: str) -> None:
    of_open_msupply, of_mirror = (values_of(url, basis, as_of) for url in both_kinds)
    assert len(of_open_msupply) > 1_000
    assert {metric for _, _, metric in of_open_msupply} >= METRICS_OF_ANY_DAY
    assert of_mirror == of_open_msupply
