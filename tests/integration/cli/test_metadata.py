"""DHIS2 set up from mSupply: what is made, what stays, what is refused, and what a broken import leaves."""

import json
import time
from collections.abc import Sequence
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.metadata import applying
from cli.metadata.comparing import State
from cli.metadata.files import undo
from cli.metadata.names import length
from cli.metadata.objects import Brief
from cli.metadata.plan import Plan, make_plan
from cli.metadata.refusals import RefusedImportError
from cli.metadata.shape import Shape
from cli.metadata.wanted import KINDS, OF_CATEGORIES, Body, with_identifiers
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import ConfigurationError, Dhis2DownError
from tests.support.laws import tried
from tests.support.metadata_server import DEFAULT_COMBO, MetadataServer
from tests.support.plans import ITEMS, brief, server, settings

KHMER = "ថ្នាំប៉ារ៉ាសេតាម៉ុល ៥០០ មីលីក្រាម គ្រាប់ "
LEVELS = {"SOH", "EXPIRING", "EXPIRED", "AMC", "OPENING", "CLOSING"}
FLOWS = {"ADJ", "RECEIVED", "ISSUED", "DOS"}


def apply(what: Brief, there: MetadataServer, *, update: bool = False) -> applying.Applied:
    plan = make_plan(what, there, update=update)
    applying.validate(plan, there, lambda *_: None)
    return applying.apply(plan, there, lambda *_: None)


def bodies(plan: Plan, kind: str) -> dict[str, Body]:
    return {each.wanted.key: each.wanted.body for each in plan.objects if each.wanted.kind == kind}


def states(plan: Plan) -> dict[State, int]:
    return dict(plan.counts())


