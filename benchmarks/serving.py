"""The service beside a bare route that returns the same bytes, under the same server and the same load, in turns."""

import asyncio
import http.client
import json
import math
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent

from answers import META, UNITS, WHEN, filled, thinkable  # noqa: E402

from model.spec import Assumptions  # noqa: E402
from service.keys import Keys  # noqa: E402
from service.snapshots import SnapshotStore  # noqa: E402

UNITS_SERVED, CONNECTIONS, ROUNDS, SECONDS = 1000, 32, 7, 1.5
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Seen:
    """Of each round: CPU microseconds a request, requests a second, 99 % quantile of the time to answer (ms)."""

    cpu: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


async def _load(port: int, path: str, headers: str, seconds: float, body: str = "") -> tuple[int, list[float]]:
    """(requests answered, seconds each took) of closed loops over kept connections. body : to be posted."""
    sent = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    request = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: x\r\n{headers}{sent}\r\n{body}".encode()
    until, times = time.perf_counter() + seconds, []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
        while (began := time.perf_counter()) < until:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head[9:12] in (b"200", b"304"), head
            length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), 0)
            if length:
                await reader.readexactly(length)
            times.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return len(times), times


@contextmanager
def _server(arguments: list[str], environment: dict[str, str], probe: str) -> Iterator[tuple[int, int, float]]:
    """(port, process id, seconds until `probe` answered)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, *arguments, "--port", str(port)], cwd=ROOT, env=os.environ | environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{probe}", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, "the server ended"
                time.sleep(0.01)
        yield port, server.pid, time.perf_counter() - began
    finally:
        server.terminate()
        server.wait(timeout=30)


def measured() -> tuple[dict[str, Seen], dict[str, float]]:
    """(by variant; facts)."""
    with tempfile.TemporaryDirectory() as folder:
        store = SnapshotStore(f"{folder}/var")
        one = UNITS[1]
        named = [
            one | {"unit": f"CHN.{importer}.family{n // 20}", "importer": importer} for n in range(UNITS_SERVED) for importer in [_code(n)]
        ]
        store.publish(META, named, filled, WHEN)
        unit = f"/v1/regimes/{named[7]['unit']}"
        ours = ["-m", "service.cli", "serve", "--store", f"{folder}/var"]
        bare = ["-m", "uvicorn", "bare:app", "--app-dir", "benchmarks", "--loop", "uvloop", "--http", "httptools", "--no-access-log"]
        many = "/v1/regimes?min_probability=0.5"
        locked = SnapshotStore(f"{folder}/locked")
        locked.publish(META, named, filled, WHEN)
        key = f"Authorization: Bearer {Keys(locked.store).add('bench', ('read',), None)[0]}\r\n"
        guarded = ["-m", "service.cli", "serve", "--store", f"{folder}/locked"]
        batch = json.dumps({"units": [row["unit"] for row in named[:500]]})
        with _server(ours, {}, "/readyz") as (port, pid, ready), _server(guarded, {}, "/readyz") as (key_port, key_pid, _):
            bodies = {name: urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") for name, path in (("BODY", unit), ("LIST", many))}
            etag = bodies["BODY"].headers["etag"]
            files = {name: f"{folder}/{name}" for name in bodies}
            for name, response in bodies.items():
                Path(files[name]).write_bytes(response.read())
            with _server(bare, files, "/one/x") as (bare_port, bare_pid, _):
                variants = {
                    "bare route, one unit's bytes": (bare_port, bare_pid, "/one/x", ""),
                    "one unit": (port, pid, unit, ""),
                    "one unit, 304": (port, pid, unit, f"If-None-Match: {etag}\r\n"),
                    "one unit, with a key": (key_port, key_pid, unit, key),
                    "one unit, with a key, 304": (key_port, key_pid, unit, f"{key}If-None-Match: *\r\n"),
                    "one unit as of an instant": (port, pid, f"{unit}?as_of=2026-11-01T12:00:00Z", ""),
                    "bare route, the list's bytes": (bare_port, bare_pid, "/many", ""),
                    "filtered list of 1,000 units": (port, pid, many, ""),
                    "batch of 500 units": (port, pid, "/v1/regimes:query", ""),
                }
                seen = {name: Seen() for name in variants}
                for _ in range(ROUNDS):
                    for name, (at, process, path, headers) in variants.items():
                        before, began = _cpu(process), time.perf_counter()
                        count, times = asyncio.run(_load(at, path, headers, SECONDS, batch if "query" in path else ""))
                        seen[name].cpu.append(1e6 * (_cpu(process) - before) / count)
                        seen[name].rate.append(count / (time.perf_counter() - began))
                        seen[name].p99.append(1e3 * statistics.quantiles(times, n=100)[98])
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        facts = {"ready": ready, "memory": pages * os.sysconf("SC_PAGE_SIZE") / 1e6}
        return seen, facts


def told_apart() -> float:
    """t of the time that a key's check takes whose secret is wrong in its last place, less that of one wrong in all.

    Of 60 keys, 2,000 of each in turns, without the longest hundredth: two strings lie differently in memory, which tells them apart by some
    nanoseconds, one way or the other, whatever is in them. Beyond 3 the time would tell a guesser how far he is.
    """
    with tempfile.TemporaryDirectory() as folder:
        keys = Keys(SnapshotStore(folder).store)
        apart = []
        for _ in range(60):
            key, record = keys.add("bench", ("read",), None)
            keys._looked = -math.inf
            keys.known()
            keys._looked = math.inf  # not looked for anew meanwhile
            last = "A" if key[-1] != "A" else "B"
            presented = [f"qq_{record.id}_{secret}" for secret in (key[-43:-1] + last, secrets.token_urlsafe(32))]
            turn = len(apart) % 2  # the first of two is asked half a nanosecond faster, whatever it is
            if turn:
                presented.reverse()
            times: tuple[list[int], list[int]] = [], []
            for n in range(4_000):
                which = (n + n // 2) % 2
                secret, taken = presented[which], times[which]
                began = time.perf_counter_ns()
                keys.holder(secret)
                taken.append(time.perf_counter_ns() - began)
            one, other = (statistics.fmean(sorted(taken)[: len(taken) * 99 // 100]) for taken in times)
            apart.append(other - one if turn else one - other)
    return statistics.fmean(apart) / (statistics.stdev(apart) / math.sqrt(len(apart)))


def thought() -> tuple[float, float]:
    """(median, 99 % quantile) ms of a what-if of 24 months, both offices, asked 200 times, one after the other, over HTTP."""
    from model.held import DRAWS

    months = 111

    def fill(folder: Path) -> None:
        (folder / "what-if").mkdir()
        np.savez_compressed(folder / "what-if" / "JPN.npz", **thinkable(DRAWS, "2018-01", months))

    with tempfile.TemporaryDirectory() as folder:
        SnapshotStore(f"{folder}/var").publish(META | {"assumptions": Assumptions().model_dump()}, UNITS, fill, WHEN)
        periods = [str(p) for p in np.datetime64("2018-01", "M") + np.arange(months - 27, months - 3)]
        asked = [{"period": p, "reporter": r, "net_weight_kg": 1e4 + n} for n, p in enumerate(periods) for r in ("CHN", "JPN")]
        body = json.dumps({"releases": asked}).encode()
        times = []
        with _server(["-m", "service.cli", "serve", "--store", f"{folder}/var"], {}, "/readyz") as (port, _, _):
            connection = http.client.HTTPConnection("127.0.0.1", port)
            for _ in range(205):
                began = time.perf_counter()
                connection.request("POST", "/v1/regimes/CHN.JPN.magnets/what-if", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                assert answer.read() and answer.status == 200
                times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times[5:]), statistics.quantiles(times[5:], n=100)[98]


def _code(n: int) -> str:
    return "".join(chr(65 + n // 26**k % 26) for k in (2, 1, 0))
