"""The process that thinks through what-ifs: a question a line on stdin, an answer a line on stdout. Started by :mod:`service.what_if`.

It is alone in needing numba, so that the serving process stays small, and a question that went wrong takes no other answer with it.
``python -m service.what_if_worker STORE < /dev/null`` compiles what is to be compiled and ends.
"""

import io
import sys
from collections import OrderedDict
from typing import Any

import numpy as np
import orjson

from model.entry import entry
from model.spec import Assumptions
from model.what_if import Held, NotAsked, answer
from service.snapshots import SnapshotStore, what_if_file

KEPT = 16
"""Importers of snapshots that are kept in memory."""


class _Worker:
    def __init__(self, store: SnapshotStore) -> None:
        self.store = store
        self._held: OrderedDict[tuple[str, str], Held] = OrderedDict()

    def held(self, snapshot: str, unit: str) -> Held:
        _, importer, family = unit.split(".", 2)
        manifest = self.store.manifest(snapshot)
        file = what_if_file(manifest, importer, family)
        if (key := (snapshot, file)) not in self._held:
            assumptions = Assumptions.model_validate(manifest["assumptions"])
            self._held[key] = Held(np.load(io.BytesIO(self.store.read(snapshot, file))), assumptions)
            while len(self._held) > KEPT:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return self._held[key]

    def told(self, question: dict[str, Any]) -> dict[str, Any]:
        try:
            held = self.held(question["snapshot"], question["unit"])
            return {"answer": answer(held, question["unit"], question["releases"], question["covariates"])}
        except NotAsked as error:
            return {"refused": str(error)}
        except Exception as error:  # the asker waits for a line, whatever happens
            return {"failed": f"{type(error).__name__}: {error}"}


def main() -> None:
    worker = _Worker(SnapshotStore(sys.argv[1]))
    entry("forward")
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(orjson.dumps(worker.told(orjson.loads(line))) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