class TestWhatIsWanted:
    def test_element_per_item_and_metric(self) -> None:
        elements = bodies(make_plan(brief()), "dataElements")
        assert len(elements) == 36
        assert elements["SOH_368c74bf"]["name"] == "Stock on hand - Acetylsalicylic Acid 100mg tabs"
        assert all(
            body["zeroIsSignificant"] and body["domainType"] == "AGGREGATE" for body in elements.values()
        )

    def test_aggregation_types(self) -> None:
        elements = bodies(make_plan(brief()), "dataElements")
        added_up = {code.partition("_")[0]: body["aggregationType"] for code, body in elements.items()}
        assert {word for word, how in added_up.items() if how == "LAST_IN_PERIOD"} == LEVELS
        assert {word for word, how in added_up.items() if how == "SUM"} == FLOWS
        assert added_up["OUT"] == "AVERAGE"
        assert added_up["MOS"] == "LAST_IN_PERIOD_AVERAGE_ORG_UNIT"

    @pytest.mark.parametrize(("round_off", "stock"), [(False, "NUMBER"), (True, "INTEGER")])
    def test_value_types(self, *, round_off: bool, stock: str) -> None:
        elements = bodies(make_plan(brief(given=settings(round_off=round_off))), "dataElements")
        assert elements["SOH_368c74bf"]["valueType"] == elements["ADJ_368c74bf"]["valueType"] == stock
        assert elements["DOS_368c74bf"]["valueType"] == "INTEGER_ZERO_OR_POSITIVE"

    @pytest.mark.parametrize(
        ("period_format", "basis", "kind", "open_periods"),
        [
            ("YYYYMM", "previous_month", "Monthly", 0),
            ("YYYYMM", "current_day", "Monthly", 1),
            ("Weekly", "current_day", "Weekly", 1),
            # The month before may lie in the quarter of today.
            ("Quarterly", "previous_month", "Quarterly", 1),
            ("FinancialJuly", "current_day", "FinancialJuly", 1),
        ],
    )
    def test_data_set(self, period_format: str, basis: str, kind: str, open_periods: int) -> None:
        rows = [{"metric": "stock_on_hand", "active": True, "interval": "monthly", "basis": basis,
                 "category_option_id": "SOH", "category_option_combo_id_scheme": "code"}]  # fmt: skip
        given = settings(period_format=period_format, data_elements=rows)
        (data_set,) = bodies(make_plan(brief(given=given)), "dataSets").values()
        assert (data_set["periodType"], data_set["openFuturePeriods"]) == (kind, open_periods)

    def test_fitting_settings(self) -> None:
        planned = brief().settings
        (first, *_), named = planned.active_rows, {row.prefix for row in planned.active_rows}
        assert (planned.setup.value, first.custom_field_name, first.prefix) == (
            "data_element_per_item", "universal_code", "SOH_",
        )  # fmt: skip
        assert len(named) == 12
        assert not planned.complete_faults()

    def test_two_rows_of_a_metric(self) -> None:
        row = {"metric": "stock_on_hand", "active": True, "category_option_combo_id_scheme": "code"}
        rows = [
            {**row, "interval": "monthly", "basis": "previous_month", "category_option_id": "A"},
            {**row, "interval": "daily", "basis": "current_day", "category_option_id": "B"},
        ]
        planned = brief(given=settings(data_elements=rows)).settings
        assert [row.prefix for row in planned.active_rows] == ["SOH_", "SOH1_"]

    def test_sections_by_metric(self) -> None:
        plan = make_plan(brief())
        sections = bodies(plan, "sections")
        assert [body["name"] for body in sections.values()][:2] == ["Stock on hand", "Months of stock"]
        assert sum(len(body["dataElements"]) for body in sections.values()) == 36

    def test_combos(self) -> None:
        plan = make_plan(brief(shape=Shape.COMBOS))
        combos = bodies(plan, "categoryOptionCombos")
        assert list(bodies(plan, "dataElements")) == [code for _, code in ITEMS]
        assert list(combos) == [metric.upper() for metric in Metric]
        (combo,) = bodies(plan, "categoryCombos").values()
        assert combo["skipTotal"]
        assert {body["categoryCombo"]["id"] for body in combos.values()} == {combo["id"]}
        assert not plan.brief.settings.complete_faults()

    def test_only_active_rows(self) -> None:
        plan = make_plan(brief(given=settings(["stock_on_hand", "stocked_out"])))
        assert len(bodies(plan, "dataElements")) == 6
        assert {code.split("_")[1] for code in bodies(plan, "indicators")} == {"AVAIL", "RATE"}

    def test_code_of_51_letters(self) -> None:
        plan = make_plan(brief([("Long", "x" * 47)], given=settings(["stock_on_hand"])))
        assert not bodies(plan, "dataElements")
        assert "has 51 characters, and DHIS2 takes 50" in plan.problems[0]

    def test_shared_identifier(self) -> None:
        twice = [*ITEMS, ("Aspirin", "368c74bf")]
        (problem,) = make_plan(brief(twice)).problems
        assert "neither" in problem
        assert not make_plan(brief(twice, shape=Shape.COMBOS)).problems


