"""What became of each value of a push, read from DHIS2's answer.

The HTTP status is not the outcome: partial success is a 409 from 2.38 to 2.42, a 200 from 2.43 and a 200
with a bare import summary up to 2.37. The body decides. Three generations of servers differ:

- up to 2.42 rows are imported one by one: a refused row is listed by its place in the request, the others are
  stored; unchanged rows count as ``ignored`` (later releases of 2.38 to 2.42) or as ``updated`` (before);
  a zero that DHIS2 drops is counted nowhere, or as ``deleted`` where it removed an older value;
- from 2.43 one identifier that cannot be resolved (indexes ``[-1]``) or one wrong org unit, period or data
  element (indexes of the whole group) refuses every row; only faults of the value itself are per row; whatever
  was stored, new, changed or unchanged, counts as ``updated``.

Each value that was sent has an outcome in ``ImportSummary``; where the server's counts do not add up, the rest is
*unaccounted*, or the outcome is unknown and the request is to be sent again.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import cast

from msupply_dhis2.dhis2.client import Answer
from msupply_dhis2.dhis2.error_catalogue import HELD_BACK, NO_REASON
from msupply_dhis2.domain.outcome import Extent, Reason, ValueOutcome, accepted, rejected
from msupply_dhis2.errors import Dhis2PermanentError, Dhis2TransientError
from msupply_dhis2.redaction import Mask

_NUMBERED = re.compile(r"Value #(\d{1,9})\b")
_DESCRIPTION_LIMIT = 300
_CODE_LIMIT = 50
_TEXT_LIMIT = 1000
"""Characters: from 2.43 one reason may name a thousand org units, and stands for a thousand values."""


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What became of the values of one request: ``outcomes`` has one for each, by its index, in the order of the request.

    Up to 2.42 unaccounted are typically zeros of a data element whose "zero is significant" is off. From 2.43, and in 2.37
    and before, values that were there already are among the stored: those servers do not tell. Of a delete, those that were
    not there are among the deleted. ``deleted`` is how many older values an import removed, as DHIS2 says: each is a zero,
    unaccounted, that wiped out what was there. ``unplaced`` are reasons that are about no value by name (2.36 and older).
    """

    outcomes: Mapping[int, ValueOutcome]
    deleted: int = 0
    unplaced: tuple[Reason, ...] = ()


def read_import_summary(answer: Answer, sent: int, *, deletes: bool = False) -> ImportSummary:
    """Read the answer to ``POST /api/dataValueSets``.

    Up to 2.42 a value to delete that is not there is ignored, and listed as rejected without a conflict. Raises
    ``Dhis2TransientError`` where the outcome is unknown (send the same again), ``Dhis2PermanentError`` where it is not an import
    summary.
    """
    summary = _summary(answer)
    counts = cast("Mapping[str, object]", summary["importCount"])
    imported, updated, ignored, deleted = (
        max(value, 0) if isinstance(value := counts.get(name), int) else 0
        for name in ("imported", "updated", "ignored", "deleted")
    )
    stored = imported + updated
    reasons: dict[int, list[Reason]] = defaultdict(list)
    unplaced: tuple[Reason, ...] = ()
    names_one_for_all = False
    for reason, rows, is_for_all in _conflicts(summary.get("conflicts"), sent, answer.mask):
        names_one_for_all |= is_for_all
        unplaced += () if rows else (reason,)
        for index in rows:
            reasons[index].append(reason)
    if not deletes or _is_import_by_group(summary):
        for index in _indexes(summary.get("rejectedIndexes"), sent) - reasons.keys():
            reasons[index].append(Reason(NO_REASON, "DHIS2 refused the value and gave no reason"))

    # Only where nothing at all was stored: with the system setting dataEntryAutoGroup one group may be stored
    # and another refused in the same answer, and servers before 2.37 list no indexes for single rows either.
    if stored == 0 and deleted == 0 and ignored in {0, sent}:
        if unplaced:
            for index in range(sent):
                reasons[index].extend(replace(reason, extent=Extent.REQUEST) for reason in unplaced)
            unplaced = ()
        elif names_one_for_all:
            names = ", ".join(f"number {index + 1} ({why[0].text})" for index, why in sorted(reasons.items()))
            text = f"not stored because DHIS2 refused another value of the same call: {names}"
            for index in set(range(sent)) - reasons.keys():
                reasons[index].append(Reason(HELD_BACK, text, Extent.REQUEST))

    explained = bool(reasons or unplaced)
    # Fewer deleted values than were sent are no failure: some may have been gone before.
    lacks = not explained and not deletes and stored + deleted < sent
    _insist_on_an_outcome(summary, stored, sent, explained=explained, lacks=lacks, mask=answer.mask)
    rest = sent - len(reasons)
    written = min(deleted if deletes else stored, rest)
    # Refused rows are among the ignored wherever rows are imported one by one. What is left of the ignored was
    # there already; but not from 2.43, where it was tried and failed, nor where refused rows hide in it.
    tells_unchanged = not unplaced and not _is_import_by_group(summary)
    unchanged = min(max(ignored - len(reasons), 0), rest - written) if tells_unchanged else 0
    removed = 0 if deletes else deleted
    others = iter(
        accepted(
            rest,
            unchanged=unchanged,
            unaccounted=rest - written - unchanged,
            deletes=deletes,
            is_certain=written + unchanged == rest and not removed,
        )
    )
    outcomes = {
        index: rejected(*reasons[index]) if index in reasons else next(others) for index in range(sent)
    }
    return ImportSummary(outcomes, removed, unplaced)


