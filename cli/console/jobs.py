"""Work that takes longer than a page should: it goes on beside, and the page looks how far it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Thread

from cli.console.blame import blamed
from msupply_dhis2.compute.values import OrgUnitValues
from msupply_dhis2.errors import MsupplyDhis2Error


@dataclass
class Job[Result]:
    """One piece of work, from its beginning to its result or its failure.

    Made by :func:`begin`.

    Attributes
    ----------
    title
        What it is, in words.
    said
        What it told on its way: sentences, each with its level of ``logging``.
    done, total
        How much of it is done (org units, files), of how much; 0 while that is not known.
    run_id
        The run that it follows on a stack, which can be stopped.
    queued, outcomes
        How many values a push is about, and what became of them so far, by the names of the counts.
    is_stopped
        Whether somebody has stopped it.
    waits
        Why its values wait, where sending is paused.
    failure
        Why it ended without a result.
    """

    title: str
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: datetime | None = None
    said: list[tuple[str, int]] = field(default_factory=list)
    done: int = 0
    total: int = 0
    result: Result | None = None
    run_id: str = ""
    queued: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    is_stopped: bool = False
    waits: str = ""
    failure: str = ""

    @property
    def is_running(self) -> bool:
        """Whether it still goes on."""
        return self.ended is None

    @property
    def settled(self) -> int:
        """How many values of a push have an outcome."""
        return sum(number for name, number in self.outcomes.items() if name != "waiting")

    def tell(self, sentence: str, level: int) -> None:
        """Keep what is told."""
        self.said.append((sentence, level))

    def look(self, done: int, total: int) -> None:
        """Note how much is done, of how much."""
        self.done, self.total = done, total

    def watch(self, _: OrgUnitValues, org_units: int) -> None:
        """Count an org unit."""
        self.done, self.total = self.done + 1, org_units


def begin[Result](title: str, work: Callable[[Job[Result]], Result], unexpected: str) -> Job[Result]:
    """Begin work in a thread, which does not keep the console from ending.

    Parameters
    ----------
    work
        What is done; it is handed its job, to tell how far it is.
    unexpected
        The sentence for a fault of the program itself; the terminal shows where it happened.
    """
    job: Job[Result] = Job(title)

    def run() -> None:
        try:
            job.result = work(job)
        except MsupplyDhis2Error as error:
            job.failure = blamed(error)
        except BaseException:
            job.failure = unexpected
            raise
        finally:
            job.ended = datetime.now(UTC)

    Thread(target=run, daemon=True).start()
    return job
