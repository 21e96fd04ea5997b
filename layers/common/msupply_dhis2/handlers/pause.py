"""Pausing the queue while DHIS2 refuses the login or is down, and resuming it once it lets one in.

Paused means that Lambda no longer takes messages from the queue: they wait, use up none of their deliveries, and
try no login. What pauses is the event source mapping between the queue and push.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from aws_lambda_powertools.utilities.typing import LambdaContext

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.environment import TestConnectionEnvironment
from msupply_dhis2.aws.errors import aws_faults
from msupply_dhis2.errors import AwsBusyError, AwsRefusedError
from msupply_dhis2.state.connections import written_in
from msupply_dhis2.state.logins import Refusal, forget_refusal, read_refusal
from msupply_dhis2.state.outages import Outage, begin_trial, forget_outage, pausing_outage, read_outage
from msupply_dhis2.state.resumption import Resumption, forget_resumption, note_resumption, read_resumption

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table
    from mypy_boto3_lambda import LambdaClient

_WAITS = (1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0)
"""Seconds. While Lambda is at one change of a mapping it refuses the next, and may be at it for most of a minute."""

_ON = frozenset({"Enabled", "Enabling"})
_OFF = frozenset({"Disabled", "Disabling"})

_FOR_TELLING_SECONDS = 5.0
"""Kept of a connection test's time, to tell what is known."""

type Reason = Refusal | Outage | Resumption
"""For what the queue is paused: the login is refused, DHIS2 is down, or Lambda has not resumed it yet."""


def reason_of_pause(table: "Table") -> Reason | None:
    """Return the reason for which the queue is paused, or ``None`` where there is none, whoever else has paused it.

    Raises
    ------
    AwsError
        The table cannot be read.
    """
    return read_refusal(table) or pausing_outage(table) or read_resumption(table)


def mapping_of(client: "LambdaClient", function: str, queue_arn: str) -> str:
    """Return the id of the event source mapping that delivers a queue's messages to a function.

    Push asks for it, because its own environment cannot name it: the mapping is made after the function.

    Raises
    ------
    AwsError
        There is none, or Lambda cannot be asked.
    """
    with aws_faults("looking for the mapping between queue and push", client):
        found = client.list_event_source_mappings(FunctionName=function, EventSourceArn=queue_arn)
    for mapping in found["EventSourceMappings"]:
        return mapping["UUID"]
    raise AwsRefusedError(
        f"No event source mapping delivers the messages of {queue_arn} to {function}. Deploy the stack again "
        "(make deploy)."
    )


def why_paused(reason: Reason, time_zone: ZoneInfo) -> str:
    """Say since when the queue is paused, and why; the whole of what was said is in push's log."""
    if isinstance(reason, Resumption):
        return (
            "The queue is paused, though nothing is in its way any more: Lambda was told to resume it at "
            f"{written_in(reason.since, time_zone)}, and could not do it yet."
        )
    if isinstance(reason, Outage):
        fault, _, _ = reason.said.partition(". ")
        return f"The queue is paused: since {written_in(reason.since, time_zone)} DHIS2 is down. {fault.removesuffix('.')}."
    refusal = reason
    fault, _, _ = refusal.said.partition(". ")
    return (
        f"The queue is paused since {written_in(refusal.since, time_zone)}, because DHIS2 refuses the login of "
        f"{refusal.login.user}: {fault.removesuffix('.')}."
    )


def when_resumed(outage: Outage, now: datetime, written: Callable[[datetime], str]) -> str:
    """Return when the queue is resumed by itself, to follow "it is resumed"; ``written`` writes an instant for people."""
    if outage.next_trial is None or outage.next_trial <= now:
        return "within 15 minutes after DHIS2 answers again"
    return f"on trial at {written(outage.next_trial)}, if DHIS2 lets us in then"


