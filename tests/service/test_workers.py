"""Workers of a process that is gone do not work on for nobody."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASKING = """
import os, time
from service.workers import processes
if __name__ == "__main__":
    pool = processes(1)
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600).result()
"""


@pytest.mark.slow
def test_a_worker_ends_with_the_process_that_asked_however_that_ends(tmp_path):
    script = tmp_path / "asking.py"
    script.write_text(ASKING)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    asking = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    worker = int(asking.stdout.readline())
    os.kill(worker, 0)
    asking.send_signal(signal.SIGKILL)
    asking.wait()
    asking.stdout.close()
    for _ in range(600):
        # One that has ended and that nobody waits for is a zombie.
        if not Path(f"/proc/{worker}").exists() or Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("it works on")
