"""Nights on which nothing is fitted: what a refresh does before it decides, what it leaves on record, and how it ends."""

import io
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler

import orjson
import pandas as pd
import pytest
from answers import META, UNITS, filled
from support import listening, simulated_csv
from typer.testing import CliRunner

from data.config import read_watch
from data.log import ReleaseLog
from data.panel import read_panel
from data.sources import fetch as fetching
from model.spec import Assumptions, Computation
from service.alerts import names
from service.cli import app
from service.decision import versions
from service.runs import last
from service.settings import Settings
from service.snapshots import SnapshotStore

CONFIG = """
exporter = "CHN"
importers = ["JPN", "USA"]
fetch = ["http://127.0.0.1:1/figures.csv"]
[families.magnets]
title = "Magnets"
hs = ["850511"]
"""


@pytest.fixture
def night(tmp_path, monkeypatch):
    """(publishes a snapshot that rests on all that the log has, runs a refresh with options: (exit code, what it says on stderr))"""
    monkeypatch.setattr(fetching, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(fetching, "APART", 0.0)
    settings, config = Settings(store=str(tmp_path / "var")), tmp_path / "watch.toml"
    config.write_text(CONFIG)
    log, store, watch = ReleaseLog(settings.log_place), SnapshotStore(settings.store), read_watch(config)
    log.ingest(simulated_csv(months=24, importers=("JPN", "USA")), "figures.csv")

    def publish(**other):
        panel = read_panel(log, watch, log.horizon())
        meta = META | {
            "as_of": log.horizon().isoformat(), "fitted_at": datetime.now(UTC).isoformat(), "panel_sha256": panel.attrs["fingerprint"],
            "versions": versions(), "checks": [], "assumptions": orjson.loads(Assumptions().model_dump_json()),
            "computation": orjson.loads(Computation().model_dump_json()),
        }  # fmt: skip
        store.publish(meta | other, UNITS, filled)
        return store

    def refresh(*options):
        ran = CliRunner().invoke(app, ["refresh", "--config", str(config), "--store", settings.store, *options])
        return ran.exit_code, ran.stderr

    return publish, refresh


def test_nothing_new_is_put_on_record_so_that_what_is_served_does_not_look_stale(night):
    publish, refresh = night
    store = publish()
    assert store.looked(store.current_id()) is None
    assert refresh()[0] == 3
    assert last(store.store)["outcome"] == "nothing new"
    assert store.looked(store.current_id()) is not None
    assert refresh("--unchanged-is-success")[0] == 0


def test_where_no_publisher_answers_nothing_new_is_no_good_news(night):
    publish, refresh = night
    store = publish()
    code, said = refresh("--fetch")
    assert code == 5
    assert "no publisher could be asked" in said
    record = last(store.store)
    assert record["outcome"] == "nothing fetched"
    assert record["fetched"][0]["address"] == "http://127.0.0.1:1/figures.csv"
    assert "no answer" in record["fetched"][0]["error"]
    assert store.looked(store.current_id()) is None


def test_a_refresh_that_knows_less_than_what_is_served_is_refused(night):
    publish, refresh = night
    store = publish(as_of="2099-01-01T00:00:00+00:00")
    before = store.current_id()
    code, said = refresh()
    assert code == 7
    assert "is this machine's clock right" in " ".join(said.split())
    assert (last(store.store)["outcome"], store.current_id()) == ("failed", before)


def test_alerts_of_a_refresh_that_was_stopped_after_it_had_published_are_raised_by_the_next(night):
    publish, refresh = night
    store = publish()
    assert names(store.store) == []
    refresh()
    assert len(names(store.store)) == 1
    refresh()
    assert len(names(store.store)) == 1


class Publisher(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *told):
        pass


def of_last_year(figures):
    return figures[figures["period"] < "2020-01"]


def times_a_thousand(figures):
    later = pd.to_datetime(figures["released_at"]) + pd.Timedelta(days=365)
    return figures.assign(net_weight_kg=figures["net_weight_kg"].astype(float) * 1000, released_at=later.dt.strftime("%Y-%m-%dT%H:%M:%SZ"))


@pytest.mark.parametrize(
    ("answers", "code", "says"),
    [
        (of_last_year, 3, "nothing new"),
        (times_a_thousand, 5, "were rejected or held back"),
        (None, 5, "no publisher could be asked"),
    ],
)
def test_whatever_a_publisher_answers_amiss_what_is_served_stays_and_the_code_tells(night, tmp_path, answers, code, says):
    publish, refresh = night
    store = publish()
    before = store.current_id()
    figures = pd.read_csv(io.BytesIO(simulated_csv(months=24, importers=("JPN", "USA"))), dtype=str)
    with listening(Publisher, "/figures.csv") as server:
        server.content = answers(figures).to_csv(index=False).encode() if answers else b""
        config = tmp_path / "its.toml"
        config.write_text(CONFIG.replace("http://127.0.0.1:1/figures.csv", server.address))
        ended, said = refresh("--fetch", "--config", str(config))
    assert (ended, store.current_id()) == (code, before)
    assert says in " ".join(said.split())
    record = last(store.store)
    assert bool(record["pending_findings"]) is (answers is times_a_thousand)
    assert bool(record["fetched"][0]["error"]) is (answers is None)
