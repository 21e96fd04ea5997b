"""The metadata of one data set, read once and kept by identifier, and what was looked up outside of it."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from msupply_dhis2.dhis2.import_request import Schemes
from msupply_dhis2.dhis2.metadata import (
    find_category_option,
    find_data_elements,
    find_lock_exceptions,
    find_option_combos,
    find_org_units,
    read_data_set,
    read_user,
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
    data_elements: Mapping[str, DataElement]
    org_units: Mapping[str, OrgUnit]
    combos_in_use: Collection[tuple[OptionCombo, ...]]
    other_data_elements: dict[str, DataElement | None] = field(default_factory=dict)
    other_org_units: dict[str, OrgUnit | None] = field(default_factory=dict)
    strange_combos: dict[tuple[Scheme, str], StrangeCombo] = field(default_factory=dict)
    lock_exceptions: frozenset[tuple[str, str]] | None = None
    _combos: dict[tuple[str, Scheme], Mapping[str, OptionCombo]] = field(default_factory=dict)
    _locks_asked_for: bool = False
    _look_alikes: dict[str, LookAlikes] = field(default_factory=dict)

    @classmethod
    def read(
        cls, client: ReadsDhis2, data_set_id: str, schemes: Schemes, server: Server, read_at: float
    ) -> "MetadataCache | None":
        """Read the metadata, after the server was; ``None`` where the data set cannot be seen."""
        data_set = read_data_set(client, data_set_id, schemes.data_set)
        if data_set is None:
            return None
        return cls(
            server=server,
            user=read_user(client),
            data_set=data_set,
            schemes=schemes,
            read_at=read_at,
            data_elements=_by_identifier(data_set.data_elements, schemes.data_element),
            org_units=_by_identifier(data_set.org_units, schemes.org_unit),
            combos_in_use=_combos_in_use(data_set),
        )

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

    def look_up(
        self,
        client: ReadsDhis2,
        *,
        data_elements: Collection[str],
        org_units: Collection[str],
        combos: Collection[tuple[Scheme, str]],
    ) -> None:
        """Look up what the data set does not have, as far as that may be read; nothing is asked for twice."""
        scheme = self.schemes.data_element
        _look_up(
            find_data_elements, client, data_elements, scheme, self.data_elements, self.other_data_elements
        )
        scheme = self.schemes.org_unit
        _look_up(find_org_units, client, org_units, scheme, self.org_units, self.other_org_units)
        for scheme, identifier in set(combos) - self.strange_combos.keys():
            if not any(identifier in self.combos(among, scheme) for among in self.combos_in_use):
                self._look_up_combo(client, scheme, identifier)

    def _look_up_combo(self, client: ReadsDhis2, scheme: Scheme, identifier: str) -> None:
        combos = _if_readable(lambda: find_option_combos(client, [identifier], scheme))
        if combos is None:
            return
        combo = next((combo for combo in combos if combo.is_called(identifier, scheme)), None)
        meant = None
        if combo is None:
            meant = _if_readable(lambda: find_category_option(client, identifier, scheme))
        self.strange_combos[scheme, identifier] = StrangeCombo(combo, meant or ())

    def look_up_locks(self, client: ReadsDhis2) -> None:
        """Read the exceptions from the expiry days, as far as they may be read."""
        if not self._locks_asked_for:
            self.lock_exceptions = _if_readable(lambda: find_lock_exceptions(client, self.data_set.id))
            self._locks_asked_for = True


def _combos_in_use(data_set: DataSet) -> Collection[tuple[OptionCombo, ...]]:
    each = (data_set.option_combos, *(element.option_combos for element in data_set.data_elements))
    return {among[0].category_combo: among for among in each if among}.values()


def _by_identifier[Thing: Identified](things: Iterable[Thing], scheme: Scheme) -> dict[str, Thing]:
    named = ((thing.id if scheme is Scheme.UID else thing.code, thing) for thing in things)
    return {identifier: thing for identifier, thing in named if identifier is not None}


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
