"""The objects that hold the values: data elements, category option combos, the data set with its sections, groups and role."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

from cli.metadata.metrics import METRICS, title_of
from cli.metadata.names import CODE_LIMIT, fit_code, length
from cli.metadata.shape import DATA_SET, Shape
from cli.metadata.subjects import PlannedItem, Subjects
from cli.metadata.wanted import Body, Wanted, reference
from msupply_dhis2.domain.choices import Scheme
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.periods import Basis, find_period
from msupply_dhis2.settings import DataElementRow, Settings

PREFIX = "MSUPPLY_"
"""With which the code of all that is made begins, but for data elements, whose codes are what is sent."""

TITLE = "mSupply"
DEFAULT_COMBO = reference("categoryCombos", "default")
"""Stands for DHIS2's own default category combo until that is read."""

_TIMELY_DAYS = 15
_SHARED = frozenset({"dataSets", "categoryOptions"})
"""The kinds whose data, and not only whose properties, are shared."""


@dataclass(frozen=True, slots=True)
class Brief:
    """What is to be made: of whom, by which settings (``planned``), in which shape."""

    subjects: Subjects
    settings: Settings
    shape: Shape
    access: bool = False
    prefix: str = PREFIX

    def code(self, *parts: str) -> str:
        """Return the code of an object that only this command names."""
        return fit_code(self.prefix + "_".join(parts))

    @property
    def period_type(self) -> str:
        """The data set's period type."""
        return period_type_of(self.settings)

    @property
    def data_set(self) -> str:
        """The data set's code."""
        is_code = self.settings.data_set_id_scheme is Scheme.CODE
        return str(self.settings.data_set_id) if is_code else f"{self.prefix}STOCK"


@dataclass(frozen=True, slots=True)
class Cell:
    """What holds a metric of an item: a data element, and in the shape of combos an option combo."""

    item: PlannedItem
    metric: Metric
    element: str
    combo: str = ""

    @property
    def operand(self) -> str:
        """How an indicator's expression names it."""
        element = reference("dataElements", self.element)["id"]
        combo = f".{reference('categoryOptionCombos', self.combo)['id']}" if self.combo else ""
        return f"#{{{element}{combo}}}"


@dataclass(slots=True)
class Cells:
    """All that hold values, by item: the first row of a metric is the one that indicators read."""

    all: list[Cell] = field(default_factory=list)
    too_long: list[str] = field(default_factory=list)

    def by_item(self) -> Mapping[str, dict[Metric, Cell]]:
        """Return the cells of each item, by its reference."""
        found: dict[str, dict[Metric, Cell]] = defaultdict(dict)
        for cell in self.all:
            found[cell.item.reference].setdefault(cell.metric, cell)
        return found

    def elements(self) -> dict[str, Cell]:
        """Return one cell of each data element, by its code."""
        found: dict[str, Cell] = {}
        for cell in self.all:
            found.setdefault(cell.element, cell)
        return found


def period_type_of(settings: Settings) -> str:
    """Return the period type of DHIS2 whose labels the settings write."""
    label = settings.period.label(date(2026, 1, 15))
    period = find_period(label)
    return period.type_name if period else settings.period.text


def open_future_periods(settings: Settings) -> int:
    """Return how many periods beyond those that are over must be open: the current one, where it is written."""
    of_now = any(row.basis is Basis.CURRENT_DAY for row in settings.active_rows)
    return 1 if of_now or settings.period.longer_than_month else 0


def cells_of(brief: Brief, taken: Collection[str] = ()) -> Cells:
    """Return what holds the values, as a push will name it, without the data elements and option combos that cannot be used."""
    cells = Cells()
    seen: set[tuple[str, str]] = set()
    for item in brief.subjects.items:
        for row, of_row in zip(brief.settings.active_rows, item.references, strict=True):
            if of_row is None:
                continue
            element = f"{row.prefix}{of_row}"
            combo = str(row.category_option_id) if brief.shape is Shape.COMBOS else ""
            if length(element) > CODE_LIMIT:
                cells.too_long.append(
                    f"{item.name} ({item.code}): the code {element} has {length(element)} characters, and DHIS2 takes "
                    f"{CODE_LIMIT}. Shorten the identifier in mSupply, or the prefix of {row.metric.label}."
                )
            elif not {element, combo} & set(taken) and (element, combo) not in seen:
                seen.add((element, combo))
                cells.all.append(Cell(item, row.metric, element, combo))
    return cells


