"""How a refresh ended, told to those who watch machines: a textfile for Prometheus's node exporter, and a webhook. The record in the store
(:mod:`service.runs`) and the exit code say the same."""

import math
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import tenacity
from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
from rich.console import Console

from data.store import open_store
from service.runs import latest
from service.snapshots import StoreBusy
from service.webhooks import Send, signed

GOOD = ("published", "nothing new")
LOOKED_AT = 100
"""Runs among which the last good one is looked for."""
TRIES, LONGEST_WAIT = 4, 30.0
_OUTCOMES = ("PASS", "REVIEW", "FAIL")


@contextmanager
def told(
    place: str, textfile: Path | None, notify: str | None, secret: str | None, send: Send, talk: Console,
    wait: Any = tenacity.wait_exponential(max=LONGEST_WAIT),
) -> Iterator[None]:  # fmt: skip
    """Tell of the run that this process makes within, however it ends. place : of the store. What cannot be told is said to `talk`, and
    changes nothing."""
    began, stopped = datetime.now(UTC), None
    try:
        yield
    except BaseException as error:
        stopped = error
        raise
    finally:
        patiently = tenacity.Retrying(stop=tenacity.stop_after_attempt(TRIES), wait=wait, reraise=True)

        def runs() -> list[dict[str, Any]]:
            """Records, latest first, from the one that this process made since, or from one that says why it made none."""
            try:
                found = latest(open_store(place), LOOKED_AT)
            except (OSError, ValueError):
                found = []
            mine = [run for run in found if run["pid"] == os.getpid() and datetime.fromisoformat(run["started_at"]) >= began]
            if mine:
                return found[found.index(mine[0]) :]
            return [_unrecorded(began, stopped), *found] if stopped else []

        if textfile is not None:
            with _said(talk):
                if found := runs():
                    write_to_textfile(str(textfile), metrics(found))
        if notify:
            with _said(talk):
                if found := runs():
                    patiently(send, notify, *_message(found[0], secret))


def _unrecorded(began: datetime, stopped: BaseException) -> dict[str, Any]:
    """Of a run that came to no record: another one was under way, or the store did not answer."""
    return {
        "started_at": began.isoformat(), "finished_at": datetime.now(UTC).isoformat(), "host": socket.gethostname(),
        "outcome": "busy" if isinstance(stopped, StoreBusy) else "failed", "why": f"{type(stopped).__name__}: {stopped}", "seconds": {},
    }  # fmt: skip


@contextmanager
def _said(talk: Console) -> Iterator[None]:
    """What one way of telling comes up with costs neither the refresh nor the other way."""
    try:
        yield
    except Exception as error:
        talk.print(f"the outcome could not be told: {type(error).__name__}: {error}", style="bold", highlight=False, markup=False)


def metrics(runs: list[dict[str, Any]]) -> CollectorRegistry:
    """Of records, latest first."""
    registry, last = CollectorRegistry(), runs[0]

    def gauge(name: str, about: str, values: dict[Any, float], *labels: str) -> None:
        one = Gauge(f"quietquota_refresh_{name}", about, labels, registry=registry)
        for label, value in values.items():
            (one.labels(*label) if labels else one).set(value)

    good = [run for run in runs if run["outcome"] in GOOD]
    since = next((n for n, run in enumerate(runs) if run["outcome"] in GOOD), len(runs))
    published = next((run for run in runs if run["outcome"] == "published"), None)
    gauge("outcome", "How the last one ended.", {(last["outcome"],): 1.0}, "outcome")
    gauge("failures", f"Runs since the last that published, or found nothing new; at most {LOOKED_AT}.", {(): since})
    times = {"last": last.get("finished_at"), "good": good[0].get("finished_at") if good else None}
    times["published"] = published.get("finished_at") if published else None
    seconds = {(which,): datetime.fromisoformat(at).timestamp() for which, at in times.items() if at}
    gauge("finished_timestamp_seconds", "When the last one, the last good one, and the last that published ended.", seconds, "which")
    gauge("step_seconds", "What each step of the last one took.", {(step,): s for step, s in last["seconds"].items()}, "step")
    failed = {(one["address"],): float(bool(one["error"])) for one in last.get("fetched") or ()}
    gauge("source_failed", "1 where a publisher could not be had by the last one.", failed, "address")
    if (pending := last.get("pending_findings")) is not None:
        gauge("pending_findings", "Findings that hold rows back until somebody accepts them.", {(): pending})
    checks = {c["name"]: c for c in last.get("checks") or ()}
    gauge(
        "check",
        "Values of the gate's checks.",
        {(name,): math.nan if c["value"] is None else c["value"] for name, c in checks.items()},
        "check",
    )
    outcomes = {(name,): float(_OUTCOMES.index(c["outcome"])) for name, c in checks.items()}
    gauge("check_outcome", "0 PASS, 1 REVIEW, 2 FAIL.", outcomes, "check")
    return registry


def _message(run: dict[str, Any], secret: str | None) -> tuple[bytes, dict[str, str]]:
    """Body and headers as :mod:`service.webhooks` has them, unsigned without a secret."""
    data = {name: run.get(name) for name in ("started_at", "finished_at", "host", "outcome", "why", "snapshot", "decision", "seconds")}
    data |= {"pending_findings": run.get("pending_findings"), "not_had": [f for f in run.get("fetched") or () if f["error"]]}
    data["checks"] = [c for c in run.get("checks") or () if c["outcome"] != "PASS"]
    body = orjson.dumps({"type": f"refresh.{run['outcome'].replace(' ', '_')}", "timestamp": run.get("finished_at"), "data": data})
    keys = [secret.removeprefix("whsec_")] if secret else []
    return body, signed(body, f"run_{secrets.token_hex(8)}", datetime.now(UTC), keys)
