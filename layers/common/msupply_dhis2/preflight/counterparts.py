"""Which stores and items of mSupply have no counterpart in DHIS2, and the reverse."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from msupply_dhis2.dhis2.models import Identified
from msupply_dhis2.domain.mapped import MappedNames
from msupply_dhis2.preflight.check import Check, failed, noted, passed
from msupply_dhis2.preflight.facts import NAMED, Nearest, called, row_labels, title_of
from msupply_dhis2.settings import Scheme, Settings
from msupply_dhis2.text import count, joined, listed

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

    ``scheme`` and ``field`` are the settings of what identifies a counterpart in DHIS2, and in mSupply;
    ``is_not_in_data_set`` is the sentence about one counterpart; ``cures`` are by cause.
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


@dataclass(frozen=True, slots=True)
class Matched[Thing: Identified]:
    """What became of identifiers of mSupply in DHIS2.

    ``of_data_set`` is what the data set has, ``None`` where it could not be read. ``inside`` and ``elsewhere`` are what
    the identifiers mean, in it or not. The ``unknown`` ones mean nothing, or nothing that the user may see. All others
    were not looked for.
    """

    of_data_set: Collection[Thing] | None
    inside: Mapping[str, Thing]
    elsewhere: Mapping[str, Thing]
    unknown: Collection[str]

    @property
    def found(self) -> Mapping[str, Thing]:
        """What identifiers mean, in the data set or not."""
        return {**self.elsewhere, **self.inside}

    @property
    def left_over(self) -> list[Thing]:
        """What the data set has and no identifier means."""
        claimed = {thing.id for thing in self.inside.values()}
        return [thing for thing in self.of_data_set or () if thing.id not in claimed]


def stores_of(mapped: MappedNames) -> list[Subject]:
    """Return the stores as what is compared."""
    return [Subject(store.name, store.code, {store.org_unit: ""}) for store in mapped.stores]


def items_of(mapped: MappedNames, settings: Settings) -> list[Subject]:
    """Return the items as what is compared."""
    labels = row_labels(settings)
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
        items.append(Subject(item.name, item.code, identifiers))
    return items


def check_subjects[Thing: Identified](
    kind: Kind,
    settings: Settings,
    subjects: Sequence[Subject],
    matched: Matched[Thing],
    closure: Callable[[Thing], str | None],
) -> Check:
    """Whether each counterpart is there, belongs to the data set and is open; ``closure`` says why one is not."""
    scheme: Scheme = getattr(settings, kind.scheme)
    # What a store or item has already is not what another one meant.
    free = matched.left_over
    nearest = Nearest(free)
    found = matched.found
    is_known = matched.of_data_set is not None
    causes: Counter[str] = Counter()
    details = []
    faulty = others = 0
    for subject in subjects:
        causes_of_subject: dict[str, None] = {}
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
            causes_of_subject[cause] = None
            details.append(f"{subject.name} ({subject.code}){metrics}: {detail}")
        causes.update(causes_of_subject.keys())
        faulty += bool(causes_of_subject)
    number = count(len(subjects), kind.subject)
    if not details:
        return passed(kind.check, f"{number} of mSupply have their {kind.counterpart}s.")
    said = joined(f"{number_of_it:,} {cause}" for cause, number_of_it in causes.most_common())
    field = getattr(settings, kind.field) or "the items' fields"
    cure = " ".join(
        kind.cures[cause].format(field=field) for cause, _ in causes.most_common() if cause in kind.cures
    )
    if others > len(details) * _MOSTLY:
        other_scheme = scheme.other.value
        cure = f"Most of them are the {other_scheme}s of what is meant: set {title_of(kind.scheme)} to '{other_scheme}'."
    message = f"{faulty:,} of {number} of mSupply cannot be sent: the {kind.counterpart}s are wrong ({said}). {cure}"
    return failed(kind.check, message.strip(), details)


def _written(scheme: Scheme) -> Callable[[Identified], str]:
    def write(thing: Identified) -> str:
        identifier = thing.identifier(scheme)
        return f"{thing.name}, which has no code" if identifier is None else f"'{identifier}' ({thing.name})"

    return write


def check_left_over[Thing: Identified](
    kind: Kind, subjects: Sequence[Subject], matched: Matched[Thing]
) -> Check:
    """Name what the data set has and nothing is mapped to. Not all of a country need have mSupply."""
    left_over = matched.left_over
    if not left_over:
        a_subject = kind.left_over_check.partition(" without ")[2]
        return passed(
            kind.left_over_check, f"Each {kind.counterpart} of the data set has {a_subject} in mSupply."
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
        f"{len(left_over):,} of {len(matched.of_data_set or ()):,} {kind.counterpart}s of the data set have no "
        f"{kind.subject} in mSupply and get no values."
    )
    return noted(kind.left_over_check, message, details)
