"""What each refresh did: one JSON file a run in the store, ``runs/<instant>-<id>.json``, written at its start and after every step.

A run that was killed is the one whose record still says ``running``.
"""

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import orjson

from data.store import Store

KEPT = 400
"""Records; older ones are removed."""


class Run:
    def __init__(self, store: Store, inputs: dict[str, Any]) -> None:
        """inputs : what the run was asked, by name."""
        started = datetime.now(UTC)
        self.store, self.name = store, f"runs/{started.strftime('%Y%m%dT%H%M%S.%fZ')}-{secrets.token_hex(4)}.json"
        self.record: dict[str, Any] = {
            "started_at": started.isoformat(), "host": socket.gethostname(), "pid": os.getpid(), "outcome": "running", "step": None,
            "inputs": inputs, "seconds": {},
        }  # fmt: skip
        self._write()

    def _write(self) -> None:
        self.store.write(self.name, orjson.dumps(self.record, option=orjson.OPT_INDENT_2, default=str))

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        began = datetime.now(UTC)
        self.record["step"] = title
        self._write()
        yield
        # Of several of one title, all together.
        seconds = self.record["seconds"]
        seconds[title] = seconds.get(title, 0.0) + (datetime.now(UTC) - began).total_seconds()

    def know(self, **facts: Any) -> None:
        """Facts to be on the record from the next step on."""
        self.record |= facts

    def end(self, outcome: str, why: str | None = None) -> None:
        self.record |= {"outcome": outcome, "why": why, "finished_at": datetime.now(UTC).isoformat(), "step": None}
        self._write()
        for old in self.store.names("runs")[:-KEPT]:
            self.store.delete(old)


@contextmanager
def on_record(store: Store, inputs: dict[str, Any]) -> Iterator[Run]:
    """A run that ends as it says, or with the error that ended it."""
    run = Run(store, inputs)
    try:
        yield run
    except BaseException as error:
        run.end("failed" if isinstance(error, Exception) else "stopped", f"{type(error).__name__}: {error}")
        raise
    if run.record["outcome"] == "running":
        run.end("done")


def records(store: Store) -> list[dict[str, Any]]:
    """Oldest first."""
    return [orjson.loads(store.read(name)) for name in store.names("runs")]


def latest(store: Store, count: int) -> list[dict[str, Any]]:
    """The last `count`, latest first; no more are read."""
    return [orjson.loads(store.read(name)) for name in store.names("runs")[: -count - 1 : -1]]


def last(store: Store) -> dict[str, Any] | None:
    """The one that began last."""
    return next(iter(latest(store, 1)), None)
