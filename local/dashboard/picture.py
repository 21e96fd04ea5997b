"""Draws a dashboard: its widgets in their own grid, each with what its query or its metrics give."""

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import MO, DateFormatter, WeekdayLocator
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from local.dashboard.definition import COLUMNS, Metric, Widget, fingerprint, widgets_of
from local.dashboard.insights import Answer, Value, ask, sources_of
from local.dashboard.metrics import Datum, series_of, written
from local.dashboard.weeks import Shown

WIDTH = 1440
MARGIN = 16
CELL = (WIDTH - 2 * MARGIN) / COLUMNS
ROW = 48
"""Pixels of a row of the grid; those of a column come of the width."""

BAR = 56
FOOT = 62
SHARP = 2
"""Pixels of the picture for each that is counted here."""

GAP = 5
PADDING = 14
TITLE_ROOM = 38
TABLE_LINE = 23
LEGEND_LINE = 24
NARROWEST = 56

INK, SOFT, FAINT, LINE, PAPER, GROUND = "#16191f", "#545b64", "#879596", "#e9ebed", "#ffffff", "#f2f3f3"
NAVY, LINK = "#232f3e", "#0972d3"


def draw(shown: Shown, caption: str, file: Path) -> None:
    """Write the picture of a dashboard.

    Its metadata hold the digest of the definition that it was drawn from.
    """
    widgets = widgets_of(shown.body)
    rows = max(widget.y + widget.height for widget in widgets)
    picture = _Picture(BAR + rows * ROW + 2 * MARGIN + FOOT)
    picture.bar(f"CloudWatch  →  Dashboards  →  {_name(shown)}", _span(shown))
    data = [*shown.read, *written(event for events in shown.events.values() for event in events)]
    for widget in widgets:
        frame = picture.card(widget)
        if widget.markdown is not None:
            picture.markdown(frame, widget.markdown)
        elif widget.query is not None:
            picture.title(frame, widget.title)
            lines = [event for group in sources_of(widget.query) for event in shown.events[group]]
            picture.table(frame, ask(widget.query, lines))
        else:
            picture.title(frame, widget.title)
            picture.graph(frame, widget.metrics, data, shown)
    picture.foot(caption)
    picture.write(file, {"Definition": fingerprint(shown.body), "Description": caption})


def _name(shown: Shown) -> str:
    (name,) = {group.split("/")[1] for group in shown.events}
    return name


def _span(shown: Shown) -> str:
    begins, ends = (f"{instant:%d %B %Y}".lstrip("0") for instant in (shown.begins, shown.ends))
    return f"{begins} to {ends}, UTC"


@dataclass(frozen=True, slots=True)
class _Frame:
    """A rectangle, in pixels from the upper left corner."""

    x: float
    y: float
    width: float
    height: float


