"""Random reports of customers in real databases of either kind, held against a slow reading of every row.

The documents are dated around what the readers have to tell apart: the first and the last day of months and quarters, the
day of the run, periods of mSupply that lie across months, and those that overlap.
"""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import event, given
from hypothesis import strategies as st

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import Kind
from msupply_dhis2.metrics.reports import ReportWarning
from msupply_dhis2.periods import Basis
from msupply_dhis2.settings import Settings
from msupply_dhis2.settings.credentials import parse_database_address
from msupply_dhis2.source import open_source
from sandbox.postgres import TemporaryPostgres
from sandbox.sample import SampleKind, generate
from tests.support.customer_world import COLUMNS, TYPES, Computed, CustomerWorld, compute, settings_of
from tests.support.laws import tried
from tests.support.mirror_database import MirrorDatabase
from tests.support.open_msupply_database import CALENDAR, OpenMsupplyDatabase
from tests.support.slow_customers import (
    Answer,
    Facts,
    Question,
    Why,
    label,
    read_mirror,
    read_open_msupply,
    slow_answer,
)

ZONE = CALENDAR.time_zone
PERIODS = {
    "November": (date(2025, 11, 1), date(2025, 11, 30)),
    "December": (date(2025, 12, 1), date(2025, 12, 31)),
    "January": (date(2026, 1, 1), date(2026, 1, 31)),
    "February": (date(2026, 2, 1), date(2026, 2, 28)),
    "March": (date(2026, 3, 1), date(2026, 3, 31)),
    "a quarter": (date(2026, 1, 1), date(2026, 3, 31)),
    "the quarter before": (date(2025, 10, 1), date(2025, 12, 31)),
    "a week": (date(2026, 1, 19), date(2026, 1, 25)),
    "half a month": (date(2026, 1, 16), date(2026, 1, 31)),
    "across months": (date(2025, 12, 16), date(2026, 1, 15)),
}
JANUARY = [date(2026, 1, day) for day in (1, 19, 20, 30, 31)]
DAYS = [
    *JANUARY,
    *(date(2025, 12, 31), date(2026, 2, 1), date(2026, 2, 28), date(2026, 3, 31), date(2026, 4, 1)),
]
RUNS = [
    *("2026-01-20T10:00", "2026-01-31T23:30", "2026-02-01", "2026-02-10T08:00", "2026-02-28T12:00"),
    *("2026-03-31T00:30", "2026-04-01"),
]
ITEMS = (
    *("item-amoxicillin", "item-amoxicillin", "item-paracetamol"),
    *("item-amoxil", "item-unmapped", "old-paracetamol"),
)
MERGED = {"old-paracetamol": "item-paracetamol", "customer-old": "customer-A"}
"""What leads in Open mSupply to what was kept; the older mSupply changes the rows themselves."""

CUSTOMERS = {
    "A": "OU_A",
    "B": "OU_B",
    # Two customers with one org unit, one that a store has, one that a disabled store has, none.
    "C": "OU_B",
    "D": "OU_KAMO",
    "E": "OU_OPUA",
    "F": None,
}
NAMES = (
    *(f"customer-{code}" for code in CUSTOMERS),
    *("customer-old", "customer-patient", "customer-unmarked", "name-of-KAMO"),
)
QUESTIONS = [
    (Basis.PREVIOUS_MONTH, "YYYYMM"),
    (Basis.PREVIOUS_MONTH, "Quarterly"),
    (Basis.PREVIOUS_MONTH, "Weekly"),
    (Basis.CURRENT_DAY, "YYYYMM"),
    (Basis.CURRENT_DAY, "Quarterly"),
    (Basis.CURRENT_DAY, "Weekly"),
]
OF_A_MONTH = frozenset(
    {Metric.RECEIVED, Metric.ISSUED, Metric.ADJUSTMENTS, Metric.DAYS_OUT_OF_STOCK, Metric.OPENING_STOCK}
)
"""What a week cannot hold of a month that is over."""

