"""What became of each run, in DynamoDB: its counts add up, whatever is repeated or breaks off."""

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.domain.batch import Message
from msupply_dhis2.domain.log_record import LogEvent
from msupply_dhis2.errors import AwsError, DamagedRowError
from msupply_dhis2.state.message import DeadLetterReason, DeliveryState, delivery_state_of
from msupply_dhis2.state.run import (
    COMPUTED_WITHIN,
    COUNTERS,
    Counts,
    Outcome,
    Part,
    Run,
    event_of,
    last_line,
)
from msupply_dhis2.state.run import run_of as table_run
from msupply_dhis2.state.runs import MESSAGES_KEPT_FOR, Runs, message_key, read_receipts
from tests.conftest import Aws
from tests.support.laws import tried

NOW = datetime(2026, 2, 5, 1, 3, 20, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NUMBERS = count(1000)
RUN = "20260205T010000Z-monthly-1f0c2a9b"
ABOUT = Run(RUN, "monthly", NOW, '{"interval":"monthly"}')
PART = Part(values=30, already_stored=2, periods=("202601",))
REASON = DeadLetterReason("DHIS2 said no.", "Dhis2Error", NOW + 3 * MINUTE)


@pytest.fixture
def runs(aws: Aws) -> Runs:
    return Runs(aws.runs)


def message(number: int = 1, values: int = 10, attempt_id: str = "s1") -> Message:
    return Message(f"{RUN}-{number:016x}", attempt_id, values)


def settle(
    runs: Runs, of: Message, before: DeliveryState, *places: int, counter: str = "stored", minute: int = 0
) -> frozenset[int]:
    return runs.settle(
        of,
        before,
        dict.fromkeys(places, counter),
        applied=frozenset(places),
        began=NOW + minute * MINUTE,
        ended=NOW + (minute + 1) * MINUTE,
    )


def give_up(
    runs: Runs, before: DeliveryState | None = None, reason: DeadLetterReason = REASON
) -> DeliveryState:
    before = before or runs.read(message(), NOW)
    return runs.change(message(), before, lambda state: state.dead(reason))


def requeue(runs: Runs, before: DeliveryState | None = None) -> DeliveryState:
    return runs.change(message(), before or runs.read(message(), NOW), DeliveryState.requeued)


def expire(runs: Runs, before: DeliveryState) -> DeliveryState:
    return runs.change(message(), before, DeliveryState.expired)


def run_of(runs: Runs) -> Run:
    run = runs.run(RUN)
    assert run is not None
    return run


def test_totals(runs: Runs) -> None:
    runs.begin(ABOUT, ["1/1"], NOW)
    runs.parts.open(RUN, ["1/2", "2/2", "1/2/2025-12"], NOW)
    runs.parts.finish(RUN, "1/1", Part())
    runs.parts.finish(RUN, "1/2", PART)
    runs.parts.finish(RUN, "2/2", PART)
    assert run_of(runs).parts_open == 1
    runs.parts.finish(RUN, "1/2/2025-12", replace(PART, periods=("202512",)))
    run = run_of(runs)
    assert (run.started_by, run.as_of, run.started_at, run.parts_open) == ("monthly", NOW, NOW, 0)
    assert run.computed == Part(90, 6, ("202512", "202601"))


def test_counted_once(runs: Runs) -> None:
    runs.begin(ABOUT, ["1/1"], NOW)
    first, second, third = message(1), message(2, 7), message(3, 5)
    assert runs.read(first, NOW) == DeliveryState()
    runs.register([first, second], NOW)
    runs.register([second, third], NOW)
    assert runs.read(third, NOW) == DeliveryState()
    run = run_of(runs)
    assert run.counts == Counts(queued=22, waiting=22)
    assert run.batches == 3


@pytest.mark.slow
def test_many_messages(runs: Runs) -> None:
    runs.register([message(number, 3) for number in range(230)], NOW)
    runs.register([message(number, 3) for number in range(100, 250)], NOW)
    assert run_of(runs).counts == Counts(queued=750, waiting=750)


def test_requeued_batch(runs: Runs) -> None:
    settle(runs, message(), runs.read(message(), NOW), *range(10))
    assert runs.read(message(attempt_id="s2"), NOW) == DeliveryState()
    assert run_of(runs).counts == Counts(queued=20, waiting=10, stored=10)


def test_deliveries_add_up(runs: Runs) -> None:
    assert settle(runs, message(), runs.read(message(), NOW), 0, 1, 2) == {0, 1, 2}
    noted = runs.read(message(), NOW)
    assert settle(runs, message(), noted, 0, 1, 2, 3, counter="rejected", minute=5) == {3}
    assert runs.read(message(), NOW) == DeliveryState(
        frozenset({0, 1, 2, 3}),
        frozenset({0, 1, 2, 3}),
        int(NOW.timestamp()),
        int((NOW + 6 * MINUTE).timestamp()),
        version=2,
    )
    assert run_of(runs).counts == Counts(queued=10, waiting=6, stored=3, rejected=1)


def test_concurrent_deliveries(runs: Runs) -> None:
    seen_by_both = runs.read(message(), NOW)
    assert settle(runs, message(), seen_by_both, 0, 1, 2) == {0, 1, 2}
    assert settle(runs, message(), seen_by_both, 2, 3, counter="unchanged", minute=5) == {3}
    assert settle(runs, message(), seen_by_both, 0, 1, counter="unchanged", minute=9) == frozenset()
    assert run_of(runs).counts == Counts(queued=10, waiting=6, stored=3, unchanged=1)
    # Also where nothing is counted: what was sent may have arrived as late as that.
    assert runs.read(message(), NOW).ended == (NOW + 10 * MINUTE).timestamp()


def test_many_at_once(aws: Aws) -> None:
    messages = [message(number, 4) for number in range(12)]

    def work(mine: list[Message]) -> None:
        runs = Runs(boto3.session.Session().resource("dynamodb").Table("stack-runs"))
        for each in mine:
            settle(runs, each, runs.read(each, NOW), 0, 1, 2, 3)

    threads = [threading.Thread(target=work, args=(messages[start::3],)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run_of(Runs(aws.runs)).counts == Counts(queued=48, stored=48)


def test_dead_letter_counted_back(
    runs: Runs,
) -> None:
    settle(runs, message(), runs.read(message(), NOW), 0, 1, 2)
    runs.note_failure(message(), NOW)
    assert runs.note_failure(message(), NOW) == 2
    give_up(runs)
    dead = runs.read(message(), NOW)
    assert (dead.dead_letter, dead.failures) == (REASON, 2)
    assert give_up(runs, dead, replace(REASON, reason="Another.")) == dead
    assert runs.dead_letters(NOW) == ([(message(), dead)], ())
    assert runs.dead_letters(REASON.at + MINUTE) == ([], ())
    assert run_of(runs).counts == Counts(queued=10, stored=3, dead=7)

    expired = expire(runs, dead)
    assert run_of(runs).counts == Counts(queued=10, stored=3, expired=7)
    assert expire(runs, dead) == expired == runs.read(message(), NOW)
    assert give_up(runs, expired, REASON).dead_letter == REASON
    assert run_of(runs).counts == Counts(queued=10, stored=3, dead=7)

    alive = requeue(runs, dead)
    assert (alive.dead_letter, alive.failures) == (None, 0)
    assert requeue(runs, dead) == alive
    assert expire(runs, dead) == alive
    assert runs.dead_letters(NOW) == ([], ())
    assert run_of(runs).counts == Counts(queued=10, stored=3, waiting=7)
    settle(runs, message(), alive, *range(10))
    assert run_of(runs).counts == Counts(queued=10, stored=10)


def test_settled_after_given_up(
    runs: Runs,
) -> None:
    being_sent = runs.read(message(), NOW)
    give_up(runs, being_sent, REASON)
    settle(runs, message(), being_sent, *range(7))
    assert run_of(runs).counts == Counts(queued=10, stored=7, dead=3)
    alive = requeue(runs)
    assert run_of(runs).counts == Counts(queued=10, stored=7, waiting=3)
    settle(runs, message(), alive, *range(10))
    assert run_of(runs).counts == Counts(queued=10, stored=10)


def test_failed_before_counted(runs: Runs) -> None:
    assert runs.note_failure(message(), NOW) == 1
    runs.register([message()], NOW)
    assert run_of(runs).counts == Counts(queued=10, waiting=10)
    assert runs.note_failure(message(), NOW) == 2
    settle(runs, message(), runs.read(message(), NOW), *range(10))
    assert run_of(runs).counts == Counts(queued=10, stored=10)
    assert run_of(runs).batches == 1


def test_start_not_noted(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AwsError("DynamoDB is away.")

    for step in ("msupply_dhis2.state.runs.change_item", "msupply_dhis2.state.parts.Parts.open"):
        with monkeypatch.context() as broken:
            broken.setattr(step, refuse)
            with pytest.raises(AwsError):
                runs.begin(ABOUT, ["1/1"], NOW)
        assert not runs.is_done(RUN, NOW)
    runs.begin(ABOUT, ["1/1"], NOW)
    assert (run_of(runs).parts_open, run_of(runs).started_by) == (1, "monthly")


def test_ends_once(runs: Runs) -> None:
    runs.begin(ABOUT, ["1/1"], NOW)
    runs.register([message()], NOW)
    settle(runs, message(), runs.read(message(), NOW), *range(10))
    assert not runs.is_done(RUN, NOW)
    assert runs.close(RUN, None, NOW) is None
    runs.parts.finish(RUN, "1/1", PART)
    assert runs.is_done(RUN, NOW)
    ended = runs.close(RUN, "s3://reports/file", NOW + 9 * MINUTE)
    assert ended is not None
    assert (ended.outcome, ended.ended_at, ended.rejected_file) == (
        Outcome.COMPLETE,
        NOW + 9 * MINUTE,
        "s3://reports/file",
    )
    assert runs.close(RUN, None, NOW) is None
    assert not runs.is_done(RUN, NOW)
    assert run_of(runs) == ended


@pytest.mark.parametrize(
    ("counter", "outcome"),
    [
        ("stored", Outcome.COMPLETE),
        ("unchanged", Outcome.COMPLETE),
        ("deleted", Outcome.COMPLETE),
        ("superseded", Outcome.COMPLETE),
        ("rejected", Outcome.WITH_REJECTIONS),
        ("unaccounted", Outcome.INCOMPLETE),
        ("not_sent", Outcome.INCOMPLETE),
    ],
)
def test_outcome(runs: Runs, counter: str, outcome: Outcome) -> None:
    settle(runs, message(values=2), runs.read(message(values=2), NOW), 0, 1, counter=counter)
    ended = runs.close(RUN, None, NOW)
    assert ended is not None
    assert ended.outcome is outcome
    line = last_line(ended)
    assert line.event is LogEvent.RUN_ENDED
    assert line.fields[counter] == line.fields["queued"] == 2


def test_failed_or_incomplete(
    runs: Runs,
) -> None:
    runs.begin(ABOUT, ["1/1"], NOW)
    runs.parts.fail(RUN, "1/1", "mSupply's database did not answer.")
    failed = runs.close(RUN, None, NOW)
    assert failed is not None
    assert failed.outcome is Outcome.FAILED
    assert "mSupply's database did not answer." in last_line(failed).message

    runs.begin(ABOUT, ["1/1"], NOW)
    settle(runs, message(), runs.read(message(), NOW), *range(10))
    runs.parts.open(RUN, ["1/2", "2/2"], NOW)
    runs.parts.finish(RUN, "1/1", Part())
    runs.parts.finish(RUN, "1/2", PART)
    runs.parts.fail(RUN, "2/2", "Out of memory.")
    incomplete = runs.close(RUN, None, NOW)
    assert incomplete is not None
    assert incomplete.outcome is Outcome.INCOMPLETE
    # Sent again, it is computed after all.
    runs.parts.open(RUN, ["2/2"], NOW)
    assert run_of(runs).ended_at is None
    runs.parts.finish(RUN, "2/2", PART)
    ended = runs.close(RUN, None, NOW)
    assert ended is not None
    assert (ended.outcome, ended.parts_failed) == (Outcome.COMPLETE, 0)


UNREADABLE = Part(unreadable_groups=2, unreadable_rows=("stock_line 1: …", "stock_line 2: …"))


@pytest.mark.parametrize(("too_many", "outcome"), [(False, Outcome.COMPLETE), (True, Outcome.INCOMPLETE)])
def test_unreadable_groups(runs: Runs, *, too_many: bool, outcome: Outcome) -> None:
    runs.begin(ABOUT, ["1/2"], NOW)
    runs.parts.open(RUN, ["2/2", "2/2/2025-12"], NOW)
    runs.parts.finish(RUN, "1/2", replace(PART, unreadable_groups=1, unreadable_rows=("item_line 9: …",)))
    # The same rows are met in each month.
    runs.parts.finish(RUN, "2/2", replace(UNREADABLE, incomplete=too_many))
    runs.parts.finish(RUN, "2/2/2025-12", UNREADABLE)
    ended = runs.close(RUN, None, NOW)
    assert ended is not None
    assert ended.outcome is outcome
    assert ended.computed.unreadable_groups == 3
    line = last_line(ended)
    assert line.level == (logging.ERROR if too_many else logging.WARNING)
    assert line.fields["unreadable_groups"] == 3
    assert "3 groups (all values of an item in an org unit) were skipped" in line.message
    assert ("more than one in ten" in line.message) is too_many
    for row in ("item_line 9: …", "stock_line 1: …", "stock_line 2: …"):
        assert line.message.count(row) == 1


def test_repeated_part(runs: Runs) -> None:
    runs.begin(ABOUT, ["a"], NOW)
    runs.begin(ABOUT, ["a"], NOW + MINUTE)
    runs.parts.open(RUN, ["a", "b"], NOW)
    assert run_of(runs).parts_open == 2
    runs.parts.finish(RUN, "a", PART)
    runs.parts.finish(RUN, "a", PART)
    runs.parts.finish(RUN, "a")
    assert run_of(runs).parts_open == 1
    runs.parts.open(RUN, ["a"], NOW)
    runs.parts.finish(RUN, "a")
    runs.parts.finish(RUN, "b")
    run = run_of(runs)
    assert (run.parts_open, run.computed.values) == (0, 30)
    assert run.started_at == NOW


def test_requeued_is_open(runs: Runs) -> None:
    settle(runs, message(), runs.read(message(), NOW), 0)
    give_up(runs)
    first = runs.close(RUN, None, NOW)
    assert first is not None
    assert first.outcome is Outcome.INCOMPLETE
    assert "make redrive" in last_line(first).message
    requeue(runs)
    assert run_of(runs).ended_at is None
    settle(runs, message(), runs.read(message(), NOW), *range(10))
    second = runs.close(RUN, None, NOW)
    assert second is not None
    assert second.outcome is Outcome.COMPLETE


NEWER = "20260206T010000Z-daily-77aa12bc"


def computed(runs: Runs) -> None:
    runs.parts.finish(NEWER, "whole", PART)


def failed(runs: Runs) -> None:
    runs.parts.fail(NEWER, "whole", "The queue did not take it.")


def begun(runs: Runs) -> None:
    runs.begin(replace(ABOUT, run_id=NEWER, event='{"interval":"daily"}'), ["whole"], NOW)


def superseded(runs: Runs) -> None:
    """Leave the run's only message out, because the newer run has claimed its values."""
    runs.settle(
        message(),
        runs.read(message(), NOW),
        dict.fromkeys(range(10), "superseded"),
        began=NOW,
        ended=NOW,
        superseded_by=frozenset({NEWER}),
    )


def end(runs: Runs, now: datetime = NOW) -> Outcome | None:
    """Do what push does after each message, and compute after each part; give how the run has ended."""
    for run_id in (RUN, *runs.judge_superseded(NEWER)):
        if runs.is_done(run_id, now):
            runs.close(run_id, None, now)
    run = run_of(runs)
    return run.outcome


@pytest.mark.parametrize(
    ("events", "outcomes"),
    [
        # Whether the newer run is computed, or cannot be, is known before or after its claims are met.
        ([begun, computed, superseded], [None, None, Outcome.COMPLETE]),
        ([begun, failed, superseded], [None, None, Outcome.INCOMPLETE]),
        ([begun, superseded, computed], [None, None, Outcome.COMPLETE]),
        ([begun, superseded, failed], [None, None, Outcome.INCOMPLETE]),
        # It is computed after all, by a retry.
        (
            [begun, superseded, failed, begun, computed],
            [None, None, Outcome.INCOMPLETE, Outcome.INCOMPLETE, Outcome.COMPLETE],
        ),
        (
            [begun, failed, superseded, begun, failed],
            [None, None, Outcome.INCOMPLETE, Outcome.INCOMPLETE, Outcome.INCOMPLETE],
        ),
        # It is computed once more, and that fails: what it had queued may be superseded by what it has not.
        (
            [begun, superseded, computed, begun, failed],
            [None, None, Outcome.COMPLETE, Outcome.COMPLETE, Outcome.INCOMPLETE],
        ),
    ],
)
def test_superseder_is_queued(
    runs: Runs, events: list[Callable[[Runs], None]], outcomes: list[Outcome | None]
) -> None:
    runs.begin(ABOUT, ["whole"], NOW)
    runs.register([message()], NOW)
    runs.parts.finish(RUN, "whole", PART)
    seen = []
    for event in events:
        event(runs)
        seen.append(end(runs))
    assert seen == outcomes


def test_superseder_never_comes(runs: Runs) -> None:
    runs.register([message()], NOW)
    begun(runs)
    superseded(runs)
    assert end(runs, NOW + COMPUTED_WITHIN - MINUTE) is None
    assert end(runs, NOW + COMPUTED_WITHIN) is Outcome.INCOMPLETE
    computed(runs)
    assert end(runs, NOW + COMPUTED_WITHIN) is Outcome.COMPLETE


def test_last_line_names_run(runs: Runs) -> None:
    runs.register([message()], NOW)
    begun(runs)
    failed(runs)
    superseded(runs)
    ended = runs.close(RUN, None, NOW)
    assert ended is not None
    line = last_line(ended)
    assert f"The run {NEWER} superseded some of its values, and was not computed to its end." in line.message
    assert """make push EVENT='{"interval": "daily", "as_of": "2026-02-05T01:03:20+00:00"}'""" in line.message
    assert line.fields["lacks"] == [NEWER]
    # Computed again itself, it sends values that are newer still.
    runs.begin(ABOUT, ["whole"], NOW)
    assert run_of(runs).superseded_by == frozenset()


def test_newest_first(runs: Runs) -> None:
    for day in range(4):
        runs.begin(replace(ABOUT, run_id=f"run{day}"), ["a"], NOW + timedelta(days=day))
    runs.register([message()], NOW)
    assert list(runs.recent(NOW + timedelta(days=1))) == ["run3", "run2", "run1"]


def test_row_outlives_message(runs: Runs, aws: Aws) -> None:
    runs.register([message()], NOW)
    row = aws.runs.get_item(Key=message_key(message()))["Item"]
    longest_life_of_a_copy = timedelta(days=14 + 100)
    assert longest_life_of_a_copy < MESSAGES_KEPT_FOR
    assert datetime.fromtimestamp(int(str(row["expires_at"])), UTC) == NOW + MESSAGES_KEPT_FOR


@tried(15)
@given(places=st.frozensets(st.integers(0, 20_000), max_size=60))
def test_round_trip(aws: Aws, places: frozenset[int]) -> None:
    # A message of its own for each example: they share the table.
    runs, of = Runs(aws.runs), message(next(NUMBERS), 20_001)
    settle(runs, of, DeliveryState(), *places)
    noted = runs.read(of, NOW)
    assert (noted.settled, noted.applied) == (places, places)


def test_damaged_row(runs: Runs, aws: Aws) -> None:
    aws.runs.put_item(Item={**message_key(message()), "settled": "all"})
    with pytest.raises(AwsError, match=r"batch#.*#s1 of the run 20260205.* is damaged"):
        runs.read(message(), NOW)


@pytest.mark.slow
def test_many_attempts(runs: Runs, aws: Aws) -> None:
    messages = [message(number) for number in range(130)]
    for each in messages:
        settle(runs, each, DeliveryState(), 1)
    aws.runs.put_item(Item={**message_key(messages[7]), "settled": "all"})
    asked = [(each.batch_id, each.attempt_id) for each in messages]
    receipts = read_receipts(aws.runs, [*asked, (f"{RUN}-none", "s1")])
    one = DeliveryState(
        frozenset({1}), frozenset({1}), int(NOW.timestamp()), int((NOW + MINUTE).timestamp()), version=1
    )
    assert receipts == {key: one for place, key in enumerate(asked) if place != 7}


def test_missing_table(aws: Aws) -> None:
    nowhere = Runs(boto3.resource("dynamodb").Table("no-such-table"))
    for attempt in (lambda: nowhere.read(message(), NOW), lambda: nowhere.begin(ABOUT, ["a"], NOW)):
        with pytest.raises(AwsError, match="AWS answered with an error while"):
            attempt()
    assert aws.runs.scan()["Items"] == []


ANYTHING = st.one_of(
    st.none(),
    st.text(),
    st.integers(-(10**30), 10**30).map(Decimal),
    st.sampled_from([Decimal("NaN"), Decimal("Infinity"), Decimal("1.5")]),
    st.binary(max_size=4),
    st.booleans(),
    st.lists(st.text(max_size=2), max_size=2),
    st.dictionaries(st.text(max_size=2), st.text(max_size=2), max_size=2),
)


ATTRIBUTES = [
    *COUNTERS,
    *("as_of", "event", "metrics", "started_at", "opened_at", "ended_at", "outcome", "parts_open", "batches"),
    *("superseded_by", "message", "settled", "applied", "began", "version", "files", "reason", "status"),
]


@given(st.dictionaries(st.sampled_from(ATTRIBUTES), ANYTHING))
def test_any_row(row: dict[str, Any]) -> None:
    delivery_state_of(row)
    delivery_state_of({**row, "kind": "dead letter"})
    try:
        run = table_run({"run_id": RUN, **row})
    except DamagedRowError:
        return
    assert last_line(replace(run, outcome=run.outcome_by_counts, ended_at=NOW)).message
    assert json.loads(event_of(run)) is not None


def test_damaged_part(runs: Runs, aws: Aws) -> None:
    runs.begin(ABOUT, ["a", "b"], NOW)
    runs.parts.finish(RUN, "a", PART)
    runs.parts.finish(RUN, "b", PART)
    aws.runs.put_item(Item={"run_id": RUN, "part": "part#b", "state": "finished", "values": "many"})
    ended = runs.close(RUN, None, NOW)
    assert ended is not None
    assert (ended.computed, ended.damaged) == (PART, ("part#b",))
    assert "1 row of it in the table of runs cannot be read, and their counts are missing here: part#b." in (
        last_line(ended).message
    )
