"""Health facilities with names of our own making, and the rows that mSupply keeps of each."""

import json
import random
from dataclasses import dataclass, replace
from enum import Enum, auto

from sandbox.sample.writer import Row

_FIRST = (
    "Ba",
    "Chi",
    "Da",
    "Fo",
    "Gu",
    "Hi",
    "Ka",
    "Lu",
    "Ma",
    "Mbe",
    "Na",
    "Nko",
    "Pa",
    "Ru",
    "Sa",
    "Si",
    "Ta",
    "To",
    "Vu",
    "Za",
)
_MIDDLE = ("la", "re", "mo", "ni", "ko", "su", "va", "do", "li", "ga", "ru", "ti", "wa", "se", "bo")
_LAST = ("ni", "ra", "wa", "ya", "lo", "mbe", "to", "nga", "vi", "ku", "sa", "le")
_KINDS = ("Clinic", "Clinic", "Clinic", "Health Post", "Health Centre", "Dispensary", "Hospital")
_SIZES = {"Clinic": 1.0, "Health Post": 0.4, "Dispensary": 0.8, "Health Centre": 2.5, "Hospital": 9.0}


class Place(Enum):
    """Where the custom fields of a store stand, in the order in which one looks."""

    SYNC_BUFFER = auto()
    NAME_PROPERTIES = auto()
    NAME_CUSTOM_DATA = auto()


