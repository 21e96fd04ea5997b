"""Whether values fit what DHIS2 has set up for them, decided before they are sent.

A value is refused beforehand only where the server would surely refuse it, or would store it where nobody looks
for it: up to 2.42 in a data set other than the one in the settings, or in an org unit that is closed. In doubt
(near the end of the expiry days, where data are approved) it is sent, and the server decides. To a server whose calendar
is not the ISO one nothing is sent: it would store the values in other months. The words and codes are those of a server up to 2.42, which names what is wrong with a value
rather than with all values of a call.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

from msupply_dhis2.dhis2.error_catalogue import CALENDAR, FRACTION, TRUE_ONLY
from msupply_dhis2.dhis2.import_request import DataValueRow, Schemes
from msupply_dhis2.dhis2.import_summary import Reason
from msupply_dhis2.dhis2.metadata_cache import KeptAnswers, MetadataCache, StrangeCombo
from msupply_dhis2.dhis2.models import (
    DataElement,
    InputPeriod,
    OptionCombo,
    OrgUnit,
    ReadsDhis2,
    Server,
    read_server,
)
from msupply_dhis2.dhis2.value_types import NUMERIC_TYPES, VALUE_TYPE_FAULT, shape
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.errors import (
    Dhis2AuthenticationError,
    Dhis2BlockedError,
    Dhis2Error,
    Dhis2FaultError,
    Dhis2SlowError,
    Dhis2TransientError,
)
from msupply_dhis2.periods import Period, PeriodFormat, add_days, find_period
from msupply_dhis2.settings import OptionComboField, Scheme

_KEPT_FOR = 3600.0
"""Seconds for which metadata are believed."""

_FRESH_FOR = 60.0
"""Seconds for which they are believed to be right where they speak against a value."""

_GOES_ON_FOR = 10_800.0
"""Seconds for which a reading that was broken off is gone on with: all attempts at a message take two hours or so."""

_GIVEN_UP_FOR = 600.0
"""Seconds for which metadata that may not be read are not asked for again."""

_PATIENCE = 3
"""How many times in a row the server may fail at its metadata, or be too slow, before it is done without them."""

_AVERAGES = frozenset({"AVERAGE", "AVERAGE_SUM_ORG_UNIT"})
_EDIT_EXPIRED = "F_EDIT_EXPIRED"
_A_DAY = timedelta(days=1)
_SOON = timedelta(minutes=5)
_MOST_FUTURE_PERIODS = 2000
_SHOWN = 3

_UNSURE_TYPE = "SixMonthlyNov"
_UNSURE_LABEL = "BiW27"
"""Periods that DHIS2 counts differently from one release, or from one question, to the next; the server decides."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Where DHIS2 keeps one value: five UIDs, the period as DHIS2 writes it."""

    data_element: str
    period: str
    org_unit: str
    category_option_combo: str
    attribute_option_combo: str


@dataclass(frozen=True, slots=True)
class Valid:
    """A value that may be sent: its row, of UIDs and in the shape of its value type, and its cell.

    ``is_timely`` tells whether its period is known to be of the right type and open.
    """

    row: DataValueRow
    cell: Cell
    is_timely: bool


@dataclass(frozen=True, slots=True)
class VanishingZero:
    """A zero that this server would not keep."""

    row: DataValueRow
    cell: Cell
    is_timely: bool


@dataclass(frozen=True, slots=True)
class OmittedZero:
    """A zero for a data element that takes only ``true``: it is told by having no value, so no row is sent."""

    cell: Cell


@dataclass(frozen=True, slots=True)
class Invalid:
    """A value that cannot be stored, and why."""

    reasons: tuple[Reason, ...]


type Fate = Valid | VanishingZero | OmittedZero | Invalid


