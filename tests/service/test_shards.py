"""A panel in shards: the same answers as one fit's own, from processes or from a Dask cluster, whatever becomes of a worker."""

import io
import os
import shutil
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import xarray as xr
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support import simulated_csv

from data.config import Family, Watch
from data.log import ReleaseLog
from data.panel import read_panel
from data.store import Folder
from model.checks import LEFT_OUT, Check, outcome, records
from model.fit import fit
from model.frame import frame
from model.spec import Assumptions, Computation
from service.app import create_app
from service.decision import Decision
from service.job import Asked
from service.netcdf import from_netcdf
from service.posteriors import ATTEMPTS, REFUSED, SEED_STEP, Posterior, done_with, kept
from service.publication import titles
from service.refresh import refresh
from service.runs import latest
from service.settings import Settings
from service.sharded import _checks
from service.shards import AHEAD, Done, Task, _result, part, plan, put_aside, run_all, said, untried
from service.snapshots import SHARDS, SnapshotStore

CODES = ("850511", "811292", "280530", "810197")
WATCH = Watch(
    exporter="CHN",
    importers=("JPN", "USA"),
    families={f"f{code}": Family(title=code, hs=(code,)) for code in CODES},
)
AS_OF, A = datetime(2022, 2, 5, tzinfo=UTC), Assumptions()
COMPUTATION = Computation(draws=700, probability_draws=100)


@given(families=st.integers(1, 40), importers=st.integers(1, 12), units=st.integers(1, 60))
def test_every_family_is_in_one_shard_with_all_its_importers_and_no_shard_is_larger_than_it_must(families, importers, units):
    names = ("JPN", "USA", "KOR", "DEU", "FRA", "NLD", "GBR", "ITA", "VNM", "IND", "BRA", "MEX")[:importers]
    watch = Watch(exporter="CHN", importers=names, families={f"f{n}": Family(title="", hs=(f"{100000 + n}",)) for n in range(families)})
    shards = plan(watch, units)
    assert [f for shard in shards.values() for f in shard.families] == list(watch.families)
    assert list(shards) == sorted(shards)
    sizes = [len(shard.units()) for shard in shards.values()]
    assert max(sizes) <= max(units, importers)
    assert max(sizes) - min(sizes) <= importers


def told(name, families, gate, value=1.0):
    check = {
        "name": "rhat_max",
        "value": value,
        "threshold": 1.01,
        "review": 1.05,
        "outcome": gate,
        "worst": "noise",
        "meaning": "chains agree",
    }
    return {"name": name, "families": families, "gate": gate, "checks": [check]}


def test_what_is_said_of_all_shards_is_the_worst_of_those_published_and_how_much_is_left_out():
    good = [told("shard-1", ["a"], "PASS", 1.002), told("shard-2", ["b"], "PASS", 1.008)]
    assert {c.name: (c.value, c.worst) for c in _checks(good, set(), 0.0)}["rhat_max"] == (1.008, "shard-2: noise")
    assert outcome(_checks(good, set(), 0.0)) == "PASS"
    with_bad = [*good, told("shard-3", ["c"], "FAIL", 1.4)]
    few, many = _checks(with_bad, {"shard-3"}, 0.05), _checks(with_bad, {"shard-3"}, 0.34)
    assert {c.name: c.value for c in few}["rhat_max"] == 1.008, "the refused shard says nothing"
    assert (outcome(few), outcome(many)) == ("REVIEW", "FAIL")
    assert few[-1].worst == "shard-3"


def test_a_shard_that_is_done_is_the_same_after_it_was_put_aside():
    one = Done({"name": "shard-1", "rows": [{"unit": "CHN.JPN.a", "p": 0.5}]}, {"shards/shard-1.nc": b"\x00\x01"})
    assert Done.unpacked(one.packed()) == one


def read(log, as_of):
    """{name: (its watch, its panel)}"""
    panel = read_panel(log, WATCH, as_of)
    return {name: (of, part(panel, of)) for name, of in plan(WATCH, 4).items()}