def _summary(answer: Answer) -> Mapping[str, object]:
    body = answer.body if isinstance(answer.body, Mapping) else {}
    for candidate in (body.get("response"), body):
        if isinstance(candidate, Mapping) and isinstance(candidate.get("importCount"), Mapping):
            return cast("Mapping[str, object]", candidate)
    message = body.get("message")
    said = f" It said: {answer.mask.text(str(message), _DESCRIPTION_LIMIT)}." if message else ""
    # After a 409 nothing was stored. After a success nobody knows; sending the values again does no harm.
    error = Dhis2TransientError if HTTPStatus(answer.status).is_success else Dhis2PermanentError
    raise error(
        f"DHIS2 took the call (status {answer.status}) but its answer has no outcome for the values: it is not an import "
        f"summary.{said} Check URL, and that no proxy changes what DHIS2 answers."
    )


def _indexes(value: object, sent: int) -> frozenset[int]:
    entries = value if isinstance(value, list) else []
    return frozenset(entry for entry in entries if isinstance(entry, int) and 0 <= entry < sent)


def _conflicts(entries: object, sent: int, mask: Mask) -> Iterator[tuple[Reason, frozenset[int], bool]]:
    """Yield reasons, each with the rows that it lists or names, and whether it names one and refuses all."""
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, Mapping):
            continue
        said = str(entry.get("value") or "DHIS2 gave no words for it")
        rows = _indexes(entry.get("indexes"), sent)
        named = _NUMBERED.match(said) if entry.get("indexes") == [-1] else None
        if named:
            rows = _indexes([int(named[1])], sent)
        # A row-by-row importer says which field is wrong in each row that it lists. From 2.43 a reason without a
        # field that lists several rows stands for the whole group, and only its text names what is wrong.
        of_group = len(rows) > 1 and "property" not in entry and "object" not in entry
        reason = Reason(
            code=mask.text(str(entry.get("errorCode") or NO_REASON), _CODE_LIMIT),
            text=mask.text(said, _TEXT_LIMIT) + ("…" if len(said) > _TEXT_LIMIT else ""),
            extent=Extent.GROUP if of_group else Extent.VALUE,
        )
        yield reason, rows, bool(named and rows)


def _is_import_by_group(summary: Mapping[str, object]) -> bool:
    """Return whether a summary is of 2.43 or later: it has no description, which every summary before it has."""
    return "description" not in summary


def _insist_on_an_outcome(
    summary: Mapping[str, object], stored: int, sent: int, *, explained: bool, lacks: bool, mask: Mask
) -> None:
    """Raise where the import broke off, or from 2.43 succeeded with fewer values than were sent, and names no reason."""
    description, status = str(summary.get("description") or ""), summary.get("status")
    if description.startswith("The import process failed") or (
        status == "ERROR" and not explained and stored == 0
    ):
        said = f" ({mask.text(description, _DESCRIPTION_LIMIT)})" if description else ""
        raise Dhis2TransientError(
            f"DHIS2 broke off the import without an outcome for the values{said}. Some may be stored. The same values "
            "are sent again."
        )
    if status == "SUCCESS" and _is_import_by_group(summary) and lacks:
        raise Dhis2TransientError(
            f"DHIS2 says that the import succeeded, but counts {stored} of {sent} values and names none "
            "that it refused. The same values are sent again."
        )
