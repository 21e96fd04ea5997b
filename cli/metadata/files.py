"""The folder of a plan: what is imported, in order, the settings that fit, a page for people, and how to undo it."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cli.metadata.comparing import State
from cli.metadata.objects import Brief
from cli.metadata.plan import Plan
from cli.metadata.shape import Shape, as_document
from cli.metadata.subjects import PlannedItem, PlannedStore, Subjects, Thresholds
from cli.metadata.wanted import ACCESS, CHARTS, KINDS, MAPS, METADATA, TITLES, many
from msupply_dhis2.errors import ConfigurationError
from msupply_dhis2.settings import parse_settings
from msupply_dhis2.state.rejected_rows import safe

PLAN = "plan.json"
UNDO = "undo.json"
ACCESS_FILE = "0-access.json"
METADATA_FILE = "1-metadata.json"
CHARTS_FILE = "3-charts.json"
_VERSION = 1


def map_file(code: str) -> str:
    """Return the name of the file of one map, which is posted by itself."""
    return f"2-map-{code}.json"


def contents(plan: Plan) -> dict[str, str]:
    """Return the files of a plan, by name."""
    files = {
        ACCESS_FILE: plan.of(ACCESS),
        METADATA_FILE: plan.of(METADATA),
        **{map_file(body["code"]): body for body in plan.of(MAPS).get("maps", [])},
        CHARTS_FILE: plan.of(CHARTS),
    }
    return {
        "plan.html": page(plan),
        PLAN: _json(_record(plan.brief)),
        **{name: _json(body) for name, body in files.items() if body},
        "settings.yaml": as_document(plan.brief.settings),
        "stores-without-org-unit.csv": _csv(plan),
        UNDO: _json(undo(plan)),
    }


def write(plan: Plan, folder: Path) -> tuple[Path, ...]:
    """Write the files of a plan into a folder; those of an earlier plan go.

    Raises
    ------
    ConfigurationError
        The folder holds something else, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        strange = sorted(path.name for path in folder.iterdir())
        if strange and not (folder / PLAN).is_file():
            raise ConfigurationError(
                f"--out: {folder} holds other files ({strange[0]}), and no plan. Name a new folder, or an empty one."
            )
        for old in folder.glob("[0-3]-*.json"):
            old.unlink()
        written = []
        for name, text in contents(plan).items():
            path = folder / name
            path.write_text(text, encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise ConfigurationError(f"--out: {folder} cannot be written: {error.strerror}.") from error
    return tuple(written)


def write_undo(plan: Plan, folder: Path) -> None:
    """Write down what to delete as it is now that DHIS2 has the plan."""
    (folder / UNDO).write_text(_json(undo(plan)), encoding="utf-8")


def read(folder: Path, *, url: str | None = None) -> Brief:
    """Read what a plan is about; ``url``: another address of DHIS2 than the plan's.

    Raises
    ------
    ConfigurationError
        The folder holds no plan that can be read.
    """
    try:
        return _brief(json.loads((folder / PLAN).read_text(encoding="utf-8")), url)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} holds no plan ({PLAN}: {error.strerror}). Make one: msupply-dhis2 metadata plan --out {folder}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{folder / PLAN} is damaged ({error}). Make the plan again.") from error


def undo(plan: Plan) -> dict[str, list[dict[str, str]]]:
    """Return what this command makes in DHIS2's own form for deleting: the last that was made first."""
    kinds = {
        kind: [
            {"id": each.wanted.id}
            for each in plan.objects
            if each.wanted.kind == kind and (each.is_ours or each.state is State.NEW)
        ]
        for kind in reversed(KINDS)
    }
    return {kind: objects for kind, objects in kinds.items() if objects}


def _record(brief: Brief) -> dict[str, Any]:
    subjects = brief.subjects
    return {
        "version": _VERSION,
        "shape": brief.shape.value,
        "access": brief.access,
        "prefix": brief.prefix,
        "settings": json.loads(brief.settings.compact()),
        "items": [[item.name, item.code, *item.references] for item in subjects.items],
        "stores": [_store(store) for store in subjects.stores],
        "blank_stores": [_store(store) for store in subjects.blank_stores],
        "skipped": list(subjects.skipped),
        "thresholds": [
            subjects.thresholds.understock,
            subjects.thresholds.overstock,
            subjects.thresholds.said,
        ],
    }


def _store(store: PlannedStore) -> list[str]:
    return [store.name, store.code, store.org_unit, store.kind]


def _brief(record: Mapping[str, Any], url: str | None) -> Brief:
    if record["version"] != _VERSION:
        raise ValueError(f"version {record['version']}")
    return Brief(
        Subjects(
            tuple(PlannedItem(name, code, tuple(rest)) for name, code, *rest in record["items"]),
            tuple(PlannedStore(*each) for each in record["stores"]),
            tuple(PlannedStore(*each) for each in record["blank_stores"]),
            tuple(record["skipped"]),
            Thresholds(*record["thresholds"]),
        ),
        parse_settings(json.dumps(record["settings"]), url=url),
        Shape(record["shape"]),
        access=record["access"],
        prefix=record["prefix"],
    )


def _json(body: object) -> str:
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"


def _csv(plan: Plan) -> str:
    """Return the stores that have no org unit, with the org units of DHIS2 that it may be."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("store", "code", "why", "candidate", "candidate_code", "candidate_uid"))
    for store, why in _without_org_unit(plan):
        found = plan.org_units.candidates.get((store.name, store.code), ()) if plan.org_units else ()
        for unit in found or (None,):
            candidate = (unit.name, unit.code or "", unit.id) if unit else ("", "", "")
            rows.writerow([safe(cell) for cell in (store.name, store.code, why, *candidate)])
    return text.getvalue()


def _without_org_unit(plan: Plan) -> Iterator[tuple[PlannedStore, str]]:
    for store in plan.org_units.missing if plan.org_units else ():
        yield store, f"DHIS2 has no org unit {store.org_unit}"
    for store in plan.brief.subjects.blank_stores:
        yield store, f"{plan.brief.settings.store_field_reference} is empty in mSupply"


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = "{:,}".format
    environment.filters["many"] = many
    return environment


def page(plan: Plan) -> str:
    """Return the page that says what is new, the same, different, and what is never touched."""
    by_state = {state: [each for each in plan.objects if each.state is state] for state in State}
    kinds = [
        (
            kind,
            {state: sum(each.wanted.kind == kind for each in by_state[state]) for state in State},
        )
        for kind in KINDS
        if any(each.wanted.kind == kind for each in plan.objects)
    ]
    return _templates().get_template("plan.html").render(
        plan=plan,
        kinds=kinds,
        states=list(State),
        by_state=by_state,
        titles=TITLES,
        without=list(_without_org_unit(plan)),
        files=[ACCESS_FILE, METADATA_FILE, CHARTS_FILE],
        maps=[map_file(each.wanted.key) for each in plan.objects if each.wanted.kind == "maps" and each.sent],
        sent_access=bool(plan.of(ACCESS)),
        sent_metadata=bool(plan.of(METADATA)),
        sent_charts=bool(plan.of(CHARTS)),
        undo=UNDO,
    )  # fmt: skip
