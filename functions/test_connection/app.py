"""Test connection: does DHIS2 authenticate the user, and does what it needs fit; and what DHIS2 holds."""

from collections.abc import Mapping

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext

from msupply_dhis2.domain.reading import with_names
from msupply_dhis2.handlers import held, test_connection

logger = Logger()
metrics = Metrics()


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: object, _: LambdaContext) -> dict[str, object]:
    """Test the connection and say what works and what does not; on schedule only see whether values may be sent again."""
    event = with_names(event)
    if event == {"probe": True}:
        return test_connection.probe(logger=logger, metrics=metrics)
    if isinstance(event, Mapping) and "held" in event:
        return held.run(event, logger=logger, metrics=metrics)
    typed = event if isinstance(event, Mapping) and "typed" in event else {}
    return test_connection.run(typed, logger=logger, metrics=metrics)
