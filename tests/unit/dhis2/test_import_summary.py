"""What became of each value, read from answers of all three generations of DHIS2."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.dhis2.client import Answer
from msupply_dhis2.dhis2.error_catalogue import HELD_BACK, NO_REASON
from msupply_dhis2.dhis2.import_summary import ImportSummary, read_import_summary
from msupply_dhis2.domain.outcome import Counts, Extent, Reason
from msupply_dhis2.errors import Dhis2Error, Dhis2TransientError

type Json = dict[str, object]

COMPLETED = "Import process completed successfully"


def summary(
    status: str,
    counts: Sequence[int],
    conflicts: Sequence[Json] = (),
    rejected: Sequence[int] = (),
    description: str | None = COMPLETED,
) -> Json:
    """An import summary; those of 2.43 have no description."""
    body: Json = {
        "responseType": "ImportSummary",
        "status": status,
        "importCount": dict(zip(("imported", "updated", "ignored", "deleted"), counts, strict=True)),
        "conflicts": list(conflicts),
        "rejectedIndexes": list(rejected),
    }
    return body if description is None else {**body, "description": description}


def in_message(inner: Json, http_status: int) -> Answer:
    return Answer(http_status, {"httpStatusCode": http_status, "status": inner["status"], "response": inner})


def row_conflict(code: str, text: str, *indexes: int, name: str = "orgUnit") -> Json:
    return {"object": "X", "value": text, "errorCode": code, "property": name, "indexes": list(indexes)}


def group_conflict(code: str, text: str, *indexes: int) -> Json:
    return {"objects": {"args": "…"}, "value": text, "errorCode": code, "indexes": list(indexes)}


def counts_of(outcome: ImportSummary) -> tuple[int, int, int, int]:
    counts = Counts.of(outcome.outcomes.values())
    return counts.stored + counts.deleted, counts.unchanged, counts.rejected, counts.unaccounted


def rejected(outcome: ImportSummary) -> dict[int, tuple[Reason, ...]]:
    return {index: each.reasons for index, each in enumerate(outcome.outcomes.values()) if each.reasons}


def test_imported_and_updated() -> None:
    outcome = read_import_summary(in_message(summary("SUCCESS", (3, 2, 0, 0)), 200), 5)
    assert counts_of(outcome) == (5, 0, 0, 0)


def test_unchanged_before_2_43() -> None:
    outcome = read_import_summary(in_message(summary("SUCCESS", (1, 1, 3, 0)), 200), 5)
    assert counts_of(outcome) == (2, 3, 0, 0)


def test_bare_summary_2_37() -> None:
    outcome = read_import_summary(Answer(200, summary("SUCCESS", (4, 1, 0, 0))), 5)
    assert counts_of(outcome) == (5, 0, 0, 0)


def test_conflict_status_before_2_43() -> None:
    conflict = row_conflict("E7612", "Organisation unit not found or not accessible: `X`", 1, 3)
    outcome = read_import_summary(in_message(summary("WARNING", (2, 0, 3, 0), [conflict], [1, 3]), 409), 5)
    assert counts_of(outcome) == (2, 1, 2, 0)
    first, second = rejected(outcome).values()
    assert list(rejected(outcome)) == [1, 3]
    assert (
        first
        == second
        == (Reason("E7612", "Organisation unit not found or not accessible: `X`", Extent.VALUE),)
    )


def test_two_reasons_one_rejection() -> None:
    conflicts = [row_conflict("E7610", "no data element", 0), row_conflict("E7619", "no number", 0)]
    outcome = read_import_summary(in_message(summary("WARNING", (1, 0, 1, 0), conflicts, [0]), 409), 2)
    assert counts_of(outcome) == (1, 0, 1, 0)
    assert rejected(outcome)[0] == (Reason("E7610", "no data element"), Reason("E7619", "no number"))


def test_no_rejected_indexes() -> None:
    inner = summary("WARNING", (1, 0, 1, 0), [row_conflict("E7619", "no number", 1)])
    del inner["rejectedIndexes"]
    assert list(rejected(read_import_summary(in_message(inner, 409), 2))) == [1]


def test_index_without_conflict() -> None:
    outcome = read_import_summary(in_message(summary("SUCCESS", (1, 0, 1, 0), [], [0]), 200), 2)
    assert counts_of(outcome) == (1, 0, 1, 0)
    assert rejected(outcome)[0][0].code == NO_REASON


def test_vanished_zero() -> None:
    outcome = read_import_summary(in_message(summary("SUCCESS", (1, 0, 0, 0)), 200), 2)
    assert counts_of(outcome) == (1, 0, 0, 1)


def test_zero_that_wiped_a_value() -> None:
    outcome = read_import_summary(in_message(summary("SUCCESS", (0, 0, 0, 1)), 200), 1)
    assert counts_of(outcome) == (0, 0, 0, 1)
    assert outcome.deleted == 1


def test_conflict_without_indexes() -> None:
    conflict: Json = {
        "object": "DS",
        "value": "Data set not found or not accessible: `DS`",
        "errorCode": "E7600",
    }
    outcome = read_import_summary(in_message(summary("ERROR", (0, 0, 0, 0), [conflict]), 409), 3)
    assert counts_of(outcome) == (0, 0, 3, 0)
    assert {(one[0].code, one[0].extent) for one in rejected(outcome).values()} == {("E7600", Extent.REQUEST)}


def test_reasons_without_place_2_36() -> None:
    conflict: Json = {"object": "X", "value": "Data element not found or not accessible"}
    outcome = read_import_summary(Answer(200, summary("WARNING", (3, 0, 2, 0), [conflict])), 5)
    assert counts_of(outcome) == (3, 0, 0, 2)
    assert [reason.text for reason in outcome.unplaced] == ["Data element not found or not accessible"]


def test_named_value_is_guilty_2_43() -> None:
    conflict = group_conflict("E8103", "Value #2 data element not found: `SOH_X`", -1)
    outcome = read_import_summary(
        in_message(summary("ERROR", (0, 0, 0, 0), [conflict], description=None), 409), 4
    )
    reasons = rejected(outcome)
    assert [reasons[index][0].code for index in range(4)] == [HELD_BACK, HELD_BACK, "E8103", HELD_BACK]
    assert reasons[2][0].extent is Extent.VALUE
    assert "number 3 (Value #2 data element not found: `SOH_X`)" in reasons[0][0].text


def test_abort_without_value_2_43() -> None:
    conflict = group_conflict("E8005", "Data set not found: `DS`", -1)
    outcome = read_import_summary(
        in_message(summary("ERROR", (0, 0, 0, 0), [conflict], description=None), 409), 2
    )
    assert [one[0].code for one in rejected(outcome).values()] == ["E8005", "E8005"]


def test_abort_of_a_foreign_value() -> None:
    conflict = group_conflict("E8103", "Value #7 data element not found: `SOH_X`", -1)
    outcome = read_import_summary(
        in_message(summary("ERROR", (0, 0, 0, 0), [conflict], description=None), 409), 2
    )
    assert counts_of(outcome) == (0, 0, 2, 0)


def test_long_reason_is_cut() -> None:
    conflict = group_conflict("E8022", "not usable with org unit(s): " + "abcdefghij1, " * 1000, 0, 1)
    outcome = read_import_summary(
        in_message(summary("ERROR", (0, 0, 0, 0), [conflict], [0, 1], description=None), 409), 2
    )
    assert len(rejected(outcome)[0][0].text) < 1100
    assert rejected(outcome)[0][0].text.endswith("…")


def test_group_reason_2_43() -> None:
    conflict = group_conflict("E8021", "Data set DS not usable with period(s): `[20260105]`", 0, 1, 2)
    outcome = read_import_summary(
        in_message(summary("ERROR", (0, 0, 0, 0), [conflict], [0, 1, 2], description=None), 409), 3
    )
    assert counts_of(outcome) == (0, 0, 3, 0)
    assert {one[0].extent for one in rejected(outcome).values()} == {Extent.GROUP}


def test_single_rejections_2_43() -> None:
    conflict = group_conflict("E8122", "Value #1 value `abc` is no valid NUMBER", 1)
    outcome = read_import_summary(
        in_message(summary("WARNING", (0, 2, 1, 0), [conflict], [1], description=None), 200), 3
    )
    assert counts_of(outcome) == (2, 0, 1, 0)
    assert rejected(outcome)[1][0].extent is Extent.VALUE


def test_failed_is_not_unchanged_2_43() -> None:
    conflict = group_conflict("E8122", "Value #1 value `abc` is no valid NUMBER", 1)
    outcome = read_import_summary(
        in_message(summary("WARNING", (0, 1, 2, 0), [conflict], [1], description=None), 200), 3
    )
    assert counts_of(outcome) == (1, 0, 1, 1)


def test_groups_told_apart_2_43() -> None:
    conflict = group_conflict("E8022", "Data set DS not usable with org unit(s): `[OU]`", 2, 3)
    outcome = read_import_summary(
        in_message(summary("ERROR", (0, 2, 0, 0), [conflict], [2, 3], description=None), 409), 4
    )
    assert counts_of(outcome) == (2, 0, 2, 0)


@pytest.mark.parametrize(
    "inner",
    [
        summary("ERROR", (0, 0, 0, 0), description="The import process failed: Failed to flush BatchHandler"),
        summary("ERROR", (3, 0, 0, 0), description="The import process failed: no connection"),
        summary("ERROR", (0, 0, 0, 0), description=None),
        summary("SUCCESS", (0, 4, 0, 0), description=None),
        summary("SUCCESS", (0, 4, 1, 0), description=None),
    ],
    ids=["broke off", "broke off midway", "nothing said", "one less", "one tried in vain"],
)
def test_untold_outcome_is_repeated(inner: Json) -> None:
    with pytest.raises(Dhis2TransientError, match="sent again"):
        read_import_summary(in_message(inner, 409), 5)


@pytest.mark.parametrize(
    "body",
    [
        {"httpStatus": "Collision", "message": "At least one organisation unit must be specified"},
        [],
        None,
        "text",
    ],
)
def test_no_import_summary(body: object) -> None:
    with pytest.raises(Dhis2Error, match="not an import summary") as raised:
        read_import_summary(Answer(409, body), 5)
    assert not isinstance(raised.value, Dhis2TransientError)
    # After a success the values may be stored: they are not called rejected, but sent again.
    with pytest.raises(Dhis2TransientError, match="not an import summary"):
        read_import_summary(Answer(200, body), 5)
    assert not isinstance(body, dict) or body["message"] in str(raised.value)


small = st.integers(-1, 12)
anything: st.SearchStrategy[object] = st.sampled_from([None, "x", "", 1.5, -3, 10**30, [], {}, True])
conflict_bodies = st.fixed_dictionaries(
    {},
    optional={
        "value": st.sampled_from(["Value #1 wrong", "Value #99 wrong", f"Value #{'9' * 5000} wrong", "wrong"])
        | anything,
        "errorCode": st.sampled_from(["E7610", "E8103", "E8021"]) | anything,
        "indexes": st.lists(small, max_size=5) | anything,
        "property": st.just("orgUnit"),
    },
)
summaries = st.fixed_dictionaries(
    {
        "importCount": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("imported", "updated", "ignored", "deleted"), small | anything)
        )
    },
    optional={
        "status": st.sampled_from(["SUCCESS", "WARNING", "ERROR"]) | anything,
        "description": st.just(COMPLETED) | anything,
        "conflicts": st.lists(conflict_bodies | anything, max_size=4) | anything,
        "rejectedIndexes": st.lists(small | anything, max_size=6) | anything,
    },
)


@given(summaries, st.booleans(), st.integers(1, 10))
def test_counts_add_up(
    inner: Mapping[str, object],
    bare: bool,  # noqa: FBT001 hypothesis draws it
    sent: int,
) -> None:
    try:
        outcome = read_import_summary(Answer(200, inner if bare else {"response": inner}), sent)
    except Dhis2TransientError:
        return
    assert sum(counts_of(outcome)) == len(outcome.outcomes.values()) == sent
    counts = Counts.of(outcome.outcomes.values())
    assert counts.rejected == len(rejected(outcome))
    # Where some are unaccounted for, it is certain of none which outcome it has.
    accepted = [each for each in outcome.outcomes.values() if not each.reasons]
    assert {each.is_certain for each in accepted} <= {not counts.unaccounted and not outcome.deleted}
    counted = inner["importCount"]
    assert isinstance(counted, dict)
    written = [counted.get(name) for name in ("imported", "updated")]
    assert counts.stored <= sum(max(count, 0) for count in written if isinstance(count, int))


def test_delete_of_missing_before_2_43() -> None:
    conflict = row_conflict("E7612", "Organisation unit not found", 3)
    answer = in_message(summary("WARNING", (0, 0, 2, 2), [conflict], [1, 3]), 409)
    outcome = read_import_summary(answer, 4, deletes=True)
    assert counts_of(outcome) == (3, 0, 1, 0)
    assert rejected(outcome) == {3: (Reason("E7612", "Organisation unit not found"),)}


def test_delete_of_missing_2_37() -> None:
    outcome = read_import_summary(Answer(200, summary("SUCCESS", (0, 0, 3, 2))), 5, deletes=True)
    assert counts_of(outcome) == (5, 0, 0, 0)


def test_delete_uncounted_2_43() -> None:
    answer = in_message(summary("SUCCESS", (0, 0, 0, 2), description=None), 200)
    assert counts_of(read_import_summary(answer, 5, deletes=True)) == (2, 0, 0, 3)


def test_broken_delete_is_repeated() -> None:
    answer = in_message(summary("ERROR", (0, 0, 0, 0), description="The import process failed: x"), 409)
    with pytest.raises(Dhis2TransientError, match="broke off the import"):
        read_import_summary(answer, 2, deletes=True)
