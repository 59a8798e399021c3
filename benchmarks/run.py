"""Measures, and writes docs/performance.md: make bench."""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import problems
import pyarrow as pa
import pyarrow.parquet as pq
import serving
from measure import PATH, ROOT, in_a_process, in_turns
from numba import njit
from peers import cpp, jax_scan, pytensor_scan
from rich.console import Console

from data.log import ReleaseLog
from model import kernel
from model.entry import adjoint, forward
from model.filtering import filtered_and_smoothed
from model.fit import QUARTERS
from model.layers import Draw, evaluated, side_by_side
from model.probabilities import causes
from model.spec import Computation
from model.states import states

Table = tuple[str, list[str], list[list[str]], str]
"""Title, head, rows, what to make of it."""


MEASURED = ROOT / "var" / "bench"
"""Sections as last measured."""
PANELS = {"bundled figures: 8 units, 84 months": "real", "simulated: 24 units of 36 codes, 108 months": "simulated"}


def likelihood() -> Table:
    """The kernel beside the same arithmetic elsewhere."""
    units, families = problems.chains(problems.world())
    rows = []
    for name, p in ((f"{len(units.entry)} units of {len(units.rho)} codes", units), (f"{len(families.entry)} families", families)):
        predictive, campaign, state = forward(p)
        ones = np.ones_like(predictive)
        runs: dict[str, Callable[[], Any]] = {
            "C++": lambda p=p, c=campaign, s=state, w=ones: (cpp.forward(p), cpp.adjoint(p, c, s, w)),
            "here": lambda p=p, c=campaign, s=state, w=ones: (forward(p), adjoint(p, c, s, w)),
            "JAX scan": jax_scan.value_and_gradient(p),
        }
        if p is families:
            # Of few chains only: with many, a step takes seconds.
            began = time.perf_counter()
            runs["PyTensor scan"] = pytensor_scan.value_and_gradient(p)
            compiled = time.perf_counter() - began
        for by in ("JAX scan", "PyTensor scan"):
            if by in runs:
                np.testing.assert_allclose(runs[by]()[0], predictive.sum(), rtol=1e-9)
        took = in_turns(runs, 10)
        rows += [[name, of, f"{1e3 * t:.2f}", f"{t / took['C++']:.2f}", f"{t / took['here']:.1f}"] for of, t in took.items()]
    return (
        "Likelihood and gradient",
        ["chains, 108 months", "by", "ms", "x C++", "x here"],
        rows,
        "One thread, 15 states, 127 pairs of them, two offices, the same figures to all. C++: `benchmarks/peers/kernel.cpp`, g++ -O3 "
        "-march=native, eight chains to a vector as here. JAX: `lax.scan` over months, gradient by JAX. PyTensor: `scan`, its gradient, "
        f"and numba; compiling it took {compiled:.0f} s. All agree. `pymc_extras` and Stan's `hmm_marginal` have no density on pairs of "
        "states and no chains that share a campaign: there is no same figure of them.",
    )


def emission() -> Table:
    """The density of figures given pairs of states, beside one pass of log1p over as many cells."""
    p, _ = problems.chains(problems.world())
    cells = np.random.default_rng(0).uniform(0, 4, (len(p.now), len(p.rho), p.months))
    emit, look, room_of, tables_of = kernel.emit, kernel.look, kernel.make_room, kernel.tabulated

    @njit(error_model="numpy")
    def every_month(p, densities):
        tables = tables_of(p)
        room = room_of(p, tables, tables.order)
        for t in range(p.months):
            look(p, t, 1, tables, room)
            if densities:
                for b in range(room.lanes.shape[0]):
                    emit(p, tables, room, b)
        return room.f[0, 0, 0]

    out = np.empty_like(cells)
    took = in_turns(
        {"log1p": lambda: np.log1p(cells, out=out), "looked": lambda: every_month(p, False), "emitted": lambda: every_month(p, True)}
    )
    rows = [
        ["`numpy.log1p` over as many cells", f"{1e3 * took['log1p']:.2f}", "1"],
        ["reading the figures", f"{1e3 * took['looked']:.2f}", f"{took['looked'] / took['log1p']:.2f}"],
        ["reading them, and their densities", f"{1e3 * took['emitted']:.2f}", f"{took['emitted'] / took['log1p']:.2f}"],
    ]
    return "Emission", ["what", "ms", "x log1p"], rows, f"{cells.size:,} cells: pairs of states x codes x months."


