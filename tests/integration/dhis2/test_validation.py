"""Whether values fit, decided beforehand: the stand-in of each version is the judge of the decisions."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from msupply_dhis2.dhis2.error_catalogue import CALENDAR, FRACTION
from msupply_dhis2.dhis2.import_request import UIDS, Schemes, SentValue, request_body, request_parameters
from msupply_dhis2.dhis2.metadata import read_server
from msupply_dhis2.dhis2.validation import Validator
from msupply_dhis2.dhis2.value_rules import Validated
from msupply_dhis2.domain.data_value import Column, DataValue, DataValueKey, Origin
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.outcome import ValueOutcome
from msupply_dhis2.errors import (
    Dhis2AuthenticationError,
    Dhis2Error,
    Dhis2FaultError,
    Dhis2PermanentError,
    Dhis2SlowError,
    Dhis2TransientError,
)
from msupply_dhis2.periods import PeriodFormat
from msupply_dhis2.settings import OptionComboField, Scheme
from sandbox.dhis2 import ADMIN, Metadata, User, ValueKey, Version, stock_metadata, uid
from sandbox.dhis2.metadata import (
    DEFAULT_CATEGORY_COMBO_ID,
    DEFAULT_OPTION_COMBO_ID,
    DataInputPeriod,
    MetadataAccess,
)
from sandbox.dhis2.periods import FIRST_RELEASES
from tests.support.clinic_world import (
    DATA_SET,
    METRIC,
    REPORT,
    TODAY,
    USER,
    Rules,
    clinic_world,
    is_seen,
    stored,
)
from tests.support.direct import DirectClient
from tests.support.laws import tried

VERSIONS = ("2.37", "2.40", "2.42", "2.43")
CODES = Schemes(Scheme.CODE, Scheme.CODE, Scheme.CODE, Scheme.CODE)
SUPERUSER = USER.model_copy(update={"authorities": ("ALL",)})
EDITOR = USER.model_copy(update={"authorities": ("F_DATAVALUE_ADD", "F_EDIT_EXPIRED")})


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class CountingClient(DirectClient):
    """Counts what is read, by path, and fails at it as it is told to."""

    def __init__(self, metadata: Metadata, version: str, now: date, user: User = USER) -> None:
        super().__init__(metadata, version, now, user)
        self.reads: list[str] = []
        self.failures: dict[str, Dhis2Error] = {}

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> object:
        self.reads.append(path)
        if path in self.failures:
            raise self.failures[path]
        return super().get(path, params)


def value(
    data_element: str = "NUMBER",
    text: str = "12",
    *,
    org_unit: str = "NEAR",
    period: str = "202605",
    category: str | None = None,
    attribute: str | None = None,
    scheme: Scheme = Scheme.CODE,
) -> DataValue:
    return DataValue(
        Column(
            (data_element, category, attribute), period, scheme, Metric.STOCK_ON_HAND, f"Item {data_element}"
        ),
        Origin(org_unit, f"Store {org_unit}"),
        text,
    )


def fitter_of(
    client: DirectClient,
    field: OptionComboField = OptionComboField.AUTO,
    clock: Clock | None = None,
    schemes: Schemes = CODES,
    data_set: str = DATA_SET,
) -> Validator:
    return Validator(
        client,
        data_set_id=data_set,
        schemes=schemes,
        option_combo_field=field,
        **({"clock": clock} if clock else {}),
    )


def decide(
    given: DataValue,
    rules: Rules = Rules(),  # noqa: B008 - frozen
    *,
    version: str = "2.42",
    user: User = USER,
    field: OptionComboField = OptionComboField.AUTO,
) -> Validated:
    validated = fitter_of(CountingClient(clinic_world(rules), version, TODAY, user), field).validate([given])
    assert validated is not None
    (only,) = validated
    return only


def post(client: DirectClient, row: SentValue, schemes: Schemes, data_set: str) -> None:
    """Post a row, whatever becomes of it."""
    try:
        client.post_data_values(request_body(data_set, [row], schemes), request_parameters(schemes))
    except Dhis2FaultError:
        # 2.43 answers so to a period that there is not.
        return


def as_it_is(given: DataValue, field: OptionComboField) -> list[SentValue]:
    """Return the rows by which the value could be sent without the metadata: with auto there are two."""
    category, attribute = given.key.category_option_combo, given.key.attribute_option_combo
    places = {(category, attribute)}
    if field is OptionComboField.AUTO:
        places.add((attribute, category))
    return [
        SentValue(DataValueKey(given.data_element, given.period, given.org_unit, first, second), given.value)
        for first, second in places
    ]


def check_against_server(
    rules: Rules, given: DataValue, *, version: str, user: User, field: OptionComboField
) -> Validated:
    """Insist that the stand-in does what the decision says that it would."""
    metadata = clinic_world(rules)
    client = CountingClient(metadata, version, TODAY, user)
    validator = fitter_of(client, field)
    validated = validator.validate([given])
    assert validated is not None
    (decided,) = validated
    match decided:
        case SentValue(value=""):
            assert given.value in {"0", "0.0"}
        case SentValue(key, text, vanishes=False):
            post(client, SentValue(key, text), UIDS, validator.data_set_id)
            held = stored(client.dhis2)
            undecided = bool(rules.input_periods or rules.expiry_days) or given.data_element == "OPTIONS"
            undecided = undecided or given.data_element == "SHARED" or user == SUPERUSER
            assert held == {ValueKey(**key._asdict()): text} or (undecided and not held)
        case SentValue(key, text):
            post(client, SentValue(key, text), UIDS, validator.data_set_id)
            assert stored(client.dhis2) == {}
        case ValueOutcome():
            for row in as_it_is(given, field):
                post(client, row, CODES, DATA_SET)
            seen = [key for key in stored(client.dhis2) if is_seen(metadata, key)]
            assert seen == []
    return decided


# What is refused, in the words of a server

OVER = DataInputPeriod(period="202605", closing_date=date(2026, 6, 1))
MISFITS: list[tuple[str, DataValue, Rules, str]] = [
    ("an unknown data element", value("NOTHING"), Rules(), "E7610"),
    ("a data element of another data set", value("OUTSIDE"), Rules(), "E7633"),
    ("an unknown org unit", value(org_unit="NOWHERE"), Rules(), "E7612"),
    ("an org unit without the data set", value(org_unit="UNASSIGNED"), Rules(), "E7636"),
    ("an org unit out of reach", value(org_unit="FAR"), Rules(), "E7617"),
    ("an org unit out of reach, without the data set", value(org_unit="UNASSIGNED_FAR"), Rules(), "E7617"),
    ("no period", value(period="2026/05"), Rules(), "E7611"),
    ("a month that there is not", value(period="202613"), Rules(), "E7611"),
    ("a day for a month", value(period="20260501"), Rules(), "E7632"),
    ("a month for a week", value(), Rules(period_type="Weekly"), "E7632"),
    ("the current period of a data set without open ones", value(period="202606"), Rules(open_future_periods=0), "E7641"),
    ("a period to come", value(period="202607"), Rules(), "E7641"),
    ("a period past its expiry days", value(period="202604"), Rules(expiry_days=10), "E7640"),
    ("a period that is no input period", value(), Rules(input_periods=(DataInputPeriod(period="202604"),)), "E7643"),
    ("an input period that is over", value(), Rules(input_periods=(OVER,)), "E7643"),
    ("an org unit that was closed", value(org_unit="CLOSED"), Rules(), "E8031"),
    ("an org unit that was not open yet", value(org_unit="NEW", period="202604"), Rules(), "E8031"),
    ("no option combo where the data element has several", value("BY_METRIC"), Rules(), "E7634"),
    ("no option combo where the data set gave it several", value("OVERRIDDEN"), Rules(), "E7634"),
    ("no option combo where the data set has several", value(), Rules(category_combo=REPORT), "E7635"),
    ("an option combo of something else", value(attribute="DRAFT"), Rules(), "E7634"),
    ("an option combo of other data elements", value(attribute="SOH"), Rules(category_combo=REPORT), "E7635"),
    ("an unknown option combo", value("BY_METRIC", attribute="NOPE"), Rules(), "E7613"),
    ("an unknown option combo of the data set", value(attribute="NOPE"), Rules(category_combo=REPORT), "E7615"),
    ("text for a number", value(text="many"), Rules(), "E7619"),
    ("a negative for a positive type", value("INTEGER_0", "-1"), Rules(), "E7619"),
    ("more than all", value("PERCENTAGE", "101"), Rules(), "E7619"),
    ("a fraction for a whole number", value("INTEGER", "2.5"), Rules(), FRACTION),
    ("a number for yes only", value("TRUE_ONLY", "3"), Rules(), "E7619"),
]  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("given_value", "rules", "code"), [case[1:] for case in MISFITS], ids=[case[0] for case in MISFITS]
)
def test_refused_beforehand(given_value: DataValue, rules: Rules, code: str, version: str) -> None:
    decided = check_against_server(
        rules, given_value, version=version, user=USER, field=OptionComboField.AUTO
    )
    if version == "2.43" and OVER in rules.input_periods:
        # This release has it the wrong way round: what is over is taken.
        assert isinstance(decided, SentValue)
        return
    assert isinstance(decided, ValueOutcome)
    assert [reason.code for reason in decided.reasons] == [code]


@pytest.mark.parametrize(
    ("given_value", "rules", "hint"),
    [
        (
            value("BY\u00a0METRIC"),
            Rules(),
            "Did you mean `BY_METRIC`? Character 3 is a NO-BREAK SPACE (U+00A0) in mSupply",
        ),
        (
            value(org_unit="NE\u0410R"),
            Rules(),
            "Did you mean `NEAR`? Character 3 is a CYRILLIC CAPITAL LETTER A (U+0410) in mSupply",
        ),
        (
            value("BY_METRIC", attribute="SO\u041d"),
            Rules(),
            "Did you mean `SOH`? Character 3 is a CYRILLIC CAPITAL LETTER EN (U+041D) in the settings",
        ),
    ],
)
def test_lookalike(given_value: DataValue, rules: Rules, hint: str) -> None:
    decided = decide(given_value, rules)
    assert isinstance(decided, ValueOutcome)
    assert any(hint in reason.text for reason in decided.reasons)


STORED_UNSEEN_UP_TO_2_42 = {
    "an org unit that was closed",
    "an org unit that was not open yet",
    "no option combo where the data set gave it several",
}
ROW_BY_ROW = [case for case in MISFITS if case[0] not in STORED_UNSEEN_UP_TO_2_42 and case[3] != FRACTION]


@pytest.mark.parametrize(
    ("given_value", "rules", "code"), [case[1:] for case in ROW_BY_ROW], ids=[case[0] for case in ROW_BY_ROW]
)
def test_words_of_the_server(given_value: DataValue, rules: Rules, code: str) -> None:
    decided = decide(given_value, rules)
    assert isinstance(decided, ValueOutcome)
    (reason,) = decided.reasons
    client = DirectClient(clinic_world(rules), "2.42", TODAY, USER)
    conflicts: dict[str, dict[str, Any]] = {}
    for row in as_it_is(given_value, OptionComboField.AUTO):
        body = client.post_data_values(request_body(DATA_SET, [row], CODES), request_parameters(CODES)).body
        assert isinstance(body, dict)
        conflicts |= {conflict["errorCode"]: conflict for conflict in body["response"]["conflicts"]}
    assert code in conflicts
    said = conflicts[code]
    # What is added is in brackets, or a sentence of its own; where a server names the UID we may have a code.
    assert " ".join(reason.text.split()).startswith(" ".join(said["value"].split()))


def test_first_reason_of_the_server() -> None:
    wrong_in_ways = (
        ("UNASSIGNED_FAR", "202613"),
        ("UNASSIGNED_FAR", "202605"),
        ("UNASSIGNED", "20260501"),
    )
    codes = []
    for org_unit, period in wrong_in_ways:
        decided = decide(value("INTEGER", "2.5", org_unit=org_unit, period=period))
        assert isinstance(decided, ValueOutcome)
        codes.append(decided.reasons[0].code)
    assert codes == ["E7611", "E7617", FRACTION]


def test_category_option_for_combo() -> None:
    decided = decide(value("BY_METRIC", attribute=uid("categoryOption", "SOH"), scheme=Scheme.UID))
    assert isinstance(decided, ValueOutcome)
    (reason,) = decided.reasons
    assert reason.code == "E7613"
    assert f"its category option combo is {uid('categoryOptionCombo', 'SOH')} (Soh)" in reason.text
    decided = decide(value(attribute="OPTION_DRAFT"), Rules(category_combo=REPORT))
    assert isinstance(decided, ValueOutcome)
    (reason,) = decided.reasons
    assert reason.code == "E7615"
    assert f"its category option combo is {uid('categoryOptionCombo', 'DRAFT')} (Draft)" in reason.text


def test_option_combo_in_wrong_place() -> None:
    decided = decide(value("BY_METRIC", attribute="SOH"), field=OptionComboField.ATTRIBUTE)
    assert isinstance(decided, ValueOutcome)
    # The first reason a server comes to is that the data element has no option combo.
    assert decided.reasons[0].code == "E7634"
    decided = decide(value(category="DRAFT"), Rules(category_combo=REPORT), field=OptionComboField.CATEGORY)
    assert isinstance(decided, ValueOutcome)
    assert decided.reasons[0].code == "E7634"
    assert "It is an attribute option combo, of the data set" in decided.reasons[0].text


# What is let through


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("given_value", "rules", "shaped"),
    [
        (value(text="156.666667"), Rules(), "156.666667"),
        (value("INTEGER", "5.0"), Rules(), "5"),
        (value("BOOLEAN_0", "0"), Rules(), "false"),
        (value("TRUE_ONLY", "1"), Rules(), "true"),
        (value("TEXT", "5.0"), Rules(), "5.0"),
        (value("AVERAGE_0", "0"), Rules(), "0"),
        (value(text="0"), Rules(), "0"),
        (value(period="2026-05"), Rules(), "12"),
        (value(period="202606"), Rules(), "12"),
        (value(period="2026W24"), Rules(period_type="Weekly", open_future_periods=0), "12"),
        (value("ONE_OPTION"), Rules(), "12"),
        (value(org_unit="CLOSED", period="201912"), Rules(), "12"),
        (value(period="202605"), Rules(expiry_days=14), "12"),
        (value(period="202601"), Rules(expiry_days=1, lock_exceptions=(("NEAR", "202601"),)), "12"),
        (value(), Rules(input_periods=(DataInputPeriod(period="202605", closing_date=date(2026, 6, 15)),)), "12"),
    ],
)  # fmt: skip
def test_valid_is_stored(given_value: DataValue, rules: Rules, shaped: str, version: str) -> None:
    decided = check_against_server(
        rules, given_value, version=version, user=USER, field=OptionComboField.AUTO
    )
    assert isinstance(decided, SentValue)
    assert decided.value == shaped


@pytest.mark.parametrize("version", VERSIONS)
def test_option_combo_moved(version: str) -> None:
    of_element = decide(value("BY_METRIC", attribute="SOH"), version=version)
    assert isinstance(of_element, SentValue)
    assert (of_element.key.category_option_combo, of_element.key.attribute_option_combo) == (
        uid("categoryOptionCombo", "SOH"),
        DEFAULT_OPTION_COMBO_ID,
    )
    of_data_set = decide(value(attribute="DRAFT"), Rules(category_combo=REPORT), version=version)
    assert isinstance(of_data_set, SentValue)
    assert (of_data_set.key.category_option_combo, of_data_set.key.attribute_option_combo) == (
        DEFAULT_OPTION_COMBO_ID,
        uid("categoryOptionCombo", "DRAFT"),
    )
    overridden = decide(value("OVERRIDDEN", attribute="AMC"), version=version)
    assert isinstance(overridden, SentValue)
    assert overridden.key.category_option_combo == uid("categoryOptionCombo", "AMC")


def test_only_option_combo() -> None:
    decided = decide(value("ONE_OPTION"))
    assert isinstance(decided, SentValue)
    assert decided.key.category_option_combo == uid("categoryOptionCombo", "ALONE")


@pytest.mark.parametrize("version", VERSIONS)
def test_dropped_zero(version: str) -> None:
    dropping = version != "2.43"
    for element in ("NUMBER_0", "INTEGER_0"):
        decided = check_against_server(
            Rules(), value(element, "0"), version=version, user=USER, field=OptionComboField.AUTO
        )
        assert isinstance(decided, SentValue)
        assert decided.vanishes == dropping
    assert isinstance(decide(value("NUMBER_0", "0.5"), version=version), SentValue)


def test_zero_of_yes_only() -> None:
    decided = decide(value("TRUE_ONLY", "0"))
    assert isinstance(decided, SentValue)
    assert decided.value == ""
    assert decided.key.data_element == uid("dataElement", "TRUE_ONLY")


def test_two_values_for_one_cell() -> None:
    twins = [
        value("BY_METRIC", "1", attribute="SOH"),
        value("BY_METRIC", "2", attribute="AMC"),
        value("BY_METRIC", "3", category="SOH", period="2026-05"),
    ]
    validated = fitter_of(CountingClient(clinic_world(Rules()), "2.42", TODAY)).validate(twins)
    assert validated is not None
    assert [type(each) for each in validated] == [SentValue, SentValue, ValueOutcome]
    assert isinstance(validated[2], ValueOutcome)
    (reason,) = validated[2].reasons
    assert reason.code == "E8128"
    assert reason.text.count("Item BY_METRIC, Store NEAR, stock on hand") == 2


# Where the server decides


@pytest.mark.parametrize(
    ("given_value", "rules", "user"),
    [
        (value(org_unit="FAR"), Rules(), SUPERUSER),
        (value(period="202601"), Rules(expiry_days=10), EDITOR),
        (value(period="202601"), Rules(expiry_days=10), SUPERUSER),
        (value(period="202605"), Rules(expiry_days=15), USER),
        (value(period="202605"), Rules(expiry_days=14), USER),
        (value("OPTIONS", "maybe"), Rules(), USER),
        # Up to 2.42 an org unit's first and last period, part of which it is open, are taken.
        (value(org_unit="NEW", period="2026Q2"), Rules(period_type="Quarterly"), USER),
        (value(org_unit="CLOSED", period="2020Q1"), Rules(period_type="Quarterly"), USER),
        (value(period="2026NovS2"), Rules(period_type="SixMonthlyNov", open_future_periods=0), USER),
    ],
)
def test_server_decides_in_doubt(given_value: DataValue, rules: Rules, user: User) -> None:
    assert isinstance(decide(given_value, rules, user=user), SentValue)


@pytest.mark.parametrize(
    ("org_unit", "period", "kind"),
    [
        ("NEW", "2026Q1", ValueOutcome),
        ("NEW", "2026Q2", ValueOutcome),
        ("CLOSED", "2020Q1", SentValue),
        ("CLOSED", "2020Q2", ValueOutcome),
    ],
)
def test_org_unit_opening_from_2_43(org_unit: str, period: str, kind: type) -> None:
    rules = Rules(period_type="Quarterly")
    given = value(org_unit=org_unit, period=period)
    decided = check_against_server(rules, given, version="2.43", user=USER, field=OptionComboField.AUTO)
    assert isinstance(decided, kind)


@pytest.mark.parametrize(
    ("input_period", "is_stored"),
    [
        (DataInputPeriod(period="202605"), False),
        (DataInputPeriod(period="202605", opening_date=date(2026, 7, 1)), True),
        (OVER, True),
    ],
)
def test_inverted_periods_to_server(input_period: DataInputPeriod, *, is_stored: bool) -> None:
    client = CountingClient(clinic_world(Rules(input_periods=(input_period,))), "2.43", TODAY)
    validator = fitter_of(client)
    validated = validator.validate([value()])
    assert validated is not None
    assert isinstance(validated[0], SentValue)
    post(client, SentValue(validated[0].key, validated[0].value), UIDS, validator.data_set_id)
    assert bool(stored(client.dhis2)) is is_stored


@pytest.mark.parametrize(
    ("release", "inverts"),
    [
        ("2.42.5.2", False),
        ("2.43.0", True),
        ("2.43-SNAPSHOT", True),
        ("2.43.0.2", True),
        ("43.1", True),
        ("2.43.1.1", True),
        ("2.43.2", False),
        ("2.43.2-SNAPSHOT", False),
        ("2.43.10", False),
        ("2.44.0", False),
        ("?", False),
    ],
)
def test_inverting_releases(release: str, monkeypatch: pytest.MonkeyPatch, *, inverts: bool) -> None:
    monkeypatch.setattr(Version, "release", property(lambda _: release))
    server = read_server(CountingClient(clinic_world(Rules()), "2.43", TODAY))
    assert server.inverts_input_periods is inverts


def test_input_periods_from_2_43() -> None:
    later = DataInputPeriod(period="202608", opening_date=date(2026, 7, 1))
    past = DataInputPeriod(period="202601", opening_date=date(2026, 7, 1))
    rules = Rules(expiry_days=1, input_periods=(later, past))
    for period in ("202608", "202601"):
        given = value(period=period)
        decided = check_against_server(rules, given, version="2.43", user=USER, field=OptionComboField.AUTO)
        assert isinstance(decided, SentValue)
        assert isinstance(decide(given, rules, version="2.42"), ValueOutcome)


def test_hidden_lock_exceptions() -> None:
    client = CountingClient(clinic_world(Rules(expiry_days=10)), "2.42", TODAY)
    client.failures["/api/lockExceptions"] = Dhis2PermanentError("no")
    validated = fitter_of(client).validate([value(period="202601")])
    assert validated is not None
    assert isinstance(validated[0], SentValue)


@pytest.mark.parametrize("access", MetadataAccess)
@pytest.mark.parametrize("calendar", ["ethiopian", "nepali", "thai", "islamic", "persian", "coptic"])
def test_other_calendar(calendar: str, access: MetadataAccess) -> None:
    user = USER.model_copy(update={"metadata_access": access})
    metadata = clinic_world(Rules()).model_copy(update={"calendar": calendar})
    client = CountingClient(metadata, "2.42", TODAY, user)
    validated = fitter_of(client).validate([value(period="202605"), value(org_unit="NOWHERE")])
    assert validated is not None
    for decided in validated:
        assert isinstance(decided, ValueOutcome)
        assert [reason.code for reason in decided.reasons] == [CALENDAR]
        assert f"calendar '{calendar}'" in decided.reasons[0].text


def test_corrected_calendar() -> None:
    metadata = clinic_world(Rules())
    client = CountingClient(metadata.model_copy(update={"calendar": "nepali"}), "2.42", TODAY)
    validator = fitter_of(client)
    assert validator.validate([value()]) is not None
    client.dhis2.metadata = metadata
    validated = validator.validate([value()])
    assert validated is not None
    assert isinstance(validated[0], SentValue)


def test_open_by_another_data_set() -> None:
    class TellsMore(CountingClient):
        """Names the other data sets of a data element, as real servers do."""

        def get(self, path: str, params: Mapping[str, Any] | None = None) -> object:
            answer = super().get(path, params)
            if path == "/api/dataSets" and isinstance(answer, dict):
                for entry in answer["dataSets"][0]["dataSetElements"]:
                    element = entry["dataElement"]
                    names = ("STOCK", "OTHER") if element["code"] == "SHARED" else ("STOCK",)
                    element["dataSetElements"] = [{"dataSet": {"id": uid("dataSet", name)}} for name in names]
            return answer

    codes = {}
    for version in ("2.42", "2.43"):
        validator = fitter_of(TellsMore(clinic_world(Rules()), version, TODAY))
        validated = validator.validate([value("SHARED", period="202608"), value("NUMBER", period="202608")])
        assert validated is not None
        codes[version] = [type(each) for each in validated]
    assert codes == {"2.42": [SentValue, ValueOutcome], "2.43": [ValueOutcome, ValueOutcome]}


# What is read, and when


def test_kept_five_minutes() -> None:
    clock = Clock()
    client = CountingClient(clinic_world(Rules()), "2.42", TODAY)
    validator = fitter_of(client, clock=clock)
    assert (validator.server, validator.data_set_id) == (None, DATA_SET)
    for _ in range(3):
        validator.validate([value()])
        clock.now += 100
    assert sorted(client.reads) == ["/api/dataSets", "/api/me", "/api/system/info"]
    assert validator.data_set_id == uid("dataSet", DATA_SET)
    assert validator.server is not None
    assert validator.server.version == (2, 42)
    assert validator.is_up_to_date
    clock.now += 1
    assert not validator.is_up_to_date
    validator.validate([value()])
    assert validator.is_up_to_date
    assert client.reads.count("/api/dataSets") == 2


def test_a_long_reading_is_out_of_date() -> None:
    clock = Clock()
    client = LimitedClient(clinic_world(Rules()), "2.42", TODAY)
    validator = fitter_of(client, clock=clock)
    client.left = 2
    with pytest.raises(Dhis2TransientError):
        validator.validate([value()])
    clock.now += 301
    client.left = 1
    assert validator.validate([value()]) is not None
    assert not validator.is_up_to_date


def test_fix_counts_at_once() -> None:
    clock = Clock()
    client = CountingClient(clinic_world(Rules(open_future_periods=0)), "2.42", TODAY)
    validator = fitter_of(client, clock=clock)
    current = [value(period="202606")]
    refused = validator.validate(current)
    client.dhis2.metadata = clinic_world(Rules(open_future_periods=1))
    assert refused is not None
    assert isinstance(refused[0], ValueOutcome)
    # Within a minute it is not asked for again, so that a batch of misfits does not read for each.
    clock.now += 59
    assert validator.validate(current) == refused
    assert client.reads.count("/api/dataSets") == 1
    clock.now += 2
    fixed = validator.validate(current)
    assert fixed is not None
    assert isinstance(fixed[0], SentValue)
    assert client.reads.count("/api/dataSets") == 2


def test_doubt_and_hidden_since() -> None:
    clock = Clock()
    client = CountingClient(clinic_world(Rules()), "2.42", TODAY)
    validator = fitter_of(client, clock=clock)
    assert validator.validate([value()]) is not None
    hidden = USER.model_copy(update={"metadata_access": MetadataAccess.HIDDEN})
    client.dhis2 = DirectClient(client.dhis2.metadata, "2.42", TODAY, hidden).dhis2
    clock.now += 61
    # What nobody doubts goes by what was read before; what is doubted nobody can judge now but DHIS2.
    assert validator.validate([value()]) is not None
    assert validator.validate([value("NOTHING"), value()]) is None


def test_open_period_moves_on() -> None:
    clock = Clock()
    client = CountingClient(clinic_world(Rules(period_type="Daily", open_future_periods=1)), "2.42", TODAY)
    validator = fitter_of(client, clock=clock)
    today, tomorrow = value(period="20260615"), value(period="20260616")
    validated = validator.validate([today, tomorrow])
    assert validated is not None
    assert [type(each) for each in validated] == [SentValue, ValueOutcome]
    clock.now += timedelta(days=1).total_seconds()
    client.dhis2 = DirectClient(client.dhis2.metadata, "2.42", TODAY + timedelta(days=1), USER).dhis2
    validated = validator.validate([tomorrow])
    assert validated is not None
    assert isinstance(validated[0], SentValue)


def test_strangers_looked_up_once() -> None:
    client = CountingClient(clinic_world(Rules()), "2.42", TODAY)
    validator = fitter_of(client)
    strangers = [value(f"NOTHING_{number}", org_unit=f"NOWHERE_{number}") for number in range(60)]
    validator.validate(strangers)
    validator.validate(strangers)
    assert client.reads.count("/api/dataElements") == 1
    assert client.reads.count("/api/organisationUnits") == 1


def test_strangers_not_readable() -> None:
    client = CountingClient(clinic_world(Rules()), "2.42", TODAY)
    for path in ("/api/dataElements", "/api/organisationUnits", "/api/categoryOptionCombos"):
        client.failures[path] = Dhis2PermanentError("no")
    validated = fitter_of(client).validate(
        [value("NOTHING"), value(org_unit="NOWHERE"), value("BY_METRIC", attribute="NOPE")]
    )
    assert validated is not None
    codes = [each.reasons[0].code for each in validated if isinstance(each, ValueOutcome)]
    assert codes == ["E7633", "E7636", "E7634"]
    assert {client.reads.count(path) for path in client.failures} == {1}


@pytest.mark.parametrize("access", [MetadataAccess.HIDDEN, MetadataAccess.FORBIDDEN])
def test_metadata_not_readable(
    access: MetadataAccess,
) -> None:
    clock = Clock()
    user = USER.model_copy(update={"metadata_access": access})
    client = CountingClient(clinic_world(Rules()), "2.42", TODAY, user)
    validator = fitter_of(client, clock=clock)
    assert validator.validate([value()]) is None
    asked = len(client.reads)
    clock.now += 599
    assert validator.validate([value()]) is None
    assert len(client.reads) == asked
    clock.now += 2
    client.dhis2.users[USER.username] = USER
    assert validator.validate([value()]) is not None


def test_unexpected_answer() -> None:
    class Strange(CountingClient):
        def get(self, path: str, params: Mapping[str, Any] | None = None) -> object:
            answer = super().get(path, params)
            return ["what?"] if path == "/api/me" else answer

    assert fitter_of(Strange(clinic_world(Rules()), "2.42", TODAY)).validate([value()]) is None


@pytest.mark.parametrize("whose", ["the data set's", "the data elements'"])
def test_hidden_option_combos(
    whose: str,
) -> None:
    class Hides(CountingClient):
        def get(self, path: str, params: Mapping[str, Any] | None = None) -> object:
            answer = super().get(path, params)
            if path == "/api/dataSets" and isinstance(answer, dict):
                (data_set,) = answer["dataSets"]
                if whose == "the data set's":
                    del data_set["categoryCombo"]
                else:
                    for entry in data_set["dataSetElements"]:
                        del entry["dataElement"]["categoryCombo"]
            return answer

    client = Hides(clinic_world(Rules()), "2.42", TODAY)
    astray = [value(period="20260501"), value(period="2026W20"), value(org_unit="UNASSIGNED")]
    assert fitter_of(client).validate([value()]) is None
    assert fitter_of(client).validate([*astray, value()]) is None
    validated = fitter_of(client).validate(astray)
    assert validated is not None
    codes = [each.reasons[0].code for each in validated if isinstance(each, ValueOutcome)]
    assert codes == ["E7632", "E7632", "E7636"]


@pytest.mark.parametrize(
    "error",
    [
        Dhis2AuthenticationError("no"),
        Dhis2TransientError("later"),
        Dhis2FaultError("500"),
        Dhis2SlowError("slow"),
    ],
)
def test_login_fault_is_no_hidden_data(
    error: Dhis2Error,
) -> None:
    client = CountingClient(clinic_world(Rules()), "2.42", TODAY)
    validator = fitter_of(client)
    client.failures["/api/system/info"] = error
    with pytest.raises(type(error)):
        validator.validate([value()])
    client.failures.clear()
    assert validator.validate([value()]) is not None


def test_failing_metadata() -> None:
    clock = Clock()
    client = CountingClient(clinic_world(Rules()), "2.42", TODAY)
    client.failures["/api/dataSets"] = Dhis2SlowError("slow")
    validator = fitter_of(client, clock=clock)
    for _ in range(2):
        with pytest.raises(Dhis2SlowError):
            validator.validate([value()])
    assert validator.validate([value()]) is None
    client.failures.clear()
    clock.now += 601
    assert validator.validate([value()]) is not None


class LimitedClient(CountingClient):
    """Stands behind a proxy that lets so many requests pass at a time."""

    left = 0

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> object:
        if self.left == 0:
            raise Dhis2TransientError("status 429", retry_after=120)
        self.left -= 1
        return super().get(path, params)


STRANGERS = [
    value(),
    *(value(org_unit=f"NOWHERE_{number}") for number in range(250)),
    value("NOTHING"),
    value(attribute="NO_COMBO"),
]
"""Their counterparts are looked up in several requests, and most of them are refused."""


@pytest.mark.parametrize("at_a_time", [1, 2, 3])
@pytest.mark.parametrize("wait", [1, 120, 700])
@pytest.mark.parametrize("known_for", [None, 4 * 60])
def test_rate_limit_progress(at_a_time: int, wait: float, known_for: float | None) -> None:
    clock, world = Clock(), clinic_world(Rules())
    client, unlimited = LimitedClient(world, "2.42", TODAY), CountingClient(world, "2.42", TODAY)
    validator = fitter_of(client, clock=clock)
    if known_for is not None:
        client.left = 100
        validator.validate([value()])
        clock.now += known_for
    before = len(client.reads)
    attempts, validated = 0, None
    while validated is None and attempts < 40:
        attempts += 1
        client.left = at_a_time
        try:
            validated = validator.validate(STRANGERS)
        except Dhis2TransientError:
            clock.now += wait
    assert validated == fitter_of(unlimited).validate(STRANGERS)
    # What was known for long is looked at once more where it speaks against values.
    most = len(unlimited.reads) if known_for is None else 2 * len(unlimited.reads)
    assert len(client.reads) - before <= most
    assert attempts <= most


@pytest.mark.parametrize("before_the_limit", [0, 1, 2])
def test_fix_before_broken_reading(before_the_limit: int) -> None:
    clock = Clock()
    client = LimitedClient(clinic_world(Rules(open_future_periods=0)), "2.42", TODAY)
    validator = fitter_of(client, clock=clock)
    client.left = 100
    assert [type(each) for each in validator.validate([value(period="202606")]) or ()] == [ValueOutcome]
    clock.now += 200
    client.dhis2.metadata = clinic_world(Rules(open_future_periods=1))
    client.left = before_the_limit
    values = [value(period="202606"), value(org_unit="NOWHERE")]
    with pytest.raises(Dhis2TransientError):
        validator.validate(values)
    clock.now += 120
    client.left = 100
    assert [type(each) for each in validator.validate(values) or ()] == [SentValue, ValueOutcome]


def test_uid_scheme() -> None:
    client = CountingClient(clinic_world(Rules()), "2.42", TODAY)
    by_uid = value(
        uid("dataElement", "BY_METRIC"),
        org_unit=uid("organisationUnit", "NEAR"),
        attribute=uid("categoryOptionCombo", "SOH"),
        scheme=Scheme.UID,
    )
    validated = fitter_of(client, schemes=Schemes(), data_set=uid("dataSet", DATA_SET)).validate([by_uid])
    by_code = fitter_of(client).validate([value("BY_METRIC", attribute="SOH")])
    assert validated == by_code
    assert validated is not None
    assert isinstance(validated[0], SentValue)


def test_batch_size_costs_no_reads() -> None:
    metadata = stock_metadata(
        [(f"OU_{number}", f"Clinic {number}") for number in range(32)],
        [(f"item{number}", f"Item {number}") for number in range(32)],
        ["stock_on_hand"],
    )
    client = CountingClient(metadata, "2.42", TODAY, ADMIN)
    validator = fitter_of(client, data_set="MSUPPLY_STOCK")
    values = [
        value(f"SOH_item{item}", org_unit=f"OU_{org_unit}", period="202605")
        for item in range(32)
        for org_unit in range(32)
    ]
    validated = validator.validate(values)
    assert validated is not None
    assert {type(each) for each in validated} == {SentValue}
    assert len({each.key for each in validated if isinstance(each, SentValue)}) == len(values)
    assert len(client.reads) == 3


# Whatever is set up, and whatever is sent

PERIOD_TYPES = [
    "Monthly",
    "Weekly",
    "Daily",
    "Quarterly",
    "BiWeekly",
    "WeeklyFriday",
    "QuarterlyNov",
    "SixMonthly",
    "FinancialSep",
]
near_today = st.dates(TODAY - timedelta(days=200), TODAY + timedelta(days=100))


def labels(period_type: str) -> st.SearchStrategy[str]:
    own = near_today.map(PeriodFormat.parse(period_type).label)
    other = st.builds(
        lambda name, day: PeriodFormat.parse(name).label(day), st.sampled_from(PERIOD_TYPES), near_today
    )
    odd = st.sampled_from(
        ["", "x", "2026-05", "2026-05-01", "202613", "2026W60", "2026W024", "2019-12", "199912"]
    )
    return st.one_of(own, own, other, odd)


@st.composite
def rules_and_value(draw: st.DrawFn) -> tuple[Rules, DataValue]:
    period_type = draw(st.sampled_from(PERIOD_TYPES))
    label = draw(labels(period_type))
    org_unit = draw(
        st.sampled_from(
            ["NEAR", "NEAR", "NEAR", "FAR", "CLOSED", "NEW", "UNASSIGNED", "UNASSIGNED_FAR", "NOWHERE"]
        )
    )
    inputs = st.builds(
        DataInputPeriod,
        period=st.one_of(st.just(label), near_today.map(PeriodFormat.parse(period_type).label)),
        opening_date=st.none() | near_today,
        closing_date=st.none() | near_today,
    )
    rules = Rules(
        period_type=period_type,
        open_future_periods=draw(st.integers(0, 3)),
        expiry_days=draw(st.sampled_from([0, 0, 1, 14, 15, 16, 45])),
        input_periods=draw(st.one_of(st.just(()), st.lists(inputs, max_size=2).map(tuple))),
        category_combo=draw(
            st.sampled_from([DEFAULT_CATEGORY_COMBO_ID, DEFAULT_CATEGORY_COMBO_ID, REPORT, METRIC])
        ),
        lock_exceptions=draw(st.sampled_from([(), ((org_unit, label),)])) if org_unit != "NOWHERE" else (),
    )
    elements = [
        *("NUMBER",) * 4,
        "NUMBER_0",
        "AVERAGE_0",
        "INTEGER_0",
        "INTEGER",
        "PERCENTAGE",
        "BOOLEAN_0",
        "TRUE_ONLY",
    ]
    element = draw(
        st.sampled_from(
            [*elements, "TEXT", "OPTIONS", "BY_METRIC", "OVERRIDDEN", "ONE_OPTION", "SHARED", "OUTSIDE", "?"]
        )
    )
    combo = draw(
        st.sampled_from([None, None, "SOH", "AMC", "DRAFT", "ALONE", "default", "NOPE", "OPTION_SOH"])
    )
    in_category = draw(st.booleans())
    return rules, value(
        element,
        draw(st.sampled_from(["0", "1", "12", "5.0", "2.5", "-3", "0.0", "101", "2147483648", "x"])),
        org_unit=org_unit,
        period=label,
        category=combo if in_category else None,
        attribute=None if in_category else combo,
    )


@pytest.mark.parametrize("version", VERSIONS)
@tried(150)
@given(
    rules_and_value(),
    st.sampled_from([USER, USER, EDITOR, SUPERUSER]),
    st.sampled_from(
        [OptionComboField.AUTO, OptionComboField.AUTO, OptionComboField.ATTRIBUTE, OptionComboField.CATEGORY]
    ),
)
def test_agrees_with_server(
    version: str, drawn: tuple[Rules, DataValue], user: User, field: OptionComboField
) -> None:
    rules, given_value = drawn
    # A data set cannot be of a period type that its server does not have.
    assume(FIRST_RELEASES.get(rules.period_type, 0) <= Version(version).minor)
    check_against_server(rules, given_value, version=version, user=user, field=field)
