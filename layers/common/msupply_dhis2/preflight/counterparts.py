"""Which stores and items of mSupply have no counterpart in DHIS2, and the reverse."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from msupply_dhis2.dhis2 import metadata
from msupply_dhis2.dhis2.models import DataElement, Identified, OrgUnit, ReadsDhis2
from msupply_dhis2.domain.mapped import MappedNames
from msupply_dhis2.errors import Dhis2Error
from msupply_dhis2.preflight.access import check_reach
from msupply_dhis2.preflight.check import Check, failed, noted, passed
from msupply_dhis2.preflight.facts import LOOKED_UP, NAMED, Facts, Nearest, called, row_labels, title_of
from msupply_dhis2.settings import Scheme
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
class _Kind[Thing: Identified]:
    """What is compared: stores with org units, or items with data elements.

    ``scheme`` and ``field`` are the settings of what identifies a counterpart in DHIS2, and in mSupply;
    ``is_not_in_data_set`` is the sentence about one counterpart; ``cures`` are by cause.
    """

    subject: str
    a_subject: str
    counterpart: str
    find: Callable[[ReadsDhis2, Collection[str], Scheme], Sequence[Thing]]
    scheme: str
    field: str
    not_in_data_set: str
    is_not_in_data_set: str
    cures: Mapping[str, str]


_STORES = _Kind[OrgUnit](
    subject="store",
    a_subject="a store",
    counterpart="org unit",
    find=metadata.find_org_units,
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
_ITEMS = _Kind[DataElement](
    subject="item",
    a_subject="an item",
    counterpart="data element",
    find=metadata.find_data_elements,
    scheme="data_element_id_scheme",
    field="item_field_reference",
    not_in_data_set="not in the data set",
    is_not_in_data_set="the data element {} is not in the data set.",
    cures={
        _UNKNOWN: "Correct {field} of the items in mSupply, or Prefix in the settings.",
        "not in the data set": "Add the data elements to the data set in DHIS2, Maintenance, Data set.",
    },
)


@dataclass(frozen=True, slots=True)
class _Matched[Thing: Identified]:
    """What became of identifiers of mSupply in DHIS2.

    ``of_data_set`` is what the data set has, ``None`` where it could not be read. ``inside`` and ``elsewhere`` are what
    the identifiers mean, in it or not. The ``unknown`` ones mean nothing, or nothing that the user may see. All others
    were not looked for, or not with success (``failure``).
    """

    of_data_set: Collection[Thing] | None
    inside: Mapping[str, Thing]
    elsewhere: Mapping[str, Thing]
    unknown: Collection[str]
    failure: Dhis2Error | None

    @property
    def found(self) -> Mapping[str, Thing]:
        """What identifiers mean, in the data set or not."""
        return {**self.elsewhere, **self.inside}

    @property
    def left_over(self) -> list[Thing]:
        """What the data set has and no identifier means."""
        claimed = {thing.id for thing in self.inside.values()}
        return [thing for thing in self.of_data_set or () if thing.id not in claimed]


def compare_stores(facts: Facts, mapped: MappedNames) -> None:
    """Tell which stores have their org units, whether these are in the user's reach, and which have no store."""
    stores = [_Subject(store.name, store.code, {store.org_unit: ""}) for store in mapped.stores]
    matched = _match(facts, _STORES, stores, facts.data_set.org_units if facts.data_set else None)
    facts.org_units = tuple(dict.fromkeys(matched.inside.values()))
    _tell_subjects(
        facts, _STORES, stores, mapped.more_stores, matched, lambda org_unit: _closure(facts, org_unit)
    )
    if matched.found:
        facts.checks.append(check_reach(facts, tuple(matched.found.values())))
    if not mapped.more_stores:
        _tell_left_over(facts, _STORES, stores, matched)


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
    matched = _match(facts, _ITEMS, items, facts.data_set.data_elements if facts.data_set else None)
    _tell_subjects(facts, _ITEMS, items, mapped.more_items, matched, lambda _: None)
    if not mapped.more_items:
        _tell_left_over(facts, _ITEMS, items, matched)
    return matched.found


def _match[Thing: (OrgUnit, DataElement)](
    facts: Facts, kind: _Kind[Thing], subjects: Sequence[_Subject], of_data_set: Collection[Thing] | None
) -> _Matched[Thing]:
    scheme: Scheme = getattr(facts.settings, kind.scheme)
    wanted = dict.fromkeys(identifier for subject in subjects for identifier in subject.identifiers)
    ours = {thing.identifier(scheme): thing for thing in of_data_set or ()}
    asked = [identifier for identifier in wanted if identifier not in ours][:LOOKED_UP]
    failure = None
    theirs: dict[str | None, Thing] = {}
    try:
        if asked:
            theirs = {thing.identifier(scheme): thing for thing in kind.find(facts.client, asked, scheme)}
    except Dhis2Error as error:
        failure, asked = error, []
    return _Matched(
        of_data_set,
        {identifier: ours[identifier] for identifier in wanted if identifier in ours},
        {identifier: theirs[identifier] for identifier in asked if identifier in theirs},
        {identifier for identifier in asked if identifier not in theirs},
        failure,
    )


