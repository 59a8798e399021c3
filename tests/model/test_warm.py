"""What an image is built with: every kernel compiled and in the cache that a refresh will read. Slow: nothing is compiled before."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def test_every_kernel_is_in_the_cache_afterwards(tmp_path):
    fresh = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", "from service.cli import main; main()", "warm"], env=fresh, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "compiled"), done.stderr[-2000:]
    kept = " ".join(path.name for path in tmp_path.rglob("*.nbi"))
    assert all(f".{kernel}-" in kept for kernel in ("_forward", "_adjoint", "by_chain", "smooth", "evidence_on_grid")), kept