def shared(brief: Brief, kind: str) -> Body:
    """Return who may see and use an object: everybody sees it, or with an access file the two groups and nobody else."""
    data = kind in _SHARED
    if not brief.access:
        return {
            "public": "r-r-----" if data else "r-------",
            "external": False,
            "users": {},
            "userGroups": {},
        }
    groups = {
        reference("userGroups", brief.code("PUSH"))["id"]: "r-rw----" if data else "r-------",
        reference("userGroups", brief.code("VIEW"))["id"]: "r-r-----" if data else "r-------",
    }
    return {
        "public": "--------",
        "external": False,
        "users": {},
        "userGroups": {group: {"id": group, "access": access} for group, access in groups.items()},
    }


def of_access(brief: Brief) -> Iterator[Wanted]:
    """Yield the pushing user's role and the groups of those who push and those who look."""
    if not brief.access:
        return
    yield _named("userRoles", brief.code("ROLE_PUSH"), f"{TITLE} push", {"authorities": ["F_DATAVALUE_ADD"]})
    yield _named("userGroups", brief.code("PUSH"), f"{TITLE} push", {"users": []})
    yield _named("userGroups", brief.code("VIEW"), f"{TITLE} viewers", {"users": []})


def _named(kind: str, code: str, name: str, lists: Body) -> Wanted:
    body = {**reference(kind, code), "code": code, "name": name, **lists}
    return Wanted(kind, code, body, code, frozenset(lists) - {"authorities"})


def of_values(brief: Brief, cells: Cells) -> Iterator[Wanted]:
    """Yield data elements, what distinguishes metrics in the shape of combos, the data set, its sections and the group."""
    if brief.shape is Shape.COMBOS:
        yield from _categories(brief)
    elements = cells.elements()
    for code, cell in elements.items():
        yield _data_element(brief, code, cell)
    group = brief.code("DATA_ELEMENTS")
    members = [reference("dataElements", code) for code in elements]
    yield Wanted(
        "dataElementGroups",
        group,
        {
            **reference("dataElementGroups", group),
            "code": group,
            "name": f"{TITLE} stock",
            "shortName": f"{TITLE} stock",
            "dataElements": members,
            "sharing": shared(brief, "dataElementGroups"),
        },
        group,
        frozenset({"dataElements"}),
    )
    yield from _data_set(brief, cells)


def _data_element(brief: Brief, code: str, cell: Cell) -> Wanted:
    known = METRICS[cell.metric]
    rounded = brief.settings.round_off
    if brief.shape is Shape.ITEMS:
        title, word = title_of(cell.metric, brief.settings.expiring_within_days), known.word
        value_type = known.rounded_type if rounded else known.value_type
        aggregation, combo = known.aggregation, DEFAULT_COMBO
    else:
        # One type and one way of adding up for all metrics: what is true of most of them, and of stock.
        title, word = "Stock", "Stock"
        value_type, aggregation = ("INTEGER" if rounded else "NUMBER"), "LAST_IN_PERIOD"
        combo = reference("categoryCombos", brief.code("METRICS"))
    body = {
        **reference("dataElements", code),
        "code": code,
        "name": f"{title} - {cell.item.name}",
        "shortName": f"{word} {cell.item.name}",
        "domainType": "AGGREGATE",
        "valueType": value_type,
        "aggregationType": aggregation,
        "zeroIsSignificant": True,
        "categoryCombo": combo,
        "sharing": shared(brief, "dataElements"),
    }
    return Wanted("dataElements", code, body, cell.item.reference)


def rows_with_combos(settings: Settings) -> dict[str, DataElementRow]:
    """Return the rows by their option combo, each once."""
    return {str(row.category_option_id): row for row in settings.active_rows if row.category_option_id}


