"""The way of a run's values onto the queue, in batches."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from msupply_dhis2.batches import Batch, cut, encode
from msupply_dhis2.mapping import DataValue
from msupply_dhis2.settings import Settings, Setup
from msupply_dhis2.stock import OrgUnit


@dataclass(frozen=True, slots=True)
class OrgUnitValues:
    """All data values of one org unit, none of them twice."""

    org_unit: OrgUnit
    values: list[DataValue]


@dataclass(slots=True)
class Outgoing:
    """How much a run put on the queue."""

    batches: int = 0


def send_values(
    org_units: Iterable[OrgUnitValues],
    *,
    run_id: str,
    as_of: datetime,
    settings: Settings,
    metrics: int,
    send: Callable[[Batch], None] | None,
) -> Outgoing:
    """Put the values of a run on the queue.

    Parameters
    ----------
    org_units
        One after the other; only a strip of them is held at a time.
    metrics
        How many metrics the run has: with option combos an org unit has as many values for one data element.
    send
        Takes each batch as soon as it is made; ``None`` in a dry run.
    """
    outgoing = Outgoing()
    for payload in cut(
        (org_unit.values for org_unit in org_units),
        maximum_values=settings.items_per_payload,
        values_per_cell=metrics if settings.setup is Setup.CATEGORY_OPTION_COMBO else 1,
    ):
        outgoing.batches += 1
        if send is not None:
            send(encode(payload, run_id=run_id, as_of=as_of, settings=settings))
    return outgoing