class TestIndicators:
    def formula(
        self, code: str, shape: Shape = Shape.ITEMS, *, include_returns: bool = False
    ) -> tuple[str, str]:
        given = settings(include_returns=include_returns)
        plan = make_plan(brief([ITEMS[0], ITEMS[1]], shape=shape, given=given))
        body = bodies(plan, "indicators")[code]
        names = {each.wanted.id: each.wanted.key for each in plan.objects}
        texts = [body["numerator"], body["denominator"]]
        for identifier, name in names.items():
            texts = [text.replace(identifier, name) for text in texts]
        return texts[0], texts[1]

    def test_months_of_stock(self) -> None:
        assert self.formula("MSUPPLY_MOS_368c74bf") == ("#{SOH_368c74bf}", "#{AMC_368c74bf}")
        assert self.formula("MSUPPLY_MOS_368c74bf", shape=Shape.COMBOS) == (
            "#{368c74bf.STOCK_ON_HAND}",
            "#{368c74bf.AVERAGE_MONTHLY_CONSUMPTION}",
        )

    def test_availability_of_all_items(self) -> None:
        above, below = self.formula("MSUPPLY_AVAIL_ALL")
        parts = [f"if(isNotNull(#{{OUT_{code}}})" for code in ("368c74bf", "14ef8a9c")]
        assert above == "+".join(f"{part},1-#{{OUT_{part[-10:-2]}}},0)" for part in parts)
        assert below == "+".join(f"{part},1,0)" for part in parts)

    def test_opening_stock_of_a_quarter(self) -> None:
        assert self.formula("MSUPPLY_OPENING_368c74bf", include_returns=True) == (
            "#{CLOSING_368c74bf}-#{RECEIVED_368c74bf}+#{ISSUED_368c74bf}-#{ADJ_368c74bf}",
            "1",
        )
        # Without the returns it would be another number.
        with pytest.raises(KeyError):
            self.formula("MSUPPLY_OPENING_368c74bf")

    def test_stocked_according_to_plan(self) -> None:
        above, _ = self.formula("MSUPPLY_PLAN_368c74bf")
        assert "#{SOH_368c74bf}>=3*#{AMC_368c74bf} && #{SOH_368c74bf}<=6*#{AMC_368c74bf}" in above


class TestNames:
    @pytest.mark.parametrize("name", ["x" * 300, KHMER * 10])
    def test_300_letters(self, name: str) -> None:
        there = server()
        apply(brief([(name, "a1"), (name, "a2")]), there)
        made = list(there.of("dataElements").values())
        assert len(made) == 24
        assert max(length(body["name"]) for body in made) <= 230
        assert max(length(body["shortName"]) for body in made) <= 50

    def test_taken_name(self) -> None:
        there = server()
        name = "Stock on hand - Amoxicillin 250mg tabs"
        there.put("dataElements", {"id": "Theirs00001", "code": "HMIS1", "name": name, "shortName": "x"})
        apply(brief(), there)
        assert there.named("dataElements", "SOH_14ef8a9c")["name"] == f"{name} (14ef8a9c)"
        assert states(make_plan(brief(), there)) == {State.SAME: len(make_plan(brief()).objects)}


def element(code: str, **more: object) -> Body:
    body: Body = {
        "id": "Theirs00001", "code": code, "name": "Theirs", "shortName": "Theirs", "domainType": "AGGREGATE",
        "valueType": "NUMBER", "aggregationType": "SUM", "categoryCombo": {"id": DEFAULT_COMBO},
    }  # fmt: skip
    return body | more


