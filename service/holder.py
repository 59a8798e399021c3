"""The snapshot in memory: verified, its records serialised once, replaced whole when another becomes current."""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from service.snapshots import Damaged, NoSnapshot, Published, SnapshotStore

log = logging.getLogger("quietquota.serve")


@dataclass(frozen=True)
class Loaded:
    """snapshot : the verified snapshot. order : unit ids as the table lists them. records : JSON bytes a unit."""

    snapshot: Published
    order: list[str]
    rows: dict[str, dict[str, Any]]
    records: dict[str, bytes]

    @classmethod
    def of(cls, snapshot: Published) -> "Loaded":
        rows = {row["unit"]: {k: v for k, v in row.items() if k != "history"} for row in snapshot.answers}
        order = sorted(rows, key=lambda u: (rows[u]["current"] is None, -((rows[u]["current"] or {}).get("probability") or 0), u))
        return cls(snapshot, order, rows, {u: orjson.dumps(row) for u, row in rows.items()})


class Holder:
    """Looks at the store's ``current`` on each request (one small file) and reloads when it names another snapshot."""

    def __init__(self, store: SnapshotStore) -> None:
        self.store = store
        self._current: Loaded | None = None
        self._refused: str | None = None
        self._past: dict[str, Loaded] = {}

    def current(self) -> Loaded:
        """The current snapshot. A damaged new one is refused and the last good one stays. Raises NoSnapshot."""
        name = self.store.current_id()
        held = self._current
        if held is not None and name in (held.snapshot.id, self._refused, None):
            return held
        try:
            self._current = Loaded.of(self.store.load(name))
        except (Damaged, OSError) as error:
            log.error("snapshot refused: %s", error)
            self._refused = name
            if held is None:
                raise NoSnapshot(f"snapshot {name} fails its checksums and no other is loaded") from error
            return held
        return self._current

    def at(self, instant: datetime) -> Loaded:
        """The snapshot that was current at `instant`. Raises NoSnapshot, Damaged."""
        name = self.store.current_at(instant)
        if self._current is not None and name == self._current.snapshot.id:
            return self._current
        if name not in self._past:
            if len(self._past) >= 32:
                self._past.pop(next(iter(self._past)))
            self._past[name] = Loaded.of(self.store.load(name))
        return self._past[name]
