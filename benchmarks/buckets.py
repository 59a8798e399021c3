"""Buckets that are slow, or fall silent: a real server that speaks S3, stopped and let go."""

import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import s3_client, s3_server
from trials import DONE, STORE, Told, Trial, Trying, refresh

from service.runs import last


@contextmanager
def _bucket() -> Iterator[tuple[str, subprocess.Popen]]:
    """URL of a place in a bucket, and the server that speaks S3; the environment has what clients need."""
    with tempfile.TemporaryDirectory() as cache, s3_server("figures") as (address, server):
        os.environ |= s3_client(address, Path(cache))
        try:
            yield "s3://figures/var", server
        finally:
            server.send_signal(signal.SIGCONT)  # one that is stopped would not end


def slow(_: Path) -> Told:
    """A bucket that answers for a tenth of a second in every half."""
    with _bucket() as (url, server):
        one = Trial(url)
        run = refresh(url, "--accept-review")
        while run.poll() is None:
            server.send_signal(signal.SIGSTOP)
            time.sleep(0.4)
            server.send_signal(signal.SIGCONT)
            time.sleep(0.1)
        said, _ = run.communicate()
        return ([] if run.returncode == DONE else [f"exit code {run.returncode}: {said[-300:]}"]) + one.wrong(("published",)), "throughout"


def silent(rng: random.Random, length: float) -> Trying:
    """A bucket that stops answering after a random time of `length` seconds, and takes up what was asked when the refresh has given up."""

    def trial(_: Path) -> Told:
        with _bucket() as (url, server):
            one = Trial(url)
            run = refresh(url, "--accept-review")
            time.sleep(rng.uniform(3, length))
            ended_before = run.poll() is not None
            step = "ended before" if ended_before else (last(one.store().store) or {}).get("step") or "before its record"
            server.send_signal(signal.SIGSTOP)
            began = time.perf_counter()
            said, _ = run.communicate()
            took = time.perf_counter() - began
            server.send_signal(signal.SIGCONT)
            wrong = [] if ended_before or run.returncode == STORE else [f"exit code {run.returncode}: {said[-300:]}"]
            return wrong + one.wrong(("running", "failed", "published")), f"{step}, given up after {took:.0f} s"

    return trial
