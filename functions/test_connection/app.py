"""Test connection: does DHIS2 authenticate the user, and does what it needs fit."""

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext

from msupply_dhis2.handlers import probe, test_connection

logger = Logger()
metrics = Metrics()


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: object, context: LambdaContext) -> dict[str, object]:
    """Test the connection and say what works and what does not; on schedule only look after a paused queue."""
    if event == {"probe": True}:
        return probe.run(context, logger=logger, metrics=metrics)
    return test_connection.run(context, logger=logger, metrics=metrics)
