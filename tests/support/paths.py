"""Where the project stands, and the real data and recordings beside it, which need not be there."""

from pathlib import Path

PROJECT = Path(__file__).parents[2]
SHARED = PROJECT.parent / "shared"
