"""Make a sample database from the command line: ``python -m sandbox.sample sqlite:///sample.sqlite``."""

import argparse
import sys
from datetime import date
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.progress import Progress

from sandbox.sample import DEFAULT_AS_OF, SampleError, SampleKind, SampleSummary, generate


def main() -> int:
    """Make the database and say on standard output what is in it."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.sample", description="Make a sample mSupply database."
    )
    parser.add_argument("url", help="where: sqlite:///sample.sqlite or postgresql://… (an empty database)")
    parser.add_argument("--stores", type=_positive, default=5, help="stores (default: 5)")
    parser.add_argument("--items", type=_positive, default=20, help="items (default: 20)")
    parser.add_argument("--movements", type=_positive, help="about how many (default: 60 a store and item)")
    parser.add_argument(
        "--customers",
        type=int,
        help="customers that are not stores and report each month (default: 2, in small samples only)",
    )
    parser.add_argument("--seed", type=int, default=1, help="another number makes other rows (default: 1)")
    parser.add_argument(
        "--as-of",
        type=date.fromisoformat,
        default=DEFAULT_AS_OF,
        help=f"the last day on which something happened (default: {DEFAULT_AS_OF})",
    )
    parser.add_argument(
        "--edge-cases",
        action=argparse.BooleanOptionalAction,
        help="add everything unusual that real databases hold (default: to small samples only)",
    )
    parser.add_argument(
        "--kind",
        type=SampleKind,
        choices=list(SampleKind),
        default=SampleKind.OPEN_MSUPPLY,
        help="whose tables: Open mSupply's, or those of the older mSupply's mirror (default: open-msupply)",
    )
    parser.add_argument(
        "--time-zone",
        type=_time_zone,
        default="UTC",
        help="in which the older mSupply keeps its dates and times (default: UTC)",
    )
    arguments = parser.parse_args()
    console = Console(stderr=True)
    try:
        summary = _generate(arguments, console)
    except SampleError as error:
        console.print(str(error), style="red", highlight=False)
        return 1
    sys.stdout.write(
        f"{summary.stores:,} stores, {summary.items:,} items, {summary.stock_lines:,} stock lines, "
        f"{summary.invoices:,} invoices, {summary.customers:,} customers that are not stores with "
        f"{summary.report_lines:,} lines of reports, {summary.movements:,} movements until {summary.as_of}\n"
    )
    return 0


def _generate(arguments: argparse.Namespace, console: Console) -> SampleSummary:
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("Stores", total=None)
        return generate(
            arguments.url,
            stores=arguments.stores,
            items=arguments.items,
            movements=arguments.movements,
            customers=arguments.customers,
            seed=arguments.seed,
            as_of=arguments.as_of,
            edge_cases=arguments.edge_cases,
            kind=arguments.kind,
            time_zone=arguments.time_zone,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _time_zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (ValueError, OSError, KeyError) as error:
        raise argparse.ArgumentTypeError(f"no time zone: {text}") from error


if __name__ == "__main__":
    sys.exit(main())
