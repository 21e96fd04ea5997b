"""Dividing a run among several invocations of compute.

One invocation plans, each shard is worked by another, from a message on a queue of its own. A shard is a set of whole
org units, so that no value, and no group of stores or items that is one number in DHIS2, is ever divided. A whole run is
a shard that is not divided yet.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from heapq import heappop, heappush
from math import ceil
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from msupply_dhis2.compute.event import ComputeEvent, MonthStep, require_known, run_id
from msupply_dhis2.domain.reading import fault_sentences
from msupply_dhis2.domain.stock import OrgUnit
from msupply_dhis2.errors import EventError

MOST_ORG_UNITS = 5_000
"""So many org units are one message: also twice as many codes, of 50 characters each, are within what a message holds."""


class Shard(BaseModel):
    """A part of a run, ``number`` ``of`` how many: some org units, and the steps that are still to be done for them.

    Working it does the first step and queues a shard with the others, so that each step has its own time, its own
    attempts and its own end. ``planned_by`` is the request id of the invocation that planned: the same where AWS repeats
    it, another where somebody asks for the same run once more, which is then sent anew. The org units, by code and in order,
    have about so many ledger lines; ``None``: all that the event is about, not divided yet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    run_id: str
    planned_by: str
    event: ComputeEvent
    number: int
    of: int
    ledger_lines: int
    org_units: tuple[str, ...] | None
    steps: tuple[MonthStep, ...] = Field(min_length=1)

    @property
    def is_whole_run(self) -> bool:
        """Whether it is a run that is not divided yet."""
        return self.org_units is None

    @property
    def name(self) -> str:
        """Name it for messages: ``Shard 3 of 12``, with its month if it is about one."""
        month = f", {self.step.month}" if self.step.month else ""
        return f"Shard {self.number} of {self.of}{month}"

    @property
    def parts(self) -> list[str]:
        """What its steps are known by among the parts of the run: ``3/12``, ``3/12/2026-01``."""
        return ["/".join(filter(None, (str(self.number), str(self.of), step.month))) for step in self.steps]

    @property
    def step(self) -> MonthStep:
        """The step to do next."""
        return self.steps[0]

    def after(self, steps: int) -> Self | None:
        """Return what is to follow once so many steps are done."""
        rest = self.steps[steps:]
        return self.model_copy(update={"steps": rest}) if rest else None

    @property
    def key(self) -> str:
        """What the next step of this shard is noted by.

        By its content, not its number: planned again, the same number may stand for other org units.
        """
        content = json.dumps([self.org_units, self.step.model_dump(mode="json")])
        return f"{self.planned_by}#{hashlib.sha256(content.encode()).hexdigest()[:16]}"

    def divided(self, parts: Sequence[Sequence[OrgUnit]], lines: Mapping[str, int]) -> list[Self]:
        """Return a shard for each part of its org units."""
        shards = []
        for number, part in enumerate(parts, start=1):
            org_units = tuple(org_unit.code for org_unit in part)
            facts = {"ledger_lines": count_ledger_lines(part, lines), "org_units": org_units}
            shards.append(self.model_copy(update={"number": number, "of": len(parts), **facts}))
        return shards

    def require_known(self, now: datetime) -> None:
        """Raise an EventError where a step, as somebody has written it, is about the future, or before any mSupply."""
        for index, step in enumerate(self.steps):
            require_known(step.as_of, now, f"shard.steps.{index}.as_of")

    def encoded(self) -> str:
        """Return the message's body, which is an event to compute too: ``{"shard": …}``."""
        return ShardEvent(shard=self).model_dump_json(exclude_defaults=True)


class ShardEvent(BaseModel):
    """A message on the queue of shards, and the event that works one shard by hand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shard: Shard


def parse_shard(event: str | Mapping[object, object]) -> Shard:
    """Read a message's body, or an event; an EventError has a sentence for each field that is wrong."""
    try:
        if isinstance(event, str):
            return ShardEvent.model_validate_json(event).shard
        return ShardEvent.model_validate(dict(event)).shard
    except ValidationError as error:
        # Of a message on a queue nobody knows what it holds.
        faults = fault_sentences(error.errors(include_url=False, include_input=False), ShardEvent)
    what_to_do = (
        "This version of msupply-dhis2 does not understand this shard. Only compute writes to the queue of shards: "
        "invoke it with the run's event again, which plans again."
    )
    raise EventError("\n".join((what_to_do, *faults)))


def whole_run(event: ComputeEvent, as_of: datetime, planned_by: str = "") -> Shard:
    """Return the run that an event asks for, at its instant (``instant_of_run``)."""
    return Shard(
        version=1,
        run_id=run_id(event, as_of),
        planned_by=planned_by,
        event=event,
        number=1,
        of=1,
        ledger_lines=0,
        org_units=None,
        steps=(MonthStep(as_of=as_of),),
    )


def divide(
    org_units: Sequence[OrgUnit], lines: Mapping[str, int], limit: int
) -> tuple[tuple[OrgUnit, ...], ...]:
    """Divide org units into shards of even size: two of them differ by one org unit's ledger lines at most.

    The largest org unit first, each to the shard that is the smallest by then. The same org units with the same lines, by
    the stores' ids, are always divided alike. About ``limit`` lines make one shard, and no shard is empty.
    """
    # One more, because an org unit without any line is work too.
    weights = [1 + sum(lines[store.id] for store in org_unit.stores) for org_unit in org_units]
    number = max(ceil(count_ledger_lines(org_units, lines) / limit), ceil(len(org_units) / MOST_ORG_UNITS), 1)
    shards: list[list[int]] = [[] for _ in range(min(number, len(org_units)))]
    smallest = [(0, index) for index in range(len(shards))]
    for org_unit in sorted(range(len(org_units)), key=lambda each: (-weights[each], each)):
        weight, index = heappop(smallest)
        shards[index].append(org_unit)
        heappush(smallest, (weight + weights[org_unit], index))
    return tuple(tuple(org_units[each] for each in sorted(shard)) for shard in shards)


def count_ledger_lines(org_units: Sequence[OrgUnit], lines: Mapping[str, int]) -> int:
    """Add up the ledger lines of org units."""
    return sum(lines[store.id] for org_unit in org_units for store in org_unit.stores)
