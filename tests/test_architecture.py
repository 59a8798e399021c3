"""The walls of the house, and the promises of its papers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("pymc", "arviz", "arviz_stats", "pytensor", "nutpie", "jax", "numba", "pandas", "xarray", "matplotlib")


def test_the_serving_process_imports_nothing_that_fits():
    code = f"import sys, service.app, service.cli; service.app.create_app(); print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_lock_files_hold_the_generation_that_is_promised_with_hashes_and_no_address():
    lock = (ROOT / "locks/dev.txt").read_text()
    versions = dict(re.findall(r"^([a-z0-9-]+)==([\d.]+)", lock, re.M))
    assert versions["pymc"].startswith("6.4.")
    assert versions["arviz"].startswith("1.3.")
    assert versions["pandas"].startswith("3.")
    for name in ("api", "refresh", "dev", "uv"):
        text = (ROOT / f"locks/{name}.txt").read_text()
        pins = re.findall(r"^[a-z0-9-]+(?:\[[a-z,]+\])?==", text, re.M)
        assert text.count("--hash=sha256:") >= len(pins) > 0
        assert "://" not in text


def test_api_and_refresh_are_locked_to_the_versions_that_are_tested():
    pins = {n: set(re.findall(r"^([a-z0-9-]+==[\w.]+)", (ROOT / f"locks/{n}.txt").read_text(), re.M)) for n in ("api", "refresh", "dev")}
    assert pins["api"] < pins["refresh"] < pins["dev"]
    # numba is for the process that answers what-ifs, and for no other.
    assert {p.split("==")[0] for p in pins["api"]} & set(HEAVY) == {"numba"}


def test_the_dockerfile_installs_by_the_tested_script_and_runs_as_nobody_special():
    text = (ROOT / "Dockerfile").read_text()
    assert set(re.findall(r"RUN scripts/install (\w+)", text)) == {"api", "refresh"}
    final = re.split(r"^FROM ", text, flags=re.M)
    for stage in (s for s in final if re.search(r" AS (api|refresh)\n", s)):
        users = re.findall(r"^USER (\w+)", stage, re.M) or ["quietquota"]
        assert users[-1] == "quietquota"
    assert "USER quietquota" in next(s for s in final if " AS runtime\n" in s)


COMMANDS = "ingest observations refresh regimes explain serve report backtest score simulate snapshots"


@pytest.mark.parametrize("name", COMMANDS.split())
def test_every_command_is_in_the_readme(name):
    assert f"quietquota {name}" in (ROOT / "README.md").read_text()


def test_every_decision_is_in_the_index():
    index = (ROOT / "docs/decisions/README.md").read_text()
    for path in (ROOT / "docs/decisions").glob("0*.md"):
        assert path.name in index
