"""Five weeks of runs on the emulator, for the dashboard to show: most go well, some do not, as it happens.

Compute, push and the connection test are the deployed functions; what they write and what the queues hold is all that the
picture shows. Made up is the rest: mSupply's sample database, the stand-in for DHIS2 and what goes wrong there, and that
the clock is put forward from one run to the next.
"""

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import urlencode

from pydantic import SecretStr

from local.dashboard.clock import Clock, moved_clock
from local.dashboard.insights import Event
from local.dashboard.metrics import Datum
from local.dhis2 import FaultKind, Metadata, StandIn
from local.emulator import Emulator
from local.sample_world import (
    DHIS2_USER,
    TIME_ZONE,
    catalogue_of,
    dhis2_for,
    metadata_for,
    sample_database,
    settings_for,
    with_unassigned,
    with_whole_numbers_only,
)
from local.stack import StackError
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.periods import Basis, Interval, parse_time_zone
from msupply_dhis2.settings import parse_settings
from msupply_dhis2.source import Catalogue
from msupply_dhis2.watchdog.schedules import parse_schedule

DAYS = 35
"""As many as the dashboard shows when it is opened."""

QUEUES = ("BatchQueue", "ShardQueue", "FailedBatchQueue", "FailedShardQueue", "FailedRunQueue")
LOG_GROUPS = ("PushLogGroup", "ComputeLogGroup", "TestConnectionLogGroup", "WatchdogLogGroup")

_PATIENCE_SECONDS = 60.0

_ROWS = {
    Metric.STOCK_ON_HAND: (Interval.DAILY, Basis.CURRENT_DAY),
    Metric.STOCKED_OUT: (Interval.DAILY, Basis.CURRENT_DAY),
    Metric.EXPIRING: (Interval.WEEKLY, Basis.CURRENT_DAY),
    Metric.EXPIRED: (Interval.WEEKLY, Basis.CURRENT_DAY),
    Metric.OPENING_STOCK: (Interval.FIRST_DAY_OF_MONTH, Basis.CURRENT_DAY),
    Metric.CLOSING_STOCK: (Interval.LAST_DAY_OF_MONTH, Basis.CURRENT_DAY),
}
"""Interval and basis of the metrics that are not sent monthly, about the month before."""


@dataclass(frozen=True, slots=True)
class Shown:
    """All that there is to show.

    Attributes
    ----------
    body
        The dashboard's, as it is deployed.
    events
        What was logged, by log group.
    read
        What the queues held.
    begins, ends
        Of the time that the dashboard shows.
    """

    body: str
    events: dict[str, list[Event]]
    read: list[Datum]
    begins: datetime
    ends: datetime


type Say = Callable[[str], None]


def five_weeks(say: Say) -> Shown:
    """Let it all happen.

    Parameters
    ----------
    say
        Is told what happens.
    """
    now = datetime.now(UTC)
    with ExitStack() as held:
        database = held.enter_context(sample_database(stores=5, items=14))
        certificate = database.server.ca_certificate
        settings = parse_settings(settings_for("http://127.0.0.1", certificate))
        catalogue = catalogue_of(database.address, settings)
        dhis2 = held.enter_context(dhis2_for(metadata_for(catalogue)))
        clock = held.enter_context(moved_clock(now - timedelta(days=DAYS)))
        emulator = held.enter_context(Emulator(python_path=clock.python_path))
        say("sam build")
        emulator.build()
        say("sam deploy")
        emulator.deploy(Timezone=TIME_ZONE, SchedulesState="DISABLED")
        emulator.put_settings(_settings(dhis2.url, certificate))
        emulator.put_secret("DatabaseSecret", database.address)
        weeks = _Weeks(clock, emulator, dhis2, say)
        weeks.pass_by(now, _slips(catalogue))
        return Shown(
            body=emulator.stack.client("cloudwatch").get_dashboard(DashboardName=emulator.name)[
                "DashboardBody"
            ],
            events={group: list(events) for group, events in _logged(emulator)},
            read=weeks.read,
            begins=now - timedelta(days=DAYS),
            ends=now,
        )


def _settings(url: str, certificate: str) -> str:
    document = json.loads(settings_for(url, certificate))
    for row in document["data_elements"]:
        interval, basis = _ROWS.get(Metric(row["metric"]), (Interval.MONTHLY, Basis.PREVIOUS_MONTH))
        row |= {"interval": interval.value, "basis": basis.value}
    return json.dumps(document)


