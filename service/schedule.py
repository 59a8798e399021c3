"""When to refresh: every night, and at noon and in the evening of days on which a customs office's figures are due.

What is due when is rebuilt from the publishers' calendars (:mod:`data.calendar`): a plan, and offices are late. So nothing hangs on it:
what comes later is taken up by the next night.
"""

import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pandas as pd
from apscheduler.schedulers.blocking import BlockingScheduler
from apscheduler.triggers.base import BaseTrigger

from data.calendar import inferred_release

log = logging.getLogger("quietquota.schedule")
DUE_DAY = (time(12), time(18))
"""Hours (UTC) at which a day on which figures are due is looked into, beside the night after it."""
AHEAD_MONTHS = 3
LONGEST, LAST_SECONDS = timedelta(hours=20), 60.0
"""How long a refresh may take, and how long to end once it is told to."""
GRACE_SECONDS = 6 * 3600
"""How late a run may still begin, after the machine was asleep; several that were missed are one."""
_running = set[subprocess.Popen[bytes]]()


def releases_due(reporters: Sequence[str], after: datetime) -> Iterator[tuple[datetime, str, str]]:
    """(day, reporter, month) of the next figures of each office, soonest first."""
    months = pd.period_range(pd.Period(after.replace(tzinfo=None), "M") - AHEAD_MONTHS, periods=2 * AHEAD_MONTHS, freq="M")
    found = ((inferred_release(reporter, month), reporter, str(month)) for reporter in reporters for month in months)
    yield from sorted(one for one in found if one[0].date() >= after.date())


def next_run(reporters: Sequence[str], nightly: time, after: datetime) -> datetime:
    """The next instant (UTC) after `after` at which to refresh."""
    days = {day.date() for day, _, _ in releases_due(reporters, after)}
    candidates = []
    for ahead in range(2):
        day = (after + timedelta(days=ahead)).date()
        candidates += [datetime.combine(day, at, UTC) for at in (nightly, *(DUE_DAY if day in days else ()))]
    return min(moment for moment in candidates if moment > after)


class Trigger(BaseTrigger):  # type: ignore[misc]
    """:func:`next_run`, as APScheduler asks for it."""

    def __init__(self, reporters: Sequence[str], nightly: time) -> None:
        self.reporters, self.nightly = reporters, nightly

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        return next_run(self.reporters, self.nightly, (previous_fire_time or now).astimezone(UTC))


def run(arguments: list[str]) -> int:
    """`quietquota` with these arguments, as a process of its own: what a fit takes of memory goes with it. Its exit code. One that takes
    longer than :data:`LONGEST` is told to stop, and then made to: the next must not wait for it for ever."""
    began = datetime.now(UTC)
    process = subprocess.Popen([sys.executable, "-m", "service.cli", *arguments])
    _running.add(process)
    try:
        code = process.wait(LONGEST.total_seconds())
    except subprocess.TimeoutExpired:
        log.error("quietquota %s: told to stop after %s", " ".join(arguments), LONGEST)
        process.terminate()
        try:
            code = process.wait(LAST_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    finally:
        _running.discard(process)
    log.info("quietquota %s: exit code %d after %.0f s", " ".join(arguments), code, (datetime.now(UTC) - began).total_seconds())
    return code


def stop() -> None:
    """Tell what runs to stop."""
    for process in list(_running):
        process.terminate()


def scheduler(reporters: Sequence[str], nightly: time, arguments: list[str], at_once: bool) -> Any:
    """Runs :func:`run` when it is due, one at a time, until stopped."""
    blocking = BlockingScheduler(timezone=UTC)
    options = {"coalesce": True, "max_instances": 1, "misfire_grace_time": GRACE_SECONDS}
    blocking.add_job(run, Trigger(reporters, nightly), args=[arguments], id="refresh", **options)
    if at_once:
        blocking.add_job(run, args=[arguments], id="now", **options)
    return blocking
