"""Which stores and items of mSupply have no counterpart in DHIS2, and the reverse."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from msupply_dhis2.dhis2.metadata import find
from msupply_dhis2.dhis2.models import DataElement, Identified, OrgUnit
from msupply_dhis2.domain.mapped import CustomerReports, MappedNames
from msupply_dhis2.errors import Dhis2Error
from msupply_dhis2.preflight.access import check_reach
from msupply_dhis2.preflight.check import Check, failed, noted, passed
from msupply_dhis2.preflight.facts import LOOKED_UP, Facts, Nearest, called, row_labels, some, title_of
from msupply_dhis2.settings import Scheme, Settings
from msupply_dhis2.text import count, joined

_UNKNOWN = "unknown to DHIS2"
_UNASSIGNED = "not assigned to the data set"
_CLOSED = "closed for the period of the run"


class _Subject(NamedTuple):
    """A store or item, and the identifiers of its counterparts, each with the metrics in words that go there only."""

    name: str
    code: str
    identifiers: Mapping[str, str]


class _Kind(NamedTuple):
    """What is compared: stores with org units, or items with data elements.

    ``scheme`` and ``field`` are the settings of what identifies a counterpart in DHIS2, and in mSupply; ``cure`` is that of
    a wrong one.
    """

    name: str
    subject: str
    subjects: str
    a_subject: str
    counterpart: str
    scheme: str
    field: str
    cure: str


_STORES = _Kind(
    name="stores",
    subject="store",
    subjects="stores",
    a_subject="a store",
    counterpart="org unit",
    scheme="org_unit_scheme",
    field="store_field_reference",
    cure="Correct {} of the stores in mSupply.",
)
_STORES_AND_CUSTOMERS = _STORES._replace(
    subject="store or customer", subjects="stores and customers", a_subject="a store or customer"
)
_ITEMS = _Kind(
    name="items",
    subject="item",
    subjects="items",
    a_subject="an item",
    counterpart="data element",
    scheme="data_element_id_scheme",
    field="item_field_reference",
    cure="Correct {} of the items in mSupply, or Prefix in the settings.",
)


def compare_stores(facts: Facts, mapped: MappedNames) -> None:
    """Tell which stores have their org units, whether these are in the user's reach, and which have no store."""
    stores = [_Subject(store.name, store.code, {store.org_unit: ""}) for store in mapped.stores]
    org_units = facts.data_set.org_units if facts.data_set else None
    kind = _STORES if mapped.customers is None else _STORES_AND_CUSTOMERS
    comparison = _Comparison(facts, kind, stores, org_units, OrgUnit)
    facts.org_units = tuple(dict.fromkeys(comparison.inside.values()))
    facts.tell(kind.name, comparison.check(mapped.more_stores))
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
    labels = row_labels(facts.settings)
    items = []
    for item in mapped.items:
        metrics: dict[str, list[str]] = {}
        for identifier, label in zip(item.data_elements, labels, strict=True):
            if identifier is not None:
                metrics.setdefault(identifier, []).append(label)
        identifiers = {
            identifier: "" if len(of_it) == len(labels) else f", {some(of_it)}"
            for identifier, of_it in metrics.items()
        }
        items.append(_Subject(item.name, item.code, identifiers))
    elements = facts.data_set.data_elements if facts.data_set else None
    comparison = _Comparison(facts, _ITEMS, items, elements, DataElement)
    facts.tell(_ITEMS.name, comparison.check(mapped.more_items))
    comparison.tell_left_over(mapped.more_items)
    return comparison.found