def _logged(emulator: Emulator) -> Iterator[tuple[str, Iterator[Event]]]:
    logs = emulator.stack.client("logs")
    for logical_id in LOG_GROUPS:
        group = emulator.stack.resource(logical_id)
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        yield (
            group,
            (
                Event(datetime.fromtimestamp(event["timestamp"] / 1000, UTC), event["message"].rstrip("\n"))
                for page in pages
                for event in page["events"]
            ),
        )


@dataclass(frozen=True, slots=True)
class Slips:
    """How DHIS2 is set up wrongly.

    Attributes
    ----------
    whole_numbers_only, loses_zeros, missing
        Codes of data elements: of one with the wrong value type, one without "Store zero data values", and one that
        was forgotten.
    unassigned
        The code of an org unit that for some days is not assigned to the data sets.
    """

    whole_numbers_only: str
    loses_zeros: str
    missing: str
    unassigned: str

    def in_elements(self, metadata: Metadata) -> Metadata:
        """Return the same metadata with the slips in data elements."""
        metadata = with_whole_numbers_only(metadata, self.whole_numbers_only)
        elements = tuple(
            element.model_copy(update={"zero_is_significant": element.code != self.loses_zeros})
            for element in metadata.data_elements
            if element.code != self.missing
        )
        return metadata.model_copy(update={"data_elements": elements})


def _slips(catalogue: Catalogue) -> Slips:
    # The numbers in the sample's codes begin with the items that every clinic handles.
    items = sorted(catalogue.items, key=lambda item: item.code[-4:])
    references = [reference for item in items for reference in item.fields.values()]
    whole_numbers_only, loses_zeros, missing, *_ = references
    return Slips(whole_numbers_only, loses_zeros, missing, unassigned=catalogue.stores[1].org_unit)


