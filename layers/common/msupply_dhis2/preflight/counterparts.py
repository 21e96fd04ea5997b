"""Which stores and items of mSupply have no counterpart in DHIS2, and the reverse."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msupply_dhis2.dhis2.models import Identified
from msupply_dhis2.domain.lookalikes import difference
from msupply_dhis2.domain.mapped import MappedItem, MappedNames
from msupply_dhis2.preflight.check import Check, failed, noted, passed
from msupply_dhis2.preflight.facts import Matched, called, row_labels, title_of
from msupply_dhis2.preflight.nearest import Nearest
from msupply_dhis2.settings import Scheme, Settings
from msupply_dhis2.text import count, joined, listed

_METRICS_NAMED = 3
_MOSTLY = 0.5
_UNKNOWN = "unknown to DHIS2"
_CLOSED = "closed for the period of the run"


@dataclass(frozen=True, slots=True)
class Subject:
    """A store or item, and the identifiers of its counterparts, each with the metrics in words that go there only."""

    name: str
    code: str
    identifiers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Kind:
    """What is compared: stores with org units, or items with data elements.

    Attributes
    ----------
    scheme, field
        The settings of what identifies a counterpart in DHIS2, and in mSupply.
    not_in_data_set, is_not_in_data_set
        The cause, and the sentence about one counterpart, which is put in for ``{}``.
    cures
        What to do, by cause.
    """

    check: str
    left_over_check: str
    subject: str
    counterpart: str
    scheme: str
    field: str
    not_in_data_set: str
    is_not_in_data_set: str
    cures: Mapping[str, str]


STORES = Kind(
    check="stores",
    left_over_check="org units without a store",
    subject="store",
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
ITEMS = Kind(
    check="items",
    left_over_check="data elements without an item",
    subject="item",
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


def mapped_stores(mapped: MappedNames) -> list[Subject]:
    """Return the stores as what is compared."""
    return [Subject(store.name, store.code, {store.org_unit: ""}) for store in mapped.stores]


def mapped_items(mapped: MappedNames, settings: Settings) -> list[Subject]:
    """Return the items as what is compared."""
    labels = row_labels(settings)
    return [Subject(item.name, item.code, _metrics_of(item, labels)) for item in mapped.items]


def _metrics_of(item: MappedItem, labels: Sequence[str]) -> Mapping[str, str]:
    """Return an item's identifiers, each with the metrics in words, unless all of them go there."""
    metrics: dict[str, list[str]] = {}
    for identifier, label in zip(item.data_elements, labels, strict=True):
        if identifier is not None:
            metrics.setdefault(identifier, []).append(label)
    return {
        identifier: "" if len(of_it) == len(labels) else f", {listed(of_it, _METRICS_NAMED)}"
        for identifier, of_it in metrics.items()
    }


def check_subjects[Thing: Identified](
    kind: Kind,
    settings: Settings,
    subjects: Sequence[Subject],
    matched: Matched[Thing],
    of_data_set: Collection[Thing] | None,
    closure: Callable[[Thing], str | None] = lambda _: None,
) -> Check:
    """Whether each counterpart is there, belongs to the data set and is open in the periods of a run.

    Parameters
    ----------
    of_data_set
        The counterparts that the data set has; ``None`` where it could not be read.
    closure
        Tells for which period a counterpart takes no values, and why.
    """
    scheme: Scheme = getattr(settings, kind.scheme)
    # What a store or item has already is not what another one meant.
    free = _unclaimed(of_data_set or (), matched)
    nearest = Nearest(free)
    causes: Counter[str] = Counter()
    details = []
    found = matched.found
    faulty = others = 0
    for subject in subjects:
        causes_of_subject: dict[str, None] = {}
        for identifier, metrics in subject.identifiers.items():
            if identifier in matched.unknown:
                cause = _UNKNOWN
                near, by_other_scheme = _meant(identifier, subject.name, scheme, free, nearest)
                others += by_other_scheme
                detail = f"no {kind.counterpart} has the {scheme.value} '{identifier}', or the user may not see it.{near}"
            elif identifier in matched.elsewhere and of_data_set is not None:
                cause = kind.not_in_data_set
                detail = kind.is_not_in_data_set.format(called(matched.elsewhere[identifier]))
            elif identifier in matched.unclear and of_data_set is not None:
                cause = f"not among the {kind.counterpart}s of the data set"
                detail = f"'{identifier}' is none of the data set's {kind.counterpart}s."
            elif (thing := found.get(identifier)) and (closed := closure(thing)):
                cause = _CLOSED
                detail = f"the {kind.counterpart} {called(thing)} takes no values for {closed}."
            else:
                continue
            causes_of_subject[cause] = None
            details.append(f"{subject.name} ({subject.code}){metrics}: {detail}")
        causes.update(causes_of_subject.keys())
        faulty += bool(causes_of_subject)
    if not details:
        message = f"{count(len(subjects), kind.subject)} of mSupply have their {kind.counterpart}s."
        return passed(kind.check, message)
    said = joined(f"{number:,} {cause}" for cause, number in causes.most_common())
    field = getattr(settings, kind.field) or "the items' fields"
    cures = (
        kind.cures[cause].format(field=field) for cause, _ in causes.most_common() if cause in kind.cures
    )
    cure = _other_scheme(scheme, kind) if others > len(details) * _MOSTLY else " ".join(cures)
    message = (
        f"{faulty:,} of {count(len(subjects), kind.subject)} of mSupply cannot be sent: the {kind.counterpart}s are wrong "
        f"({said}). {cure}"
    )
    return failed(kind.check, message.strip(), details)


def check_left_over[Thing: Identified](
    kind: Kind, subjects: Sequence[Subject], matched: Matched[Thing], of_data_set: Collection[Thing]
) -> Check:
    """Name what the data set has and nothing is mapped to. Not all of a country need have mSupply."""
    left_over = _unclaimed(of_data_set, matched)
    subject = kind.left_over_check.partition(" without ")[2]
    if not left_over:
        return passed(
            kind.left_over_check, f"Each {kind.counterpart} of the data set has {subject} in mSupply."
        )
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
    message = (
        f"{len(left_over):,} of {len(of_data_set):,} {kind.counterpart}s of the data set have no {kind.subject} in mSupply "
        "and get no values."
    )
    return noted(kind.left_over_check, message, details)


def _other_scheme(scheme: Scheme, kind: Kind) -> str:
    other = scheme.other.value
    return f"Most of them are the {other}s of what is meant: set {title_of(kind.scheme)} to '{other}'."


def _meant(
    identifier: str, name: str, scheme: Scheme, free: Sequence[Identified], nearest: Nearest[Any]
) -> tuple[str, bool]:
    """Return what may have been meant, and whether it is known by this identifier in the other scheme."""
    by_other = next((thing for thing in free if thing.is_called(identifier, scheme.other)), None)
    if by_other is not None:
        return f" It is the {scheme.other.value} of {called(by_other)}.", True
    near = nearest.to(identifier, name)
    if near is None:
        return "", False
    shown = near.id if scheme is Scheme.UID else near.code
    if shown is None:
        return f" Did you mean {near.name}, which has no code?", False
    differs = difference(identifier, shown)
    return f" Did you mean '{shown}' ({near.name})?{f' {differs}' if differs else ''}", False


def _unclaimed[Thing: Identified](things: Collection[Thing], matched: Matched[Thing]) -> list[Thing]:
    claimed = {thing.id for thing in matched.inside.values()}
    return [thing for thing in things if thing.id not in claimed]