class _Picture:
    """The sheet, measured in pixels from its upper left corner."""

    def __init__(self, height: float) -> None:
        self._height = height
        mpl.rcParams["font.family"] = "DejaVu Sans"
        self._figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100 * SHARP, facecolor=GROUND)
        self._canvas = FigureCanvasAgg(self._figure)
        self._sheet: Axes = self._figure.add_axes((0, 0, 1, 1))
        self._sheet.set_xlim(0, WIDTH)
        self._sheet.set_ylim(height, 0)
        self._sheet.axis("off")

    # ------------------------------------------------------------------------------------------------- the sheet
    def bar(self, left: str, right: str) -> None:
        """Draw the bar at the top."""
        self._sheet.add_patch(Rectangle((0, 0), WIDTH, BAR, facecolor=NAVY, edgecolor="none"))
        self._text(MARGIN + PADDING, BAR / 2, left, 16, color="white", weight="bold", valign="center")
        self._text(
            WIDTH - MARGIN - PADDING, BAR / 2, right, 13, color="#d1d5db", align="right", valign="center"
        )

    def foot(self, caption: str) -> None:
        """Write what the picture is, below everything."""
        lines = [""]
        for word in caption.split():
            longer = f"{lines[-1]} {word}".strip()
            if self._wide(longer, 11.5) > WIDTH - 2 * (MARGIN + PADDING):
                lines.append(word)
            else:
                lines[-1] = longer
        for number, line in enumerate(lines):
            y = self._height - FOOT + 2 + 18 * number
            self._text(MARGIN + PADDING, y, line, 11.5, color=SOFT, valign="top")

    def card(self, widget: Widget) -> _Frame:
        """Draw a widget's paper, and give where to draw on it."""
        x, y = MARGIN + widget.x * CELL + GAP, BAR + MARGIN + widget.y * ROW + GAP
        width, height = widget.width * CELL - 2 * GAP, widget.height * ROW - 2 * GAP
        self._sheet.add_patch(
            FancyBboxPatch(
                (x, y),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=7",
                facecolor=PAPER,
                edgecolor="#d5dbdb",
                linewidth=0.7,
            )
        )
        return _Frame(x + PADDING, y, width - 2 * PADDING, height)

    def title(self, frame: _Frame, title: str) -> None:
        """Write a widget's title."""
        self._text(frame.x, frame.y + TITLE_ROOM / 2 + 2, title, 14, weight="bold", valign="center")

    def markdown(self, frame: _Frame, text: str) -> None:
        """Write a text: headings and paragraphs of one line."""
        y = frame.y + 14
        for line in text.splitlines():
            heading = line.startswith("# ")
            size = 19 if heading else 12.5
            self._text(
                frame.x,
                y,
                self._trimmed(line.removeprefix("# "), size, frame.width, bold=heading),
                size,
                weight="bold" if heading else "normal",
                color=INK if heading else SOFT,
                valign="top",
            )
            y += size * 1.9

    # -------------------------------------------------------------------------------------------------- the table
    def table(self, frame: _Frame, answer: Answer) -> None:
        """Draw as many rows of an answer as there is room for."""
        room = int((frame.height - TITLE_ROOM - 8) / TABLE_LINE) - 1
        shown = [[_written(value) for value in row] for row in answer.rows[:room]]
        widths = self._widths(frame.width, answer, shown)
        numeric = [
            any(isinstance(row[place], float) for row in answer.rows) for place in range(len(answer.columns))
        ]
        y = frame.y + TITLE_ROOM
        self._sheet.add_patch(
            Rectangle((frame.x, y), frame.width, TABLE_LINE, facecolor="#fafafa", edgecolor="none")
        )
        for number, cells in enumerate([list(answer.columns), *shown]):
            x, head = frame.x, number == 0
            for cell, width, right in zip(cells, widths, numeric, strict=True):
                self._text(
                    x + width - 8 if right else x + 8,
                    y + TABLE_LINE / 2 + 1,
                    self._trimmed(cell, 11.5, width - 16, bold=head),
                    11.5,
                    weight="bold" if head else "normal",
                    color=SOFT if head else INK,
                    align="right" if right else "left",
                    valign="center",
                )
                x += width
            y += TABLE_LINE
            self._sheet.plot((frame.x, frame.x + frame.width), (y, y), color=LINE, linewidth=0.7)
        if not answer.rows:
            self._text(frame.x + frame.width / 2, y + 24, "No data", 12, color=FAINT, align="center")
        elif len(answer.rows) > room:
            self._scroll(frame, room / len(answer.rows))

    def _scroll(self, frame: _Frame, share: float) -> None:
        """Show that there is more below."""
        top, height = frame.y + TITLE_ROOM + TABLE_LINE, frame.height - TITLE_ROOM - TABLE_LINE - 12
        for length, color in ((height, "#f2f3f3"), (height * share, "#c1c7cd")):
            self._sheet.add_patch(
                FancyBboxPatch(
                    (frame.x + frame.width + 4, top),
                    4,
                    length,
                    boxstyle="round,pad=0,rounding_size=2",
                    facecolor=color,
                    edgecolor="none",
                )
            )

    def _widths(self, room: float, answer: Answer, shown: Sequence[Sequence[str]]) -> list[float]:
        """Return each column what it needs; where that is too much, the widest ones are cut."""
        needs = [
            16
            + max(
                self._wide(answer.columns[place], 11.5, bold=True),
                *(self._wide(row[place], 11.5) for row in shown),
                NARROWEST - 16,
            )
            for place in range(len(answer.columns))
        ]
        most = max(needs)
        while sum(min(need, most) for need in needs) > room:
            most -= 1
        widths = [min(need, most) for need in needs]
        spare = (room - sum(widths)) / len(widths)
        return [width + spare for width in widths]

    # -------------------------------------------------------------------------------------------------- the graph
    def graph(self, frame: _Frame, metrics: Sequence[Metric], data: Iterable[Datum], shown: Shown) -> None:
        """Draw lines of metrics over the dashboard's time."""
        data = list(data)
        lines = self._legend(frame, metrics)
        top, bottom, left = TITLE_ROOM + 8, 26 + lines * LEGEND_LINE, 48
        axes: Axes = self._figure.add_axes(
            (
                (frame.x + left) / WIDTH,
                1 - (frame.y + frame.height - bottom) / self._height,
                (frame.width - left) / WIDTH,
                (frame.height - bottom - top) / self._height,
            )
        )
        every: list[float] = []
        for metric in metrics:
            series = series_of(metric, data)
            if not series:
                continue
            instants: Any = [instant for instant, _ in series]
            values = [value for _, value in series]
            every += values
            if metric.stat == "Sum":
                # What happened in a period happened there, and not on the way to the next. That nothing did is no dot.
                axes.vlines(instants, 0, values, color=metric.color, linewidth=1.6, alpha=0.55)
                heights = [value or math.nan for value in values]
                axes.plot(instants, heights, "o", color=metric.color, markersize=2.6, clip_on=False)
            else:
                axes.plot(
                    instants, values, "-o", color=metric.color, linewidth=1.1, markersize=1.9, clip_on=False
                )
        self._dress(axes, every, shown)

    def _dress(self, axes: Axes, values: Sequence[float], shown: Shown) -> None:
        highest = max(values, default=0.0)
        begins, ends = shown.begins, shown.ends + timedelta(hours=12)
        limits: Any = (begins, ends)
        axes.set_xlim(*limits)
        axes.set_ylim(0, highest * 1.12 or 1)
        axes.xaxis.set_major_locator(WeekdayLocator(byweekday=MO))
        axes.xaxis.set_major_formatter(DateFormatter("%d %b"))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=all(value.is_integer() for value in values)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axes.tick_params(labelsize=10.5 * 0.72, colors=SOFT, length=0, pad=4)
        axes.set_facecolor("none")
        axes.set_axisbelow(True)
        axes.grid(axis="y", color=LINE, linewidth=0.7)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color("#aab7b8")
        axes.spines["bottom"].set_linewidth(0.7)

    def _legend(self, frame: _Frame, metrics: Sequence[Metric]) -> int:
        """Draw what the colours mean at the foot of a graph, and give how many lines that takes."""
        lines: list[list[Metric]] = [[]]
        used = 0.0
        for metric in metrics:
            wide = self._wide(metric.label, 11) + 34
            if used + wide > frame.width and lines[-1]:
                lines.append([])
                used = 0.0
            lines[-1].append(metric)
            used += wide
        y = frame.y + frame.height - 14 - LEGEND_LINE * (len(lines) - 1)
        for line in lines:
            x = frame.x + 8
            for metric in line:
                self._sheet.add_patch(Rectangle((x, y - 5), 10, 10, facecolor=metric.color, edgecolor="none"))
                self._text(x + 15, y, metric.label, 11, color=SOFT, valign="center")
                x += self._wide(metric.label, 11) + 34
            y += LEGEND_LINE
        return len(lines)

    # --------------------------------------------------------------------------------------------------- writing
    def _text(  # noqa: PLR0913 - what a text has
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        *,
        color: str = INK,
        weight: str = "normal",
        align: str = "left",
        valign: str = "center",
    ) -> None:
        self._sheet.text(
            x,
            y,
            text,
            fontsize=size * 0.72,
            color=color,
            fontweight=weight,
            ha=align,
            va="center_baseline" if valign == "center" else valign,
            parse_math=False,
        )

    def _wide(self, text: str, size: float, *, bold: bool = False) -> float:
        font = FontProperties(family="DejaVu Sans", size=size * 0.72, weight="bold" if bold else "normal")
        width, _, _ = self._canvas.get_renderer().get_text_width_height_descent(text, font, ismath=False)
        return float(width) / SHARP

    def _trimmed(self, text: str, size: float, room: float, *, bold: bool = False) -> str:
        if self._wide(text, size, bold=bold) <= room:
            return text
        while text and self._wide(text + "…", size, bold=bold) > room:
            text = text[:-1]
        return text + "…"

    def write(self, file: Path, metadata: dict[str, str]) -> None:
        """Write the picture with as few colours as do."""
        self._canvas.draw()
        size = self._canvas.get_width_height()
        full = Image.frombuffer("RGBA", size, self._canvas.buffer_rgba(), "raw", "RGBA", 0, 1).convert("RGB")
        notes = PngInfo()
        for name, text in metadata.items():
            notes.add_text(name, text)
        content = io.BytesIO()
        few = full.quantize(256, Image.Quantize.MEDIANCUT, kmeans=4, dither=Image.Dither.NONE)
        few.save(content, "PNG", optimize=True, pnginfo=notes)
        file.write_bytes(content.getvalue())


def _written(value: Value) -> str:
    if value is None:
        return "-"
    return f"{value:.10g}" if isinstance(value, float) else value.replace("\n", " ")
