"""Whether values fit what DHIS2 has set up for them, decided before they are sent.

In doubt a value is sent, and the server decides. To a server whose calendar is not the ISO one nothing is sent: it would
store the values in other months.
"""

import time
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta

from msupply_dhis2.dhis2.error_catalogue import CALENDAR
from msupply_dhis2.dhis2.import_request import Schemes
from msupply_dhis2.dhis2.metadata import KeptAnswers, MetadataCache, read_data_set, read_server, read_user
from msupply_dhis2.dhis2.models import ReadsDhis2, Server
from msupply_dhis2.dhis2.value_rules import Validated, ValueRules
from msupply_dhis2.domain.choices import OptionComboField
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.domain.outcome import Reason, ValueOutcome, rejected
from msupply_dhis2.errors import (
    Dhis2BlockedError,
    Dhis2FaultError,
    Dhis2PermanentError,
    Dhis2SlowError,
    Dhis2TransientError,
)

_KEPT_FOR = 300.0
"""Seconds for which metadata are believed: a few, because DHIS2 up to 2.42 is not asked to check org units and data
elements that fit them. One that leaves the data set meanwhile gets values as though they had been sent before."""

_FRESH_FOR = 60.0
"""Seconds for which they are believed to be right where they speak against a value."""

_GOES_ON_FOR = 10_800.0
"""Seconds for which a reading that was broken off is gone on with: all attempts at a message take two hours or so."""

_GIVEN_UP_FOR = 600.0
"""Seconds for which metadata that may not be read are not asked for again."""

_MOST_FAILURES = 3
"""How many times in a row the server may fail at its metadata, or be too slow, before it is done without them."""


class Validator:
    """Decides about values by the metadata of their data set, which it reads once and keeps.

    ``option_combo_field`` says where option combos go: ``auto`` finds it out (to the data set, if it has the option combo,
    else to the data element). ``clock`` is the wall clock: a function's others may stand still between two invocations.
    """

    def __init__(
        self,
        client: ReadsDhis2,
        data_set_id: str,
        schemes: Schemes,
        option_combo_field: OptionComboField,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._answers = KeptAnswers(client)
        self._data_set_id = data_set_id
        self._schemes = schemes
        self._option_combo_field = option_combo_field
        self._clock = clock
        self.server: Server | None = None
        """The server, once it has been read."""
        self.lock_exceptions: frozenset[tuple[str, str]] | None = None
        """Org unit and period of the exceptions from the expiry days; ``None`` where not known. Empty where no value
        that was validated last is of a period that may be expired."""
        self._known: MetadataCache | None = None
        self._reading_since: float | None = None
        """When the server was read, while the rest of the metadata is not."""
        self._broken_off_at: float | None = None
        """When the first attempt began that was broken off, where none has come to its end since."""
        self._given_up_at: float | None = None
        self._failures = 0

    @property
    def data_set_id(self) -> str:
        """The UID of the data set; before the metadata have been read the identifier that was given."""
        return self._known.data_set.id if self._known else self._data_set_id

    @property
    def is_up_to_date(self) -> bool:
        """Whether the metadata are known and so young that DHIS2 need not check the same: not after a reading of hours."""
        return self._known is not None and self._is_within(self._known.read_at, _KEPT_FOR)

    def count_values(self, cells: Collection[tuple[str, str]]) -> int:
        """Return how many values the data set can have in org units and periods; 0 where the metadata are not known."""
        if self._known is None:
            return 0
        data_set = self._known.data_set
        of_elements = sum(len(element.option_combos) for element in data_set.data_elements)
        return len(cells) * of_elements * len(data_set.option_combos)

    def validate(self, values: Sequence[DataValue], *, deletes: bool = False) -> tuple[Validated, ...] | None:
        """Decide about values: which may be sent, and the outcome of those that are rejected locally.

        Metadata that speak against a value are read once more if they are older than a minute, so that what was
        fixed in DHIS2 counts at once. A reading that breaks off is gone on with the next time. The server checks values
        to delete as it checks those to be stored, but for what is refused here only because nobody would look for it
        in a closed org unit. ``None`` where the metadata may not be read: the values are then to be sent as they are.
        """
        if self._is_within(self._given_up_at, _GIVEN_UP_FOR):
            return None
        began = self._attempts_began()
        try:
            self._read(_KEPT_FOR)
            known, validated = self._known, self._decide(values, deletes=deletes)
            if known is not None and any(map(_is_doubted, validated or ())):
                self._read(_FRESH_FOR)
                if self._known is not known:
                    validated = self._decide(values, deletes=deletes)
        except Dhis2TransientError as error:
            is_failure = isinstance(error, (Dhis2BlockedError, Dhis2SlowError, Dhis2FaultError))
            self._failures += is_failure
            if not is_failure or self._failures < _MOST_FAILURES:
                self._broken_off_at = began
                raise
            validated = None
        except Dhis2PermanentError:
            validated = None
        self._failures = 0
        self._broken_off_at = self._reading_since = None
        self._answers.forget()
        # Where the data set cannot be seen it may be there all the same: sharing may hide it from lists only.
        self._given_up_at = self._clock() if validated is None else None
        return validated

    def _decide(self, values: Sequence[DataValue], *, deletes: bool) -> tuple[Validated, ...] | None:
        """Decide by the metadata that are known."""
        if self.server is not None and not self.server.has_iso_calendar:
            return (rejected(_other_calendar(self.server), was_sent=False),) * len(values)
        if (known := self._known) is None:
            return None
        now = known.server.server_date + timedelta(seconds=self._clock() - known.read_at)
        rules = ValueRules(known, self._option_combo_field, now, deletes=deletes)
        known.look_up(self._answers, values)
        if rules.has_unseen_combos({value.data_element for value in values}):
            return rules.reject_all(values)
        known.look_up_combos(self._answers, values)
        self.lock_exceptions = frozenset()
        if rules.has_expired({value.period for value in values}):
            known.look_up_locks(self._answers)
            self.lock_exceptions = known.lock_exceptions
        return rules.validate(values)

    def _read(self, believed_for: float) -> None:
        """Read the metadata, unless those that are known are believed still."""
        if self._known is not None and self._is_believed(self._known.read_at, believed_for):
            return
        self._known = None
        since = self._reading_since
        if since is None or not self._is_believed(since, 0.0):
            self._answers.forget()
            since = self._clock()
        self.server = read_server(self._answers)
        self._reading_since = since
        if self.server.has_iso_calendar:
            data_set = read_data_set(self._answers, self._data_set_id, self._schemes.data_set)
            if data_set is not None:
                user = read_user(self._answers)
                self._known = MetadataCache(self.server, user, data_set, self._schemes, since)
        self._reading_since = None
        self._answers.forget()

    def _attempts_began(self) -> float:
        """Return when the first of the attempts began that were broken off since; now, where there are none."""
        since = self._broken_off_at
        return since if since is not None and self._is_within(since, _GOES_ON_FOR) else self._clock()

    def _is_believed(self, read_at: float, seconds: float) -> bool:
        return self._attempts_began() - seconds <= read_at <= self._clock()

    def _is_within(self, since: float | None, seconds: float) -> bool:
        return since is not None and 0 <= self._clock() - since <= seconds


def _is_doubted(validated: Validated) -> bool:
    return isinstance(validated, ValueOutcome) or validated.vanishes


def _other_calendar(server: Server) -> Reason:
    said = f"Not sent: DHIS2 keeps its periods in the calendar '{server.calendar}'"
    return Reason(
        CALENDAR, f"{said}, where the label of the period means another period than in the ISO calendar"
    )
