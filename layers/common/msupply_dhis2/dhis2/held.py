"""What DHIS2 holds for some org units and periods, as a person asks. Nothing is written there."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import batched, product
from typing import Any

from msupply_dhis2.dhis2.metadata import StoredValue, find, read_data_set, read_user, read_values
from msupply_dhis2.dhis2.models import Identified, OrgUnit, ReadsDhis2
from msupply_dhis2.domain.choices import Scheme
from msupply_dhis2.domain.mapped import MappedItem, MappedNames, MappedStore
from msupply_dhis2.domain.reading import Event, MetricNames, Names, folded, parse_event, require_period
from msupply_dhis2.errors import Dhis2PermanentError, EventError
from msupply_dhis2.settings import DataElementRow, Settings
from msupply_dhis2.text import count, listed

MOST_PLACES = 1_000
"""Org units times periods."""

VALUES_A_CALL = 20_000
"""No call asks for places that could hold more, so that an answer does not fill the function's memory."""

_EXAMPLE = '{"held": {"stores": ["Kamo"], "periods": ["202601"]}}'


class Held(Event):
    """Which values are asked for: of org units (in the settings' scheme) or of stores, in periods as DHIS2 writes them.

    Only those of these items and metrics, as mSupply has them mapped, or of these data elements (in the settings' scheme).
    With ``skip_unknown`` org units of which nothing can be read are left out; otherwise one of them is an error.
    """

    org_units: Names | None = None
    stores: Names | None = None
    periods: Names
    items: Names | None = None
    metrics: MetricNames | None = None
    data_elements: Names | None = None
    skip_unknown: bool = False


class HeldEvent(Event):
    """The event that asks for them."""

    held: Held


def parse_held(event: Mapping[Any, Any]) -> Held:
    """Read what a person asks for; an EventError says what is wrong with it."""
    held = parse_event(HeldEvent, event, _EXAMPLE).held
    if (held.org_units is None) is (held.stores is None):
        raise EventError(f"held: name org_units or stores, one of the two: {_EXAMPLE}.")
    if held.data_elements and (held.items or held.metrics):
        raise EventError("held.data_elements: not together with items or metrics. Leave one of them out.")
    for period in held.periods:
        require_period(period, "held.periods")
    return held