def _tell_subjects[Thing: (OrgUnit, DataElement)](
    facts: Facts,
    kind: _Kind[Thing],
    subjects: Sequence[_Subject],
    more: int,
    matched: _Matched[Thing],
    closure: Callable[[Thing], str | None],
) -> None:
    """Tell what ``_check_subjects`` finds, and what was not looked at: ``more`` that the database has."""
    if matched.failure and matched.of_data_set is None:
        message = f"What they are mapped to cannot be looked up in DHIS2. {matched.failure}"
        facts.checks.append(failed(f"{kind.subject}s", message))
        return
    check = _check_subjects(facts, kind, subjects, matched, closure)
    message = check.message
    if more:
        message += f" {more:,} more were not looked at: their list is too long for one answer."
    if matched.failure and not check.ok:
        message += f" Whether they are elsewhere in DHIS2 cannot be read: {matched.failure}"
    facts.checks.append(check.model_copy(update={"message": message}))


def _check_subjects[Thing: (OrgUnit, DataElement)](
    facts: Facts,
    kind: _Kind[Thing],
    subjects: Sequence[_Subject],
    matched: _Matched[Thing],
    closure: Callable[[Thing], str | None],
) -> Check:
    """Whether each counterpart is there, belongs to the data set and is open; ``closure`` says why one is not."""
    scheme: Scheme = getattr(facts.settings, kind.scheme)
    # What a store or item has already is not what another one meant.
    free = matched.left_over
    nearest = Nearest(free)
    found, is_known = matched.found, matched.of_data_set is not None
    others = 0

    def causes_of(subject: _Subject) -> Iterator[str]:
        nonlocal others
        for identifier, metrics in subject.identifiers.items():
            thing = found.get(identifier)
            if identifier in matched.unknown:
                cause = _UNKNOWN
                other = next((thing for thing in free if thing.is_called(identifier, scheme.other)), None)
                others += other is not None
                meant = (
                    f" It is the {scheme.other.value} of {called(other)}."
                    if other
                    else nearest.guess(identifier, subject.name, scheme, _written(scheme), here="mSupply")
                )
                detail = f"no {kind.counterpart} has the {scheme.value} '{identifier}', or the user may not see it.{meant}"
            elif thing is None and is_known:
                cause = f"not among the {kind.counterpart}s of the data set"
                detail = f"'{identifier}' is none of the data set's {kind.counterpart}s."
            elif thing and identifier in matched.elsewhere and is_known:
                cause = kind.not_in_data_set
                detail = kind.is_not_in_data_set.format(called(thing))
            elif thing and (closed := closure(thing)):
                cause = _CLOSED
                detail = f"the {kind.counterpart} {called(thing)} takes no values for {closed}."
            else:
                continue
            details.append(f"{subject.name} ({subject.code}){metrics}: {detail}")
            yield cause

    details: list[str] = []
    of_subjects = [set(causes_of(subject)) for subject in subjects]
    number, name = count(len(subjects), kind.subject), f"{kind.subject}s"
    if not details:
        return passed(name, f"{number} of mSupply have their {kind.counterpart}s.")
    causes = Counter(cause for of_subject in of_subjects for cause in of_subject).most_common()
    said = joined(f"{number_of_it:,} {cause}" for cause, number_of_it in causes)
    field = getattr(facts.settings, kind.field) or "the items' fields"
    cure = " ".join(kind.cures[cause].format(field=field) for cause, _ in causes if cause in kind.cures)
    if others > len(details) * _MOSTLY:
        right = scheme.other.value
        cure = f"Most of them are the {right}s of what is meant: set {title_of(kind.scheme)} to '{right}'."
    faulty = sum(map(bool, of_subjects))
    message = f"{faulty:,} of {number} of mSupply cannot be sent: the {kind.counterpart}s are wrong ({said}). {cure}"
    return failed(name, message.strip(), details)


def _written(scheme: Scheme) -> Callable[[Identified], str]:
    def write(thing: Identified) -> str:
        identifier = thing.identifier(scheme)
        return f"{thing.name}, which has no code" if identifier is None else f"'{identifier}' ({thing.name})"

    return write


def _closure(facts: Facts, org_unit: OrgUnit) -> str | None:
    """Return for which periods of a run an org unit takes no values, and why; judged as push does."""
    closed = []
    for label, period in facts.periods.items():
        if facts.rules is None:
            continue
        if hint := facts.rules.closure(org_unit, period):
            closed.append(f"{label}: {hint}")
        elif facts.rules.exempt_org_units(period) and facts.rules.expired(org_unit, label, period):
            closed.append(f"{label}: the data set's expiry days are over, and it has no lock exception")
    return joined(closed) if closed else None


def _tell_left_over[Thing: (OrgUnit, DataElement)](
    facts: Facts, kind: _Kind[Thing], subjects: Sequence[_Subject], matched: _Matched[Thing]
) -> None:
    """Name what the data set has and nothing is mapped to. Not all of a country need have mSupply."""
    if matched.of_data_set is None:
        return
    name, left_over = f"{kind.counterpart}s without {kind.a_subject}", matched.left_over
    astray = {
        identifier: subject.name
        for subject in subjects
        for identifier in subject.identifiers
        if identifier not in matched.inside
    }
    nearest = Nearest([Identified(id="", code=identifier, name=name) for identifier, name in astray.items()])
    details = []
    for thing in left_over:
        near = nearest.to(thing.code or thing.id, thing.name)
        details.append(
            called(thing) + (f": is it {near.name}, which has '{near.code}' in mSupply?" if near else "")
        )
    if not details:
        well = f"Each {kind.counterpart} of the data set has {kind.a_subject} in mSupply."
        facts.checks.append(passed(name, well))
        return
    message = (
        f"{len(left_over):,} of {len(matched.of_data_set):,} {kind.counterpart}s of the data set have no "
        f"{kind.subject} in mSupply and get no values."
    )
    facts.checks.append(noted(name, message, details))
