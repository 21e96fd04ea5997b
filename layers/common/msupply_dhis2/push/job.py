"""Push: a batch from the queue goes to DHIS2, and each of its values gets an outcome.

In this order: what cannot fit is rejected locally, by DHIS2's metadata; what is unchanged is left out, where reading it
costs less than importing it; the rest is sent, and what refuses a whole call is found; zeros that the server would drop
are sent only where they remove something stale; what DHIS2 does not account for is read back. Where the metadata may not
be read, sending goes on without.

A delete reads first: only what stands in DHIS2 as it was sent is deleted, and what is gone already is done. A value
that somebody else has entered meanwhile is left alone. Where nothing may be read, DHIS2 is asked to delete them all.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from msupply_dhis2.dhis2.client import Deadline, Dhis2Client
from msupply_dhis2.dhis2.error_catalogue import (
    CHANGED_SINCE,
    STILL_THERE,
    STORED_DIFFERENTLY,
    TRUE_ONLY,
    VANISHED,
    ZERO_NOT_KEPT,
)
from msupply_dhis2.dhis2.import_request import UIDS, Schemes, SentValue
from msupply_dhis2.dhis2.import_summary import ImportSummary
from msupply_dhis2.dhis2.importer import AdaptiveBatchSize, Calls, send
from msupply_dhis2.dhis2.metadata import read_stored
from msupply_dhis2.dhis2.validation import Validator
from msupply_dhis2.dhis2.value_rules import Validated
from msupply_dhis2.domain.batch import Batch
from msupply_dhis2.domain.choices import OptionComboField
from msupply_dhis2.domain.data_value import is_same
from msupply_dhis2.domain.log_record import LogEvent, LogRecord
from msupply_dhis2.domain.outcome import Counts, OutcomeKind, Reason, ValueOutcome, accepted, rejected
from msupply_dhis2.errors import (
    Dhis2AuthenticationError,
    Dhis2BlockedError,
    Dhis2Error,
    Dhis2FaultError,
    Dhis2PermanentError,
    Dhis2SlowError,
    Dhis2TransientError,
)
from msupply_dhis2.push.outcome import BatchResult, unclear_lines
from msupply_dhis2.settings import ReadBack, Settings

READING_SECONDS = 60.0
"""With less time left nothing is read: it might be cut off together with all that was not told yet."""

_ENOUGH_FAILED_READS = 3

_NO_TIME_TO_READ = "There is no time left to read what DHIS2 holds: the values that this is about follow with the next delivery."


@dataclass(slots=True)
class Dhis2Session:
    """What is kept of one server between batches: the client's session, metadata and batch size.

    What is unchanged is read and left out where at least ``fewest_left_out`` values are to be sent: for fewer a call that
    reads costs as much as one that imports. DHIS2 answers with all that an org unit has of the data set: at most
    ``read_for_each`` times as many values.
    """

    client: Dhis2Client
    batch_size: AdaptiveBatchSize = field(default_factory=AdaptiveBatchSize)
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.time
    failed_reads: int = 0
    """How often in a row the stored values could not be read because DHIS2 failed or gave no answer."""
    fewest_left_out: int = 50
    read_for_each: int = 8
    sent_unread: str | None = None
    """The run whose values are sent without reading what DHIS2 holds first, because too few of them are unchanged."""
    noted_at: datetime | None = None
    """When it was noted last that DHIS2 answered."""
    _validators: dict[object, Validator] = field(default_factory=dict)

    def validator(self, batch: Batch, option_combo_field: OptionComboField) -> Validator:
        """Return what knows the metadata of the batch's data set."""
        kind = batch.data_set_id, schemes_of(batch), option_combo_field
        if kind not in self._validators:
            self._validators[kind] = Validator(self.client, *kind, clock=self.clock)
        return self._validators[kind]


