"""Small files and figures that several tests write."""

import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from itertools import product
from pathlib import Path

import httpx
import numpy as np
import pandas as pd

DEMO_AS_OF = datetime(2025, 1, 31, tzinfo=UTC)
OBSERVATION_HEADER = "reporter,exporter,importer,hs_code,period,net_weight_kg,value_usd,released_at"


def csv(*rows: str, header: str = OBSERVATION_HEADER) -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def simulated_csv(
    seed: int = 7, months: int = 60, importers: tuple[str, ...] = ("JPN", "USA", "KOR", "DEU"), codes: tuple[str, ...] = ("850511",)
) -> bytes:
    """Both offices' figures of `codes`: log-normal flows, and Japan cut by 85 % in its last twelve months."""
    rng = np.random.default_rng(seed)
    periods = pd.period_range("2019-01", periods=months, freq="M")
    rows = []
    for code, (n, importer) in product(codes, enumerate(importers)):
        flow = np.exp(12 + n + rng.normal(0, 0.12, months))
        if importer == "JPN":
            flow[-12:] *= 0.15
        for period, kg in zip(periods, flow, strict=True):
            for reporter, factor in (("CHN", 1.0), (importer, 1.05 * np.exp(rng.normal(0, 0.05)))):
                released = (period + 1).to_timestamp() + pd.Timedelta(days=19 if reporter == "CHN" else 27)
                rows.append(f"{reporter},CHN,{importer},{code},{period},{kg * factor:.0f},,{released.isoformat()}Z")
    return csv(*rows)


@contextmanager
def listening(handler, path):
    """A server on loopback that answers as `handler` does; ``address`` is that of `path` on it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.address = f"http://127.0.0.1:{server.server_port}{path}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def _answering(command, ask):
    """A server as a process of its own, once `ask` of its address is answered: its port on loopback, and the process. command : to which
    the port is added."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = Path(__file__).parent.parent
    server = subprocess.Popen([*command, str(port)], cwd=root, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        for _ in range(300):
            assert server.poll() is None, f"{command[0]}: the server ended; make test installs what it needs"
            try:
                ask(f"http://127.0.0.1:{port}")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        else:
            raise AssertionError("the server did not answer")
        yield port, server
    finally:
        server.terminate()
        server.wait(timeout=30)


@contextmanager
def s3_server(bucket):
    """A server that speaks S3 (moto, from its own environment), with a bucket: its address, and its process."""
    command = [".tools/s3/bin/moto_server", "-H", "127.0.0.1", "-p"]
    with _answering(command, lambda address: httpx.put(f"{address}/{bucket}")) as (port, server):
        yield f"http://127.0.0.1:{port}", server


def s3_client(address, cache):
    """What the environment of a client of it needs."""
    keys = {"ENDPOINT_URL": address, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "us-east-1"}
    return {f"AWS_{name}": value for name, value in keys.items()} | {"QUIETQUOTA_CACHE": str(cache)}


@contextmanager
def serving(url, *options):
    """`quietquota serve` over the snapshot store at `url`, as a process of its own; its port on loopback."""
    command = [sys.executable, "-m", "service.cli", "serve", "--store", url, *options, "--port"]
    with _answering(command, lambda address: httpx.get(f"{address}/healthz")) as (port, _):
        yield port
