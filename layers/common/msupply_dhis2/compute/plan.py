"""What a run is about: the org units and items that are mapped, and those of them that were asked for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from msupply_dhis2.compute.event import ComputeEvent
from msupply_dhis2.domain.data_value import Identifier
from msupply_dhis2.domain.reading import folded
from msupply_dhis2.domain.stock import ItemGroup, Kind, OrgUnit, Skipped
from msupply_dhis2.errors import EventError, SourceError
from msupply_dhis2.mapping import Claimant, collisions, group_items, group_stores
from msupply_dhis2.metrics.calculate import Rules
from msupply_dhis2.settings import DataElementRow, Settings
from msupply_dhis2.source.base import Catalogue, Source
from msupply_dhis2.source.customers import customers_of
from msupply_dhis2.source.queries import Scope
from msupply_dhis2.text import all_of, closest, joined, listed

EXAMPLES = 3
"""How many of what cannot be sent an error names."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """The stores, customers and items of mSupply that have identifiers for DHIS2; the catalogue tells of all others."""

    catalogue: Catalogue
    org_units: tuple[OrgUnit, ...]
    item_groups: tuple[ItemGroup, ...]

    @property
    def codes(self) -> frozenset[str]:
        """The codes of all org units, also of those that a run is not about."""
        return frozenset(org_unit.code for org_unit in self.org_units)

    @property
    def skipped_stores(self) -> int:
        """How many of what is skipped or blank are stores, or customers that are skipped."""
        skipped = sum(each.kind is not Kind.ITEM for each in self.catalogue.skipped)
        return skipped + len(self.catalogue.blank(Kind.STORE))

    @property
    def skipped(self) -> tuple[str, ...]:
        """What is not sent and why, a sentence each."""
        return tuple(map(str, self.catalogue.skipped))

    @property
    def blank(self) -> tuple[str, ...]:
        """Name the active stores and the items that are not sent for want of a value only, a sentence each."""
        return tuple(map(str, self.catalogue.blank(Kind.STORE) + self.catalogue.blank(Kind.ITEM)))

    def notes(self, settings: Settings, *, named: bool = True) -> Iterator[str]:
        """Yield what is no fault and worth knowing of what is sent and what is not, with the first names or without."""
        catalogue = self.catalogue
        if settings.include_field is None:
            items = sum(len(group.items) for group in self.item_groups)
            ticks = [f"{name} ({number:,} ticked)" for name, number in sorted(catalogue.ticks.items())]
            yield (
                "Include in DHIS2 data push (include_field) is not set: "
                f"{all_of(items, 'item with an identifier is', 'items with an identifier are')} sent."
                f"{f' Fields that look like its checkbox: {listed(ticks)}.' if ticks else ''}"
            )
        elif catalogue.items_not_included:
            yield f"Items that are not ticked in {settings.include_field} and not sent: {catalogue.items_not_included:,}."
        for kind, what, fields in (
            (Kind.STORE, "Active stores", [settings.store_field_reference]),
            (Kind.ITEM, "Items", settings.item_fields),
            (Kind.CUSTOMER, "Customers", [str(settings.customer_field)]),
        ):
            if blank := catalogue.blank(kind):
                names = f", namely {listed([each.named for each in blank])}" if named else ""
                yield (
                    f"{what} without a value in {' or '.join(fields)}, which are not sent: {len(blank):,}"
                    f"{names}.{catalogue.hints.get(kind, '')}"
                )
        for kind in (Kind.STORE, Kind.CUSTOMER):
            shared = [
                f"{joined(f'{store.name} ({store.code})' for store in org_unit.stores)} share {org_unit.code}"
                for org_unit in self.org_units
                if len(org_unit.stores) > 1 and org_unit.kind is kind
            ]
            if shared:
                yield f"{kind.capitalize()}s that share an org unit count as one: {listed(shared, by='; ')}."

    def warnings(self, settings: Settings) -> tuple[str, ...]:
        """Return what a run tells of stores, items and settings."""
        return (*self.notes(settings), *settings.warnings(), *self.catalogue.warnings)


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What of all that is ``mapped`` a run is about, read before the first movement; the same for all its steps.

    ``customers`` is what is read of the reports of customers: the same items as in ``scope``, in other org units.
    """

    mapped: Mapped
    scope: Scope
    customers: Scope
    rules: Rules
    collisions: Mapping[Identifier, tuple[Claimant, ...]]

    @property
    def org_units(self) -> tuple[OrgUnit, ...]:
        """Those of stores, then those of customers."""
        return self.scope.org_units + self.customers.org_units


def read_mapped(source: Source, settings: Settings, rows: Sequence[DataElementRow]) -> Mapped:
    """Read which stores and items are mapped, for these rows of the settings; a SourceError where none is."""
    catalogue = source.catalogue(
        store_field=settings.store_field_reference,
        item_fields=settings.item_fields,
        include_field=settings.include_field,
    )
    org_units, skipped_stores = group_stores(catalogue.stores, settings)
    item_groups, skipped_items = group_items(catalogue.items, rows, settings)
    for kind, mapped, skipped in (("store", org_units, skipped_stores), ("item", item_groups, skipped_items)):
        if not mapped:
            raise SourceError(
                f"No {kind} of mSupply has an identifier that can be sent. {' '.join(map(str, skipped[:EXAMPLES]))}"
                if skipped
                else f"No {kind} of mSupply has a value in the fields that the active rows of this run ask for. Fill them "
                "in in mSupply, or correct 'Data elements to push'."
            )
    catalogue = replace(catalogue, skipped=(*catalogue.skipped, *skipped_stores, *skipped_items))
    all_mapped = Mapped(catalogue, org_units, item_groups)
    return all_mapped if settings.customer_field is None else _with_customers(all_mapped, source, settings)


