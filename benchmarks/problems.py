"""What is measured on: worlds drawn from the model's prior, and the bundled real figures."""

import tempfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data.config import SAMPLE, SAMPLE_CONFIG, read_watch
from data.log import ReleaseLog
from data.observations import countries
from data.panel import Panel, read_panel
from model.graph import Graph, graph_of
from model.kernel import layer
from model.layers import Draw, evaluator
from model.simulate import Design, World, simulate
from model.spec import Assumptions

A = Assumptions()
AS_OF = datetime(2025, 1, 31, tzinfo=UTC)
IMPORTERS = ("JPN", "USA", "KOR", "DEU", "NLD", "IND")
FAMILIES = (
    ("rare_earth_magnets", ("850511",)),
    ("rare_earth_compounds", ("284610", "284690")),
    ("rare_earth_metals", ("280530",)),
    ("gallium_germanium", ("811292", "282560")),
)


@cache
def world(importers: int = 6, months: int = 108) -> World:
    """`importers` x 4 families as two offices see them."""
    names = IMPORTERS[:importers] + tuple(f"{a}{b}{c}" for a in "QX" for b in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" for c in "ABCDEFGHIJ")
    return simulate(Design(importers=names[:importers], families=FAMILIES, months=months), A, 1)


def chains(world: World, a: Assumptions = A) -> tuple[Any, Any]:
    """The kernel's arguments for units and for families, at the true values."""
    draw: Draw = evaluator(graph_of(world.frame, a))(world.values)
    return layer(draw.unit), layer(draw.family)


def tiled(one: Any, times: int) -> Any:
    """The same chains `times` over, each copy with groups of its own."""
    given = one._asdict()
    for name in ("x", "scale", "kind", "hurdle", "relief", "parting", "hold", "onset", "entry"):
        given[name] = np.tile(given[name], (times, 1))
    for name in ("rho", "spare"):
        given[name] = np.tile(given[name], times)
    for name, size in (("chain", one.entry.shape[0]), ("group", one.onset.shape[0])):
        given[name] = np.concatenate([given[name] + size * i for i in range(times)])
    return layer(given)


def releases(count: int) -> pd.DataFrame:
    """Releases of 200 partners, 180 months and as many HS codes as that takes, in the observation format."""
    rng, at = np.random.default_rng(0), np.arange(count)
    partners = np.array(sorted(countries() - {"CHN", "WLD"})[:200])
    months = pd.period_range("2010-01", periods=180, freq="M")
    kg = (np.exp(6 + 6 * (at % 200) / 200) * rng.lognormal(0, 0.3, count)).round(3)
    month = at // 200 % 180
    return pd.DataFrame(
        {
            "reporter": "CHN", "exporter": "CHN", "importer": partners[at % 200],
            "hs_code": np.char.zfill((850000 + at // 36000).astype(str), 6), "period": months.astype(str).to_numpy()[month],
            "net_weight_kg": kg, "value_usd": (kg * rng.lognormal(3, 0.2, count)).round(2),
            "released_at": (months + 1).to_timestamp().strftime("%Y-%m-20T00:00:00Z").to_numpy()[month],
        }
    )  # fmt: skip


@cache
def _log() -> ReleaseLog:
    log = ReleaseLog(Path(tempfile.mkdtemp()) / "log")
    for source in sorted(SAMPLE.glob("*.csv")):
        log.ingest(source.read_bytes(), source.name)
    return log


def real() -> Panel:
    """The bundled figures: rare earths to eight partners, 2018-2024."""
    return read_panel(_log(), read_watch(SAMPLE_CONFIG), AS_OF)


def graph(world: World) -> Graph:
    return graph_of(world.frame, A)
