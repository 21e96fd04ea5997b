"""Push: a batch from the queue goes to DHIS2, and each of its values gets a fate.

In this order: what cannot fit is recognised by DHIS2's metadata; the rest is sent, and what refuses a whole
call is found; zeros that the server would drop are sent only where they remove something stale; what DHIS2 does
not account for is read back. Where the metadata may not be read, sending goes on without.

A delete reads first: only what stands in DHIS2 as it was sent is deleted, and what is gone already is done. A value
that somebody else has entered meanwhile is left alone. Where nothing may be read, DHIS2 is asked to delete them all.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Protocol

from msupply_dhis2.deadline import wait_for
from msupply_dhis2.dhis2.batch_size import AdaptiveBatchSize
from msupply_dhis2.dhis2.client import Answer
from msupply_dhis2.dhis2.error_catalogue import (
    CHANGED_SINCE,
    STILL_THERE,
    STORED_DIFFERENTLY,
    TRUE_ONLY,
    VANISHED,
    ZERO_NOT_KEPT,
)
from msupply_dhis2.dhis2.import_request import DataValueRow, Schemes
from msupply_dhis2.dhis2.import_summary import Reason
from msupply_dhis2.dhis2.importer import Calls, ImportResult, PostsDataValues, Unclear, send
from msupply_dhis2.dhis2.read_back import ReadsStoredValues, read_cells
from msupply_dhis2.dhis2.transport import Query
from msupply_dhis2.dhis2.validation import Cell, Invalid, OmittedZero, Valid, Validator, VanishingZero
from msupply_dhis2.domain.batch import Batch, Operation
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.domain.log_record import LogEvent, LogRecord
from msupply_dhis2.errors import (
    Dhis2AuthenticationError,
    Dhis2BlockedError,
    Dhis2Error,
    Dhis2FaultError,
    Dhis2RateLimitedError,
    Dhis2SlowError,
    Dhis2TransientError,
)
from msupply_dhis2.push.outcome import BatchResult, Fates, lines_of
from msupply_dhis2.push.rejections import rows_of
from msupply_dhis2.settings import OptionComboField, ReadBack, Settings

_ENOUGH_FAILED_READS = 3

_READING_SECONDS = 60.0
"""With less time left nothing is read: it might be cut off together with all that was not told yet."""

_MOMENT_SECONDS = 20.0
"""So long at most a proxy that limits the rate is waited for; for longer a message goes back to the queue."""

_NO_TIME_TO_READ = "There is no time left to read what DHIS2 holds: the values that this is about follow with the next delivery."

type Failure = Dhis2AuthenticationError | Dhis2TransientError


class TalksToDhis2(PostsDataValues, ReadsStoredValues, Protocol):
    """What push needs of a DHIS2 client."""


class _PatientClient:
    """Makes a call once more where a proxy that limits the rate asks to wait for a moment.

    Meanwhile nothing else is taken off the queue. Messages that went back at once would come again and again, and keep
    each other from getting through.
    """

    def __init__(self, client: TalksToDhis2, pause: Callable[[float], None]) -> None:
        self.seconds_left: Callable[[], float] = lambda: float("inf")
        self._client = client
        self._pause = pause

    def get(self, path: str, params: Query | None = None) -> object:
        try:
            return self._client.get(path, params)
        except Dhis2RateLimitedError as error:
            self._wait(error)
        return self._client.get(path, params)

    def post_data_values(
        self,
        body: Mapping[str, object],
        params: Mapping[str, str] | None = None,
        *,
        read_timeout: float | None = None,
    ) -> Answer:
        try:
            return self._client.post_data_values(body, params, read_timeout=read_timeout)
        except Dhis2RateLimitedError as error:
            waited = self._wait(error)
        if read_timeout is not None:
            read_timeout = max(read_timeout - waited, 1.0)
        return self._client.post_data_values(body, params, read_timeout=read_timeout)

    def _wait(self, error: Dhis2RateLimitedError) -> float:
        wait = wait_for(error, min(_MOMENT_SECONDS, self.seconds_left() - _READING_SECONDS))
        if wait is None:
            raise error
        self._pause(wait)
        return wait


@dataclass(slots=True)
class Dhis2Session:
    """What is kept of one server between batches: the client's session, metadata and pace.

    ``pause`` waits for so many seconds.
    """

    client: TalksToDhis2
    batch_size: AdaptiveBatchSize = field(default_factory=AdaptiveBatchSize)
    pause: Callable[[float], None] = time.sleep
    failed_reads: int = 0
    """How often in a row the stored values could not be read because DHIS2 failed or gave no answer."""
    patient: _PatientClient = field(init=False)
    _fitters: dict[object, Validator] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.patient = _PatientClient(self.client, self.pause)

    def validator(self, batch: Batch, option_combo_field: OptionComboField) -> Validator:
        """Return what knows the metadata of the batch's data set."""
        kind = (batch.data_set_id, schemes_of(batch), option_combo_field)
        if kind not in self._fitters:
            self._fitters[kind] = Validator(
                self.patient,
                data_set_id=batch.data_set_id,
                schemes=schemes_of(batch),
                option_combo_field=option_combo_field,
            )
        return self._fitters[kind]


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
    """Send a batch, or have its values deleted, and say what became of each value.

    A permanent failure of a call rejects every value that it would meet too. Any other failure leaves values
    waiting: ``BatchResult.failure`` says why, and they are sent when the same batch is pushed again.

    Parameters
    ----------
    settings
        For "No. of items per payload", "Option combo field" and "Read back"; the identifiers are the batch's.
    done
        The places of the values that got their fate earlier.
    seconds_left
        How much time there is.
    """
    values = batch.values()
    places = [place for place in range(len(values)) if place not in done]
    job = _Push(batch, session, settings, {place: values[place] for place in places}, seconds_left)
    job.run()
    settled = job.fates.settled
    waiting = len(places) - len(settled)
    if waiting and job.failure is None:
        # Whoever gave the batch would take it for finished. Raised, it comes back whole.
        raise RuntimeError(f"{waiting} values of batch {batch.batch_id} have no fate, and nothing says why")
    return BatchResult(
        fates=job.fates,
        lines=tuple(
            lines_of(values, job.fates, waiting, job.failure, let_in=job.answered)
            if settled
            else job.fates.remarks
        ),
        answered=job.answered,
        settled=done | settled,
        refused=tuple(rows_of(values, job.fates)),
        failure=job.failure,
        may_still_be_applied=job.failure is not None and job.may_still_be_applied,
        held_periods=job.held_periods(),
    )


