"""What a run is about: the org units and items that are mapped, and those of them that were asked for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from msupply_dhis2.compute.event import ComputeEvent
from msupply_dhis2.domain.data_value import Identifier
from msupply_dhis2.domain.reading import folded
from msupply_dhis2.domain.stock import ItemGroup, OrgUnit, Store
from msupply_dhis2.errors import EventError, SourceError
from msupply_dhis2.mapping import Claimant, Unmapped, collisions, group_items, group_stores
from msupply_dhis2.metrics import Rules
from msupply_dhis2.settings import DataElementRow, Settings
from msupply_dhis2.source import Catalogue, Kind, Scope, Skipped, Source
from msupply_dhis2.source.customers import customers_of
from msupply_dhis2.text import all_of, closest, joined, listed

EXAMPLES = 3
"""How many of what cannot be sent an error names."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """Which stores and items of mSupply have identifiers for DHIS2, and which have none that can be sent."""

    catalogue: Catalogue
    org_units: tuple[OrgUnit, ...]
    item_groups: tuple[ItemGroup, ...]
    unmapped: tuple[Unmapped, ...]
    unmapped_stores: int
    """How many of the unmapped are stores, or customers."""
    customers: tuple[Store, ...] = ()
    """Those with an org unit, whether it can be sent or not."""

    @property
    def codes(self) -> frozenset[str]:
        """The codes of all org units, also of those that a run is not about."""
        return frozenset(org_unit.code for org_unit in self.org_units)

    @property
    def skipped_stores(self) -> int:
        """How many of what is skipped or blank are stores, or customers that are skipped."""
        unfit = sum(each.kind is not Kind.ITEM for each in self.catalogue.skipped)
        return unfit + self.unmapped_stores + len(self.catalogue.blank(Kind.STORE))

    @property
    def skipped(self) -> tuple[str, ...]:
        """What is not sent and why, a sentence each."""
        return (
            *(f"{each.kind} {each.name}: {each.reason}" for each in self.catalogue.skipped),
            *(f"{subject.subject}: {subject.reason}" for subject in self.unmapped),
        )

    @property
    def blank(self) -> tuple[str, ...]:
        """Name the active stores and the items that are not sent for want of a value only, a sentence each."""
        return tuple(
            f"{each.kind} {each.named}: {each.reason}"
            for kind in (Kind.STORE, Kind.ITEM)
            for each in self.catalogue.blank(kind)
        )

    def notes(self, settings: Settings, *, named: bool = True) -> Iterator[str]:
        """Yield what is no fault and worth knowing of what is sent and what is not, with the first names or without."""
        catalogue = self.catalogue
        items = sum(len(group.items) for group in self.item_groups)
        if settings.include_field is None:
            ticks = listed(
                [f"{name} ({number:,} ticked)" for name, number in sorted(catalogue.ticks.items())]
            )
            yield (
                "Include in DHIS2 data push (include_field) is not set: "
                f"{all_of(items, 'item with an identifier is', 'items with an identifier are')} sent.{ticks and f' Fields that look like its checkbox: {ticks}.'}"
            )
        elif catalogue.items_not_included:
            yield f"Items that are not ticked in {settings.include_field} and not sent: {catalogue.items_not_included:,}."
        fields = {
            "Active stores": [settings.store_field_reference],
            "Items": settings.item_fields,
            "Customers": [str(settings.customer_field)],
        }
        for kind, (what, asked) in zip(Kind, fields.items(), strict=True):
            if blank := catalogue.blank(kind):
                names = f", namely {listed([each.named for each in blank])}" if named else ""
                yield (
                    f"{what} without a value in {' or '.join(asked)}, which are not sent: {len(blank):,}"
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

    def not_sent(self, *kinds: Kind) -> tuple[Skipped, ...]:
        """Return all stores, items or customers that are not sent."""
        catalogue = self.catalogue
        skipped = [each for each in (*catalogue.skipped, *catalogue.not_meant) if each.kind in kinds]
        reasons = {subject.subject: subject.reason for subject in self.unmapped}
        chosen = catalogue.items if Kind.ITEM in kinds else catalogue.stores + self.customers
        skipped += [
            Skipped(kinds[0], it.code, it.name, reasons[it.name]) for it in chosen if it.name in reasons
        ]
        return tuple(skipped)


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
    org_units, unmapped_stores = group_stores(catalogue.stores, settings)
    item_groups, unmapped_items = group_items(catalogue.items, rows, settings)
    _require_any("store", org_units, unmapped_stores)
    _require_any("item", item_groups, unmapped_items)
    mapped = Mapped(
        catalogue, org_units, item_groups, (*unmapped_stores, *unmapped_items), len(unmapped_stores)
    )
    return mapped if settings.customer_field is None else _with_customers(mapped, source, settings)


def _with_customers(mapped: Mapped, source: Source, settings: Settings) -> Mapped:
    """Add the customers; of those whose org unit a store has, the store is sent."""
    customers, blank, warnings = customers_of(source).choose(str(settings.customer_field))
    org_units, unmapped = group_stores(customers, settings, settings.customer_field)
    of_stores = {org_unit.code: org_unit.stores[0].name for org_unit in mapped.org_units}
    skipped = [
        Skipped(
            Kind.CUSTOMER,
            each.code,
            each.name,
            f"its org unit {each.org_unit} is that of the store {of_stores[each.org_unit]}, which is sent",
        )
        for each in customers
        if each.org_unit in of_stores
    ]
    catalogue = mapped.catalogue
    return replace(
        mapped,
        catalogue=replace(
            catalogue,
            skipped=(*catalogue.skipped, *skipped),
            not_meant=(*catalogue.not_meant, *blank),
            warnings=(*catalogue.warnings, *warnings),
        ),
        org_units=(*mapped.org_units, *(each for each in org_units if each.code not in of_stores)),
        unmapped=(*mapped.unmapped, *unmapped),
        unmapped_stores=mapped.unmapped_stores + len(unmapped),
        customers=customers,
    )


def make_run_plan(
    event: ComputeEvent, settings: Settings, mapped: Mapped, only: Sequence[str] | None = None
) -> RunPlan:
    """Return what of all that is mapped a run is about; ``only``: a shard's org units.

    An EventError says that the event limits the run to a store or item that is not sent.
    """
    catalogue, org_units = mapped.catalogue, mapped.org_units
    # All of them: an item that only another run sends may claim what this one is about to send.
    item_groups, _ = group_items(catalogue.items, settings.active_rows, settings)
    colliding = collisions(item_groups, settings)
    if only is None:
        org_units = _limit_org_units(org_units, event.stores, mapped)
    else:
        codes = frozenset(only)
        org_units = tuple(org_unit for org_unit in org_units if org_unit.code in codes)
    rules = Rules(settings.expiring_within_days, settings.include_returns, catalogue.preferences)
    item_groups = _limit_items(item_groups, event.items, colliding, mapped)
    of_stores, of_customers = [
        Scope(tuple(org_unit for org_unit in org_units if org_unit.kind is kind), item_groups)
        for kind in (Kind.STORE, Kind.CUSTOMER)
    ]
    return RunPlan(mapped, of_stores, of_customers, rules, colliding)


def _require_any(what: str, mapped: Sequence[object], unmapped: Sequence[Unmapped]) -> None:
    if mapped:
        return
    examples = " ".join(f"{subject.subject}: {subject.reason}" for subject in unmapped[:EXAMPLES])
    raise SourceError(
        f"No {what} of mSupply has an identifier that can be sent. {examples}".strip()
        if examples
        else f"No {what} of mSupply has a value in the fields that the active rows of this run ask for. Fill them "
        "in in mSupply, or correct 'Data elements to push'."
    )


def _limit_org_units(
    org_units: tuple[OrgUnit, ...], wanted: Sequence[str] | None, mapped: Mapped
) -> tuple[OrgUnit, ...]:
    """Keep the org units that hold a wanted store (by code, name, id or org unit)."""
    names = {
        org_unit: {
            name for store in org_unit.stores for name in (store.code, store.name, store.id, store.org_unit)
        }
        for org_unit in org_units
    }
    return _limited("stores", names, wanted, mapped.not_sent(Kind.STORE, Kind.CUSTOMER))


def _limit_items(
    groups: tuple[ItemGroup, ...],
    wanted: Sequence[str] | None,
    colliding: Mapping[Identifier, tuple[Claimant, ...]],
    mapped: Mapped,
) -> tuple[ItemGroup, ...]:
    """Keep the item groups that hold a wanted item (by code, name, id or reference), and all that claim the same.

    Whether both are in one org unit is seen only there.
    """
    names = {index: names_of(group) for index, group in enumerate(groups)}
    asked = _limited("items", names, wanted, mapped.not_sent(Kind.ITEM))
    kept = {id(groups[index]) for index in asked}
    for claims in colliding.values():
        if any(id(claim.group) in kept for claim in claims):
            kept |= {id(claim.group) for claim in claims}
    return tuple(group for group in groups if id(group) in kept)


def names_of(group: ItemGroup) -> set[str]:
    """Return the names by which an item group is asked for: its items' codes, names, ids and references."""
    return {name for item in group.items for name in (item.code, item.name, item.id, *item.fields.values())}