WORDS = {
    Why.UNTOUCHED: ReportWarning.UNTOUCHED,
    Why.SUPERSEDED: ReportWarning.SUPERSEDED,
    Why.WITHHELD: ReportWarning.WITHHELD,
    Why.TOO_MANY_DAYS: ReportWarning.TOO_MANY_DAYS,
    Why.CONTRADICTION: ReportWarning.CONTRADICTION,
}


@dataclass(frozen=True)
class Line:
    """A line of a document."""

    item: str
    columns: dict[str, float]
    remark: str | None


@dataclass(frozen=True)
class Document:
    """A document, by the words of ``COLUMNS`` and ``TYPES``; ``counted`` is the day of the snapshot of some lines."""

    number: int
    customer: str
    kind: str
    period: str | None
    has_program: bool
    finalised: date | None
    entered: date
    counted: date | None
    stock_take: date | None
    flaw: str
    lines: list[Line]


@dataclass(frozen=True)
class Move:
    """What a store issues to a customer, or takes back."""

    customer: str
    kind: str
    packs: int
    day: date
    hour: int


@dataclass(frozen=True)
class Case:
    """What is in a database, and what is asked."""

    basis: Basis
    period_format: str
    as_of: str
    supplied: bool
    months: tuple[str, str] | None
    documents: list[Document]
    moves: list[Move] = field(default_factory=list)