def _with_customers(mapped: Mapped, source: Source, settings: Settings) -> Mapped:
    """Add the customers; of those whose org unit a store has, the store is sent."""
    customers, blank, warnings = customers_of(source).choose(str(settings.customer_field))
    of_stores = {org_unit.code: org_unit.stores[0].name for org_unit in mapped.org_units}
    skipped = []
    for each in customers:
        if (store := of_stores.get(each.org_unit)) is not None:
            reason = f"its org unit {each.org_unit} is that of the store {store}, which is sent"
            skipped.append(Skipped(Kind.CUSTOMER, each.code, each.name, reason))
    others = [each for each in customers if each.org_unit not in of_stores]
    org_units, no_identifiers = group_stores(others, settings, settings.customer_field)
    catalogue = replace(
        mapped.catalogue,
        skipped=(*mapped.catalogue.skipped, *skipped, *no_identifiers),
        not_meant=(*mapped.catalogue.not_meant, *blank),
        warnings=(*mapped.catalogue.warnings, *warnings),
    )
    return replace(mapped, catalogue=catalogue, org_units=(*mapped.org_units, *org_units))


def make_run_plan(
    event: ComputeEvent, settings: Settings, mapped: Mapped, only: Sequence[str] | None = None
) -> RunPlan:
    """Return what of all that is mapped a run is about; ``only``: a shard's org units.

    An EventError says that the event limits the run to a store or item that is not sent.
    """
    catalogue = mapped.catalogue
    # All of them: an item that only another run sends may claim what this one is about to send.
    item_groups, _ = group_items(catalogue.items, settings.active_rows, settings)
    colliding = collisions(item_groups, settings)
    if only is None:
        org_units = _limited("stores", mapped.org_units, event.stores, catalogue)
    else:
        codes = frozenset(only)
        org_units = [org_unit for org_unit in mapped.org_units if org_unit.code in codes]
    kept = set(map(id, _limited("items", item_groups, event.items, catalogue)))
    # And all that claim the same: whether both are in one org unit is seen only there.
    for claims in colliding.values():
        if any(id(claim.group) in kept for claim in claims):
            kept |= {id(claim.group) for claim in claims}
    item_groups = tuple(group for group in item_groups if id(group) in kept)
    of_stores, of_customers = [
        Scope(tuple(org_unit for org_unit in org_units if org_unit.kind is kind), item_groups)
        for kind in (Kind.STORE, Kind.CUSTOMER)
    ]
    rules = Rules(settings.expiring_within_days, settings.include_returns, catalogue.preferences)
    return RunPlan(mapped, of_stores, of_customers, rules, colliding)


def names_of(thing: OrgUnit | ItemGroup) -> set[str]:
    """Return by what an org unit or item group is asked for: the codes, names and ids of what it holds, and its identifiers."""
    if isinstance(thing, OrgUnit):
        return {name for store in thing.stores for name in (store.code, store.name, store.id, store.org_unit)}
    return {name for item in thing.items for name in (item.code, item.name, item.id, *item.fields.values())}


def _limited[Thing: (OrgUnit, ItemGroup)](
    what: str, things: Sequence[Thing], wanted: Sequence[str] | None, catalogue: Catalogue
) -> Sequence[Thing]:
    """Return the org units, or the item groups, that have one of the wanted names; an EventError where none has it."""
    if wanted is None:
        return things
    named = [(thing, {folded(name): name for name in names_of(thing)}) for thing in things]
    known = {short: name for _, names in named for short, name in names.items()}
    if unknown := [name for name in wanted if folded(name) not in known]:
        every = (*catalogue.skipped, *catalogue.not_meant)
        not_sent = [each for each in every if (each.kind is Kind.ITEM) is (what == "items")]
        raise EventError("\n".join(f"{what}: {_why_not(what, name, not_sent, known)}" for name in unknown))
    asked = set(map(folded, wanted))
    return [thing for thing, names in named if asked & names.keys()]


def _why_not(what: str, name: str, not_sent: Sequence[Skipped], known: Mapping[str, str]) -> str:
    """Say why what has exactly this code or name is not sent; where mSupply has no such thing, what comes near."""
    short = folded(name)
    found = [
        f"The {each.kind} {each.named} is in mSupply, but it is not sent: {each.reason.removesuffix('.')}."
        for each in not_sent
        if short in (folded(each.code), folded(each.name))
    ]
    if found:
        return " ".join(found)
    unknown = f"'{name}' is not among the {what} that are sent."
    among = sorted(known)
    near = closest(short, among) or next((whole for whole in among if short in whole), None)
    if near is not None:
        return f"{unknown} Did you mean '{known[near]}'?"
    return f"{unknown} Write its code, or its whole name, as mSupply has it."
