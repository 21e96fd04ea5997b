"""Pace: how many values a call may hold, learnt from how long calls take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.dhis2.importer import CALL_SECONDS, AdaptiveBatchSize


def test_a_server_of_which_nothing_is_known_gets_what_the_setting_says() -> None:
    assert AdaptiveBatchSize().values(1000) == 1000


def test_a_remembered_limit_holds_but_never_beyond_the_setting() -> None:
    assert AdaptiveBatchSize(200).values(1000) == 200
    assert AdaptiveBatchSize(200).values(50) == 50


def test_a_slow_server_gets_calls_that_take_as_long_as_a_call_should() -> None:
    batch_size = AdaptiveBatchSize()
    batch_size.took(1000, 178.0)
    assert batch_size.limit == pytest.approx(1000 * CALL_SECONDS / 178.0, abs=1)


def test_a_server_that_has_become_fast_gets_the_full_setting_again_step_by_step() -> None:
    batch_size = AdaptiveBatchSize(100)
    steps = []
    for _ in range(5):
        batch_size.took(batch_size.values(1000), 0.3)
        steps.append(batch_size.values(1000))
    assert steps == [200, 400, 800, 1000, 1000]


def test_a_limit_that_the_setting_is_below_anyway_is_forgotten() -> None:
    batch_size = AdaptiveBatchSize(2000)
    batch_size.forget_limit(1000)
    assert batch_size.limit is None
    batch_size = AdaptiveBatchSize(500)
    batch_size.forget_limit(1000)
    assert batch_size.limit == 500


def test_a_call_of_few_values_does_not_pass_for_a_slow_server() -> None:
    batch_size = AdaptiveBatchSize()
    batch_size.took(1, 25.0)
    assert batch_size.limit is None


def test_a_time_out_of_a_call_of_few_values_tells_nothing_about_how_many_are_too_many() -> None:
    batch_size = AdaptiveBatchSize()
    batch_size.too_slow(1)
    assert batch_size.limit is None
    batch_size.too_slow(1000)
    assert batch_size.limit == 500


def test_what_was_refused_for_its_size_is_not_tried_again() -> None:
    batch_size = AdaptiveBatchSize()
    batch_size.too_large(1000)
    for _ in range(5):
        batch_size.took(batch_size.values(1000), 0.3)
    assert batch_size.values(1000) == 500


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
    batch_size = AdaptiveBatchSize()
    for name, *arguments in events:
        getattr(batch_size, str(name))(*arguments)
        assert 1 <= batch_size.values(setting) <= setting
