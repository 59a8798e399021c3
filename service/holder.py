"""The snapshot in memory: verified, its records serialised once, replaced whole when another becomes current."""

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from data.store import Folder
from service.snapshots import Damaged, NoSnapshot, Published, SnapshotStore, current_among

log = logging.getLogger("quietquota.serve")
CACHING = "private, no-cache"
"""A cache may keep a current answer if it asks each time whether it still is: a refresh can come at any moment."""
LOOK_SECONDS = 5.0
"""Between two looks into a bucket; a folder is looked into at each request."""
AGAIN_SECONDS = 60.0
"""Until a snapshot that was refused is looked at again: it may have been put right."""
ONE_UNIT, UNIT = "/v1/regimes/", "/v1/regimes/{unit}"
KEPT_BYTES = 64_000_000
"""Of answers that are kept as they were given."""
PAST = 32
"""Past snapshots that are kept in memory."""


@dataclass(frozen=True)
class Loaded:
    """snapshot : the verified snapshot. order : unit ids as the table lists them. index : what a list is chosen by, by unit. records : JSON
    of the answers, without the history, by unit."""

    snapshot: Published
    order: list[str]
    index: dict[str, dict[str, Any]]
    records: dict[str, bytes]

    @classmethod
    def of(cls, snapshot: Published) -> "Loaded":
        index = {entry["unit"]: entry for entry in snapshot.index}
        order = sorted(index, key=lambda u: (index[u]["probability"] is None, -(index[u]["probability"] or 0), u))
        return cls(snapshot, order, index, snapshot.records)

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


class Ready:
    """An answer as bytes, and the headers that every one has. route : for the metrics."""

    __slots__ = ("body", "etag", "headers", "not_modified", "route", "snapshot")

    def __init__(self, etag: str, body: bytes, snapshot: str, route: str) -> None:
        self.etag, self.body, self.snapshot, self.route = etag, body, snapshot, route
        self.not_modified = [
            (b"x-snapshot-id", snapshot.encode()), (b"cache-control", CACHING.encode()), (b"etag", etag.encode()), (b"vary", b"Accept"),
        ]  # fmt: skip
        self.headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json"), *self.not_modified]


