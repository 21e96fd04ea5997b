"""Whatever happens on the way: no value is left out that DHIS2 does not hold, and in the end it holds what was computed.

A small country, a queue that delivers in any order and more than once, a push that breaks off, a DHIS2 that refuses.
What decides is the product's own: ``publish``, ``DeltaFilter``, the records and receipts. Only DynamoDB is a few lines in
memory here, that thousands of runs may be tried; that these lines do as DynamoDB does is seen in
``test_acknowledged_table``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)

from msupply_dhis2.compute.values import OrgUnitValues, Publisher
from msupply_dhis2.domain.batch import Batch, Operation
from msupply_dhis2.domain.batch import Message as RunMessage
from msupply_dhis2.domain.data_value import Column, DataValue, Origin
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import OrgUnit
from msupply_dhis2.settings import Scheme, parse_settings
from msupply_dhis2.state.delta.filter import DeltaFilter, RunScope
from msupply_dhis2.state.delta.table import DeltaTable, target_of
from msupply_dhis2.state.message import DeliveryState
from msupply_dhis2.state.runs import Runs
from tests.support.laws import tried
from tests.support.table_in_memory import TableInMemory

PERIOD = "202606"
ORG_UNITS = ("OU_A", "OU_B")
KEYS = [("OU_A", "DE_1"), ("OU_A", "DE_2"), ("OU_B", "DE_1")]
LONGEST_PUSH = timedelta(minutes=5)
SETTINGS = {
    only_changes: parse_settings(
        f"""
        use_dhis2: true
        url: https://dhis2.example.org
        setup: single_data_element
        data_elements:
          - {{metric: stock_on_hand, active: true, interval: daily, basis: current_day}}
        data_set_id: STOCK
        data_set_id_scheme: code
        period_format: YYYYMM
        item_field_reference: universal_code
        data_element_id_scheme: code
        org_unit_scheme: code
        items_per_payload: 2
        full_send_every_days: 20
        only_changes: {str(only_changes).lower()}
        delete_vanished: {str(only_changes).lower()}
        """
    )
    for only_changes in (True, False)
}

type Key = tuple[str, str]


@dataclass(eq=False)
class Message:
    """A batch on the queue, or among the dead letters: there is no difference here."""

    batch: Batch
    is_finished: bool = False

    @property
    def attempt_id(self) -> str:
        return self.batch.tracking.attempt_id if self.batch.tracking else f"untracked-{id(self)}"

    @property
    def counted(self) -> RunMessage:
        return RunMessage(self.batch.batch_id, self.attempt_id, len(self.batch.values))


@dataclass(eq=False)
class Delivery:
    """A push that has read how far its batch is, and has not sent yet."""

    message: Message
    began: datetime
    delivery_state: DeliveryState
    is_tracked: bool


def key_of(value: DataValue) -> Key:
    return value.org_unit, value.data_element


class Country(RuleBasedStateMachine):
    """The numbers of some clinics on their way to DHIS2."""

    messages = Bundle("messages")
    deliveries = Bundle("deliveries")

    def __init__(self) -> None:
        super().__init__()
        self.table: Any = TableInMemory("runs", "run_id", "part")
        self.acknowledged: Any = TableInMemory("acknowledged", "target_period", "org_unit")
        self.now = datetime(2026, 6, 1, tzinfo=UTC)
        self.only_changes = True
        self.computed: dict[Key, str] = {}
        self.dhis2: dict[Key, str] = {}
        self.queue: list[Message] = []
        self.under_way: list[Delivery] = []
        self.runs = 0

    @property
    def table_of_runs(self) -> Runs:
        return Runs(self.table)

    def note(
        self,
        delivery: Delivery,
        settled: frozenset[int],
        applied: frozenset[int] = frozenset(),
    ) -> None:
        self.table_of_runs.settle(
            delivery.message.counted,
            delivery.delivery_state,
            dict.fromkeys(settled, "stored"),
            applied=applied,
            began=delivery.began,
            ended=self.now,
        )

    def records(self) -> DeltaTable:
        return DeltaTable(self.acknowledged, self.table, self.now, target_of(SETTINGS[True]))

    # What happens

    @initialize(values=st.lists(st.sampled_from("01"), min_size=3, max_size=3))
    def begin(self, values: list[str]) -> None:
        self.computed = dict(zip(KEYS, values, strict=True))

    @rule(
        target=messages,
        changes=st.dictionaries(st.sampled_from(KEYS), st.sampled_from("01"), max_size=2),
        stuck=st.sets(st.integers(0, 1)),
        hours=st.sampled_from([0, 1, 24]),
    )
    def an_ordinary_day(
        self, changes: dict[Key, str], stuck: set[int], hours: int
    ) -> MultipleResults[Message]:
        """Compute runs, and all it sends arrives at once, but for some batches."""
        self.computed |= changes
        messages = self.run()
        for place, message in enumerate(messages):
            if place not in stuck:
                for delivery in self.begin_push(message):
                    self.end_push(delivery, set(), set())
        self.time_goes_on(timedelta(hours=hours))
        return multiple(*messages)

    def run(self, breaks_off_after: int | None = None, *, full: bool = False) -> list[Message]:
        """Compute; the queue does not take more than so many batches."""
        self.runs += 1
        settings_now = SETTINGS[self.only_changes]
        sent: list[Batch] = []

        def send(batch: Batch) -> None:
            if len(sent) == breaks_off_after:
                raise ConnectionError
            sent.append(batch)

        changes = None
        records = self.records()
        if self.only_changes:
            changes = DeltaFilter(
                records,
                settings_now,
                RunScope(
                    {Metric.STOCK_ON_HAND: frozenset({PERIOD})},
                    frozenset(ORG_UNITS),
                    frozenset(ORG_UNITS),
                    all_items=True,
                    full=full,
                    confirm_deletions=True,
                ),
                self.now,
            )
        else:
            records.invalidate(PERIOD, None)
        try:
            publisher = Publisher(
                run_id=f"run-{self.runs}",
                as_of=self.now,
                settings=settings_now,
                metrics=1,
                send=send,
                delta=changes,
            )
            for values in self.org_units():
                publisher.add(values)
            publisher.flush()
        except ConnectionError:
            pass
        else:
            already_stored = 0 if changes is None else changes.unchanged
            imported = sum(len(batch.values) for batch in sent if batch.operation is Operation.IMPORT)
            assert imported + already_stored == len(self.computed)
            if changes is not None:
                self.see_that_nothing_is_wrongly_left_out(sent)
        messages = [Message(batch) for batch in sent]
        self.queue += messages
        return messages

    def org_units(self) -> Iterator[OrgUnitValues]:
        for code in ORG_UNITS:
            values = [
                DataValue(
                    Column(
                        (data_element, None, None), PERIOD, Scheme.CODE, Metric.STOCK_ON_HAND, data_element
                    ),
                    Origin(org_unit, org_unit),
                    value,
                )
                for (org_unit, data_element), value in self.computed.items()
                if org_unit == code
            ]
            if values:
                yield OrgUnitValues(OrgUnit(code, ()), values)

    def see_that_nothing_is_wrongly_left_out(self, sent: list[Batch]) -> None:
        keys_sent = {
            key_of(value) for batch in sent if batch.operation is Operation.IMPORT for value in batch.values
        }
        left_out = {key: value for key, value in self.computed.items() if key not in keys_sent}
        event(f"{bool(left_out)}: something is left out")
        for key, value in left_out.items():
            assert self.dhis2.get(key) == value
            # Nor can anything arrive, of which nobody would hear, that makes it another.
            for message in self.queue:
                if (
                    not message.is_finished
                    and message.batch.tracking
                    and self.now < message.batch.tracking.until
                ):
                    for other in message.batch.values:
                        if key_of(other) == key and self.may_still_arrive(message, other):
                            assert message.batch.operation is Operation.IMPORT
                            assert other.value == value

    def may_still_arrive(self, message: Message, value: DataValue) -> bool:
        settled = self.table_of_runs.read(message.counted, self.now).settled
        return message.batch.values.index(value) not in settled

    @rule(target=deliveries, message=messages)
    def push_begins(self, message: Message) -> MultipleResults[Delivery]:
        return multiple(*self.begin_push(message))

    def begin_push(self, message: Message) -> list[Delivery]:
        batch, settings_now = message.batch, SETTINGS[self.only_changes]
        delivery_state = self.table_of_runs.read(message.counted, self.now)
        if message.is_finished or len(delivery_state.settled) == len(batch.values):
            return []
        target = target_of(settings_now, batch)
        is_tracked = (
            batch.tracking is not None and self.now < batch.tracking.until and batch.tracking.target == target
        )
        if self.only_changes and not is_tracked:
            for org_unit in {row.org_unit for row in batch.values}:
                self.records().invalidate(PERIOD, org_unit)
        delivery = Delivery(message, self.now, delivery_state, is_tracked)
        self.under_way.append(delivery)
        return [delivery]

    @rule(
        delivery=consumes(deliveries), refused=st.sets(st.integers(0, 1)), waiting=st.sets(st.integers(0, 1))
    )
    def push_ends(self, delivery: Delivery, refused: set[int], waiting: set[int]) -> None:
        if delivery in self.under_way:
            self.end_push(delivery, refused, waiting)

    @rule(delivery=consumes(deliveries), applied=st.sets(st.integers(0, 1)))
    def push_breaks_off(self, delivery: Delivery, applied: set[int]) -> None:
        if delivery in self.under_way:
            self.under_way.remove(delivery)
            self.land(delivery, applied)

    def end_push(self, delivery: Delivery, refused: set[int], waiting: set[int]) -> None:
        self.under_way.remove(delivery)
        batch = delivery.message.batch
        places = set(range(len(batch.values))) - delivery.delivery_state.settled
        settled = places - waiting
        applied = settled - refused
        self.land(delivery, applied)
        tracked = frozenset(applied) if delivery.is_tracked else frozenset[int]()
        self.note(delivery, frozenset(settled), tracked)
        if len(delivery.delivery_state.settled | settled) == len(batch.values):
            delivery.message.is_finished = True

    def land(self, delivery: Delivery, places: set[int]) -> None:
        batch = delivery.message.batch
        for place, value in enumerate(batch.values):
            if place not in places or place in delivery.delivery_state.settled:
                continue
            if batch.operation is Operation.IMPORT:
                self.dhis2[key_of(value)] = value.value
            elif self.dhis2.get(key_of(value)) == value.value:
                del self.dhis2[key_of(value)]

    @rule(message=consumes(messages))
    def the_message_is_lost(self, message: Message) -> None:
        if not any(delivery.message is message for delivery in self.under_way):
            self.queue.remove(message)

    @rule(message=messages)
    def push_finds_that_nothing_is_to_be_sent(self, message: Message) -> None:
        batch = message.batch
        if message in self.queue and not message.is_finished and batch.tracking is not None:
            delivery_state = self.table_of_runs.read(message.counted, self.now)
            every_place = frozenset(range(len(batch.values)))
            delivery = Delivery(message, self.now, delivery_state, is_tracked=True)
            self.note(delivery, every_place)
            message.is_finished = True

    @rule(minutes=st.integers(1, 4) | st.sampled_from([20, 90, 24 * 60, 35 * 24 * 60]))
    def time_passes(self, minutes: int) -> None:
        self.time_goes_on(timedelta(minutes=minutes))

    def time_goes_on(self, time: timedelta) -> None:
        self.now += time
        for delivery in [each for each in self.under_way if self.now - each.began > LONGEST_PUSH]:
            # It lived no longer, and what it sent arrived in time.
            self.under_way.remove(delivery)
            self.land(delivery, {0})
        self.table.forget_expired(self.now)

    def switch_only_changes(self) -> None:
        # While nothing is being pushed: see docs/architecture.md.
        for delivery in list(self.under_way):
            self.end_push(delivery, set(), set())
        self.only_changes = not self.only_changes

    @rule(
        mishap=st.sampled_from(["switched", "a row is damaged", "a run breaks off"]),
        org_unit=st.sampled_from(ORG_UNITS),
        batches=st.integers(0, 1),
    )
    def something_unusual_happens(self, mishap: str, org_unit: str, batches: int) -> None:
        match mishap:
            case "switched":
                self.switch_only_changes()
            case "a row is damaged":
                self.damage_a_row(org_unit)
            case _:
                self.run(breaks_off_after=batches)

    def damage_a_row(self, org_unit: str) -> None:
        item = self.acknowledged.items.get((f"{target_of(SETTINGS[True])}#{PERIOD}", org_unit), {})
        if "content" in item:
            item["content"] = b"?"

    # What comes of it

    def teardown(self) -> None:
        """In the end all is well: everything arrives, and what one more run sends does too."""
        for delivery in list(self.under_way):
            self.end_push(delivery, set(), set())
        if not self.only_changes:
            self.only_changes = True
        self.deliver_everything()
        self.run()
        self.deliver_everything()
        assert {key: self.dhis2.get(key) for key in self.computed} == self.computed

    def deliver_everything(self) -> None:
        for message in self.queue:
            for delivery in self.begin_push(message):
                self.end_push(delivery, set(), set())


@pytest.mark.law
def test_nothing_wrongly_skipped() -> None:
    run_state_machine_as_test(Country, settings=settings(tried(500), stateful_step_count=30))
