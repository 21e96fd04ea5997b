"""Runs as the pages show them: those of a stack, or the pushes since the console was started."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from cli.announcement import title_of
from cli.console.today import said_of
from cli.console.words import plain, say
from msupply_dhis2.compute.event import ComputeEvent, parse_compute_event
from msupply_dhis2.domain.data_value import JOINED_BY
from msupply_dhis2.domain.reading import folded
from msupply_dhis2.errors import MsupplyDhis2Error
from msupply_dhis2.handlers.orders import DeadLetterGroup
from msupply_dhis2.state.run import Counts, Outcome, Run, groups_skipped
from msupply_dhis2.text import count, listed

CALLS_SHOWN = 50

OUTCOMES = tuple(each.name for each in fields(Counts) if each.name != "queued")
"""What can have become of a value, in their order."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A value that is not in DHIS2: what became of it, why, and what to do; ``value`` has its names and its parts."""

    outcome: str
    code: str
    why: str
    cure: str
    value: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of DHIS2, as its line of the log tells it."""

    instant: datetime
    fields: Mapping[str, Any]

    @property
    def outcome(self) -> str:
        """The status, or why there was no answer."""
        return str(self.fields.get("status") or self.fields.get("fault") or "")

    @property
    def counts(self) -> str:
        """What DHIS2 itself counted."""
        names = ("imported", "updated", "ignored", "deleted")
        return ", ".join(f"{name} {self.fields[name]:,}" for name in names if name in self.fields)


@dataclass(frozen=True, slots=True)
class RunShown:
    """A run.

    Attributes
    ----------
    outcomes
        How many values have which outcome; they add up to ``values``.
    ended
        How it ended, in a word; ``None``: it goes on.
    said
        What is told beside its sums, and what to do.
    has_refused
        Whether there may be values that are not in DHIS2.
    refused, calls
        Of a push without a stack; a stack is asked for them.
    """

    id: str
    event: Mapping[str, object]
    started_by: str
    as_of: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    outcomes: Mapping[str, int]
    ended: Outcome | None
    periods: tuple[str, ...] = ()
    stopped_at: datetime | None = None
    said: tuple[str, ...] = ()
    already_stored: int = 0
    has_refused: bool = False
    refused: Sequence[Refused] = field(default=(), repr=False)
    calls: Sequence[Call] = field(default=(), repr=False)

    @property
    def values(self) -> int:
        """How many values it was about."""
        return sum(self.outcomes.values())

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.ended is None

    @property
    def is_well(self) -> bool:
        """Whether DHIS2 has every value."""
        return self.ended is Outcome.COMPLETE

    @property
    def left(self) -> int:
        """How many values were not sent, and could be."""
        return sum(self.outcomes.get(name, 0) for name in ("not_sent", "given_up"))

    @property
    def about(self) -> str:
        """What it was about, in words."""
        asked = self.asked
        if asked is None:
            return self.started_by
        said = [asked.interval.value if asked.interval else title_of(asked)]
        said += [f"{say(f'choose.{name}')}: {listed(names, 3)}" for name, names in _limits(asked) if names]
        return ". ".join(said)

    @property
    def ended_name(self) -> str:
        """What it ended as, by which its word is known."""
        return self.ended.name.casefold() if self.ended else "not_yet"

    @property
    def sums(self) -> str:
        """How many values it was about, and what became of them."""
        if not self.values and self.already_stored:
            return say("run.already_stored", number=f"{self.already_stored:,}")
        return said_of(self.outcomes)

    @property
    def asked(self) -> ComputeEvent | None:
        """The event, where it can be read."""
        try:
            return parse_compute_event(self.event)
        except MsupplyDhis2Error:
            return None

    @property
    def again(self) -> dict[str, str]:
        """The form that asks for the same by hand, as of the same instant; none of a run that a schedule began."""
        if self.asked is None or not self.asked.manual:
            return {}
        return form_of(self.event, self.as_of)

    def may_be_about(self, value: Mapping[str, str]) -> bool:
        """Return whether it was about the metric and the period of a value; its event may name the store by its code."""
        asked = self.asked
        if asked is None or (value.get("period") and self.periods and value["period"] not in self.periods):
            return False
        metric = value.get("metric", "").replace(" ", "_")
        return asked.metrics is None or not metric or metric in asked.metrics

    def is_about(self, value: Mapping[str, str]) -> bool:
        """Return whether it computed a value, named by store, item, metric and period, as far as its event tells."""
        asked = self.asked
        if asked is None or not self.may_be_about(value):
            return False
        return all(
            names is None or not value.get(name) or folded(value[name]) in map(folded, names)
            for name, names in (("store", asked.stores), ("item", asked.items))
        )


@dataclass(frozen=True, slots=True)
class KnownRuns:
    """The last runs, the newest first, and what is known around them.

    ``paused`` says since when and why nothing is sent, and what to do, where that is so (``is_by_hand``: somebody paused it).
    """

    runs: Sequence[RunShown] = ()
    faults: Sequence[str] = ()
    paused: Sequence[str] = ()
    is_by_hand: bool = False
    not_delivered: Sequence[DeadLetterGroup] = ()

    @property
    def values_not_delivered(self) -> str:
        """How many values were not delivered."""
        return count(sum(group.values for group in self.not_delivered), "value")


def _limits(asked: ComputeEvent) -> Iterator[tuple[str, Sequence[str] | None]]:
    yield "stores", asked.stores
    yield "items", asked.items
    yield "metrics", asked.metrics and [metric.label for metric in asked.metrics]


def form_of(event: Mapping[str, object], as_of: datetime | None) -> dict[str, str]:
    """Return the fields of the page's form that ask for what an event asks for, as of an instant."""
    form = {name: str(event[name]) for name in ("basis", "months", "as_of") if event.get(name)}
    if "interval" in event:
        # By hand each row is sent on its own basis only where that is said.
        form["basis"] = "as_in_settings"
    if as_of is not None and not form.keys() & {"as_of", "months"}:
        form["as_of"] = as_of.isoformat()
    for name in ("stores", "items", "metrics"):
        if names := event.get(name):
            form[name] = names if isinstance(names, str) else "\n".join(map(str, names))  # type: ignore[call-overload]
    return form if "stores" in form else {**form, "all_stores": "true"}