def good(name, value, threshold, review):
    return Check(name, value, threshold, review, "PASS", "", "")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Short fits of two shards, which a gate had let pass, put aside as a refresh that was stopped leaves them."""
    settings = Settings(store=str(tmp_path_factory.mktemp("store")))
    log, store = ReleaseLog(settings.log_place), SnapshotStore(settings.store)
    log.ingest(simulated_csv(months=36, importers=("JPN", "USA"), codes=CODES), "figures.csv")
    checks = [good("rhat_max", 1.004, 1.01, 1.05), good("ess_bulk_min", 400.0, 200.0, 100.0), good("ess_tail_min", 400.0, 200.0, 100.0)]
    of_shard = COMPUTATION.model_copy(update={"cores": 1})
    for name, (of, panel) in read(log, AS_OF).items():
        made = fit(frame(panel, A), A, Computation(draws=300, tune=200, chains=1, cores=1))
        task = Task(name, panel, titles(of), A, of_shard)
        done = said(task, Posterior(kept(made), made.graph, checks, A, of_shard), Decision("fit", "put aside"), datetime.now(UTC))
        store.store.write(task.place, done.packed())
    return settings


def refreshed(settings, as_of, **options):
    asked = Asked(WATCH, as_of, A, COMPUTATION, accept_review=True, shard_units=4, **options)
    return refresh(ReleaseLog(settings.log_place), SnapshotStore(settings.store), asked, Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def done(settings):
    return refreshed(settings, AS_OF, full=True)


@pytest.mark.slow
def test_shards_are_one_snapshot_with_an_answer_for_every_unit(done, settings):
    store = SnapshotStore(settings.store)
    manifest = store.manifest(done.snapshot)
    assert [row["unit"] for row in done.rows] == [unit for unit, *_ in WATCH.units()]
    assert not [row["abstention"] for row in done.rows if row["abstention"]]
    japan, usa = ([row["current"]["probability"] for row in done.rows if row["importer"] == i] for i in WATCH.importers)
    assert min(japan) > 0.5 > max(usa), "with two importers, who is meant stays open"
    assert {name: told["families"] for name, told in manifest["shards"].items()} == {
        "shard-1": ["f850511", "f811292"],
        "shard-2": ["f280530", "f810197"],
    }
    assert {"gate", "decision", "seconds"} <= set(latest(store.store, 1)[0]["shards"]["shard-2"])
    assert not store.store.names("work"), "what was published is not kept aside"


@pytest.mark.slow
def test_what_a_unit_rests_on_can_be_had_from_its_shard(done, settings):
    usual = [{"period": "2021-12", "reporter": "CHN", "net_weight_kg": 1_000.0}]
    with TestClient(create_app(settings)) as client:
        answer = client.post("/v1/regimes/CHN.JPN.f810197/what-if", json={"releases": usual})
        assert answer.status_code == 200, answer.text
        tree = from_netcdf(client.get("/v1/snapshots/current/posterior?shard=shard-2").content)
        assert client.get("/v1/snapshots/current/posterior?shard=shard-9").status_code == 404
        assert "one of shard-1, shard-2" in client.get("/v1/snapshots/current/posterior").json()["detail"]
        assert client.get("/v1/snapshots/current/report").status_code == 200
    assert tree["posterior"].sizes["draw"] == 300
    assert "CHN.JPN.f810197" in tree["regimes"]["unit"]


LATER = datetime(2022, 3, 5, tzinfo=UTC)


def tasks(settings, snapshot):
    """The next month's, whose draws are to be weighed."""
    store, log = SnapshotStore(settings.store), ReleaseLog(settings.log_place)
    manifest, found = store.manifest(snapshot), []
    for name, (of, panel) in read(log, LATER).items():
        before = store.read(snapshot, f"{SHARDS}/{name}.nc"), {"id": snapshot, **manifest["shards"][name]}
        found.append(Task(name, panel, titles(of), A, COMPUTATION.model_copy(update={"cores": 1}), before, weigh=True))
    return found


