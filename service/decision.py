"""What a refresh has to do, decided before anything that fits is even imported: nothing, weigh the draws there are, or fit anew."""

import hashlib
import platform
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Literal

import orjson

from data.panel import Panel
from model.spec import Assumptions, Computation
from service.snapshots import Damaged, NoSnapshot, SnapshotStore

PACKAGES = ("pymc", "pytensor", "nutpie", "jax", "jaxlib", "arviz", "numba", "numpy", "xarray", "pandas")
FIT_EVERY = timedelta(days=7)
"""Age of a fit from which new figures are fitted anew and its draws not weighed once more."""

LEFT_OUT = "shards_left_out"
OF_ANSWERS = ("unexplained_jumps", "answers_lost", LEFT_OUT)
"""Checks that are not of a fit."""

A_MOMENT = timedelta(minutes=5)
"""By how much the clocks of two machines may differ."""

Kind = Literal["nothing", "weigh", "fit"]


@dataclass(frozen=True)
class Decision:
    """why : for the record and for people. current : id of the snapshot whose fit's draws are to be weighed, or its chains carried on."""

    kind: Kind
    why: str
    current: str | None = None


def decide(
    store: SnapshotStore, panel: Panel, assumptions: Assumptions, computation: Computation, accept_review: bool = False,
    now: datetime | None = None,
) -> Decision:  # fmt: skip
    """By what the current snapshot says of itself; whether its draws can stand for the panel is not yet known."""
    try:
        name = store.current_id()
        meta = store.manifest(name) if name else None
    except (Damaged, NoSnapshot) as error:
        return Decision("fit", f"what is current cannot be read: {error}")
    if meta is None:
        return Decision("fit", "nothing has been published yet")
    if differing := _differing(meta, assumptions, computation):
        return Decision("fit", f"the current snapshot was made with other {', '.join(differing)}")
    if meta["panel_sha256"] == panel.attrs["fingerprint"]:
        if any(c["name"] == LEFT_OUT and c["value"] for c in meta.get("checks", ())):
            return Decision("weigh", "of the same figures, some shards were left out", name)
        try:
            store.verify(str(name))
        except Damaged as error:
            return Decision("fit", f"what is current cannot be read: {error}")
        return Decision("nothing", "the current snapshot rests on the same figures")
    fit = meta.get("fit") or meta
    age = (now or datetime.now(UTC)) - datetime.fromisoformat(fit["fitted_at"])
    if age < -A_MOMENT:
        return Decision("fit", f"the last fit is of {fit['fitted_at']}, which this machine's clock has not reached")
    # A month more without a figure is a nowcast that rolls on, however old the fit.
    heard = meta.get("log") is None or meta["log"] != panel.attrs["log"]
    if age >= FIT_EVERY and heard:
        return Decision("fit", f"the last fit is {age.days} days old", name)
    if datetime.fromisoformat(fit["as_of"]) > datetime.fromisoformat(panel.attrs["as_of"]):
        return Decision("fit", f"the last fit knew figures as of {fit['as_of']}, later than what is asked")
    asking = [c["name"] for c in fit.get("checks", ()) if c["outcome"] != "PASS" and c["name"] not in OF_ANSWERS]
    if asking and not accept_review:
        return Decision("fit", f"the last fit was published with {', '.join(asking)} in review")
    return Decision("weigh", "there are new figures" if heard else "there is a new month", name)


def _differing(meta: dict[str, Any], assumptions: Assumptions, computation: Computation) -> list[str]:
    """In what it was made otherwise than it would be made now."""
    then = meta.get("computation") or {}
    # A fit that was tried again has another seed, and may have twice the draws.
    tried = {"seed": then.get("seed")} | ({"draws": then["draws"]} if then.get("draws") == 2 * computation.draws else {})
    mine = {
        # How much figures are revised is measured anew with every release; a fit of its own it is not worth.
        "assumptions": assumptions.model_dump() | {"preliminary": (meta.get("assumptions") or {}).get("preliminary")},
        "computation": computation.model_dump() | tried,
        "versions": versions(),
    }
    return [name for name, value in mine.items() if meta.get(name) != orjson.loads(orjson.dumps(value))]


@cache
def versions() -> dict[str, str]:
    """Of all that a posterior hangs on: ``model`` is a digest of the model's own code."""
    code = hashlib.sha256()
    for file in sorted(files("model").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".py"):
            code.update(file.read_bytes())
    return {"python": platform.python_version(), "model": code.hexdigest()[:12]} | {name: version(name) for name in PACKAGES}
