"""An explanation for a terminal."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from cli.comparison import is_held
from msupply_dhis2.errors import MsupplyDhis2Error
from msupply_dhis2.explain.explanation import Explanation, MovementPart, ReportPart

MOVEMENTS_SHOWN = 40
"""How many movements a terminal shows, the latest; JSON has more."""

type Row = tuple[str, ...]


def as_text(explanation: Explanation) -> str:
    """Return an explanation for a terminal: the answer first, then how it is worked out and what it is made of."""
    return "\n".join(_lines(explanation))


type ReadHeld = Callable[[Mapping[str, Sequence[str | None]]], Iterable[Mapping[str, object]]]
"""Reads what DHIS2 holds of what a question (``held``) names."""


def with_held(explanation: Explanation, read: ReadHeld) -> Explanation:
    """Return an explanation that says also what DHIS2 holds now."""
    if not explanation.data_value:
        return explanation
    return explanation.model_copy(update={"way": (*explanation.way, *_held_now(explanation, read))})


def _held_now(explanation: Explanation, read: ReadHeld) -> Iterator[str]:
    value = explanation.data_value
    asked = {name: [value[name.removesuffix("s")]] for name in ("org_units", "periods", "data_elements")}
    try:
        held = list(read(asked))
    except MsupplyDhis2Error as error:
        yield f"What DHIS2 holds now could not be read: {error}"
        return
    fields = ("category_option_combo", "attribute_option_combo")
    # As which of the two a value is sent may be known to push only.
    combo = next((value[field] for field in fields if value[field]), None)
    found = [each for each in held if combo is None or combo in {each[field] for field in fields}]
    for each in found:
        is_it = is_held(str(each["value"]), str(value["value"]))
        same = "the same" if is_it else f"not {value['value']}"
        yield f"DHIS2 holds {each['value']}, {same}: stored by {each['stored_by']}, {each['last_updated']}."
    if not found:
        yield "DHIS2 holds no value of it."


def _lines(of: Explanation) -> Iterator[str]:
    yield of.message
    # Where there is no value, the answer is the reason already.
    if of.formula and of.value is not None:
        yield ""
        yield f"How it is worked out: {of.formula}."
        yield from _table(("units", "what"), [(term.units, term.what) for term in of.terms])
    if of.exact != of.value:
        yield f"Before it was rounded off: {of.exact}."
    yield from _section("What is counted", [_about(of)] if of.stores else [])
    yield from _section(
        "Stock lines",
        _table(
            ("batch", "expiry date", "units now", "units then", "store", "item"),
            [
                (
                    line.batch or "",
                    str(line.expiry_date or ""),
                    line.units_now,
                    line.units_at_snapshot,
                    line.store,
                    line.item,
                )
                for line in of.stock_lines
            ],
        ),
    )
    yield from _section("Movements, oldest first", _movements(of))
    yield from _section("Documents", [_report(each) for each in of.reports])
    yield from _section("What does not count, or counts differently", [f"- {said}" for said in of.left_out])
    yield from _section("What it is in DHIS2", [f"- {said}" for said in of.mapping])
    yield from _section("What became of it", [f"- {said}" for said in of.way])
    yield from _section(
        "Compared with mSupply's screen",
        [f"- {each.rule} Here {each.here}, on the screen {each.on_screen}." for each in of.beside_screen],
    )


def _about(of: Explanation) -> str:
    as_of = f", as of {of.as_of:%Y-%m-%d %H:%M}" if of.as_of else ""
    return f"{'; '.join(of.items)} in {'; '.join(of.stores)} (org unit {of.org_unit}){as_of}."


def _movements(of: Explanation) -> Iterator[str]:
    if of.earlier is None:
        return
    shown = of.movements[-MOVEMENTS_SHOWN:]
    not_shown = of.movements[: len(of.movements) - len(shown)]
    stock = not_shown[-1].stock_after if not_shown else of.earlier.stock_after
    more = f", of which the JSON lists {len(not_shown):,}" if not_shown else ""
    yield f"Stock after all earlier movements{more}: {stock}."
    yield from _table(
        ("time", "movement", "number", "batch", "units", "stock after", "note"), map(movement_row, shown)
    )


def movement_row(movement: MovementPart) -> Row:
    """Return a movement as the cells of a table: time, movement, number, batch, units, stock after, note."""
    return (
        f"{movement.instant:%Y-%m-%d %H:%M}",
        movement.kind,
        movement.number or "",
        movement.batch or "",
        movement.units,
        movement.stock_after,
        movement.note or "",
    )


def _table(columns: Row, rows: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of a table without its empty columns; none where there is no row."""
    filled = [(name, cells) for name, *cells in zip(columns, *rows, strict=True) if any(cells)]
    if not filled:
        return
    widths = [max(len(name), *map(len, cells)) for name, cells in filled]
    for line in zip(*([name, *cells] for name, cells in filled), strict=True):
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _report(part: ReportPart) -> str:
    days = f"{part.first_day} to {part.day}" if part.first_day else f"{part.day}"
    columns = (
        ", ".join(f"{name} {quantity}" for name, quantity in part.columns.items()) or "0 in every column"
    )
    return f"- {part.document}, {days}, {part.item}: {columns}{f' ({part.note})' if part.note else ''}"


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    first = True
    for line in lines:
        if first:
            yield ""
            yield f"{title}:"
            first = False
        yield line
