"""Every answer that real DHIS2 servers were recorded with, replayed to the stand-in in the same order.

``uv run python -m tests.support.dhis2_recordings`` writes the table of docs/dhis2.md.
"""

import base64
import gzip
import http.client
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

from sandbox.dhis2 import (
    Metadata,
    OAuth2Client,
    PersonalAccessToken,
    StandIn,
    User,
    ValueKey,
    Version,
    new_token,
    uid,
)
from sandbox.dhis2.metadata import (
    DEFAULT_CATEGORY_COMBO,
    DEFAULT_CATEGORY_COMBO_ID,
    DEFAULT_OPTION_COMBO_ID,
    CategoryCombo,
    CategoryOption,
    CategoryOptionCombo,
    DataElement,
    DataInputPeriod,
    DataSet,
    OrgUnit,
)
from sandbox.dhis2.periods import parse_period, period_of
from sandbox.dhis2.values import StoredValue
from tests.support.paths import PROJECT

RECORDINGS = PROJECT.parent / "shared" / "dhis2"
DOCUMENT = PROJECT / "docs" / "dhis2.md"
VERSIONS = (Version.V2_40, Version.V2_41, Version.V2_42, Version.V2_43)

NOW = datetime.fromisoformat("2026-11-23T18:00:00")
PASSWORD = "right"
SECRET = "hush"

LEFT_OUT = {
    r"push_async|async_": (
        "asynchronous imports: this integration never asks for one, and the stored values depended on when the "
        "recorded server's scheduler ran"
    ),
    r"oauth_client_create": (
        "setting up an OAuth2 client over HTTP: whoever starts the stand-in gives it its clients"
    ),
}
"""Cases that are not compared, by the beginning of their name, and why."""


@dataclass(frozen=True)
class Case:
    """One recorded case."""

    name: str
    request: Mapping[str, Any]
    response: Mapping[str, Any]
    stored: Mapping[str, list[str]] | None

    @property
    def left_out(self) -> str | None:
        """Why it is not compared."""
        return next((why for pattern, why in LEFT_OUT.items() if re.match(pattern, self.name)), None)


def recording(version: Version) -> Path:
    return next(RECORDINGS.glob(f"{version}.*.jsonl"))


def recorded_cases(version: Version) -> list[Case]:
    path = recording(version)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [Case(line["case"], line["request"], line["response"], line.get("stored")) for line in lines]


# The metadata, as it was at each moment


def recorded_metadata(cases: list[Case]) -> Metadata:
    """Read what was set up; the servers made the ids of the option combos, so they come from the answers."""
    document = json.loads((RECORDINGS / "metadata.json").read_text())
    units: dict[str, OrgUnit] = {}
    for entry in document["organisationUnits"]:
        above = units[entry["parent"]["id"]].path if "parent" in entry else ""
        units[entry["id"]] = OrgUnit(
            id=entry["id"],
            code=entry["code"],
            name=entry["name"],
            path=f"{above}/{entry['id']}",
            opening_date=entry["openingDate"],
            closed_date=entry.get("closedDate"),
        )
    elements = [
        DataElement(
            id=entry["id"],
            code=entry["code"],
            name=entry["name"],
            value_type=entry["valueType"],
            aggregation_type=entry["aggregationType"],
            zero_is_significant=entry["zeroIsSignificant"],
            category_combo_id=entry.get("categoryCombo", {}).get("id", DEFAULT_CATEGORY_COMBO_ID),
        )
        for entry in document["dataElements"]
    ]
    # Left over from measuring: a data set of 200 data elements that no case uses, but lists show.
    rates = [DataElement(id=uid("rate", f"{n}"), code=f"RATE_{n}", name=f"Rate {n}") for n in range(200)]
    names = {entry["id"]: entry["username"] for entry in document["users"]}
    data_sets = [
        DataSet(
            id=entry["id"],
            code=entry["code"],
            name=entry["name"],
            period_type=entry["periodType"],
            open_future_periods=entry["openFuturePeriods"],
            category_combo_id=entry.get("categoryCombo", {}).get("id", DEFAULT_CATEGORY_COMBO_ID),
            data_element_ids=tuple(element["dataElement"]["id"] for element in entry["dataSetElements"]),
            org_unit_ids=tuple(unit["id"] for unit in entry["organisationUnits"]),
            writers=None
            if entry["sharing"]["public"][3] == "w"
            else tuple(
                names[who] for who, how in entry["sharing"]["users"].items() if how["access"][3] == "w"
            ),
        )
        for entry in document["dataSets"]
    ]
    rate_set = DataSet(id="nl2aByPPPhI", code="DS_RATE", name="Rate test", open_future_periods=1)
    return Metadata(
        org_units=tuple(units.values()),
        category_options=tuple(
            CategoryOption(id=entry["id"], code=entry["code"], name=entry["name"])
            for entry in document["categoryOptions"]
        ),
        category_combos=(DEFAULT_CATEGORY_COMBO, *recorded_category_combos(document, cases)),
        data_elements=(*elements, *rates),
        data_sets=(*data_sets, rate_set),
    )