class Holder:
    """The last good snapshot, whatever becomes of the store; ``stale`` says why it may not be the one that is current there."""

    def __init__(self, store: SnapshotStore, stale_after: timedelta) -> None:
        """stale_after : age of a snapshot from which its answers say that nothing has been refreshed."""
        self.store, self.stale_after = store, stale_after
        self._held: Loaded | None = None
        self._why: str | None = None
        self._refused: tuple[str, float] | None = None
        self._past: OrderedDict[str, Loaded] = OrderedDict()
        self._every = 0.0 if isinstance(store.store, Folder) else LOOK_SECONDS
        self._pointer = Path(f"{store.store.url}/current")
        self._made: tuple[str, str | None] | None = None
        self._ready: OrderedDict[str, Ready] = OrderedDict()
        self._bytes, self._seen = 0, (0, 0)
        self._looked, self._looking = -float("inf"), threading.Lock()
        self._found: tuple[str, float, datetime | None] | None = None
        self._switches: tuple[Any, list[tuple[datetime, str]]] | None = None

    def current(self) -> Loaded:
        """Raises NoSnapshot where there has been none yet."""
        if (time.monotonic() - self._looked >= self._every if self._every else self._moved()) and self._looking.acquire(blocking=False):
            if self._held is None or not self._every:
                self._look()
            else:
                # A bucket may be slow; the answer at hand is not.
                threading.Thread(target=self._look, daemon=True).start()
        if self._held is None:
            raise NoSnapshot(self._why or "nothing has been published yet")
        return self._held

    def _moved(self) -> bool:
        """Whether the pointer of a folder is another file than at the last look: of a file that is replaced, one call tells."""
        try:
            found = self._pointer.stat()
        except OSError:
            return True
        seen, self._seen = self._seen, (found.st_ino, found.st_mtime_ns)
        return seen != self._seen or self._why is not None or self._held is None

    def stale(self) -> str | None:
        """Why the current answer may not be the latest; None where there is no reason to think so."""
        if self._why or self._held is None:
            return self._why
        # When it was published says nothing: an earlier view may be published now.
        heard = datetime.fromisoformat(self._held.snapshot.meta["as_of"])
        if time.time() >= heard.timestamp() + self.stale_after.total_seconds():
            heard = self._still_holds(self._held.snapshot.id) or heard
        if time.time() < heard.timestamp() + self.stale_after.total_seconds():
            return None
        return f"nothing released after {heard.isoformat(timespec='seconds')} is in it"

    def _still_holds(self, name: str) -> datetime | None:
        """When a refresh last found nothing newer than a snapshot; asked of the store from time to time."""
        if self._found is None or self._found[0] != name or time.monotonic() - self._found[1] >= LOOK_SECONDS:
            try:
                found = self.store.looked(name)
            except OSError:
                found = self._found[2] if self._found else None
            self._found = name, time.monotonic(), found
        return self._found[2]

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
            self._held = self._held or self._last_good()
            return "the store's pointer to the current snapshot is damaged"
        except OSError as error:
            log.error("the store is unreachable: %s", error)
            return "store unreachable"
        if name is None:
            return None if held is None else "the store names no snapshot any more"
        if name == held:
            self._refused = None
            return None
        if self._refused is None or self._refused[0] != name or time.monotonic() - self._refused[1] >= AGAIN_SECONDS:
            try:
                self._held = Loaded.of(self.store.load(name))
                return None
            except OSError as error:
                log.error("the store is unreachable: %s", error)
                return "store unreachable"
            except (Damaged, NoSnapshot, KeyError, TypeError, ValueError) as error:
                log.error("snapshot refused: %s", error)
                self._refused = name, time.monotonic()
                self._held = self._held or self._last_good()
        return f"snapshot {name} is refused: it is not as it was published"

    def _last_good(self) -> Loaded | None:
        """The one served last of those that can be believed."""
        try:
            return Loaded.of(self.store.last_good())
        except (Damaged, NoSnapshot, KeyError, TypeError, ValueError):
            return None

    def ready(self, question: str) -> Ready | None:
        """What the current snapshot has answered to a question (path and query) before; ``/v1/regimes/{unit}``, the commonest, is made
        when it is asked for the first time. A route would answer at several times the cost (benchmarks/serving.py)."""
        try:
            found, stale = self.current(), self.stale()
        except NoSnapshot:
            return None
        if self._made != (found.snapshot.id, stale):
            self._made, self._ready, self._bytes = (found.snapshot.id, stale), OrderedDict(), 0
        kept = self._ready.get(question)
        if kept is None and question.startswith(ONE_UNIT) and (record := found.records.get(question.removeprefix(ONE_UNIT))) is not None:
            return self.keep(
                question, Ready(found.etag(stale, f"{question}?"), found.answer({"regime": record}, stale), found.snapshot.id, UNIT)
            )
        return kept

    def keep(self, question: str, ready: Ready) -> Ready:
        """Remember an answer of the current snapshot; the oldest are forgotten beyond :data:`KEPT_BYTES`."""
        if self._made is not None and ready.snapshot == self._made[0] and question not in self._ready:
            self._ready[question], self._bytes = ready, self._bytes + len(ready.body)
            while self._bytes > KEPT_BYTES:
                self._bytes -= len(self._ready.popitem(last=False)[1].body)
        return ready

    def at(self, instant: datetime) -> Loaded:
        """The snapshot that was current at `instant`. Raises NoSnapshot, Damaged, OSError."""
        return self.by_id(current_among(self._history(instant), instant))

    def _history(self, instant: datetime) -> list[tuple[datetime, str]]:
        """Every switch up to `instant` at least: read anew where the pointer was written since, in a bucket from time to time."""
        if not self._every:
            try:
                seen = self._pointer.stat()
                mark: Any = seen.st_ino, seen.st_mtime_ns
            except OSError:
                mark = object()
        else:
            recent = time.time() - instant.timestamp() < 2 * self._every
            mark = object() if recent else int(time.monotonic() / self._every)
        if self._switches is None or self._switches[0] != mark:
            self._switches = mark, self.store.switches()
        return self._switches[1]

    def by_id(self, name: str) -> Loaded:
        """Raises NoSnapshot, Damaged, OSError."""
        if self._held is not None and name == self._held.snapshot.id:
            return self._held
        if name not in self._past:
            self._past[name] = Loaded.of(self.store.load(name))
            while len(self._past) > PAST:
                self._past.popitem(last=False)
        return self._past[name]
