"""What the preflight knows when it judges: settings, what DHIS2 has set up, what mSupply has mapped, what may be meant."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.dhis2.error_catalogue import explain
from msupply_dhis2.dhis2.models import DataElement, DataSet, Identified, OrgUnit, Server, User
from msupply_dhis2.dhis2.period_rules import PeriodRules
from msupply_dhis2.domain.lookalikes import difference, folded
from msupply_dhis2.domain.mapped import MappedNames
from msupply_dhis2.periods import Basis, Period, Window
from msupply_dhis2.preflight.check import Findings
from msupply_dhis2.settings import DataElementRow, Scheme, Settings, Setup
from msupply_dhis2.text import closest, listed

LOOKED_UP = 300
"""How many stores' or items' identifiers that the data set does not have are looked for elsewhere in DHIS2."""

_NAMED = 3
_COMPARISONS = 150_000
"""How many texts are compared letter by letter for one list: about a second on a small function."""

_ALIKE = 0.75


@dataclass(frozen=True, slots=True)
class Use:
    """A data element, and the rows whose values go to it."""

    data_element: DataElement
    rows: tuple[DataElementRow, ...]


@dataclass(slots=True, kw_only=True)
class Facts(Findings):
    """What is known, and what was answered so far.

    ``windows`` are of a run now (none where the settings are not complete), ``manual`` is of a manual push now, where that is
    asked. ``now`` is for a server that does not tell its own time. ``server``, ``data_set``, ``rules`` (of its periods) and
    ``periods`` (of a run now, by label) are there as far as they could be read; ``org_units`` are those of the stores.
    """

    client: Dhis2Client
    settings: Settings
    user: User
    windows: Mapping[Basis, Window]
    now: datetime
    manual: Window | None = None
    server: Server | None = None
    data_set: DataSet | None = None
    rules: PeriodRules | None = None
    periods: dict[str, Period] = field(default_factory=dict)
    org_units: tuple[OrgUnit, ...] = ()

    @property
    def server_or_newest(self) -> Server:
        """The server; where it could not be read, one of the newest version that is known, by our own clock."""
        return self.server or Server.model_validate({"serverDate": self.now})

    @property
    def row_labels(self) -> list[str]:
        """The name of each active row."""
        rows = enumerate(self.settings.data_elements)
        return [self.settings.row_label(index) for index, row in rows if row.active]


def title_of(name: str) -> str:
    """Return the name of a setting as the tab shows it."""
    return str(Settings.model_fields[name].title)


def called(thing: Identified) -> str:
    """Name a thing of DHIS2: ``Kamo (OU_KAMO)``, or with its UID where it has no code."""
    return f"{thing.name} ({thing.code or thing.id})"


def cure_of(code: str) -> str:
    """Return what to do about a fault, in the words by which push tells of it; but nothing was pushed yet."""
    return explain(code, "").cure.removesuffix(" Then push again.")


def some(names: Collection[str]) -> str:
    """Name a few of several things."""
    return listed([*names], _NAMED)


def written(thing: Identified, scheme: Scheme) -> str:
    """Name a thing of DHIS2 by what the settings or mSupply must have for it: ``'OU_KAMO' (Kamo)``."""
    identifier = thing.identifier(scheme)
    return (
        f"{thing.name} (uid {thing.id}, no code)" if identifier is None else f"'{identifier}' ({thing.name})"
    )


def uses_of_mapped(
    settings: Settings, mapped: MappedNames, data_elements: Mapping[str, DataElement]
) -> tuple[Use, ...]:
    """Return the data elements (by their identifier, prefix included) that items are mapped to."""
    rows: dict[str, dict[DataElementRow, None]] = {}
    for item in mapped.items:
        for row, identifier in zip(settings.active_rows, item.data_elements, strict=True):
            if identifier is not None and identifier in data_elements:
                rows.setdefault(identifier, {})[row] = None
    return tuple(Use(data_elements[identifier], tuple(sent)) for identifier, sent in rows.items())


def uses_by_prefix(settings: Settings, data_set: DataSet) -> tuple[Use, ...]:
    """Return what may be sent to which data elements, as far as that can be told without mSupply's items.

    With different data elements per item only prefixes tell which of them a row is for.
    """
    is_per_item = settings.setup is Setup.DATA_ELEMENT_PER_ITEM
    rows = [row for row in settings.active_rows if row.prefix or not is_per_item]
    return tuple(
        Use(element, sent)
        for element in data_set.data_elements
        if (sent := tuple(row for row in rows if (element.code or "").startswith(row.prefix)))
    )


class Nearest[Thing: Identified]:
    """Finds which of some things may have been meant, by code first and then by name.

    Codes and names that look the same (see ``lookalikes``), and UIDs, are found at once; the others are compared letter by
    letter until the comparisons are used up.
    """

    def __init__(self, things: Collection[Thing]) -> None:
        self._by_code, self._by_name, self._by_id = (
            {text: thing for thing in things if (text := folded(getattr(thing, field) or ""))}
            for field in ("code", "name", "id")
        )
        self._comparisons = _COMPARISONS

    def to(self, identifier: str, name: str) -> Thing | None:
        """Return the thing that is nearest to what mSupply has."""
        code, bare_name = folded(identifier), folded(name)
        near = self._by_code.get(code) or self._by_id.get(code) or self._by_name.get(bare_name)
        return near or self._alike(code, self._by_code) or self._alike(bare_name, self._by_name)

    def guess(self, identifier: str, name: str, scheme: Scheme, here: str = "the settings") -> str:
        """Return ``Did you mean 'OU_KAMO' (Kamo)?`` and how it differs from what stands here; nothing where nothing is near."""
        near = self.to(identifier, name)
        if near is None:
            return ""
        right = near.identifier(scheme)
        differs = difference(identifier, right or identifier, here=here)
        return f" Did you mean {written(near, scheme)}?{f' {differs}' if differs else ''}"

    def _alike(self, text: str, things: dict[str, Thing]) -> Thing | None:
        if not text or self._comparisons < len(things):
            return None
        self._comparisons -= len(things)
        near = closest(text, things, cutoff=_ALIKE)
        return None if near is None else things[near]