QUANTITIES = st.sampled_from([0, 0, 1, 2, 5, 10, 20, 31, 32, 40, 0.5, 12.25, 1.3, 3.333333, -2])
LINES = st.builds(
    Line,
    item=st.sampled_from(ITEMS),
    columns=st.dictionaries(
        st.sampled_from([name for name in COLUMNS if name not in {"comment", "reason", "snapshot"}]),
        QUANTITIES,
        max_size=6,
    ),
    remark=st.sampled_from([None, None, None, "comment", "reason"]),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    basis, period_format = draw(st.sampled_from(QUESTIONS))
    number = draw(st.integers(1, 8))
    numbers = draw(st.permutations(range(1, number + 1)))
    period = st.one_of(st.none(), st.just("January"), *[st.sampled_from(sorted(PERIODS))] * 2)
    # Most of few customers, so that they meet.
    few = ["customer-A", "customer-A", "customer-old", "customer-B", "customer-C"]
    names = st.one_of(st.sampled_from(few), st.sampled_from(few), st.sampled_from(NAMES))
    documents = st.builds(
        Document,
        number=st.just(0),
        customer=names,
        kind=st.sampled_from([*["requisition"] * 4, "imprest", "stock history", "report", "request"]),
        period=period,
        has_program=st.booleans(),
        finalised=st.one_of(st.none(), st.sampled_from([date(2026, 2, day) for day in (3, 4, 5)])),
        entered=st.sampled_from(DAYS),
        counted=st.one_of(st.none(), st.sampled_from(DAYS)),
        stock_take=st.one_of(st.none(), st.none(), st.sampled_from(DAYS)),
        flaw=st.sampled_from([*[""] * 12, "draft", "emergency", "linked", "from DHIS2"]),
        lines=st.lists(LINES, min_size=1, max_size=4),
    )
    moves = st.builds(
        Move,
        customer=names,
        kind=st.sampled_from(["out", "out", "return", "prescription", "cancelled"]),
        packs=st.integers(1, 30),
        day=st.sampled_from(DAYS),
        hour=st.sampled_from([0, 10, 11, 13, 23]),
    )
    return Case(
        basis=basis,
        period_format=period_format,
        as_of=draw(st.sampled_from(RUNS)),
        supplied=draw(st.booleans()),
        months=draw(st.one_of(st.none(), st.none(), st.just(("2025-12", "2026-03")))),
        documents=[
            Document(**{**vars(each), "number": place})
            for place, each in zip(numbers, (draw(documents) for _ in numbers), strict=True)
        ],
        moves=draw(st.lists(moves, max_size=4)),
    )


class LawWorld(CustomerWorld):
    """A database whose customers stay, and whose documents are those of a case."""

    def __init__(self, database: OpenMsupplyDatabase | MirrorDatabase) -> None:
        super().__init__(database)
        database.add_item("amoxil", **{self._code: "uc-amoxicillin"})
        database.add_item("unmapped", **{self._code: None})
        for code, org_unit in CUSTOMERS.items():
            self.customer(code, org_unit)
        self.customer("patient", type="patient" if self.is_mirror else "PATIENT")
        unmarked: dict[str, Any] = {"customer" if self.is_mirror else "is_customer": False}
        self.customer("unmarked", **unmarked)
        if isinstance(database, MirrorDatabase):
            database.add_store("OPUA", disabled=True)
            database.add("name", id="name-of-KAMO", code="KAMO", type="store", customer=True)
            names = ("startdate", "enddate")
            others: dict[str, Any] = {}
        else:
            database.add_store("OPUA", is_disabled=True)
            database.add("name_link", id="customer-old", name_id="customer-A")
            database.add("item_link", id="old-paracetamol", item_id=self.paracetamol)
            database.add(
                "name_store_join",
                name_link_id="customer-unmarked",
                store_id=self.store,
                name_is_customer=True,
                name_is_supplier=False,
            )
            names = ("start_date", "end_date")
            others = {"name": "", "period_schedule_id": "any"}
        for name, days in PERIODS.items():
            texts = map(str, days)
            database.add("period", id=name, **dict(zip(names, texts, strict=True)), **others)
        self.references = {
            "item-amoxicillin": "uc-amoxicillin",
            "item-amoxil": "uc-amoxicillin",
            "item-paracetamol": "uc-paracetamol",
        }

    @property
    def _code(self) -> str:
        return "universalcodes_code" if self.is_mirror else "universal_code"

    def kept(self, identifier: str) -> str:
        return MERGED.get(identifier, identifier) if self.is_mirror else identifier

    def fill(self, case: Case) -> None:
        """Replace all documents and movements by those of a case."""
        lines = ("trans_line", "transact") if self.is_mirror else ("invoice_line", "invoice")
        for table in ("requisition_line", "requisition", *lines):
            self.database.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
        if not self.is_mirror:
            self.database.execute("DELETE FROM sync_buffer WHERE table_name = 'requisition'")
        for document in case.documents:
            self._add(document)
        for move in case.moves:
            customer = self.kept(move.customer)
            if move.kind == "cancelled":
                self.cancelled_issue(customer, move.day.isoformat(), move.packs)
            else:
                packs = move.packs if move.kind == "return" else -move.packs
                self.move(customer, self.store, move.kind, packs, move.day.isoformat(), move.hour)

    def _add(self, document: Document) -> None:
        lines = [
            {
                "item": self.kept(line.item),
                **{
                    name: value
                    for name, value in line.columns.items()
                    if COLUMNS[name][self.is_mirror] is not None
                },
                **({} if line.remark is None else {line.remark: "said"}),
                **self._snapshot(document, line),
            }
            for line in document.lines
        ]
        self.report(
            self.kept(document.customer),
            *lines,
            # The other kind of mSupply has no such documents.
            kind=document.kind if TYPES[document.kind][self.is_mirror] else "requisition",
            period=None,
            number=document.number,
            finalised=None if document.finalised is None else f"{document.finalised} 00:00:00",
            id=f"document {document.number}",
            **self._columns(document),
        )

    def _snapshot(self, document: Document, line: Line) -> dict[str, str]:
        if self.is_mirror or document.counted is None or line.item == "item-amoxicillin":
            return {}
        return {"snapshot": _noon_in_utc(document.counted)}

    def _columns(self, document: Document) -> dict[str, object]:
        period, program = document.period, "a program" if document.has_program else None
        reference = "from DHIS2 LMIS" if document.flaw == "from DHIS2" else None
        if isinstance(self.database, MirrorDatabase):
            return {
                "periodid": period or "",
                "programid": program or "",
                "date_entered": str(document.entered),
                "date_stock_take": document.stock_take and str(document.stock_take),
                "status": "sg" if document.flaw == "draft" else "wf" if document.number % 2 else "fn",
                "is_emergency": document.flaw == "emergency",
                "linked_requisition_id": "another" if document.flaw == "linked" else "",
                "requester_reference": reference,
            }
        if document.stock_take:
            data = f'{{"date_stock_take": "{document.stock_take}"}}'
            record = f"document {document.number}"
            self.database.add("sync_buffer", record_id=record, table_name="requisition", data=data)
        return {
            "period_id": period,
            "program_id": program,
            "created_datetime": _noon_in_utc(document.entered),
            "status": "DRAFT" if document.flaw == "draft" else "FINALISED",
            "is_emergency": document.flaw == "emergency",
            "linked_requisition_id": "another" if document.flaw == "linked" else None,
            "their_reference": reference,
        }

    def read(self) -> Facts:
        read = read_mirror if self.is_mirror else read_open_msupply
        return read(self.database.engine, ZONE, {"OU_KAMO"}, datetime.now(UTC).replace(tzinfo=None))


def _noon_in_utc(day: date) -> str:
    """Return the noon of a day of the time zone."""
    local = datetime(day.year, day.month, day.day, 12, tzinfo=ZONE)
    return local.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mirror"])
def world(
    request: pytest.FixtureRequest, postgres: TemporaryPostgres, tmp_path_factory: pytest.TempPathFactory
) -> LawWorld:
    if request.param == "mirror":
        return LawWorld(MirrorDatabase(postgres.new_database("customer_laws_dashboard")))
    if request.param == "postgresql":
        return LawWorld(OpenMsupplyDatabase(postgres.new_database("customer_laws_omsupply")))
    folder = tmp_path_factory.mktemp("customer_laws")
    return LawWorld(OpenMsupplyDatabase(f"sqlite:///{folder}/msupply.sqlite"))


def question(case: Case, as_of: datetime, basis: Basis) -> Question:
    instant = as_of.replace(tzinfo=ZONE).astimezone(UTC).replace(tzinfo=None)
    return Question(basis, instant, ZONE, case.period_format, case.supplied)


def asked(case: Case) -> list[Question]:
    """Return what a run asks for: one month after the other, or one instant."""

    if case.months is None:
        return [question(case, datetime.fromisoformat(case.as_of), case.basis)]
    months = [datetime(2026, 1, 1), datetime(2026, 2, 1), datetime(2026, 3, 1), datetime(2026, 4, 1)]  # noqa: DTZ001 - of the time zone
    if case.period_format == "Quarterly":
        # Of a quarter the last month stands for all.
        months = [months[0], months[-1]]
    return [question(case, month, Basis.PREVIOUS_MONTH) for month in months]


def settings_for(case: Case, basis: Basis, **changes: object) -> Settings:
    is_short = case.period_format == "Weekly" and basis is Basis.PREVIOUS_MONTH
    metrics = [metric for metric in Metric if not (is_short and metric in OF_A_MONTH)]
    return settings_of(
        dict.fromkeys(metrics, basis.value),
        period_format=case.period_format,
        customer_received="supplied" if case.supplied else "reported",
        **changes,
    )


def computed(world: LawWorld, case: Case, **changes: object) -> Computed:
    basis = case.basis if case.months is None else Basis.PREVIOUS_MONTH
    settings = settings_for(case, basis, **changes)
    if case.months is None:
        return world.compute(settings, case.as_of, basis=basis.value)
    return world.compute(settings, "2026-04-20", months="..".join(case.months))


def by_place(values: Computed, kind: Kind) -> dict[tuple[str, str, str], dict[Metric, str]]:
    found: dict[tuple[str, str, str], dict[Metric, str]] = {}
    for value in values.values:
        if value.origin.kind is kind:
            of_place = found.setdefault((value.period, value.org_unit, value.data_element), {})
            assert value.metric not in of_place
            of_place[value.metric] = value.value
    return found


def named_in(warnings: str) -> Counter[tuple[Why, int]]:
    """Read the sentences that name documents: how many lines of which."""
    named: Counter[tuple[Why, int]] = Counter()
    for why, words in WORDS.items():
        for line in warnings.splitlines():
            if words in line:
                named.update(
                    {
                        (why, int(number)): int(lines)
                        for number, lines in re.findall(r" (\d+) of [^:]+: (\d+)", line)
                    }
                )
    return named


@pytest.mark.slow
@tried(30)
@given(case=cases())
def test_slow_reference(world: LawWorld, case: Case) -> None:
    world.fill(case)
    facts = world.read()
    answers = [slow_answer(facts, world.references, question) for question in asked(case)]
    is_short = case.period_format == "Weekly" and asked(case)[0].basis is Basis.PREVIOUS_MONTH
    right = {
        place: kept
        for answer in answers
        for place, values in answer.values.items()
        if (kept := {m: v for m, v in values.items() if not (is_short and m in OF_A_MONTH)})
    }

    run = computed(world, case)

    assert by_place(run, Kind.CUSTOMER) == right
    for value in run.values:
        if value.origin.kind is Kind.CUSTOMER and value.metric in {Metric.STOCK_ON_HAND, Metric.ISSUED}:
            place = (value.period, value.org_unit, value.data_element)
            (of_place,) = [
                answer.documents[place, value.metric] for answer in answers if place in answer.values
            ]
            assert set(map(int, re.findall(r"\d+", value.origin.document))) == of_place
            assert re.search(r"([A-E]|unmarked) post", value.store)
    assert "D post" in run.warnings
    if case.months is None and not is_short:
        assert named_in(run.warnings) == answers[0].named
    _tell(answers)


@pytest.mark.slow
@tried(20)
@given(case=cases(), restated=st.integers(0, 2))
def test_scheduled_run_and_months(world: LawWorld, case: Case, restated: int) -> None:
    world.fill(case)
    facts = world.read()
    month_over = [
        metric for metric in list(Metric)[::2] if metric not in OF_A_MONTH or case.period_format != "Weekly"
    ]
    bases = {metric: Basis.PREVIOUS_MONTH if metric in month_over else Basis.CURRENT_DAY for metric in Metric}
    right: dict[tuple[str, str, str], dict[Metric, str]] = {}
    as_of = datetime.fromisoformat(case.as_of)
    questions = [question(case, as_of, basis) for basis in Basis]
    questions += [question(case, month, Basis.PREVIOUS_MONTH) for month in before(case, as_of, restated)]
    for one in questions:
        for place, values in slow_answer(facts, world.references, one).values.items():
            for metric, value in values.items():
                if bases[metric] is one.basis:
                    right.setdefault(place, {})[metric] = value

    settings = settings_of(
        {metric: basis.value for metric, basis in bases.items()},
        period_format=case.period_format,
        customer_received="supplied" if case.supplied else "reported",
        restate_months=restated,
    )
    scheduled = as_of.replace(tzinfo=ZONE).isoformat()
    run = world.compute(settings, case.as_of, manual=False, interval="monthly", scheduled_time=scheduled)

    assert by_place(run, Kind.CUSTOMER) == right


def before(case: Case, as_of: datetime, number: int) -> list[datetime]:
    """Return the ends of so many months before the one that is over; of a period's months only the last."""
    own = as_of.replace(day=1, hour=0, minute=0)
    ends = list[datetime]()
    for _ in range(number):
        month = (ends[-1] if ends else own) - timedelta(days=1)
        ends.append(month.replace(day=1))
    if case.period_format != "Quarterly":
        return ends
    of_own = (own - timedelta(days=1)).date()
    last = {label((end - timedelta(days=1)).date(), "Quarterly"): end for end in reversed(ends)}
    last.pop(label(of_own, "Quarterly"), None)
    return list(last.values())


def _tell(answers: list[Answer]) -> None:
    """Have hypothesis count how often there was anything to see."""
    event(f"values: {'some' if any(answer.values for answer in answers) else 'none'}")
    for why in {why for answer in answers for why, _ in answer.named}:
        event(f"named: {why}")


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mirror"])
def sample(
    request: pytest.FixtureRequest, postgres: TemporaryPostgres, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A sample with all edge cases."""
    url = f"sqlite:///{tmp_path_factory.mktemp('customer_sample')}/msupply.sqlite"
    if request.param != "sqlite":
        url = postgres.new_database(f"customer_sample_{request.param}")
    kind = SampleKind.MIRROR if request.param == "mirror" else SampleKind.OPEN_MSUPPLY
    generate(url, stores=2, items=6, movements=300, edge_cases=True, kind=kind, time_zone=ZONE)
    return url


@pytest.mark.slow
@pytest.mark.parametrize(
    ("basis", "period_format", "as_of"),
    [
        (Basis.PREVIOUS_MONTH, "YYYYMM", "2026-11-01"),
        pytest.param(Basis.PREVIOUS_MONTH, "Quarterly", "2026-10-01", marks=pytest.mark.slow),
        pytest.param(Basis.CURRENT_DAY, "YYYYMM", "2026-10-31T12:00", marks=pytest.mark.slow),
    ],
)
def test_sample_slow_reference(sample: str, basis: Basis, period_format: str, as_of: str) -> None:
    address = parse_database_address(sample)
    with open_source(address, calendar=CALENDAR) as source:
        catalogue = source.catalogue(
            store_field="Dhis2Code", item_fields=["universal_code"], include_field=None
        )
    references = {item.id: str(item.fields["universal_code"]) for item in catalogue.items}
    case = Case(basis, period_format, as_of, period_format == "Quarterly", None, [])
    engine = sa.create_engine(sample.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool)
    is_mirror = "item_line" in sa.inspect(engine).get_table_names()
    read = read_mirror if is_mirror else read_open_msupply
    org_units = {store.org_unit for store in catalogue.stores}
    facts = read(engine, ZONE, org_units, datetime.now(UTC).replace(tzinfo=None))
    answer = slow_answer(facts, references, asked(case)[0])

    run = compute(address, settings_for(case, basis), as_of, basis=basis.value)

    assert by_place(run, Kind.CUSTOMER) == answer.values
    assert facts.left_out == ["Store's post"]
    assert "Store's post" in run.warnings
    assert set(named_in(run.warnings)) <= set(answer.named)
    if period_format == "YYYYMM" and basis is Basis.PREVIOUS_MONTH:
        assert {org_unit for _, org_unit, _ in answer.values} >= {"OU_TWIN_POST", "OU_OUTREACH_POST_1"}
        assert {why for why, _ in answer.named} == {why for why, _ in named_in(run.warnings)} == set(Why)


@pytest.mark.slow
@tried(10)
@given(case=cases())
def test_stores_are_unaffected(world: LawWorld, case: Case) -> None:
    world.fill(case)
    with statements() as of_none:
        without = computed(world, case, customers="none")
    with statements() as of_all:
        with_customers = computed(world, case)

    assert not without.result.customers
    assert by_place(without, Kind.CUSTOMER) == {}
    assert [value for value in with_customers.values if value.origin.kind is Kind.STORE] == without.values
    assert "customer" not in without.warnings.lower()
    about_customers = re.compile(r"(FROM|JOIN) \W?(requisition|requisition_line|period|name_store_join)\b")
    assert not [statement for statement in of_none if about_customers.search(statement)]
    assert [statement for statement in of_all if about_customers.search(statement)]


@contextmanager
def statements() -> Iterator[list[str]]:
    """Yield a list of all statements that any database is asked."""
    asked_for: list[str] = []

    def note(*about: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        asked_for.append(about[2])

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield asked_for
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
