"""What comparing a run with what DHIS2 has acknowledged costs."""

from datetime import UTC, datetime
from typing import Any

import pytest

from msupply_dhis2.compute.values import OrgUnitValues, Publisher
from msupply_dhis2.domain.batch import Batch
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import OrgUnit
from msupply_dhis2.state.delta import filter as delta_filter
from msupply_dhis2.state.delta.filter import DeltaFilter, RunScope
from msupply_dhis2.state.delta.record import Record
from msupply_dhis2.state.delta.table import DeltaTable
from tests.support.batches import settings_of, value_of
from tests.support.table_in_memory import TableInMemory

NOW = datetime(2026, 11, 1, 1, tzinfo=UTC)
ORG_UNITS = frozenset({"OU_0", "OU_1"})


class Counted(DeltaTable):
    """Records that count how often each is read and written."""

    def __init__(self) -> None:
        tables: tuple[Any, Any] = (
            TableInMemory("acknowledged", "target_period", "org_unit"),
            TableInMemory("runs", "run_id", "part"),
        )
        super().__init__(*tables, NOW, "target")
        self.calls: list[str] = []

    def read(self, period: str, org_unit: str) -> Record:
        self.calls.append(f"read {org_unit}")
        return super().read(period, org_unit)

    def write(self, record: Record) -> bool:
        self.calls.append(f"write {record.org_unit}")
        return super().write(record)


def compute(records: Counted, values: list[DataValue], sent: list[Batch] | None) -> None:
    periods = frozenset(value.period for value in values)
    scope = RunScope({Metric.STOCK_ON_HAND: periods}, ORG_UNITS, ORG_UNITS, all_items=True)
    delta = DeltaFilter(records, settings_of(), scope, NOW)
    publisher = Publisher(
        run_id="run",
        as_of=NOW,
        settings=settings_of(),
        metrics=1,
        send=None if sent is None else sent.append,
        delta=delta,
    )
    for code in sorted(ORG_UNITS):
        publisher.add(OrgUnitValues(OrgUnit(code, ()), [each for each in values if each.org_unit == code]))
    publisher.flush()


def test_one_read_one_write() -> None:
    records, sent = Counted(), list[Batch]()
    values = [
        value_of(f"DE_{number}", "12", org_unit=org_unit) for number in range(3) for org_unit in ORG_UNITS
    ]
    compute(records, values, sent)
    assert sum(len(batch.values) for batch in sent) == len(values)
    assert sorted(records.calls) == ["read OU_0", "read OU_1", "write OU_0", "write OU_1"]


def test_large_record_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    records = Counted()
    values = [value_of(f"DE_{number}", "12", org_unit="OU_0") for number in range(3)]
    compute(records, values, [])
    monkeypatch.setattr(delta_filter, "MOST_HELD", 2)
    records.calls.clear()
    compute(records, [value_of("DE_0", "13", org_unit="OU_0")], [])
    assert records.calls == ["read OU_0", "read OU_1", "read OU_0", "write OU_0"]


def test_dry_run() -> None:
    records = Counted()
    compute(records, [value_of("DE_0", "12", org_unit="OU_0")], None)
    assert records.calls == ["read OU_0", "read OU_1"]
