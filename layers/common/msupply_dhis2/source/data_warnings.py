"""What is odd in mSupply's data, and sent as it is: counted while it is read, told at the end."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappush, heappushpop

from msupply_dhis2.domain.stock import PairHistory, StockLine, described
from msupply_dhis2.metrics.quantity import format_value
from msupply_dhis2.text import MOST_NAMED, listed


@dataclass(slots=True)
class DataWarnings:
    """What was odd in the histories, counted."""

    stock_lines_without_pack_size: int = 0
    of_these_with_packs: int = 0
    movements_without_pack_size: int = 0
    moved_without_instant: tuple[str, ...] = ()
    dated_later: tuple[str, ...] = ()
    receipts_without_date: Mapping[str, int] = field(default_factory=dict)
    """By the code of the store."""
    negative_stock_lines: int = 0
    some_negative_stock_lines: list[str] = field(default_factory=list)
    ledgers: int = 0
    ledgers_off: int = 0
    worst_ledgers: list[tuple[int, int, int, str]] = field(default_factory=list)

    def note_negative(self, pair: PairHistory, line: StockLine) -> None:
        """Count a stock line below 0, and name it unless many are named already."""
        self.negative_stock_lines += 1
        if len(self.some_negative_stock_lines) < MOST_NAMED:
            units = format_value(line.units, round_off=False)
            self.some_negative_stock_lines.append(
                f"{described(pair.store, pair.item)}, stock line {line.id}: {units} units"
            )

    def note_ledger(self, pair: PairHistory, moved: int) -> None:
        """Count a pair and whether its stock lines are what all its movements add up to; keep the worst.

        Parameters
        ----------
        moved
            The sum of all movements there ever were, in millionths.
        """
        self.ledgers += 1
        difference = -moved
        for line in pair.stock_lines:
            difference += line[1]
        if not difference:
            return
        self.ledgers_off += 1
        # Of two that are as bad the earlier one stays.
        entry = (abs(difference), -self.ledgers, difference, described(pair.store, pair.item))
        if len(self.worst_ledgers) < MOST_NAMED:
            heappush(self.worst_ledgers, entry)
        else:
            heappushpop(self.worst_ledgers, entry)

    def warnings(self) -> Iterator[str]:
        """Yield a sentence for each kind that there is."""
        if self.stock_lines_without_pack_size:
            packs = (
                f"{self.of_these_with_packs:,} of them hold packs"
                if self.of_these_with_packs
                else "all are empty"
            )
            yield (
                f"Stock lines without a pack size, which count as 0 units: {self.stock_lines_without_pack_size:,} ({packs})."
            )
        if self.movements_without_pack_size:
            yield (
                "Lines of invoices without a pack size, which count as movements of 0 units: "
                f"{self.movements_without_pack_size:,}."
            )
        if self.negative_stock_lines:
            some = listed(self.some_negative_stock_lines, MOST_NAMED, of=self.negative_stock_lines, by="; ")
            yield (
                "Stock lines below 0, which the metrics add up as they are and mSupply's own stock on hand leaves out: "
                f"{self.negative_stock_lines:,}, namely {some}."
            )
        if self.ledgers_off:
            worst = [
                f"{named}: {'+' if difference > 0 else ''}{format_value(difference, round_off=False)} units"
                for _, _, difference, named in sorted(self.worst_ledgers, reverse=True)
            ]
            yield (
                "Items in a store whose stock lines are not what all their movements add up to: "
                f"{self.ledgers_off:,} of {self.ledgers:,}. Nothing is corrected: the stock lines count. The largest "
                f"differences (+ means more stock than moved in): {'; '.join(worst)}."
            )
        if count := len(self.moved_without_instant):
            yield (
                "Invoices whose status says that their stock has moved, but that lack the instant at which it did "
                f"(mSupply's own ledger leaves them out, and so do the metrics): {count:,}, namely "
                f"{listed(self.moved_without_instant)}."
            )
        if self.receipts_without_date:
            stores = [f"{code} {number:,}" for code, number in self.receipts_without_date.items()]
            yield (
                "Receipts (inbound shipments) that came over as new and without a date, with their stock in the store "
                f"already: {sum(self.receipts_without_date.values()):,}, by store {listed(stores)}. Stock is right. In "
                "which month they were received is not known, so received leaves them out."
            )
        if count := len(self.dated_later):
            yield (
                "Invoices dated later than the moment at which the database was read. Their stock has moved already: they "
                "count at the time at which they were created, or at the start of today where that time is missing or "
                f"later too: {count:,}, namely {listed(self.dated_later)}. Check the date of each, and the clock of the "
                "computer or tablet that made it."
            )
