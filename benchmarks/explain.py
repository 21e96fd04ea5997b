"""How long it takes to explain a value: the database opened, read and closed, as the command does it.

    uv run python benchmarks/explain.py [--stores 200] [--items 500] [--movements 1000000] [--engine postgresql]

In PostgreSQL the sample has the indexes that Open mSupply makes; SQLite databases of Open mSupply have lost that of the lines of
invoices, so there the whole table is read.
"""

import argparse
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.compute import settings  # noqa: E402 - after the path is set
from benchmarks.customers import empty  # noqa: E402 - as above
from benchmarks.measure import Table  # noqa: E402 - as above
from msupply_dhis2.domain.metric import Metric  # noqa: E402 - as above
from msupply_dhis2.explain.job import Question, explain  # noqa: E402 - as above
from msupply_dhis2.periods import Calendar  # noqa: E402 - as above
from msupply_dhis2.settings.credentials import parse_database_address  # noqa: E402 - as above
from msupply_dhis2.source import open_source  # noqa: E402 - as above
from sandbox.sample import generate  # noqa: E402 - as above

CALENDAR = Calendar(ZoneInfo("UTC"))
NOW = datetime(2026, 11, 3, tzinfo=UTC)
METRICS = (Metric.STOCK_ON_HAND, Metric.AVERAGE_MONTHLY_CONSUMPTION, Metric.DAYS_OUT_OF_STOCK)
PAIRS = 5


def seconds(url: str, metric: Metric) -> list[float]:
    """Explain the metric of some stores and items; return the seconds of each."""
    address = parse_database_address(url)
    with open_source(address, calendar=CALENDAR) as source:
        catalogue = source.catalogue(
            store_field="Dhis2Code", item_fields=["universal_code"], include_field=None
        )
    took = []
    for number in range(PAIRS):
        store = catalogue.stores[number * len(catalogue.stores) // PAIRS]
        item = catalogue.items[number * len(catalogue.items) // PAIRS]
        question = Question(store=store.code, item=item.code, metric=metric, period="202610")
        start = time.perf_counter()
        with open_source(address, calendar=CALENDAR) as source:
            explain(question, settings=settings(), calendar=CALENDAR, source=source, now=NOW)
        took.append(time.perf_counter() - start)
    return took


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description="The seconds in which a value is explained.")
    parser.add_argument("--stores", type=int, default=200)
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--movements", type=int, default=1_000_000)
    parser.add_argument("--engine", choices=("sqlite", "postgresql"), action="append", help="default: both")
    arguments = parser.parse_args()

    table = Table("database", "metric", "seconds, median:", "seconds, most:")
    for engine in arguments.engine or ("sqlite", "postgresql"):
        with empty(engine) as url:
            generate(
                url,
                stores=arguments.stores,
                items=arguments.items,
                movements=arguments.movements,
                as_of=date(2026, 10, 31),
                edge_cases=False,
            )
            for metric in METRICS:
                took = seconds(url, metric)
                table.row(engine, metric.label, f"{median(took):.2f}", f"{max(took):.2f}")


if __name__ == "__main__":
    main()
