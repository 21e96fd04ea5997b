"""docs/performance.md says what the files of results say."""

import re

import pytest

from benchmarks.__main__ import OF_A_NATION, QUICK
from benchmarks.results import FOLDER, PAGE, Result, ResultTable, page_with_results, tables_of

PRINTED = """
| database | step | ratio |
|---|---|---:|
| sqlite | fetch | 1.00 |
| sqlite | whole job |  |

Words.

| a run | number |
|---|---:|
| stores | 10 |
"""


def test_page_equals_results() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("<!-- benchmarks/results/") >= 2
    assert page_with_results(page) == page


def test_changed_result_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Result("command", "another machine", 1, [ResultTable(["a", "b"], [False, True], [["x", "7"]])])
    monkeypatch.setattr(Result, "load", lambda _: other)
    page = "<!-- benchmarks/results/compute.json: table 1 -->\n| old | table |\n|---|---|\n\nWords.\n"
    assert page_with_results(page) == (
        "<!-- benchmarks/results/compute.json: table 1 -->\n| a | b |\n|---|---:|\n| x | 7 |\n\nWords.\n"
    )


def test_unmeasured_part_stays() -> None:
    page = "<!-- benchmarks/results/other.json: table 1 -->\n| old | table |\n|---|---|\n\nWords.\n"
    assert page_with_results(page) == page


@pytest.mark.parametrize("name", sorted(re.findall(r"results/(\w+)\.json", PAGE.read_text(encoding="utf-8"))))
def test_parts_are_of_a_benchmark(name: str) -> None:
    assert name in QUICK | OF_A_NATION


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.json")))
def test_results_are_of_a_benchmark(name: str) -> None:
    result = Result.load(name)
    assert name in QUICK | OF_A_NATION
    assert result.command.startswith("uv run python benchmarks/")
    assert all(len(row) == len(table.columns) for table in result.tables for row in table.rows)


def test_tables_are_read() -> None:
    tables = tables_of(PRINTED)
    assert [table.rows for table in tables] == [
        [["sqlite", "fetch", "1.00"], ["sqlite", "whole job", ""]],
        [["stores", "10"]],
    ]
    assert "\n\n".join(table.markdown() for table in tables) == PRINTED.replace("Words.\n\n", "").strip()