def recorded_category_combos(document: Mapping[str, Any], cases: list[Case]) -> Iterator[CategoryCombo]:
    option_ids = {entry["name"]: entry["id"] for entry in document["categoryOptions"]}
    answers = {case.name: case.response["body"] for case in cases}
    of_elements = answers["dataset_read_coc"]["dataSetElements"][0]["dataElement"]["categoryCombo"]
    for entry, answered in zip(
        document["categoryCombos"], (of_elements, answers["dataset_read_aoc"]["categoryCombo"]), strict=True
    ):
        yield CategoryCombo(
            id=entry["id"],
            code=entry["code"],
            name=entry["name"],
            option_combos=tuple(
                CategoryOptionCombo(
                    id=combo["id"],
                    code=combo.get("code"),
                    name=combo["name"],
                    category_option_ids=(option_ids[combo["name"]],),
                )
                for combo in answered["categoryOptionCombos"]
            ),
        )


def recorded_users() -> list[User]:
    document = json.loads((RECORDINGS / "metadata.json").read_text())
    roles = {role["id"]: tuple(role["authorities"]) for role in document["userRoles"]}
    admin = User(username="admin", password=SecretStr(PASSWORD))
    return [admin] + [
        User(
            id=entry["id"],
            username=entry["username"],
            password=SecretStr(PASSWORD),
            first_name=entry["firstName"],
            surname=entry["surname"],
            authorities=roles[entry["userRoles"][0]["id"]],
            org_unit_ids=tuple(unit["id"] for unit in entry["organisationUnits"]),
        )
        for entry in document["users"]
    ]


def without_late_data_set(metadata: Metadata) -> Metadata:
    """Return the metadata without what was set up just before the ``push_w_…`` cases."""
    return metadata.model_copy(
        update={
            "data_elements": tuple(
                e for e in metadata.data_elements if not (e.code or "").startswith("ITEM_")
            ),
            "data_sets": tuple(data_set for data_set in metadata.data_sets if data_set.code != "DS_AOC"),
        }
    )


def with_closed_set(metadata: Metadata, **changes: object) -> Metadata:
    """Return the metadata with the data set ``DS_CLOSED`` changed."""
    return metadata.model_copy(
        update={
            "data_sets": tuple(
                data_set.model_copy(update=changes) if data_set.code == "DS_CLOSED" else data_set
                for data_set in metadata.data_sets
            )
        }
    )


def set_up(dhis2: StandIn, everything: Metadata, case: Case) -> None:
    """Change the metadata and users as whoever made the recordings did between the cases."""
    # The answer shows no dates of the data input period, but a push for its very month was refused: by 2.43 because it
    # is open, by the others as though it were closed.
    open_period = DataInputPeriod(period="202510")
    closed_period = DataInputPeriod(period="202510", closing_date=date(2025, 12, 31))
    early = without_late_data_set(everything)
    if case.name == "push_x_expired_period":
        dhis2.metadata = with_closed_set(early, expiry_days=5)
    elif case.name == "dataset_read_input_periods":
        dhis2.metadata = with_closed_set(early, data_input_periods=(open_period,))
    elif case.name == "push_x_not_input_period":
        meant = open_period if dhis2.version.inverts_input_periods else closed_period
        dhis2.metadata = with_closed_set(early, data_input_periods=(meant,))
    elif case.name == "pat_expired":
        dhis2.metadata = early
    elif case.name == "push_w_aoc_by_uid":
        dhis2.metadata = everything
    elif case.name == "pat_deleted":
        del dhis2.tokens[DELETED]
    narrow = dhis2.users["narrow"]
    dhis2.users["narrow"] = narrow.model_copy(
        update={
            "disabled": case.name.startswith("user_disabled_"),
            "account_expires": NOW.date() if case.name == "user_account_expired_basic" else None,
        }
    )


