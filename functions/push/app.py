"""Push: a batch from the queue to DHIS2."""

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext

from msupply_dhis2.handlers import push

logger = Logger()
metrics = Metrics()


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: object, context: LambdaContext) -> dict[str, object]:
    """Post the batches of a queue's event, and give back the messages that are to be tried again."""
    return push.run(event, context, logger=logger, metrics=metrics)
