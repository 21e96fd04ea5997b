"""What the benchmarks came to, in files of ``benchmarks/results``, and the tables of docs/performance.md made from them.

    uv run python -m benchmarks.results     # writes the tables into the page anew

In the page a comment that names a file, and what of it, stands above each part that is made from it. A part whose file is not there yet stays.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"

_PART = re.compile(
    r"^(<!-- benchmarks/results/(\w+)\.json: (?:machine|table (\d+)) -->\n)(?:.+\n)*", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class ResultTable:
    """A table that a benchmark printed; in the columns that are ``numbers`` they stand on the right."""

    columns: list[str]
    numbers: list[bool]
    rows: list[list[str]]

    def markdown(self) -> str:
        """Write it as the benchmark did."""
        rule = "".join("---:|" if is_number else "---|" for is_number in self.numbers)
        return "\n".join([_row(self.columns), f"|{rule}", *map(_row, self.rows)])


@dataclass(frozen=True, slots=True)
class Result:
    """What a benchmark came to: how it was called, on what machine and when, how long it took, what it printed."""

    command: str
    machine: str
    seconds: int
    tables: list[ResultTable]

    def save(self, name: str) -> None:
        """Write the file of this name."""
        FOLDER.mkdir(exist_ok=True)
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        (FOLDER / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")

    @classmethod
    def load(cls, name: str) -> "Result":
        """Read the file of this name."""
        read = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        return cls(**{**read, "tables": [ResultTable(**table) for table in read["tables"]]})


def tables_of(printed: str) -> list[ResultTable]:
    """Read the tables that a benchmark printed."""
    found = re.findall(r"^(\|.+\n\|[-:|]+\n(?:\|.+(?:\n|\Z))*)", printed, re.MULTILINE)
    return [_table(text.splitlines()) for text in found]


def page_with_results(page: str) -> str:
    """Return the page with its parts as the files of results have them."""

    def part(found: re.Match[str]) -> str:
        comment, name, number = found.groups()
        if not (FOLDER / f"{name}.json").exists():
            return found[0]
        result = Result.load(name)
        content = result.tables[int(number) - 1].markdown() if number else result.machine
        return f"{comment}{content}\n"

    return _PART.sub(part, page)


def write_page() -> None:
    """Write the parts of the page anew."""
    PAGE.write_text(page_with_results(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def _table(lines: list[str]) -> ResultTable:
    columns, rule, *rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    return ResultTable(columns, [cell.endswith(":") for cell in rule], rows)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    write_page()