def killed_in_a_fit(cluster):
    """Kills the first worker of `cluster` whose stack is seen to be that of a chain that is being drawn; returns its process id."""
    from distributed import Client

    with Client(cluster.scheduler_address, set_as_default=False) as client:
        for _ in range(6000):
            stacks = client.call_stack(keys=[key for keys in client.processing().values() for key in keys])
            drawing = [w for w, tasks in stacks.items() if any("in _warmed_up" in frame for frames in tasks.values() for frame in frames)]
            if drawing:
                break
            time.sleep(0.05)
        [victim] = [nanny.pid for nanny in cluster.workers.values() if nanny.worker_address == drawing[0]]
    os.kill(victim, signal.SIGKILL)
    return victim


@pytest.mark.slow
def test_a_dask_cluster_says_what_local_processes_say_though_one_of_its_workers_is_killed_in_a_fit(done, settings, tmp_path):
    from distributed import LocalCluster

    short = Computation(draws=60, tune=60, chains=1, probability_draws=50, cores=1)
    progress, weighed = [], tasks(settings, done.snapshot)
    task = replace(weighed[0], computation=short, before=None, weigh=False)
    local = run_all([task], "local", 2, Folder(tmp_path / "local"), lambda *of: progress.append(of))
    assert progress[-1] == (1, 1)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        ThreadPoolExecutor(1) as beside,
    ):
        killed = beside.submit(killed_in_a_fit, cluster)
        address = cluster.scheduler_address.replace("tcp://", "dask://")
        there = run_all([task, weighed[1]], address, 2, Folder(tmp_path / "dask"), lambda *of: None)
        assert killed.result()
    same = [{key: v for key, v in of[task.name].told.items() if key not in ("seconds", "fitted_at")} for of in (local, there)]
    assert same[0] == same[1]
    assert [there[t.name].told["decision"]["kind"] for t in (task, weighed[1])] == ["fit", "weigh"]
    assert put_aside(Folder(tmp_path / "dask"), weighed[1]).files, "the other shard's work is not lost"


@pytest.mark.slow
def test_the_next_month_is_weighed_shard_by_shard(done, settings):
    told = refreshed(settings, LATER)
    manifest = SnapshotStore(settings.store).manifest(told.snapshot)
    assert {shard["decision"]["kind"] for shard in manifest["shards"].values()} == {"weigh"}
    assert {shard["fit"]["snapshot"] for shard in manifest["shards"].values()} == {done.snapshot}
    assert told.rows[0]["nowcast"]["period"] == "2022-03"


class Deadly:
    """Whoever is sent this dies of it."""

    def __reduce__(self):
        return os._exit, (1,)


@pytest.mark.slow
def test_a_shard_that_cannot_be_done_or_kills_its_worker_is_refused_and_costs_the_others_nothing(tmp_path):
    aside, log = Folder(tmp_path / "store"), ReleaseLog(tmp_path / "log")
    log.ingest(simulated_csv(months=5, importers=WATCH.importers, codes=CODES), "few.csv")
    panel = read_panel(log, WATCH, datetime(2019, 8, 5, tzinfo=UTC))
    panels = (panel.drop_vars("kg"), panel, panel, panel)
    titled = ({}, {"f850511": Deadly()}, {}, {})
    tasks = [Task(f"shard-{n + 1}", panels[n], titled[n], A, COMPUTATION) for n in range(4)]
    done = run_all(tasks, "local", 2, aside, lambda *of: None)
    assert {name: one.told["gate"] for name, one in done.items()} == {
        "shard-1": "FAIL", "shard-2": "FAIL", "shard-3": "PASS", "shard-4": "PASS",
    }  # fmt: skip
    why = [done[name].told["checks"][0]["worst"] for name in ("shard-1", "shard-2")]
    assert why[0].startswith("KeyError") and "its worker died 3 times" in why[1]
    assert len(aside.names("work")) == 2, "what failed is tried again next time"


@pytest.mark.slow
def test_few_shards_are_on_their_way_at_a_time_and_what_they_are_sent_with_is_read_then(tmp_path):
    log = ReleaseLog(tmp_path / "log")
    log.ingest(simulated_csv(months=5, importers=WATCH.importers, codes=CODES), "few.csv")
    panel = read_panel(log, WATCH, datetime(2019, 8, 5, tzinfo=UTC))
    tasks = [Task(f"shard-{n + 1}", panel, {}, A, COMPUTATION) for n in range(6)]
    aside, on_their_way = Folder(tmp_path / "store"), []

    def ready(task):
        on_their_way.append(sum(t.name <= task.name for t in tasks) - len(aside.names("work")))
        return task

    assert len(run_all(tasks, "local", 1, aside, lambda *of: None, ready)) == 6
    assert len(on_their_way) == 6 and max(on_their_way) <= AHEAD


