"""What-ifs, asked of a process of their own (:mod:`service.what_if_worker`), which is started when the first is asked."""

import logging
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import orjson

log = logging.getLogger("quietquota.serve")
STARTING, THINKING = 180.0, 10.0
"""Seconds to wait for the first answer, for which something may have to be compiled, and for any other."""


class Refused(ValueError):
    """The question cannot be thought through; says why."""


class Unavailable(RuntimeError):
    """Nobody is there to think it through."""


class WhatIf:
    def __init__(self, store: str) -> None:
        """store : its URL."""
        self._store = store
        self._process: subprocess.Popen[bytes] | None = None
        self._one = threading.Lock()

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Raises Refused, Unavailable. One question at a time."""
        with self._one:
            wait = THINKING
            if self._process is None or self._process.poll() is not None:
                self._end()
                command = [sys.executable, "-m", "service.what_if_worker", self._store]
                self._process, wait = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE), STARTING
            told = self._told(self._process, orjson.dumps(question) + b"\n", wait)
        if "refused" in told:
            raise Refused(told["refused"])
        if "failed" in told:
            log.error("a what-if failed: %s", told["failed"])
            raise Unavailable("the question could not be thought through; the operator's log says why")
        return dict(told["answer"])

    def _told(self, process: subprocess.Popen[bytes], question: bytes, wait: float) -> dict[str, Any]:
        assert process.stdin and process.stdout
        until, line = time.monotonic() + wait, b""
        try:
            process.stdin.write(question)
            process.stdin.flush()
            while not line.endswith(b"\n"):
                ready, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
                more = process.stdout.read1(1 << 16) if ready else b""  # type: ignore[attr-defined]
                if not more:
                    raise Unavailable(f"no answer within {wait:g} s" if not ready else "the process that thinks ended")
                line += more
        except (OSError, Unavailable) as error:
            self._end()
            log.error("what-if: %s", error)
            why = str(error) if isinstance(error, Unavailable) else "the process that thinks ended"
            raise Unavailable(f"{why}; ask again") from error
        return dict(orjson.loads(line))

    def close(self) -> None:
        with self._one:
            self._end()

    def _end(self) -> None:
        if (process := self._process) is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                stream.close()  # type: ignore[union-attr]
        self._process = None