def schemes_of(batch: Batch) -> Schemes:
    """Return what the identifiers of a batch are."""
    return Schemes(
        data_set=batch.data_set_id_scheme,
        data_element=batch.data_element_id_scheme,
        org_unit=batch.org_unit_scheme,
        option_combo=batch.option_combo_scheme,
    )


def push(
    batch: Batch,
    session: Dhis2Session,
    *,
    settings: Settings,
    done: frozenset[int] = frozenset(),
    seconds_left: Callable[[], float] = lambda: float("inf"),
) -> BatchResult:
    """Send a batch, or have its values deleted, and return what became of each value.

    A permanent failure of a call rejects every value that it would meet too. Any other failure leaves values waiting
    (``BatchResult.failure``): they are sent when the same batch is pushed again. ``done`` are the places of the values that
    got their outcome earlier.
    """
    result = BatchResult(batch, done=done)
    job = _Push(result, session, settings, seconds_left)
    limit_before = session.batch_size.limit
    try:
        validated = job.validator.validate(list(job.values.values()), deletes=job.deletes)
        rows, zeros = job.take_validated(validated)
        if job.deletes:
            job.spare_what_changed()
        else:
            job.leave_out_unchanged(rows)
        job.send_rows(rows)
        if result.failure is None and not job.deletes:
            job.send_zeros(zeros)
        if result.failure is None:
            job.read_back()
    except (Dhis2AuthenticationError, Dhis2TransientError) as error:
        result.failure = error
    session.batch_size.forget_limit(settings.items_per_payload)
    job.tell_batch_size(limit_before)
    if result.waiting and result.failure is None:
        # Whoever gave the batch would take it for finished. Raised, it comes back whole.
        raise RuntimeError(
            f"{result.waiting} values of batch {batch.batch_id} have no outcome, without a reason"
        )
    result.may_still_be_applied &= result.failure is not None
    if not job.deletes:
        # What was deleted is gone, and a "no" that is told by no value was never there.
        result.held_periods = frozenset(batch.values[place].period for place in job.applied)
    return result


