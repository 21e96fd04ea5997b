"""Claims: for each value the latest revision that was read, and by which run, in a table of their own.

DHIS2's address is in no key: however it is written, and whenever it changes, a newer value stays newer. A row for each period
tells the latest revision of all: nearly always it is not later than that of the message at hand, and then no other row need
be read.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from itertools import batched
from typing import Any, NamedTuple, Self

from msupply_dhis2.aws.dynamodb import (
    ATTEMPTS,
    MOST_BYTES,
    Change,
    Table,
    busy,
    change_item,
    read_item,
    read_items,
)
from msupply_dhis2.domain.batch import Batch
from msupply_dhis2.domain.data_value import DataValue, Identifier
from msupply_dhis2.domain.log_record import LogEvent, LogRecord
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.settings import Scheme
from msupply_dhis2.text import count, listed

KEPT_FOR = timedelta(days=120)
"""Since the last claim: longer than a message, or its copy, may wait to be sent again."""

SENT_WITHIN = timedelta(days=110)
"""What was read longer ago is not sent any more: the claims that would stop it may be gone."""

UNKNOWN_RUN = "unknown"
"""In place of the run of a claim that cannot be read."""

NAMED = 5
"""How many superseded values of a message the log names."""

_NEWEST = "newest"
"""The partition of the rows that hold for a whole period, which is their sort key; no period is called so."""

_DIGITS = 15
_CLAIM_BYTES = 100
"""What a claim takes at most, beside its marks and the name of its run."""

_MARK_BYTES = 6
"""A value is kept as a hash of what it is known by, so that 60,000 of them fit into an item. That two values of one org unit
and period share it is a matter of one in ten million even for 6,000, and only tells where an older message comes late."""


class Revision(NamedTuple):
    """How new a value is, in milliseconds since 1970; the larger is the newer.

    ``snapshot`` is the instant at which stock was looked at (``periods.Window.snapshot``), ``read_at`` when compute read
    mSupply's database: of two runs about the same instant the later knows more, since stores synchronise late.
    """

    snapshot: int
    read_at: int

    @classmethod
    def of(cls, snapshot: datetime, read_at: datetime) -> Self:
        """Make a revision of two aware instants."""
        # A database that holds nothing before 1970 needs no instant before it.
        return cls(*(max(0, round(instant.timestamp() * 1000)) for instant in (snapshot, read_at)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``str`` wrote."""
        snapshot, _, read_at = text.partition("-")
        return cls(int(snapshot), int(read_at))

    def __str__(self) -> str:
        """Write it so that the order of texts is that of revisions."""
        return f"{self.snapshot:0{_DIGITS}}-{self.read_at:0{_DIGITS}}"

    def sentence(self) -> str:
        """Say it for people, in UTC."""
        snapshot, read_at = (datetime.fromtimestamp(each / 1000, UTC) for each in self)
        return f"about {snapshot:%Y-%m-%d %H:%M}, read {read_at:%Y-%m-%d %H:%M} (UTC)"


LATEST = Revision(10**_DIGITS - 1, 10**_DIGITS - 1)
"""In place of one that cannot be read."""

OLDEST = Revision(0, 0)
"""Of a message that says nothing about it."""


def revisions_of(snapshots: Mapping[Metric, datetime], read_at: datetime | None) -> dict[Metric, Revision]:
    """Return the revision of each metric's values; none where a message says nothing about it."""
    if read_at is None:
        return {}
    return {metric: Revision.of(snapshot, read_at) for metric, snapshot in snapshots.items()}


# The same identifiers come in each org unit.
@lru_cache(maxsize=65_536)
def _mark(identifier: Identifier, data_element_scheme: Scheme, option_combo_scheme: Scheme) -> bytes:
    name = "\x1f".join((data_element_scheme, option_combo_scheme, *(part or "" for part in identifier)))
    return blake2b(name.encode(), digest_size=_MARK_BYTES).digest()


def mark_of(value: DataValue, data_element_scheme: Scheme) -> bytes:
    """Return what a value is kept by within its org unit and period."""
    return _mark(value.identifier, data_element_scheme, value.column.option_combo_scheme)