class TestWhatIsThere:
    def test_existing_object_is_kept(self) -> None:
        there = server()
        before = there.put("dataElements", element("SOH_368c74bf"))
        applied = apply(brief(), there)
        assert there.named("dataElements", "SOH_368c74bf") == before
        assert there.named("indicators", "MSUPPLY_MOS_368c74bf")["numerator"] == "#{Theirs00001}"
        (different,) = (each for each in applied.plan.objects if each.state is State.DIFFERENT)
        assert {each.field for each in different.differences} == {"name", "shortName", "aggregationType", "zeroIsSignificant"}  # fmt: skip

    def test_update_on_request(self) -> None:
        there = server()
        there.put("dataElements", element("SOH_368c74bf", optional="kept"))
        apply(brief(), there, update=True)
        now = there.named("dataElements", "SOH_368c74bf")
        assert (now["id"], now["aggregationType"], now["optional"]) == (
            "Theirs00001",
            "LAST_IN_PERIOD",
            "kept",
        )

    @pytest.mark.parametrize(
        ("more", "why"),
        [
            ({"domainType": "TRACKER"}, "domain type is TRACKER"),
            ({"valueType": "TEXT"}, "value type is TEXT"),
            ({"optionSet": {"id": "OptionSet01"}}, "option set"),
            ({"categoryCombo": {"id": "OtherCombo1"}}, "category combo of its own"),
        ],
    )
    def test_code_of_another_kind(self, more: Body, why: str) -> None:
        there = server()
        before = deepcopy(there.put("dataElements", element("SOH_368c74bf", **more)))
        plan = make_plan(brief(), there)
        assert why in plan.problems[0]
        apply(brief(), there)
        assert there.named("dataElements", "SOH_368c74bf") == before
        data_set = there.named("dataSets", "MSUPPLY_STOCK")
        assert "Theirs00001" not in json.dumps([data_set, *there.of("indicators").values()])

    def test_data_set_is_added_to(self) -> None:
        there = server()
        theirs = {"id": "OrgUnitXXXX"}
        members = [{"dataElement": {"id": "Theirs00001"}, "dataSet": {"id": "TheirSet001"}}]
        there.put("dataElements", element("OTHER"))
        there.put("organisationUnits", {"id": "OrgUnitXXXX", "code": "X", "name": "X"})
        there.put(
            "dataSets",
            {"id": "TheirSet001", "code": "MSUPPLY_STOCK", "name": "Stock", "shortName": "Stock", "periodType": "Monthly",
             "openFuturePeriods": 3, "expiryDays": 5, "categoryCombo": {"id": DEFAULT_COMBO}, "dataSetElements": members,
             "organisationUnits": [theirs], "sections": []},
        )  # fmt: skip
        apply(brief(), there)
        now = there.named("dataSets", "MSUPPLY_STOCK")
        assert (now["id"], now["expiryDays"], now["openFuturePeriods"]) == ("TheirSet001", 5, 3)
        assert theirs in now["organisationUnits"]
        assert len(now["organisationUnits"]) == 3
        assert members[0] in now["dataSetElements"]
        assert len(now["dataSetElements"]) == 37

    @pytest.mark.parametrize(("public", "problems"), [("rwrw----", 1), ("r-r-----", 0), ("--------", 0)])
    def test_who_else_may_write(self, public: str, problems: int) -> None:
        there = server()
        body = {"id": "TheirSet001", "code": "MSUPPLY_STOCK", "name": "Stock", "periodType": "Monthly"}
        there.put("dataSets", {**body, "sharing": {"public": public}})
        said = make_plan(brief(access=True), there).problems
        assert len(said) == problems
        assert all("Everybody may enter data into the data set Stock" in each for each in said)

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ({"periodType": "Weekly"}, "has the period type Weekly"),
            ({"categoryCombo": {"id": "OtherCombo1"}}, "attribute option combos"),
        ],
    )
    def test_unfit_data_set(self, more: Body, said: str) -> None:
        there = server()
        body = {"id": "TheirSet001", "code": "MSUPPLY_STOCK", "name": "Stock", "periodType": "Monthly"}
        there.put("dataSets", {**body, **more})
        with pytest.raises(ConfigurationError, match=said):
            make_plan(brief(), there)

    def test_item_is_gone(self) -> None:
        there = server()
        apply(brief(), there)
        plan = make_plan(brief(ITEMS[:2]), there)
        assert {each.code for each in plan.obsolete} >= {"SOH_12a0bf21", "OUT_12a0bf21"}
        assert len(plan.obsolete) == 12
        before = there.state()
        apply(brief(ITEMS[:2]), there)
        # But for the indicators of all items, which stay as they are too.
        assert there.state() == before

    def test_stores_without_org_unit(self) -> None:
        there = server()
        stores = (("Kamo", "KAM", "OU_KAMO"), ("Opua clinic", "OPU", "OU_GONE"))
        plan = make_plan(brief(stores=stores, blank=[("Tamaki", "TAM")]), there)
        assert plan.org_units is not None
        assert [store.name for store in plan.org_units.missing] == ["Opua clinic"]
        assert [unit.name for unit in plan.org_units.candidates["Opua clinic", "OPU"]] == ["Opua"]
        assert plan.org_units.candidates["Tamaki", "TAM"] == ()