def run_shown(run: Run) -> RunShown:
    """Return a run of a stack as the pages show it."""
    return RunShown(
        id=run.run_id,
        event=json.loads(run.event or "{}"),
        started_by=run.started_by,
        as_of=run.as_of,
        started_at=run.started_at,
        ended_at=run.ended_at,
        outcomes={name: getattr(run.counts, name) for name in OUTCOMES},
        ended=run.outcome,
        periods=run.computed.periods,
        stopped_at=run.stopped_at,
        said=tuple(_said(run)),
        already_stored=run.computed.already_stored,
        has_refused=run.rejected_file is not None,
    )


def _said(run: Run) -> Iterator[str]:
    """Yield what is told of a run beside its sums."""
    counts, computed = run.counts, run.computed
    if run.message and run.outcome in {None, Outcome.FAILED}:
        yield plain(run.message)
    if run.parts_failed:
        yield say("run.parts_failed", parts=count(run.parts_failed, "part"))
    if run.stopped_at is not None:
        yield say("run.stopped")
    elif counts.not_sent:
        yield say("run.not_sent")
    if counts.dead:
        yield say("run.dead")
    if counts.expired:
        yield say("run.expired")
    if computed.unreadable_groups:
        rows = listed(computed.unreadable_rows, by="; ")
        what_to_do = say("run.unreadable")
        yield f"{groups_skipped(computed.unreadable_groups)}: {rows}. {what_to_do}"
    if run.damaged:
        yield say("run.damaged", rows=listed(run.damaged))


def is_value(refused: Refused, asked: Mapping[str, str]) -> bool:
    """Return whether a value is the one that is asked for: each field as it is called, or as one of several."""

    def is_called(name: str) -> bool:
        given = folded(asked[name]).replace("_", " ") if asked.get(name) else ""
        called = folded(str(refused.value.get(name) or "")).replace("_", " ")
        return not given or given == called or given in called.split(JOINED_BY)

    return all(map(is_called, ("store", "item", "metric", "period")))
