"""Compute: from mSupply's database to batches on the queue."""

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext

from msupply_dhis2.handlers import compute

logger = Logger()
metrics = Metrics()


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: object, context: LambdaContext) -> dict[str, object]:
    """Work a schedule's event, a manual push, a shard, or the connection test's question about the database."""
    return compute.run(event, context, logger=logger, metrics=metrics)
