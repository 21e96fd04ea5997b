"""Which stores and items of mSupply have no counterpart in DHIS2, and the reverse."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from msupply_dhis2.dhis2.models import DataElement, DataSet, Identified, OrgUnit
from msupply_dhis2.domain.lookalikes import difference
from msupply_dhis2.domain.mapped import MappedItem, MappedStore
from msupply_dhis2.preflight.check import Check, make_check
from msupply_dhis2.preflight.facts import Matched, called, row_labels, title_of
from msupply_dhis2.preflight.nearest import Nearest
from msupply_dhis2.settings import Scheme, Settings
from msupply_dhis2.text import count, joined, listed

STORES = "stores"
ITEMS = "items"
ORG_UNITS_WITHOUT_STORE = "org units without a store"
DATA_ELEMENTS_WITHOUT_ITEM = "data elements without an item"

_METRICS_NAMED = 3
_MOSTLY = 0.5


def check_stores(
    settings: Settings,
    stores: Sequence[MappedStore],
    matched: Matched[OrgUnit],
    data_set: DataSet | None,
    closure: Callable[[OrgUnit], str | None],
) -> Check:
    """Whether each store's org unit is there, has the data set and is open in the periods of a run.

    Parameters
    ----------
    closure
        Tells of an org unit for which period it takes no values, and why.
    """
    scheme = settings.org_unit_scheme
    # Org units that a store has already are not what another one meant.
    free = _unclaimed(data_set.org_units if data_set else (), matched)
    nearest = Nearest(free)
    causes: Counter[str] = Counter()
    details = []
    others = 0
    found = matched.found
    for store in stores:
        identifier, subject = store.org_unit, _in_msupply(store)
        if identifier in matched.unknown:
            causes["unknown to DHIS2"] += 1
            near, by_other_scheme = _meant(identifier, store.name, scheme, free, nearest)
            others += by_other_scheme
            details.append(
                f"{subject}: no org unit has the {scheme.value} '{identifier}', or the user may not see it.{near}"
            )
        elif identifier in matched.elsewhere and data_set:
            causes["not assigned to the data set"] += 1
            details.append(
                f"{subject}: the data set is not assigned to the org unit {called(matched.elsewhere[identifier])}."
            )
        elif identifier in matched.unclear and data_set:
            causes["not among the org units of the data set"] += 1
            details.append(f"{subject}: '{identifier}' is none of the data set's org units.")
        elif (org_unit := found.get(identifier)) and (closed := closure(org_unit)):
            causes["closed for the period of the run"] += 1
            details.append(f"{subject}: the org unit {called(org_unit)} takes no values for {closed}.")
    if not details:
        return make_check(
            STORES, ok=True, message=f"{count(len(stores), 'store')} of mSupply have their org units."
        )
    cures = {
        "unknown to DHIS2": f"Correct {settings.store_field_reference} of the stores in mSupply.",
        "closed for the period of the run": "Correct the opening or closed date of the org units in DHIS2, "
        f"Maintenance, Organisation unit; or empty {settings.store_field_reference} of stores that are closed. Where the "
        "expiry days are over, add lock exceptions in DHIS2's Data Administration app.",
        "not assigned to the data set": "Assign the data set to the org units in DHIS2, Maintenance, Data set.",
    }
    return make_check(
        STORES,
        ok=False,
        message=_missing(
            len(details),
            len(stores),
            "store",
            "org unit",
            causes,
            cures,
            _other(scheme, others, len(details), "org_unit_scheme"),
        ),
        details=details,
    )


def check_items(
    settings: Settings, items: Sequence[MappedItem], matched: Matched[DataElement], data_set: DataSet | None
) -> Check:
    """Whether each item's data elements are there and in the data set."""
    scheme = settings.data_element_id_scheme
    free = _unclaimed(data_set.data_elements if data_set else (), matched)
    nearest = Nearest(free)
    labels = row_labels(settings)
    causes: Counter[str] = Counter()
    details = []
    others = 0
    for item in items:
        faulty = set()
        for identifier, metrics in _metrics_of(item, labels).items():
            subject = f"{_in_msupply(item)}{metrics}"
            if identifier in matched.unknown:
                faulty.add("unknown to DHIS2")
                near, by_other_scheme = _meant(identifier, item.name, scheme, free, nearest)
                others += by_other_scheme
                details.append(
                    f"{subject}: no data element has the {scheme.value} '{identifier}', or the user may not see it."
                    f"{near}"
                )
            elif identifier in matched.elsewhere and data_set:
                faulty.add("not in the data set")
                details.append(
                    f"{subject}: the data element {called(matched.elsewhere[identifier])} is not in the data set."
                )
            elif identifier in matched.unclear and data_set:
                faulty.add("not among the data elements of the data set")
                details.append(f"{subject}: '{identifier}' is none of the data set's data elements.")
        causes.update(faulty)
        causes[""] += bool(faulty)
    faulty_items = causes.pop("", 0)
    if not details:
        return make_check(
            ITEMS, ok=True, message=f"{count(len(items), 'item')} of mSupply have their data elements."
        )
    field = settings.item_field_reference or "the items' fields"
    cures = {
        "unknown to DHIS2": f"Correct {field} of the items in mSupply, or Prefix in the settings.",
        "not in the data set": "Add the data elements to the data set in DHIS2, Maintenance, Data set.",
    }
    return make_check(
        ITEMS,
        ok=False,
        message=_missing(
            faulty_items,
            len(items),
            "item",
            "data element",
            causes,
            cures,
            _other(scheme, others, len(details), "data_element_id_scheme"),
        ),
        details=details,
    )


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


