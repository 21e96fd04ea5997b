"""Stopping a run: what is not sent yet is not sent any more, and what DHIS2 has stays there.

Only the run's row is marked. Push reads the mark with the row of each message, and compute before each shard.
"""

from datetime import datetime

from pydantic import BaseModel

from msupply_dhis2.domain.event_fields import Event, Words, parse_event
from msupply_dhis2.errors import EventError
from msupply_dhis2.state.run import Run, event_of
from msupply_dhis2.state.runs import Runs
from msupply_dhis2.text import count


class StopEvent(Event):
    """The event that stops a run, named by its id."""

    stop: Words


class StopAnswer(BaseModel):
    """What was stopped, and how the rest is sent after all."""

    message: str
    run_id: str
    waiting: int
    parts_open: int


def stop_run(event: object, runs: Runs, now: datetime) -> StopAnswer:
    """Stop the run that an event names.

    Raises
    ------
    EventError
        The event is not understood, or there is no such run.
    AwsError
        The table of runs refused, or the run's row is damaged.
    """
    run_id = parse_event(
        StopEvent, event, '{"stop": "20260205T153000Z-monthly-1f0c2a9b"}, with the id of a run'
    ).stop
    run = runs.stop(run_id, now)
    if run is None:
        raise EventError(
            f"There is no run {run_id} in the table of runs. Compute's answer, and each line of the log, name the run (run_id)."
        )
    return StopAnswer(
        message=_message(run), run_id=run_id, waiting=run.counts.waiting, parts_open=run.parts_open
    )


def _message(run: Run) -> str:
    if run.outcome is not None:
        return f"The run {run.run_id} has ended already ({run.outcome}): there is nothing to stop."
    counts = run.counts
    sentences = [
        f"The run {run.run_id} is stopped. {count(counts.waiting, 'value')} of it on the queue will not be sent."
    ]
    if run.parts_open:
        sentences.append(
            f"{count(run.parts_open, 'part')} of it will not be computed, but for those that are being computed now."
        )
    sentences.append(
        f"DHIS2 keeps the {count(counts.stored + counts.unchanged, 'value')} that it has. The run ends when push has taken its "
        f"last message. To send the rest, compute the run again: make push EVENT='{event_of(run)}'."
    )
    return " ".join(sentences)
