"""The DHIS2 tab as a form: what is written in the settings document, field by field, and back again.

Fields, order, words, choices, help and defaults are those of the settings' model and its schema; faults are those of
``settings check``, each under its field. A field keeps what its author wrote, until somebody changes it on the page.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml
from pydantic import TypeAdapter

from cli.console.words import choice_in_words, say
from cli.schema import json_schema
from msupply_dhis2.domain.choices import ItemField
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.reading import kind_within
from msupply_dhis2.settings import DataElementRow, Settings
from msupply_dhis2.settings.document import Repeated
from msupply_dhis2.settings.fields import Form
from msupply_dhis2.settings.model import NEEDED_BY, Place, read_tab, written_fields
from msupply_dhis2.text import Choice

ROWS = "data_elements"
FIRST_FOLDED = "test_server"
"""What stands from here on in the model goes beyond mSupply's tab."""

_SWITCH = TypeAdapter(bool)
_LONG = {"database_ca_certificate", "dhis2_ca_certificate"}


@dataclass(frozen=True, slots=True)
class FormField:
    """A field as the page shows it.

    ``kind`` is switch, choice, number, text or long (a text of several lines); ``choices`` are values and their words.
    """

    id: str
    name: str
    title: str
    help: str
    kind: str
    value: str
    is_on: bool = False
    choices: tuple[tuple[str, str], ...] = ()
    least: int | None = None
    most: int | None = None
    example: str = ""
    fault: str = ""
    offers: str = ""
    """The id of the list of what DHIS2 has to choose from."""


@dataclass(frozen=True, slots=True)
class FormRow:
    """A row of "Data elements to push"; its faults are those of the row as a whole."""

    label: str
    fields: Mapping[str, FormField]
    fault: str