def growth() -> Table:
    """Over units, months and states."""
    units, _ = problems.chains(problems.world())
    rows, base = [], None
    few, _ = problems.chains(problems.world(importers=2))
    sizes = [("8 units", few), ("24 units", units), *((f"{24 * n:,} units", problems.tiled(units, n)) for n in (4, 16, 83))]
    sizes += [(f"24 units, {months} months", problems.chains(problems.world(months=months))[0]) for months in (60, 240)]
    for severities in ((0.55, 0.92), (0.33, 0.45, 0.55, 0.65, 0.72, 0.8, 0.86, 0.9, 0.94, 0.98)):
        other = problems.A.model_copy(update={"restricted": severities})
        sizes.append((f"24 units, {len(other.multiple)} states", problems.chains(problems.world(), other)[0]))
    for name, p in sizes:
        predictive, campaign, state = forward(p)
        ones = np.ones_like(predictive)
        took = in_turns({"": lambda p=p, c=campaign, s=state, w=ones: (forward(p), adjoint(p, c, s, w))}, 6)[""]
        each = 1e6 * took / predictive.size
        base = each if name == "24 units" else base
        rows.append([name, f"{1e3 * took:.1f}", f"{each:.2f}", f"{each / base:.2f}" if base else ""])
    note = f"Likelihood and gradient, one thread; {len(problems.A.multiple)} states unless said."
    return "Growth", ["chains, 108 months unless said", "ms", "us a unit-month", "x 24 units"], rows, note


def _caches(folder: str) -> dict[str, str]:
    return {
        "NUMBA_CACHE_DIR": f"{folder}/numba", "JAX_COMPILATION_CACHE_DIR": f"{folder}/xla",
        "PYTENSOR_FLAGS": f"base_compiledir={folder}/pytensor", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }  # fmt: skip


def _whole(folder: str, *arguments: str) -> dict[str, Any]:
    return in_a_process("whole.py", *arguments, **_caches(folder))


def compiling() -> Table:
    """From nothing to the first gradient of the whole model."""
    with tempfile.TemporaryDirectory() as folder:
        of = {
            "24 units, cold": _whole(folder, "6"),
            "24 units, warm": _whole(folder, "6"),
            "400 units, kernels warm": _whole(folder, "100"),
            "1,992 units, kernels warm": _whole(folder, "498"),
        }
    rows = []
    for name, told in of.items():
        seconds = [f"{told[what]:.1f}" for what in ("import", "compiled", "xla")]
        rows.append([name, *seconds, f"{told['month']:.2f}", f"{1e3 * told['gradient']:.1f}", f"{told['memory']:.2f}"])
    return (
        "Compiling",
        ["model, 108 months", "import, s", "PyTensor and kernels, s", "XLA, s", "a new month, s", "a gradient, ms", "memory, GB"],
        rows,
        "Each row a process of its own, world and all; cold: with empty caches, one kernel compiled in another process meanwhile. A new "
        "month is other data to the same compiled function.",
    )


def scanned() -> Table:
    """The same model with its likelihood as a scan."""
    with tempfile.TemporaryDirectory() as folder:
        _whole(folder, "6")
        own, scan = _whole(folder, "6"), _whole(folder, "6", "scan")
        caches = _caches(folder) | {"PYTHONPATH": os.pathsep.join([PATH, _peers()])}
        steps = {by: in_a_process("end_to_end.py", "120", by, **caches) for by in ("nutpie", "nutpie-scan", "numpyro-scan")}
    rows = []
    for name, by, told in (
        ("kernels, warm; nutpie", "nutpie", own), ("JAX scan; nutpie", "nutpie-scan", scan), ("JAX scan; NumPyro", "numpyro-scan", scan)
    ):  # fmt: skip
        compiling, warm = told["compiled"] + told["xla"], steps[by]
        speed = f"{warm['steps']} of {warm['of']} in {warm['seconds']:.0f} s"
        rows.append([name, f"{compiling:.1f}", f"{1e3 * told['gradient']:.1f}", f"{told['gradient'] / own['gradient']:.1f}", speed])
    return (
        "The whole model's gradient",
        ["likelihood by; sampler", "compiling, s", "a gradient, ms", "x here", "steps of warm-up, two chains"],
        rows,
        "24 units, 108 months. The last column is end to end, imports and compiling (warm) included, of the 550 steps that a chain makes "
        "before a draw is kept; what a step is worth is the same for all.",
    )


