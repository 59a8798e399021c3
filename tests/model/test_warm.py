"""What an image is built with: every kernel compiled and in the cache that a refresh will read. Slow: nothing is compiled before."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

NO_OTHER = "import sys; sys.executable = '/nowhere'\nfrom model.entry import beside\nwith beside('adjoint'): print('alone')"


def run(cache, program, *arguments):
    fresh = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    return subprocess.run([sys.executable, "-c", program, *arguments], env=fresh, capture_output=True, text=True, check=False)


def test_every_kernel_is_in_the_cache_afterwards_and_no_other_process_is_asked_to_compile_it(tmp_path):
    done = run(tmp_path, "from service.cli import main; main()", "warm")
    assert (done.returncode, done.stdout.strip()) == (0, "compiled"), done.stderr[-2000:]
    kept = " ".join(path.name for path in tmp_path.rglob("*.nbi"))
    assert all(f".{kernel}-" in kept for kernel in ("_forward", "_adjoint", "by_chain", "smooth", "evidence_on_grid")), kept
    assert run(tmp_path, NO_OTHER).stdout.strip() == "alone"


def test_with_an_empty_cache_another_process_is_asked(tmp_path):
    done = run(tmp_path, NO_OTHER)
    assert done.returncode == 1 and "FileNotFoundError" in done.stderr