class Claim(NamedTuple):
    """Who claims values: how new they are, and the run that reads them. The larger is the later."""

    revision: Revision
    run_id: str


type Claims = dict[bytes, Claim]
"""The latest claim to each value of one org unit in one period, by the values' marks; ``ANY``'s is one that any may have."""

ANY = b""
"""In place of the marks of values whose claims could not be read."""


def add(claims: Claims, mark: bytes, claim: Claim) -> None:
    """Claim a value; one that a later claim has stays with it."""
    claims[mark] = max(claim, claims.get(mark, claim))


def latest(claims: Claims, mark: bytes) -> Claim | None:
    """Return the latest claim to a value; ``None`` where there is none."""
    return max((claims[each] for each in (mark, ANY) if each in claims), default=None)


def written(claims: Claims) -> list[dict[str, str | bytes]]:
    """Write claims as the table holds them: each with the marks of all its values."""
    marks: dict[tuple[Claim, int], list[bytes]] = defaultdict(list)
    for mark, claim in sorted(claims.items()):
        marks[claim, len(mark)].append(mark)
    return [
        {"revision": str(claim.revision), "run_id": claim.run_id, "marks": b"".join(held)}
        for (claim, _), held in sorted(marks.items())
    ]


def read(rows: Iterable[Mapping[str, Any]]) -> Claims:
    """Read what ``written`` gave; a ``ValueError``, ``TypeError`` or ``KeyError`` where it is something else."""
    claims: Claims = {}
    for row in rows:
        claim = Claim(Revision.parse(str(row["revision"])), str(row["run_id"]))
        marks = bytes(row["marks"])
        claims |= {bytes(mark): claim for mark in batched(marks, _MARK_BYTES, strict=True)}
        if not marks:
            claims[ANY] = claim
    return claims


type _Row = tuple[str, str]
"""A period and an org unit."""


