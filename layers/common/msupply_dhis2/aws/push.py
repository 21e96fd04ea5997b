"""Push on AWS: messages from the queue in, the ones to try again out."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeGuard

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.log import write
from msupply_dhis2.aws.queue import DeadLetters
from msupply_dhis2.batches import Batch, BatchError, decode
from msupply_dhis2.configuration import PushEnvironment, aws_faults, read_dhis2_credentials, read_settings
from msupply_dhis2.connections import last_success, record_success
from msupply_dhis2.credentials import Dhis2Credentials
from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.errors import Dhis2AuthenticationError, EventError, MsupplyDhis2Error
from msupply_dhis2.push import BatchResult, not_sent, push
from msupply_dhis2.settings import Settings

REFUSED_FOR = timedelta(minutes=15)
"""As long as DHIS2 locks an account after four failures."""

_AFTER_REFUSAL = (
    "They are not tried again by themselves, because that could lock the account: correct the credentials "
    "(make credentials), test the connection, then send the dead letters again (docs/operating.md)."
)


def run(event: object, context: LambdaContext, *, logger: Logger, metrics: Metrics) -> dict[str, object]:
    """Push every message of an event.

    Returns
    -------
    dict
        SQS's partial batch response: the messages to deliver again.

    Raises
    ------
    EventError
        Invoked with anything but messages of the queue.
    """
    if not _is_from_the_queue(event):
        message = (
            "Push is invoked by the queue only. To push by hand, invoke compute with "
            '{"manual": true}; to send dead letters again, redrive the dead-letter queue.'
        )
        logger.error(message)
        metrics.add_metric(name="EventsNotUnderstood", unit=MetricUnit.Count, value=1)
        raise EventError(message)
    push_messages = _PushMessages(PushEnvironment.read(), logger, metrics)
    # A batch of one is the rule: failing as a whole would make each message that is tried again an error of
    # the function, and hide the real ones.
    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
    response = process_partial_response(
        event=dict(event), record_handler=push_messages.push, processor=processor, context=context
    )
    return dict(response)


def _is_from_the_queue(event: object) -> TypeGuard[Mapping[str, object]]:
    if not isinstance(event, Mapping):
        return False
    records = event.get("Records")
    return (
        isinstance(records, list)
        and bool(records)
        and all(isinstance(record, Mapping) and record.get("eventSource") == "aws:sqs" for record in records)
    )


class _PushMessages:
    """Works the messages of one invocation."""

    def __init__(self, environment: PushEnvironment, logger: Logger, metrics: Metrics) -> None:
        self._environment = environment
        self._logger = logger
        self._metrics = metrics
        self._dead_letters = DeadLetters(clients.sqs(), environment.dead_letter_queue_url)

    def push(self, record: SQSRecord) -> None:
        """Work one message; it is finished when this returns and delivered again when it raises."""
        self._logger.append_keys(receive=record.attributes.approximate_receive_count)
        batch = None
        try:
            batch = self._batch(record.body)
            if batch is not None:
                self._push(batch, record.body)
        except MsupplyDhis2Error as error:
            self._put_back(batch, str(error), error)
            raise
        except Exception as error:
            # Powertools keeps what a record raises to itself: without this line nobody would hear of it.
            self._logger.exception("Push met a fault of its own.")
            self._put_back(batch, "push met a fault of its own, see the line before.", error)
            raise
        finally:
            self._logger.remove_keys(["receive", "run_id", "batch_id"])

    def _batch(self, body: str) -> Batch | None:
        """Read a message; one that is no batch goes to the dead letters."""
        try:
            batch = decode(body)
        except BatchError as error:
            self._bury(body, str(error))
            return None
        self._logger.append_keys(run_id=batch.run_id, batch_id=batch.batch_id)
        return batch

    def _put_back(self, batch: Batch | None, reason: str, error: Exception) -> None:
        self._count("BatchesToTryAgain", 1)
        waiting = len(batch.rows) if batch else 0
        what = f"{waiting:,} values go" if batch else "A message goes"
        self._logger.warning(
            f"{what} back to the queue, to be tried again later: {reason}",
            error=type(error).__name__,
            waiting=waiting,
        )

    def _push(self, batch: Batch, body: str) -> None:
        settings = read_settings(self._environment.settings_parameter, clients.ssm())
        if not settings.use_dhis2:
            self._report(not_sent(batch))
            self._count("ValuesNotSent", len(batch.rows))
            return
        credentials = read_dhis2_credentials(
            self._environment.dhis2_secret, clients.secretsmanager(), settings
        )
        login = _login(settings, credentials)
        try:
            self._forbid_what_was_refused(login, settings, credentials)
            result = push(batch, _client(login, settings, credentials))
        except Dhis2AuthenticationError as error:
            _refused.setdefault(login, datetime.now(UTC))
            self._bury(
                body, f"{error} {len(batch.rows):,} values wait in the dead-letter queue. {_AFTER_REFUSAL}"
            )
            return
        self._report(result)
        if result.answered:
            self._remember_connection(settings, credentials)

    def _forbid_what_was_refused(self, login: str, settings: Settings, credentials: Dhis2Credentials) -> None:
        """Raise Dhis2AuthenticationError where DHIS2 refused this login lately and has not taken it since."""
        refused = _refused.get(login)
        if refused is None:
            return
        table = clients.table(self._environment.table_name)
        with aws_faults("reading the last successful connection", table.meta.client):
            taken = last_success(table, str(settings.url), credentials.username)
        until = refused + REFUSED_FOR
        if until <= datetime.now(UTC) or (taken is not None and taken > refused):
            del _refused[login]
            return
        raise Dhis2AuthenticationError(
            f"Authentication failed at {refused:%H:%M} UTC with the same credentials. DHIS2 is not asked again "
            f"before {until:%H:%M} UTC, unless a connection test succeeds."
        )

    def _remember_connection(self, settings: Settings, credentials: Dhis2Credentials) -> None:
        table = clients.table(self._environment.table_name)
        try:
            record_success(table, str(settings.url), credentials.username, datetime.now(UTC))
        except (BotoCoreError, ClientError) as error:
            # The values are in DHIS2: sending them again because this could not be noted would be worse.
            self._logger.warning(f"The last successful connection could not be noted: {error}")

    def _bury(self, body: str, reason: str) -> None:
        self._dead_letters.put(body, reason)
        self._count("BatchesDead", 1)
        self._logger.error(f"A message went to the dead-letter queue. {reason}")

    def _report(self, result: BatchResult) -> None:
        for line in result.lines:
            write(self._logger, line)
        self._count("ValuesStored", result.counts.stored)
        self._count("ValuesUnchanged", result.counts.unchanged)
        self._count("ValuesRejected", result.counts.rejected)
        self._count("ValuesUnaccounted", result.counts.unaccounted)

    def _count(self, name: str, value: int) -> None:
        self._metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)


def _login(settings: Settings, credentials: Dhis2Credentials) -> str:
    """Give a digest of address and login, to tell whether they are still the same."""
    login = f"{settings.url}\n{credentials.username}\n{credentials.password.get_secret_value()}"
    return hashlib.sha256(login.encode()).hexdigest()


_clients: dict[str, Dhis2Client] = {}


def _client(login: str, settings: Settings, credentials: Dhis2Credentials) -> Dhis2Client:
    """Give the client of a warm function, with its session, for as long as address and login stay the same."""
    if login not in _clients:
        _clients.clear()
        _clients[login] = Dhis2Client(str(settings.url), credentials)
    return _clients[login]


_refused: dict[str, datetime] = {}
"""When DHIS2 refused a login: the messages that wait must not all try it."""


def forget_logins() -> None:
    """Forget sessions and refusals, as a cold start does."""
    _clients.clear()
    _refused.clear()
