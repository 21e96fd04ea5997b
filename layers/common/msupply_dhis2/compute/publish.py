"""The way of a run's values onto the queue, in batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from msupply_dhis2.domain.batch import Age, Batch, Operation, blocks, encode, strips
from msupply_dhis2.domain.data_value import DataValue, Identifier
from msupply_dhis2.domain.stock import OrgUnit
from msupply_dhis2.settings import Settings, Setup
from msupply_dhis2.state.delta.filter import DeltaFilter

type ClaimValues = Callable[[Iterable[DataValue], Age], None]

_PAYLOADS_OF_A_STRIP = 8
"""At least, where only what changed is sent: so a payload that is not full, which each strip may end with, is rare."""


@dataclass(frozen=True, slots=True)
class OrgUnitValues:
    """All data values of one org unit, none of them twice, and what could not be computed for it.

    ``uncertain`` is what several items claim, and what would be computed from rows that cannot be read: nobody knows
    what it would be.
    """

    org_unit: OrgUnit
    values: list[DataValue]
    uncertain: frozenset[Identifier] = frozenset()


@dataclass(slots=True)
class Publisher:
    """How much a run put on the queue, and how much it did not have to.

    ``sent`` and ``unchanged`` are all values that were computed; ``deletions`` are values that were not.
    """

    batches: int = 0
    sent: int = 0
    unchanged: int = 0
    vanished: int = 0
    deletions: int = 0
    sentences: tuple[str, ...] = ()


def publish(  # noqa: PLR0913 - what is known of a run, and what is done with its values
    org_units: Iterable[OrgUnitValues],
    *,
    run_id: str,
    as_of: datetime,
    settings: Settings,
    metrics: int,
    send: Callable[[Batch], None] | None,
    age: Age | None = None,
    changes: DeltaFilter | None = None,
    claim: ClaimValues | None = None,
) -> Publisher:
    """Put the values of a run on the queue.

    Parameters
    ----------
    org_units
        One after the other; only a strip of them is held at a time.
    metrics
        How many metrics the run has: with option combos an org unit has as many values for one data element.
    send
        Takes each batch as soon as it is made; ``None`` in a dry run.
    age
        How new the values are.
    claim
        Is given values before they are sent, with how new they are, so that nothing older replaces them; also those
        that are left out because DHIS2 has them.
    changes
        Tells which values DHIS2 has acknowledged, and notes what is sent. Without it everything is sent.
    """
    outgoing = Publisher()

    claim_all = _claiming(claim if send is not None else None, age)

    def put(values: Iterable[Sequence[DataValue]], operation: Operation, *, are_claimed: bool = False) -> int:
        number = 0
        for strip in strips(
            values,
            maximum_values=settings.items_per_payload,
            values_per_cell=metrics if settings.setup is Setup.CATEGORY_OPTION_COMBO else 1,
            payloads=0 if changes is None else _PAYLOADS_OF_A_STRIP,
        ):
            number += sum(map(len, strip))
            if not are_claimed:
                claim_all([value for of_org_unit in strip for value in of_org_unit])
            batches = encoded(strip, operation)
            if changes is not None and send is not None:
                # All at once, so that each record is written once; and before the first of them is sent.
                held = list(batches)
                changes.note(held)
                batches = iter(held)
            for _, batch in batches:
                outgoing.batches += 1
                if send is not None:
                    send(batch)
        return number

    def encoded(
        strip: Sequence[Sequence[DataValue]], operation: Operation
    ) -> Iterator[tuple[Sequence[DataValue], Batch]]:
        for payload in blocks(strip, maximum_values=settings.items_per_payload):
            yield (
                payload,
                encode(
                    payload,
                    run_id=run_id,
                    as_of=as_of,
                    destination=settings.destination,
                    operation=operation,
                    tracking=changes.tracking() if changes is not None else None,
                    age=age,
                ),
            )

    if changes is None:
        outgoing.sent = put((each.values for each in org_units), Operation.IMPORT)
        return outgoing
    outgoing.sent = put(_compared(org_units, changes, claim_all), Operation.IMPORT, are_claimed=True)
    changes.look_at_the_rest()
    outgoing.deletions = put([changes.to_delete()], Operation.DELETE)
    outgoing.unchanged = changes.found.unchanged
    outgoing.vanished = changes.found.vanished.total()
    outgoing.sentences = tuple(changes.sentences())
    return outgoing


def _claiming(claim: ClaimValues | None, age: Age | None) -> Callable[[Iterable[DataValue]], None]:
    def claim_all(values: Iterable[DataValue]) -> None:
        if claim is not None and age is not None:
            claim(values, age)

    return claim_all


def _compared(
    org_units: Iterable[OrgUnitValues], changes: DeltaFilter, claim_all: Callable[[Iterable[DataValue]], None]
) -> Iterator[Sequence[DataValue]]:
    """Yield what is to be sent of each org unit; all is claimed, since what is left out is just as new."""
    for each in org_units:
        # Claimed before looking: what an older run notes from now on is superseded, what it noted before is seen.
        claim_all(each.values)
        yield changes.changed(each.org_unit.code, each.values, each.uncertain)
