"""How a run ends: its file of refused rows, its last line in the log, its metrics.

Whoever does the last thing for a run ends it: push with its last batch, compute where nothing was left to send. The file
comes first, so that its address is in the line; made twice it is the same.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from aws_lambda_powertools import Logger, single_metric
from aws_lambda_powertools.metrics import MetricUnit

from msupply_dhis2.errors import AwsError
from msupply_dhis2.handlers.log import WARNING, LogEvent, log, write
from msupply_dhis2.state.rejected_rows import RejectedRows
from msupply_dhis2.state.run import Outcome, last_line
from msupply_dhis2.state.runs import Runs

ENOUGH_FOR_A_SHARE = 100
"""Of fewer values one alone would be a large share."""


def end_if_done(
    run_id: str,
    runs: Runs,
    rejected_rows: RejectedRows,
    now: datetime,
    *,
    seconds_left: Callable[[], float],
    logger: Logger,
) -> None:
    """End a run that is done; any other is left as it is.

    It ends also where its file cannot be written, and says so. What goes wrong with its row is told, and not raised: the
    values are where they belong, and the run can be ended later.
    """
    try:
        if not runs.is_done(run_id, now):
            return
        parts, damaged = runs.files(run_id)
        file = rejected_rows.write_file(run_id, parts, seconds_left)
        run = runs.close(run_id, file.address if file else None, now)
    except AwsError as error:
        said = f"The end of the run {run_id} could not be noted yet. {error}"
        log(logger, LogEvent.BOOKKEEPING_FAILED, WARNING, said, run_id=run_id)
        return
    if run is None:
        return
    run = replace(run, damaged=(*run.damaged, *damaged))
    told = last_line(run, about_file=file.sentence(), rows_in_file=file.rows) if file else last_line(run)
    write(logger, told)
    is_incomplete = run.outcome in {Outcome.INCOMPLETE, Outcome.FAILED}
    metrics: list[tuple[str, MetricUnit, float]] = [
        ("RunsEnded", MetricUnit.Count, 1),
        ("RunsIncomplete", MetricUnit.Count, int(is_incomplete)),
    ]
    judged = run.counts.stored + run.counts.unchanged + run.counts.rejected
    if judged >= ENOUGH_FOR_A_SHARE:
        metrics.append(("RejectedShare", MetricUnit.Percent, 100 * run.counts.rejected / judged))
    for name, unit, value in metrics:
        # Whichever function says it: an alarm looks at one service.
        with single_metric(name=name, unit=unit, value=value, default_dimensions={"service": "runs"}):
            pass
