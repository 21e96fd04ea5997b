"""The metadata of one data set, read once and kept by identifier, and what was looked up outside of it."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Literal, NamedTuple

from msupply_dhis2.dhis2.import_request import Schemes
from msupply_dhis2.dhis2.metadata import (
    find_category_option,
    find_data_elements,
    find_lock_exceptions,
    find_option_combos,
    find_org_units,
)
from msupply_dhis2.dhis2.models import (
    DataElement,
    DataSet,
    Identified,
    OptionCombo,
    OrgUnit,
    Query,
    ReadsDhis2,
    Server,
    User,
)
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.domain.lookalikes import LookAlikes, difference
from msupply_dhis2.errors import Dhis2PermanentError
from msupply_dhis2.settings import Scheme


class KeptAnswers:
    """Asks DHIS2, and keeps the answers: a reading that broke off goes on where it was, without asking again.

    A proxy that limits the rate would break off each attempt at the same place otherwise.
    """

    def __init__(self, client: ReadsDhis2) -> None:
        self._client = client
        self._answers: dict[tuple[str, str], object] = {}

    def get(self, path: str, params: Query | None = None) -> object:
        """Return the answer that is kept, or DHIS2's."""
        question = path, repr(params)
        if question not in self._answers:
            self._answers[question] = self._client.get(path, params)
        return self._answers[question]

    def forget(self) -> None:
        """Forget all answers, because what they were asked for is known."""
        self._answers.clear()


class StrangeCombo(NamedTuple):
    """What an identifier means that no option combo of the data set or its data elements has.

    An option combo elsewhere in DHIS2, or the option combos of a category option.
    """

    combo: OptionCombo | None
    meant: tuple[OptionCombo, ...]


@dataclass(slots=True)
class MetadataCache:
    """What is known of the server, the user and the data set; in ``combos_in_use`` by category combo.

    The *other* things and strange combos were looked up because the data set does not have them: ``None`` where there is no
    such thing; what could not be looked up is in none of them. ``lock_exceptions`` are org unit and period of the exceptions
    from the expiry days, ``None`` while, or where, not known.
    """

    server: Server
    user: User
    data_set: DataSet
    schemes: Schemes
    read_at: float
    data_elements: Mapping[str, DataElement] = field(init=False)
    org_units: Mapping[str, OrgUnit] = field(init=False)
    combos_in_use: Collection[tuple[OptionCombo, ...]] = field(init=False)
    other_data_elements: dict[str, DataElement | None] = field(default_factory=dict)
    other_org_units: dict[str, OrgUnit | None] = field(default_factory=dict)
    strange_combos: dict[tuple[Scheme, str], StrangeCombo] = field(default_factory=dict)
    lock_exceptions: frozenset[tuple[str, str]] | None = None
    _combos: dict[tuple[str, Scheme], Mapping[str, OptionCombo]] = field(default_factory=dict)
    _locks_asked_for: bool = False
    _look_alikes: dict[str, LookAlikes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        elements = self.data_set.data_elements
        self.data_elements = _by_identifier(elements, self.schemes.data_element)
        self.org_units = _by_identifier(self.data_set.org_units, self.schemes.org_unit)
        each = [self.data_set.option_combos, *[element.option_combos for element in elements]]
        self.combos_in_use = {among[0].category_combo: among for among in each if among}.values()

    def server_date(self, now: float) -> datetime:
        """Return the date and time on the server, from the clock's present reading."""
        return self.server.server_date + timedelta(seconds=now - self.read_at)

    def combos(self, among: tuple[OptionCombo, ...], scheme: Scheme) -> Mapping[str, OptionCombo]:
        """Return all option combos of a category combo by identifier."""
        key = among[0].category_combo, scheme
        if key not in self._combos:
            self._combos[key] = _by_identifier(among, scheme)
        return self._combos[key]

    def hint(
        self, identifier: str, kind: Literal["data element", "org unit", "option combo"], scheme: Scheme
    ) -> str:
        """Name what in the data set looks like an identifier, to follow words about it; nothing where nothing does."""
        key = f"{kind} {scheme}"
        if key not in self._look_alikes:
            among: Iterable[str] = self.data_elements if kind == "data element" else self.org_units
            if kind == "option combo":
                among = (each for combos in self.combos_in_use for each in self.combos(combos, scheme))
            self._look_alikes[key] = LookAlikes(among)
        alike = self._look_alikes[key].to(identifier)
        if alike is None:
            return ""
        here = "the settings" if kind == "option combo" else "mSupply"
        return f". Did you mean `{alike}`? {difference(identifier, alike, here=here)}"

    def look_up(self, client: ReadsDhis2, values: Collection[DataValue]) -> None:
        """Look up the data elements and org units that the data set does not have, as far as they may be read.

        Nothing is asked for twice.
        """
        identifiers, scheme = {value.data_element for value in values}, self.schemes.data_element
        _look_up(
            find_data_elements, client, identifiers, scheme, self.data_elements, self.other_data_elements
        )
        identifiers, scheme = {value.org_unit for value in values}, self.schemes.org_unit
        _look_up(find_org_units, client, identifiers, scheme, self.org_units, self.other_org_units)

    def look_up_combos(self, client: ReadsDhis2, values: Collection[DataValue]) -> None:
        """Look up the option combos that neither the data set nor its data elements have."""
        named = {
            (value.option_combo_scheme, combo)
            for value in values
            for combo in (value.category_option_combo, value.attribute_option_combo)
            if combo is not None
        }
        for scheme, identifier in named - self.strange_combos.keys():
            if any(identifier in self.combos(among, scheme) for among in self.combos_in_use):
                continue
            combos = _if_readable(partial(find_option_combos, client, [identifier], scheme))
            if combos is None:
                continue
            combo = next((combo for combo in combos if combo.is_called(identifier, scheme)), None)
            meant = None
            if combo is None:
                meant = _if_readable(partial(find_category_option, client, identifier, scheme))
            self.strange_combos[scheme, identifier] = StrangeCombo(combo, meant or ())

    def look_up_locks(self, client: ReadsDhis2) -> None:
        """Read the exceptions from the expiry days, as far as they may be read."""
        if not self._locks_asked_for:
            self.lock_exceptions = _if_readable(lambda: find_lock_exceptions(client, self.data_set.id))
            self._locks_asked_for = True


def _by_identifier[Thing: Identified](things: Iterable[Thing], scheme: Scheme) -> dict[str, Thing]:
    if scheme is Scheme.UID:
        return {thing.id: thing for thing in things}
    return {thing.code: thing for thing in things if thing.code is not None}


def _look_up[Thing: Identified](
    find: Callable[[ReadsDhis2, Collection[str], Scheme], tuple[Thing, ...]],
    client: ReadsDhis2,
    identifiers: Collection[str],
    scheme: Scheme,
    known: Mapping[str, Thing],
    others: dict[str, Thing | None],
) -> None:
    """Add to the others what is not known yet."""
    unknown = sorted(set(identifiers) - known.keys() - others.keys())
    if unknown and (found := _if_readable(lambda: find(client, unknown, scheme))) is not None:
        by_identifier = _by_identifier(found, scheme)
        others |= {identifier: by_identifier.get(identifier) for identifier in unknown}


def _if_readable[Thing](read: Callable[[], Thing]) -> Thing | None:
    """Read something that only makes a refusal clearer; ``None`` where the user may not."""
    try:
        return read()
    except Dhis2PermanentError:
        return None
