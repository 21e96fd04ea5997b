"""What is new, the same or different in DHIS2, and what is sent there."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cli.announcement import about_charts
from cli.metadata.charts import Where, of_charts
from cli.metadata.combos import combo_uid, find_option_combos
from cli.metadata.comparing import PlannedObject, State, compare
from cli.metadata.existing import (
    AsksDhis2,
    Existing,
    Listed,
    OrgUnits,
    ServerFacts,
    list_existing,
    read_facts,
    read_org_units,
    read_owned,
)
from cli.metadata.names import NAME_LIMIT, SHORT_NAME_LIMIT, NameBook
from cli.metadata.objects import DEFAULT_COMBO, Brief, cells_of, of_access, of_values, rows_with_combos
from cli.metadata.shape import Shape
from cli.metadata.wanted import (
    KINDS,
    OF_CATEGORIES,
    WITHOUT_SHORT_NAME,
    Body,
    Wanted,
    with_identifiers,
)
from msupply_dhis2.errors import ConfigurationError
from msupply_dhis2.text import count, joined

_DATA_WRITE = 3
"""The place of data write in an access such as ``rwrw----``."""

_SAME_NAMES = {"sections", "categoryOptionCombos"}
"""The kinds of which several may have one name: in another data set, in another category combo."""

_NUMERIC = {"NUMBER", "INTEGER", "INTEGER_ZERO_OR_POSITIVE", "INTEGER_POSITIVE", "INTEGER_NEGATIVE"}
_NUMERIC |= {"PERCENTAGE", "UNIT_INTERVAL", "BOOLEAN"}


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is wanted, and what there is to say of it."""

    brief: Brief
    objects: tuple[PlannedObject, ...]
    problems: tuple[str, ...] = ()
    obsolete: tuple[Listed, ...] = ()
    org_units: OrgUnits | None = None
    facts: ServerFacts | None = None

    def counts(self) -> Counter[State]:
        """Count the objects by how they stand."""
        return Counter(each.state for each in self.objects)

    def of(self, kinds: Iterable[str]) -> dict[str, list[Body]]:
        """Return what is sent of some kinds."""
        wanted = tuple(kinds)
        sent: dict[str, list[Body]] = {
            kind: [each.sent for each in self.objects if each.wanted.kind == kind and each.sent is not None]
            for kind in wanted
        }
        return {kind: bodies for kind, bodies in sent.items() if bodies}

    def total(self) -> str:
        """Return how much is wanted, in a sentence."""
        subjects = self.brief.subjects
        kinds = Counter(each.wanted.kind for each in self.objects)
        return (
            f"{count(len(subjects.items), 'item')} x {count(len(self.brief.settings.active_rows), 'metric')} in "
            f"{count(len(subjects.org_units), 'org unit')}: {count(kinds['dataElements'], 'data element')}, "
            f"{count(kinds['indicators'], 'indicator')}, {count(kinds['visualizations'] + kinds['maps'], 'chart and map', 'charts and maps')}, "
            f"{count(len(self.objects), 'object')} in all."
        )

    @property
    def said(self) -> str:
        """How the objects stand to what DHIS2 has."""
        if self.facts is None:
            return "DHIS2 was not asked (give --credentials): all counts as new, and the data set has no org units."
        server = self.facts.server
        counts = ", ".join(f"{number:,} {state}" for state, number in self.counts().items())
        return f"{server.name} (DHIS2 {server.version_text}): {counts}."

    def about_charts(self) -> Iterator[str]:
        """Yield what must be true of the server before its charts are."""
        if self.facts is None:
            return
        yield about_charts(self.facts.last_analytics)
        if not self.facts.zeros_in_analytics:
            yield (
                "The system setting for zeros in analytics is off on this server: charts leave out each store that has nothing, and "
                "show the stock before it ran out. It is for the whole server, so an import switches it on only if you ask for that (--server-settings zeros)."
            )
        if (missing := self.missing_period_types()) and self.facts.output_period_types is not None:
            yield (
                f"This server's list of output period types lacks {joined(missing)}: sums and averages of them show nothing. It is for "
                "the whole server, so an import adds them only if you ask for that (--server-settings periods)."
            )

    def missing_period_types(self) -> list[str]:
        """Return the period types that charts need and the server does not put out."""
        if self.facts is None or self.facts.output_period_types is None:
            return []
        needed = dict.fromkeys([self.brief.period_type, "Monthly", "Quarterly", "Yearly"])
        return [each for each in needed if each not in self.facts.output_period_types]