def _missing(
    faulty: int,
    all_of_them: int,
    what: str,
    counterpart: str,
    causes: Counter[str],
    cures: Mapping[str, str],
    other_scheme: str,
) -> str:
    said = joined(f"{number:,} {cause}" for cause, number in causes.most_common())
    cure = other_scheme or " ".join(cures[cause] for cause, _ in causes.most_common() if cause in cures)
    return (
        f"{faulty:,} of {count(all_of_them, what)} of mSupply cannot be sent: the {counterpart}s are wrong ({said}). "
        f"{cure}"
    ).strip()


def _other(scheme: Scheme, others: int, faulty: int, setting: str) -> str:
    """Say that the setting is wrong, where most of what is unknown is known by the other scheme."""
    if others <= faulty * _MOSTLY:
        return ""
    other = Scheme.CODE if scheme is Scheme.UID else Scheme.UID
    return (
        f"Most of them are the {other.value}s of what is meant: set {title_of(setting)} to '{other.value}'."
    )


def _meant[Thing: Identified](
    identifier: str, name: str, scheme: Scheme, free: Sequence[Thing], nearest: Nearest[Thing]
) -> tuple[str, bool]:
    """Return what may have been meant, and whether it is known by this identifier in the other scheme."""
    other = Scheme.CODE if scheme is Scheme.UID else Scheme.UID
    by_other = next((thing for thing in free if thing.is_called(identifier, other)), None)
    if by_other is not None:
        return f" It is the {other.value} of {called(by_other)}.", True
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


def _in_msupply(subject: MappedStore | MappedItem) -> str:
    return f"{subject.name} ({subject.code})"


def check_org_units_without_store(
    stores: Sequence[MappedStore], matched: Matched[OrgUnit], data_set: DataSet
) -> Check:
    """Name the org units of the data set that no store is mapped to. Not all of a country need have mSupply."""
    astray = {store.org_unit: store.name for store in stores if store.org_unit not in matched.inside}
    return _without(
        ORG_UNITS_WITHOUT_STORE,
        _unclaimed(data_set.org_units, matched),
        astray,
        f"{len(data_set.org_units):,} org units of the data set have no store in mSupply and get no values",
        "Each org unit of the data set has a store in mSupply.",
    )


def check_data_elements_without_item(
    items: Sequence[MappedItem], matched: Matched[DataElement], data_set: DataSet
) -> Check:
    """Name the data elements of the data set that no item is mapped to."""
    astray = {
        identifier: item.name
        for item in items
        for identifier in item.data_elements
        if identifier is not None and identifier not in matched.inside
    }
    return _without(
        DATA_ELEMENTS_WITHOUT_ITEM,
        _unclaimed(data_set.data_elements, matched),
        astray,
        f"{len(data_set.data_elements):,} data elements of the data set have no item in mSupply and get no values",
        "Each data element of the data set has an item in mSupply.",
    )


def _without[Thing: Identified](
    name: str, left_over: Sequence[Thing], astray: Mapping[str, str], said: str, none: str
) -> Check:
    if not left_over:
        return make_check(name, ok=True, message=none)
    nearest = Nearest([Identified("", identifier, subject) for identifier, subject in astray.items()])
    details = []
    for thing in left_over:
        near = nearest.to(thing.code or thing.id, thing.name)
        details.append(
            f"{called(thing)}" + (f": is it {near.name}, which has '{near.code}' in mSupply?" if near else "")
        )
    return make_check(name, ok=True, to_note=True, message=f"{len(left_over):,} of {said}.", details=details)