class _Comparison[Thing: Identified]:
    """What became of the identifiers of stores or items in DHIS2.

    ``inside`` and ``elsewhere`` are what they mean, in the data set or not; ``found`` is both. The ``unknown`` ones mean
    nothing, or nothing that the user may see. All others were not looked for, or in vain (``failure``). ``left_over`` is
    what the data set has and no identifier means.
    """

    def __init__(
        self,
        facts: Facts,
        kind: _Kind,
        subjects: Sequence[_Subject],
        of_data_set: Collection[Thing] | None,
        model: type[Thing],
    ) -> None:
        self._facts, self._kind, self._subjects, self._of_data_set = facts, kind, subjects, of_data_set
        scheme = self._scheme = Scheme(getattr(facts.settings, kind.scheme))
        wanted = dict.fromkeys(identifier for subject in subjects for identifier in subject.identifiers)
        ours = {thing.identifier(scheme): thing for thing in of_data_set or ()}
        asked = [identifier for identifier in wanted if identifier not in ours][:LOOKED_UP]
        theirs: dict[str | None, Thing] = {}
        self._failure = None
        try:
            theirs = {thing.identifier(scheme): thing for thing in find(model, facts.client, asked, scheme)}
        except Dhis2Error as error:
            self._failure, asked = error, []
        self.inside = {identifier: ours[identifier] for identifier in wanted if identifier in ours}
        self._elsewhere = {identifier: theirs[identifier] for identifier in asked if identifier in theirs}
        self._unknown = {identifier for identifier in asked if identifier not in theirs}
        self.found = {**self._elsewhere, **self.inside}
        claimed = {thing.id for thing in self.inside.values()}
        self._left_over = [thing for thing in of_data_set or () if thing.id not in claimed]
        # What a store or item has already is not what another one meant.
        self._nearest = Nearest(self._left_over)
        self._by_other_scheme = {thing.identifier(scheme.other): thing for thing in self._left_over}

    def check(self, more: int) -> Check:
        """Whether each counterpart is there, belongs to the data set and is open; the database has ``more`` subjects."""
        kind = self._kind
        if self._failure and self._of_data_set is None:
            return failed(f"What they are mapped to cannot be looked up in DHIS2. {self._failure}")
        causes: Counter[str] = Counter()
        details = []
        faulty = 0
        for subject in self._subjects:
            faults = [
                (*fault, metrics)
                for identifier, metrics in subject.identifiers.items()
                if (fault := self._fault(identifier, subject))
            ]
            causes.update({cause for cause, _, _ in faults})
            details += [f"{subject.name} ({subject.code}){metrics}: {fault}" for _, fault, metrics in faults]
            faulty += bool(faults)
        number = count(len(self._subjects), kind.subject, kind.subjects)
        has, have = f"has its {kind.counterpart}", f"have their {kind.counterpart}s"
        message = f"{number} of mSupply {has if len(self._subjects) == 1 else have}."
        if details:
            said = joined(f"{number_of_it:,} {cause}" for cause, number_of_it in causes.most_common())
            wrong = f"the {kind.counterpart}s are wrong ({said})."
            message = " ".join(
                (f"{faulty:,} of {number} of mSupply cannot be sent: {wrong}", *self._cures(causes))
            )
        if more:
            message += f" {more:,} more were not checked, because their list is too long for one answer."
        if details and self._failure:
            message += f" Whether they are elsewhere in DHIS2 cannot be read: {self._failure}"
        return failed(message, details) if details else passed(message)

    def _fault(self, identifier: str, subject: _Subject) -> tuple[str, str] | None:
        """Return why values for an identifier are refused: the cause, and a sentence."""
        scheme, of = self._scheme, self._kind.counterpart
        thing, is_known = self.found.get(identifier), self._of_data_set is not None
        if identifier in self._unknown:
            if other := self._by_other_scheme.get(identifier):
                meant = f" It is the {scheme.other.value} of {called(other)}."
            else:
                meant = self._nearest.guess(identifier, subject.name, scheme, here="mSupply")
            fault = f"no {of} has the {scheme.value} '{identifier}', or the user may not see it.{meant}"
            return _UNKNOWN, fault
        if thing is None and is_known:
            return (
                f"not among the {of}s of the data set",
                f"'{identifier}' is not one of the data set's {of}s.",
            )
        if thing and identifier in self._elsewhere and is_known:
            return _UNASSIGNED, f"the {of} {called(thing)} is not assigned to the data set."
        if isinstance(thing, OrgUnit) and (closed := _closure(self._facts, thing)):
            return _CLOSED, f"the {of} {called(thing)} takes no values for {closed}."
        return None

    def _cures(self, causes: Counter[str]) -> list[str]:
        kind, right = self._kind, self._scheme.other.value
        field = getattr(self._facts.settings, kind.field) or "the items' fields"
        unknown = kind.cure.format(field)
        if 2 * len(self._unknown & self._by_other_scheme.keys()) > len(self._unknown):
            unknown = (
                f"Most of them are the {right}s of what is meant: set {title_of(kind.scheme)} to '{right}'."
            )
        cures = {
            _UNKNOWN: unknown,
            _UNASSIGNED: f"Add the {kind.counterpart}s to the data set in DHIS2, Maintenance, Data set.",
            _CLOSED: "Correct the opening or closed date of the org units in DHIS2, Maintenance, Organisation unit; or empty "
            f"{field} of stores that are closed. Where the expiry days are over, add lock exceptions in DHIS2's Data "
            "Administration app.",
        }
        return [cures[cause] for cause, _ in causes.most_common() if cause in cures]

    def tell_left_over(self, more: int) -> None:
        """Name what the data set has and nothing is mapped to. Not all of a country need have mSupply."""
        if self._of_data_set is None or more:
            return
        kind = self._kind
        name = f"{kind.counterpart}s without {kind.a_subject}"
        nearest = Nearest(
            [
                Identified(id="", code=identifier, name=subject.name)
                for subject in self._subjects
                for identifier in subject.identifiers
                if identifier not in self.inside
            ]
        )
        details = []
        for thing in self._left_over:
            near = nearest.to(thing.code or thing.id, thing.name)
            meant = f": is it {near.name}, which has '{near.code}' in mSupply?" if near else ""
            details.append(f"{called(thing)}{meant}")
        check = passed(f"Each {kind.counterpart} of the data set has {kind.a_subject} in mSupply.")
        if details:
            of_all = f"{len(details):,} of {len(self._of_data_set):,} {kind.counterpart}s"
            said = f"mSupply has no {kind.subject} for {of_all} of the data set: they get no values."
            check = noted(said, details)
        self._facts.tell(name, check)


def _closure(facts: Facts, org_unit: OrgUnit) -> str | None:
    """Return for which periods of a run an org unit takes no values, and why; judged as push does."""
    if (rules := facts.rules) is None:
        return None
    closed = []
    for label, period in facts.periods.items():
        if hint := rules.closure(org_unit, period):
            closed.append(f"{label}: {hint}")
        elif rules.exempt_org_units(period) and rules.is_expired_in(org_unit, period):
            closed.append(f"{label}: the data set's expiry days are over, and it has no lock exception")
    return joined(closed) if closed else None