def read_held(
    held: Held, client: ReadsDhis2, settings: Settings, mapped: MappedNames | None
) -> tuple[Iterator[dict[str, object]], Mapping[str, str]]:
    """Return the values that DHIS2 holds, as they are read, and why nothing can be read of some org units.

    Their names are those of the settings. ``mapped`` is needed for stores, items and metrics.
    """
    mapped = mapped or MappedNames()
    data_set = read_data_set(client, settings.data_set_id, settings.data_set_id_scheme)
    if data_set is None:
        raise Dhis2PermanentError(
            f"DHIS2 has no data set {settings.data_set_id}, or this user may not see it: make test-connection."
        )
    units, left_out = _org_units(held, client, settings, mapped)
    elements = _by_name(data_set.data_elements, settings.data_element_id_scheme)
    of_elements = [combo for element in data_set.data_elements for combo in element.option_combos]
    combos = {
        row: combo.id
        for row in settings.active_rows
        for combo in (*data_set.option_combos, *of_elements)
        if row.category_option_id
        and combo.is_called(row.category_option_id, row.category_option_combo_id_scheme)
    }
    # What an org unit can hold in a period.
    in_a_place = (len(data_set.data_elements) + len(of_elements)) * max(1, len(data_set.option_combos))
    places = max(1, VALUES_A_CALL // max(1, in_a_place))
    some_periods = list(batched(held.periods, places, strict=False))
    some_units = list(batched(units.values(), max(1, places // len(some_periods[0])), strict=False))
    names = {uid: name for name, uid in (units | elements).items()}
    names |= {uid: str(row.category_option_id) for row, uid in combos.items()}
    wanted = _wanted(held, settings, mapped, elements, combos)
    stored = (
        value
        for some in product(some_units, some_periods)
        for value in read_values(client, data_set.id, *some)
        if wanted is None
        or not wanted.isdisjoint((value.key.data_element, combo) for combo in (None, *value.key[3:]))
    )
    return map(partial(_told, names), stored), left_out


def _told(names: Mapping[str, str], stored: StoredValue) -> dict[str, object]:
    """Return a value with who stored it and when."""
    named: dict[str, object] = {field: names.get(part, part) for field, part in stored.key._asdict().items()}
    about = stored._asdict()
    del about["key"]
    return named | about


def _org_units(
    held: Held, client: ReadsDhis2, settings: Settings, mapped: MappedNames
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the UIDs of the org units by what the settings call them, and why nothing can be read of the others."""
    field, names = ("stores", held.stores) if held.stores else ("org_units", held.org_units or ())
    if held.stores:
        stores = _named(field, held.stores, mapped.stores, mapped.more_stores)
        names = tuple(dict.fromkeys(store.org_unit for store in stores))
    if len(names) * len(held.periods) > MOST_PLACES:
        raise EventError(
            f"held.{field}: {count(len(names), 'org unit')} in {count(len(held.periods), 'period')} are too many for one "
            f"question, which may have {MOST_PLACES:,} org units times periods. Ask several times."
        )
    found = find(OrgUnit, client, names, settings.org_unit_scheme)
    units = _by_name(found, settings.org_unit_scheme)
    missing = [name for name in names if name not in units]
    user = read_user(client)
    kept_out_of = {unit.id: unit.name for unit in found if user.is_kept_out_of(unit)}
    outside = [name for name in names if units.get(name) in kept_out_of]
    if missing and not held.skip_unknown:
        raise EventError(
            f"held.{field}: DHIS2 has no org unit {listed(missing)}, or this user may not see it."
        )
    if outside and not held.skip_unknown:
        raise EventError(
            f"held.{field}: the user {user.username} may not read the values of {listed(list(kept_out_of.values()))}. Give the "
            "user in DHIS2 these org units, or one above them, for data capture."
        )
    left_out = dict.fromkeys(missing, "DHIS2 has no such org unit, or this user may not see it.")
    left_out |= dict.fromkeys(outside, f"The user {user.username} may not read its values in DHIS2.")
    return {name: units[name] for name in names if name not in left_out}, left_out


def _wanted(
    held: Held,
    settings: Settings,
    mapped: MappedNames,
    elements: Mapping[str, str],
    combos: Mapping[DataElementRow, str],
) -> set[tuple[str, str | None]] | None:
    """Return the UIDs of the data elements, each with an option combo where only its values are meant; ``None``: all."""
    if held.data_elements:
        if missing := [name for name in held.data_elements if name not in elements]:
            raise EventError(f"held.data_elements: DHIS2's data set has no data element {listed(missing)}.")
        return {(elements[name], None) for name in held.data_elements}
    if not (held.items or held.metrics):
        return None
    rows = settings.active_rows
    if missing := [metric for metric in held.metrics or () if all(row.metric != metric for row in rows)]:
        raise EventError(f"held.metrics: no active row of the settings sends {listed(missing)}.")
    items = _named("items", held.items, mapped.items, mapped.more_items) if held.items else mapped.items
    wanted = {
        (elements[str(element)], combos.get(row))
        for item in items
        for row, element in zip(rows, item.data_elements, strict=True)
        if element in elements and (held.metrics is None or row.metric in held.metrics)
    }
    if not wanted:
        raise EventError(
            "held: DHIS2's data set has nothing of what mSupply has mapped for these items and metrics."
        )
    return wanted


def _by_name(things: Iterable[Identified], scheme: Scheme) -> dict[str, str]:
    """Return UIDs by what the settings call it."""
    return {(thing.id if scheme is Scheme.UID else thing.code) or thing.id: thing.id for thing in things}


def _named[Thing: (MappedStore, MappedItem)](
    field: str, names: Sequence[str], things: Sequence[Thing], more: int
) -> list[Thing]:
    """Return the stores or items that are called so."""
    known = {folded(each) for thing in things for each in (thing.name, thing.code)}
    if missing := [name for name in names if folded(name) not in known]:
        cut = f" Only the first {len(things):,} can be named." if more else ""
        raise EventError(
            f"held.{field}: mSupply has no {field} {listed(missing)} mapped. Write code or whole name.{cut}"
        )
    asked = set(map(folded, names))
    return [thing for thing in things if {folded(thing.name), folded(thing.code)} & asked]
