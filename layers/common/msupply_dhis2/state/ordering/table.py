"""The claims in a DynamoDB table of their own.

It has the partition key ``period``, the sort key ``org_unit``, and the time-to-live attribute ``expires_at``. DHIS2's
address is in no key: however it is written, and whenever it changes, a newer value stays newer. A row for each period
tells the latest revision of all: nearly always it is not later than that of the message at hand, and then no other row
need be read.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from msupply_dhis2.aws.dynamodb import ATTEMPTS, Change, busy, change_item, read_item, read_items
from msupply_dhis2.domain.batch import Batch
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.settings import Scheme
from msupply_dhis2.state.ordering.claims import Claim, LatestRevisions, mark_of
from msupply_dhis2.state.ordering.revision import LATEST, OLDEST, Revision, revisions_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

KEPT_FOR = timedelta(days=120)
"""Since the last claim: longer than a message, or its copy, may wait to be sent again."""

SENT_WITHIN = timedelta(days=110)
"""What was read longer ago is not sent any more: the claims that would stop it may be gone."""

MOST_BYTES = 390_000
"""An item may have 400 KB."""

UNKNOWN_RUN = "unknown"
"""In place of the run of a claim that cannot be read."""

_NEWEST = "newest"
"""The partition of the rows that hold for a whole period, which is their sort key; no period is called so."""


class OrderingTable:
    """Claims to values; ``now`` is aware."""

    def __init__(self, table: "Table", now: datetime) -> None:
        self._table = table
        self._now = now
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
        marks: dict[str, dict[str, dict[Claim, list[bytes]]]] = {}
        for value in values:
            of_org_unit = marks.setdefault(value.period, {}).setdefault(value.org_unit, {})
            claim = Claim(revisions[value.metric], run_id)
            of_org_unit.setdefault(claim, []).append(mark_of(value, data_element_scheme))
        for period, of_period in marks.items():
            # First: who finds a later one here looks at the org units, and who does not sends nothing after this.
            self._note_newest(period, max(claim.revision for each in of_period.values() for claim in each))
            self._claim_in(period, of_period)

    def _note_newest(self, period: str, revision: Revision) -> None:
        if self._newest.get(period, OLDEST) >= revision:
            return
        key, doing = _key(_NEWEST, period), "noting how new the values of a period are"
        change = Change(key).set({"newest": str(revision), "expires_at": self._end()})
        if not change_item(self._table, change.if_below("newest", str(revision)), doing):
            # A newer one is noted, and expires no earlier than it must.
            change_item(self._table, Change(key).set({"expires_at": self._end()}), doing)
        self._newest[period] = revision

    def _claim_in(self, period: str, marks: Mapping[str, Mapping[Claim, Sequence[bytes]]]) -> None:
        waiting = dict(marks)
        for _ in range(ATTEMPTS):
            found = self._read(period, waiting)
            for org_unit in list(waiting):
                claims, version = found[org_unit]
                for claim, claimed in waiting[org_unit].items():
                    claims.claim(claim, claimed)
                if self._write(period, org_unit, claims, version):
                    del waiting[org_unit]
            if not waiting:
                return
        raise busy(f"claiming the values of {', '.join(waiting)}")

    def _write(self, period: str, org_unit: str, claims: LatestRevisions, version: object) -> bool:
        if claims.size > MOST_BYTES:
            self._too_many.append(f"{org_unit} in {period}")
            return True
        before = version if isinstance(version, Decimal) else 0
        change = Change(_key(period, org_unit)).set(
            {"claims": claims.written(), "version": before + 1, "expires_at": self._end()}
        )
        return change_item(self._table, change.if_equal("version", version), "claiming values")

    def faults(self) -> tuple[str, ...]:
        """Say of what no claims could be kept, or read, a sentence each."""
        faults = []
        if self._damaged:
            faults.append(
                f"The rows of the table of claims that are named here cannot be read (period, org unit): "
                f"{'; '.join(dict.fromkeys(self._damaged))}. What is not the newest of the period is not sent there, since "
                "something newer may have been. Compute these periods again."
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
        revisions = revisions_of_batch(batch)
        values = batch.values()
        asked: dict[str, list[int]] = {}
        for index in indexes:
            asked.setdefault(values[index].period, []).append(index)
        found: dict[int, Claim] = {}
        for period, in_period in asked.items():
            newest = self._newest_of(period)
            older = [index for index in in_period if revisions.get(values[index].metric, OLDEST) < newest]
            claims = self._read(period, sorted({values[index].org_unit for index in older}))
            for index in older:
                value = values[index]
                claimed, _ = claims[value.org_unit]
                claim = claimed.latest(mark_of(value, batch.data_element_id_scheme))
                if claim is not None and claim.revision > revisions.get(value.metric, OLDEST):
                    found[index] = claim
        return found

    def _newest_of(self, period: str) -> Revision:
        key = _key(_NEWEST, period)
        item = read_item(self._table, key, "reading how new the values of a period are")
        if item is None or "newest" not in item:
            return OLDEST
        try:
            return Revision.parse(str(item["newest"]))
        except ValueError:
            # Then the org units tell.
            return LATEST

    def _read(self, period: str, org_units: Iterable[str]) -> dict[str, tuple[LatestRevisions, object]]:
        """Read the claims of org units, and which version of them that is.

        Where they cannot be read, any value may have been claimed as late as the newest of the period.
        """
        claims: dict[str, tuple[LatestRevisions, object]] = {
            org_unit: (LatestRevisions(), None) for org_unit in org_units
        }
        keys = [_key(period, org_unit) for org_unit in claims]
        for item in read_items(self._table, keys, "reading which values are claimed"):
            org_unit = str(item["org_unit"])
            try:
                held = LatestRevisions.read(item["claims"])
            except (ValueError, TypeError, KeyError):
                self._damaged.append(f"{period}, {org_unit}")
                held = LatestRevisions(unknown=Claim(self._newest_of(period), UNKNOWN_RUN))
            claims[org_unit] = held, item.get("version")
        return claims

    def _end(self) -> int:
        return int((self._now + KEPT_FOR).timestamp())


def _key(period: str, org_unit: str) -> dict[str, str]:
    return {"period": period, "org_unit": org_unit}


def revisions_of_batch(batch: Batch) -> dict[Metric, Revision]:
    """Return the revisions of a batch's values, by their metrics; none where the message says nothing about it."""
    return {} if batch.read_at is None else revisions_of(batch.snapshots, batch.read_at)
