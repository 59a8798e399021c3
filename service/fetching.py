"""Publishers' addresses -> the log, and what became of each, for the record of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from data.log import LogBusy, Receipt, ReleaseLog
from data.sources.fetch import fetch, remember


@dataclass(frozen=True)
class Had:
    """receipt : None where there was nothing newer, or an error, which says why it could not be had."""

    address: str
    receipt: Receipt | None = None
    error: str | None = None

    @property
    def held_back(self) -> bool:
        return self.receipt is not None and bool(self.receipt.rejected or self.receipt.quarantined)

    def record(self) -> dict[str, Any]:
        names = ("sha256", "new", "known", "rejected", "quarantined")
        told = {name: getattr(self.receipt, name) for name in names} if self.receipt else {}
        return {"address": self.address, "error": self.error, **told}


def had(log: ReleaseLog, address: str, source: str | None = None) -> Had:
    """What is new at `address`, taken into the log. Raises FetchError, InputError, LogBusy."""
    fetched = fetch(address, log.store)
    if fetched.content is None:
        return Had(address)
    receipt = log.ingest(fetched.content, address, source)
    remember(fetched, log.store)
    return Had(address, receipt)


def all_had(log: ReleaseLog, addresses: Sequence[str]) -> list[Had]:
    """Of each address; what one has must not wait for another that does not answer."""
    found, began = [], datetime.now(UTC)
    for address in addresses:
        try:
            found.append(had(log, address))
        except (ValueError, LogBusy) as error:
            found.append(Had(address, error=str(error)))
    if found and not any(one.error for one in found):
        log.looked(began)
    return found