class Validator:
    """Decides about values by the metadata of their data set, which it reads once and keeps.

    Parameters
    ----------
    client
        Of the server and the user that the values are sent with.
    data_set_id
        The data set, of the scheme that ``schemes`` says.
    schemes
        What the identifiers are; for option combos each value says it itself.
    option_combo_field
        Where option combos go. ``auto`` finds it out: to the data set, if it has the option combo, else to the
        data element.
    clock
        Seconds. The wall clock: a function's others may stand still between two invocations.
    """

    def __init__(
        self,
        client: ReadsDhis2,
        *,
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
        self._server: Server | None = None
        self._known: MetadataCache | None = None
        self._reading_since: float | None = None
        """When the server was read, while the rest of the metadata is not."""
        self._broken_off_at: float | None = None
        """When the first attempt began that was broken off, where none has come to its end since."""
        self._given_up_at: float | None = None
        self._failures = 0
        self._lock_exceptions: frozenset[tuple[str, str]] | None = None

    @property
    def server(self) -> Server | None:
        """The server, once it has been read."""
        return self._server

    @property
    def data_set_id(self) -> str:
        """The UID of the data set; before the metadata have been read the identifier that was given."""
        return self._known.data_set.id if self._known else self._data_set_id

    @property
    def lock_exceptions(self) -> frozenset[tuple[str, str]] | None:
        """Org unit and period of the exceptions from the expiry days; ``None`` where not known.

        Empty where no value of the last :meth:`fit` is of a period that may be expired.
        """
        return self._lock_exceptions

    def validate(self, values: Sequence[DataValue], *, deletes: bool = False) -> tuple[Fate, ...] | None:
        """Decide about values.

        Metadata that speak against a value are read once more if they are older than a minute, so that what was
        mended in DHIS2 counts at once. A reading that breaks off is gone on with the next time.

        Parameters
        ----------
        deletes
            Whether they are to be deleted. The server checks them as it checks those to be stored, but for what
            is refused here only because nobody would look for it in a closed org unit.

        Returns
        -------
        tuple or None
            What is to become of each value; ``None`` where the metadata may not be read: the values are then
            to be sent as they are.

        Raises
        ------
        Dhis2AuthenticationError
            The login was refused.
        Dhis2TransientError
            The metadata cannot be read just now.
        """
        if self._is_within(self._given_up_at, _GIVEN_UP_FOR):
            return None
        began = self._clock()
        try:
            fates = self._fit(values, deletes=deletes)
        except (Dhis2BlockedError, Dhis2SlowError, Dhis2FaultError):
            self._failures += 1
            if self._failures < _PATIENCE:
                self._break_off(began)
                raise
            fates = None
        except Dhis2TransientError:
            self._break_off(began)
            raise
        except Dhis2AuthenticationError:
            raise
        except Dhis2Error:
            fates = None
        self._failures = 0
        self._broken_off_at = self._reading_since = None
        self._answers.forget()
        # Where the data set cannot be seen it may be there all the same: sharing may hide it from lists only.
        self._given_up_at = self._clock() if fates is None else None
        return fates

    def _fit(self, values: Sequence[DataValue], *, deletes: bool) -> tuple[Fate, ...] | None:
        for believed_for in (_KEPT_FOR, _FRESH_FOR):
            known = self._read(believed_for)
            if self._server is not None and not self._server.has_iso_calendar:
                return (Invalid((_other_calendar(self._server),)),) * len(values)
            if known is None:
                return None
            fates = self._judge(known, values, deletes=deletes)
            if fates is None or self._is_believed(known.read_at, _FRESH_FOR):
                return fates
            if not any(isinstance(fate, Invalid | VanishingZero) for fate in fates):
                return fates
        return fates

    def _read(self, believed_for: float) -> MetadataCache | None:
        if self._known is None or not self._is_believed(self._known.read_at, believed_for):
            self._known = None
            since = self._reading_since
            if self._server is None or since is None or not self._is_believed(since, _KEPT_FOR):
                self._answers.forget()
                self._reading_since = None
                since = self._clock()
                self._server = read_server(self._answers)
                self._reading_since = since
            if self._server.has_iso_calendar:
                self._known = MetadataCache.read(
                    self._answers, self._data_set_id, self._schemes, self._server, since
                )
            self._reading_since = None
            self._answers.forget()
        return self._known

    def _break_off(self, began: float) -> None:
        if not self._is_within(self._broken_off_at, _GOES_ON_FOR):
            self._broken_off_at = began

    def _is_believed(self, read_at: float | None, seconds: float) -> bool:
        """Whether what was read then is so old at most, now or when the attempts began that were broken off since."""
        since = self._broken_off_at
        if read_at is not None and since is not None and self._is_within(since, _GOES_ON_FOR):
            return read_at >= since - seconds
        return self._is_within(read_at, seconds)

    def _is_within(self, since: float | None, seconds: float) -> bool:
        return since is not None and 0 <= self._clock() - since <= seconds

    def _judge(
        self, known: MetadataCache, values: Sequence[DataValue], *, deletes: bool
    ) -> tuple[Fate, ...] | None:
        data_elements = {value.data_element for value in values}
        judge = _Judge(known, self._option_combo_field, known.server_date(self._clock()), deletes=deletes)
        has_unseen_combos = judge.has_unseen_combos(data_elements)
        known.look_up(
            self._answers,
            data_elements=data_elements,
            org_units={value.org_unit for value in values},
            combos={
                (value.option_combo_scheme, combo)
                for value in values
                for combo in (value.category_option_combo, value.attribute_option_combo)
                if combo is not None and not has_unseen_combos
            },
        )
        if has_unseen_combos:
            return judge.misfits_all(values)
        self._lock_exceptions = frozenset()
        if judge.has_expired({value.period for value in values}):
            known.look_up_locks(self._answers)
            self._lock_exceptions = known.lock_exceptions
        self._answers.forget()
        return judge.fates(values)


class _Fault(NamedTuple):
    """Something that is wrong with values; ``words`` may need to name the data element of one."""

    code: str
    property: str | None
    object: str | None
    words: Callable[[DataValue], str]

    def reason(self, value: DataValue) -> Reason:
        return Reason(self.code, self.words(value), property=self.property, object=self.object)


class _What(NamedTuple):
    """A data element with its category and its attribute option combo."""

    element: DataElement | None
    combos: tuple[str, str]
    faults: tuple[_Fault, ...]


class _Where(NamedTuple):
    """An org unit and a period. ``untimely`` are the faults that another data set may not have."""

    org_unit: str
    period: str
    faults: tuple[_Fault, ...]
    untimely: tuple[_Fault, ...]
    is_judged: bool
    """Whether the period is one that can be judged."""


_NO_COMBOS = ("", "")


class _Judge:
    """Decides about values at one moment; what several have in common is decided once."""

    def __init__(
        self, known: MetadataCache, option_combo_field: OptionComboField, now: datetime, *, deletes: bool
    ) -> None:
        self._known = known
        self._option_combo_field = option_combo_field
        self._times = Times(known, now)
        self._data_set = known.data_set
        self._deletes = deletes
        self._whats: dict[tuple[str, str | None, str | None, Scheme], _What] = {}
        self._wheres: dict[tuple[str, str], _Where] = {}

    def has_unseen_combos(self, data_elements: Collection[str]) -> bool:
        """Whether the option combos of the data set, or of one of them, are hidden from the user."""
        elements = (self._known.data_elements.get(identifier) for identifier in data_elements)
        return not self._data_set.option_combos or any(
            element is not None and not element.option_combos for element in elements
        )

    def misfits_all(self, values: Sequence[DataValue]) -> tuple[Invalid, ...] | None:
        """Refuse all values where none can fit, whatever their option combos are; ``None`` where one may.

        So nothing is sent to periods of another type than the data set's, to a data set without data elements, or to one
        that none of the org units is assigned to.
        """
        misfits = []
        for value in values:
            where = self._find_where(value)
            faults = [*where.faults]
            if value.data_element not in self._known.data_elements:
                faults.append(self._strange_data_element(value.data_element))
            if not faults:
                return None
            misfits.append(Invalid((min((fault.reason(value) for fault in faults), key=_turn),)))
        return tuple(misfits)

    def has_expired(self, periods: Collection[str]) -> bool:
        """Whether a period is past the expiry days, or nearly: then the exceptions are worth reading."""
        found = (self._times.find(label) for label in periods)
        return any(period is not None and self._times.may_be_expired(period) for period in found)

    def fates(self, values: Sequence[DataValue]) -> tuple[Fate, ...]:
        first: dict[Cell, DataValue] = {}
        return tuple(self._fate(value, first) for value in values)

    def _fate(self, value: DataValue, first: dict[Cell, DataValue]) -> Fate:
        what_key = (
            value.data_element,
            value.category_option_combo,
            value.attribute_option_combo,
            value.option_combo_scheme,
        )
        what = self._whats.get(what_key)
        if what is None:
            what = self._whats[what_key] = self._find_what(value)
        where_key = value.org_unit, value.period
        where = self._wheres.get(where_key)
        if where is None:
            where = self._wheres[where_key] = self._find_where(value)
        element = what.element
        shaped = shape(value.value, element.value_type, value.data_element) if element else value.value
        wrong = isinstance(shaped, Reason) and shaped.code != TRUE_ONLY
        if what.faults or where.faults or where.untimely or wrong:
            reason = self._first_reason(value, what, where, shaped)
            if reason is not None:
                return Invalid((reason,))
        cell = Cell(element.id if element else "", where.period, where.org_unit, *what.combos)
        twin = first.setdefault(cell, value)
        if twin is not value:
            return Invalid((_twice(twin, value),))
        if isinstance(shaped, Reason):
            return OmittedZero(cell)
        # The default option combos are named too: up to 2.42 a system setting can insist on it, and none forbids it.
        row = DataValueRow(cell.data_element, where.period, where.org_unit, *what.combos, shaped)
        vanishes = element is not None and shaped == "0" and drops_zeros_of(self._known.server, element)
        is_timely = where.is_judged and not where.untimely
        if vanishes and not self._deletes:
            return VanishingZero(row, cell, is_timely)
        return Valid(row, cell, is_timely)

    def _first_reason(
        self, value: DataValue, what: _What, where: _Where, shaped: str | Reason
    ) -> Reason | None:
        """Return what a server would say first: its checks come in the order of their codes."""
        faults = [*what.faults, *where.faults]
        # Up to 2.42 the open periods of other data sets may count for a data element as well.
        shared = what.element is not None and what.element.in_other_data_sets
        if not shared or self._known.server.imports_by_group:
            faults += where.untimely
        reasons = [fault.reason(value) for fault in faults]
        if isinstance(shaped, Reason) and shaped.code != TRUE_ONLY:
            reasons.append(shaped)
        return min(reasons, key=_turn, default=None)

    # What: the data element and its option combos

    def _find_what(self, value: DataValue) -> _What:
        element = self._known.data_elements.get(value.data_element)
        if element is None:
            return _What(None, _NO_COMBOS, (self._strange_data_element(value.data_element),))
        category, attribute = self._places(value, element)
        scheme = value.option_combo_scheme
        of_element = self._combo(category, element.option_combos, scheme)
        of_data_set = self._combo(attribute, self._data_set.option_combos, scheme)
        if of_element is not None and of_data_set is not None:
            return _What(element, (of_element.id, of_data_set.id), ())
        faults = []
        if of_element is None:
            faults.append(self._no_category_option_combo(category, scheme))
        if of_data_set is None:
            faults.append(self._no_attribute_option_combo(attribute, scheme, element))
        return _What(element, _NO_COMBOS, tuple(faults))

    def _strange_data_element(self, identifier: str) -> _Fault:
        others = self._known.other_data_elements
        if identifier in others and others[identifier] is None:
            hint = self._known.hint(identifier, "data element", self._known.schemes.data_element)
            words = f"Data element not found or not accessible: `{identifier}`{hint}"
            return _Fault("E7610", "dataElement", identifier, lambda _: words)
        words = f"Data element: `{identifier}` is not part of dataset(s): `{self._data_set.id}`"
        return _Fault("E7633", "dataElement", identifier, lambda _: words)

    def _places(self, value: DataValue, element: DataElement) -> tuple[str | None, str | None]:
        """Return the category and the attribute option combo, in the places where they belong."""
        category, attribute = value.category_option_combo, value.attribute_option_combo
        given = category or attribute
        if self._option_combo_field is not OptionComboField.AUTO or given is None or (category and attribute):
            return category, attribute
        scheme, known = value.option_combo_scheme, self._known
        if given in known.combos(self._data_set.option_combos, scheme):
            return None, given
        if given in known.combos(element.option_combos, scheme):
            return given, None
        # It belongs to neither: where there is something to choose from, it was meant to be.
        return (None, given) if len(self._data_set.option_combos) > 1 else (given, None)

    def _combo(
        self, identifier: str | None, among: tuple[OptionCombo, ...], scheme: Scheme
    ) -> OptionCombo | None:
        """Find an option combo; where none is named, the only one that there is."""
        if identifier is None:
            return among[0] if len(among) == 1 else None
        return self._known.combos(among, scheme).get(identifier)

    def _no_category_option_combo(self, identifier: str | None, scheme: Scheme) -> _Fault:
        shown = _shown(identifier)
        strange = self._strange_combo(identifier, scheme)
        if strange is not None and strange.combo is None:
            hint = self._hint(identifier, scheme, strange)
            words = f"Category option combo not found or not accessible for writing data: `{shown}`{hint}"
            return _Fault("E7613", "categoryOptionCombo", identifier, lambda _: words)
        of_data_set = identifier in self._known.combos(self._data_set.option_combos, scheme)
        hint = ". It is an attribute option combo, of the data set" if of_data_set else ""
        before = f"Category option combo: `{shown}` must be part of category combo of data element"
        return _Fault(
            "E7634",
            "categoryOptionCombo",
            identifier,
            lambda value: f"{before}: `{value.data_element}`{hint}",
        )

    def _no_attribute_option_combo(
        self, identifier: str | None, scheme: Scheme, element: DataElement
    ) -> _Fault:
        shown = _shown(identifier)
        strange = self._strange_combo(identifier, scheme)
        if strange is not None and strange.combo is None:
            hint = self._hint(identifier, scheme, strange)
            words = f"Attribute option combo not found or not accessible for writing data: `{shown}`{hint}"
            return _Fault("E7615", "attributeOptionCombo", identifier, lambda _: words)
        of_element = identifier in self._known.combos(element.option_combos, scheme)
        hint = ". It is a category option combo, of the data element" if of_element else ""
        before = (
            f"Attribute option combo: `{shown}` must be part of category combo of data sets of data element"
        )
        return _Fault(
            "E7635",
            "attributeOptionCombo",
            identifier,
            lambda value: f"{before}: `{value.data_element}`{hint}",
        )

    def _strange_combo(self, identifier: str | None, scheme: Scheme) -> StrangeCombo | None:
        return self._known.strange_combos.get((scheme, identifier)) if identifier is not None else None

    def _hint(self, identifier: str | None, scheme: Scheme, strange: StrangeCombo) -> str:
        """Return which option combo was meant: one that looks the same, or that of a category option."""
        if not strange.meant:
            return self._known.hint(identifier or "", "option combo", scheme)
        used = {among[0].category_combo for among in self._known.combos_in_use}
        meant = [combo for combo in strange.meant if combo.category_combo in used] or list(strange.meant)
        names = " or ".join(f"{combo.id} ({combo.name})" for combo in meant[:_SHOWN])
        return f". `{identifier}` is a category option; its category option combo is {names}"

    # Where: the org unit and the period

    def _find_where(self, value: DataValue) -> _Where:
        known, label = self._known, value.period
        assigned = known.org_units.get(value.org_unit)
        org_unit = assigned or known.other_org_units.get(value.org_unit)
        period = self._times.find(label)
        faults: list[_Fault | None] = [
            self._times.no_period(label, period),
            self._strange_org_unit(value.org_unit) if assigned is None else None,
            self._out_of_reach(value.org_unit, org_unit) if org_unit else None,
            self._times.other_period_type(label, period) if period else None,
        ]
        untimely: list[_Fault | None] = []
        if period is not None and org_unit is not None:
            if not self._deletes or known.server.imports_by_group:
                faults.append(self._times.closed(org_unit, period))
            untimely = [
                self._times.expired(org_unit, label, period),
                self._times.too_early(label, period),
                self._times.no_input_period(label, period),
            ]
        return _Where(
            org_unit.id if org_unit else "",
            period.label if period else label,
            tuple(fault for fault in faults if fault is not None),
            tuple(fault for fault in untimely if fault is not None),
            period is not None,
        )

    def _strange_org_unit(self, identifier: str) -> _Fault:
        others = self._known.other_org_units
        if identifier in others and others[identifier] is None:
            hint = self._known.hint(identifier, "org unit", self._known.schemes.org_unit)
            words = f"Organisation unit not found or not accessible: `{identifier}`{hint}"
            return _Fault("E7612", "orgUnit", identifier, lambda _: words)
        after = f"must be assigned through data sets to organisation unit: `{identifier}`"
        return _Fault(
            "E7636", "orgUnit", identifier, lambda value: f"Data element: `{value.data_element}` {after}"
        )

    def _out_of_reach(self, identifier: str, org_unit: OrgUnit) -> _Fault | None:
        user = self._known.user
        if not user.is_kept_out_of(org_unit):
            return None
        words = f"Organisation unit: `{identifier}` not in hierarchy of current user: `{user.id}`"
        return _Fault("E7617", "orgUnit", identifier, lambda _: words)


def drops_zeros_of(server: Server, element: DataElement) -> bool:
    """Whether this server does not keep the zeros of this data element."""
    return (
        server.drops_zeros
        and not element.zero_is_significant
        and element.value_type in NUMERIC_TYPES
        and element.aggregation_type not in _AVERAGES
    )


class Times:
    """Which periods the data set and its org units are open for, at one moment, as far as that is certain."""

    def __init__(self, known: MetadataCache, now: datetime) -> None:
        self._known = known
        self._data_set = known.data_set
        self._now = now
        self._format = _period_format(known)
        # From 2.43 data input periods count instead of expiry days and open future periods, not beside them.
        self._only_input_periods = known.server.imports_by_group and bool(known.data_set.input_periods)
        self._open_before = self._first_day_not_open()
        self._may_edit_expired = known.user.may(_EDIT_EXPIRED)

    @property
    def server(self) -> Server:
        """The server whose rules count."""
        return self._known.server

    def find(self, label: str) -> Period | None:
        """Find the period of a label; ``None`` where there is none, or where it cannot be judged."""
        return find_period(label) if self._format is not None else None

    def no_period(self, label: str, period: Period | None) -> _Fault | None:
        """Find the label to mean no period."""
        if period is not None or self._format is None:
            return None
        words = f"Period not valid: `{label}`"
        return _Fault("E7611", "period", label, lambda _: words)

    def other_period_type(self, label: str, period: Period) -> _Fault | None:
        """Find the period of another type than the data set's."""
        if self._is_of_type(period):
            return None
        before = f"Period type of period: `{label}` not valid for data element"
        needed = f" (the data set is {self._data_set.period_type}, the period {period.type_name})"
        return _Fault("E7632", None, label, lambda value: f"{before}: `{value.data_element}`{needed}")

    def expired(self, org_unit: OrgUnit, label: str, period: Period) -> _Fault | None:
        """Find the expiry days over, and no exception for the org unit."""
        exempt = self.exempt_org_units(period)
        if exempt is None or not self.is_expired(period) or not exempt.isdisjoint({org_unit.id, ""}):
            return None
        words = f"Current date is past expiry days for period: `{label}` and data set: `{self._data_set.id}`"
        return _Fault("E7640", "period", label, lambda _: words)

    def exempt_org_units(self, period: Period) -> frozenset[str] | None:
        """Return the UIDs of the org units for which the expiry days do not count; ``""`` is all of them.

        ``None`` while, or where, that is not known: then the server decides.
        """
        locks = self._known.lock_exceptions
        return None if locks is None else frozenset(unit for unit, label in locks if label == period.label)

    def is_expired(self, period: Period) -> bool:
        """Whether the expiry days are over, by a day at least."""
        return self._is_certain(period) and self._is_expired(period, _A_DAY)

    def may_be_expired(self, period: Period) -> bool:
        """Whether the expiry days may be over by the server's reckoning."""
        return self._is_expired(period, -_A_DAY)

    def _is_expired(self, period: Period, margin: timedelta) -> bool:
        days = self._data_set.expiry_days
        if days == 0 or self._may_edit_expired or self._only_input_periods:
            return False
        last = datetime.combine(period.day_after, datetime.min.time())
        return self._now > last + timedelta(days=days) + margin

    def too_early(self, label: str, period: Period) -> _Fault | None:
        """Find the period after the latest open one; from 2.43 who may edit expired periods may fill in future ones."""
        before = self._open_before
        if (
            before is None
            or (self._may_edit_expired and self._known.server.imports_by_group)
            or self._format is None
            or self._only_input_periods
            or not self._is_certain(period)
            or period.first_day < before
        ):
            return None
        latest = self._format.label(add_days(before, -1))
        data_set = self._data_set.id
        start = f"Period: `{label}` is after latest open future period: `{latest}` for data element"
        return _Fault(
            "E7641",
            "period",
            label,
            lambda value: f"{start}: `{value.data_element}` and data set: `{data_set}`",
        )

    def no_input_period(self, label: str, period: Period) -> _Fault | None:
        """Find no data input period for it, or only ones that are closed, by a day at least."""
        if not self._data_set.input_periods or not self._is_of_type(period):
            return None
        named = self.input_periods_of(period)
        if named and self._known.server.inverts_input_periods:
            return None
        if self.is_open_by_input_period(period):
            return None
        words = f"Period: `{label}` is not open for this data set at this time: `{self._data_set.id}`"
        return _Fault("E7643", "period", label, lambda _: words)

    def input_periods_of(self, period: Period) -> tuple[InputPeriod, ...]:
        """Find the data input periods of a period, open or not."""

        def is_of_it(input_period: InputPeriod) -> bool:
            found = self.find(input_period.period)
            return found is not None and found.label == period.label

        return tuple(given for given in self._data_set.input_periods if is_of_it(given))

    def is_open_by_input_period(self, period: Period) -> bool:
        """Whether one of the period's data input periods is open, give or take a day."""
        yesterday, tomorrow = add_days(self._now.date(), -1), add_days(self._now.date(), 1)
        return any(
            (given.opening_date is None or given.opening_date <= tomorrow)
            and (given.closing_date is None or given.closing_date >= yesterday)
            for given in self.input_periods_of(period)
        )

    def closed(self, org_unit: OrgUnit, period: Period) -> _Fault | None:
        """Find the org unit closed, or not open yet, in the period."""
        hint = self.closure(org_unit, period)
        if hint is None:
            return None
        words = f"Untimely data entry for org unit {org_unit.id} and period(s): `[{period.label}]` ({hint})"
        return _Fault("E8031", "orgUnit", org_unit.id, lambda _: words)

    def closure(self, org_unit: OrgUnit, period: Period) -> str | None:
        """Return since or until when the org unit is closed, where that keeps the period's values out.

        Up to 2.42 the server takes values for any period. What lies wholly before the opening date or after the closed
        date is shown to nobody; a period with open days is sent. From 2.43 the first day decides: the server
        refuses a period in which the org unit opened, and takes one in which it closed.
        """
        if not self._is_certain(period):
            return None
        opening, closing = org_unit.opening_date, org_unit.closed_date
        last_chance = period.first_day if self.server.imports_by_group else add_days(period.day_after, -1)
        if opening is not None and last_chance < opening:
            return f"it opened on {opening}"
        if closing is not None and period.first_day > closing:
            return f"it closed on {closing}"
        return None

    def _is_of_type(self, period: Period) -> bool:
        return self._format is not None and period.type_name == self._format.text

    def _is_certain(self, period: Period) -> bool:
        """Whether the days of the period are beyond doubt."""
        unsure = period.type_name == _UNSURE_TYPE or period.label.endswith(_UNSURE_LABEL)
        return self._is_of_type(period) and not unsure

    def _first_day_not_open(self) -> date | None:
        """Return the day after the latest open period; without open future periods the current one is closed."""
        count = self._data_set.open_future_periods
        if self._format is None or not 0 <= count <= _MOST_FUTURE_PERIODS:
            return None
        # At the turn of a period the server may be a little ahead of what is known of its clock.
        day = self._format.first_day((self._now + _SOON).date())
        for _ in range(count):
            day = self._format.first_day(self._format.day_after(day))
        return day


def _period_format(known: MetadataCache) -> PeriodFormat | None:
    """Return the data set's period type; ``None`` where its periods cannot be judged."""
    if not known.server.has_iso_calendar:
        return None
    try:
        return PeriodFormat.parse(known.data_set.period_type)
    except ValueError:
        return None


def _other_calendar(server: Server) -> Reason:
    text = (
        f"Not sent: DHIS2 keeps its periods in the calendar '{server.calendar}', where the label of the period means another "
        "one than in the ISO calendar"
    )
    return Reason(CALENDAR, text, property="period")


def _turn(reason: Reason) -> str:
    """Return the code by which a server would come to it."""
    return VALUE_TYPE_FAULT if reason.code == FRACTION else reason.code


def _shown(identifier: str | None) -> str:
    return "null" if identifier is None else identifier


def _twice(first: DataValue, second: DataValue) -> Reason:
    names = " and ".join(f"{value.item}, {value.store}, {value.metric.label}" for value in (first, second))
    return Reason(
        "E8128",
        f"{names} are one and the same value in DHIS2 (data element `{second.data_element}`, org unit "
        f"`{second.org_unit}`, period `{second.period}`): only the first was sent",
        property="dataElement",
        object=second.data_element,
    )
