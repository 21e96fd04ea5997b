"""What the benchmarks have in common: a process for each measurement, the best of several, tables in Markdown."""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one process measured of itself: bytes at the peak, how much it did, in words, and its seconds.

    ``own_seconds`` are those of its processor, without what it waited for: the database, other programs.
    """

    seconds: float
    own_seconds: float
    peak_memory: int
    done: str


class Table:
    """A table in Markdown, printed row by row as the results come.

    Parameters
    ----------
    columns
        The headings; one that ends in a colon is that of numbers, which stand on the right.
    """

    def __init__(self, *columns: str) -> None:
        self._columns = len(columns)
        self.row(*(column.removesuffix(":") for column in columns))
        print("|" + "".join("---:|" if column.endswith(":") else "---|" for column in columns), flush=True)

    def row(self, *cells: str) -> None:
        """Print a row.

        Raises
        ------
        ValueError
            If there are not as many cells as columns.
        """
        if len(cells) != self._columns:
            raise ValueError(f"{len(cells)} cells for {self._columns} columns: {cells}")
        print(f"| {' | '.join(cells)} |", flush=True)


def measure(work: Callable[[], str]) -> Measurement:
    """Do the work once, and say how long it took and what this process has needed at its peak."""
    start, start_of_work = time.perf_counter(), time.process_time()
    done = work()
    seconds, own_seconds = time.perf_counter() - start, time.process_time() - start_of_work
    return Measurement(seconds, own_seconds, peak_memory(), done)


def peak_memory() -> int:
    """Return the most memory that this process has had, in bytes."""
    # Linux gives kibibytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def in_a_process[**P, R](work: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
    """Run a measurement in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(work, *arguments, **options).result()


def best(repeat: int, works: Mapping[str, Callable[[], Measurement]]) -> dict[str, Measurement]:
    """Run measurements several times, in turns; of each the quickest had the fewest disturbances."""
    runs = [{name: in_a_process(work) for name, work in works.items()} for _ in range(repeat)]
    return {name: min((run[name] for run in runs), key=lambda run: run.seconds) for name in works}
