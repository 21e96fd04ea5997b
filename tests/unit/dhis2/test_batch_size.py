"""Pace: how many values a call may hold, learnt from how long calls take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.dhis2.importer import CALL_SECONDS, AdaptiveBatchSize


def test_starts_at_setting() -> None:
    assert AdaptiveBatchSize().values(1000) == 1000


def test_remembered_limit() -> None:
    assert AdaptiveBatchSize(200).values(1000) == 200
    assert AdaptiveBatchSize(200).values(50) == 50


def test_slow_server() -> None:
    batch_size = AdaptiveBatchSize()
    batch_size.took(1000, 178.0)
    assert batch_size.limit == pytest.approx(1000 * CALL_SECONDS / 178.0, abs=1)


def test_recovers_stepwise() -> None:
    batch_size = AdaptiveBatchSize(100)
    steps = []
    for _ in range(5):
        batch_size.took(batch_size.values(1000), 0.3)
        steps.append(batch_size.values(1000))
    assert steps == [200, 400, 800, 1000, 1000]


def test_limit_above_setting() -> None:
    batch_size = AdaptiveBatchSize(2000)
    batch_size.forget_limit(1000)
    assert batch_size.limit is None
    batch_size = AdaptiveBatchSize(500)
    batch_size.forget_limit(1000)
    assert batch_size.limit == 500


def test_small_call_is_not_slow() -> None:
    batch_size = AdaptiveBatchSize()
    batch_size.took(1, 25.0)
    assert batch_size.limit is None


def test_small_time_out_teaches_nothing() -> None:
    batch_size = AdaptiveBatchSize()
    batch_size.too_slow(1)
    assert batch_size.limit is None
    batch_size.too_slow(1000)
    assert batch_size.limit == 500


def test_refused_size_not_repeated() -> None:
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
def test_bounds(events: list[tuple[str, int] | tuple[str, int, float]], setting: int) -> None:
    batch_size = AdaptiveBatchSize()
    for name, *arguments in events:
        getattr(batch_size, str(name))(*arguments)
        assert 1 <= batch_size.values(setting) <= setting
