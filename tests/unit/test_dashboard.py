"""What answers the dashboard's queries on one's own machine, and that its picture is that of the present dashboard."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from local.dashboard import PICTURE
from local.dashboard.definition import DefinitionError, fingerprint, widgets_of
from local.dashboard.insights import Event, QueryError, Value, ask, sources_of
from local.dashboard.metrics import series_of, statistic, written
from local.emulator import REGION
from local.settings import STACK
from tests.support.dashboard import dashboard_body, saved_queries

MIDNIGHT = datetime(2026, 11, 5, tzinfo=UTC)


def logged(*lines: object) -> list[Event]:
    """Return lines of a log, a minute between them."""
    return [
        Event(MIDNIGHT + timedelta(minutes=minute), line if isinstance(line, str) else json.dumps(line))
        for minute, line in enumerate(lines)
    ]


LINES = logged(
    {"run": "a", "kind": "daily", "values": 3, "ended": True, "of": {"store": "Kamo", "items": ["x", "y"]}},
    "START RequestId: 8f5",
    {"run": "b", "kind": "weekly", "values": 10, "ended": False, "file": None},
    {"run": "c", "kind": "daily", "values": 9},
    {"run": "d", "values": 1},
)


def rows(query: str) -> list[tuple[Value, ...]]:
    return list(ask(query, LINES).rows)


# ----------------------------------------------------------------------------------------------------- the picture


def test_the_picture_in_the_docs_is_that_of_the_dashboard_in_the_template() -> None:
    present = fingerprint(dashboard_body(STACK, REGION))
    (shown,) = re.findall(rb"tEXtDefinition\0([0-9a-f]{64})", PICTURE.read_bytes())
    assert shown.decode() == present, "The dashboard has changed: make dashboard draws it anew."


def test_another_title_query_or_place_is_another_dashboard_and_white_space_is_not() -> None:
    body = dashboard_body()
    assert fingerprint(json.dumps(json.loads(body), indent=7)) == fingerprint(body)
    changed = [
        body.replace("How the last runs ended", "How runs ended"),
        body.replace("limit 20", "limit 30"),
        body.replace('"width": 12', '"width": 11'),
    ]
    assert len({fingerprint(each) for each in (body, *changed)}) == 4


# ------------------------------------------------------------------------------------------------------- the queries


@pytest.mark.parametrize("name", sorted(saved_queries()))
def test_every_saved_query_is_understood(name: str) -> None:
    saved = saved_queries()[name]
    assert ask(saved.query, ()).columns
    assert sources_of(saved.query) == ()


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Last successful connection", "ConnectionQuery"),
        ("When each interval was last sent", "FreshnessQuery"),
        ("How the last runs ended", "LastRunsQuery"),
        ("The most frequent reasons by store", "ReasonsByStoreQuery"),
        ("The most frequent reasons by item", "ReasonsByItemQuery"),
    ],
)
def test_a_table_of_the_dashboard_is_what_the_saved_query_gives(title: str, name: str) -> None:
    (shown,) = (widget.query for widget in widgets_of(dashboard_body()) if widget.title == title)
    assert shown is not None
    saved = saved_queries()[name]
    assert sources_of(shown) == saved.log_groups
    assert shown.endswith(f" | {saved.query}")


@pytest.mark.parametrize(
    ("condition", "runs"),
    [
        ("ispresent(kind)", "abc"),
        ("ispresent(file)", ""),
        ("not ispresent(kind) and ispresent(run)", "d"),
        ("kind = 'daily'", "ac"),
        ("kind != 'daily'", "b"),
        ("kind in ['weekly', \"monthly\"]", "b"),
        ("values > 9", "b"),
        ("values >= 9 and (kind = 'daily' or kind = 'monthly')", "c"),
        ("ended = 1", "a"),
        ("of.store like 'Kam'", "a"),
        ("of.items.1 like /^[xy]$/", "a"),
        ("@message like 'RequestId'", "-"),
    ],
)
def test_a_filter_keeps_what_holds(condition: str, runs: str) -> None:
    assert "".join(str(run or "-") for (run,) in rows(f"filter {condition} | fields run")) == runs


def test_numbers_are_sorted_as_numbers_and_what_has_none_comes_last() -> None:
    assert rows("fields run | sort values desc | limit 3") == [("b",), ("c",), ("a",)]
    assert rows("fields run | sort values asc") == [("d",), ("a",), ("c",), ("b",), (None,)]


def test_of_duplicates_the_first_in_the_order_is_kept_and_nulls_are_no_duplicates() -> None:
    assert rows("filter ispresent(run) | fields @timestamp, kind | sort @timestamp desc | dedup kind") == [
        ("2026-11-05 00:04:00.000", None),
        ("2026-11-05 00:03:00.000", "daily"),
        ("2026-11-05 00:02:00.000", "weekly"),
    ]
    assert len(rows("fields kind | dedup kind")) == 4


def test_totals_are_worked_out_for_each_group() -> None:
    answer = ask(
        "filter ispresent(kind) | stats count(*) as number, sum(values), max(values) as most by kind | sort number desc",
        LINES,
    )
    assert answer.columns == ("kind", "number", "sum(values)", "most")
    assert answer.rows == (("daily", 2, 12, 9), ("weekly", 1, 10, 10))


def test_of_a_line_cloudwatch_finds_no_more_than_two_hundred_fields() -> None:
    events = logged({f"field{number}": number for number in range(250)})
    assert ask("fields field199, field200", events).rows == ((199, None),)


@pytest.mark.parametrize(
    "query",
    [
        "fields run | parse @message '*' as word",
        "stats median(values)",
        "filter run like",
        "filter run ~ 'a'",
        "filter ispresent(run) | | limit 1",
        "sort run desc dedup",
        "fields run | dedup run | sort run",
        "limit all",
    ],
)
def test_what_is_not_known_is_refused_and_not_passed_over(query: str) -> None:
    with pytest.raises(QueryError):
        ask(query, LINES)


# ------------------------------------------------------------------------------------------------------- the metrics


def test_metrics_are_those_of_the_lines_summed_up_by_period() -> None:
    (metric, *_) = next(widget.metrics for widget in widgets_of(dashboard_body()) if widget.title == "Values")

    def line(minutes: int, name: str, *values: float) -> dict[str, object]:
        instant = int((MIDNIGHT + timedelta(minutes=minutes)).timestamp() * 1000)
        told = {"Namespace": "stack", "Dimensions": [["service"]], "Metrics": [{"Name": name}]}
        return {"_aws": {"Timestamp": instant, "CloudWatchMetrics": [told]}, "service": "push", name: values}

    data = list(
        written(
            logged(
                line(5, "ValuesStored", 3, 4),
                line(59, "ValuesStored", 1),
                line(60, "ValuesStored", 9),
                line(61, "ValuesRejected", 2),
                {**line(62, "ValuesStored", 5), "service": "compute"},
                "no metrics",
            )
        )
    )
    assert series_of(metric, data) == [(MIDNIGHT, 8), (MIDNIGHT + timedelta(hours=1), 9)]


def test_a_statistic_is_cloudwatch_s() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    known = {name: statistic(name, values) for name in ("Sum", "Maximum", "Minimum", "Average", "p50", "p95")}
    assert known == {"Sum": 10, "Maximum": 4, "Minimum": 1, "Average": 2.5, "p50": 2, "p95": 4}
    with pytest.raises(DefinitionError):
        statistic("IQM", values)


def test_a_widget_that_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(DefinitionError):
        widgets_of(dashboard_body().replace('"view": "timeSeries"', '"view": "gauge"'))