class Draft:
    """A settings document, which may have faults: what is written in it, and what can be used of that.

    Raises
    ------
    SettingsError
        It is no document of fields.
    """

    def __init__(self, document: str) -> None:
        self.document = document
        self.written: dict[str, Any] = _written_once(written_fields(document))
        if isinstance(rows := self.written.get(ROWS), list):
            self.written[ROWS] = [_written_once(row) if isinstance(row, dict) else row for row in rows]
        self.settings = read_tab(document)
        self._faults = self.settings.faults_by_place()

    @property
    def uses_dhis2(self) -> bool:
        """Whether Use DHIS2 is on."""
        return self.settings.use_dhis2 is not False

    @property
    def faults(self) -> tuple[str, ...]:
        """All faults, in the order of the tab."""
        return tuple(self._faults.values())

    @property
    def can_be_saved(self) -> bool:
        """Whether nothing is lost, and nothing would be sent wrongly, when it is saved."""
        return not (self.faults if self.uses_dhis2 else self.settings.misread)

    def faults_of_no_field(self) -> tuple[str, ...]:
        """Return the faults that no field of the page can show, and those of all rows together."""
        shown = {(name,) for name in Settings.model_fields} - {(ROWS,)}
        of_rows = [
            (ROWS, index, name)
            for index in range(len(self._written_rows()))
            for name in DataElementRow.model_fields
        ]
        whole_rows = [(ROWS, index) for index in range(len(self._written_rows()))]
        known: set[Place] = shown | set(of_rows) | set(whole_rows)
        return tuple(fault for place, fault in self._faults.items() if place not in known)

    def fields(self) -> dict[str, FormField]:
        """Return the fields of the tab by their names, without the rows, in its order."""
        return {
            name: self._field(Settings, name, self.written.get(name), (name,), name)
            for name in Settings.model_fields
            if name != ROWS
        }

    def rows(self) -> list[FormRow]:
        """Return the document's rows, and after them a row for each other metric, which is not active."""
        written = self._written_rows()
        named = {row.metric for row in self.settings.data_elements}
        written += [{"metric": metric.value, "active": False} for metric in Metric if metric not in named]
        rows = []
        for index, row in enumerate(written):
            fields = {
                name: self._field(
                    DataElementRow, name, row.get(name), (ROWS, index, name), f"{ROWS}.{index}.{name}"
                )
                for name in DataElementRow.model_fields
            }
            metric = _canonical(DataElementRow, "metric", row.get("metric"))
            rows.append(FormRow(_metric(metric), fields, self._faults.get((ROWS, index), "")))
        return rows

    def row_fields(self) -> tuple[str, ...]:
        """Return which fields of the rows the setup needs, or somebody has filled in all the same."""
        unneeded = {name for name, setups in NEEDED_BY.items() if self.settings.setup not in setups}
        if "category_option_id" in unneeded:
            unneeded.add("category_option_combo_id_scheme")
        filled = {name for row in self._written_rows() for name in row}
        return tuple(
            name for name in DataElementRow.model_fields if name != "metric" and name not in unneeded - filled
        )

    def _written_rows(self) -> list[dict[str, Any]]:
        rows = self.written.get(ROWS)
        return [row if isinstance(row, dict) else {} for row in rows] if isinstance(rows, list) else []

    def _field(self, form: type[Form], name: str, written: object, place: Place, control: str) -> FormField:
        schema = _schema(form)["properties"][name]
        default = schema.get("default")
        value = _canonical(form, name, default if written is None else written)
        kind = _kind(name, schema)
        choices = _choices(form, name)
        if value and kind == "choice" and value not in choices:
            choices = {**choices, value: value}
        return FormField(
            id=control.replace(".", "-"),
            name=control,
            title=schema["title"],
            help=schema.get("description", ""),
            kind=kind,
            value=value,
            is_on=value == "true",
            choices=tuple(choices.items()),
            least=schema.get("minimum"),
            most=schema.get("maximum"),
            example=str((schema.get("examples") or [""])[0]),
            fault=self._faults.get(place, ""),
        )

    def changed(self, form: Mapping[str, str]) -> "Draft":
        """Return the draft that a submitted form makes of this one."""
        values = dict(self._changed_fields(Settings, self.written, form, ""))
        rows = []
        before = self._written_rows()
        for index in range(_number_of_rows(form)):
            row = before[index] if index < len(before) else {}
            changed = dict(self._changed_fields(DataElementRow, row, form, f"{ROWS}.{index}."))
            if index < len(before) or changed.keys() - {"metric", "active"} or changed.get("active") is True:
                rows.append(changed)
        if rows or ROWS in self.written:
            values[ROWS] = rows
        order = [name for name in Settings.model_fields if name in values]
        return Draft(as_yaml({name: values[name] for name in order}, head=_head(self.document)))

    @staticmethod
    def _changed_fields(
        fields: type[Form], before: Mapping[str, Any], form: Mapping[str, str], prefix: str
    ) -> Iterator[tuple[str, Any]]:
        for name in fields.model_fields:
            if name == ROWS:
                continue
            schema = _schema(fields)["properties"][name]
            given = form.get(prefix + name, "")
            is_switch = schema.get("type") == "boolean"
            if is_switch:
                given = "true" if given else "false"
            default = _canonical(fields, name, schema.get("default"))
            written = _canonical(fields, name, before.get(name))
            if name != "prefix":
                # A text of several lines in a file ends with the end of a line.
                given, written = given.strip(), written.strip()
            if name in before and written == given:
                yield name, before[name]
            elif given and (given != default or name in before):
                yield name, given == "true" if is_switch else given

    def switched(self, *, on: bool) -> "Draft":
        """Return the draft with Use DHIS2 on or off; all else stays as its author wrote it, where that can be."""
        if (self.settings.use_dhis2 is True) is on and self.written.get("use_dhis2") is not None:
            return self
        word = "true" if on else "false"
        line = re.compile(r"^use_dhis2[ \t]*:.*$", re.MULTILINE)
        document, found = line.subn(f"use_dhis2: {word}", self.document)
        if found == 1 and Draft(document).written == {**self.written, "use_dhis2": on}:
            return Draft(document)
        others = {name: value for name, value in self.written.items() if name != "use_dhis2"}
        return Draft(as_yaml({"use_dhis2": on, **others}, head=_head(self.document)))

    def with_row(self, metric: str) -> "Draft":
        """Return the draft with one more row of a metric."""
        values = {**self.written, ROWS: [*self._written_rows(), {"metric": metric, "active": True}]}
        return Draft(as_yaml(values, head=_head(self.document)))

    def differences(self, other: "Draft") -> list[tuple[str, str, str]]:
        """Return what another draft changes: the field in the tab's words, what it holds here and there."""
        mine, others = dict(self._flat()), dict(other._flat())  # noqa: SLF001 - of the same class
        titles = {place: title for place, (title, _) in (mine | others).items()}
        pairs = (
            (title, mine.get(place, ("", ""))[1], others.get(place, ("", ""))[1])
            for place, title in titles.items()
        )
        return [(title, before, after) for title, before, after in pairs if before != after]

    def _flat(self) -> Iterator[tuple[Place, tuple[str, str]]]:
        for name, value in self.written.items():
            if name != ROWS:
                yield (name,), (_title(Settings, name), _shown(_canonical(Settings, name, value)))
        for index, row in enumerate(self._written_rows()):
            label = _metric(_canonical(DataElementRow, "metric", row.get("metric")))
            for name, value in row.items():
                title = say("tab.field_of_row", row=label, field=_title(DataElementRow, name))
                yield (ROWS, index, name), (title, _shown(_canonical(DataElementRow, name, value)))