class _Push:
    """The work of :func:`push`."""

    def __init__(
        self,
        batch: Batch,
        session: Dhis2Session,
        settings: Settings,
        values: Mapping[int, DataValue],
        seconds_left: Callable[[], float],
    ) -> None:
        self._deletes = batch.operation is Operation.DELETE
        self.fates = Fates(deletes=self._deletes)
        self.failure: Failure | None = None
        self.answered = False
        self.may_still_be_applied = False
        self._batch = batch
        self._session = session
        self._settings = settings
        self._values = values
        self._validator = session.validator(batch, settings.option_combo_field)
        session.patient.seconds_left = seconds_left
        self._rows: dict[int, DataValueRow] = {}
        self._seconds_left = seconds_left
        self._cells: dict[int, Cell] = {}
        self._removed: dict[int, str] = {}
        """What a 0 that is not kept is sent to remove."""
        self._calls = Calls(
            client=session.patient,
            batch_size=session.batch_size,
            data_set_id=batch.data_set_id,
            schemes=schemes_of(batch),
            maximum_values=settings.items_per_payload,
            seconds_left=seconds_left,
            pause=session.pause,
            deletes=self._deletes,
        )

    def run(self) -> None:
        limit_before = self._session.batch_size.limit
        try:
            zeros, omitted_zeros = self._prepare()
            if self._deletes:
                self._spare_what_changed(omitted_zeros)
            self._send()
            if self.failure is None and not self._deletes:
                self._send_zeros(zeros, omitted_zeros)
            if self.failure is None:
                self._read_back()
        except (Dhis2AuthenticationError, Dhis2TransientError) as error:
            self.failure = error
        self._session.batch_size.forget_limit(self._settings.items_per_payload)
        self._tell_pace(limit_before)

    def held_periods(self) -> frozenset[str]:
        """Return the periods in which DHIS2 holds a value, as far as this push has seen it."""
        # What was deleted is gone, and a "no" that is told by no value was never there.
        applied = set() if self._deletes else self.fates.applied & self._rows.keys()
        return frozenset(self._values[place].period for place in applied)

    # Before anything is sent

    def _prepare(self) -> tuple[dict[int, DataValueRow], set[int]]:
        """Separate what fits from what does not.

        Returns
        -------
        tuple
            The zeros that this server would drop, and the places of those zeros that are told by no row.
        """
        validated = self._validator.validate(list(self._values.values()), deletes=self._deletes)
        if validated is None:
            self._rows = {
                place: DataValueRow(*value.key, value.value) for place, value in self._values.items()
            }
            return {}, set()
        timely = {
            place
            for place, validate in zip(self._values, validated, strict=True)
            if isinstance(validate, Valid | VanishingZero) and validate.is_timely
        }
        self._calls = self._calls.with_metadata(
            self._validator.data_set_id, timely=timely, lock_exceptions=self._validator.lock_exceptions
        )
        zeros: dict[int, DataValueRow] = {}
        omitted_zeros: set[int] = set()
        for place, validate in zip(self._values, validated, strict=True):
            match validate:
                case Valid():
                    self._rows[place] = validate.row
                    self._cells[place] = validate.cell
                case VanishingZero():
                    zeros[place] = validate.row
                    self._cells[place] = validate.cell
                case OmittedZero():
                    omitted_zeros.add(place)
                    self._cells[place] = validate.cell
                case Invalid():
                    self.fates.rejected[place] = validate.reasons
                    self.fates.rejected_locally.add(place)
        return zeros, omitted_zeros

    # Deleting

    def _spare_what_changed(self, omitted_zeros: Collection[int]) -> None:
        """Keep of the rows to delete those that stand in DHIS2 as they were sent; ``omitted_zeros`` never were."""
        if not self._rows and not omitted_zeros:
            return
        stored = self._stored([*self._rows, *omitted_zeros])
        if stored is None:
            self.fates.rejected |= {place: (_omitted_zero(None),) for place in omitted_zeros}
            return
        for place in [*self._rows, *omitted_zeros]:
            found, sent = stored.get(place), self._values[place].value
            if found is None:
                self.fates.applied.add(place)
            elif place in omitted_zeros or not (
                _is_same(found, self._rows[place].value) or _is_same(found, sent)
            ):
                self.fates.rejected[place] = (_changed_since(found, sent),)
                self.fates.rejected_locally.add(place)
        self._rows = {place: row for place, row in self._rows.items() if place not in self.fates.settled}

    # Sending

    def _send(self) -> None:
        self._take(send(self._rows, self._calls))

    def _take(self, sent: ImportResult, *, send_again: bool = True) -> None:
        """Keep the fates of what was sent; what is unclear is read back, and sent again once."""
        self.fates.applied.update(sent.applied)
        self.fates.unchanged += sent.unchanged
        self.answered = self.answered or sent.answered
        self.may_still_be_applied = self.may_still_be_applied or sent.may_still_be_applied
        self.fates.rejected |= sent.rejected
        self.fates.refused_all = sent.refused_all or self.fates.refused_all
        self.failure = sent.failure or self.failure
        for unclear in sent.unclear:
            # What DHIS2 gave a reason for, without saying for which value, it would refuse once more.
            self._clear_up(unclear, send_again=send_again and not unclear.unplaced)

    def _clear_up(self, unclear: Unclear, *, send_again: bool) -> None:
        """Find out by reading which values of a call are not there.

        They are sent again before anything is said of them: of two calls that come at once for a new period DHIS2 loses
        one, and counts its values as ignored.
        """
        stored = self._stored(unclear.places)
        if stored is None:
            self._clear_up_unread(unclear, send_again=send_again)
            return
        applied = 0
        missing: dict[int, Reason] = {}
        for place in unclear.places:
            found = stored.get(place)
            if self._is_done(place, found):
                self.fates.applied.add(place)
                applied += 1
            elif self._deletes:
                missing[place] = _still_there(found, unclear.unplaced)
            elif found is None and self._may_vanish(place):
                self.fates.rejected[place] = (_zero_not_kept(self._removed.get(place)),)
            else:
                missing[place] = _not_as_sent(found, self._rows[place].value, unclear.unplaced)
        self.fates.unchanged += min(unclear.unchanged, applied)
        again = {place: self._rows[place] for place in missing if send_again and not self._may_vanish(place)}
        self.fates.missing |= {place: reason for place, reason in missing.items() if place not in again}
        self._send_again(again)

    def _clear_up_unread(self, unclear: Unclear, *, send_again: bool) -> None:
        """Send again what may be missing; what still is, or may not be sent twice, is told as not accounted for."""
        zeros = {place for place in unclear.places if self._may_vanish(place)}
        if not send_again or self._deletes or unclear.unaccounted <= len(zeros):
            self.fates.suspects.append(unclear)
            self.fates.unchanged += unclear.unchanged
            return
        if zeros:
            self.fates.suspects.append(
                replace(unclear, places=tuple(zeros), unchanged=0, unaccounted=len(zeros))
            )
        again = {place: self._rows[place] for place in unclear.places if place not in zeros}
        # Most are there by now, and that they are unchanged then says nothing of how it was before.
        self._send_again(again, unchanged=min(unclear.unchanged, len(again)))

    def _send_again(self, rows: Mapping[int, DataValueRow], unchanged: int | None = None) -> None:
        """Send rows once more; ``unchanged`` says how many of them were there before, where DHIS2 cannot say it now."""
        if self.failure is not None:
            # They wait with the rest, and come back.
            return
        sent = send(rows, self._calls)
        if unchanged is not None:
            sent.unchanged = 0 if sent.failure else unchanged
            sent.unclear = [replace(unclear, unchanged=0) for unclear in sent.unclear]
        self._take(sent, send_again=False)

    def _may_vanish(self, place: int) -> bool:
        """Whether it is a 0 that the server may drop; sent twice, it would be kept after all."""
        server = self._validator.server
        return (
            not self._deletes and _is_zero(self._rows[place].value) and (server is None or server.drops_zeros)
        )

    def _is_done(self, place: int, found: str | None) -> bool:
        if self._deletes or found is None:
            return self._deletes and found is None
        return _is_same(found, self._rows[place].value)

    # Zeros that the server would drop

    def _send_zeros(self, zeros: Mapping[int, DataValueRow], omitted_zeros: Collection[int]) -> None:
        """Send a zero that will not be kept only where another value stands: nothing is better than a stale one."""
        if not zeros and not omitted_zeros:
            return
        stored = self._stored([*zeros, *omitted_zeros])
        if stored is None:
            # Which cells hold something is not known: the server shall decide.
            self._rows |= zeros
            self._take(send(zeros, self._calls, try_again=False))
            self.fates.rejected |= {place: (_omitted_zero(None),) for place in omitted_zeros}
            return
        for place in omitted_zeros:
            if place in stored:
                self.fates.rejected[place] = (_omitted_zero(stored[place]),)
            else:
                self.fates.applied.add(place)
                self.fates.unchanged += 1
        stale: dict[int, DataValueRow] = {}
        for place, row in zeros.items():
            held = stored.get(place)
            if held is None:
                self.fates.rejected[place] = (_zero_not_kept(None),)
                self.fates.rejected_locally.add(place)
            elif _is_zero(held):
                self.fates.applied.add(place)
                self.fates.unchanged += 1
            else:
                stale[place] = row
                self._removed[place] = held
        self._rows |= stale
        self._take(send(stale, self._calls, try_again=False))

    # Reading

    def _stored(self, places: Collection[int]) -> dict[int, str] | None:
        """Read what stands in DHIS2 for these values; ``None`` where it may not be read.

        Raises
        ------
        Dhis2AuthenticationError, Dhis2TransientError
            It cannot be read just now.
        """
        if any(place not in self._cells for place in places):
            return None
        if isinstance(self.failure, Dhis2AuthenticationError):
            raise self.failure
        if self._seconds_left() < _READING_SECONDS:
            raise Dhis2TransientError(_NO_TIME_TO_READ, retry_after=1.0)
        try:
            found = read_cells(
                self._session.patient, self._validator.data_set_id, {self._cells[place] for place in places}
            )
        except (Dhis2BlockedError, Dhis2FaultError, Dhis2SlowError) as error:
            self._session.failed_reads += 1
            if self._session.failed_reads < _ENOUGH_FAILED_READS:
                raise
            # It does not pass: then it is as though it were not allowed.
            self.fates.remarks.append(
                LogRecord(
                    LogEvent.STORED_VALUES_UNREAD,
                    logging.WARNING,
                    f"The values in DHIS2 could not be read. {error}",
                )
            )
            return None
        except (Dhis2AuthenticationError, Dhis2TransientError):
            raise
        except Dhis2Error as error:
            self.fates.remarks.append(
                LogRecord(
                    LogEvent.STORED_VALUES_UNREAD,
                    logging.WARNING,
                    f"The values in DHIS2 could not be read. {error}",
                )
            )
            return None
        self._session.failed_reads = 0
        return {place: found[self._cells[place]] for place in places if self._cells[place] in found}

    def _read_back(self) -> None:
        """Compare what is stored with what was sent, where the settings ask for it."""
        places = sorted(place for place in self.fates.applied if place in self._rows)
        if self._settings.read_back is ReadBack.NONE or not places:
            return
        if self._settings.read_back is ReadBack.SAMPLE:
            places = self._sample(places)
        try:
            stored = self._stored(places)
        except Dhis2Error as error:
            self.fates.remarks.append(
                LogRecord(
                    LogEvent.STORED_VALUES_UNREAD, logging.WARNING, f"Nothing could be read back. {error}"
                )
            )
            return
        if stored is None:
            return
        for place in places:
            found = stored.get(place)
            if not self._is_done(place, found):
                self.fates.applied.remove(place)
                self.fates.missing[place] = (
                    _still_there(found, ())
                    if self._deletes
                    else _not_as_sent(found, self._rows[place].value, ())
                )
        differing = len(self.fates.missing.keys() & set(places))
        self.fates.remarks.append(
            LogRecord(
                LogEvent.VALUES_READ_BACK,
                logging.WARNING if differing else logging.INFO,
                f"Read back {len(places):,} values: {len(places) - differing:,} are "
                f"{'gone from DHIS2' if self._deletes else 'in DHIS2 as they were sent'}.",
                {"read_back": len(places), "read_back_differing": differing},
            )
        )

    def _sample(self, places: Sequence[int]) -> list[int]:
        """Choose the values of one org unit; over many batches all have their turn."""
        org_units = sorted({self._rows[place].org_unit for place in places})
        chosen = org_units[int(self._batch.batch_id[-8:], 16) % len(org_units)]
        return [place for place in places if self._rows[place].org_unit == chosen]

    def _tell_pace(self, limit_before: int | None) -> None:
        limit = self._session.batch_size.limit
        setting = self._settings.items_per_payload
        if limit is not None and limit < setting and (limit_before is None or limit < limit_before):
            self.fates.remarks.append(
                LogRecord(
                    LogEvent.CALLS_REDUCED,
                    logging.WARNING,
                    f"Calls of up to {setting:,} values are too much for this DHIS2 or the proxy before it: they now "
                    f"hold at most {limit:,}. If this goes on, set No. of items per payload to {limit:,}.",
                    {"values_per_call": limit},
                )
            )


