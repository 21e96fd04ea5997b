"""What DHIS2 holds, as a person asks test connection: in its answer, or in a file of the bucket."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aws_lambda_powertools import Logger, Metrics

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.environment import TestConnectionEnvironment
from msupply_dhis2.aws.exports import ExportFile
from msupply_dhis2.dhis2.client import Deadline, Dhis2Client
from msupply_dhis2.dhis2.held import Held, parse_held, read_held
from msupply_dhis2.errors import Dhis2SlowError, MsupplyDhis2Error
from msupply_dhis2.handlers.invocation import ERROR, INFO, Invocation, LogEvent, read_login
from msupply_dhis2.handlers.test_connection import ANSWER_SECONDS, TIME_LIMIT, ask_compute
from msupply_dhis2.preflight.job import begin
from msupply_dhis2.state.breaker import log_in
from msupply_dhis2.text import count

VALUES_IN_ANSWER = 1_000
"""Of more there is a file: Lambda's answer may have 6 MB."""


def run(event: Mapping[Any, Any], *, logger: Logger, metrics: Metrics) -> dict[str, object]:
    """Return what DHIS2 holds, as ``values`` or, where they are many, a ``file``; ``status`` is ``read`` or ``failed``."""
    test = Invocation(TestConnectionEnvironment.read(), logger, metrics)
    try:
        answer = {"status": "read", **_read(parse_held(event), test)}
        test.log(LogEvent.HELD_VALUES_READ, INFO, str(answer["message"]))
    except MsupplyDhis2Error as error:
        test.log(LogEvent.HELD_VALUES_READ, ERROR, str(error), error=type(error).__name__)
        answer = {"status": "failed", "message": str(error)}
    test.count("QuestionsFailed", int(answer["status"] == "failed"))
    return answer


def _read(held: Held, test: Invocation[TestConnectionEnvironment]) -> dict[str, object]:
    settings = test.read_settings()
    settings.require_complete()
    credentials, login = read_login(test, settings)
    ask = partial(ask_compute, clients.lambda_(), test.environment.compute_function)
    client = Dhis2Client.of(settings, credentials, read_timeout=ANSWER_SECONDS)
    deadline = client.deadline = Deadline.within(TIME_LIMIT)
    try:
        log_in(test.breakers, login, client, lambda: datetime.now(UTC), deadline.sleep)
        is_by_name = held.stores or held.items or held.metrics
        mapped = begin(ask).result(deadline.insist()).mapped if is_by_name else None
        values, unread = read_held(held, client, settings, mapped)
        left_out = {"left_out": unread} if held.skip_unknown else {}
        with ExportFile(clients.s3(), test.environment.bucket_name) as file:
            first: list[Mapping[str, object]] = []
            number = 0
            for number, value in enumerate(values, start=1):
                file.write(value)
                if number <= VALUES_IN_ANSWER:
                    first.append(value)
            message = f"DHIS2 holds {count(number, 'value')} of what was asked for."
            if number <= VALUES_IN_ANSWER:
                return {"message": message, "values": first, **left_out}
            digest = hashlib.sha256(held.model_dump_json().encode()).hexdigest()[:8]
            address = file.upload(f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-held-{digest}/values.jsonl.gz")
    except (Dhis2SlowError, TimeoutError) as error:
        said = f"The values could not be read within {TIME_LIMIT} seconds. Name fewer org units or periods."
        raise Dhis2SlowError(said) from error
    said = f"{message} They are in a file, which is kept for seven days: {address}"
    return {"message": said, "file": address, **left_out}
