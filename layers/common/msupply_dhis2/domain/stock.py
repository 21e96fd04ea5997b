"""The shape in which mSupply's stock leaves the database and enters the metrics.

Quantities are whole numbers of *millionths of a unit* (``MICRO``), so that sums are exact: with floating
point 0.1 + 0.2 - 0.3 is a little stock, and a clinic that is out of it looks stocked. Instants are naive
``datetime`` values in UTC; days and months are those of the configured time zone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

MICRO = 1_000_000
"""How many of our whole numbers make one unit."""


class Kind(StrEnum):
    """What of mSupply is sent, or left out."""

    STORE = "store"
    ITEM = "item"
    CUSTOMER = "customer"


class MovementKind(StrEnum):
    """What moved the stock."""

    INBOUND_SHIPMENT = "inbound_shipment"
    OUTBOUND_SHIPMENT = "outbound_shipment"
    PRESCRIPTION = "prescription"
    CUSTOMER_RETURN = "customer_return"
    SUPPLIER_RETURN = "supplier_return"
    INVENTORY_ADDITION = "inventory_addition"
    INVENTORY_REDUCTION = "inventory_reduction"
    REPACK = "repack"


_THREE_MONTHS = Fraction(3)


@dataclass(frozen=True, slots=True)
class Store:
    """A store of mSupply that is sent, or a customer that is no store.

    ``org_unit`` is the value of the store field (``Dhis2Code``), stripped; ``look_back_months`` the store's
    own preference for average monthly consumption, above 0, where it has one.
    """

    id: str
    code: str
    name: str
    org_unit: str
    look_back_months: Fraction | None = None
    kind: Kind = Kind.STORE

    @property
    def look_back(self) -> Fraction:
        """How many months average monthly consumption looks back: 3 where the store has no preference of its own."""
        return self.look_back_months or _THREE_MONTHS


@dataclass(frozen=True, slots=True)
class Item:
    """An item of mSupply that is sent, with the stripped values of the fields that the settings ask for.

    They are ``universal_code``, ``user_field_1`` … or a key of the custom data; one that is absent or blank has no entry.
    """

    id: str
    code: str
    name: str
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A store, item or customer of mSupply that is not sent, and why; ``is_blank``: only for want of a value in the field."""

    kind: Kind
    code: str
    name: str
    reason: str
    is_blank: bool = False

    @property
    def named(self) -> str:
        """Name it so that it can be found in mSupply: ``Kamo (KAMO)``."""
        return f"{self.name} ({self.code})"

    def __str__(self) -> str:
        return f"{self.kind} {self.named}: {self.reason}"


class StockLine(NamedTuple):
    """A batch of an item in a store as it is now: ``units`` in millionths."""

    id: str
    units: int
    expiry_date: date | None


class Movement(NamedTuple):
    """A change of stock: ``units`` in millionths, signed (+ in, - out), at ``instant`` (naive UTC)."""

    instant: datetime
    kind: MovementKind
    units: int
    stock_line_id: str | None


class NamedMovement(NamedTuple):
    """A movement as people find it in mSupply: the number of its invoice, and the instant that the invoice itself says."""

    store: Store
    item: Item
    movement: Movement
    number: str
    own_instant: datetime | None


@dataclass(slots=True)
class PairHistory:
    """One item in one store.

    Its stock lines are as they are now; its movements those at or after the floor that the reader was given, latest first.
    ``first_in`` is the instant of its first movement in of more than 0 units, whenever it was. The database works out the
    sum of all movements before the floor, in millionths.
    """

    store: Store
    item: Item
    stock_lines: list[StockLine]
    movements: list[Movement]
    first_in: datetime | None
    units_before_floor: int


@dataclass(frozen=True, slots=True)
class OrgUnit:
    """An org unit of DHIS2 and the stores, or the customers, that are mapped to it (usually one)."""

    code: str
    stores: tuple[Store, ...]

    @property
    def kind(self) -> Kind:
        """What they are."""
        return self.stores[0].kind


@dataclass(frozen=True, slots=True)
class ItemGroup:
    """The items that share one item reference (usually one), or one item where there is no reference."""

    reference: str | None
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row of mSupply's database that would count for an item in a store, and cannot be read (``pack_size is …``).

    It counts for stock at the instant ``until`` and before, and not for later stock; ``None``: for all.
    """

    store: Store
    item: Item
    table: str
    id: str
    fault: str
    until: datetime | None = None

    def __str__(self) -> str:
        """Name what cannot be sent because of it, and the row itself."""
        return (
            f"{described(self.store, self.item)}: not sent, because a row of mSupply's database cannot be read: "
            f"{self.table} {self.id}: {self.fault}"
        )


def described(store: Store, item: Item) -> str:
    """Name an item in a store so that both can be found in mSupply."""
    return f"{item.name} (item {item.code}) in {store.name} ({store.kind} {store.code})"


@dataclass(slots=True)
class GroupHistory:
    """What one set of values is about: one org unit, one item group, and their pairs.

    Only pairs that are visible in the store, or that ever had a stock line or a movement there, are in it. Where any row
    of theirs is ``unreadable``, no value of the group would be right.
    """

    org_unit: OrgUnit
    item_group: ItemGroup
    pairs: list[PairHistory]
    unreadable: list[UnreadableRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ConsumptionPreferences:
    """mSupply's global preferences for average monthly consumption."""

    days_in_month: Fraction = Fraction(36525, 1200)
    adjust_for_days_out_of_stock: bool = False
