"""The session checks the shapes that signatures promise, and gives the pieces that several tests need."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

from jaxtyping import install_import_hook

with install_import_hook(["data", "model"], "beartype.beartype"):
    pass

import httpx
import pytest
from hypothesis import settings
from support import serving

from data.config import SAMPLE, SAMPLE_CONFIG, Watch, read_watch
from data.log import ReleaseLog

ROOT = Path(__file__).parent.parent
# No time is asserted: a busy machine is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture
def release_log(tmp_path: Path) -> ReleaseLog:
    return ReleaseLog(tmp_path / "log")


@pytest.fixture(scope="session")
def sample_log(tmp_path_factory) -> ReleaseLog:
    """The bundled real figures, ingested. Not to be written to."""
    log = ReleaseLog(tmp_path_factory.mktemp("sample") / "log")
    for path in sorted(SAMPLE.glob("*.csv")):
        log.ingest(path.read_bytes(), path.name)
    return log


@pytest.fixture(scope="session")
def sample_watch() -> Watch:
    return read_watch(SAMPLE_CONFIG)


@pytest.fixture(scope="session")
def s3(tmp_path_factory) -> Iterator[str]:
    """Address of a server that speaks S3 (moto, from its own environment)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [ROOT / ".tools/s3/bin/moto_server", "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            assert server.poll() is None, "the server ended; make test installs it"
            try:
                httpx.put(f"{address}/releases")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=20)


@pytest.fixture
def bucket(s3, tmp_path, monkeypatch) -> str:
    """URL of a new place in a bucket; the environment has what it needs."""
    for name, value in {"ENDPOINT_URL": s3, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("QUIETQUOTA_CACHE", str(tmp_path / "cache"))
    return f"s3://releases/{uuid4().hex}"


@pytest.fixture
def served_at() -> Iterator[Callable[..., tuple[str, int]]]:
    """Starts `quietquota serve` over a snapshot store, as a process of its own; gives its address and port."""
    with ExitStack() as running:
        yield lambda store, *options: ("127.0.0.1", running.enter_context(serving(store.store.url, *options)))
