"""A run as the table holds it: what it was about, what became of its values, and how it ended."""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, ValidationError

from msupply_dhis2.aws.dynamodb import reader_of
from msupply_dhis2.domain.log_record import LogEvent, LogRecord
from msupply_dhis2.errors import DamagedRowError
from msupply_dhis2.text import count

RUNS_KEPT_FOR = timedelta(days=400)
"""A year can be looked back at."""

OPEN_RUN = ("ended_at", "outcome", "rejected_file")
"""What a run's row has only once it has ended; without them it is open."""

COMPUTED_WITHIN = timedelta(days=1)
"""A part that is open for longer is not counted on any more: it is tried for hours."""


def run_key(run_id: str) -> dict[str, str]:
    """Return the key of a run's own row."""
    return {"run_id": run_id, "part": "run"}


class Outcome(StrEnum):
    """How a run ended."""

    COMPLETE = "complete"
    WITH_REJECTIONS = "with rejections"
    INCOMPLETE = "incomplete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the values that a run put on the queue.

    They add up: ``queued`` is the sum of the others. ``waiting`` are on the queue, ``dead`` among the dead letters,
    ``expired`` were dead letters that the queue no longer has;
    ``superseded`` were not sent, because DHIS2 has newer ones, ``not_sent``, because the settings did not want it any
    more.
    """

    queued: int = 0
    waiting: int = 0
    stored: int = 0
    unchanged: int = 0
    rejected: int = 0
    unaccounted: int = 0
    deleted: int = 0
    superseded: int = 0
    not_sent: int = 0
    dead: int = 0
    expired: int = 0

    def __post_init__(self) -> None:
        each = (getattr(self, field.name) for field in fields(self))
        if self.queued != sum(each) - self.queued:
            raise ValueError(f"the counts do not add up: {self}")

    def sentence(self) -> str:
        """Say them: ``5 queued: 4 stored, 1 rejected``, without what is none but for the first three."""
        always = {"stored", "unchanged", "rejected"}
        said = [
            f"{getattr(self, field.name):,} {field.name.replace('_', ' ')}"
            for field in fields(self)
            if field.name != "queued" and (field.name in always or getattr(self, field.name))
        ]
        return f"{self.queued:,} queued: {', '.join(said)}"


COUNTERS = tuple(field.name for field in fields(Counts))


def _event(text: str) -> str:
    if text and not isinstance(json.loads(text), dict):
        raise ValueError("its event is no JSON object")
    return text


@dataclass(frozen=True, slots=True)
class Part:
    """What one invocation of compute came to.

    ``values`` were computed: those that were put on the queue, deletions not counted, and those that were ``already_stored``,
    because DHIS2 has them already. ``unreadable_groups`` (an item in an org unit) were skipped for rows of mSupply's
    database that cannot be read, of which ``unreadable_rows`` names some; where they were too many, the part is
    ``incomplete``.
    """

    values: int = 0
    already_stored: int = 0
    periods: tuple[str, ...] = ()
    unreadable_groups: int = 0
    unreadable_rows: tuple[str, ...] = ()
    incomplete: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """A run; its instants are aware.

    ``started_by`` is its interval's name or ``manual``, ``as_of`` and ``event`` (JSON) what it is about; ``started_at``, when it
    was first computed, is ``None`` where only push knows of it. ``computed`` is what all parts came to, of which the last was
    opened at ``opened_at``; ``message`` says why computing failed. ``superseded_by`` are the runs that have claimed newer
    values of it (``newer``, once they are read); ``supersedes`` are those of whose values it has claimed newer ones.
    ``damaged`` are the sort keys of rows about parts or messages that cannot be read: what they tell is not counted.
    """

    run_id: str
    started_by: str = "unknown"
    as_of: AwareDatetime | None = None
    event: Annotated[str, AfterValidator(_event)] = ""
    started_at: AwareDatetime | None = None
    counts: Counts = Counts()
    batches: int = 0
    computed: Part = Part()
    parts_open: int = 0
    parts_failed: int = 0
    message: str | None = None
    ended_at: AwareDatetime | None = None
    outcome: Outcome | None = None
    rejected_file: str | None = None
    opened_at: AwareDatetime | None = None
    stopped_at: AwareDatetime | None = None
    superseded_by: frozenset[str] = frozenset()
    supersedes: frozenset[str] = frozenset()
    newer: tuple["Run", ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether nothing is computed, sent or waiting any more."""
        return not self.counts.waiting and not self.parts_open

    @property
    def is_computed(self) -> bool:
        """Whether all that it has claimed is known to be on the queue, or to have been there."""
        return self.started_at is not None and not self.parts_open and not self.parts_failed

    @property
    def lacks(self) -> tuple["Run", ...]:
        """The newer runs that did not put all that they have claimed on the queue."""
        return tuple(newer for newer in self.newer if not newer.is_computed)

    def may_be_computed(self, now: datetime) -> bool:
        """Return whether values that it has claimed may yet be put on the queue by themselves."""
        return bool(self.parts_open) and (self.opened_at is None or now - self.opened_at < COMPUTED_WITHIN)

    def may_end(self, now: datetime) -> bool:
        """Return whether it is done, nobody has said so yet, and it is known whether newer values are on the queue."""
        return (
            self.is_done
            and self.ended_at is None
            and not any(newer.may_be_computed(now) for newer in self.newer)
        )

    @property
    def outcome_by_counts(self) -> Outcome:
        """How it ends, or would if it ended now."""
        counts = self.counts
        if self.parts_failed and not counts.queued:
            return Outcome.FAILED
        unsettled = counts.dead, counts.expired, counts.unaccounted, counts.not_sent
        if self.parts_failed or self.computed.incomplete or self.lacks or any(unsettled):
            return Outcome.INCOMPLETE
        return Outcome.WITH_REJECTIONS if counts.rejected else Outcome.COMPLETE


