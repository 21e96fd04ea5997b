"""The answer to one question of the preflight, and the few lines that sum up all of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from pydantic import BaseModel, ConfigDict

from msupply_dhis2.errors import MsupplyDhis2Error
from msupply_dhis2.text import all_of, count

DETAILS = 100
"""How many details a check holds: with all its checks a report must fit into an entry of the log (256 KB)."""

_BY_IMPORTANCE = (
    # Without these nothing is stored at all …
    *("settings", "credentials", "login", "queue", "authority", "trial call", "data set", "write access"),
    *("period format", "database", "open period"),
    # … without these some values are not …
    *("option combos", "category options", "approved data", "stores", "org unit reach", "items"),
    *("value types", "zeros"),
    # … and without these they are stored, but not shown or told as they should be.
    *("aggregation", "server", "last successful connection"),
)


class Check(BaseModel):
    """The answer to one question: what was found and, where something needs to be done (not ``ok``), what to do.

    ``name`` is the question's, from when the answer is told. ``note``: it is worth knowing although it is well. ``details``
    are sentences about the single stores, items and so on; ``more_details`` is how many there are besides.
    """

    model_config = ConfigDict(frozen=True)

    name: str = ""
    ok: bool
    note: bool = False
    message: str
    details: tuple[str, ...] = ()
    more_details: int = 0


def _check(
    message: str, details: Sequence[str] = (), more: int = 0, *, ok: bool, note: bool = False
) -> Check:
    more += max(0, len(details) - DETAILS)
    return Check(ok=ok, note=note, message=message, details=tuple(details[:DETAILS]), more_details=more)


passed = partial(_check, ok=True)
noted = partial(_check, ok=True, note=True)
failed = partial(_check, ok=False)
"""Answer that all is well, is well and worth knowing, is not well; ``more`` details are not among those given."""


def judged(wrong: Sequence[str], fault: str, well: str) -> Check:
    """Answer that all is well, or with the fault where anything, a detail each, is wrong."""
    return failed(fault, wrong) if wrong else passed(well)


@dataclass(slots=True, kw_only=True)
class Findings:
    """The answers so far, and the questions that a failure has left without sense."""

    checks: list[Check] = field(default_factory=list)
    not_asked: list[str] = field(default_factory=list)

    def tell(self, name: str, check: Check | None) -> None:
        """Keep the answer to the question of this name, or that it was not asked."""
        if check is None:
            self.not_asked.append(name)
        else:
            self.checks.append(check.model_copy(update={"name": name}))

    def ask[Thing](self, name: str, question: Callable[[], Thing], said: Callable[[Thing], Check]) -> Thing:
        """Return the answer and keep what is said of it as a check; of an error too, before it is raised."""
        try:
            answer = question()
        except MsupplyDhis2Error as error:
            self.tell(name, failed(str(error)))
            raise
        self.tell(name, said(answer))
        return answer


def summarize(*, connected: bool, checks: Sequence[Check], not_asked: Sequence[str]) -> Iterator[str]:
    """Yield what needs attention, the most important first, what is not looked at because of that, and what is well."""
    wrong = sorted((check for check in checks if not check.ok), key=importance)
    if not wrong:
        yield f"{all_of(len(checks), 'check is', 'checks are').capitalize()} well."
    elif connected:
        yield f"{len(wrong)} of {count(len(checks), 'check')} {'needs' if len(wrong) == 1 else 'need'} attention:"
    else:
        yield "There is no connection to DHIS2, so nothing can be sent:"
    for check in wrong:
        first, more, _ = check.message.partition(". ")
        yield f"{check.name}: {first}{'.' if more else ''}"
    if not_asked:
        yield f"Not checked because of that: {'; '.join(not_asked)}."
    yield from (f"Note: {check.message}" for check in checks if check.ok and check.note)
    if wrong and (well := [check.name for check in checks if check.ok]):
        yield f"OK: {'; '.join(well)}."


def importance(check: Check) -> int:
    """Return what checks are sorted by, so that what keeps most from being stored comes first."""
    kind = check.name.partition(",")[0]
    return _BY_IMPORTANCE.index(kind) if kind in _BY_IMPORTANCE else len(_BY_IMPORTANCE)