class QueuePause:
    """The pause of the queue, with its reason.

    Parameters
    ----------
    table
        Where the reasons are kept.
    client
        Lambda.
    mapping
        Gives the id of the event source mapping.
    seconds_left
        For how long Lambda may be waited for, which is at most a minute.
    sleep
        How to wait for some seconds.
    """

    def __init__(
        self,
        table: "Table",
        client: "LambdaClient",
        mapping: Callable[[], str],
        seconds_left: Callable[[], float],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._table = table
        self._client = client
        self._mapping = mapping
        self._seconds_left = seconds_left
        self._sleep = sleep

    def begin(self) -> bool:
        """Pause the queue; once more does no harm.

        Returns
        -------
        bool
            Whether it is paused now: not where the reason was forgotten meanwhile, because DHIS2 has let somebody in.

        Raises
        ------
        AwsError
            Lambda refused, or the table.
        """
        self._switch(self._mapping(), "pausing the queue", enabled=False)
        if read_refusal(self._table) or pausing_outage(self._table):
            # It is for this that it is paused now, whatever was over before.
            forget_resumption(self._table)
            return True
        # Nobody looks after a pause for which there is no reason.
        self.resume()
        return False

    def end(self) -> None:
        """Resume the queue, and forget the reasons.

        A reason that comes up meanwhile stays. Where Lambda cannot resume it yet that is the reason from now on, and
        the probe looks after it: of a login that was refused it would not find out that DHIS2 takes it again.

        Raises
        ------
        AwsError
            Lambda or the table refused.
        """
        self._resume(read_refusal(self._table), read_outage(self._table))

    def resume(self) -> None:
        """Resume the queue, as there is no reason any more for which it was paused; as ``end``."""
        self._resume(None, None)

    def _resume(self, refusal: Refusal | None, outage: Outage | None) -> None:
        mapping = self._mapping()
        # First: while there is a reason, somebody looks after the queue.
        note_resumption(self._table, datetime.now(UTC))
        if refusal is not None:
            forget_refusal(self._table, refusal)
        if outage is not None:
            forget_outage(self._table, outage)
        self._switch(mapping, "resuming the queue", enabled=True)
        forget_resumption(self._table)

    def try_out(self, outage: Outage, now: datetime) -> None:
        """Resume the queue to see whether DHIS2 takes values again; the next failure pauses it.

        Raises
        ------
        AwsError
            Lambda or the table refused.
        """
        self._switch(self._mapping(), "resuming the queue", enabled=True)
        begin_trial(self._table, outage, now)

    def is_on(self) -> bool:
        """Return whether Lambda takes no messages, whoever switched it off.

        Raises
        ------
        AwsError
            Lambda refused.
        """
        with aws_faults("looking whether the queue is paused", self._client):
            return self._state(self._mapping()) in _OFF

    def _state(self, mapping: str) -> str:
        return self._client.get_event_source_mapping(UUID=mapping)["State"]

    def _switch(self, mapping: str, doing: str, *, enabled: bool) -> None:
        faults = self._client.exceptions
        with aws_faults(doing, self._client):
            for wait in (*_WAITS, None):
                try:
                    self._client.update_event_source_mapping(UUID=mapping, Enabled=enabled)
                except (faults.ResourceInUseException, faults.ResourceConflictException) as error:
                    # The last change may be the same, made by another function.
                    if self._state(mapping) in (_ON if enabled else _OFF):
                        return
                    if wait is None or self._seconds_left() < wait:
                        raise AwsBusyError(
                            f"Lambda was still at its last change of the mapping between queue and push, while {doing}."
                        ) from error
                    self._sleep(wait)
                else:
                    return


def pause_for_tests(environment: TestConnectionEnvironment, context: LambdaContext) -> QueuePause:
    """Return the pause as a connection test and the probe meet it: one function, whose environment names the mapping."""
    return QueuePause(
        clients.table(environment.table_name),
        clients.event_sources(),
        lambda: environment.queue_mapping,
        lambda: context.get_remaining_time_in_millis() / 1000 - _FOR_TELLING_SECONDS,
    )
