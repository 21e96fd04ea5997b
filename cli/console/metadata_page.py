"""The page that sets DHIS2 up from mSupply: what would be made, its files, and the import by an administrator's login."""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cli.console.jobs import Job, begin
from cli.console.local_state import TypedSystems, typed_login
from cli.console.pages import Fields, render, told
from cli.console.state import Login, State
from cli.console.words import say
from cli.local import told_by_options
from cli.metadata import applying, files, make
from cli.metadata.comparing import State as Stand
from cli.metadata.plan import Plan
from cli.metadata.shape import Shape
from cli.metadata.wanted import KINDS, many
from msupply_dhis2.preflight.check import importance
from msupply_dhis2.settings import parse_settings


@dataclass(frozen=True, slots=True)
class MetadataPlan:
    """A plan that somebody looks at, and how it was asked for; ``id`` tells it from a later one."""

    id: str
    asked: applying.Asked
    job: Job[Plan]


@dataclass(slots=True)
class MetadataWork:
    """What the page knows: the last plan, and the last import. No login is in it."""

    plan: MetadataPlan | None = None
    job: Job[applying.Done] | None = None

    @property
    def runs(self) -> bool:
        """Whether something goes on."""
        plans = self.plan is not None and self.plan.job.is_running
        return plans or (self.job is not None and self.job.is_running)


def show(state: State, _: Request, __: Fields) -> Response:
    """Show how far it is, what would be made, or what was."""
    return _page(state)


def plan(state: State, _: Request, form: Fields) -> Response:
    """Begin to plan; where a login is typed DHIS2 is asked what it has."""
    work = _work(state)
    if not work.runs:
        asked = applying.Asked("access" in form, "update" in form)
        shape, login = Shape(form.get("shape", Shape.ITEMS)), typed_login(form)
        work.job = None
        work.plan = MetadataPlan(
            token_hex(8),
            asked,
            begin(
                say("metadata.title"), lambda _: _planned(state, shape, asked, login), say("error.unexpected")
            ),
        )
    return RedirectResponse("/metadata", 303)


def as_files(state: State, _: Request, __: Fields) -> Response:
    """Hand out the files of the plan."""
    planned = _work(state).plan
    if planned is None or planned.job.result is None:
        return told(state, say("metadata.none"))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.contents(planned.job.result).items():
            archive.writestr(f"dhis2-plan/{name}", text)
    named = {"content-disposition": 'attachment; filename="dhis2-plan.zip"'}
    return Response(packed.getvalue(), media_type="application/zip", headers=named)


def apply(state: State, _: Request, form: Fields) -> Response:
    """Import the plan that was looked at, by the login that is typed for this only."""
    work = _work(state)
    planned = work.plan
    if work.runs:
        return RedirectResponse("/metadata", 303)
    if planned is None or planned.job.result is None or planned.id != form.get("plan"):
        return told(state, say("metadata.another"))
    brief, login = planned.job.result.brief, typed_login(form)
    if login is None:
        return _page(state, say("metadata.no_login"))
    applying.insist_on_name(applying.name_of(brief.settings), form.get("name", ""))
    chosen = frozenset(each for each in applying.ServerSetting if each.value in form)
    asked = applying.Asked(planned.asked.access, planned.asked.update, chosen)

    def work_on(job: Job[applying.Done]) -> applying.Done:
        with told_by_options():
            return applying.set_up(brief, _administrator(state, login), asked, lambda _: None, job.tell)

    work.job = begin(say("metadata.title"), work_on, say("error.unexpected"))
    return RedirectResponse("/metadata", 303)


def _planned(state: State, shape: Shape, asked: applying.Asked, login: Login | None) -> Plan:
    given = parse_settings(state.document(), url=state.dhis2_url)
    brief = make.brief_of_lines(
        state.mapping(), given, shape, access=asked.access, thresholds=state.thresholds()
    )
    with told_by_options():
        return make.compared(brief, _administrator(state, login) if login else None, update=asked.update)


def _administrator(state: State, login: Login) -> TypedSystems:
    """Return the systems of which only the login is used: whoever may change DHIS2's metadata."""
    return TypedSystems(Path(), "", state.dhis2_url, typed=login.text)


def _work(state: State) -> MetadataWork:
    if state.metadata is None:
        state.metadata = MetadataWork()
    return state.metadata


def _page(state: State, fault: str = "") -> Response:
    work = _work(state)
    planned = work.plan
    made = planned.job.result if planned and not planned.job.is_running else None
    done = work.job.result if work.job and not work.job.is_running else None
    shown = done.plan if done else made
    return render(
        state,
        "metadata.html",
        fault=fault,
        is_running=work.runs,
        job=work.job or (planned and planned.job),
        planned=planned,
        made=made,
        done=done,
        kinds=_by_kind(shown) if shown else (),
        stands=[each.value for each in Stand],
        name=applying.name_of(made.brief.settings) if made else "",
        wrong=[check for check in sorted(done.report.checks, key=importance) if not check.ok] if done else [],
        zeros=made is not None and made.facts is not None and not made.facts.zeros_in_analytics,
        periods=bool(made and made.missing_period_types()),
    )


def _by_kind(planned: Plan) -> list[tuple[str, Mapping[str, int]]]:
    """Count the objects of each kind by how they stand to what DHIS2 has."""
    counts = {kind: dict.fromkeys([each.value for each in Stand], 0) for kind in KINDS}
    for each in planned.objects:
        counts[each.wanted.kind][each.state.value] += 1
    return [(many(kind), numbers) for kind, numbers in counts.items() if any(numbers.values())]
