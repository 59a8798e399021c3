"""Worlds on disk: what may be seen, in the input formats, and the truth beside it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from data.observations import InputError
from model.causes import CAUSES, cause_of
from model.kernel import ZERO
from model.simulate import World
from model.spec import Assumptions
from model.states import states

EXPORTER = "CHN"
RELEASE_DAYS = {"exporter": 20, "importer": 28}
"""Days after a month's end on which its figures come out; GACC and Japan's customs are about so quick."""
REVISED_AFTER_DAYS, REVISED_SHARE = 150, 0.3


UNIT_MONTH = ("family", "importer", "period")
"""What a truth and a forecast have in common."""


def read_pair(folder: Path, forecasts: Path) -> tuple[str, pd.DataFrame, pd.DataFrame]:
    """(name, truth, forecasts) for :func:`model.scoring.score`."""
    path = folder / "truth.csv"
    for wanted in (path, forecasts):
        if not wanted.is_file():
            raise InputError(f"{wanted}: no such file")
    truth, told = pd.read_csv(path), pd.read_csv(forecasts)
    for which, table, wanted_columns in ((path, truth, UNIT_MONTH), (forecasts, told, ("as_of", *UNIT_MONTH, "probability"))):
        if absent := [name for name in wanted_columns if name not in table]:
            raise InputError(f"{which}: no column {', '.join(absent)}")
    if told.merge(truth, on=list(UNIT_MONTH)).empty:
        raise InputError(f"{forecasts}: speaks of no unit and month that {path} knows the truth of")
    return str(folder), truth, told


def write_world(world: World, folder: Path, seed: int) -> list[str]:
    """Observations, covariates, config, truth and the families' codes, as files in `folder`; returns their names. `seed` picks the
    figures that are revised."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {
        "observations.csv": _observations(world, np.random.default_rng(seed)).to_csv(index=False),
        "covariates.csv": _covariates(world).to_csv(index=False),
        "truth.csv": _truth(world).to_csv(index=False),
        "quietquota.toml": _config(world),
        "families.json": json.dumps(
            {"families": _families(world), "importers": world.frame.coords["importer"], "placebo": "TOTAL"}, indent=1
        ),
    }
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    return list(written)


def _families(world: World) -> dict[str, list[str]]:
    codes: dict[str, list[str]] = {family: [] for family in world.frame.coords["family"]}
    for code in world.frame.coords["code"]:
        family, hs = code.split(":")
        codes[family].append(hs)
    return codes


def _config(world: World) -> str:
    families = "".join(
        f'\n[families.{name}]\ntitle = "{name.replace("_", " ").capitalize()}"\nhs = {json.dumps(hs)}\n'
        for name, hs in _families(world).items()
    )
    return (
        f'exporter = "{EXPORTER}"\nimporters = {json.dumps(world.frame.coords["importer"])}\ncontrol = "TOTAL"\n{families}'
        '\n[covariates]\ntransition = ["diplomatic_tension"]\n'
    )


def _released(period: str, days: int) -> str:
    return ((pd.Period(period, "M") + 1).to_timestamp() + pd.Timedelta(days=days)).strftime("%Y-%m-%dT00:00:00Z")


def _observations(world: World, rng: np.random.Generator) -> pd.DataFrame:
    f, rows = world.frame, []
    revised = rng.uniform(size=world.first_log_kg.shape) < REVISED_SHARE
    importers = f.coords["importer"]
    for n, u in enumerate(f.unit):
        importer = importers[f.importer[u]]
        for side, (reporter, days) in enumerate(zip((EXPORTER, importer), RELEASE_DAYS.values(), strict=True)):
            for t, period in enumerate(f.coords["period"]):
                kg = 0.0 if f.kind[n, t] == ZERO else np.exp(f.flows.log_kg[n, side, t])
                first = np.exp(world.first_log_kg[n, side, t]) if kg > 0 and revised[n, side, t] else kg
                rows.append((reporter, importer, f.flows.hs[n], period, round(first, 3), _released(period, days)))
                if first != kg:
                    rows.append((reporter, importer, f.flows.hs[n], period, round(kg, 3), _released(period, days + REVISED_AFTER_DAYS)))
    for i, importer in enumerate(importers):
        for t, period in enumerate(f.coords["period"]):
            rows.append(
                (EXPORTER, importer, "TOTAL", period, round(np.exp(world.total[i, t])), _released(period, RELEASE_DAYS["exporter"]))
            )
    table = pd.DataFrame(rows, columns=["reporter", "importer", "hs_code", "period", "net_weight_kg", "released_at"])
    table.insert(1, "exporter", EXPORTER)
    table.insert(6, "value_usd", "")
    return table


def _covariates(world: World) -> pd.DataFrame:
    rows = [
        ("diplomatic_tension", EXPORTER, importer, period, round(float(world.tension[i, t]), 4), _released(period, 1))
        for i, importer in enumerate(world.frame.coords["importer"])
        for t, period in enumerate(world.frame.coords["period"])
    ]
    return pd.DataFrame(rows, columns=["series", "exporter", "importer", "period", "value", "released_at"])


def _truth(world: World) -> pd.DataFrame:
    f, space = world.frame, states(Assumptions())
    severity = np.where(space.restricted > 0, 1 - np.exp(space.shift), 0.0)
    family_state = world.family_state[f.family]
    cause = cause_of(space)[world.unit_state, family_state].argmax(-1)
    own, wide = severity[world.unit_state], severity[family_state]
    restricted = cause >= CAUSES.index("targeted")
    depth = np.where(restricted, np.where(own > 0, own, wide), 0.0)
    unit, month = np.indices(cause.shape)
    return pd.DataFrame(
        {
            "family": np.array(f.coords["family"])[f.family][unit.ravel()],
            "exporter": EXPORTER,
            "importer": np.array(f.coords["importer"])[f.importer][unit.ravel()],
            "period": np.array(f.coords["period"])[month.ravel()],
            "restricted": restricted.ravel().astype(int),
            "depth": depth.ravel().round(3),
            "scope": np.where(restricted, np.array(CAUSES)[cause], "").ravel(),
            "innocuous_shock": (cause == CAUSES.index("disrupted")).ravel().astype(int),
        }
    )
