"""A value explained on a stack: what compute answers, and what became of the value."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Aws
from tests.support.functions import invoke
from tests.support.whole_way import World, whole_way


@pytest.fixture
def world(aws: Aws, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[World]:
    with whole_way(aws, capsys, tmp_path) as world:
        yield world


def explained(world: World, **question: str) -> dict[str, Any]:
    asked = {"metric": "stock_on_hand", "period": "202610", **question}
    return dict(invoke("compute", {"explain": asked}, world.capsys).answer)


def a_pair(world: World) -> dict[str, str]:
    """Name a store and an item that has stock there, by their codes."""
    query = (
        "SELECT {} FROM stock_line s JOIN store t ON t.id = s.store_id JOIN item i ON i.id = s.item_link_id "
        "ORDER BY i.code, t.code LIMIT 1"
    )
    return {"store": world.sql_value(query.format("t.code")), "item": world.sql_value(query.format("i.code"))}


def test_stored_value(world: World) -> None:
    pair = a_pair(world)
    before = explained(world, **pair)
    assert before["way"] == [
        "DHIS2 has not acknowledged a value of it (Only changes).",
        "No run of the last 120 days was about 202610.",
    ]
    run = world.run()
    answer = explained(world, **pair)
    assert answer["value"] == before["value"]
    acknowledged, of_run = answer["way"]
    assert acknowledged == f"DHIS2 acknowledged {answer['value']} last (Only changes)."
    assert of_run.startswith(f"Run {run['run_id']} (manual, complete): ")


def test_rejected_value(world: World) -> None:
    pair = a_pair(world)
    assert world.sql("UPDATE item SET universal_code = 'nowhere' WHERE code = ?", pair["item"]) == 1
    run = world.run()
    of_run, rejected = explained(world, **pair)["way"][1:]
    assert of_run.startswith(f"Run {run['run_id']} ")
    assert rejected.startswith("In it the value ")
    assert " ended as rejected: " in rejected
    assert "nowhere" in rejected


def test_other_run_is_left_out(world: World) -> None:
    world.run(metrics=["issued"])
    world.run(as_of="2026-10-03")
    assert explained(world, **a_pair(world))["way"][-1] == "No run of the last 120 days was about 202610."


def test_bad_question(world: World) -> None:
    for question, why in (
        ({"item": "AMX", "store": "KAM"}, "explain.metric is missing"),
        ({"item": "AMX", "metric": "SOH"}, "explain: Name either a store or a customer"),
        ({"item": "AMX", "metric": "SOH", "shop": "KAM"}, "explain.shop is not a field"),
    ):
        invocation = invoke("compute", {"explain": question}, world.capsys)
        assert invocation.answer["status"] == "failed"
        assert why in invocation.answer["message"]
        assert invocation.metric("RunsFailed") == 0
