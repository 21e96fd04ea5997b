"""Which stores and items of mSupply have no counterpart in DHIS2, and the reverse."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from msupply_dhis2.dhis2.metadata import find
from msupply_dhis2.dhis2.models import DataElement, Identified, OrgUnit
from msupply_dhis2.domain.mapped import CustomerReports, MappedNames
from msupply_dhis2.errors import Dhis2Error
from msupply_dhis2.preflight.access import check_reach
from msupply_dhis2.preflight.check import Check, failed, noted, passed
from msupply_dhis2.preflight.facts import (
    LOOKED_UP,
    Facts,
    Nearest,
    called,
    cure_of,
    some,
    title_of,
)
from msupply_dhis2.settings import Scheme, Settings
from msupply_dhis2.text import count, joined

_UNKNOWN = "unknown to DHIS2"
_UNASSIGNED = "not assigned to the data set"
_NOT_LOOKED_FOR = "not among those of the data set"
_CLOSED = "closed for the period of the run"


class _Mapped(NamedTuple):
    """A store or item and the identifier of its counterpart, of an item the metrics in words, where only they go there."""

    name: str
    code: str
    identifier: str
    metrics: str = ""


class _Kind(NamedTuple):
    """What is compared: stores with org units, or items with data elements.

    ``scheme`` is the setting of what identifies a counterpart. ``unknown`` and ``unassigned`` are DHIS2's codes for one that
    there is not, or not in the data set.
    """

    subject: str
    subjects: str
    a_subject: str
    counterpart: str
    scheme: str
    unknown: str
    unassigned: str


_STORES = _Kind("store", "stores", "a store", "org unit", "org_unit_scheme", "E7612", "E7636")
_STORES_AND_CUSTOMERS = _STORES._replace(
    subject="store or customer", subjects="stores and customers", a_subject="a store or customer"
)
_ITEMS = _Kind("item", "items", "an item", "data element", "data_element_id_scheme", "E7610", "E7633")


def compare_stores(facts: Facts, mapped: MappedNames) -> None:
    """Tell which stores have their org units, whether these are in the user's reach, and which have no store."""
    stores = [_Mapped(*store) for store in mapped.stores]
    org_units = facts.data_set.org_units if facts.data_set else None
    kind = _STORES if mapped.customers is None else _STORES_AND_CUSTOMERS
    comparison = _Comparison(facts, kind, stores, org_units, OrgUnit)
    facts.org_units = tuple(dict.fromkeys(comparison.inside.values()))
    facts.tell("stores", comparison.check(len(stores), mapped.more_stores))
    if found := tuple(comparison.found.values()):
        facts.tell("org unit reach", check_reach(facts, found))
    comparison.tell_left_over(mapped.more_stores)
    if mapped.customers is not None:
        facts.tell("customers", check_customers(facts.settings, mapped.customers))


def check_customers(settings: Settings, reports: CustomerReports) -> Check:
    """Tell how many customers report, and which have not for long."""
    in_periods = joined(f"{number:,} in {period}" for period, number in reports.reporting.items())
    silent = f"{reports.silent:,} without a report for three periods, since {reports.since.isoformat()}."
    return noted(
        f"{count(reports.mapped, 'customer that is not a store has', 'customers that are not stores have')} an org unit. "
        f"Reports: {in_periods}; {silent} Not sent: {count(reports.blank, 'customer')} without a value in "
        f"{settings.customer_field}. Check that mSupply does not fetch these reports from DHIS2 (its DHIS2 LMIS "
        "integration): DHIS2 would get its own numbers back.",
        reports.details,
        max(0, reports.silent + reports.blank - len(reports.details)),
    )


def compare_items(facts: Facts, mapped: MappedNames) -> Mapping[str, DataElement]:
    """Tell which items have their data elements, and which have no item; return the former by their identifiers."""
    labels = facts.row_labels
    items = []
    for item in mapped.items:
        metrics: defaultdict[str, list[str]] = defaultdict(list)
        for identifier, label in zip(item.data_elements, labels, strict=True):
            if identifier is not None:
                metrics[identifier].append(label)
        for identifier, of_it in metrics.items():
            only = "" if len(of_it) == len(labels) else f", {some(of_it)}"
            items.append(_Mapped(item.name, item.code, identifier, only))
    elements = facts.data_set.data_elements if facts.data_set else None
    comparison = _Comparison(facts, _ITEMS, items, elements, DataElement)
    facts.tell("items", comparison.check(len(mapped.items), mapped.more_items))
    comparison.tell_left_over(mapped.more_items)
    return comparison.found


