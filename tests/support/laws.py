"""How many examples a law is tried with: some by ``make test``, all of them by ``make test-slow``."""

from hypothesis import HealthCheck, settings

FAST, SLOW = "fast", "slow"

# No test depends on how fast the machine is, and each example may find what the one before left in a fixture.
_COMMON = settings(deadline=None, suppress_health_check=list(HealthCheck))


def register_profiles() -> None:
    """Make both profiles known; ``--hypothesis-profile=slow`` chooses the larger one."""
    settings.register_profile(FAST, _COMMON, max_examples=40)
    settings.register_profile(SLOW, _COMMON, max_examples=200)
    settings.load_profile(FAST)


def tried(examples: int) -> settings:
    """Return the settings of a law that is tried with so many examples, and with a tenth of them in a hurry."""
    is_fast = settings.get_current_profile_name() == FAST
    return settings(max_examples=max(5, examples // 10) if is_fast else examples)