# One case: sending it, and the rows that stand in the database afterwards


@dataclass
class Tokens:
    """OAuth2's tokens, as the stand-in handed them out in the cases so far."""

    access: str = ""
    refresh: str = ""
    ended: str = ""

    def note(self, body: object) -> None:
        if isinstance(body, dict) and "access_token" in body:
            self.ended, self.access, self.refresh = self.access, body["access_token"], body["refresh_token"]


def send(dhis2: StandIn, case: Case, tokens: Tokens) -> tuple[int, Mapping[str, str], Any]:
    """Send a recorded request; each on a connection of its own, without a session."""
    request = case.request
    headers = {name: value for name, value in request["headers"].items() if name != "Authorization"}
    if "Authorization" in request["headers"]:
        headers["Authorization"] = login(case, tokens)
    if case.name == "me_no_auth_accept_html":
        headers["Accept"] = "text/html"
    query = quote(request["query"] or "", safe="=&%:,[]!@")
    connection = http.client.HTTPConnection(urlsplit(dhis2.url).netloc, timeout=30)
    connection.request(
        request["method"],
        request["path"] + (f"?{query}" if query else ""),
        body_of(case, tokens),
        headers,
    )
    response = connection.getresponse()
    text = response.read().decode()
    found = dict(response.headers)
    connection.close()
    if "json" in (response.headers["Content-Type"] or "") and text:
        body = json.loads(text)
        tokens.note(body)
        return response.status, found, body
    return response.status, found, text


PUSHER, EXPIRED, READ_ONLY, ELSEWHERE, DELETED, NEW, NARROW = (
    new_token(whose) for whose in ("pusher", "expired", "read only", "elsewhere", "deleted", "new", "narrow")
)
UNKNOWN = new_token("of nobody")
MISTYPED = PUSHER[:-1] + str(9 - int(PUSHER[-1]))
TOKENS = {
    "pat_bad": MISTYPED,
    "pat_bad_format": "not-a-token",
    "push_pat_bad": MISTYPED,
    "pat_tampered": MISTYPED,
    "pat_expired": EXPIRED,
    "pat_get_only_me": READ_ONLY,
    "push_pat_get_only": READ_ONLY,
    "pat_ip_not_allowed": ELSEWHERE,
    "pat_before_delete": DELETED,
    "pat_deleted": DELETED,
    "pat_deleted_unused": UNKNOWN,
    "push_pat_unknown": UNKNOWN,
    "push_pat_first_use_is_post": NEW,
    "pat_narrow_ok": NARROW,
    "user_disabled_pat": NARROW,
}
"""Which personal access token a case was sent with; the pusher's where it is not named."""


def recorded_tokens() -> list[PersonalAccessToken]:
    return [
        PersonalAccessToken(username="pusher", token=SecretStr(PUSHER)),
        PersonalAccessToken(username="pusher", token=SecretStr(EXPIRED), expires=NOW - timedelta(minutes=1)),
        PersonalAccessToken(username="pusher", token=SecretStr(READ_ONLY), methods=("GET",)),
        PersonalAccessToken(username="pusher", token=SecretStr(ELSEWHERE), addresses=("10.0.0.1",)),
        PersonalAccessToken(username="pusher", token=SecretStr(DELETED)),
        PersonalAccessToken(username="pusher", token=SecretStr(NEW)),
        PersonalAccessToken(username="narrow", token=SecretStr(NARROW)),
    ]