class TestMap:
    def map_of(self, *geometry: object) -> Body:
        there = server()
        for body, place in zip(there.of("organisationUnits").values(), geometry, strict=False):
            body["geometry"] = place
        apply(brief(), there)
        (made,) = there.of("maps").values()
        return made

    def test_centre_of_the_map(self) -> None:
        corner = [[[32, -10], [33, -10], [33, -9]]]
        made = self.map_of(
            {"type": "Point", "coordinates": [31.5, -9.5]}, {"type": "Polygon", "coordinates": corner}
        )
        assert (made["longitude"], made["latitude"], made["zoom"]) == (31.75, -9.75, 6)
        assert made["mapViews"][0]["rows"][0]["items"][1] == {"id": "LEVEL-3"}

    @pytest.mark.parametrize("geometry", [None, {}, {"coordinates": []}, {"coordinates": "here"}])
    def test_without_places(self, geometry: object) -> None:
        made = self.map_of(geometry)
        assert (made["longitude"], made["zoom"]) == (0, 2)


class TestOptionCombos:
    def test_combos_made_by_dhis2(self) -> None:
        there = server()
        what = brief(shape=Shape.COMBOS)
        apply(what, there)
        own = there.objects.pop("categoryOptionCombos")
        for place, body in enumerate(own.values()):
            there.put(
                "categoryOptionCombos",
                {**body, "id": f"Generated{place:02}", "code": None, "name": "x" * place},
            )
        apply(what, there)
        assert set(there.of("categoryOptionCombos")) == {f"Generated{place:02}" for place in range(12)}
        assert there.of("categoryOptionCombos")["Generated00"]["code"] == "STOCK_ON_HAND"
        before = there.state()
        apply(what, there)
        assert there.state() == before

    def with_theirs(self, *codes: str) -> MetadataServer:
        there = server()
        there.put("categoryCombos", {"id": "TheirCombo1", "code": "THEIRS", "name": "Theirs"})
        for place, code in enumerate(codes):
            body = {
                "id": f"TheirOptn{place:02}",
                "code": code,
                "name": code,
                "categoryCombo": {"id": "TheirCombo1"},
            }
            there.put("categoryOptionCombos", body)
        return there

    def test_combos_of_the_settings(self) -> None:
        there = self.with_theirs(*(metric.upper() for metric in Metric))
        plan = apply(brief(shape=Shape.COMBOS), there).plan
        assert not plan.problems
        assert set(there.of("categoryCombos")) == {DEFAULT_COMBO, "TheirCombo1"}
        assert {body["categoryCombo"]["id"] for body in there.of("dataElements").values()} == {"TheirCombo1"}
        aspirin = there.named("dataElements", "368c74bf")["id"]
        months = there.named("indicators", "MSUPPLY_MOS_368c74bf")["numerator"]
        assert months == f"#{{{aspirin}.TheirOptn00}}"

    def test_named_by_uid(self) -> None:
        there = self.with_theirs("STOCK_ON_HAND", "EXPIRED")
        row = {"active": True, "interval": "monthly", "basis": "previous_month"}
        rows = [
            {**row, "metric": metric, "category_option_id": f"TheirOptn{place:02}"}
            for place, metric in enumerate(("stock_on_hand", "expired"))
        ]
        plan = apply(brief(shape=Shape.COMBOS, given=settings(data_elements=rows)), there).plan
        assert not plan.problems
        assert set(there.of("categoryOptionCombos")) == {"TheirOptn00", "TheirOptn01"}
        assert {body["categoryCombo"]["id"] for body in there.of("dataElements").values()} == {"TheirCombo1"}

    def test_one_more_comes_with_the_others(self) -> None:
        there = server(version="2.43.1")
        apply(brief(shape=Shape.COMBOS, given=settings(["stock_on_hand", "issued"])), there)
        more = brief(shape=Shape.COMBOS, given=settings(["stock_on_hand", "issued", "expired"]))
        plan = make_plan(more, there)
        assert [len(plan.of(OF_CATEGORIES)[kind]) for kind in OF_CATEGORIES] == [1, 1, 1, 3]
        apply(more, there)
        assert set(states(make_plan(more, there))) == {State.SAME}

    def test_missing_combo(self) -> None:
        there = self.with_theirs("STOCK_ON_HAND")
        plan = make_plan(brief(shape=Shape.COMBOS, given=settings(["stock_on_hand", "issued"])), there)
        assert plan.problems[0].startswith("Issued: DHIS2 has no option combo ISSUED")
        assert not bodies(plan, "indicators")

    def test_two_category_combos(self) -> None:
        there = self.with_theirs("STOCK_ON_HAND", "ISSUED")
        there.named("categoryOptionCombos", "ISSUED")["categoryCombo"] = {"id": "TheirCombo2"}
        with pytest.raises(ConfigurationError, match="several category combos"):
            make_plan(brief(shape=Shape.COMBOS), there)


