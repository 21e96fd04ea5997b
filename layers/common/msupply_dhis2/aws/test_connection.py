"""Test connection on AWS."""

import json
import logging
from datetime import UTC, datetime
from functools import partial

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.log import write
from msupply_dhis2.configuration import (
    TestConnectionEnvironment,
    aws_faults,
    read_dhis2_credentials,
    read_settings,
)
from msupply_dhis2.credentials import Dhis2Credentials
from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.errors import SourceError
from msupply_dhis2.periods import Calendar, parse_time_zone
from msupply_dhis2.push import LogLine
from msupply_dhis2.settings import Settings
from msupply_dhis2.test_connection import test_connection

ANSWER_SECONDS = 6
"""How long DHIS2 may take for each of the test's four small questions."""


def run(*, logger: Logger, metrics: Metrics) -> dict[str, object]:
    """Test the connection.

    Returns
    -------
    dict
        A ``ConnectionReport`` as JSON.
    """
    environment = TestConnectionEnvironment.read()

    def read_credentials(settings: Settings) -> Dhis2Credentials:
        return read_dhis2_credentials(environment.dhis2_secret, clients.secretsmanager(), settings)

    report = test_connection(
        settings_reader=lambda: read_settings(environment.settings_parameter, clients.ssm()),
        credentials_reader=read_credentials,
        client_factory=partial(Dhis2Client, read_timeout=ANSWER_SECONDS),
        database_check=lambda: _ask_compute(environment.compute_function),
        table=clients.table(environment.table_name),
        calendar=Calendar(parse_time_zone(environment.timezone)),
        clock=lambda: datetime.now(UTC),
    )
    answer = report.model_dump(mode="json")
    all_well = report.connected and all(check.ok for check in report.checks)
    write(logger, LogLine(logging.INFO if all_well else logging.WARNING, report.message, {"report": answer}))
    metrics.add_metric(name="ConnectionTestsSucceeded", unit=MetricUnit.Count, value=int(report.connected))
    return answer


def _ask_compute(function: str) -> str:
    """Ask compute, which may sit in another network, whether mSupply's database answers.

    Raises
    ------
    SourceError
        It does not.
    ConfigurationError
        Compute cannot be asked.
    """
    with aws_faults("asking compute about mSupply's database", clients.lambda_()):
        answer = clients.lambda_().invoke(FunctionName=function, Payload=json.dumps({"check_database": True}))
    result = json.loads(answer["Payload"].read())
    message = str(result.get("message") or result.get("errorMessage") or "no reason given")
    if answer.get("FunctionError"):
        raise SourceError(f"Compute failed when asked about mSupply's database: {message}")
    if result.get("status") == "failed":
        raise SourceError(message)
    return message