def login(case: Case, tokens: Tokens) -> str:
    """Return the header that the recordings only name."""
    scheme, _, named = case.request["headers"]["Authorization"].partition(" ")
    match scheme.lower():
        case "apitoken":
            return f"{scheme} {TOKENS.get(case.name, PUSHER)}"
        case "bearer":
            bearers = {
                "pat_as_bearer": PUSHER,
                "oauth_bearer_bad": "nonsense",
                "push_oauth_bearer_bad": "nonsense",
                "oauth_bearer_me_old_after_refresh": tokens.ended,
            }
            return f"{scheme} {bearers.get(case.name, tokens.access)}"
    found = re.search(r"user (\w+)", named)
    assert found is not None, case.name
    username = found[1]
    password = SECRET if username in ("msupply", "nope") else PASSWORD
    if "wrong_password" in case.name or "wrong_secret" in case.name:
        password = "wrong"
    elif "empty_secret" in case.name:
        password = ""
    return f"{scheme} {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


def body_of(case: Case, tokens: Tokens) -> bytes | None:
    body = case.request.get("body")
    if body is None:
        return None
    if isinstance(body, str) and "oauth" in case.name:
        password = "wrong" if case.name == "oauth_token_wrong_user" else PASSWORD
        body = body.replace("refresh_token=REDACTED", f"refresh_token={tokens.refresh}")
        return body.replace("password=REDACTED", f"password={password}").encode()
    if not isinstance(body, str):
        return json.dumps(body).encode()
    if body.startswith("gzip of "):
        return gzip.compress(body.removeprefix("gzip of ").encode())
    if body == "first 60 bytes of a gzip body":
        return gzip.compress(json.dumps({"dataValues": list(range(200))}).encode())[:60]
    return body.encode()


def table(dhis2: StandIn, *, with_attribute: bool) -> set[str]:
    """Write the stored rows as the recordings do."""
    metadata = dhis2.metadata
    lines = set()
    for key, row in dhis2.values.rows.items():
        period = known(parse_period(key.period))
        element = known(metadata.data_element.by_id(key.data_element))
        unit = known(metadata.org_unit.by_id(key.org_unit))
        combo = known(metadata.option_combo.by_id(key.category_option_combo))
        attribute = known(metadata.option_combo.by_id(key.attribute_option_combo))
        line = (
            f"{element.code}|{unit.code}|{period.first}|{period.last}|{combo.code or combo.name}|{row.value}|"
            f"{'t' if row.deleted else 'f'}|{row.stored_by}"
        )
        lines.add(
            f"{line}|attribute option combo {attribute.code or attribute.name}" if with_attribute else line
        )
    return lines


def put_right(dhis2: StandIn, stored: Mapping[str, list[str]]) -> None:
    """Store what the real server had stored, so that one difference does not bring others."""
    for line in stored["removed"]:
        dhis2.values.rows.pop(key_of(dhis2, line), None)
    for line in stored["added"]:
        value, deleted, stored_by = line.split("|")[5:8]
        dhis2.values.rows[key_of(dhis2, line)] = StoredValue(value, stored_by, NOW, NOW, deleted == "t")


def key_of(dhis2: StandIn, line: str) -> ValueKey:
    element, unit, first, last, combo, *_ = line.split("|")
    metadata = dhis2.metadata
    start = date.fromisoformat(first)
    days = (date.fromisoformat(last) - start).days
    return ValueKey(
        known(metadata.data_element.by_scheme("CODE", element)).id,
        period_of("Monthly" if days > 6 else "Weekly" if days else "Daily", start).iso,
        known(metadata.org_unit.by_scheme("CODE", unit)).id,
        next(thing.id for thing in metadata.option_combo.all if combo in (thing.code, thing.name)),
        DEFAULT_OPTION_COMBO_ID,
    )


def known[T](thing: T | None) -> T:
    assert thing is not None
    return thing


# What counts as the same

INSTANTS = {"created", "lastUpdated", "serverDate", "revision", "access_token", "refresh_token"}
OF_ME = {"id", "username", "firstName", "surname", "name", "displayName", "organisationUnits", "dataSets"}


def comparable(case: Case, status: int, headers: Mapping[str, str], body: object) -> dict[str, Any]:
    """Return what must be the same: all but instants, host names, the order of lists, and HTML."""
    found: dict[str, Any] = {"status": status}
    if case.request["method"] not in ("OPTIONS", "HEAD"):
        found["type"] = headers.get("Content-Type", "").partition(";")[0]
    if "WWW-Authenticate" in headers:
        found["challenge"] = headers["WWW-Authenticate"]
    if "Location" in headers:
        found["location"] = re.sub(r"^https?://[^/]+", "", headers["Location"])
    if case.request["method"] == "OPTIONS":
        return found
    if "html" in headers.get("Content-Type", ""):
        return {**found, "body": "HTML"}
    if case.name == "me_ok" and isinstance(body, dict):
        body = {name: value for name, value in body.items() if name in OF_ME}
    return {**found, "body": normalised(body)}