class TestImport:
    def test_second_import(self) -> None:
        there = server()
        first = apply(brief(), there)
        before, written = there.state(), there.written
        second = apply(brief(), there)
        assert (first.changed, second.created, second.changed) == (0, 0, 0)
        assert there.state() == before
        # The cache is cleared each time: the last import may have broken off before it.
        assert there.written == written + 1

    def test_code_taken_meanwhile(self) -> None:
        there = server()
        plan = make_plan(brief(), there)
        there.put("dataElements", element("SOH_368c74bf"))
        with pytest.raises(
            RefusedImportError, match=r"Data element Stock on hand .* E5003: .* Rename or recode"
        ):
            applying.validate(plan, there, lambda *_: None)
        assert len(there.of("dataElements")) == 1

    def test_access_with_two_groups(self) -> None:
        there = server()
        apply(brief(access=True), there)
        pushers = there.named("userGroups", "MSUPPLY_PUSH")["id"]
        sharing = there.named("dataSets", "MSUPPLY_STOCK")["sharing"]
        assert sharing["public"] == "--------"
        assert sharing["userGroups"][pushers]["access"] == "r-rw----"
        written = [group for group, access in sharing["userGroups"].items() if "w" in access["access"]]
        assert written == [pushers]
        assert there.named("userRoles", "MSUPPLY_ROLE_PUSH")["authorities"] == ["F_DATAVALUE_ADD"]

    def test_access_added(self) -> None:
        there = server()
        apply(brief(), there)
        plan = make_plan(brief(access=True), there)
        # But for the map, which is put as a whole, and for what has no sharing of its own.
        assert {each.wanted.kind for each in plan.objects if each.state is State.SAME} == {
            *("sections", "indicatorTypes", "maps"),
        }
        apply(brief(access=True), there)
        sharing = there.named("dataSets", "MSUPPLY_STOCK")["sharing"]
        assert (sharing["public"], len(sharing["userGroups"])) == ("r-r-----", 2)

    def test_hidden_default_combo(self) -> None:
        there = server()
        there.objects["categoryCombos"].clear()
        apply(brief(), there)
        assert "categoryCombo" not in there.named("dataElements", "SOH_368c74bf")

    @pytest.mark.parametrize("planned", [True, False])
    def test_access_on_request(self, *, planned: bool) -> None:
        with pytest.raises(ConfigurationError, match="--access"):
            applying.plan_again(brief(access=planned), server(), access=not planned, update=False)

    def test_server_settings_by_name(self) -> None:
        there = server(version="2.43.1")
        plan = make_plan(brief(), there)
        applying.apply(plan, there, lambda *_: None)
        assert (there.zeros, there.period_types) == (False, [])
        applying.apply(make_plan(brief(), there), there, lambda *_: None, frozenset(applying.ServerSetting))
        assert there.zeros
        assert there.period_types == ["Monthly", "Quarterly", "Yearly"]

    def test_undo(self) -> None:
        there = server()
        there.put("dataElements", element("SOH_368c74bf"))
        plan = apply(brief(), there).plan
        gone = {each["id"] for objects in undo(plan).values() for each in objects}
        assert "Theirs00001" not in gone
        assert gone == {each.wanted.id for each in plan.objects} - {"Theirs00001"}
        # What refers to others goes first.
        assert next(iter(undo(plan))) == "dashboards"

    def test_small_proxy_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(applying, "_PART_BYTES", 9_000)
        whole, there = server(), server()
        apply(brief(), whole)
        there.limit = 10_000
        applied = apply(brief(), there)
        assert applied.created == len(applied.plan.objects)
        assert there.state() == whole.state()

    @pytest.mark.parametrize("items", [50, pytest.param(500, marks=pytest.mark.slow)])
    def test_many_items_in_few_calls(self, items: int) -> None:
        there = server()
        what = brief([(f"Item {number}", f"{number:08x}") for number in range(items)])
        started = time.process_time()
        make_plan(what, there)
        seconds, calls = time.process_time() - started, len(there.calls)
        apply(what, there)
        assert len(there.of("dataElements")) == 12 * items
        # One for each kind and for what the whole server says, and one more for each 450 objects that are there.
        assert calls <= 20
        assert len(there.calls) - calls <= 48 + 17 * items / 450
        assert seconds < 10


