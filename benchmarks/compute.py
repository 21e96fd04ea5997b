"""How long compute takes, as a ratio to merely fetching the rows that it reads.

    uv run python benchmarks/compute.py [--stores 200] [--items 500] [--movements 1000000]
    uv run python benchmarks/compute.py --database postgresql://user:password@127.0.0.1/sample?sslmode=disable

The second form measures a database that is there, made by ``python -m sandbox.sample`` as of 2026-10-31.

Each measurement runs in a process of its own, of which the peak memory is taken:

- *fetch*: the very statements that the reader sends, through the same driver, the rows thrown away;
- *metrics*: the source's histories and from them all twelve metrics of the previous month;
- *whole job*: compute as it runs, with the mapping and the batches, which are thrown away too.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measure import (  # noqa: E402 - after the path is set
    MEBIBYTE,
    Measurement,
    Table,
    best,
    in_a_process,
    measure,
)
from msupply_dhis2.compute.event import ComputeEvent, rows_asked_for  # noqa: E402 - as above
from msupply_dhis2.compute.job import ComputeJob  # noqa: E402 - as above
from msupply_dhis2.compute.plan import make_run_plan, read_mapped  # noqa: E402 - as above
from msupply_dhis2.compute.sharding import whole_run  # noqa: E402 - as above
from msupply_dhis2.domain.metric import Metric  # noqa: E402 - as above
from msupply_dhis2.mapping import Mapper  # noqa: E402 - as above
from msupply_dhis2.metrics.calculate import calculate, floor  # noqa: E402 - as above
from msupply_dhis2.periods import Basis, Calendar  # noqa: E402 - as above
from msupply_dhis2.settings import Settings, parse_settings  # noqa: E402 - as above
from msupply_dhis2.settings.credentials import parse_database_address  # noqa: E402 - as above
from msupply_dhis2.source import open_source  # noqa: E402 - as above
from msupply_dhis2.source.base import Source  # noqa: E402 - as above
from msupply_dhis2.source.connection import open_database  # noqa: E402 - as above

if TYPE_CHECKING:
    from sandbox.sample import SampleSummary

LAST_DAY = date(2026, 10, 31)
AS_OF = datetime(2026, 11, 1, 1, tzinfo=UTC)
CALENDAR = Calendar(ZoneInfo("UTC"))
EVENT = ComputeEvent.model_validate({"manual": True, "basis": "previous_month"})
ROWS_AT_A_TIME = 5_000


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as the reader sent it, with its parameters in the driver's own form."""

    text: str
    parameters: Any
    is_streamed: bool


def settings(**changes: str) -> Settings:
    """Return settings with all twelve metrics, of the previous month, and whatever is to be different."""
    rows = [
        {
            "metric": metric.value,
            "active": True,
            "interval": "monthly",
            "basis": "previous_month",
            "category_option_id": metric.value.upper(),
            "category_option_combo_id_scheme": "code",
        }
        for metric in Metric
    ]
    document = {
        "use_dhis2": True,
        "basic_authentication": True,
        "url": "https://dhis2.example.org",
        "setup": "category_option_combo",
        "data_elements": rows,
        "data_set_id": "STOCK",
        "data_set_id_scheme": "code",
        "period_format": "YYYYMM",
        "item_field_reference": "universal_code",
        "data_element_id_scheme": "code",
        "org_unit_scheme": "code",
        **changes,
    }
    return parse_settings(json.dumps(document))


def record(url: str) -> tuple[Statement, ...]:
    """Compute the metrics once, and note the statements on the way."""
    statements: list[Statement] = []
    with open_source(parse_database_address(url), calendar=CALENDAR) as source:

        @sa.event.listens_for(sa.Engine, "before_cursor_execute")
        def note(*arguments: Any) -> None:  # noqa: ANN401 - what the event hands over
            _, _, text, parameters, context, _ = arguments
            streamed = bool(context.execution_options.get("stream_results"))
            statements.append(Statement(text, parameters, streamed))

        _metrics(source)
    return tuple(statements)


def metrics(url: str) -> Measurement:
    """Measure the source's histories and the metrics."""

    def work() -> str:
        with open_source(parse_database_address(url), calendar=CALENDAR) as source:
            return _metrics(source)

    return measure(work)


