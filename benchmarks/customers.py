"""How long a preview of one month takes, and how much memory, with a year of what customers that are not stores report.

    uv run python benchmarks/customers.py [--customers 4200] [--items 100] [--engine sqlite]

Each customer has a form for each of twelve months with a line for each item: by default 5 million lines.

- *stores only*: ``customers: none`` on the same database, for comparison;
- *customers*: a preview of the previous month with ``customers: requisitions``;
- *supplied*: the same with ``customer_received: supplied``, which reads the invoices of customers too.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.compute import settings  # noqa: E402 - after the path is set
from benchmarks.measure import MEBIBYTE, Measurement, Table, in_a_process, measure  # noqa: E402 - as above
from msupply_dhis2.compute.event import ComputeEvent  # noqa: E402 - as above
from msupply_dhis2.compute.job import ComputeJob  # noqa: E402 - as above
from msupply_dhis2.compute.sharding import whole_run  # noqa: E402 - as above
from msupply_dhis2.periods import Calendar  # noqa: E402 - as above
from msupply_dhis2.settings.credentials import parse_database_address  # noqa: E402 - as above
from msupply_dhis2.source import open_source  # noqa: E402 - as above
from sandbox.postgres import temporary_postgres  # noqa: E402 - as above
from sandbox.sample import generate  # noqa: E402 - as above

LAST_DAY = date(2026, 10, 31)
AS_OF = datetime(2026, 11, 1, 1, tzinfo=UTC)
CALENDAR = Calendar(ZoneInfo("UTC"))
EVENT = ComputeEvent.model_validate({"manual": True, "basis": "previous_month", "dry_run": True})
STEPS = {
    "stores only": {"customers": "none"},
    "customers": {"customers": "requisitions"},
    "supplied": {"customers": "requisitions", "customer_received": "supplied"},
}


def preview(url: str, changes: dict[str, str]) -> Measurement:
    """Measure compute as a preview runs it."""

    def work() -> str:
        result = ComputeJob(
            settings=settings(**changes),
            calendar=CALENDAR,
            open_database=lambda: open_source(parse_database_address(url), calendar=CALENDAR),
        ).run(whole_run(EVENT, AS_OF))
        return f"{result.values:,} values of {result.stores:,} stores and {result.customers:,} customers"

    return measure(work)


@contextmanager
def empty(engine: str) -> Iterator[str]:
    """Yield the address of an empty database, for as long as the block lasts."""
    with ExitStack() as stack:
        if engine == "sqlite":
            yield f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory())}/sample.sqlite"
        else:
            yield stack.enter_context(temporary_postgres()).new_database("sample")


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description="A month of what customers report, out of a year of it.")
    parser.add_argument("--customers", type=int, default=4200)
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--stores", type=int, default=20)
    parser.add_argument("--engine", choices=("sqlite", "postgresql"), action="append", help="default: both")
    arguments = parser.parse_args()

    table = Table("database", "step", "seconds:", "own seconds:", "peak MiB:", "what")
    for engine in arguments.engine or ("sqlite", "postgresql"):
        with empty(engine) as url:
            summary = generate(
                url,
                stores=arguments.stores,
                items=arguments.items,
                customers=arguments.customers,
                as_of=LAST_DAY,
                edge_cases=False,
            )
            sizes = (
                f"{engine}: {summary.customers:,} customers, {summary.items:,} items, {summary.report_lines:,} lines of "
                f"reports; {summary.stores:,} stores, {summary.movements:,} movements"
            )
            print(sizes, file=sys.stderr)
            for step, changes in STEPS.items():
                run = in_a_process(preview, url, changes)
                table.row(
                    engine,
                    step,
                    f"{run.seconds:.1f}",
                    f"{run.own_seconds:.1f}",
                    f"{run.peak_memory / MEBIBYTE:.0f}",
                    run.done,
                )


if __name__ == "__main__":
    main()