SMALL = brief(ITEMS[:2], given=settings(["stock_on_hand", "average_monthly_consumption", "stocked_out"]))
WANTED = make_plan(SMALL, server()).objects
PLACES = st.integers(0, len(WANTED) - 1)


_MEMBERS = {"dataElements": "Member00001", "organisationUnits": "OrgUnit0000", "sections": "Section0001"}


def with_some(of_us: Sequence[int], of_others: Sequence[int]) -> MetadataServer:
    """Return a server that has some of what is wanted, in some cases made by others, with members of their own."""
    there = server()
    there.put("dataElements", element("MEMBER", id="Member00001"))
    there.put("sections", {"id": "Section0001", "code": "THEIRS", "name": "Theirs"})
    all_wanted = [each.wanted for each in make_plan(SMALL, there).objects]
    theirs = {
        all_wanted[place].id: f"Theirs{place:05}"
        for place in of_others
        if all_wanted[place].kind != "indicatorTypes"
    }
    for place in (*of_us, *of_others):
        wanted = with_identifiers(all_wanted, theirs)[place]
        body = deepcopy(wanted.body)
        if place in of_others and wanted.kind != "indicatorTypes":
            body["name"] = f"{body['name']} of others"
            body |= {"shortName": f"Theirs {place}"} if "shortName" in body else {}
        if place in of_others:
            for name in wanted.adds:
                body[name] = [{"id": _MEMBERS[name]}] if name != "dataSetElements" else [
                    {"dataElement": {"id": "Member00001"}, "dataSet": {"id": body["id"]}}
                ]  # fmt: skip
        there.put(wanted.kind, body)
    return there


@tried(100)
@given(st.lists(PLACES, max_size=8), st.lists(PLACES, max_size=8))
def test_existing_and_missing(of_us: list[int], of_others: list[int]) -> None:
    there = with_some(of_us, [place for place in of_others if place not in of_us])
    before = deepcopy(there.objects)
    apply(SMALL, there)
    for kind in KINDS:
        for identifier, body in before.get(kind, {}).items():
            now = there.of(kind)[identifier]
            for name, value in body.items():
                if isinstance(value, list):
                    assert all(member in now[name] for member in value), (kind, name)
                else:
                    assert now[name] == value, (kind, name)
    after = there.state()
    assert not {State.NEW, State.ADDED_TO} & set(make_plan(SMALL, there).counts())
    apply(SMALL, there)
    assert there.state() == after


@tried(40)
@given(fails_at=st.integers(1, 5), is_done=st.booleans(), of_others=st.lists(PLACES, max_size=5))
def test_resumed(*, fails_at: int, is_done: bool, of_others: list[int]) -> None:
    whole, broken = with_some([], of_others), with_some([], of_others)
    apply(SMALL, whole)
    broken.fails_at, broken.is_done = fails_at, is_done
    try:
        apply(SMALL, broken)
    except Dhis2DownError:
        apply(SMALL, broken)
    assert broken.state() == whole.state()
