"""Months ahead: regimes of months that a fit has not seen, by the model and by what is used today, all learnt before them."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
from calibration import ALONE, DRAWS, KNOWN, A, truth_of, world_of
from rivals import markov_regression, year_on_year

from model.fit import fit
from model.graph import graph_of
from model.layers import draws_of
from model.probabilities import restricted
from model.update import extend

RULES = ("model", "year_on_year", "markov_regression")


def pieces_folder(folder: Path) -> Path:
    """Where these pieces lie, by this file's text and the rivals'."""
    texts = b"".join(Path(__file__).with_name(name).read_bytes() for name in ("ahead.py", "rivals.py"))
    return folder / f"ahead-{hashlib.sha256(texts).hexdigest()[:8]}"


def look_ahead(seed: int, folder: Path) -> None:
    """Write what was said of the world of `seed` from month KNOWN on, unless that is done."""
    path = pieces_folder(folder) / f"ahead-{seed}.json"
    if path.exists():
        return
    world = world_of(seed)
    found: dict[str, object] = {"seed": seed, "fitted": world is not None}
    if world is not None:
        f = world.frame
        result = fit(f.until(KNOWN), A, ALONE.model_copy(update={"seed": seed}))
        draws = draws_of(result.posterior["posterior"].to_dataset(), DRAWS)
        extended = extend(draws, dataclasses.replace(graph_of(f, A), frame=f.until(KNOWN)), f, A, seed)
        said = {
            "model": restricted(extended.draws, extended.graph, A)["filtered"],
            "year_on_year": year_on_year(f),
            "markov_regression": markov_regression(f, learnt=KNOWN),
        }
        found |= {rule: np.round(p[:, KNOWN:], 5).tolist() for rule, p in said.items()}
        found["restricted"] = truth_of(world)[:, KNOWN:].astype(int).tolist()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(found))
    partial.replace(path)