def make_plan(brief: Brief, client: AsksDhis2 | None = None, *, update: bool = False) -> Plan:
    """Return what is wanted, compared with what DHIS2 has where it is asked.

    ``update``: what DHIS2 has otherwise is changed, and not only told.

    Raises
    ------
    ConfigurationError
        The data set is there, and can never hold these values.
    """
    cells = cells_of(brief)
    wanted = [*of_access(brief), *of_values(brief, cells), *of_charts(brief, cells)]
    problems = [*cells.too_long]
    if brief.shape is Shape.ITEMS:
        problems += brief.subjects.shared_references()
    if client is None:
        return _compared(brief, wanted, Existing(), problems, {}, update=update)
    facts = read_facts(client)
    existing = list_existing(client, wanted)
    _read_matches(client, existing, wanted)
    taken = _taken(brief, existing, wanted, problems)
    others: dict[str, str] = {}
    if brief.shape is Shape.COMBOS:
        others = find_option_combos(brief, client, existing, wanted, problems)
        taken |= {row for row in rows_with_combos(brief.settings) if others and combo_uid(row) not in others}
    scheme = brief.settings.org_unit_scheme
    org_units = read_org_units(client, brief.subjects.stores, brief.subjects.blank_stores, scheme)
    cells = cells_of(brief, taken)
    wanted = [
        *of_access(brief),
        *of_values(brief, cells),
        *of_charts(brief, cells, Where(org_units.level, org_units.centre)),
    ]
    if others:
        wanted = [each for each in wanted if each.kind not in OF_CATEGORIES]
    wanted = [_with_org_units(each, [unit.id for unit in org_units.found.values()]) for each in wanted]
    problems += [
        f"{store.kind.capitalize()} {store.name} ({store.code}): DHIS2 has no org unit {store.org_unit}, or you may not see it. "
        "Correct it in mSupply, or make it in DHIS2."
        for store in org_units.missing
    ]
    plan = _compared(brief, wanted, existing, problems, others, update=update)
    return replace(plan, org_units=org_units, facts=facts)


def _read_matches(client: AsksDhis2, existing: Existing, wanted: Sequence[Wanted]) -> None:
    matched: dict[str, list[str]] = {}
    for (kind, _), there in existing.index(wanted).items():
        matched.setdefault(kind, []).append(there.id)
    read_owned(client, existing, matched)


def _taken(brief: Brief, existing: Existing, wanted: Sequence[Wanted], problems: list[str]) -> set[str]:
    """Return the codes of data elements that are something else in DHIS2; insist that the data set fits."""
    taken = set()
    there = existing.index(wanted)
    for each in wanted:
        found = there.get((each.kind, each.key))
        owned = existing.owned.get((each.kind, found.id)) if found else None
        if owned is None:
            continue
        if each.kind == "dataSets":
            _insist_on_data_set(brief, owned, existing.default_combo)
            public = str((owned.get("sharing") or {}).get("public"))
            if brief.access and public[_DATA_WRITE : _DATA_WRITE + 1] == "w":
                problems.append(
                    f"Everybody may enter data into the data set {owned['name']} in DHIS2 (public access {public}), and so type over these "
                    "values. Take that away in DHIS2 (Sharing of the data set). It is not changed here."
                )
        if each.kind == "dataElements" and (why := _is_something_else(brief, owned, existing.default_combo)):
            taken.add(each.key)
            problems.append(
                f"The code {each.key} belongs to another kind of data element in DHIS2 ({owned['name']}, {owned['id']}): {why}. "
                "It is left as it is, and left out here. Change its code in DHIS2, or the prefix or the identifier of the item."
            )
    return taken


def _is_something_else(brief: Brief, owned: Body, default_combo: str | None) -> str | None:
    """Return why a data element of DHIS2 cannot hold these values."""
    if owned.get("domainType") != "AGGREGATE":
        return f"its domain type is {owned.get('domainType')}"
    if owned.get("valueType") not in _NUMERIC:
        return f"its value type is {owned.get('valueType')}"
    if owned.get("optionSet"):
        return "it has an option set"
    combo = (owned.get("categoryCombo") or {}).get("id")
    if brief.shape is Shape.ITEMS and default_combo and combo not in {None, default_combo}:
        return "it has a category combo of its own"
    if brief.shape is Shape.COMBOS and combo in {None, default_combo}:
        return "it has no category combo for the metrics"
    return None


