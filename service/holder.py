"""The snapshot in memory: verified, its records serialised once, replaced whole when another becomes current."""

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from data.store import Folder
from service.snapshots import Damaged, NoSnapshot, Published, SnapshotStore

log = logging.getLogger("quietquota.serve")
LOOK_SECONDS = 5.0
"""Between two looks into a bucket; a folder is looked into at each request."""
ONE_UNIT = "/v1/regimes/"
PAST = 32
"""Past snapshots that are kept in memory."""


@dataclass(frozen=True)
class Loaded:
    """snapshot : the verified snapshot. order : unit ids as the table lists them. rows : answers by unit. records : their JSON, without
    the history."""

    snapshot: Published
    order: list[str]
    rows: dict[str, dict[str, Any]]
    records: dict[str, bytes]

    @classmethod
    def of(cls, snapshot: Published) -> "Loaded":
        rows = {row["unit"]: row for row in snapshot.answers}
        order = sorted(rows, key=lambda u: (rows[u]["current"] is None, -((rows[u]["current"] or {}).get("probability") or 0), u))
        records = {u: orjson.dumps({k: v for k, v in row.items() if k != "history"}) for u, row in rows.items()}
        return cls(snapshot, order, rows, records)

    def answer(self, parts: dict[str, bytes], stale: str | None, as_of: datetime | None = None) -> bytes:
        """JSON of an answer: what it is conditioned on, then its parts. as_of : the instant asked for; None for now."""
        meta = self.snapshot.meta
        conditioning = {
            "as_of": (as_of or self.snapshot.published_at).isoformat(),
            "snapshot": self.snapshot.id,
            "published_at": meta["published_at"],
            "data_as_of": meta["as_of"],
            "data_through": meta["data_through"],
            "gate": meta["gate"],
            "stale": stale,
        }
        named = (b',"' + key.encode() + b'":' + value for key, value in parts.items())
        return b"".join((orjson.dumps(conditioning)[:-1], *named, b"}"))

    def etag(self, stale: str | None, question: str) -> str:
        """Of what this snapshot answers to a question: cheaper than of the bytes."""
        return f'"{hashlib.sha256(f"{self.snapshot.id}|{stale}|{question}".encode()).hexdigest()[:24]}"'


def same(if_none_match: str, etag: str) -> bool:
    """Whether a client's If-None-Match names `etag`."""
    return if_none_match.strip() == "*" or etag in [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]


class Holder:
    """The last good snapshot, whatever becomes of the store; ``stale`` says why it may not be the one that is current there."""

    def __init__(self, store: SnapshotStore, stale_after: timedelta) -> None:
        """stale_after : age of a snapshot from which its answers say that nothing has been refreshed."""
        self.store, self.stale_after = store, stale_after
        self._held: Loaded | None = None
        self._why: str | None = None
        self._refused: str | None = None
        self._past: OrderedDict[str, Loaded] = OrderedDict()
        self._every = 0.0 if isinstance(store.store, Folder) else LOOK_SECONDS
        self._made: tuple[str, str | None] | None = None
        self._ready: dict[str, tuple[bytes, bytes]] = {}
        self._looked, self._looking = -float("inf"), threading.Lock()

    def current(self) -> Loaded:
        """Raises NoSnapshot where there has been none yet."""
        if time.monotonic() - self._looked >= self._every and self._looking.acquire(blocking=False):
            if self._held is None or not self._every:
                self._look()
            else:
                # A bucket may be slow; the answer at hand is not.
                threading.Thread(target=self._look, daemon=True).start()
        if self._held is None:
            raise NoSnapshot(self._why or "nothing has been published yet")
        return self._held

    def stale(self) -> str | None:
        """Why the current answer may not be the latest; None where there is no reason to think so."""
        if self._why or self._held is None:
            return self._why
        published = self._held.snapshot.published_at
        return (
            None if datetime.now(UTC) - published < self.stale_after else f"not refreshed since {published.isoformat(timespec='seconds')}"
        )

    def _look(self) -> None:
        try:
            self._why = self._switched()
        finally:
            self._looked = time.monotonic()
            self._looking.release()

    def _switched(self) -> str | None:
        """Takes up the store's current snapshot where it is another one; says why not, in words that name no path."""
        held = self._held.snapshot.id if self._held else None
        try:
            name = self.store.current_id()
        except Damaged as error:
            log.error("the store's pointer is damaged: %s", error)
            return "the store's pointer to the current snapshot is damaged"
        except OSError as error:
            log.error("the store is unreachable: %s", error)
            return "store unreachable"
        if name is None:
            return None if held is None else "the store names no snapshot any more"
        if name == held:
            self._refused = None
            return None
        if name != self._refused:
            try:
                self._held = Loaded.of(self.store.load(name))
                return None
            except OSError as error:
                log.error("the store is unreachable: %s", error)
                return "store unreachable"
            except (Damaged, NoSnapshot, KeyError, TypeError, ValueError) as error:
                log.error("snapshot refused: %s", error)
                self._refused = name
        return f"snapshot {name} is refused: it is not as it was published"

    def ready(self, path: str) -> tuple[bytes, bytes] | None:
        """(ETag, body) of ``/v1/regimes/{unit}``, made once a snapshot and state of the store; None for any other path.

        The commonest question, which a route would answer at twice the cost (benchmarks/serving.py)."""
        if not path.startswith(ONE_UNIT):
            return None
        try:
            found, stale = self.current(), self.stale()
        except NoSnapshot:
            return None
        if self._made != (found.snapshot.id, stale):
            self._made, self._ready = (found.snapshot.id, stale), {}
        if path not in self._ready:
            record = found.records.get(path.removeprefix(ONE_UNIT))
            if record is None:
                return None
            self._ready[path] = found.etag(stale, f"{path}?").encode(), found.answer({"regime": record}, stale)
        return self._ready[path]

    def at(self, instant: datetime) -> Loaded:
        """The snapshot that was current at `instant`. Raises NoSnapshot, Damaged, OSError."""
        return self.by_id(self.store.current_at(instant))

    def by_id(self, name: str) -> Loaded:
        """Raises NoSnapshot, Damaged, OSError."""
        if self._held is not None and name == self._held.snapshot.id:
            return self._held
        if name not in self._past:
            self._past[name] = Loaded.of(self.store.load(name))
            while len(self._past) > PAST:
                self._past.popitem(last=False)
        return self._past[name]
