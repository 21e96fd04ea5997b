"""Pausing the queue while DHIS2 refuses the login or is down, and resuming it once it lets one in.

Paused means that Lambda no longer takes messages from the queue: they wait, use up none of their deliveries, and
try no login. What pauses is the event source mapping between the queue and push.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from msupply_dhis2.configuration import aws_faults
from msupply_dhis2.connections import written_in
from msupply_dhis2.errors import ConfigurationError
from msupply_dhis2.logins import Refusal, forget_refusal, read_refusal
from msupply_dhis2.outages import Outage, begin_trial, forget_outage, pausing_outage, read_outage

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table
    from mypy_boto3_lambda import LambdaClient

_TRIES = 3
_BUSY_SECONDS = 2.0


def mapping_of(client: "LambdaClient", function: str, queue_arn: str) -> str:
    """Give the id of the event source mapping that delivers a queue's messages to a function.

    Push asks for it, because its own environment cannot name it: the mapping is made after the function.

    Raises
    ------
    ConfigurationError
        There is none, or Lambda cannot be asked.
    """
    with aws_faults("looking for the mapping between queue and push", client):
        found = client.list_event_source_mappings(FunctionName=function, EventSourceArn=queue_arn)
    for mapping in found["EventSourceMappings"]:
        return mapping["UUID"]
    raise ConfigurationError(
        f"No event source mapping delivers the messages of {queue_arn} to {function}. Deploy the stack again "
        "(make deploy)."
    )


def why_paused(reason: Refusal | Outage, time_zone: ZoneInfo) -> str:
    """Say since when the queue is paused, and why; the whole of what was said is in push's log."""
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
    """Say when the queue is resumed by itself, to follow "it is resumed"; ``written`` writes an instant for people."""
    if outage.next_trial is None or outage.next_trial <= now:
        return "within 15 minutes after DHIS2 answers again"
    return f"on trial at {written(outage.next_trial)}, if DHIS2 lets us in then"


class QueuePause:
    """The pause of the queue, with the refused login, or the outage, as its reason.

    Parameters
    ----------
    table
        Where the reasons are kept.
    client
        Lambda.
    mapping
        Gives the id of the event source mapping.
    sleep
        How to wait for some seconds.
    """

    def __init__(
        self,
        table: "Table",
        client: "LambdaClient",
        mapping: Callable[[], str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._table = table
        self._client = client
        self._mapping = mapping
        self._sleep = sleep

    def begin(self) -> bool:
        """Pause the queue; once more does no harm.

        Returns
        -------
        bool
            Whether it is paused now: not where the reason was forgotten meanwhile, because DHIS2 has let somebody in.

        Raises
        ------
        ConfigurationError
            Lambda refused, or the table.
        """
        self._switch("pausing the queue", enabled=False)
        if read_refusal(self._table) or pausing_outage(self._table):
            return True
        # Nobody looks after a pause for which there is no reason.
        self._switch("resuming the queue", enabled=True)
        return False

    def end(self) -> None:
        """Resume the queue, and only then forget the reasons: while there is one, somebody looks after it.

        A reason that comes up meanwhile stays.

        Raises
        ------
        ConfigurationError
            Lambda or the table refused.
        """
        refusal, outage = read_refusal(self._table), read_outage(self._table)
        self._switch("resuming the queue", enabled=True)
        if refusal is not None:
            forget_refusal(self._table, refusal)
        if outage is not None:
            forget_outage(self._table, outage)

    def try_out(self, outage: Outage, now: datetime) -> None:
        """Resume the queue to see whether DHIS2 takes values again; the next failure pauses it.

        Raises
        ------
        ConfigurationError
            Lambda or the table refused.
        """
        self._switch("resuming the queue", enabled=True)
        begin_trial(self._table, outage, now)

    def is_on(self) -> bool:
        """Tell whether Lambda takes no messages, whoever switched it off.

        Raises
        ------
        ConfigurationError
            Lambda refused.
        """
        with aws_faults("looking whether the queue is paused", self._client):
            state = self._client.get_event_source_mapping(UUID=self._mapping())["State"]
        return state in {"Disabled", "Disabling"}

    def _switch(self, doing: str, *, enabled: bool) -> None:
        mapping = self._mapping()
        with aws_faults(doing, self._client):
            for _ in range(_TRIES - 1):
                try:
                    self._client.update_event_source_mapping(UUID=mapping, Enabled=enabled)
                except self._client.exceptions.ResourceInUseException:
                    # Lambda is still at the last change, for some seconds.
                    self._sleep(_BUSY_SECONDS)
                else:
                    return
            self._client.update_event_source_mapping(UUID=mapping, Enabled=enabled)