def _written_once(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if not isinstance(value, Repeated)}


def as_yaml(values: Mapping[str, Any], *, head: str = "") -> str:
    """Return a settings document that is read as these fields, after the comments of its head."""
    return head + yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines, such as a certificate, as several lines, and a number without quotes."""

    def represent_str(self, text: str) -> yaml.ScalarNode:
        if re.fullmatch(r"0|[1-9]\d*", text, re.ASCII):
            return self.represent_scalar("tag:yaml.org,2002:int", text)
        style = "|" if "\n" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the settings take no aliases
        return True


_Dumper.add_representer(str, _Dumper.represent_str)


def _head(document: str) -> str:
    """Return the comments and empty lines before the first field."""
    lines = document.removeprefix("\ufeff").splitlines(keepends=True)
    end = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    return "".join(lines[:end])


def loses_comments(document: str) -> bool:
    """Return whether comments stand further down than the head, which are not kept when the page saves."""
    return any(line.lstrip().startswith("#") for line in document.removeprefix(_head(document)).splitlines())


def _number_of_rows(form: Mapping[str, str]) -> int:
    numbers = [name.split(".")[1] for name in form if name.startswith(f"{ROWS}.")]
    return max((int(number) + 1 for number in numbers if number.isdigit() and len(number) < 4), default=0)  # noqa: PLR2004 - digits


@cache
def _schema(form: type[Form]) -> dict[str, Any]:
    schema = _whole_schema()
    row: dict[str, Any] = schema["$defs"]["DataElementRow"]
    return schema if form is Settings else row


@cache
def _whole_schema() -> dict[str, Any]:
    return json_schema()


def _title(form: type[Form], name: str) -> str:
    return str(_schema(form)["properties"].get(name, {"title": name})["title"])


def _kind(name: str, schema: Mapping[str, Any]) -> str:
    if name in _LONG:
        return "long"
    if "enum" in schema:
        return "choice"
    return {"boolean": "switch", "integer": "number"}.get(schema["type"], "text")


@cache
def _choices(form: type[Form], name: str) -> dict[str, str]:
    """Return what a field can be chosen to be, each with its words."""
    choices = kind_within(form.model_fields[name].annotation, Choice) or ()
    if choices is ItemField:
        # Names of fields of mSupply are their own words.
        return {choice.value: choice.value for choice in ItemField}
    return {
        choice.value: getattr(choice, "label", None) or choice_in_words(choice.value) for choice in choices
    }


def _metric(code: str) -> str:
    return _choices(DataElementRow, "metric").get(code, code)


def _canonical(form: type[Form], name: str, value: object) -> str:
    """Return a value as the page's controls have it; what cannot be read as it is written."""
    if value is None:
        return ""
    try:
        if name in form.model_fields:
            if _schema(form)["properties"][name].get("type") == "boolean":
                return "true" if _SWITCH.validate_python(value) else "false"
            if choices := kind_within(form.model_fields[name].annotation, Choice):
                return choices(str(value)).value
    except ValueError:
        pass
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: str) -> str:
    return {"true": say("tab.on"), "false": say("tab.off")}.get(value, value)
