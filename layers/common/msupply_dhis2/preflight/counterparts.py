"""Which stores and items of mSupply have no counterpart in DHIS2, and the reverse."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from msupply_dhis2.dhis2.metadata import find
from msupply_dhis2.dhis2.models import DataElement, Identified, OrgUnit
from msupply_dhis2.domain.mapped import CustomerReports, MappedNames
from msupply_dhis2.errors import Dhis2Error
from msupply_dhis2.preflight.access import check_reach
from msupply_dhis2.preflight.check import Check, failed, noted, passed
from msupply_dhis2.preflight.facts import LOOKED_UP, NAMED, Facts, Nearest, called, row_labels, title_of
from msupply_dhis2.settings import Scheme, Settings
from msupply_dhis2.text import count, joined, listed

_MOSTLY = 0.5
_UNKNOWN = "unknown to DHIS2"
_CLOSED = "closed for the period of the run"


@dataclass(frozen=True, slots=True)
class _Subject:
    """A store or item, and the identifiers of its counterparts, each with the metrics in words that go there only."""

    name: str
    code: str
    identifiers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is compared: stores with org units, or items with data elements.

    ``scheme`` and ``field`` are the settings of what identifies a counterpart in DHIS2, and in mSupply;
    ``is_not_in_data_set`` is the sentence about one counterpart; ``cures`` are by cause.
    """

    subject: str
    subjects: str
    a_subject: str
    counterpart: str
    scheme: str
    field: str
    not_in_data_set: str
    is_not_in_data_set: str
    cures: Mapping[str, str]


_STORES = _Kind(
    subject="store",
    subjects="stores",
    a_subject="a store",
    counterpart="org unit",
    scheme="org_unit_scheme",
    field="store_field_reference",
    not_in_data_set="not assigned to the data set",
    is_not_in_data_set="the data set is not assigned to the org unit {}.",
    cures={
        _UNKNOWN: "Correct {field} of the stores in mSupply.",
        _CLOSED: "Correct the opening or closed date of the org units in DHIS2, Maintenance, Organisation unit; or empty "
        "{field} of stores that are closed. Where the expiry days are over, add lock exceptions in DHIS2's Data "
        "Administration app.",
        "not assigned to the data set": "Assign the data set to the org units in DHIS2, Maintenance, Data set.",
    },
)
_STORES_AND_CUSTOMERS = replace(
    _STORES, subject="store or customer", subjects="stores and customers", a_subject="a store or customer"
)
_ITEMS = _Kind(
    subject="item",
    subjects="items",
    a_subject="an item",
    counterpart="data element",
    scheme="data_element_id_scheme",
    field="item_field_reference",
    not_in_data_set="not in the data set",
    is_not_in_data_set="the data element {} is not in the data set.",
    cures={
        _UNKNOWN: "Correct {field} of the items in mSupply, or Prefix in the settings.",
        "not in the data set": "Add the data elements to the data set in DHIS2, Maintenance, Data set.",
    },
)


def compare_stores(facts: Facts, mapped: MappedNames) -> None:
    """Tell which stores have their org units, whether these are in the user's reach, and which have no store."""
    stores = [_Subject(store.name, store.code, {store.org_unit: ""}) for store in mapped.stores]
    org_units = facts.data_set.org_units if facts.data_set else None
    kind = _STORES if mapped.customers is None else _STORES_AND_CUSTOMERS
    comparison = _Comparison(facts, kind, stores, org_units, OrgUnit)
    facts.org_units = tuple(dict.fromkeys(comparison.inside.values()))
    found = tuple(comparison.found.values())
    facts.checks.append(comparison.check(mapped.more_stores, partial(_closure, facts)))
    if found:
        facts.checks.append(check_reach(facts, found))
    if org_units is not None and not mapped.more_stores:
        facts.checks.append(comparison.check_left_over())
    if mapped.customers is not None:
        facts.checks.append(check_customers(facts.settings, mapped.customers))


