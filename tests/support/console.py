"""The console in a test: a browser without JavaScript that fills in and submits the forms of a page."""

import time
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from starlette.testclient import TestClient

from cli.console.app import make_app
from cli.console.local_state import LocalState
from cli.console.state import State
from cli.local import Systems

PORT = 7654
ADDRESS = f"http://127.0.0.1:{PORT}"
TOKEN = "the-token"


@dataclass
class Form:
    """A form of a page: where it goes, and what it holds as it stands."""

    action: str
    values: dict[str, str] = field(default_factory=dict)


class Page(HTMLParser):
    """What a test looks at of a page: its text, forms and links."""

    def __init__(self, status: int, source: str) -> None:
        super().__init__()
        self.status, self.source = status, source
        self.forms: list[Form] = []
        self.links: list[str] = []
        self._words: list[str] = []
        self._select = self._area = ""
        self.feed(source)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._words).split())

    def form(self, action: str) -> Form:
        (found,) = (form for form in self.forms if form.action == action)
        return found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name, value = given.get("name") or "", given.get("value") or ""
        match tag:
            case "form":
                self.forms.append(Form(given.get("action") or ""))
            case "a" if given.get("href"):
                self.links.append(str(given["href"]))
            case "input" if name and given.get("type") not in {"file", "submit"}:
                if given.get("type") not in {"checkbox", "radio"} or "checked" in given:
                    self.forms[-1].values[name] = value
            case "select":
                self._select = name
            case "option" if self._select and (
                "selected" in given or self._select not in self.forms[-1].values
            ):
                self.forms[-1].values[self._select] = value
            case "textarea":
                self._area = name
                self.forms[-1].values[name] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = ""
        if tag == "textarea":
            # HTML drops the first line's end.
            area = self.forms[-1].values[self._area]
            self.forms[-1].values[self._area] = area.removeprefix("\n")
            self._area = ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self.forms[-1].values[self._area] += data
        else:
            self._words.append(data)


class Browser[S: State = LocalState]:
    """One officer's browser, which has opened the printed address."""

    def __init__(self, state: S) -> None:
        self.state = state
        app = make_app(state, port=PORT, token=TOKEN)
        self.client = TestClient(app, base_url=ADDRESS, headers={"origin": ADDRESS})
        self.open(f"/?token={TOKEN}")

    def open(self, path: str) -> Page:
        answer = self.client.get(path)
        return Page(answer.status_code, answer.text)

    def wait(self, path: str) -> Page:
        """Open a page until what it tells of is over, as it does itself."""
        while True:
            page = self.open(path)
            if 'http-equiv="refresh"' not in page.source:
                return page
            time.sleep(0.02)

    def submit(self, page: Page, to: str, *, at: str | None = None, **changes: str | None) -> Page:
        """Submit a form of a page with changes; ``None`` takes a field out, as a box that is not ticked."""
        values: dict[str, str | None] = {**page.form(to).values, **changes}
        given = {name: value for name, value in values.items() if value is not None}
        answer = self.client.post(at or to, data=given)
        return Page(answer.status_code, answer.text)


def browser(settings: Path, source: str = "sqlite:///there-is-none.sqlite", **options: object) -> Browser:
    """Return a browser at the console of these systems."""
    return Browser(LocalState(Systems(settings, source, **options)))  # type: ignore[arg-type]
