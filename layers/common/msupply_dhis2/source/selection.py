"""Choosing which stores and items are sent, and saying why not; the same for every kind of mSupply database."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from operator import attrgetter

from msupply_dhis2.domain.lookalikes import LookAlikes, difference
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import ConsumptionPreferences, Item, Store
from msupply_dhis2.errors import SourceError
from msupply_dhis2.source.base import Catalogue, Kind, LeftOut
from msupply_dhis2.source.fields import (
    UNIVERSAL_CODE,
    USER_FIELDS,
    field_text,
    first_value,
    is_ticked,
    look_back_months,
    read_object,
)
from msupply_dhis2.text import listed

LOOK_BACK_FIELD = "monthlyConsumptionLookBackPeriod"
"""The custom field of stores that holds the look-back for average monthly consumption, in months."""

_by_code = attrgetter("code", "id")


@dataclass(slots=True)
class _Selection[Thing: (Store, Item)]:
    """Chooses what is sent, and notes what is not and why."""

    sent: list[Thing] = field(default_factory=list, init=False)
    left_out: list[LeftOut] = field(default_factory=list, init=False)
    other_fields: set[str] = field(default_factory=set, init=False)
    """Fields with a value, of stores or items that have none in the fields that are asked for."""
    broken: list[str] = field(default_factory=list, init=False)

    def read(self, value: object, code: str) -> Mapping[str, object]:
        """Read an object of JSON with fields (see ``read_object``); broken JSON has none."""
        read = read_object(value)
        if read is None:
            self.broken.append(code)
            return {}
        return read


@dataclass(slots=True)
class StoreSelection(_Selection[Store]):
    """Chooses the stores with a value in the store field, unless there is a reason against them."""

    store_field: str
    unreadable_look_backs: list[str] = field(default_factory=list, init=False)

    def add(
        self,
        *,
        store_id: str,
        code: str,
        name: str,
        places: Sequence[Mapping[str, object]],
        look_back: object = None,
        why_not: str | None = None,
    ) -> None:
        """Take a store up, or note why not.

        Parameters
        ----------
        places
            Where custom fields are kept: the first in which a field is not blank decides.
        look_back
            What goes before the look-back of the custom fields.
        why_not
            What is against sending it, to be told where it has a value in the store field.
        """
        org_unit = field_text(first_value(places, self.store_field))
        if org_unit is None:
            self.other_fields.update(*places)
            return
        if why_not is not None:
            self.left_out.append(LeftOut(Kind.STORE, code, name, why_not))
            return
        months = self._look_back(code, look_back, first_value(places, LOOK_BACK_FIELD))
        self.sent.append(Store(store_id, code, name, org_unit, months))

    def _look_back(self, code: str, *values: object) -> Fraction | None:
        for value in values:
            try:
                months = look_back_months(value)
            except ValueError:
                self.unreadable_look_backs.append(code)
                continue
            if months is not None:
                return months
        return None

    def check(self) -> None:
        """Raise ``SourceError`` where none is sent."""
        if self.sent:
            return
        if self.left_out:
            reasons = " or ".join(dict.fromkeys(each.reason for each in self.left_out))
            raise SourceError(
                f"None of the {len(self.left_out):,} stores with a value in the custom field '{self.store_field}' "
                f"(Store field reference) can be sent: {reasons}. In mSupply, enable the stores that are to be sent, "
                "and fill the field in there."
            )
        raise SourceError(
            f"No store in mSupply has a value in the custom field '{self.store_field}' (Store field reference)."
            f"{_alike(self.store_field, self.other_fields)} "
            "In mSupply, open each store that is to be sent and fill in this custom field with the code or UID "
            "of its org unit in DHIS2; it must be spelt exactly so."
        )

    def warnings(self) -> Iterator[str]:
        """Yield what could not be read."""
        if self.broken:
            yield (
                f"Custom fields that cannot be read (broken JSON) count as empty, in stores "
                f"{listed(tuple(dict.fromkeys(self.broken)))}."
            )
        if self.unreadable_look_backs:
            yield (
                f"The look-back for average monthly consumption cannot be read and counts as absent, in stores "
                f"{listed(self.unreadable_look_backs)}. Enter a number of months in mSupply."
            )


@dataclass(slots=True)
class ItemSelection(_Selection[Item]):
    """Chooses the items that are included and have a value in one of the fields, unless there is a reason against them.

    Parameters
    ----------
    include_field
        The user field or key of the custom data that is ticked on the items to send; ``None``: all are.
    broken_place
        Where items keep what may be broken, in mSupply's words.
    """

    fields: tuple[str, ...]
    include_field: str | None
    broken_place: str
    without_reference: int = field(default=0, init=False)
    not_included: int = field(default=0, init=False)

    def add(
        self,
        *,
        item_id: str,
        code: str,
        name: str,
        universal_code: object,
        places: Sequence[Mapping[str, object]],
        why_not: str | None = None,
    ) -> None:
        """Take an item up, or note why not.

        Parameters
        ----------
        places
            Where its fields are kept (see ``item_fields``): the first in which a field has a value decides.
        why_not
            What is against sending it, to be told where it has a value and is included.
        """
        texts = {
            each: field_text(universal_code if each == UNIVERSAL_CODE else first_value(places, each))
            for each in self.fields
        }
        fields = {each: text for each, text in texts.items() if text is not None}
        included = self.include_field is None or is_ticked(first_value(places, self.include_field))
        if not fields:
            self.other_fields.update(*places)
            self.without_reference += included and why_not is None
        elif not included:
            self.not_included += 1
        elif why_not is not None:
            self.left_out.append(LeftOut(Kind.ITEM, code, name, why_not))
        else:
            self.sent.append(Item(item_id, code, name, fields))

    def check(self) -> None:
        """Raise ``SourceError`` where none is sent."""
        if self.sent:
            return
        fields = " or ".join(described(each) for each in self.fields)
        if self.left_out or self.not_included:
            ticked = f"; {self.not_included:,} lack the tick of {self.include_field}" * bool(
                self.not_included
            )
            inactive = f"; {len(self.left_out):,} are inactive or not of type stock" * bool(self.left_out)
            raise SourceError(
                f"No item in mSupply with a value in {fields} can be sent{ticked}{inactive}. In mSupply, correct "
                "the items that are to be sent."
            )
        alike = "".join(_alike(each, self.other_fields) for each in self.fields)
        raise SourceError(
            f"No item in mSupply has a value in {fields}.{alike} In mSupply, open each item that is to be sent and fill "
            "it in with the item's identifier in DHIS2, or name another field in the settings (Item field "
            "reference; with different data elements per item the custom field names)."
        )

    def warnings(self) -> Iterator[str]:
        """Yield what could not be read."""
        if self.broken:
            yield (
                f"{self.broken_place} cannot be read, so these items have no user fields or no custom data: "
                f"{listed(tuple(dict.fromkeys(self.broken)))}."
            )


def _alike(asked: str, known: Collection[str]) -> str:
    """Name the field that looks like one that is asked for, to follow a sentence."""
    alike = LookAlikes(sorted(known)).to(asked)
    if alike is None:
        return ""
    return f" There is a field '{alike}' that looks like it. {difference(asked, alike, here='the settings', there='mSupply')}"


def described(field_name: str) -> str:
    """Name a field of items as mSupply does."""
    if field_name == UNIVERSAL_CODE:
        return "the universal code"
    if field_name in USER_FIELDS:
        return field_name.replace("_", " ")
    return f"'{field_name}' of the custom data"


def to_catalogue(
    stores: StoreSelection,
    items: ItemSelection,
    preferences: ConsumptionPreferences,
    warnings: Sequence[str],
    missing_metrics: frozenset[Metric] = frozenset(),
) -> Catalogue:
    """Return what was chosen, by code; raise ``SourceError`` where no store or no item is sent."""
    stores.check()
    items.check()
    return Catalogue(
        stores=tuple(sorted(stores.sent, key=_by_code)),
        items=tuple(sorted(items.sent, key=_by_code)),
        items_without_reference=items.without_reference,
        items_not_included=items.not_included,
        preferences=preferences,
        left_out=(*stores.left_out, *items.left_out),
        warnings=(*stores.warnings(), *items.warnings(), *warnings),
        missing_metrics=missing_metrics,
    )