def _limited[T](
    what: str, names: dict[T, set[str]], wanted: Sequence[str] | None, not_sent: Sequence[Skipped]
) -> tuple[T, ...]:
    if wanted is None:
        return tuple(names)
    known = {folded(name): name for its_names in names.values() for name in its_names}
    unknown = [name for name in wanted if folded(name) not in known]
    if unknown:
        raise EventError(
            "\n".join(
                f"{what}: {_why_not(name, not_sent) or _instead(what, name, known)}" for name in unknown
            )
        )
    asked = {folded(name) for name in wanted}
    return tuple(thing for thing, its_names in names.items() if asked & set(map(folded, its_names)))


def _why_not(name: str, not_sent: Sequence[Skipped]) -> str:
    """Say why what has exactly this code or name is not sent; nothing where mSupply has no such thing."""
    return " ".join(
        f"The {each.kind} {each.named} is in mSupply, but it is not sent: {each.reason.removesuffix('.')}."
        for each in not_sent
        if folded(name) in (folded(each.code), folded(each.name))
    )


def _instead(what: str, name: str, known: Mapping[str, str]) -> str:
    unknown = f"'{name}' is not among the {what} that are sent."
    among = sorted(known)
    near = closest(folded(name), among) or next((whole for whole in among if folded(name) in whole), None)
    if near is not None:
        return f"{unknown} Did you mean '{known[near]}'?"
    return f"{unknown} Write its code, or its whole name, as mSupply has it."