def _categories(brief: Brief) -> Iterator[Wanted]:
    """Yield a category with an option for each metric, its combo, and all its option combos with their codes."""
    category, combo = brief.code("METRIC"), brief.code("METRICS")
    options = []
    rows = rows_with_combos(brief.settings)
    for identifier, row in rows.items():
        code, title = (
            brief.code("OPTION", METRICS[row.metric].word),
            title_of(row.metric, brief.settings.expiring_within_days),
        )
        options.append(code)
        body = {
            **reference("categoryOptions", code),
            "code": code,
            "name": f"{TITLE} {title.lower()}",
            "shortName": f"{TITLE} {title.lower()}",
            "sharing": shared(brief, "categoryOptions"),
        }
        yield Wanted("categoryOptions", code, body, code)
        is_code = row.category_option_combo_id_scheme is Scheme.CODE
        yield Wanted(
            "categoryOptionCombos",
            identifier,
            {
                **(reference("categoryOptionCombos", identifier) if is_code else {"id": identifier}),
                "code": identifier if is_code else brief.code("COMBO", METRICS[row.metric].word),
                "name": f"{TITLE} {title.lower()}",
                "categoryCombo": reference("categoryCombos", combo),
                "categoryOptions": [reference("categoryOptions", code)],
            },
            code,
        )
    yield Wanted(
        "categories",
        category,
        {
            **reference("categories", category),
            "code": category,
            "name": f"{TITLE} metric",
            "shortName": f"{TITLE} metric",
            "dataDimension": True,
            "dataDimensionType": "DISAGGREGATION",
            "categoryOptions": [reference("categoryOptions", code) for code in options],
            "sharing": shared(brief, "categories"),
        },
        category,
        frozenset({"categoryOptions"}),
    )
    yield Wanted(
        "categoryCombos",
        combo,
        {
            **reference("categoryCombos", combo),
            "code": combo,
            "name": f"{TITLE} metrics",
            "dataDimensionType": "DISAGGREGATION",
            # A total over stock, months and days says nothing.
            "skipTotal": True,
            "categories": [reference("categories", category)],
            "sharing": shared(brief, "categoryCombos"),
        },
        combo,
    )


def _data_set(brief: Brief, cells: Cells) -> Iterator[Wanted]:
    code = brief.data_set
    itself = reference("dataSets", code)
    settings = brief.settings
    sections: dict[str, tuple[str, list[str]]] = {}
    for element, cell in cells.elements().items():
        word, title = ("STOCK", "Stock")
        if brief.shape is Shape.ITEMS:
            word, title = (
                METRICS[cell.metric].word,
                title_of(cell.metric, settings.expiring_within_days),
            )
        # Another data set has sections of its own.
        section = brief.code("SECTION", code.removeprefix(brief.prefix), word)
        sections.setdefault(section, (title, []))[1].append(element)
    is_code = settings.data_set_id_scheme is Scheme.CODE
    body = {
        **(itself if is_code else {"id": str(settings.data_set_id)}),
        "code": code,
        "name": f"{TITLE} stock" if code == DATA_SET else f"{TITLE} stock ({code})",
        "shortName": f"{TITLE} stock",
        "periodType": brief.period_type,
        "openFuturePeriods": open_future_periods(settings),
        "timelyDays": _TIMELY_DAYS,
        "categoryCombo": DEFAULT_COMBO,
        "dataSetElements": [
            {"dataElement": reference("dataElements", element), "dataSet": itself}
            for element in cells.elements()
        ],
        # Theirs are known once DHIS2 is asked.
        "organisationUnits": [],
        "sections": [reference("sections", each) for each in sections],
        "sharing": shared(brief, "dataSets"),
    }
    yield Wanted(
        "dataSets", code, body, code, frozenset({"dataSetElements", "organisationUnits", "sections"})
    )
    for place, (section, (title, elements)) in enumerate(sections.items()):
        yield Wanted(
            "sections",
            section,
            {
                **reference("sections", section),
                "code": section,
                "name": title,
                "sortOrder": place,
                "dataSet": itself,
                "dataElements": [reference("dataElements", element) for element in elements],
            },
            section,
            frozenset({"dataElements"}),
        )