class OrderingTable:
    """Claims to values; ``now`` is aware."""

    def __init__(self, table: Table, now: datetime) -> None:
        self._table = table
        self._end = now + KEPT_FOR
        self._newest: dict[str, Revision] = {}
        self._too_many: list[str] = []
        self._damaged: list[str] = []

    # What compute does

    def claim(
        self,
        values: Iterable[DataValue],
        revisions: Mapping[Metric, Revision],
        data_element_scheme: Scheme,
        run_id: str,
    ) -> None:
        """Claim values for a run, before any of them is on the queue."""
        rows: dict[_Row, Claims] = defaultdict(dict)
        newest: dict[str, Revision] = {}
        for value in values:
            revision = revisions[value.metric]
            newest[value.period] = max(revision, newest.get(value.period, revision))
            mark = mark_of(value, data_element_scheme)
            add(rows[value.period, value.org_unit], mark, Claim(revision, run_id))
        for period, revision in newest.items():
            # First: who finds a later one here looks at the org units, and who does not sends nothing after this.
            self._note_newest(period, revision)
        for _ in range(ATTEMPTS):
            for row, (claims, version) in self._read(rows).items():
                for mark, claim in rows[row].items():
                    add(claims, mark, claim)
                if self._write(row, claims, version):
                    del rows[row]
            if not rows:
                return
        raise busy(self._table)

    def _note_newest(self, period: str, revision: Revision) -> None:
        if self._newest.get(period, OLDEST) >= revision:
            return
        key = _key(_NEWEST, period)
        change = Change(key).set({"newest": str(revision)}).keep_until(self._end)
        if not change_item(self._table, change.if_below("newest", str(revision))):
            # A newer one is noted, and expires no earlier than it must.
            change_item(self._table, Change(key).keep_until(self._end))
        self._newest[period] = revision

    def _write(self, row: _Row, claims: Claims, version: object) -> bool:
        rows = written(claims)
        if sum(_CLAIM_BYTES + len(each["run_id"]) + len(each["marks"]) for each in rows) > MOST_BYTES:
            period, org_unit = row
            self._too_many.append(f"{org_unit} in {period}")
            return True
        before = version if isinstance(version, Decimal) else 0
        change = Change(_key(*row)).set({"claims": rows, "version": before + 1}).keep_until(self._end)
        return change_item(self._table, change.if_equal("version", version))

    def faults(self) -> tuple[str, ...]:
        """Say of what no claims could be kept, or read, a sentence each."""
        faults = []
        if self._damaged:
            faults.append(
                "The rows of the table of claims that are named here cannot be read (period, org unit): "
                f"{'; '.join(dict.fromkeys(self._damaged))}. Only the newest values of the period are sent there, because "
                "newer ones may have been sent before. Compute these periods again."
            )
        if self._too_many:
            faults.append(
                f"There are too many values to keep the order of {', '.join(dict.fromkeys(self._too_many))}: an older "
                "message that is sent again later may overwrite newer values there. Do not redrive messages for them; "
                "compute them again."
            )
        return tuple(faults)

    # What push does

    def superseded(self, batch: Batch, indexes: Iterable[int]) -> dict[int, Claim]:
        """Find which of these values of a batch, by their indexes, a later revision has claimed; with that claim."""
        known, values = revisions_of(batch.snapshots, batch.read_at), batch.values
        revisions = {index: known.get(values[index].metric, OLDEST) for index in indexes}
        newest = {period: self._newest_of(period) for period in {values[index].period for index in revisions}}
        rows = {
            index: (values[index].period, values[index].org_unit)
            for index, revision in revisions.items()
            if revision < newest[values[index].period]
        }
        held = self._read(sorted(set(rows.values())))
        found: dict[int, Claim] = {}
        for index, row in rows.items():
            claim = latest(held[row][0], mark_of(values[index], batch.data_element_id_scheme))
            if claim is not None and claim.revision > revisions[index]:
                found[index] = claim
        return found

    def _newest_of(self, period: str) -> Revision:
        item = read_item(self._table, _key(_NEWEST, period))
        if item is None or "newest" not in item:
            return OLDEST
        try:
            return Revision.parse(str(item["newest"]))
        except ValueError:
            # Then the org units tell.
            return LATEST

    def _read(self, rows: Iterable[_Row]) -> dict[_Row, tuple[Claims, object]]:
        """Read the claims of rows, and which version of them that is.

        Where they cannot be read, any value may have been claimed as late as the newest of the period.
        """
        found: dict[_Row, tuple[Claims, object]] = {row: ({}, None) for row in rows}
        for item in read_items(self._table, [_key(*row) for row in found]):
            period, org_unit = row = str(item["period"]), str(item["org_unit"])
            try:
                claims = read(item["claims"])
            except (ValueError, TypeError, KeyError):
                self._damaged.append(f"{period}, {org_unit}")
                claims = {ANY: Claim(self._newest_of(period), UNKNOWN_RUN)}
            found[row] = claims, item.get("version")
        return found


def _key(period: str, org_unit: str) -> dict[str, str]:
    return {"period": period, "org_unit": org_unit}


def superseded(batch: Batch, older: Mapping[int, Claim]) -> LogRecord:
    """Say of some values of a batch, by their indexes, that newer ones are there, which the claims tell."""
    number, values = len(older), batch.values
    named = [
        f"{values[index].names}, {values[index].period}: newer is the one of the run {older[index].run_id}, "
        f"{older[index].revision.sentence()}"
        for index in sorted(older)[:NAMED]
    ]
    said = (
        f"{count(number, 'value was', 'values were')} skipped, because a later run has sent newer ones, or will send them: "
        f"{listed(named, NAMED, of=number, by='; ')}. You need not do anything. If that run fails, the last line of this one "
        "says so."
    )
    return LogRecord(LogEvent.VALUES_SUPERSEDED, logging.INFO, said, {"superseded": number})


def too_old(batch: Batch) -> LogRecord:
    """Say of a batch that nobody can tell any more whether DHIS2 has newer values."""
    number, periods = len(batch.values), ", ".join(sorted({value.period for value in batch.values}))
    said = (
        f"{count(number, 'value was', 'values were')} not sent: they were read from mSupply so long ago that it is not known "
        f"whether DHIS2 has newer ones. To send them, compute their periods again ({periods}), with the months in the "
        'event: {"manual": true, "months": "2026-01..2026-02"}.'
    )
    return LogRecord(LogEvent.VALUES_NOT_SENT, logging.WARNING, said, {"not_sent": number})