def event_of(run: Run) -> str:
    """Return the event by which a run is computed again, at its own instant, to be put between apostrophes."""
    event = json.loads(run.event or "{}")
    has_instant = {"scheduled_time", "as_of", "months"} & event.keys()
    if run.as_of is not None and not has_instant:
        event["as_of"] = run.as_of.isoformat()
    return json.dumps(event).replace("'", "\\u0027")


def how_to_compute_again(run: Run | None) -> str:
    """Return a sentence with the event that computes a run again; ``None``: nothing is known of it."""
    if run is None or not run.event:
        return "Its row in the table of runs does not say how to compute it again: compute its periods."
    return f"Compute that run again: make push EVENT='{event_of(run)}'."


_ENDINGS: Mapping[Outcome, tuple[str, int]] = {
    Outcome.COMPLETE: ("well", logging.INFO),
    Outcome.WITH_REJECTIONS: ("with values that DHIS2 refused", logging.WARNING),
    Outcome.INCOMPLETE: ("incomplete", logging.ERROR),
    Outcome.FAILED: ("without anything computed", logging.ERROR),
}


def last_line(run: Run, *, about_file: str | None = None, rows_in_file: int = 0) -> LogRecord:
    """Return the one line that says how a run ended, which it has, and what there is to say about its file."""
    assert run.outcome is not None  # noqa: S101 - tells mypy: it is over
    assert run.ended_at is not None  # noqa: S101 - as above
    ending, level = _ENDINGS[run.outcome]
    if run.computed.unreadable_groups:
        level = max(level, logging.WARNING)
    said = [f"Run {run.run_id} ended {ending}.", *_about(run), *([] if about_file is None else [about_file])]
    fields: dict[str, object] = {
        "run_id": run.run_id,
        "outcome": run.outcome.value,
        "started_by": run.started_by,
        "as_of": run.as_of.isoformat() if run.as_of else None,
        "periods": list(run.computed.periods),
        "batches": run.batches,
        "stopped": run.stopped_at is not None,
        "already_stored": run.computed.already_stored,
        "values": run.computed.values,
        "unreadable_groups": run.computed.unreadable_groups,
        "rejected_file": run.rejected_file,
        "rejected_file_rows": rows_in_file,
        "lacks": [newer.run_id for newer in run.lacks],
        **asdict(run.counts),
    }
    if run.started_at is not None:
        fields["seconds"] = round((run.ended_at - run.started_at).total_seconds())
    return LogRecord(LogEvent.RUN_ENDED, level, " ".join(said), fields)


def _about(run: Run) -> Iterator[str]:
    """Yield what became of a run, and what to do about it."""
    counts, computed = run.counts, run.computed
    yield f"{counts.sentence()}."
    if computed.already_stored:
        yield f"{computed.already_stored:,} more were not sent, because DHIS2 has them already."
    if computed.unreadable_groups:
        too_many = " That is more than one in ten of what a part computed." if computed.incomplete else ""
        yield (
            f"{groups_skipped(computed.unreadable_groups)}: {'; '.join(computed.unreadable_rows)}.{too_many} The log of compute "
            "names all of them. Ask whoever looks after mSupply to correct them, and invoke compute again."
        )
    if run.parts_failed:
        yield f"{count(run.parts_failed, 'part')} could not be computed: {run.message or 'see the log'}"
    if counts.dead:
        yield "The dead letters are kept for 14 days. Fix what their reasons say, then send them again (make redrive)."
    if counts.expired:
        yield f"The queue no longer has the expired values. {how_to_compute_again(run)}"
    if run.stopped_at is not None:
        yield (
            f"It was stopped at {run.stopped_at:%Y-%m-%d %H:%M} UTC. DHIS2 keeps what it has. To send the rest, compute the run "
            f"again: make push EVENT='{event_of(run)}'."
        )
    elif counts.not_sent:
        yield "The settings had changed for those that were not sent. See the log, and compute them again."
    for newer in run.lacks:
        yield (
            f"The run {newer.run_id} superseded some of its values, and was not computed to its end. DHIS2 may lack them. "
            f"{how_to_compute_again(newer)}"
        )
    if run.damaged:
        yield (
            f"{count(len(run.damaged), 'row')} of it in the table of runs cannot be read, and their counts are missing here: "
            f"{', '.join(run.damaged)}."
        )


def groups_skipped(number: int) -> str:
    """Say how many groups rows that cannot be read have cost, without a full stop."""
    return (
        f"{count(number, 'group')} (all values of an item in an org unit) {'was' if number == 1 else 'were'} skipped, because "
        "rows of mSupply's database cannot be read"
    )


def run_of(item: Mapping[str, Any]) -> Run:
    """Read a run's row of the table; a DamagedRowError where it is none, or its counts do not add up."""
    try:
        return reader_of(Run).validate_python({**item, "counts": item})
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg'].removeprefix('Value error, ')}"
            for each in error.errors()
        )
    # Outside the except clause: pydantic's error shows all that the row holds.
    raise DamagedRowError(
        f"The row run of {item['run_id']} in the table of runs is damaged ({faults}): it is not known how this run "
        "ended. When none of its messages waits any more, delete the row, and compute the run's periods again."
    )
