"""What of mSupply is set up in DHIS2: the items and stores that are sent, and the stores that have no org unit."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msupply_dhis2.settings import Settings

_STORE_WITHOUT = re.compile(r"store (?P<name>.+) \((?P<code>[^()]*)\): it has no value in ")


@dataclass(frozen=True, slots=True)
class PlannedItem:
    """An item that is sent; ``references`` has its identifier, without prefix, for each active row of the settings."""

    name: str
    code: str
    references: tuple[str | None, ...]

    @property
    def reference(self) -> str:
        """The first of its identifiers, which names what is about the whole item."""
        return next((each for each in self.references if each), self.code)


@dataclass(frozen=True, slots=True)
class PlannedStore:
    """A store, or a customer, that is sent, with its org unit in the org unit scheme; without one it is not sent."""

    name: str
    code: str
    org_unit: str = ""
    kind: str = "store"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Below how many months of stock a store has too little, above how many too much, and where that is from."""

    understock: float = 3.0
    overstock: float = 6.0
    said: str = "mSupply's own defaults"


@dataclass(frozen=True, slots=True)
class Subjects:
    """What is read of mSupply."""

    items: tuple[PlannedItem, ...]
    stores: tuple[PlannedStore, ...]
    blank_stores: tuple[PlannedStore, ...] = ()
    skipped: tuple[str, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)

    @property
    def org_units(self) -> tuple[str, ...]:
        """The org units of all that is sent, each once."""
        return tuple(dict.fromkeys(store.org_unit for store in self.stores))

    def shared_references(self) -> list[str]:
        """Name the items that would send by the same data element, a sentence each."""
        holders: dict[str, list[str]] = defaultdict(list)
        for item in self.items:
            holders[item.reference].append(f"{item.name} ({item.code})")
        return [
            f"{' and '.join(names)} have the same identifier {reference}: with a data element for each item and metric neither "
            "is sent. Give each its own identifier in mSupply, or plan with --shape combos, where they count as one."
            for reference, names in holders.items()
            if len(names) > 1
        ]


def read_lines(
    lines: Iterable[Mapping[str, Any]], settings: Settings, thresholds: Thresholds | None = None
) -> Subjects:
    """Read what an export of the mapping says, which was made with these settings."""
    rows = settings.active_rows
    # An export names a data element by its metric: of several rows of a metric it has that of the last.
    prefixes = {row.metric.value: row.prefix for row in rows}
    items: list[PlannedItem] = []
    stores: list[PlannedStore] = []
    blank: list[PlannedStore] = []
    skipped: list[str] = []
    for line in lines:
        match line["kind"]:
            case "item":
                by_metric = {
                    metric: None if element is None else str(element).removeprefix(prefixes.get(metric, ""))
                    for metric, element in line["data_elements"].items()
                }
                references = tuple(by_metric.get(row.metric.value) for row in rows)
                items.append(PlannedItem(line["name"], line["code"], references))
            case "skipped":
                if found := _STORE_WITHOUT.match(line["why"]):
                    blank.append(PlannedStore(found["name"], found["code"]))
                else:
                    skipped.append(line["why"])
            case kind:
                stores.append(PlannedStore(line["name"], line["code"], line["org_unit"], kind))
    # The order of an export is that of the shape of its settings.
    items.sort(key=lambda item: (item.name, item.code))
    return Subjects(tuple(items), tuple(stores), tuple(blank), tuple(skipped), thresholds or Thresholds())


def commonest_thresholds(stores: Sequence[tuple[float | None, float | None]]) -> Thresholds:
    """Return the thresholds of the stores where they agree, else the commonest."""
    given = [(low, high) for low, high in stores if low and high and 0 < low < high]
    if not given:
        return Thresholds()
    counted: dict[tuple[float, float], int] = defaultdict(int)
    for each in given:
        counted[each] += 1
    (low, high), number = max(counted.items(), key=lambda pair: (pair[1], pair[0]))
    if len(counted) == 1:
        return Thresholds(low, high, f"the preferences of mSupply's stores ({len(given)} of them)")
    return Thresholds(
        low, high, f"the commonest preferences of mSupply's stores ({number} of {len(given)} have them)"
    )
