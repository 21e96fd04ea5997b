"""Writing log lines with Powertools."""

import logging

from aws_lambda_powertools import Logger

from msupply_dhis2.domain.log_record import LogRecord


def write(logger: Logger, line: LogRecord) -> None:
    """Write a line at its level, its fields beside the message."""
    methods = {logging.INFO: logger.info, logging.WARNING: logger.warning, logging.ERROR: logger.error}
    methods[line.level](line.message, extra=dict(line.fields))