def test_a_shard_that_its_gate_refuses_is_tried_again_with_other_seeds_and_one_that_died_with_the_same(tmp_path):
    panel = xr.Dataset(coords={"family": ["f850511"]}, attrs={"fingerprint": "of the figures", "as_of": AS_OF.isoformat()})
    aside, task = Folder(tmp_path), Task("shard-1", panel, {}, A, COMPUTATION)
    refused, broken = Future(), Future()
    refused.set_result(Done({"name": "shard-1", "gate": "FAIL", "checks": []}, {"shards/shard-1.nc": b"0"}))
    broken.set_exception(OSError("no room"))
    assert untried(aside, task) == (task, set())
    assert _result(broken, task, aside).told["gate"] == "FAIL"
    assert untried(aside, task) == (task, set())
    assert _result(refused, task, aside).files == {}
    again, marks = untried(aside, task)
    assert again.computation.seed == COMPUTATION.seed + ATTEMPTS * SEED_STEP
    assert marks == {task.place + REFUSED} == set(aside.names("work"))
    done_with(aside)
    assert untried(aside, task)[0] == again, "also after the others were published"


@pytest.mark.slow
def test_of_the_same_figures_only_what_was_left_out_is_tried_again_and_nothing_is_published_for_it(done, settings, tmp_path):
    """A shard in review, put aside, and what was published without it."""
    shutil.copytree(settings.store, tmp_path / "var")
    store, log = SnapshotStore(tmp_path / "var"), ReleaseLog(Settings(store=str(tmp_path / "var")).log_place)
    manifest = store.manifest(done.snapshot)
    meta = {k: v for k, v in manifest.items() if k not in ("id", "published_at", "files")}
    meta["shards"]["shard-2"]["gate"] = "REVIEW"
    meta["checks"].append(records([Check(LEFT_OUT, 0.5, 0.0, 0.6, "REVIEW", "shard-2", "")])[0])

    def fill(folder):
        (folder / SHARDS).mkdir()
        for file in ("releases.json", f"{SHARDS}/shard-1.nc"):
            (folder / file).write_bytes(store.read(done.snapshot, file))

    published = store.publish(meta, done.rows, fill)
    of, panel = read(log, AS_OF)["shard-2"]
    task = Task("shard-2", panel, titles(of), A, COMPUTATION.model_copy(update={"cores": 1}))
    told = {"name": "shard-2", "gate": "REVIEW", "decision": {}, "seconds": 1.0, "checks": [{"name": "rhat_max", "outcome": "REVIEW"}]}
    store.store.write(task.place, Done(told, {}).packed())
    night = refresh(log, store, Asked(WATCH, AS_OF, A, COMPUTATION, shard_units=4), Console(file=io.StringIO()))
    assert (night.snapshot, night.nothing_new, store.current_id()) == (None, True, published)
    assert "shard-2 refused once more" in night.decision.why
    assert latest(store.store, 1)[0]["shards"] == {"shard-2": {"gate": "REVIEW", "decision": {}, "seconds": 1.0, "against": told["checks"]}}


def test_shards_that_are_done_are_not_done_again(tmp_path):
    aside = Folder(tmp_path)
    panel = xr.Dataset(attrs={"fingerprint": "of the figures"})
    tasks = [Task(name, panel, {}, A, COMPUTATION) for name in ("shard-1", "shard-2")]
    aside.write(tasks[0].place, Done({"name": "shard-1"}, {}).packed())
    assert run_all(tasks[:1], "nowhere", 1, aside, lambda *of: None) == {"shard-1": Done({"name": "shard-1"}, {})}
    with pytest.raises(ValueError, match="--executor nowhere: local, or dask://"):
        run_all(tasks, "nowhere", 1, aside, lambda *of: None)
