"""Writing log lines with Powertools: each has the field ``event``.

Powertools itself, and boto3, may write a line without one, where something is wrong with the environment.
"""

from logging import DEBUG, ERROR, INFO, WARNING

from aws_lambda_powertools import Logger

from msupply_dhis2.domain.log_record import LogEvent, LogRecord

__all__ = ["DEBUG", "ERROR", "INFO", "WARNING", "LogEvent", "log", "write"]


def log(
    logger: Logger, event: LogEvent, level: int, message: str, *, exc_info: bool = False, **fields: object
) -> None:
    """Write a line at a level, with the traceback of the error that is being handled where asked for."""
    write(logger, LogRecord(event, level, message, fields), exc_info=exc_info, stacklevel=4)


def write(logger: Logger, record: LogRecord, *, exc_info: bool = False, stacklevel: int = 3) -> None:
    """Write a record at its level, its event and its fields beside the message; ``stacklevel`` finds who wrote it."""
    methods = {DEBUG: logger.debug, INFO: logger.info, WARNING: logger.warning, ERROR: logger.error}
    methods[record.level](
        record.message,
        extra={"event": record.event.value, **record.fields},
        exc_info=exc_info,
        stacklevel=stacklevel,
    )