def normalised(value: object) -> object:
    if isinstance(value, dict):
        return {name: normalised(inner) for name, inner in value.items() if name not in INSTANTS}
    if isinstance(value, list):
        return sorted(
            (normalised(inner) for inner in value), key=lambda inner: json.dumps(inner, sort_keys=True)
        )
    if isinstance(value, str):
        value = re.sub(r"http://127\.0\.0\.1:\d+", "", value)
        value = re.sub(r"Default404Servlet-\w+", "Default404Servlet", value)
        return re.sub(r"(The import process failed: (java|com)\.).*", r"\1…", value, flags=re.DOTALL)
    return value


def differences(dhis2: StandIn, case: Case, tokens: Tokens) -> list[str]:
    with_attribute = case.name.startswith("push_w_")
    before = table(dhis2, with_attribute=with_attribute)
    said = comparable(case, *send(dhis2, case, tokens))
    recorded = comparable(case, case.response["status"], case.response["headers"], case.response["body"])
    found = [f"said {said}, not {recorded}"] if said != recorded else []
    if case.stored is not None:
        after = table(dhis2, with_attribute=with_attribute)
        added, removed = sorted(after - before), sorted(before - after)
        if added != sorted(case.stored["added"]) or removed != sorted(case.stored["removed"]):
            found.append(f"stored {added} for {removed}, not {case.stored}")
            put_right(dhis2, case.stored)
    return found


# All of them


@dataclass
class Agreement:
    """How far the stand-in and one recorded server say and store the same."""

    server: str
    agree: int = 0
    differences: dict[str, list[str]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    """How many cases are not compared, by the reason."""

    @property
    def recorded(self) -> int:
        return self.agree + len(self.differences) + self.left_out.total()


def replay(version: Version) -> Agreement:
    """Send every recorded request to the stand-in, in order, and compare what it says and stores."""
    cases = recorded_cases(version)
    everything = recorded_metadata(cases)
    tokens = Tokens()
    agreement = Agreement(recording(version).name.removesuffix(".jsonl"))
    with StandIn(
        without_late_data_set(everything),
        version=version,
        users=recorded_users(),
        tokens=recorded_tokens(),
        oauth2_clients=[OAuth2Client(client="msupply", secret=SecretStr(SECRET))],
        now=NOW,
    ) as dhis2:
        for case in cases:
            set_up(dhis2, everything, case)
            if case.left_out is not None:
                agreement.left_out[case.left_out] += 1
                if case.stored is not None:
                    put_right(dhis2, case.stored)
            elif found := differences(dhis2, case, tokens):
                agreement.differences[case.name] = found
            else:
                agreement.agree += 1
    return agreement


# The table in docs/dhis2.md

BEGIN, END = "<!-- agreement: begin -->\n", "<!-- agreement: end -->\n"


def agreement_table(agreements: list[Agreement]) -> str:
    lines = ["| server | recorded | the same | different | not compared |", "|---|---|---|---|---|"]
    lines += [
        f"| {one.server} | {one.recorded} | {one.agree} | {len(one.differences)} | {one.left_out.total()} |"
        for one in agreements
    ]
    reasons = dict.fromkeys(why for one in agreements for why in one.left_out)
    left_out = [
        f"- {why} ({', '.join(f'{one.left_out[why]} of {one.server}' for one in agreements)})"
        for why in reasons
    ]
    return "\n".join([*lines, "", "Not compared:", "", *left_out, ""])


def documented_table() -> str:
    return DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0]


def main() -> int:
    """Write the table into docs/dhis2.md, and the differences to standard output."""
    agreements = [replay(version) for version in VERSIONS]
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}{agreement_table(agreements)}{END}{rest.partition(END)[2]}")
    for one in agreements:
        for name, lines in one.differences.items():
            for line in lines:
                print(f"{one.server} {name}: {line}")  # noqa: T201 - a command's output
    return 0


if __name__ == "__main__":
    sys.exit(main())