def _is_zero(text: str) -> bool:
    return _is_same(text, "0")


def _is_same(found: str, sent: str) -> bool:
    if found == sent:
        return True
    try:
        return Decimal(found) == Decimal(sent)
    except InvalidOperation:
        return False


def _zero_not_kept(removed: str | None) -> Reason:
    text = "The 0 is not kept by DHIS2"
    if removed is not None:
        text += f"; it was sent to remove {removed}, which stood there before"
    return Reason(ZERO_NOT_KEPT, text)


def _omitted_zero(found: str | None) -> Reason:
    if found is None:
        return Reason(
            TRUE_ONLY,
            "A 'no' cannot be told to a data element that knows only 'yes', and what stands there could not be read",
        )
    return Reason(
        TRUE_ONLY,
        f"A 'no' cannot be told to a data element that knows only 'yes', and '{found}' stands there",
    )


def _changed_since(found: str, sent: str) -> Reason:
    return Reason(CHANGED_SINCE, f"DHIS2 has {found}, not the {sent} that was sent earlier")


def _still_there(found: str | None, unplaced: Sequence[Reason]) -> Reason:
    said = "".join(f"; it said: {reason.text} ({reason.code})" for reason in unplaced)
    return Reason(STILL_THERE, f"DHIS2 still has {found}, although it was asked to delete it{said}")


def _not_as_sent(found: str | None, sent: str, unplaced: Sequence[Reason]) -> Reason:
    said = "".join(f"; it said: {reason.text} ({reason.code})" for reason in unplaced)
    if found is None:
        return Reason(VANISHED, f"DHIS2 has no value, although {sent} was sent{said}")
    return Reason(STORED_DIFFERENTLY, f"DHIS2 has {found}, although {sent} was sent{said}")
