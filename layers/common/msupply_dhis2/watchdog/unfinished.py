"""What to say about a run that does not end."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from msupply_dhis2.state.connections import written_in
from msupply_dhis2.state.run import COMPUTED_WITHIN, Run, event_of
from msupply_dhis2.text import count

QUEUE_KEEPS = timedelta(days=12)
"""So long the queue keeps a message (``template.yaml``)."""


def why_unfinished(run: Run, now: datetime, time_zone: ZoneInfo) -> str | None:
    """Return what a run waits for that is open for too long, and what to do; ``None`` of any other."""
    if (
        run.ended_at is not None
        or run.started_at is None
        or run.is_done
        or now - run.started_at < COMPUTED_WITHIN
    ):
        return None
    said = [f"The run {run.run_id} began on {written_in(run.started_at, time_zone)} and has not ended."]
    if run.parts_open:
        said.append(
            f"{count(run.parts_open, 'part')} of it could not be computed yet: {run.message or 'the log of compute says why.'}"
        )
    waiting = count(run.counts.waiting, "value")
    if run.counts.waiting and now - run.started_at > QUEUE_KEEPS:
        said.append(
            f"{waiting} of it would be waiting on the queue, which keeps nothing for more than {QUEUE_KEEPS.days} days. "
            "Unless dead letters of it were sent again lately, they are lost on the way."
        )
    elif run.counts.waiting:
        said.append(
            f"{waiting} of it wait to be sent. Test the connection (make test-connection): it says whether sending is "
            "paused, and why; if it is not, the log of push says what stands in the way."
        )
    said.append(f"Where that does not help, compute it again: make push EVENT='{event_of(run)}'")
    return " ".join(said)
