"""What is said of values that are not sent, because DHIS2 has newer ones or is about to."""

import logging
from collections.abc import Mapping

from msupply_dhis2.domain.batch import Batch
from msupply_dhis2.domain.log_record import LogEvent, LogRecord
from msupply_dhis2.state.ordering.claims import Claim
from msupply_dhis2.text import listed

NAMED = 5


def superseded(batch: Batch, older: Mapping[int, Claim]) -> LogRecord:
    """Say of some values of a batch, by their indexes, that newer ones are there, which the claims tell."""
    values = batch.values()
    named = [
        f"{values[index].item}, {values[index].store}, {values[index].metric.label}, {values[index].period}: newer is the "
        f"one of the run {older[index].run_id}, {older[index].revision.sentence()}"
        for index in sorted(older)[:NAMED]
    ]
    return LogRecord(
        LogEvent.VALUES_SUPERSEDED,
        logging.INFO,
        f"{len(older):,} values were skipped, because a later run has sent newer ones, or is about to: "
        f"{listed(named, NAMED, of=len(older), by='; ')}. "
        "Nothing need be done: should that run fail, the last line of this one says so.",
        {"superseded": len(older)},
    )


def too_old(batch: Batch) -> LogRecord:
    """Say of a batch that nobody can tell any more whether DHIS2 has newer values."""
    periods = ", ".join(sorted({row.period for row in batch.rows}))
    return LogRecord(
        LogEvent.VALUES_NOT_SENT,
        logging.WARNING,
        f"{len(batch.rows):,} values were not sent: they were read from mSupply so long ago that nobody can tell any more "
        f"whether DHIS2 has newer ones. To send them, compute their periods again ({periods}), with the months in the "
        'event: {"manual": true, "months": "2026-01..2026-02"}.',
        {"not_sent": len(batch.rows)},
    )