def check_customers(settings: Settings, reports: CustomerReports) -> Check:
    """Tell how many customers report, and which have not for long."""
    in_periods = joined(f"{number:,} in {period}" for period, number in reports.reporting.items())
    silent = f"{reports.silent:,} without a report for three periods, since {reports.since.isoformat()}."
    return noted(
        "customers",
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
            identifier: "" if len(of_it) == len(labels) else f", {listed(of_it, NAMED)}"
            for identifier, of_it in metrics.items()
        }
        items.append(_Subject(item.name, item.code, identifiers))
    elements = facts.data_set.data_elements if facts.data_set else None
    comparison = _Comparison(facts, _ITEMS, items, elements, DataElement)
    facts.checks.append(comparison.check(mapped.more_items, lambda _: None))
    if elements is not None and not mapped.more_items:
        facts.checks.append(comparison.check_left_over())
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
        self._kind, self._subjects, self._of_data_set = kind, subjects, of_data_set
        self._field = getattr(facts.settings, kind.field) or "the items' fields"
        scheme = self._scheme = Scheme(getattr(facts.settings, kind.scheme))
        wanted = dict.fromkeys(identifier for subject in subjects for identifier in subject.identifiers)
        ours = {thing.identifier(scheme): thing for thing in of_data_set or ()}
        asked = [identifier for identifier in wanted if identifier not in ours][:LOOKED_UP]
        theirs: dict[str | None, Thing] = {}
        self._failure = None
        try:
            if asked:
                theirs = {
                    thing.identifier(scheme): thing for thing in find(model, facts.client, asked, scheme)
                }
        except Dhis2Error as error:
            self._failure, asked = error, []
        self.inside = {identifier: ours[identifier] for identifier in wanted if identifier in ours}
        self._elsewhere = {identifier: theirs[identifier] for identifier in asked if identifier in theirs}
        self._unknown = {identifier for identifier in asked if identifier not in theirs}
        self.found = {**self._elsewhere, **self.inside}
        claimed = {thing.id for thing in self.inside.values()}
        self._left_over = [thing for thing in of_data_set or () if thing.id not in claimed]

    def check(self, more: int, closure: Callable[[Thing], str | None]) -> Check:
        """Whether each counterpart is there, belongs to the data set and is open; ``closure`` says why one is not.

        ``more`` is how many the database has beyond the subjects.
        """
        kind, name = self._kind, self._kind.subjects.partition(" ")[0]
        if self._failure and self._of_data_set is None:
            return failed(name, f"What they are mapped to cannot be looked up in DHIS2. {self._failure}")
        # What a store or item has already is not what another one meant.
        nearest = Nearest(self._left_over)
        causes: Counter[str] = Counter()
        details = []
        faulty = 0
        for subject in self._subjects:
            faults = [
                (*fault, metrics)
                for identifier, metrics in subject.identifiers.items()
                if (fault := self._fault(identifier, subject, nearest, closure))
            ]
            causes.update({cause for cause, _, _ in faults})
            details += [f"{subject.name} ({subject.code}){metrics}: {fault}" for _, fault, metrics in faults]
            faulty += bool(faults)
        number = count(len(self._subjects), kind.subject, kind.subjects)
        has, have = f"has its {kind.counterpart}", f"have their {kind.counterpart}s"
        message = f"{number} of mSupply {has if len(self._subjects) == 1 else have}."
        if details:
            said = joined(f"{number_of_it:,} {cause}" for cause, number_of_it in causes.most_common())
            message = (
                f"{faulty:,} of {number} of mSupply cannot be sent: the {kind.counterpart}s are wrong ({said}). "
                f"{self._cure(causes, len(details))}"
            ).strip()
        if more:
            message += f" {more:,} more were not checked, because their list is too long for one answer."
        if details and self._failure:
            message += f" Whether they are elsewhere in DHIS2 cannot be read: {self._failure}"
        return failed(name, message, details) if details else passed(name, message)

    def _fault(
        self,
        identifier: str,
        subject: _Subject,
        nearest: Nearest[Thing],
        closure: Callable[[Thing], str | None],
    ) -> tuple[str, str] | None:
        """Return why values for an identifier are refused: the cause, and a sentence."""
        kind, thing, is_known = self._kind, self.found.get(identifier), self._of_data_set is not None
        if identifier in self._unknown:
            other = self._by_other_scheme(identifier)
            meant = (
                f" It is the {self._scheme.other.value} of {called(other)}."
                if other
                else nearest.guess(identifier, subject.name, self._scheme, self._written, here="mSupply")
            )
            return _UNKNOWN, (
                f"no {kind.counterpart} has the {self._scheme.value} '{identifier}', or the user may not see it.{meant}"
            )
        if thing is None and is_known:
            cause = f"not among the {kind.counterpart}s of the data set"
            return cause, f"'{identifier}' is not one of the data set's {kind.counterpart}s."
        if thing and identifier in self._elsewhere and is_known:
            return kind.not_in_data_set, kind.is_not_in_data_set.format(called(thing))
        if thing and (closed := closure(thing)):
            return _CLOSED, f"the {kind.counterpart} {called(thing)} takes no values for {closed}."
        return None

    def _by_other_scheme(self, identifier: str) -> Thing | None:
        others = (thing for thing in self._left_over if thing.is_called(identifier, self._scheme.other))
        return next(others, None)

    def _cure(self, causes: Counter[str], faults: int) -> str:
        others = sum(
            self._by_other_scheme(identifier) is not None
            for subject in self._subjects
            for identifier in subject.identifiers
            if identifier in self._unknown
        )
        if others > faults * _MOSTLY:
            right = self._scheme.other.value
            return f"Most of them are the {right}s of what is meant: set {title_of(self._kind.scheme)} to '{right}'."
        cures = self._kind.cures
        return " ".join(
            cures[cause].format(field=self._field) for cause, _ in causes.most_common() if cause in cures
        )

    def _written(self, thing: Thing) -> str:
        identifier = thing.identifier(self._scheme)
        return f"{thing.name}, which has no code" if identifier is None else f"'{identifier}' ({thing.name})"

    def check_left_over(self) -> Check:
        """Name what the data set has and nothing is mapped to. Not all of a country need have mSupply."""
        kind = self._kind
        name = f"{kind.counterpart}s without {kind.a_subject}"
        astray = [
            Identified(id="", code=identifier, name=subject.name)
            for subject in self._subjects
            for identifier in subject.identifiers
            if identifier not in self.inside
        ]
        nearest = Nearest(astray)
        details = []
        for thing in self._left_over:
            near = nearest.to(thing.code or thing.id, thing.name)
            meant = f": is it {near.name}, which has '{near.code}' in mSupply?" if near else ""
            details.append(f"{called(thing)}{meant}")
        if not details:
            return passed(name, f"Each {kind.counterpart} of the data set has {kind.a_subject} in mSupply.")
        return noted(
            name,
            f"mSupply has no {kind.subject} for {len(details):,} of {len(self._of_data_set or ()):,} {kind.counterpart}s of the "
            "data set: they get no values.",
            details,
        )


def _closure(facts: Facts, org_unit: OrgUnit) -> str | None:
    """Return for which periods of a run an org unit takes no values, and why; judged as push does."""
    closed = []
    for label, period in facts.periods.items():
        if facts.rules is None:
            continue
        if hint := facts.rules.closure(org_unit, period):
            closed.append(f"{label}: {hint}")
        elif facts.rules.exempt_org_units(period) and facts.rules.is_expired_in(org_unit, period):
            closed.append(f"{label}: the data set's expiry days are over, and it has no lock exception")
    return joined(closed) if closed else None
