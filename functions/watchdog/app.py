"""Watchdog: once a day, did everything take place, and did it end."""

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext

from msupply_dhis2.handlers import watchdog

logger = Logger()
metrics = Metrics()


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: object, context: LambdaContext) -> dict[str, object]:  # noqa: ARG001 the decorator needs it
    """Look after runs and messages, and tell the alarms' topic what somebody has to do."""
    return watchdog.run(context, logger=logger, metrics=metrics)
