"""Histories of a clinic as the documents' examples have them, and what makes such histories."""

from collections.abc import Iterable
from datetime import date, datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import (
    MICRO,
    ConsumptionPreferences,
    Item,
    Movement,
    MovementKind,
    PairHistory,
    StockLine,
    Store,
)
from msupply_dhis2.metrics.calculate import Rules
from msupply_dhis2.periods import Basis, Calendar, PeriodFormat, Window, window

AUCKLAND = "Pacific/Auckland"
INBOUND, OUTBOUND = MovementKind.INBOUND_SHIPMENT, MovementKind.OUTBOUND_SHIPMENT
PRESCRIPTION = MovementKind.PRESCRIPTION
KAMO = Store("kamo", "KAM", "Kamo", "OU_KAMO")
OPUA = Store("opua", "OPU", "Opua", "OU_KAMO", Fraction(1))
AMOXICILLIN = Item("amox", "AMX", "Amoxicillin 250mg tabs")
BRAND = Item("brand", "BRA", "Brand of amoxicillin")
ADJUSTED = Rules(consumption=ConsumptionPreferences(adjust_for_days_out_of_stock=True))


def line(units: float, expires: str | None = None, name: str = "A") -> StockLine:
    return StockLine(name, round(units * MICRO), date.fromisoformat(expires) if expires else None)


def moved(
    when: str, units: float, kind: MovementKind, name: str | None = "A", zone: str = AUCKLAND
) -> Movement:
    """A movement at a local time."""
    local = datetime.fromisoformat(when).replace(tzinfo=ZoneInfo(zone))
    return Movement(local.astimezone(ZoneInfo("UTC")).replace(tzinfo=None), kind, round(units * MICRO), name)


def pair(
    lines: Iterable[StockLine],
    movements: Iterable[Movement],
    store: Store = KAMO,
    item: Item = AMOXICILLIN,
) -> PairHistory:
    """A pair whose whole ledger was read."""
    latest_first = sorted(movements, key=lambda movement: movement.instant, reverse=True)
    first_in = min((movement.instant for movement in latest_first if movement.units > 0), default=None)
    return PairHistory(store, item, list(lines), latest_first, first_in, 0)


def window_of(basis: Basis, as_of: str, text: str = "YYYYMM", zone: str = AUCKLAND) -> Window:
    calendar = Calendar(ZoneInfo(zone))
    instant = datetime.fromisoformat(as_of).replace(tzinfo=calendar.time_zone)
    return window(basis, instant, calendar, PeriodFormat.parse(text))


JANUARY = window_of(Basis.PREVIOUS_MONTH, "2026-02-10 09:00")
WORKED_EXAMPLE = pair(
    [line(30, "2026-03-01", "A"), line(10, "2026-01-20", "B")],
    [
        moved("2025-12-01 10:00", 100, INBOUND, "A"),
        moved("2025-12-20 10:00", -60, OUTBOUND, "A"),
        moved("2026-01-05 10:00", -40, OUTBOUND, "A"),
        moved("2026-01-15 10:00", 30, INBOUND, "A"),
        moved("2026-01-20 10:00", 20, INBOUND, "B"),
        moved("2026-02-03 10:00", -10, OUTBOUND, "B"),
    ],
)

RECEIVED_BEFORE = moved("2025-06-01", 100, INBOUND)
TENTH_OF_JANUARY = window_of(Basis.CURRENT_DAY, "2026-01-10 09:00")
EXAMPLES_OF_THE_SCREEN: list[tuple[Metric, PairHistory, Window, Rules]] = [
    # In the order of docs/msupply-screen.md, each as its words say.
    (
        Metric.DAYS_OUT_OF_STOCK,
        pair(
            [line(0)],
            [
                RECEIVED_BEFORE,
                moved("2026-01-05 10:00", -100, OUTBOUND),
                moved("2026-01-07 09:00", 10, INBOUND),
                moved("2026-01-07 15:00", -10, OUTBOUND),
            ],
        ),
        TENTH_OF_JANUARY,
        Rules(),
    ),
    (
        Metric.DAYS_OUT_OF_STOCK,
        pair([line(5)], [moved("2025-12-01 10:00", 20, INBOUND), moved("2025-12-20 10:00", -20, OUTBOUND)]),
        JANUARY,
        Rules(),
    ),
    (
        Metric.AVERAGE_MONTHLY_CONSUMPTION,
        pair(
            [line(40)],
            [
                RECEIVED_BEFORE,
                moved("2026-01-10 10:00", -60, PRESCRIPTION),
                moved("2026-01-11 10:00", -30, PRESCRIPTION),
                moved("2026-01-11 10:00", 30, PRESCRIPTION),
            ],
        ),
        JANUARY,
        Rules(),
    ),
    (
        Metric.AVERAGE_MONTHLY_CONSUMPTION,
        pair(
            [line(10)],
            [
                RECEIVED_BEFORE,
                moved("2026-01-10 10:00", -60, OUTBOUND),
                moved("2026-02-01 08:00", -30, OUTBOUND),
            ],
        ),
        JANUARY,
        Rules(),
    ),
    (
        Metric.AVERAGE_MONTHLY_CONSUMPTION,
        pair([line(40)], [RECEIVED_BEFORE, moved("2026-01-10 10:00", -60, OUTBOUND)]),
        JANUARY,
        Rules(),
    ),
    (Metric.STOCK_ON_HAND, pair([line(10, name="A"), line(-3, name="B")], []), JANUARY, Rules()),
    *(
        (
            Metric.ADJUSTMENTS,
            pair(
                [line(106)],
                [
                    RECEIVED_BEFORE,
                    moved("2026-01-10 10:00", 5, MovementKind.INVENTORY_ADDITION),
                    moved("2026-01-11 10:00", 2, MovementKind.CUSTOMER_RETURN),
                    moved("2026-01-12 10:00", -1, MovementKind.SUPPLIER_RETURN),
                ],
            ),
            JANUARY,
            Rules(include_returns=include_returns),
        )
        for include_returns in (False, True)
    ),
    *(
        (
            Metric.MONTHS_OF_STOCK,
            pair([line(30)], [moved("2025-06-01", 60, INBOUND), moved(day, -30, OUTBOUND)]),
            JANUARY,
            Rules(),
        )
        for day in ("2026-01-20 10:00", "2026-02-02 10:00")
    ),
]
