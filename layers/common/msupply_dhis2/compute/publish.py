"""The way of a step's values onto the queue, in batches."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from msupply_dhis2.domain.batch import Age, Batch, Operation, Strip, blocks, encode
from msupply_dhis2.domain.data_value import DataValue, Identifier
from msupply_dhis2.domain.stock import OrgUnit
from msupply_dhis2.settings import Settings, Setup
from msupply_dhis2.state.delta.filter import DeltaFilter

type ClaimValues = Callable[[Iterable[DataValue], Age], None]
"""Takes values before they are sent, with how new they are, so that nothing older replaces them in DHIS2."""

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


class Publisher:
    """Puts the values of a step on the queue; it holds no more than a strip of org units.

    ``metrics`` is how many the step has: with option combos an org unit has as many values for one data element. In a dry
    run ``send`` is ``None``, and ``batches`` counts those that would have been sent. Without a ``delta``, which knows what
    DHIS2 has, everything is sent.
    """

    def __init__(  # noqa: PLR0913 - what is known of a step, and what is done with its values
        self,
        *,
        run_id: str,
        as_of: datetime,
        settings: Settings,
        metrics: int,
        send: Callable[[Batch], None] | None,
        age: Age | None = None,
        delta: DeltaFilter | None = None,
        claim: ClaimValues | None = None,
    ) -> None:
        self.batches = 0
        self.sent = 0
        self.deletions = 0
        self.delta = delta
        self._run_id = run_id
        self._as_of = as_of
        self._settings = settings
        self._send = send
        self._age = age
        self._claim = claim
        self._strip = Strip(
            maximum_values=settings.items_per_payload,
            values_per_cell=metrics if settings.setup is Setup.CATEGORY_OPTION_COMBO else 1,
            payloads=0 if delta is None else _PAYLOADS_OF_A_STRIP,
        )

    def add(self, computed: OrgUnitValues) -> None:
        """Take the values of an org unit; they leave when enough org units are held."""
        to_send = computed.values
        if self.delta is not None:
            # All, and before looking: what an older run notes from now on is superseded, what it noted before is seen.
            self._claim_values(computed.values)
            to_send = self.delta.changed(computed.org_unit.code, computed.values, computed.uncertain)
        self._strip.add(to_send)
        if self._strip.is_full:
            self._publish_strip()

    def flush(self) -> None:
        """Put what is held on the queue, and then what is to be deleted."""
        self._publish_strip()
        if self.delta is None:
            return
        if to_delete := self.delta.to_delete():
            self._claim_values(to_delete)
            self._publish([to_delete], Operation.DELETE)
            self.deletions = len(to_delete)

    def _publish_strip(self) -> None:
        strip = self._strip.take()
        if self.delta is None:
            self._claim_values(value for values in strip for value in values)
        self._publish(strip, Operation.IMPORT)
        self.sent += sum(map(len, strip))

    def _publish(self, strip: Sequence[Sequence[DataValue]], operation: Operation) -> None:
        made: list[tuple[Sequence[DataValue], Batch]] = []
        for payload in blocks(strip, maximum_values=self._settings.items_per_payload):
            batch = encode(
                payload,
                run_id=self._run_id,
                as_of=self._as_of,
                destination=self._settings.destination,
                operation=operation,
                tracking=None if self.delta is None else self.delta.tracking(),
                age=self._age,
            )
            self.batches += 1
            if self._send is not None:
                made.append((payload, batch))
        if self.delta is not None:
            # All at once, so that each record is written once; and before the first of them is sent.
            self.delta.note(made)
        if self._send is not None:
            for _, batch in made:
                self._send(batch)

    def _claim_values(self, values: Iterable[DataValue]) -> None:
        if self._claim is not None and self._send is not None and self._age is not None:
            self._claim(values, self._age)