class _Weeks:
    """What happens, one thing after the other."""

    def __init__(self, clock: Clock, emulator: Emulator, dhis2: StandIn, say: Say) -> None:
        self._clock = clock
        self._emulator = emulator
        self._dhis2 = dhis2
        self._say = say
        self.read: list[Datum] = []

    def pass_by(self, ends: datetime, slips: Slips) -> None:
        """Let the time until an instant pass."""
        right = self._dhis2.metadata
        self._dhis2.metadata = slips.in_elements(right)

        def back(days: float) -> datetime:
            return ends - timedelta(days=days)

        happens: list[tuple[datetime, Callable[[], None]]] = [
            (due, partial(self._scheduled, interval, due))
            for interval, due in self._due(back(DAYS - 0.5), ends)
        ]
        happens += [
            (back(DAYS - 0.1), self._log_in),
            (back(DAYS - 0.2), partial(self._compute, {"manual": True, "basis": "as_in_settings"})),
            (back(26.7), partial(self._set_up, right)),
            (back(19.4), self._password_expires),
            *((back(19.4 - hours / 24), self._probe) for hours in range(2, 60, 2)),
            (back(16.9), self._log_in),
            (back(8.8), partial(self._set_up, with_unassigned(right, slips.unassigned))),
            (back(5.2), partial(self._set_up, right)),
            (back(5.1), partial(self._compute, {"manual": True, "stores": [slips.unassigned]})),
            (back(3.3), self._too_many_requests),
            (back(2.2), self._send_dead_letters_again),
            (back(0.1), self._test),
        ]
        for instant, happen in sorted(happens, key=lambda pair: pair[0]):
            self._wait_for(instant)
            happen()
        self._wait_for(ends)
        self._look()

    def _wait_for(self, instant: datetime) -> None:
        self._clock.put(instant)
        # The server is in the same country.
        self._dhis2.now = instant.astimezone(parse_time_zone(TIME_ZONE)).replace(tzinfo=None)

    def _due(self, begins: datetime, ends: datetime) -> Iterator[tuple[Interval, datetime]]:
        """Yield what the stack's schedules would have begun."""
        scheduler = self._emulator.stack.client("scheduler")
        for interval in Interval:
            name = f"{self._emulator.name}-{interval.value.replace('_', '-')}"
            expression = scheduler.get_schedule(Name=name)["ScheduleExpression"]
            schedule = parse_schedule(expression, parse_time_zone(TIME_ZONE))
            due = schedule.latest(ends)
            while due is not None and due > begins:
                yield interval, due
                due = schedule.latest(due)

    # --------------------------------------------------------------------------------------------- what happens
    def _scheduled(self, interval: Interval, due: datetime) -> None:
        scheduled = due.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        # A server is not always as fast.
        self._dhis2.faults.next(FaultKind.DELAY, method="POST", seconds=0.1 + due.day % 5 / 10)
        self._probe()
        self._compute({"interval": interval.value, "scheduled_time": scheduled})

    def _compute(self, event: dict[str, object]) -> None:
        result = self._emulator.stack.invoke("ComputeFunction", event)
        self._say(result["message"])
        self._look()
        if not self._is_paused():
            self._until(lambda: self._emulator.stack.depth("BatchQueue").is_empty or self._is_paused())
            self._look()

    def _probe(self) -> None:
        self._emulator.stack.invoke("TestConnectionFunction", {"probe": True})
        self._look()

    def _test(self) -> None:
        self._say(self._emulator.stack.invoke("TestConnectionFunction", {})["message"])
        self._look()

    def _log_in(self) -> None:
        """Enter the right password, and test the connection."""
        password = self._dhis2.users[DHIS2_USER].password.get_secret_value()
        login = {"username": DHIS2_USER, "password": password}
        self._emulator.put_secret("Dhis2Secret", json.dumps(login))
        self._test()
        self._until(lambda: self._emulator.stack.depth("BatchQueue").is_empty)
        self._look()

    def _set_up(self, metadata: Metadata) -> None:
        self._dhis2.metadata = metadata

    def _password_expires(self) -> None:
        user = self._dhis2.users[DHIS2_USER]
        changed = SecretStr(user.password.get_secret_value() + "2")
        self._dhis2.users[DHIS2_USER] = user.model_copy(update={"password": changed})
        self._dhis2.forget_sessions()
        self._look()

    def _too_many_requests(self) -> None:
        """Have DHIS2 take nothing for hours: what is sent then becomes a dead letter."""
        self._dhis2.faults.next(FaultKind.TOO_MANY_REQUESTS, method="POST", times=None)
        result = self._emulator.stack.invoke(
            "ComputeFunction", {"manual": True, "metrics": ["stock_on_hand"]}
        )
        self._say(result["message"])
        while self._emulator.stack.depth("FailedBatchQueue").waiting == 0:
            self._look()
            failures = self._put_back()
            self._wait_for(datetime.now(UTC) + timedelta(minutes=20))
            self._until(partial(self._has_failed_again, failures))
        self._dhis2.faults.clear()
        self._look()

    def _send_dead_letters_again(self) -> None:
        answer = self._emulator.stack.invoke("PushFunction", {"dead_letters": "redrive"})
        self._say(answer["message"])
        self._until(lambda: self._emulator.stack.depth("BatchQueue").is_empty)
        self._look()

    def _has_failed_again(self, failures: int) -> bool:
        return self._put_back() > failures or self._emulator.stack.depth("FailedBatchQueue").waiting > 0

    def _put_back(self) -> int:
        recent = self._emulator.stack.logs("PushFunction", datetime.now(UTC) - timedelta(days=1))
        return sum("wait" in line.fields for line in recent)

    # ------------------------------------------------------------------------------------------------- looking
    def _is_paused(self) -> bool:
        mapping = self._emulator.stack.client("lambda").get_event_source_mapping(
            UUID=self._emulator.stack.resource("PushFunctionBatch")
        )
        return bool(mapping["State"] == "Disabled")

    def _look(self) -> None:
        """Read of each queue what CloudWatch would."""
        now = datetime.now(UTC)
        for queue in QUEUES:
            address = self._emulator.stack.resource(queue)
            dimensions = (("QueueName", address.rpartition("/")[2]),)
            waiting = self._emulator.stack.depth(queue).waiting
            sent = self._sent_at(address)
            age = now.timestamp() - min(sent) if sent else 0.0
            self.read += [
                Datum("AWS/SQS", "ApproximateNumberOfMessagesVisible", dimensions, now, waiting),
                Datum("AWS/SQS", "ApproximateAgeOfOldestMessage", dimensions, now, max(age, 0.0)),
            ]

    def _sent_at(self, address: str) -> list[float]:
        """Ask the emulator when the messages of a queue were sent; to receive them would count as a delivery."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        query = urlencode({"QueueUrl": address})
        with direct.open(f"{self._emulator.endpoint}/_ministack/sqs/messages?{query}") as answer:
            accounts = json.load(answer)["messages"]
        return [
            float(message["SentTimestamp"])
            for regions in accounts.values()
            for queues in regions.values()
            for messages in queues.values()
            for message in messages
        ]

    def _until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > end:
                said = [line.message for line in self._emulator.stack.logs("PushFunction")][-3:]
                raise StackError("What was waited for did not come. Push logged last:\n" + "\n".join(said))
            time.sleep(0.05)