@dataclass(frozen=True, slots=True)
class Clinic:
    """A store of mSupply, with what the history of its stock goes by.

    Attributes
    ----------
    org_unit
        The value of ``Dhis2Code``; ``None`` where nobody entered one.
    look_back_months
        The store preference; 0 where it was never set.
    other_fields
        Custom fields beside ``Dhis2Code``, as they are stored.
    size
        How much it uses, where an ordinary clinic is 1.
    has_stock
        Whether anything ever happened there.
    """

    id: str
    name_id: str
    code: str
    name: str
    org_unit: str | None
    size: float
    place: Place = Place.SYNC_BUFFER
    is_plain: bool = False
    is_disabled: bool = False
    is_broken: bool = False
    has_stock: bool = True
    look_back_months: float | None = None
    other_fields: tuple[tuple[str, object], ...] = ()

    @property
    def is_hospital(self) -> bool:
        """Whether it is large enough to keep the items of a hospital."""
        return self.size >= _SIZES["Health Centre"]

    @property
    def dispenses(self) -> bool:
        """Whether stock leaves it by prescriptions; by outbound shipments otherwise."""
        return "Dispensary" in self.name or self.is_hospital

    def _fields(self, here: Place) -> dict[str, object] | None:
        if here is not self.place:
            # Somebody looked at the field and left it blank: the next place is to be asked.
            return {"Dhis2Code": {"data": " "}} if here.value < self.place.value else None
        fields = dict(self.other_fields)
        if self.org_unit is not None:
            fields["Dhis2Code"] = self.org_unit if self.is_plain else {"data": self.org_unit}
        return fields

    @property
    def custom_fields(self) -> dict[str, object]:
        """The custom fields as the older mSupply keeps them, which has one place for them, the look-back included."""
        fields = dict(self._fields(self.place) or {})
        if self.look_back_months:
            fields["monthlyConsumptionLookBackPeriod"] = {"data": str(self.look_back_months)}
        return fields

    def name_row(self) -> Row:
        """Return the row of ``name``."""
        custom_data = self._fields(Place.NAME_CUSTOM_DATA)
        properties = self._fields(Place.NAME_PROPERTIES)
        return (
            self.name_id,
            self.name,
            self.code,
            "STORE",
            True,
            False,
            None,
            None if custom_data is None else json.dumps(custom_data),
            None if properties is None else json.dumps(properties),
            None,
        )

    def store_row(self, site: int) -> Row:
        """Return the row of ``store``."""
        mode = "DISPENSARY" if self.dispenses else "STORE"
        return (self.id, self.name_id, self.code, site, mode, "2024-01-01", self.is_disabled)

    def sync_buffer_row(self, received: str) -> Row:
        """Return the row of ``sync_buffer``: the store as the older mSupply sent it."""
        record = json.dumps(
            {
                "ID": self.id,
                "code": self.code,
                "name": self.name,
                "name_ID": self.name_id,
                "disabled": self.is_disabled,
                "store_mode": "dispensary" if self.dispenses else "store",
                "custom_data": self._fields(Place.SYNC_BUFFER),
            }
        )
        if self.is_broken:
            record = record[: len(record) // 2]
        return (self.id, received, received, None, "store", "UPSERT", record)


def clinics(count: int, seed: int) -> list[Clinic]:
    """Return ``count`` stores, each with an org unit of its own; a larger count begins with the same ones."""
    places = [f"{first}{middle}{last}" for first in _FIRST for middle in _MIDDLE for last in _LAST]
    shuffle = random.Random(f"clinics {seed}")  # noqa: S311 - sample data, which a seed must repeat
    shuffle.shuffle(places)
    return [_clinic(number, places, seed) for number in range(count)]


def _clinic(number: int, places: list[str], seed: int) -> Clinic:
    choose = random.Random(f"clinic {seed} {number}")  # noqa: S311 - sample data, which a seed must repeat
    kind = _KINDS[number % len(_KINDS)]
    name = f"{places[number % len(places)]} {kind}"
    if number >= len(places):
        name = f"{name} {number // len(places) + 1}"
    return Clinic(
        id=f"{choose.getrandbits(128):032X}",
        name_id=f"{choose.getrandbits(128):032X}",
        code=f"ST{number + 1:04d}",
        name=name,
        org_unit=f"OU_{name.upper().replace(' ', '_')}",
        size=_SIZES[kind] * choose.lognormvariate(0, 0.3),
        # Mostly one place, as in the field; each of the others now and then.
        place={5: Place.NAME_PROPERTIES, 11: Place.NAME_CUSTOM_DATA}.get(number % 12, Place.SYNC_BUFFER),
        is_plain=number % 3 == 1,
    )


def unusual_clinics(first: Clinic, seed: int) -> list[Clinic]:
    """Return one store for each way in which a store can be out of the ordinary.

    Parameters
    ----------
    first
        The store whose org unit the first of these shares.
    """
    choose = random.Random(f"unusual clinics {seed}")  # noqa: S311 - sample data, which a seed must repeat

    def clinic(name: str, org_unit: str | None) -> Clinic:
        return Clinic(
            id=f"{choose.getrandbits(128):032X}",
            name_id=f"{choose.getrandbits(128):032X}",
            code="".join(word[0] for word in name.split()) + f"{choose.randrange(1000, 10000)}",
            name=name,
            org_unit=org_unit,
            size=choose.lognormvariate(0, 0.3),
        )

    in_properties = clinic("Lakeside Clinic", "OU_LAKESIDE_CLINIC")
    in_custom_data = clinic("Riverbend Clinic", "OU_RIVERBEND_CLINIC")
    broken = clinic("Old Harbour Clinic", "OU_OLD_HARBOUR_CLINIC")
    return [
        # Two stores on one org unit.
        clinic(f"{first.name} Dispensary", first.org_unit),
        # The code stands elsewhere; the look-back is the store's preference, or a custom field where that is 0.
        replace(in_properties, place=Place.NAME_PROPERTIES, is_plain=True, look_back_months=6.0),
        replace(
            in_custom_data,
            place=Place.NAME_CUSTOM_DATA,
            look_back_months=0.0,
            other_fields=(("monthlyConsumptionLookBackPeriod", {"data": "2"}),),
        ),
        # The record that was synchronised cannot be read, so the next place counts.
        replace(broken, place=Place.NAME_PROPERTIES, is_broken=True),
        # Mapped, but closed.
        replace(clinic("Upper Valley Health Post", "OU_UPPER_VALLEY_HEALTH_POST"), is_disabled=True),
        # Open, but not mapped.
        clinic("Market Street Clinic", None),
        # Mapped, and nothing ever happened there.
        replace(clinic("New Bridge Health Centre", "OU_NEW_BRIDGE_HEALTH_CENTRE"), has_stock=False),
    ]
