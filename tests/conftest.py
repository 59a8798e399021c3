"""The session checks the shapes that signatures promise, and gives the pieces that several tests need."""

from pathlib import Path

from jaxtyping import install_import_hook

with install_import_hook(["data", "model"], "beartype.beartype"):
    pass

import pytest
from hypothesis import settings

from data.config import SAMPLE, SAMPLE_CONFIG, Watch, read_watch
from data.log import ReleaseLog

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
