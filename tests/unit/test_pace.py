"""Pace: how many values a call may hold, learnt from how long calls take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.dhis2.batch_size import CALL_SECONDS, Pace


def test_a_server_of_which_nothing_is_known_gets_what_the_setting_says() -> None:
    assert Pace().values(1000) == 1000


def test_a_remembered_limit_holds_but_never_beyond_the_setting() -> None:
    assert Pace(200).values(1000) == 200
    assert Pace(200).values(50) == 50


def test_a_slow_server_gets_calls_that_take_as_long_as_a_call_should() -> None:
    pace = Pace()
    pace.took(1000, 178.0)
    assert pace.limit == pytest.approx(1000 * CALL_SECONDS / 178.0, abs=1)


def test_a_server_that_has_become_fast_gets_the_full_setting_again_step_by_step() -> None:
    pace = Pace(100)
    steps = []
    for _ in range(5):
        pace.took(pace.values(1000), 0.3)
        steps.append(pace.values(1000))
    assert steps == [200, 400, 800, 1000, 1000]


def test_a_limit_that_the_setting_is_below_anyway_is_forgotten() -> None:
    pace = Pace(2000)
    pace.forget_limit(1000)
    assert pace.limit is None
    pace = Pace(500)
    pace.forget_limit(1000)
    assert pace.limit == 500


def test_a_call_of_few_values_does_not_pass_for_a_slow_server() -> None:
    pace = Pace()
    pace.took(1, 25.0)
    assert pace.limit is None


def test_a_time_out_of_a_call_of_few_values_tells_nothing_about_how_many_are_too_many() -> None:
    pace = Pace()
    pace.too_slow(1)
    assert pace.limit is None
    pace.too_slow(1000)
    assert pace.limit == 500


def test_what_was_refused_for_its_size_is_not_tried_again() -> None:
    pace = Pace()
    pace.too_large(1000)
    for _ in range(5):
        pace.took(pace.values(1000), 0.3)
    assert pace.values(1000) == 500


@given(
    events=st.lists(
        st.one_of(
            st.tuples(st.just("took"), st.integers(1, 10_000), st.floats(0, 300)),
            st.tuples(st.sampled_from(["too_slow", "too_large"]), st.integers(1, 10_000)),
        )
    ),
    setting=st.integers(1, 10_000),
)
def test_whatever_happens_a_call_holds_at_least_one_value_and_at_most_the_setting(
    events: list[tuple[str, int] | tuple[str, int, float]], setting: int
) -> None:
    pace = Pace()
    for name, *arguments in events:
        getattr(pace, str(name))(*arguments)
        assert 1 <= pace.values(setting) <= setting
