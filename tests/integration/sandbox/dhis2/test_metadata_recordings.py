"""The stand-in is set up as real servers were, case after case, and says the same."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import requests

from sandbox.dhis2 import Metadata, StandIn, Version
from sandbox.dhis2.metadata import OrgUnit
from tests.support.dhis2_recordings import VERSIONS
from tests.support.metadata_recordings import MORE, PASSWORDS, differences, recorded, send

pytestmark = pytest.mark.skipif(
    not MORE.is_dir(), reason="the recorded answers of real servers (../shared/dhis2) are not here"
)

ROOT = OrgUnit(id="kpzj5PlYrPM", code="OU_ROOT", name="Demo Country", path="/kpzj5PlYrPM")
NOW = datetime.fromisoformat("2026-11-29T01:30:00")
GROUPS = ("HpP0Mybkkcy", "hn1GXxrvEIT", "lOeOaGkUEc2")
USERS = {"zm_pusher": "Wb4891f4pX1", "zm_viewer": "zmViewer001", "zm_meta": "FxomEZipcIA"}
METRIC = {
    "domainType": "AGGREGATE",
    "valueType": "NUMBER",
    "aggregationType": "LAST_IN_PERIOD",
    "zeroIsSignificant": True,
    "categoryCombo": {"id": "bjDvmb4bfuf"},
    "sharing": {
        "public": "--------",
        "userGroups": {
            "HpP0Mybkkcy": {"id": "HpP0Mybkkcy", "access": "r-------"},
            "hn1GXxrvEIT": {"id": "hn1GXxrvEIT", "access": "r-------"},
            "lOeOaGkUEc2": {"id": "lOeOaGkUEc2", "access": "rw------"},
        },
    },
}

CASES = """
validate_mode_FULL validate_mode_DEBUG validate_missing_importmode_default delete_orgunits_strategy
err_duplicate_code err_duplicate_name err_duplicate_short_name err_duplicate_in_payload err_name_231 err_short_name_51
err_code_51 err_no_name no_category_combo err_missing_reference err_missing_reference_data_set err_bad_enum
unknown_property err_bad_uid no_uid empty_payload strategy_create_existing strategy_update_missing
atomic_all_one_bad atomic_none_one_bad identifier_uid_same_code_other_uid identifier_code_no_uid
update_fewer_elements_org_units update_fewer_mergeMode_MERGE update_skipSharing update_without_lists create_skipSharing
create_without_sharing data_set_element_missing collection_add_org_units collection_add_org_unit_again patch_add_element
owner_write_back metadata_pusher import_without_authority indicator_bad_expression err_user_password user_without_password
err_user_username_taken delete_missing_strategy delete_missing commit_update_without_write_access
maintenance_cache_clear analytics_start_pusher cache_clear_pusher coc_update_pusher setting_include_zero_pusher
setting_include_zero setting_include_zero_read metadata_no_auth user_username_taken_commit
fresh_set_import fresh_set_push_1 fresh_set_push_2 fresh_set_push_3 fresh_set_cache_clear fresh_set_push_4
org_units_below_parent org_units_of_parent_path default_coc_aoc org_unit_same_name_other_code
org_unit_without_opening_date org_unit_without_parent commit_3b_dashboards
output_period_types_before output_period_types_set
combo_own_cocs_incomplete combo_and_cocs_validate_incomplete coc_update_maintenance coc_update_maintenance_one_post
map_put_with_legendset map_form_noid map_form_cols maps_without_legendset map_form_cols_noleg map_form_nomapviews
map_two_step_2 map_post map_put map_delete_own map_post_columns map_put_columns_noid map_put_metadata_skip
map_put_with_last_updated
""".split()  # noqa: SIM905 - 70 names in quotation marks are harder to read
"""Those that the stand-in can be asked one after the other, in an order in which each finds what it needs."""


LEFT_OUT = {
    (Version.V2_43, "org_units_below_parent"): "org units of another trial were there already",
    (Version.V2_43, "org_units_of_parent_path"): "org units of another trial were there already",
    (Version.V2_43, "map_post"): "/api/metadata had made the map already",
    (Version.V2_43, "map_put"): "/api/metadata had made the map already",
    (Version.V2_43, "map_delete_own"): "/api/metadata had made the map already",
    (
        Version.V2_40,
        "commit_update_without_write_access",
    ): "the user could write there, and the database refused it",
}


@pytest.fixture(scope="module", params=VERSIONS)
def dhis2(request: pytest.FixtureRequest) -> Iterator[StandIn]:
    with StandIn(Metadata(org_units=(ROOT,)), version=request.param, now=NOW) as server:
        yield server


def admin(dhis2: StandIn, path: str, body: object) -> dict[str, Any]:
    answer = requests.post(
        f"{dhis2.url}/api/{path}", json=body, auth=("admin", PASSWORDS["admin"]), timeout=10
    )
    assert answer.ok, answer.text
    found: dict[str, Any] = answer.json()
    return found


def element(identifier: str, code: str, name: str, **changes: object) -> dict[str, object]:
    return {**METRIC, "id": identifier, "code": code, "name": name, "shortName": code, **changes}


def prepare(dhis2: StandIn, name: str) -> None:
    """Make what the recorded server had at that time, and what the recording has no whole request for."""
    if name == "err_duplicate_code":
        users = [
            {
                "id": identifier,
                "username": user,
                "password": PASSWORDS[user],
                "firstName": "ZM",
                "surname": user.removeprefix("zm_").capitalize(),
                "userRoles": [{"id": "HNus24YYgLn"}] if user == "zm_pusher" else [],
                "organisationUnits": [{"id": "u9QBQd0EtQP"}],
            }
            for user, identifier in USERS.items()
        ]
        groups = [
            {"id": group, "code": group, "name": group, "users": [{"id": user}]}
            for group, user in zip(GROUPS, USERS.values(), strict=True)
        ]
        elements = [
            element("xJ5RzhgYrC4", "ZM_E_A", "ZM E A"),
            element("zQn85lM7nA8", "ZM_SOH_368c74bf", "ZM Stock on hand"),
        ]
        admin(
            dhis2,
            "metadata",
            {
                "organisationUnits": recorded(dhis2.version)["validate_mode_FULL"].body["organisationUnits"],
                "userRoles": [{"id": "HNus24YYgLn", "name": "ZM Pusher", "authorities": ["F_DATAVALUE_ADD"]}],
                "users": users,
                "userGroups": [group | {"users": []} for group in groups[2:]] + groups[:2],
                "dataElements": elements,
                "legendSets": [{"id": "RUMynIrNFAM", "name": "ZM Availability", "legends": []}],
                "indicators": [
                    {
                        "id": "MssLKJyshxB",
                        "name": "ZM Availability",
                        "shortName": "ZM Availability",
                        "indicatorType": {"id": "Xufg5HdB3hK"},
                        "numerator": "#{xJ5RzhgYrC4}",
                        "denominator": "1",
                    }
                ],
                "indicatorTypes": [{"id": "Xufg5HdB3hK", "name": "Percent", "factor": 100}],
                "categoryOptions": [
                    {"id": option, "name": option, "shortName": option}
                    for option in ("dNyZrjxNBSV", "TBa0yBp1rLP", "ulkZ1PuUoEM", "otherOptio1")
                ],
                "categories": [
                    {
                        "id": category,
                        "name": category,
                        "shortName": category,
                        "categoryOptions": [{"id": each} for each in options],
                    }
                    for category, options in {
                        "keRbrSGXRzo": ("dNyZrjxNBSV", "TBa0yBp1rLP"),
                        "bx973QcvdPu": ("ulkZ1PuUoEM", "otherOptio1"),
                    }.items()
                ],
            },
        )
    if name == "update_fewer_elements_org_units":
        body = recorded(dhis2.version)["err_missing_reference_data_set"].body["dataSets"][0]
        admin(
            dhis2,
            "metadata",
            {
                "dataSets": [
                    {
                        **body,
                        "organisationUnits": body["organisationUnits"][:2],
                        "dataSetElements": body["dataSetElements"][:1],
                    }
                ]
            },
        )
    if name == "commit_update_without_write_access":
        dhis2.users["zm_meta"] = dhis2.users["zm_meta"].model_copy(
            update={"authorities": ("F_DATAELEMENT_PRIVATE_ADD",)}
        )


def test_says_what_the_server_said(dhis2: StandIn) -> None:
    wrong = []
    for name in CASES:
        case = recorded(dhis2.version).get(name)
        if case is None or (dhis2.version, name) in LEFT_OUT:
            continue
        assert case.is_whole, name
        prepare(dhis2, name)
        found = differences(case, send(dhis2, case))
        wrong += [f"{name}: {each}" for each in found]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("version", VERSIONS)
def test_takes_what_servers_took(version: Version) -> None:
    """The calls that set real servers up, in order: then again, when each object counts as updated."""
    with StandIn(Metadata(org_units=(ROOT,)), version=version, now=NOW) as server:
        for shape in ("item", "coc", "aoc"):
            (file,) = (MORE / "payloads").glob(f"payload-{shape}-{version}.*.json")
            calls = json.loads(file.read_text(encoding="utf-8"))["calls"]
            for call in calls:
                answer = requests.request(
                    call["method"],
                    f"{server.url}{call['path']}?{call['query'] or ''}",
                    json=call["body"],
                    auth=("admin", PASSWORDS["admin"]),
                    timeout=10,
                )
                stats = answer.json().get("response", {}).get("stats") if answer.text else None
                assert (answer.status_code, stats) == (call["answer_status"], call["answer_stats"]), (
                    answer.text[:600]
                )
            first = calls[0]
            again = admin(server, f"metadata?{first['query']}", first["body"])["response"]["stats"]
            assert (again["created"], again["updated"]) == (0, first["answer_stats"]["created"])
