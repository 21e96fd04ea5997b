"""The few lines on top: what is well and what needs attention, the most important first."""

from collections.abc import Iterator, Sequence

from msupply_dhis2.preflight.check import Check
from msupply_dhis2.text import count

_BY_IMPORTANCE = (
    # Without these nothing is stored at all …
    "settings",
    "credentials",
    "login",
    "queue",
    "authority",
    "trial call",
    "data set",
    "write access",
    "period format",
    "database",
    "open period",
    # … without these some values are not …
    "option combos",
    "category options",
    "approved data",
    "stores",
    "org unit reach",
    "items",
    "value types",
    "zeros",
    # … and without these they are stored, but not shown or told as they should be.
    "aggregation",
    "server",
    "last successful connection",
)


def summarize(*, connected: bool, checks: Sequence[Check], not_asked: Sequence[str]) -> Iterator[str]:
    """Yield the summary of a report; ``not_asked`` are the checks that a failure has left without sense."""
    wrong = sorted((check for check in checks if not check.ok), key=_importance)
    if not wrong:
        yield f"All {count(len(checks), 'check')} are well."
    elif connected:
        yield f"{len(wrong)} of {count(len(checks), 'check')} {'needs' if len(wrong) == 1 else 'need'} attention:"
    else:
        yield "There is no connection to DHIS2, so nothing can be sent:"
    yield from (f"{check.name}: {first_sentence(check.message)}" for check in wrong)
    if not_asked:
        yield f"Not looked at because of that: {', '.join(not_asked)}."
    yield from (f"To note: {check.message}" for check in checks if check.ok and check.to_note)
    if wrong and (well := [check.name for check in checks if check.ok]):
        yield f"Well: {', '.join(well)}."


def _importance(check: Check) -> int:
    kind = check.name.partition(",")[0]
    return _BY_IMPORTANCE.index(kind) if kind in _BY_IMPORTANCE else len(_BY_IMPORTANCE)


def first_sentence(text: str) -> str:
    """Return the first sentence of a text: what is wrong, without what to do."""
    first, separator, _ = text.partition(". ")
    return f"{first}." if separator else text
