"""The whole path: a file of releases, a fit, a gate, a snapshot, an answer over HTTP. Slow."""

import io
import re
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import arviz as az
import nbformat
import numpy as np
import pytest
import xarray as xr
from fastapi.testclient import TestClient
from rich.console import Console
from support import csv, simulated_csv
from typer.testing import CliRunner
from zarr.storage import ZipStore

from data.config import Family, Watch
from data.log import LogError, ReleaseLog
from data.panel import read_panel
from model.checks import outcome
from model.spec import Assumptions, Computation
from service import posteriors
from service.app import create_app
from service.cli import app
from service.job import Asked
from service.netcdf import from_netcdf
from service.posteriors import NeedsFit
from service.refresh import refresh
from service.runs import records
from service.schemas import ReleasesAnswer
from service.settings import Settings
from service.snapshots import NETCDF, SnapshotStore, StoreBusy

pytestmark = pytest.mark.slow
WATCH = Watch(
    exporter="CHN",
    importers=("JPN", "USA", "KOR", "DEU", "FRA"),
    families={"magnets": Family(title="Magnets", hs=("850511",)), "tea": Family(title="Tea", hs=("0902",))},
)
AS_OF = datetime(2024, 2, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return Settings(store=str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def done(settings):
    log = ReleaseLog(settings.log_place)
    log.ingest(simulated_csv(), "simulated.csv")
    return again(settings, full=True)


def test_the_fit_passes_its_gate_and_is_published(done, settings):
    assert outcome(done.checks) in ("PASS", "REVIEW"), done.checks
    assert SnapshotStore(settings.store).current_id() == done.snapshot


def test_the_published_answer_names_the_cut_importer_and_says_why(done, settings):
    with TestClient(create_app(settings)) as client:
        table = client.get("/v1/regimes").json()
        top = table["regimes"][0]
        assert (top["unit"], top["current"]["period"]) == ("CHN.JPN.magnets", "2023-12")
        assert top["current"]["causes"]["targeted"] > 0.9
        assert "aimed at this importer" in top["sentence"]
        assert table["data_as_of"] == AS_OF.isoformat()
        abstaining = {r["unit"]: r["abstention"] for r in table["regimes"] if r["abstention"]}
        assert abstaining == dict.fromkeys(["CHN.FRA.magnets", *(f"CHN.{i}.tea" for i in WATCH.importers)], "no figure known")


def test_the_figures_behind_an_answer_and_the_posterior_can_be_had(done, settings, tmp_path):
    with TestClient(create_app(settings)) as client:
        told = ReleasesAnswer.model_validate(client.get("/v1/regimes/CHN.JPN.magnets/releases?from=2023-11").json())
        assert {r.reporter for r in told.releases} == {"CHN", "JPN"}
        assert min(r.period for r in told.releases) == "2023-11"
        assert max(r.released_at for r in told.releases) <= AS_OF
        packed = tmp_path / "posterior.zarr.zip"
        packed.write_bytes(client.get("/v1/snapshots/current/posterior").content)
        whole = tmp_path / "posterior.nc"
        whole.write_bytes(client.get("/v1/snapshots/current/posterior?format=netcdf").content)
        assert "<svg" in client.get("/v1/snapshots/current/report").text
    same = az.from_netcdf(whole)
    tree = xr.open_datatree(ZipStore(packed, mode="r"), engine="zarr", consolidated=False)
    assert tree["posterior"].sizes["draw"] >= Computation().draws / 2, "stages go on until chains agree, two at least"
    xr.testing.assert_identical(tree["posterior"].to_dataset().drop_attrs(), same["posterior"].to_dataset().drop_attrs())
    assert same["posterior"].attrs["sample_dims"] == ["chain", "draw"], "ArviZ looks for it"


def test_a_notebook_reproduces_the_reports_figures_from_the_posterior_beside_it(done, settings, tmp_path):
    told = CliRunner().invoke(app, ["report", "--notebook", "-o", str(tmp_path / "report.ipynb"), "--store", settings.store])
    assert told.exit_code == 0, told.output
    book = nbformat.read(tmp_path / "report.ipynb", as_version=4)
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error"]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 5
    assert any("CHN.JPN.magnets" in o.get("data", {}).get("text/html", "") for o in outputs)
    assert (tmp_path / "report.nc").stat().st_size > 100_000


def test_a_what_if_starts_from_what_was_published_and_ends_elsewhere(done, settings):
    with TestClient(create_app(settings)) as client:
        current = client.get("/v1/regimes/CHN.JPN.magnets").json()["regime"]["current"]
        usual = client.get("/v1/regimes/CHN.JPN.magnets/counterfactual?from=2023-12").json()["months"][0]["counterfactual_kg"]
        both = [{"period": f"2023-{m:02}", "reporter": r, "net_weight_kg": usual} for m in range(7, 13) for r in ("CHN", "JPN")]
        told = client.post("/v1/regimes/CHN.JPN.magnets/what-if", json={"releases": both}).json()
    last = next(m for m in told["months"] if m["period"] == current["period"])
    assert last["before"]["probability"] == pytest.approx(current["probability"], abs=0.05)
    assert last["after"]["probability"] < 0.3 < 0.9 < last["before"]["probability"]


def test_an_episode_has_its_onset_and_age_and_the_months_ahead_are_nowcasts(done):
    japan = next(r for r in done.rows if r["unit"] == "CHN.JPN.magnets")
    assert (japan["onset"], japan["age_months"]) == ("2023-01", 12)
    assert [(m["period"], m["kind"]) for m in japan["ahead"]] == [(f"2024-0{n}", "nowcast") for n in (3, 4, 5)]


def test_every_published_month_has_causes_that_sum_to_one(done):
    for row in done.rows:
        for month in row["history"]:
            assert sum(month["causes"].values()) == pytest.approx(1, abs=1e-5)
            assert month["probability"] == pytest.approx(month["causes"]["targeted"] + month["causes"]["product_wide"], abs=1e-5)


def test_the_posterior_on_disk_is_the_one_that_answered_and_guards_its_bits(done, settings):
    folder = Path(settings.store) / "snapshots" / done.snapshot / "posterior.zarr"
    tree = xr.open_datatree(folder, engine="zarr", consolidated=False)
    assert {"posterior", "sample_stats", "panel", "regimes"} <= set(tree.children)
    filtered = tree["regimes"]["filtered"].sel(unit="CHN.JPN.magnets", period="2023-12-01", cause="targeted")
    published = next(r for r in done.rows if r["unit"] == "CHN.JPN.magnets")["current"]["causes"]["targeted"]
    assert float(filtered) == pytest.approx(published, abs=1e-5)
    chunks = [p for p in (folder / "regimes" / "filtered").rglob("*") if p.is_file() and p.name != "zarr.json"]
    as_published = chunks[0].read_bytes()
    content = bytearray(as_published)
    content[len(content) // 2] ^= 1
    chunks[0].write_bytes(content)
    with pytest.raises(RuntimeError):
        np.asarray(xr.open_datatree(folder, engine="zarr", consolidated=False)["regimes"]["filtered"])
    chunks[0].write_bytes(as_published)


def test_the_report_is_one_file_without_network(done, settings):
    folder = Path(settings.store) / "snapshots" / done.snapshot
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "CHN.JPN.magnets" in page
    sources = re.findall(r'src="([^"]{0,15})', page)
    assert len(sources) >= 3 * 2 + 8, "three units with their neighbours, and eight pictures of the fit"
    assert all(source.startswith("data:image/") for source in sources)
    assert not [tag for tag in ("<script", "<link", "@import", "http://", "https://") if tag in page]
    assert "it is the first snapshot" in page and "What this cannot tell you" in page


def again(settings, as_of=AS_OF, **options):
    asked = Asked(WATCH, as_of, computation=Computation(probability_draws=200), accept_review=True, **options)
    return refresh(ReleaseLog(settings.log_place), SnapshotStore(settings.store), asked, Console(file=io.StringIO()))


def test_the_same_figures_again_are_nothing_new_and_leave_what_is_served(done, settings):
    second = again(settings)
    assert (second.nothing_new, second.snapshot) == (True, None)
    assert SnapshotStore(settings.store).current_id() == done.snapshot


def test_every_run_is_on_record_with_its_inputs_steps_and_outcome(done, settings):
    first = records(SnapshotStore(settings.store).store)[0]
    assert (first["outcome"], first["snapshot"]) == ("published", done.snapshot)
    assert first["inputs"]["as_of"] == AS_OF.isoformat()
    assert {"reading the log", "compiling and sampling", "publishing"} <= set(first["seconds"])
    assert first["log"] == ReleaseLog(settings.log_place).fingerprint()
    assert [c["outcome"] for c in first["checks"]]


def test_a_second_refresh_at_the_same_time_is_turned_away_and_an_impossible_one_says_why(done, settings):
    with SnapshotStore(settings.store).store.lock(".refresh.lock", 0.0), pytest.raises(StoreBusy, match="another refresh is running"):
        again(settings)
    log, store = ReleaseLog(settings.log_place), SnapshotStore(settings.store)
    with pytest.raises(LogError):
        refresh(log, store, Asked(WATCH, datetime(2010, 1, 1, tzinfo=UTC)), Console(file=io.StringIO()))
    last = records(store.store)[-1]
    assert (last["outcome"], last["why"][:8]) == ("failed", "LogError")
    assert store.current_id() == done.snapshot


def a_month_more(importers=("JPN", "USA", "KOR", "DEU")):
    """January 2024 as December 2023 was: Japan still cut."""
    kg = dict(zip(importers, (24_000, 440_000, 1_200_000, 3_300_000), strict=True))
    of = {"CHN": "2024-02-20T00:00:00Z", "": "2024-02-28T00:00:00Z"}
    rows = [f"{r or i},CHN,{i},850511,2024-01,{kg[i]},,{released}" for i in importers for r, released in of.items()]
    return csv(*rows)


@pytest.fixture(scope="module")
def weighed(done, settings):
    ReleaseLog(settings.log_place).ingest(a_month_more(), "january.csv")
    return again(settings, datetime(2024, 3, 5, tzinfo=UTC))


def test_a_month_more_is_answered_by_weighing_the_draws_of_the_fit(weighed, done, settings):
    store = SnapshotStore(settings.store)
    assert (weighed.decision.kind, weighed.snapshot) == ("weigh", store.current_id()), weighed.decision
    assert "compiling and sampling" not in weighed.seconds
    japan = next(r for r in weighed.rows if r["unit"] == "CHN.JPN.magnets")
    assert (japan["current"]["period"], japan["nowcast"]["period"], japan["age_months"]) == ("2024-01", "2024-03", 13)
    assert japan["current"]["causes"]["targeted"] > 0.9
    manifest = store.manifest(weighed.snapshot)
    assert (manifest["fit"]["snapshot"], manifest["fitted_at"]) == (done.snapshot, store.manifest(done.snapshot)["fitted_at"])
    assert {"rhat_max", "weights_pareto_k", "weights_ess_min"} <= {c["name"] for c in manifest["checks"]}
    with TestClient(create_app(settings)) as client:
        assert client.get("/v1/snapshots/current").json()["weighed_from"] == done.snapshot
        assert f"the draws of the fit of 2024-02-05 (snapshot {done.snapshot}" in client.get("/v1/snapshots/current/report").text
    tree = az.from_netcdf(Path(settings.store) / "snapshots" / weighed.snapshot / "posterior.nc")
    assert tree["posterior"].sizes["draw"] == len(np.unique(tree["posterior"]["draw"]))
    assert tree["fit/posterior"].sizes["chain"] == 2


def test_the_month_after_with_nothing_new_rolls_the_nowcast_on_from_the_same_draws(weighed, done, settings):
    told = again(settings, datetime(2024, 4, 5, tzinfo=UTC))
    assert (told.decision.kind, told.snapshot is None) == ("weigh", False)
    japan, before = (next(r for r in of.rows if r["unit"] == "CHN.JPN.magnets") for of in (told, weighed))
    assert japan["nowcast"]["period"] == "2024-04"
    assert japan["current"]["probability"] == pytest.approx(before["current"]["probability"], abs=0.03)
    manifest = SnapshotStore(settings.store).manifest(told.snapshot)
    assert manifest["fit"]["snapshot"] == done.snapshot, "draws are weighed from the fit, and not from what was weighed before"
    told = CliRunner().invoke(app, ["report", "--notebook", "-o", str(Path(settings.store) / "weighed.ipynb"), "--store", settings.store])
    assert told.exit_code == 0, told.output


def weighed_by_hand(store, panel):
    meta = store.manifest(store.current_id())
    tree = from_netcdf(store.read(meta["id"], NETCDF))
    return posteriors.weighed(posteriors.fit_of(tree), meta, panel, Assumptions(**meta["assumptions"]), Computation(**meta["computation"]))


def test_figures_that_no_draw_foresaw_are_fitted_anew(weighed, settings, tmp_path):
    """Half a year of one office's figures, a hundred times those before: the draws there are say so themselves."""
    rows = [f"CHN,CHN,{i},850511,2023-{m:02},{9e7 / m:.0f},,2024-03-20T00:00:00Z" for i in ("USA", "KOR", "DEU") for m in range(6, 13)]
    log, store = ReleaseLog(f"{tmp_path}/log"), SnapshotStore(settings.store)
    for content, name in ((simulated_csv(), "a.csv"), (a_month_more(), "b.csv"), (csv(*rows), "c.csv")):
        log.ingest(content, name)
    panel = read_panel(log, WATCH, datetime(2024, 3, 25, tzinfo=UTC))
    with pytest.raises(NeedsFit, match=r"weights_(pareto_k|ess_min) is"):
        weighed_by_hand(store, panel)


def test_the_next_fit_carries_on_the_chains_of_the_last_without_a_warm_up(weighed, settings):
    store = SnapshotStore(settings.store)
    behind = posteriors.fit_of(from_netcdf(store.read(store.current_id(), NETCDF)))
    panel, few, steps = read_panel(ReleaseLog(settings.log_place), WATCH, datetime(2024, 4, 6, tzinfo=UTC)), Computation(draws=40), []

    @contextmanager
    def step(title):
        yield lambda done, of: steps.append((title, done, of))

    told = posteriors.fitted(panel, Assumptions(), few, step, None, behind)
    assert [attempt["began"] for attempt in told.attempts] == ["where the last fit ended", "afresh"][: len(told.attempts)]
    assert steps[0][1:] == (1, 2 * (40 + 40 + 40))


def test_a_unit_more_is_a_panel_of_another_structure_and_is_fitted(weighed, settings, tmp_path):
    log, store = ReleaseLog(f"{tmp_path}/log"), SnapshotStore(settings.store)
    log.ingest(simulated_csv(), "a.csv")
    log.ingest(a_month_more(), "b.csv")
    tea = [f"CHN,CHN,JPN,0902,2021-{m:02},{50_000 + m},,2021-12-20T00:00:00Z" for m in range(1, 12)]
    log.ingest(csv(*tea), "tea.csv")
    panel = read_panel(log, WATCH, datetime(2024, 3, 6, tzinfo=UTC))
    with pytest.raises(NeedsFit, match="another structure"):
        weighed_by_hand(store, panel)
