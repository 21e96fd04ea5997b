"""The watchdog: it tells which run did not take place or does not end, and takes up what SQS moved to the dead letters."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from msupply_dhis2.errors import AwsError
from msupply_dhis2.state.run import Outcome
from msupply_dhis2.state.runs import Runs
from tests.conftest import Aws
from tests.support.functions import Invocation, invoke, move_to_dead_letters
from tests.support.whole_way import World, whole_way

DAILY = {"interval": "daily"}


@pytest.fixture
def world(aws: Aws, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[World]:
    with whole_way(aws, capsys, tmp_path) as it:
        it.use(only_changes=False, data_elements=daily_rows(it))
        yield it


def daily_rows(world: World) -> list[dict[str, object]]:
    """Return the rows of the settings, all of them daily and about the current day."""
    document = json.loads(world.aws.ssm.get_parameter(Name="/stack/settings")["Parameter"]["Value"])
    return [row | {"interval": "daily", "basis": "current_day"} for row in document["data_elements"]]


def look(world: World) -> Invocation:
    return invoke("watchdog", {}, world.capsys)


def has_known_for(world: World, age: timedelta) -> None:
    """Have the watchdog see the schedules for the first time so long ago."""
    look(world)
    item = world.aws.table.get_item(Key={"id": "watchdog"})["Item"]
    known = {
        name: {**entry, "since": (datetime.now(UTC) - age).isoformat()}
        for name, entry in item["intervals"].items()  # type: ignore[union-attr] # as the watchdog puts it there
    }
    world.aws.table.put_item(Item={"id": "watchdog", "intervals": known})


def run_daily(world: World, age: timedelta = timedelta()) -> str:
    scheduled = (datetime.now(UTC) - age).isoformat()
    answer = invoke(
        "compute", {"interval": "daily", "scheduled_time": scheduled}, world.capsys, scheduled
    ).answer
    assert answer["status"] == "sent"
    return str(answer["run_id"])


def started(world: World, run_id: str, age: timedelta) -> None:
    """Have a run begun so long ago."""
    world.aws.runs.update_item(
        Key={"run_id": run_id, "part": "run"},
        UpdateExpression="SET started_at = :then",
        ExpressionAttributeValues={":then": (datetime.now(UTC) - age).isoformat()},
    )


def test_all_well(world: World) -> None:
    has_known_for(world, timedelta(days=40))
    run_daily(world)
    world.deliver()
    looked = look(world)
    assert looked.answer == {"message": "Nothing to do.", "findings": []}
    assert looked.metric("WatchdogLooked") == 1
    assert looked.metric("IntervalsOverdue") == 0
    assert world.aws.told() == []


def test_missed_daily_run(world: World) -> None:
    run_daily(world, timedelta(days=3))
    world.deliver()
    has_known_for(world, timedelta(days=40))
    looked = look(world)
    (finding,) = looked.answer["findings"]
    assert finding.startswith('The "daily" run of ')
    assert "stock_on_hand" in finding
    assert "stack-daily" in finding
    assert looked.metric("IntervalsOverdue") == 1
    (told,) = world.aws.told()
    assert told.startswith('stack: 1 thing to do\n\n1. The "daily" run of ')
    # What it says to do is what fixes it.
    event = json.loads(finding.partition("make push EVENT='")[2].removesuffix("'"))
    assert invoke("compute", event, world.capsys, "made-up-for").answer["status"] == "sent"
    world.deliver()
    assert look(world).answer["findings"] == []


def test_due_before_the_stack(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(world).answer["findings"] == []
    has_known_for(world, timedelta(days=40))
    assert look(world).answer["findings"] != []
    monkeypatch.setenv("DAILY_SCHEDULE", "cron(15 3 * * ? *)")
    assert look(world).answer["findings"] == []
    has_known_for(world, timedelta(days=40))
    assert look(world).answer["findings"] != []
    # The same hour is another instant.
    monkeypatch.setenv("TIMEZONE", "Pacific/Honolulu")
    assert look(world).answer["findings"] == []


def test_switched_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    has_known_for(world, timedelta(days=40))
    with monkeypatch.context() as off:
        off.setenv("SCHEDULES_STATE", "DISABLED")
        assert look(world).answer["findings"] == []
    assert look(world).answer["findings"] == []
    has_known_for(world, timedelta(days=40))
    world.use(use_dhis2=False)
    assert look(world).answer["findings"] == []


def test_schedule_only_aws_reads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILY_SCHEDULE", "cron(0 3 15W * ? *)")
    (finding,) = look(world).answer["findings"]
    assert 'cannot check whether the "daily" runs take place: cron(0 3 15W * ? *) cannot be read' in finding


def test_faulty_settings(world: World) -> None:
    run_id = run_daily(world)
    started(world, run_id, timedelta(days=2))
    world.aws.put_settings("use_dhis2: maybe")
    unfinished, fault = look(world).answer["findings"]
    assert run_id in unfinished
    assert "Use DHIS2 is 'maybe'" in fault


def test_values_wait_for_a_day(world: World) -> None:
    run_id = run_daily(world)
    assert look(world).answer["findings"] == []
    started(world, run_id, timedelta(days=2))
    looked = look(world)
    (finding,) = looked.answer["findings"]
    assert f"The run {run_id} began on " in finding
    assert "wait to be sent" in finding
    assert looked.metric("RunsUnfinished") == 1
    world.deliver()
    assert look(world).answer["findings"] == []


def test_ends_forgotten_run(world: World) -> None:
    run_id = run_daily(world)
    world.deliver()
    started(world, run_id, timedelta(days=2))
    # Push broke off after the last value, before it said how the run ended.
    world.aws.runs.update_item(
        Key={"run_id": run_id, "part": "run"}, UpdateExpression="REMOVE ended_at, outcome, rejected_file"
    )
    looked = look(world)
    assert looked.answer["findings"] == []
    (line,) = [line for line in looked.lines if line.get("event") == "run_ended"]
    assert (line["run_id"], line["waiting"]) == (run_id, 0)
    run = Runs(world.aws.runs).run(run_id)
    assert run is not None
    assert run.outcome is Outcome.COMPLETE
    assert [line for line in look(world).lines if line.get("event") == "run_ended"] == []


def test_young_run(world: World) -> None:
    run_id = run_daily(world)
    world.deliver()
    world.aws.runs.update_item(
        Key={"run_id": run_id, "part": "run"}, UpdateExpression="REMOVE ended_at, outcome, rejected_file"
    )
    look(world)
    run = Runs(world.aws.runs).run(run_id)
    assert run is not None
    assert run.ended_at is None


def test_moved_by_sqs(world: World) -> None:
    run_id = run_daily(world)
    move_to_dead_letters(world.aws)
    started(world, run_id, timedelta(days=2))
    looked = look(world)
    run = Runs(world.aws.runs).run(run_id)
    assert run is not None
    assert (run.counts.waiting, run.counts.dead) == (0, run.counts.queued)
    assert run.outcome is Outcome.INCOMPLETE
    assert looked.answer["findings"] == []


def test_cannot_tell(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    has_known_for(world, timedelta(days=40))
    monkeypatch.setenv("ALERT_TOPIC", "arn:aws:sns:us-east-1:123456789012:gone")
    with pytest.raises(AwsError, match="telling the topic of the alarms"):
        look(world)
    assert '"WatchdogLooked"' not in world.capsys.readouterr().out
