"""The console as an application: which page answers at which path."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from cli.console import (
    compare_page,
    connection_page,
    explain_page,
    history_page,
    metadata_page,
    preview_page,
    push_page,
    runs_page,
    switch_page,
    tab_page,
    today_page,
)
from cli.console.pages import FOLDER, page, told
from cli.console.security import Security
from cli.console.stack_state import StackState
from cli.console.state import State
from cli.console.words import say


def make_app(state: State, *, port: int, token: str) -> Starlette:
    """Return the console of a stack, or of systems without one, for who comes with the token."""

    def not_found(_: Request, __: Exception) -> Response:
        return told(state, say("error.not_found"), 404)

    def failed(_: Request, __: Exception) -> Response:
        return PlainTextResponse(say("error.unexpected"), 500)

    return Starlette(
        routes=[
            Route("/", page(state, today_page.show), methods=["GET"]),
            *_pages_of(state),
            *_pages_of_push(state),
            *_pages_of_metadata(state),
            *_pages_of_runs(state),
            *(_pages_of_stack(state) if isinstance(state, StackState) else []),
            Mount("/static", StaticFiles(directory=FOLDER / "static")),
        ],
        middleware=[Middleware(Security, port=port, token=token)],
        exception_handlers={404: not_found, Exception: failed},
    )


def _pages_of(state: State) -> list[Route]:
    return [
        Route("/tab", page(state, tab_page.show), methods=["GET"]),
        Route("/tab", page(state, tab_page.submit), methods=["POST"]),
        Route("/tab/review", page(state, tab_page.review), methods=["POST"]),
        Route("/tab/edit", page(state, tab_page.edit), methods=["POST"]),
        Route("/tab/save", page(state, tab_page.save), methods=["POST"]),
        Route("/tab/history", page(state, history_page.show), methods=["GET"]),
        Route("/tab/again", page(state, history_page.use_again), methods=["POST"]),
        Route("/switch", page(state, switch_page.show), methods=["GET"]),
        Route("/switch", page(state, switch_page.switch), methods=["POST"]),
        Route("/tab/settings.yaml", page(state, tab_page.download), methods=["GET"]),
        Route("/connection", page(state, connection_page.show), methods=["GET"]),
        Route("/connection/checks.csv", page(state, connection_page.as_csv), methods=["GET"]),
        Route("/connection", page(state, connection_page.begin_with_saved), methods=["POST"]),
        Route("/connection/save", page(state, connection_page.save_all_the_same), methods=["POST"]),
        Route("/preview", page(state, preview_page.show), methods=["GET"]),
        Route("/preview/values.csv", page(state, preview_page.as_csv), methods=["GET"]),
        Route("/preview", page(state, preview_page.compute), methods=["POST"]),
        Route("/explain", page(state, explain_page.show), methods=["GET"]),
        Route("/compare", page(state, compare_page.show), methods=["GET"]),
        Route("/compare", page(state, compare_page.begin), methods=["POST"]),
        Route("/compare/ticks", page(state, compare_page.tick), methods=["POST"]),
    ]


def _pages_of_push(state: State) -> list[Route]:
    return [
        Route("/push", page(state, push_page.show), methods=["GET"]),
        Route("/push/refused.csv", page(state, push_page.as_csv), methods=["GET"]),
        Route("/push/plan", page(state, push_page.plan), methods=["POST"]),
        Route("/push/stop", page(state, push_page.stop), methods=["POST"]),
        Route("/push/cancel", page(state, push_page.cancel), methods=["POST"]),
        Route("/push/send", page(state, push_page.send), methods=["POST"]),
    ]


def _pages_of_metadata(state: State) -> list[Route]:
    return [
        Route("/metadata", page(state, metadata_page.show), methods=["GET"]),
        Route("/metadata/plan", page(state, metadata_page.plan), methods=["POST"]),
        Route("/metadata/files.zip", page(state, metadata_page.as_files), methods=["GET"]),
        Route("/metadata/apply", page(state, metadata_page.apply), methods=["POST"]),
    ]


def _pages_of_runs(state: State) -> list[Route]:
    return [
        Route("/runs", page(state, runs_page.show), methods=["GET"]),
        Route("/runs/refused.csv", page(state, runs_page.refused_as_csv), methods=["GET"]),
        Route("/runs/calls", page(state, runs_page.show_calls), methods=["GET"]),
        Route("/runs/value", page(state, runs_page.show_value), methods=["GET"]),
        Route("/not-delivered", page(state, runs_page.show_not_delivered), methods=["GET"]),
        Route("/runs/stop", page(state, runs_page.stop), methods=["POST"]),
        Route("/runs/{id}", page(state, runs_page.show_run), methods=["GET"]),
    ]


def _pages_of_stack(state: StackState) -> list[Route]:
    return [
        Route("/database", page(state, tab_page.save_database), methods=["POST"]),
        Route("/runs/again", page(state, runs_page.again), methods=["POST"]),
        Route("/runs/send-again", page(state, runs_page.send_again), methods=["POST"]),
        Route("/runs/pause", page(state, runs_page.pause), methods=["POST"]),
        Route("/runs/resume", page(state, runs_page.resume), methods=["POST"]),
    ]
