"""The same figures and seed: are the draws the same, bit for bit, with caches cold and warm, on one core and two, under another Python?"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measure import PATH, ROOT

OTHER_PYTHON = "3.13"


def drawn(cores: int) -> str:
    """SHA-256 of the draws of a small panel's fit."""
    from problems import FAMILIES, IMPORTERS, A

    from model.fit import fit
    from model.simulate import Design, simulate
    from model.spec import Computation

    f = simulate(Design(importers=IMPORTERS[:3], families=FAMILIES[:1], months=48), A, 1).frame
    made = fit(f, A, Computation(draws=40, tune=60, chains=2, cores=cores))
    posterior = made.posterior["posterior"].to_dataset()
    digest = hashlib.sha256()
    for name in sorted(map(str, posterior.data_vars)):
        digest.update(posterior[name].transpose("chain", "draw", ...).values.tobytes())
    return digest.hexdigest()


def _by(python: str, cores: int, caches: Path) -> str:
    own = os.environ | {
        "PYTHONPATH": PATH, "OMP_NUM_THREADS": "1",
        "PYTENSOR_FLAGS": f"base_compiledir={caches / 'pytensor'}", "JAX_COMPILATION_CACHE_DIR": str(caches / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "NUMBA_CACHE_DIR": str(caches / "numba"),
    }  # fmt: skip
    command = [python, str(Path(__file__)), str(cores)]
    done = subprocess.run(command, env=own, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{python}, {cores} cores: {done.stderr[-2000:]}")
    return str(json.loads(done.stdout.strip().splitlines()[-1])["sha256"])


def _other_python(folder: Path) -> str:
    """An environment of the same lock file under :data:`OTHER_PYTHON`."""
    uv, python = ROOT / ".tools" / "bin" / "uv", folder / "bin" / "python"
    # Where scripts/find-python looks too.
    places = [os.environ["PATH"], *map(str, Path.home().glob(f".pyenv/versions/{OTHER_PYTHON}*/bin"))]
    own = os.environ | {"PATH": os.pathsep.join(places)}
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", OTHER_PYTHON, folder], check=True, env=own)
    subprocess.run([uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python, ROOT / "locks" / "dev.txt"], check=True)
    return str(python)


def told() -> Iterator[tuple[str, str]]:
    """(how, SHA-256 of the draws)."""
    with tempfile.TemporaryDirectory() as scratch:
        place, mine = Path(scratch), f"{sys.version_info.major}.{sys.version_info.minor}"
        yield f"Python {mine}, cold caches, one core", _by(sys.executable, 1, place / "one")
        yield f"Python {mine}, warm caches, one core", _by(sys.executable, 1, place / "one")
        yield f"Python {mine}, warm caches, two cores", _by(sys.executable, 2, place / "one")
        yield f"Python {mine}, cold caches, two cores", _by(sys.executable, 2, place / "another")
        yield f"Python {OTHER_PYTHON}, cold caches, two cores", _by(_other_python(place / "python"), 2, place / "other")


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps({"sha256": drawn(int(sys.argv[1]))}))
    else:
        for how, digest in told():
            print(digest[:16], how, flush=True)
