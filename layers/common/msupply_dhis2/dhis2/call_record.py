"""The line of the log about one call to DHIS2: what was asked, what came back, and how long that took."""

import logging
import re

import requests

from msupply_dhis2.domain.log_record import LogEvent, LogRecord
from msupply_dhis2.redaction import Mask

_ANSWER_LIMIT = 300
"""Characters of an answer: enough for its beginning, where DHIS2 says what is wrong, and a line costs little."""

_LOOKED_AT = 65_536
"""Bytes of an answer that are looked at, so that no secret is cut in half before it is found."""

_COUNTS = re.compile(rb'(?<!\\)"importCount"\s*:\s*\{([^{}]*)\}')
_COUNT = re.compile(rb'"(imported|updated|ignored|deleted)"\s*:\s*(\d{1,12})')


def call_record(
    method: str, path: str, seconds: float, bytes_sent: int, answer: requests.Response | str, mask: Mask
) -> LogRecord:
    """Return the line about a call; ``answer`` is what came, or the kind of fault where nothing did."""
    call: dict[str, object] = {
        "method": method,
        "path": path,
        "seconds": round(seconds, 3),
        "bytes_sent": bytes_sent,
    }
    if isinstance(answer, str):
        return _record(call | {"fault": answer}, f"no answer ({answer})")
    call["status"] = answer.status_code
    call["bytes_received"] = len(answer.content)
    if counts := _COUNTS.search(answer.content):
        call |= {name.decode(): int(number) for name, number in _COUNT.findall(counts[1])}
    if path.startswith("/api/"):
        # What answers elsewhere is a token.
        begin = answer.content[:_LOOKED_AT].decode("utf-8", "replace")
        call["answer"] = mask.text(begin, _ANSWER_LIMIT)
    return _record(call, f"status {answer.status_code}")


def _record(call: dict[str, object], outcome: str) -> LogRecord:
    message = f"{call['method']} {call['path']}: {outcome} after {call['seconds']} s."
    return LogRecord(LogEvent.DHIS2_CALL, logging.INFO, message, call)
