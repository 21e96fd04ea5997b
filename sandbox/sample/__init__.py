"""A generator of mSupply databases for tests, benchmarks and the demo."""

from sandbox.sample.generate import DEFAULT_AS_OF, SampleKind, SampleSummary, generate
from sandbox.sample.writer import SampleError

__all__ = ["DEFAULT_AS_OF", "SampleError", "SampleKind", "SampleSummary", "generate"]