def _metrics(source: Source) -> str:
    rows = rows_asked_for(EVENT, settings())
    mapped = read_mapped(source, settings(), [row for row, _ in rows])
    run_plan = make_run_plan(EVENT, settings(), mapped)
    stores = [store for org_unit in run_plan.scope.org_units for store in org_unit.stores]
    windows = Mapper.at(AS_OF, CALENDAR, settings(), rows).windows
    every_metric = frozenset(Metric)
    window = windows[Basis.PREVIOUS_MONTH]
    groups = values = 0
    for history in source.histories(run_plan.scope, floor(windows.values(), stores, run_plan.rules)):
        groups += 1
        values += len(calculate(history, window, run_plan.rules, every_metric).values)
    return f"{groups:,} groups, {values:,} values"


def whole_job(url: str) -> Measurement:
    """Measure compute as it runs, but for the queue."""

    def work() -> str:
        result = ComputeJob(
            settings=settings(),
            calendar=CALENDAR,
            open_database=lambda: open_source(parse_database_address(url), calendar=CALENDAR),
            send=lambda _: None,
        ).run(whole_run(EVENT, AS_OF))
        return f"{result.values:,} values in {result.batches:,} batches"

    return measure(work)


def fetch(url: str, statements: tuple[Statement, ...]) -> Measurement:
    """Measure the driver alone: send the statements and throw the rows away."""

    def work() -> str:
        rows = 0
        with open_database(parse_database_address(url)) as connection:
            if not connection.in_transaction():
                connection.begin()
            for statement in statements:
                # A streamed result of PostgreSQL comes through a cursor on the server, which has a name.
                named = statement.is_streamed and connection.dialect.name == "postgresql"
                raw: Any = connection.connection.driver_connection
                cursor = raw.cursor("fetch") if named else raw.cursor()
                cursor.execute(statement.text, statement.parameters)
                while fetched := cursor.fetchmany(ROWS_AT_A_TIME):
                    rows += len(fetched)
                cursor.close()
        return f"{rows:,} rows"

    return measure(work)


@contextmanager
def sample(engine: str, arguments: argparse.Namespace) -> Iterator[tuple[str, "SampleSummary"]]:
    """Make the database, for as long as the block lasts."""
    # Here, because each process that measures loads this file, and what makes a database is no part of its memory.
    from sandbox.postgres import temporary_postgres  # noqa: PLC0415 - as above
    from sandbox.sample import generate  # noqa: PLC0415 - as above

    with ExitStack() as stack:
        if engine == "sqlite":
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            url = f"sqlite:///{directory}/sample.sqlite"
        else:
            url = stack.enter_context(temporary_postgres()).new_database("sample")
        yield (
            url,
            generate(
                url,
                stores=arguments.stores,
                items=arguments.items,
                movements=arguments.movements,
                as_of=LAST_DAY,
                edge_cases=False,
            ),
        )


def report(table: Table, url: str, repeat: int) -> None:
    """Measure a database, and print a row for each step."""
    statements = in_a_process(record, url)
    steps = best(
        repeat,
        {
            "fetch": partial(fetch, url, statements),
            "metrics": partial(metrics, url),
            "whole job": partial(whole_job, url),
        },
    )
    for step, run in steps.items():
        table.row(
            parse_database_address(url).drivername.partition("+")[0],
            step,
            f"{run.seconds:.1f}",
            f"{run.seconds / steps['fetch'].seconds:.2f}",
            f"{run.own_seconds:.1f}",
            f"{run.peak_memory / MEBIBYTE:.0f}",
            run.done,
        )


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description="Compute, as a ratio to fetching the same rows.")
    parser.add_argument("--stores", type=int, default=200)
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--movements", type=int, default=1_000_000)
    parser.add_argument(
        "--repeat", type=int, default=3, help="the quickest of so many runs counts (default: 3)"
    )
    parser.add_argument("--engine", choices=("sqlite", "postgresql"), action="append", help="default: both")
    parser.add_argument("--database", action="append", default=[], help="measure this one; may be repeated")
    arguments = parser.parse_args()

    table = Table("database", "step", "seconds:", "ratio:", "own seconds:", "peak MiB:", "what")
    for url in arguments.database:
        report(table, url, arguments.repeat)
    for engine in arguments.engine or (() if arguments.database else ("sqlite", "postgresql")):
        with sample(engine, arguments) as (url, summary):
            report(table, url, arguments.repeat)
        sizes = (
            f"{engine}: {summary.stores:,} stores, {summary.items:,} items, {summary.stock_lines:,} stock lines, "
            f"{summary.movements:,} movements"
        )
        print(sizes, file=sys.stderr)


if __name__ == "__main__":
    main()
