"""A line for the log, as the jobs return it to whoever writes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class LogEvent(StrEnum):
    """What a line of the log is about: its field ``event``, on which filters, alarms' links and queries match.

    The names are stable; the sentences beside them may change.
    """

    RUN_COMPUTED = "run_computed"
    SHARD_COMPUTED = "shard_computed"
    SUBJECTS_SKIPPED = "subjects_skipped"
    DATA_WARNINGS = "data_warnings"
    VALUES_EXPORTED = "values_exported"
    RUN_FAILED = "run_failed"
    SHARD_FAILED = "shard_failed"
    SHARD_WAITS = "shard_waits"
    """Another invocation works it."""
    SHARD_DONE_BEFORE = "shard_done_before"
    RUN_STOPPED = "run_stopped"
    """Somebody asked for it; it ends when nothing of it waits."""
    RUN_ENDED = "run_ended"

    DHIS2_CALL = "dhis2_call"
    BATCH_SENT = "batch_sent"
    BATCH_DONE_BEFORE = "batch_done_before"
    VALUE_REJECTED = "value_rejected"
    VALUE_UNACCOUNTED = "value_unaccounted"
    CALL_UNACCOUNTED = "call_unaccounted"
    """Some values of a call are neither stored nor rejected, and nobody can tell which."""
    REASON_UNPLACED = "reason_unplaced"
    """DHIS2 gave a reason without saying for which value."""
    VALUES_SUPERSEDED = "values_superseded"
    VALUES_NOT_SENT = "values_not_sent"
    VALUES_READ_BACK = "values_read_back"
    STORED_VALUES_UNREAD = "stored_values_unread"
    CALLS_REDUCED = "calls_reduced"
    """DHIS2 takes fewer values in a call than the settings say."""
    ORDER_UNKNOWN = "order_unknown"
    """Of some values it cannot be known whether newer ones were sent."""

    MESSAGE_PUT_BACK = "message_put_back"
    MESSAGE_DEAD_LETTERED = "message_dead_lettered"
    MESSAGE_REDRIVEN = "message_redriven"
    DEAD_LETTERS_LISTED = "dead_letters_listed"
    DEAD_LETTERS_REDRIVEN = "dead_letters_redriven"

    BREAKER_CHANGED = "breaker_changed"
    LOGIN_ACCEPTED = "login_accepted"
    LOGIN_REFUSED = "login_refused"
    LOGIN_NOT_TRIED = "login_not_tried"
    PLAIN_HTTP = "plain_http"
    CONNECTION_TESTED = "connection_tested"
    DATABASE_CHECKED = "database_checked"
    VALUE_EXPLAINED = "value_explained"
    HELD_VALUES_READ = "held_values_read"

    WATCHDOG_FOUND = "watchdog_found"
    WATCHDOG_LOOKED = "watchdog_looked"

    BOOKKEEPING_FAILED = "bookkeeping_failed"
    """Something that is kept beside the values could not be written or read; the work goes on."""
    INVOCATION_NOT_UNDERSTOOD = "invocation_not_understood"
    UNEXPECTED_FAULT = "unexpected_fault"


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One line for the log: what it is about, a sentence for people, fields for queries."""

    event: LogEvent
    level: int
    message: str
    fields: Mapping[str, object] = field(default_factory=dict)
