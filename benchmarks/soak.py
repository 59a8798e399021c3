"""The service for a long time: `make soak`.

Requests are sent when they are due, whether or not those before were answered, and timed from then on: a server that stalls is not excused
from what came meanwhile. In turns: a steady rate without switches of the snapshot and with one every half second; a flood, and how long it
takes to recover; then the steady rate for long, with a switch every ten seconds, and what becomes of memory and open files.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from serving import META, UNITS, WHEN, _code, _load, _server, filled

from service.snapshots import SnapshotStore

RATE, UNITS_SERVED, CONNECTIONS = 300, 1000, 16


class Client:
    def __init__(self, port: int, paths: list[str]) -> None:
        self.port, self.paths = port, paths
        self.times: list[float] = []
        self.wrong: list[bytes] = []

    async def run(self, seconds: float, rate: float = RATE) -> "Client":
        due: asyncio.Queue[float | None] = asyncio.Queue()

        async def one() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
            while (at := await due.get()) is not None:
                path = self.paths[len(self.times) % len(self.paths)]
                writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), 0)
                body = await reader.readexactly(length) if length else b""
                if head[9:12] != b"200" or body[:1] not in b"{[":
                    self.wrong.append(head[:200])
                self.times.append(time.perf_counter() - at)
            writer.close()

        clients = [asyncio.create_task(one()) for _ in range(CONNECTIONS)]
        start = time.perf_counter()
        for n in range(int(seconds * rate)):
            at = start + n / rate
            if (wait := at - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            due.put_nowait(at)
        for _ in clients:
            due.put_nowait(None)
        await asyncio.gather(*clients)
        return self

    def p99(self) -> float:
        return 1e3 * statistics.quantiles(self.times, n=100)[98]


async def switching(switch: Callable[[int], None], every: float, until: asyncio.Event) -> int:
    n = 0
    while not until.is_set():
        await asyncio.to_thread(switch, n)
        n += 1
        await asyncio.sleep(every)
    return n


def resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def steady(port: int, paths: list[str], seconds: float, switch: Callable[[int], None] | None, every: float) -> tuple[Client, int]:
    stop = asyncio.Event()
    swaps = asyncio.create_task(switching(switch, every, stop)) if switch else None
    client = await Client(port, paths).run(seconds)
    stop.set()
    return client, await swaps if swaps else 0


def main(minutes: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SnapshotStore(f"{folder}/var")
        named = [UNITS[1] | {"unit": f"CHN.{_code(n)}.family{n // 20}", "importer": _code(n)} for n in range(UNITS_SERVED)]
        names = [store.publish(META, named, filled, WHEN + timedelta(days=d)) for d in range(2)]
        units = [f"/v1/regimes/{row['unit']}" for row in named[:50]]
        past = [f"{unit}?as_of=2026-11-01T12:00:00Z" for unit in units[:5]]
        paths = [*units, *(f"{unit}/history?kind=smoothed" for unit in units[:10]), *past, "/v1/families"]
        arguments = ["-m", "service.cli", "serve", "--store", f"{folder}/var"]
        with _server(arguments, {}, "/readyz") as (port, pid, _):

            def switch(n: int) -> None:
                store.switch(names[n % 2])

            def run(seconds: float, switch: Callable[[int], None] | None = None, every: float = 1.0) -> tuple[Client, int]:
                return asyncio.run(steady(port, paths, seconds, switch, every))

            calm, (often, swaps) = run(30)[0], run(30, switch, 0.5)
            beside = f"with {swaps} switches {often.p99():.1f} ms ({often.p99() / calm.p99():.2f}), {len(often.wrong)} wrong"
            print(f"{RATE} requests a second for 30 s: p99 {calm.p99():.1f} ms, {len(calm.wrong)} wrong; {beside}", flush=True)
            count, _ = asyncio.run(_load(port, units[0], "", 20))
            first, then = run(5)[0].p99(), run(5)[0].p99()
            print(
                f"a flood of {count / 20:,.0f} a second for 20 s; p99 of the 5 s after {first:.1f} ms, of the next {then:.1f} ms",
                flush=True,
            )
            began, at_five, worst, total, wrong, swaps = time.monotonic(), None, 0.0, 0, 0, 0
            while (minute := (time.monotonic() - began) / 60) < minutes:
                part, some = run(60, switch, 10)
                worst, total, wrong, swaps = max(worst, part.p99()), total + len(part.times), wrong + len(part.wrong), swaps + some
                if at_five is None and minute >= min(4, minutes / 2):
                    at_five = resident(pid), files(pid)
                state = f"{resident(pid):.1f} MB, {files(pid)} files, {len(part.wrong)} wrong"
                print(f"minute {minute + 1:.0f}: p99 {part.p99():.1f} ms, {state}", flush=True)
            memory, opened = at_five or (resident(pid), files(pid))
            since = f"since minute 5 {resident(pid) - memory:+.1f} MB, {files(pid) - opened:+d} files"
            print(f"{total:,} requests, {swaps} switches: {wrong} wrong; worst minute's p99 {worst:.1f} ms; {since}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0)
