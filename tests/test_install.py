"""What the Dockerfile does, without Docker: the api target from its lock, offline, serves a published snapshot."""

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from answers import META, UNITS

from service.snapshots import SnapshotStore

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent


def test_the_api_target_installs_without_pymc_and_serves(tmp_path):
    source = tmp_path / "src"
    keep = shutil.ignore_patterns(".venv", ".git", "var", ".cache", "__pycache__", "tests", ".hypothesis")
    shutil.copytree(ROOT, source, ignore=keep, symlinks=True)
    offline = os.environ | {"UV_OFFLINE": "1"}
    subprocess.run([source / "scripts/install", "api", tmp_path / "venv"], check=True, env=offline, cwd=source)
    python = tmp_path / "venv/bin/python"
    absent = "import importlib.util as u; assert not [m for m in ('pymc', 'arviz', 'pandas', 'xarray') if u.find_spec(m)]"
    subprocess.run([python, "-c", absent], check=True, cwd=tmp_path)
    SnapshotStore(tmp_path / "var").publish(META, UNITS, lambda folder: None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [tmp_path / "venv/bin/quietquota", "serve", "--store", str(tmp_path / "var"), "--port", str(port)]
    server = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        assert b'"CHN.JPN.magnets"' in _get(f"http://127.0.0.1:{port}/v1/regimes", server)
        assert b"Importers and goods" in _get(f"http://127.0.0.1:{port}/", server)
        assert b"uPlot" in _get(f"http://127.0.0.1:{port}/static/uplot-1.6.32.js", server)
    finally:
        server.terminate()
        server.wait(timeout=20)
    missing = subprocess.run([tmp_path / "venv/bin/quietquota", "refresh"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert missing.returncode == 2
    assert "needs the extra 'refresh'" in missing.stderr


def _get(url: str, server: subprocess.Popen) -> bytes:
    for _ in range(100):
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read()
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not answer")
