"""Shards and months on the deployed stack: compute feeds its own queue, with the template's roles enforced."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from cli.stack import LogRecord
from msupply_dhis2.periods import Calendar
from msupply_dhis2.settings import parse_settings
from msupply_dhis2.settings.credentials import parse_database_address
from msupply_dhis2.source import open_source
from sandbox.demo import Run, prove, wait_for_all
from sandbox.sample_world import TIME_ZONE
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.e2e.conftest import World
else:
    World = Any

SHARDS = 2


def lines_of(world: World) -> int:
    """Count the lines that compute counts before it plans."""
    settings = parse_settings(world.settings)
    with open_source(
        parse_database_address(world.database.address),
        calendar=Calendar(ZoneInfo(TIME_ZONE)),
        trust=settings.database_trust,
    ) as source:
        stores = source.catalogue(
            store_field=settings.store_field_reference,
            item_fields=settings.item_fields,
            include_field=settings.include_field,
        ).stores
        return sum(source.lines(stores).values())


@contextmanager
def divided(world: World) -> Iterator[None]:
    """Yield the stack so low a limit that its stores are two shards."""
    functions = world.emulator.stack.client("lambda")
    function = {"FunctionName": world.emulator.stack.resource("ComputeFunction")}
    variables = functions.get_function_configuration(**function)["Environment"]["Variables"]
    assert "LINES_PER_INVOCATION" in variables
    low = {**variables, "LINES_PER_INVOCATION": str(lines_of(world) // SHARDS + 1)}
    functions.update_function_configuration(**function, Environment={"Variables": low})
    try:
        yield
    finally:
        functions.update_function_configuration(**function, Environment={"Variables": variables})


def worked(world: World, run_id: str) -> list[LogRecord]:
    """Return compute's lines about the shards of a run that came to their end."""
    return [
        line
        for line in world.emulator.stack.logs("ComputeFunction")
        if line.fields.get("run_id") == run_id and line.fields.get("shard") and "values" in line.fields
    ]


def test_same_values(world: World) -> None:
    # Not earlier: values about an earlier instant would not replace those of the tests before.
    event = {"manual": True, "as_of": datetime.now(ZoneInfo(TIME_ZONE)).isoformat()}
    whole = world.emulator.stack.invoke("ComputeFunction", event)
    wait_for_all(world.emulator, Run(whole["run_id"], whole["values"], whole["batches"]))
    held = dict(world.dhis2.values)
    world.set_up()
    with divided(world):
        planned = world.emulator.stack.invoke("ComputeFunction", event)
        assert (planned["status"], planned["shards"]) == ("planned", SHARDS), planned["message"]
        until(lambda: len(worked(world, planned["run_id"])) == SHARDS, "the shards were not worked")
    assert sum(line.fields["values"] for line in worked(world, planned["run_id"])) == whole["values"]
    until(lambda: len(world.dhis2.values) == len(held), "not every value arrived")
    assert dict(world.dhis2.values) == held


def test_months(world: World) -> None:
    last = datetime.now(ZoneInfo(TIME_ZONE)).replace(day=1) - timedelta(days=1)
    before = last.replace(day=1) - timedelta(days=1)
    months = [f"{before:%Y-%m}", f"{last:%Y-%m}"]
    first = world.emulator.stack.invoke(
        "ComputeFunction", {"manual": True, "basis": "previous_month", "months": "..".join(months)}
    )
    assert (first["status"], first["month"]) == ("sent", months[0]), first["message"]
    until(lambda: len(worked(world, first["run_id"])) == 1, "the second month was not worked")
    (second,) = worked(world, first["run_id"])
    assert second.fields["month"] == months[1]
    run = Run(
        first["run_id"],
        first["values"] + second.fields["values"],
        first["batches"] + second.fields["batches"],
    )
    prove(run, wait_for_all(world.emulator, run))
    assert {key.period for key in world.dhis2.values} == {month.replace("-", "") for month in months}


def test_failing_shards(world: World) -> None:
    stack = world.emulator.stack
    sqs, mapping = stack.client("sqs"), stack.client("lambda")
    queue, dead = stack.resource("ShardQueue"), stack.resource("FailedShardQueue")
    uuid = stack.resource("ComputeFunctionShard")
    with divided(world):
        allow_attempts(sqs, queue, 1)
        try:
            mapping.update_event_source_mapping(UUID=uuid, Enabled=False)
            planned = stack.invoke("ComputeFunction", {"manual": True})
            world.emulator.put_secret("DatabaseSecret", "postgresql://reader:wrong@127.0.0.1:9/omsupply")
            mapping.update_event_source_mapping(UUID=uuid, Enabled=True)
            until(lambda: stack.depth("FailedShardQueue").waiting == SHARDS, "the shards were not kept")
        finally:
            allow_attempts(sqs, queue, 9)
            world.emulator.put_secret("DatabaseSecret", world.database.address)
        failures = [
            line.message
            for line in stack.logs("ComputeFunction")
            if line.level == "ERROR" and planned["run_id"] in line.message
        ]
        assert len(failures) == SHARDS, failures
        assert all("127.0.0.1" in message for message in failures)
        # What a redrive does, which the emulator lacks.
        for message in sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=10)["Messages"]:
            sqs.send_message(QueueUrl=queue, MessageBody=message["Body"])
        until(lambda: len(worked(world, planned["run_id"])) == SHARDS, "the shards were not worked")
    lines = worked(world, planned["run_id"])
    run = Run(
        planned["run_id"],
        sum(line.fields["values"] for line in lines),
        sum(line.fields["batches"] for line in lines),
    )
    prove(run, wait_for_all(world.emulator, run))


def allow_attempts(sqs: Any, queue: str, attempts: int) -> None:  # noqa: ANN401 - boto3 knows it by its name
    """Set after how many deliveries a shard is a dead letter."""
    name = "RedrivePolicy"
    policy = json.loads(sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=[name])["Attributes"][name])
    sqs.set_queue_attributes(
        QueueUrl=queue, Attributes={name: json.dumps({**policy, "maxReceiveCount": attempts})}
    )