class _Comparison[Thing: Identified]:
    """What became of the identifiers of stores or items in DHIS2.

    ``inside`` is what they mean in the data set, ``found`` in or out of it. The ``unknown`` ones mean nothing that the user may
    see. All others were not looked for, or in vain (``failure``). ``left_over`` is what no identifier means.
    """

    def __init__(
        self,
        facts: Facts,
        kind: _Kind,
        mapped: Sequence[_Mapped],
        of_data_set: Collection[Thing] | None,
        model: type[Thing],
    ) -> None:
        self._facts, self._kind, self._mapped, self._of_data_set = facts, kind, mapped, of_data_set
        scheme = self._scheme = Scheme(getattr(facts.settings, kind.scheme))
        wanted = dict.fromkeys(each.identifier for each in mapped)
        ours = {thing.identifier(scheme): thing for thing in of_data_set or ()}
        asked = [identifier for identifier in wanted if identifier not in ours][:LOOKED_UP]
        theirs: dict[str | None, Thing] = {}
        self._failure = None
        try:
            theirs = {thing.identifier(scheme): thing for thing in find(model, facts.client, asked, scheme)}
        except Dhis2Error as error:
            self._failure, asked = error, []
        self.inside = {identifier: ours[identifier] for identifier in wanted if identifier in ours}
        elsewhere = {identifier: theirs[identifier] for identifier in asked if identifier in theirs}
        self.found = {**elsewhere, **self.inside}
        self._unknown = {identifier for identifier in asked if identifier not in theirs}
        claimed = {thing.id for thing in self.inside.values()}
        self._left_over = [thing for thing in of_data_set or () if thing.id not in claimed]
        # What a store or item has already is not what another one meant.
        self._nearest = Nearest(self._left_over)
        self._by_other_scheme = {thing.identifier(scheme.other): thing for thing in self._left_over}

    def check(self, number: int, more: int) -> Check:
        """Whether each counterpart is there, in the data set and open; there are so many subjects, and ``more`` untold."""
        kind, of = self._kind, self._kind.counterpart
        if self._failure and self._of_data_set is None:
            return failed(f"What they are mapped to cannot be looked up in DHIS2. {self._failure}")
        faults = [(each, *fault) for each in self._mapped if (fault := self._fault(each))]
        causes = Counter(cause for _, cause, _ in faults)
        details = [f"{each.name} ({each.code}){each.metrics}: {fault}" for each, _, fault in faults]
        said = f"{count(number, kind.subject, kind.subjects)} of mSupply"
        if faults:
            faulty = len({each[:2] for each, _, _ in faults})
            wrong = joined(f"{of_it:,} {cause}" for cause, of_it in causes.most_common())
            message = f"{faulty:,} of {said} cannot be sent: the {of}s are wrong ({wrong})."
            message = " ".join((message, *self._cures(causes)))
        else:
            message = f"{said} {f'has its {of}' if number == 1 else f'have their {of}s'}."
        if more:
            message += f" {more:,} more were not checked, because their list is too long for one answer."
        if faults and self._failure:
            message += f" Whether they are elsewhere in DHIS2 cannot be read: {self._failure}"
        return failed(message, details) if faults else passed(message)

    def _fault(self, mapped: _Mapped) -> tuple[str, str] | None:
        """Return why values for an identifier are refused: the cause, and a sentence."""
        scheme, of, identifier = self._scheme, self._kind.counterpart, mapped.identifier
        thing = self.found.get(identifier)
        if identifier in self._unknown:
            if other := self._by_other_scheme.get(identifier):
                meant = f" It is the {scheme.other.value} of {called(other)}."
            else:
                meant = self._nearest.guess(identifier, mapped.name, scheme, here="mSupply")
            fault = f"no {of} has the {scheme.value} '{identifier}', or the user may not see it.{meant}"
            return _UNKNOWN, fault
        if self._of_data_set is not None and identifier not in self.inside:
            if thing is None:
                return _NOT_LOOKED_FOR, f"'{identifier}' is not among those of the data set."
            return _UNASSIGNED, f"the {of} {called(thing)} is not assigned to the data set."
        if isinstance(thing, OrgUnit) and (closed := _closure(self._facts, thing)):
            return _CLOSED, f"the {of} {called(thing)} takes no values for {closed}."
        return None

    def _cures(self, causes: Counter[str]) -> list[str]:
        kind, right = self._kind, self._scheme.other.value
        most = f"Most of them are {right}s of what is meant: set {title_of(kind.scheme)} to '{right}'."
        are_of_other_scheme = 2 * len(self._unknown & self._by_other_scheme.keys()) > len(self._unknown)
        cures = {
            _UNKNOWN: most if are_of_other_scheme else cure_of(kind.unknown),
            _UNASSIGNED: cure_of(kind.unassigned),
            _CLOSED: cure_of("E8031"),
        }
        # Of what was not looked for nobody knows what is wrong: as a rule the same as with the others.
        return [cures[cause] for cause, _ in causes.most_common() if cause in cures]

    def tell_left_over(self, more: int) -> None:
        """Name what the data set has and nothing is mapped to. Not all of a country need have mSupply."""
        if self._of_data_set is None or more:
            return
        kind = self._kind
        astray = [each for each in self._mapped if each.identifier not in self.inside]
        nearest = Nearest([Identified(id="", code=each.identifier, name=each.name) for each in astray])
        details = []
        for thing in self._left_over:
            near = nearest.to(thing.code or thing.id, thing.name)
            meant = f": is it {near.name}, which has '{near.code}' in mSupply?" if near else ""
            details.append(f"{called(thing)}{meant}")
        check = passed(f"Each {kind.counterpart} of the data set has {kind.a_subject} in mSupply.")
        if details:
            of_all = f"{len(details):,} of {len(self._of_data_set):,} {kind.counterpart}s of the data set"
            check = noted(f"mSupply has no {kind.subject} for {of_all}: they get no values.", details)
        self._facts.tell(f"{kind.counterpart}s without {kind.a_subject}", check)


def _closure(facts: Facts, org_unit: OrgUnit) -> str | None:
    """Return for which periods of a run an org unit takes no values, and why; judged as push does."""
    if (rules := facts.rules) is None:
        return None
    closed = []
    for label, period in facts.periods.items():
        if hint := rules.closure(org_unit, period):
            closed.append(f"{label}: {hint}")
        elif rules.exempt_org_units(period) and rules.is_expired_in(org_unit, period):
            of_it = "add one in DHIS2's Data Administration app"
            closed.append(f"{label}: the data set's expiry days are over, without a lock exception ({of_it})")
    return joined(closed) if closed else None