def _peers() -> str:
    """A folder with what is measured beside and not needed by the project."""
    folder, asked = MEASURED / "peers", ROOT / "benchmarks" / "peers" / "numpyro.txt"
    uv = [ROOT / ".tools" / "bin" / "uv", "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
    subprocess.run([*uv, "--target", folder, "--requirements", asked], check=True)
    return str(folder)


def fitting() -> Table:
    """A fit as the nightly refresh makes it."""
    rows = []
    for name, which in PANELS.items():
        for how, told in in_a_process("a_fit.py", which).items():
            counts = [f"{told[what]:.0f}" for what in ("ess_bulk_min", "ess_tail_min", "divergences")]
            speed = f"{told['ess_bulk_min'] / told['seconds']:.2f}"
            some = [f"{told[what]:.0f}" for what in ("seconds", "draws", "gradients")]
            rows.append([name, how, *some, f"{told['rhat_max']:.4f}", *counts, speed])
    c = Computation()
    return (
        "A fit",
        ["panel", "chains", "s", "draws", "gradients a draw", "R-hat max", "ESS bulk min", "ESS tail min", "divergences", "min ESS / s"],
        rows,
        f"Compiled before: {c.chains} chains on {c.cores} cores, {c.tune} steps of warm-up (none where chains are carried "
        f"on), then {-(-c.draws // 4)} draws at a time until the chains agree in the later two thirds of them, at most "
        f"{QUARTERS} times.",
    )


def nights() -> Table:
    """Nights as they come, by command."""
    rows = []
    for name, which in PANELS.items():
        told = in_a_process("nights.py", which)
        alone = told["a fit"]["sampling"]
        for night, of in told.items():
            some = [f"{of['seconds']:.1f}", f"{of['sampling']:.0f}", f"{of['seconds'] / alone:.2f}", f"{of['memory']:.2f}"]
            rows.append([name, night, of["decision"], *some, of["began"] or "-"])
    return (
        "Nights",
        ["panel", "night", "decision", "s", "of which sampling, s", "x the first fit's sampling", "memory, GB", "attempts"],
        rows,
        "`quietquota refresh`, from the command to its end, imports and report included, caches warm but for the first night's.",
    )


def weighing() -> Table:
    """Draws of a fit weighed by the next month's figures, beside a fit of them."""
    months = in_a_process("agreement.py")["months"]
    rows = [
        [m["as_of"], f"{m['k']:.2f}", f"{m['efficiency']:.2f}", "yes" if m["k"] <= m["bound"] else "no", f"{m['weighing_s']:.1f}",
         f"{m['fit_s'] / m['weighing_s']:.0f}", f"{m['filtered_largest']:.3f}", f"{m['filtered_z_sd']:.2f}", f"{m['smoothed_largest']:.3f}",
         f"{m['smoothed_z_sd']:.2f}"]
        for m in months
    ]  # fmt: skip
    return (
        "Weighing and fitting, twelve months",
        [
            "as of",
            "Pareto k",
            "efficiency",
            "accepted",
            "s",
            "a short fit, x",
            "filtered: largest difference",
            "z, sd",
            "smoothed: largest",
            "z, sd",
        ],
        rows,
        "The bundled figures, a month at a time: 800 draws of the month before, weighed, beside one chain fitted to the month (1,000 "
        "draws). p(restricted) of each unit in each of the last twelve months; z: difference in Monte-Carlo standard errors of both, of "
        "standard deviation 1 where they differ by chance alone.",
    )


def afterwards() -> Table:
    """What is done with draws, and the reading of a panel."""
    world = problems.world()
    f, graph, space = world.frame, problems.graph(world), states(problems.A)
    rng = np.random.default_rng(0)
    draws = {name: v + rng.normal(0, 1e-3, (400, *v.shape)) * (name == "family_course") for name, v in world.values.items()}

    def of_draw(draw: Draw) -> None:
        for own, wide in zip(filtered_and_smoothed(draw.unit), filtered_and_smoothed(draw.family), strict=True):
            causes(own, wide[f.family], space)

    def on(cores: int) -> Callable[[], Any]:
        return lambda: list(side_by_side(of_draw, evaluated(graph, draws), cores))

    took = in_turns({"one": on(1), "two": on(2)}, 2) | in_turns({"read": problems.real}, 2)
    what = "filtered and smoothed causes of 24 units, 108 months, 400 draws"
    rows = [
        [f"{what}, one thread", f"{took['one']:.1f}"],
        [f"{what}, two", f"{took['two']:.1f}"],
        ["the panel as of a date, from the log of the bundled figures", f"{took['read']:.2f}"],
    ]
    return "After a fit", ["what", "s"], rows, "A refresh uses as many threads as its fit has cores."


def log() -> Table:
    """A million releases into a log, and out of it as of a date."""
    table = pa.Table.from_pandas(problems.releases(1_000_000), preserve_index=False)
    file, later = pa.BufferOutputStream(), datetime(2025, 1, 1, tzinfo=UTC)
    began = time.perf_counter()
    pq.write_table(table, file, compression="zstd")
    plain, raw = time.perf_counter() - began, file.getvalue().to_pybytes()
    with tempfile.TemporaryDirectory() as folder:
        written = ReleaseLog(Path(folder))
        began = time.perf_counter()
        written.ingest(raw, "releases.parquet")
        taken = time.perf_counter() - began
        codes = ["850000", "850007", "850014", "850021"]
        runs = {"all": lambda: written.as_of("observations", later), "four": lambda: written.as_of("observations", later, codes)}
        took = in_turns(runs, 5)
    many = _ten_millions()
    rows = [
        ["a plain Parquet write, rows a second", f"{1e6 / plain:,.0f}"],
        ["ingest: parsed, judged, screened, kept; rows a second", f"{1e6 / taken:,.0f} ({plain / taken:.3f} of the plain write)"],
        ["ten files of a million, one after the other; rows a second: all, first, last", many],
        ["as of a date, all codes, ms", f"{1e3 * took['all']:.0f}"],
        ["as of a date, four HS codes of 28 (144,000 releases), ms", f"{1e3 * took['four']:.0f}"],
    ]
    return "The log", ["a million releases", ""], rows, "One file, one process."


def _ten_millions() -> str:
    """Ten files as they came out, each of a year and a half of all codes."""
    frame = problems.releases(10_000_000).sort_values("released_at", kind="stable")
    each = []
    with tempfile.TemporaryDirectory() as folder:
        written = ReleaseLog(Path(folder))
        for n in range(10):
            file = pa.BufferOutputStream()
            part = pa.Table.from_pandas(frame.iloc[n * 1_000_000 : (n + 1) * 1_000_000], preserve_index=False)
            pq.write_table(part, file, compression="zstd")
            raw = file.getvalue().to_pybytes()
            began = time.perf_counter()
            written.ingest(raw, f"{n}.parquet")
            each.append(time.perf_counter() - began)
    return f"{1e7 / sum(each):,.0f}, {1e6 / each[0]:,.0f}, {1e6 / each[-1]:,.0f}"


def served() -> Table:
    """The service under load, beside a bare Starlette route that returns the same bytes."""
    seen, facts = serving.measured()
    median, p99 = serving.thought()
    rows = []
    for name, of in seen.items():
        beside = seen["bare route, the list's bytes" if "list" in name else "bare route, one unit's bytes"]
        ratio = min(beside.cpu) / min(of.cpu)
        rows.append(
            [
                name,
                f"{min(of.cpu):.0f}",
                f"{ratio:.2f}",
                f"{max(of.rate):,.0f}",
                f"{min(of.p99):.1f}",
                f"{min(of.p99) / min(beside.p99):.2f}",
            ]
        )
    note = (
        f"{serving.CONNECTIONS} connections, {serving.ROUNDS} rounds in turns, the best of each; client and servers share the cores, so "
        f"CPU time is the honest measure. From start to ready with {serving.UNITS_SERVED:,} units: {facts['ready']:.2f} s; memory of the "
        f"worker after the load: {facts['memory']:.0f} MB. A what-if of 24 months: "
        f"{median:.0f} ms, p99 {p99:.0f} ms (64 draws, 111 months). Whether the time of a key's check tells how much of it is right: "
        f"Welch's t {serving.told_apart():.1f}."
    )
    head = ["answer", "CPU us a request", "speed, bare = 1", "requests / s", "p99 ms", "p99, bare = 1"]
    return "Serving", head, rows, note


SECTIONS: dict[str, Callable[[], Table]] = {
    "likelihood": likelihood, "emission": emission, "growth": growth, "compiling": compiling, "scan": scanned,
    "afterwards": afterwards, "log": log, "serving": served, "fit": fitting, "nights": nights, "weighing": weighing,
}  # fmt: skip


def _processor() -> str:
    names = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{names[0]}, {len(names)} processors" if names else platform.machine()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="a fit of the bundled figures only")
    options.add_argument(
        "sections", nargs="*", choices=[[], *SECTIONS], help="which; by default all. The document is written once there is one of each"
    )
    given = options.parse_args()
    asked = given.sections or list(SECTIONS)
    if given.quick:
        PANELS.pop(next(name for name, which in PANELS.items() if which == "simulated"))
    console = Console(stderr=True)
    MEASURED.mkdir(parents=True, exist_ok=True)
    for n, name in enumerate(asked, 1):
        console.print(f"{n}/{len(asked)} {name}: {(SECTIONS[name].__doc__ or '').strip()}")
        title, head, rows, note = SECTIONS[name]()
        table = "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))
        text = f"## {title}\n\n{table}\n\n{note}\n\nMeasured {datetime.now(UTC):%Y-%m-%d}.\n"
        (MEASURED / f"{name}.md").write_text(text)
        print(text, flush=True)
    parts = [(MEASURED / f"{name}.md").read_text() for name in SECTIONS if (MEASURED / f"{name}.md").exists()]
    if len(parts) == len(SECTIONS):
        about = (
            f"Generated by `make bench`. {_processor()}; Python {sys.version.split()[0]}. Times are of the fastest call, measured in turns."
        )
        (ROOT / "docs" / "performance.md").write_text("\n\n".join(["# Performance", about, *parts]))


if __name__ == "__main__":
    main()
