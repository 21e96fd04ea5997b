"""The console as an application: which page answers at which path."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from cli.console import connection_page, explain_page, preview_page, push_page, tab_page
from cli.console.local_state import LocalState
from cli.console.pages import FOLDER, Work, page, told
from cli.console.security import Security
from cli.console.words import say


def make_app(state: LocalState, *, port: int, token: str) -> Starlette:
    """Return the console of systems without a stack, for who comes with the token."""

    def get(path: str, work: Work) -> Route:
        return Route(path, page(state, work), methods=["GET"])

    def post(path: str, work: Work) -> Route:
        return Route(path, page(state, work), methods=["POST"])

    def home(_: Request) -> Response:
        return RedirectResponse("/tab", 303)

    def not_found(_: Request, __: Exception) -> Response:
        return told(state, say("error.not_found"), 404)

    def failed(_: Request, __: Exception) -> Response:
        return PlainTextResponse(say("error.unexpected"), 500)

    return Starlette(
        routes=[
            Route("/", home),
            get("/tab", tab_page.show),
            post("/tab", tab_page.submit),
            post("/tab/review", tab_page.review),
            post("/tab/edit", tab_page.edit),
            post("/tab/save", tab_page.save),
            get("/tab/settings.yaml", tab_page.download),
            get("/connection", connection_page.show),
            get("/connection/checks.csv", connection_page.as_csv),
            post("/connection", connection_page.begin_with_saved),
            post("/connection/save", connection_page.save_all_the_same),
            get("/preview", preview_page.show),
            get("/preview/values.csv", preview_page.as_csv),
            post("/preview", preview_page.compute),
            get("/push", push_page.show),
            get("/push/refused.csv", push_page.as_csv),
            post("/push/plan", push_page.plan),
            post("/push/cancel", push_page.cancel),
            post("/push/send", push_page.send),
            get("/explain", explain_page.show),
            Mount("/static", StaticFiles(directory=FOLDER / "static")),
        ],
        middleware=[Middleware(Security, port=port, token=token)],
        exception_handlers={404: not_found, Exception: failed},
    )
