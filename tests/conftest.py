"""The session checks the shapes that signatures promise, and gives the pieces that several tests need."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

from jaxtyping import install_import_hook

with install_import_hook(["data", "model"], "beartype.beartype"):
    pass

import pytest
from hypothesis import settings
from support import s3_client, s3_server, serving

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
def s3() -> Iterator[str]:
    """Address of a server that speaks S3."""
    with s3_server("releases") as (address, _):
        yield address


@pytest.fixture
def bucket(s3, tmp_path, monkeypatch) -> str:
    """URL of a new place in a bucket; the environment has what it needs."""
    for name, value in s3_client(s3, tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    return f"s3://releases/{uuid4().hex}"


@pytest.fixture
def served_at() -> Iterator[Callable[..., tuple[str, int]]]:
    """Starts `quietquota serve` over a snapshot store, as a process of its own; gives its address and port."""
    with ExitStack() as running:
        yield lambda store, *options: ("127.0.0.1", running.enter_context(serving(store.store.url, *options)))