def _insist_on_data_set(brief: Brief, owned: Body, default_combo: str | None) -> None:
    if owned.get("periodType") != brief.period_type:
        raise ConfigurationError(
            f"The data set {brief.data_set} in DHIS2 has the period type {owned.get('periodType')}, and Period format "
            f"{brief.settings.period_format} is {brief.period_type}. Correct period_format, or name another data_set_id; a new one is made."
        )
    combo = (owned.get("categoryCombo") or {}).get("id")
    if default_combo and combo not in {None, default_combo}:
        raise ConfigurationError(
            f"The data set {brief.data_set} in DHIS2 has a category combo (attribute option combos), and values of this shape have "
            "none. Name another data_set_id; a new one is made."
        )


def _without_default(wanted: Iterable[Wanted]) -> list[Wanted]:
    """Leave the default category combo out: DHIS2 takes its own where none is named."""
    return [
        replace(each, body={key: value for key, value in each.body.items() if value != DEFAULT_COMBO})
        for each in wanted
    ]


def _with_org_units(wanted: Wanted, org_units: Sequence[str]) -> Wanted:
    if wanted.kind != "dataSets":
        return wanted
    return replace(wanted, body={**wanted.body, "organisationUnits": [{"id": each} for each in org_units]})


def _compared(
    brief: Brief,
    wanted: list[Wanted],
    existing: Existing,
    problems: Sequence[str],
    identifiers: Mapping[str, str],
    *,
    update: bool,
) -> Plan:
    there = existing.index(wanted)
    others = {each.own_id: each.id for each in wanted if each.own_id != each.id}
    others |= identifiers
    others |= {
        each.own_id: there[each.kind, each.key].id for each in wanted if (each.kind, each.key) in there
    }
    if existing.default_combo:
        others[DEFAULT_COMBO["id"]] = existing.default_combo
    else:
        wanted = _without_default(wanted)
    named = _named(with_identifiers(wanted, others), existing)
    objects = tuple(
        compare(each, existing.owned.get((each.kind, each.id)), update=update, access=brief.access)
        for each in named
    )
    return Plan(
        brief, tuple(_with_all_combos(objects, existing)), tuple(problems), tuple(_obsolete(named, existing))
    )


def _with_all_combos(objects: Sequence[PlannedObject], existing: Existing) -> Iterator[PlannedObject]:
    """Send the category combo with all its option combos as they are where one more comes: 2.43 refuses a part of them."""
    together = {"categoryCombos", "categoryOptionCombos"}
    is_new = {each.wanted.kind for each in objects if each.state is State.NEW}
    for each in objects:
        owned = existing.owned.get((each.wanted.kind, each.wanted.id))
        if "categoryOptionCombos" in is_new and each.wanted.kind in together and each.sent is None:
            yield replace(each, sent=owned)
        else:
            yield each


def _named(wanted: Iterable[Wanted], existing: Existing) -> list[Wanted]:
    """Give each object names that fit, and that nothing else has here or in DHIS2."""
    books: dict[tuple[str, str], NameBook] = {}
    for kind in KINDS:
        there = existing.listed.get(kind, ())
        books[kind, "name"] = NameBook({each.name: each.id for each in there})
        books[kind, "shortName"] = NameBook({each.short_name: each.id for each in there if each.short_name})
    named = []
    for each in wanted:
        body = dict(each.body)
        tag = each.tag or each.key
        if each.kind not in _SAME_NAMES:
            body["name"] = books[each.kind, "name"].enter(each.name, tag, NAME_LIMIT, each.id)
        if each.kind not in WITHOUT_SHORT_NAME:
            short = str(body["shortName"])
            body["shortName"] = books[each.kind, "shortName"].enter(short, tag, SHORT_NAME_LIMIT, each.id)
        named.append(replace(each, body=body))
    return named


def _obsolete(wanted: Iterable[Wanted], existing: Existing) -> Iterator[Listed]:
    """Yield the data elements of the group that are wanted no more."""
    mine = {each.id for each in wanted if each.kind == "dataElements"}
    groups = [each for each in wanted if each.kind == "dataElementGroups"]
    names = {each.id: each for each in existing.listed.get("dataElements", ())}
    for group in groups:
        owned = existing.owned.get((group.kind, group.id), {})
        for member in owned.get("dataElements", []):
            if member["id"] not in mine:
                yield names.get(member["id"], Listed(member["id"], None, member["id"]))