class _Push:
    """The work of :func:`push`, by the values' places in the batch."""

    def __init__(
        self,
        result: BatchResult,
        session: Dhis2Session,
        settings: Settings,
        seconds_left: Callable[[], float],
    ) -> None:
        self._result = result
        self._outcomes = result.outcomes
        self._session = session
        self._settings = settings
        self._seconds_left = seconds_left
        self.deletes = result.batch.deletes
        values = enumerate(result.batch.values)
        self.values = {place: value for place, value in values if place not in result.done}
        self.validator = session.validator(result.batch, settings.option_combo_field)
        self._rows: dict[int, SentValue] = {}
        """What fits the metadata, or may, also where it need not be sent."""
        self._is_known = False
        """Whether the rows are in UIDs, by the metadata."""
        self._removed: dict[int, str] = {}
        """What a 0 that is not kept is sent to remove."""
        session.client.deadline = Deadline(
            seconds_left, kept=READING_SECONDS, given_up=_NO_TIME_TO_READ, pause=session.pause
        )

    @property
    def applied(self) -> list[int]:
        """The places of the values that DHIS2 holds now as they were sent, or no longer holds."""
        return sorted(place for place in self._result.applied if self._rows[place].value)

    # Before anything is sent

    def take_validated(self, validated: Sequence[Validated] | None) -> tuple[list[int], list[int]]:
        """Return the places of what may be sent, and of the zeros that this server drops or that are told by no value."""
        batch, validator = self._result.batch, self.validator
        self._is_known = validated is not None
        as_it_is = (SentValue(value.key, value.value) for value in self.values.values())
        rows, zeros = list[int](), list[int]()
        for place, each in zip(self.values, as_it_is if validated is None else validated, strict=True):
            if isinstance(each, ValueOutcome):
                self._outcomes[place] = each
            else:
                self._rows[place] = each
                (zeros if each.vanishes or not each.value else rows).append(place)
        self._calls = Calls(
            self._result,
            client=self._session.client,
            batch_size=self._session.batch_size,
            data_set_id=validator.data_set_id if self._is_known else batch.data_set_id,
            schemes=UIDS if self._is_known else schemes_of(batch),
            maximum_values=self._values_of_a_call(),
            seconds_left=self._seconds_left,
            pause=self._session.pause,
            deletes=self.deletes,
            are_in_data_set=self._is_known and validator.is_up_to_date,
            lock_exceptions=validator.lock_exceptions if self._is_known else None,
        )
        return rows, zeros

    def _values_of_a_call(self) -> int:
        server, setting = self.validator.server, self._settings.items_per_payload
        return min(setting, (server and server.most_values_of_a_call) or setting)

    def spare_what_changed(self) -> None:
        """Keep of the rows to delete those that stand in DHIS2 as they were sent; zeros told by no value never were."""
        stored = self._stored(self._rows)
        for place, row in self._rows.items():
            found, sent = (stored or {}).get(place), self.values[place].value
            if stored is None:
                if not row.value:
                    self._outcomes[place] = rejected(_omitted_zero(None))
            elif found is None:
                self._outcomes[place] = ValueOutcome(OutcomeKind.DELETED)
            elif not row.value or not (is_same(found, row.value) or is_same(found, sent)):
                text = f"DHIS2 has {found}, not the {sent} that was sent earlier"
                self._outcomes[place] = rejected(Reason(CHANGED_SINCE, text), was_sent=False)

    def leave_out_unchanged(self, places: Sequence[int]) -> None:
        """Read what DHIS2 holds where that costs less than to import what is unchanged, and leave that out.

        Whether it does is found out with the first batch of a run.
        """
        session, run_id = self._session, self._result.batch.run_id
        keys = [self._rows[place].key for place in places]
        wanted = self.validator.count_values({(key.org_unit, key.period) for key in keys})
        if (
            session.sent_unread == run_id
            or len(places) < session.fewest_left_out
            or not 0 < wanted <= session.read_for_each * len(places)
        ):
            return
        began = time.perf_counter()
        try:
            stored = self._stored(places) or {}
        except Dhis2TransientError:
            # Nobody needs it: to send them all is as right, and tells what ails DHIS2.
            stored = {}
        seconds = time.perf_counter() - began
        unchanged = [place for place in places if self._is_done(place, stored.get(place))]
        self._outcomes |= dict.fromkeys(unchanged, ValueOutcome(OutcomeKind.UNCHANGED))
        if seconds > len(unchanged) * session.batch_size.seconds_a_value:
            session.sent_unread = run_id

    # Sending

    def send_rows(self, places: Iterable[int], *, try_again: bool = True) -> None:
        """Send what has no outcome yet; what is not there afterwards is sent again once before anything is said of it.

        Of two calls that come at once for a new period DHIS2 loses one, and counts its values as ignored.
        """
        rows = {place: self._rows[place] for place in places if place not in self._outcomes}
        missing = self._clear_up(send(rows, self._calls, try_again=try_again), may_send_again=True)
        if not missing or self._result.failure is not None:
            # They wait with the rest, and come back.
            return
        self._clear_up(
            send({place: self._rows[place] for place in missing}, self._calls), may_send_again=False
        )
        for place, before in missing.items():
            now = self._outcomes.get(place)
            if now is not None and now.kind in {OutcomeKind.STORED, OutcomeKind.UNCHANGED}:
                # Most were there by then, and that they are unchanged now says nothing of how it was before.
                self._outcomes[place] = replace(now, kind=before.kind)

    def _clear_up(self, calls: Iterable[ImportSummary], *, may_send_again: bool) -> dict[int, ValueOutcome]:
        """Find out what is not clear, and return what is to be sent again, with what it counts as if it gets in then."""
        missing: dict[int, ValueOutcome] = {}
        for unclear in calls:
            # What DHIS2 gave a reason for, without saying for which value, it would refuse once more.
            may_send = may_send_again and not unclear.unplaced
            stored = self._stored(unclear.outcomes)
            if stored is None:
                missing |= self._clear_up_unread(unclear, may_send_again=may_send)
            else:
                missing |= self._clear_up_read(unclear, stored, may_send_again=may_send)
        return missing

    def _clear_up_read(
        self, unclear: ImportSummary, stored: Mapping[int, str], *, may_send_again: bool
    ) -> dict[int, ValueOutcome]:
        """Compare with what is stored."""
        applied, missing = [], []
        for place in unclear.outcomes:
            found = stored.get(place)
            if self._is_done(place, found):
                applied.append(place)
            elif found is None and self._may_vanish(place):
                self._outcomes[place] = rejected(_zero_not_kept(self._removed.get(place)))
            elif may_send_again and not self._may_vanish(place):
                missing.append(place)
            else:
                self._outcomes[place] = self._missing(place, found, unclear.unplaced)
        unchanged = Counts.of(unclear.outcomes.values()).unchanged
        outcomes = accepted(len(applied), unchanged=unchanged, deletes=self.deletes)
        self._outcomes |= zip(applied, outcomes, strict=True)
        return dict.fromkeys(missing, ValueOutcome(OutcomeKind.STORED))

    def _clear_up_unread(self, unclear: ImportSummary, *, may_send_again: bool) -> dict[int, ValueOutcome]:
        """Tell as not accounted for what may not be sent again."""
        counts = Counts.of(unclear.outcomes.values())
        told, others = unclear.outcomes, list[int]()
        zeros = [place for place in told if self._may_vanish(place)]
        if may_send_again and not self.deletes and counts.unaccounted > len(zeros):
            others = [place for place in told if place not in zeros]
            told = dict.fromkeys(zeros, ValueOutcome(OutcomeKind.UNACCOUNTED, is_certain=False))
        if told:
            self._outcomes |= told
            self._result.remarks += unclear_lines(self._result.batch, replace(unclear, outcomes=told))
        return dict(zip(others, accepted(len(others), unchanged=counts.unchanged), strict=True))

    def _may_vanish(self, place: int) -> bool:
        """Whether it is a 0 that the server may drop; sent twice, it would be kept after all."""
        server = self.validator.server
        return (
            not self.deletes
            and is_same(self._rows[place].value, "0")
            and (server is None or server.drops_zeros)
        )

    def _is_done(self, place: int, found: str | None) -> bool:
        if self.deletes or found is None:
            return self.deletes and found is None
        return is_same(found, self._rows[place].value)

    def _missing(self, place: int, found: str | None, unplaced: Sequence[Reason] = ()) -> ValueOutcome:
        """Return the outcome of a value that DHIS2 neither stored, or deleted, nor refused."""
        said = "".join(f"; it said: {reason.text} ({reason.code})" for reason in unplaced)
        sent = self._rows[place].value
        if self.deletes:
            code, text = STILL_THERE, f"DHIS2 still has {found}, although it was asked to delete it"
        elif found is None:
            code, text = VANISHED, f"DHIS2 has no value, although {sent} was sent"
        else:
            code, text = STORED_DIFFERENTLY, f"DHIS2 has {found}, although {sent} was sent"
        return ValueOutcome(OutcomeKind.UNACCOUNTED, (Reason(code, text + said),))

    # Zeros that the server would drop

    def send_zeros(self, places: Collection[int]) -> None:
        """Send a zero that will not be kept only where another value stands: nothing is better than a stale one."""
        stored = self._stored(places)
        there = ValueOutcome(OutcomeKind.UNCHANGED)
        for place in places:
            is_told, held = bool(self._rows[place].value), (stored or {}).get(place)
            if stored is None:
                # Which cells hold something is not known: the server shall decide.
                if not is_told:
                    self._outcomes[place] = rejected(_omitted_zero(None))
            elif held is None:
                self._outcomes[place] = rejected(_zero_not_kept(None), was_sent=False) if is_told else there
            elif not is_told:
                self._outcomes[place] = rejected(_omitted_zero(held))
            elif is_same(held, "0"):
                self._outcomes[place] = there
            else:
                self._removed[place] = held
        self.send_rows(places, try_again=False)

    # Reading

    def _stored(self, places: Collection[int]) -> dict[int, str] | None:
        """Read what stands in DHIS2 for these values; ``None`` where it may not be read, raise where it cannot just now."""
        if not places:
            return {}
        if not self._is_known:
            return None
        if isinstance(self._result.failure, Dhis2AuthenticationError):
            raise self._result.failure
        if self._seconds_left() < READING_SECONDS:
            raise Dhis2TransientError(_NO_TIME_TO_READ, retry_after=1.0)
        keys = {place: self._rows[place].key for place in places}
        try:
            found = read_stored(self._session.client, self.validator.data_set_id, set(keys.values()))
        except (Dhis2BlockedError, Dhis2FaultError, Dhis2SlowError, Dhis2PermanentError) as error:
            if not isinstance(error, Dhis2PermanentError):
                self._session.failed_reads += 1
                if self._session.failed_reads < _ENOUGH_FAILED_READS:
                    raise
            # Where it does not pass, it is as though it were not allowed.
            self._warn(LogEvent.STORED_VALUES_UNREAD, f"The values in DHIS2 could not be read. {error}")
            return None
        self._session.failed_reads = 0
        return {place: found[key] for place, key in keys.items() if key in found}

    def read_back(self) -> None:
        """Compare what is stored with what was sent, where the settings ask for it."""
        places = self.applied
        if self._settings.read_back is ReadBack.NONE or not places:
            return
        if self._settings.read_back is ReadBack.SAMPLE:
            places = self._sample(places)
        try:
            stored = self._stored(places)
        except Dhis2Error as error:
            self._warn(LogEvent.STORED_VALUES_UNREAD, f"Nothing could be read back. {error}")
            return
        if stored is None:
            return
        differing = [place for place in places if not self._is_done(place, stored.get(place))]
        self._outcomes |= {place: self._missing(place, stored.get(place)) for place in differing}
        self._result.remarks.append(
            LogRecord(
                LogEvent.VALUES_READ_BACK,
                logging.WARNING if differing else logging.INFO,
                f"Read back {len(places):,} values: {len(places) - len(differing):,} are "
                f"{'gone from DHIS2' if self.deletes else 'in DHIS2 as they were sent'}.",
                {"read_back": len(places), "read_back_differing": len(differing)},
            )
        )

    def _sample(self, places: Sequence[int]) -> list[int]:
        """Choose the values of one org unit; over many batches all have their turn."""
        org_units = sorted({self._rows[place].key.org_unit for place in places})
        chosen = org_units[int(self._result.batch.batch_id[-8:], 16) % len(org_units)]
        return [place for place in places if self._rows[place].key.org_unit == chosen]

    def tell_batch_size(self, limit_before: int | None) -> None:
        limit = self._session.batch_size.limit
        setting = self._settings.items_per_payload
        if limit is not None and limit < setting and (limit_before is None or limit < limit_before):
            self._warn(
                LogEvent.CALLS_REDUCED,
                f"Calls of {setting:,} values are too large for this DHIS2 or the proxy before it: they now hold at most "
                f"{limit:,}. If this goes on, set No. of items per payload to {limit:,}.",
                values_per_call=limit,
            )

    def _warn(self, event: LogEvent, message: str, **fields: object) -> None:
        self._result.remarks.append(LogRecord(event, logging.WARNING, message, fields))


def _zero_not_kept(removed: str | None) -> Reason:
    text = "DHIS2 does not keep the 0"
    if removed is not None:
        text += f"; it was sent to remove {removed}, which was there before"
    return Reason(ZERO_NOT_KEPT, text)


def _omitted_zero(found: str | None) -> Reason:
    stands = "what is there could not be read" if found is None else f"'{found}' is there"
    return Reason(TRUE_ONLY, f"A data element that takes only 'yes' cannot hold a 'no', and {stands}")
