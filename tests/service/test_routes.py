"""Every route over a published snapshot: what it answers, in which forms, and as of when."""

import csv
import io
import zipfile
from datetime import timedelta

import orjson
import pandas as pd
import pyarrow as pa
import pytest
from answers import META, UNITS, WHEN, filled, unit
from fastapi.testclient import TestClient

from service import schemas
from service.app import create_app
from service.holder import Holder
from service.settings import Settings
from service.snapshots import SnapshotStore

LATER = WHEN + timedelta(days=1)
CHECK = {"name": "rhat_max", "value": 1.001, "outcome": "PASS", "meaning": "Chains agree.", "threshold": 1.01, "review": 1.05, "worst": "x"}


@pytest.fixture
def store(tmp_path):
    store = SnapshotStore(tmp_path / "var")
    store.publish(META | {"checks": [CHECK], "versions": {"pymc": "6"}}, UNITS, filled, WHEN)
    return store


@pytest.fixture
def client(store):
    settings = Settings(store=store.store.url, stale_after_days=9999)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/regimes", schemas.RegimeTable),
        ("/v1/regimes?changed_since=2026-11-01T03:00:00Z", schemas.RegimeTable),
        ("/v1/regimes/CHN.JPN.magnets", schemas.RegimeAnswer),
        ("/v1/regimes/CHN.KOR.magnets", schemas.RegimeAnswer),
        ("/v1/regimes/CHN.JPN.magnets/history", schemas.HistoryAnswer),
        ("/v1/regimes/CHN.JPN.magnets/history?kind=as_published", schemas.AsPublished),
        ("/v1/regimes/CHN.KOR.magnets/history?kind=as_published", schemas.AsPublished),
        ("/v1/regimes/CHN.JPN.magnets/evidence", schemas.EvidenceAnswer),
        ("/v1/regimes/CHN.KOR.magnets/evidence", schemas.EvidenceAnswer),
        ("/v1/regimes/CHN.JPN.magnets/counterfactual", schemas.CounterfactualAnswer),
        ("/v1/regimes/CHN.JPN.magnets/releases", schemas.ReleasesAnswer),
        ("/v1/families", schemas.FamilyList),
        ("/v1/importers", schemas.ImporterList),
        ("/v1/snapshots", schemas.SnapshotList),
        ("/v1/snapshots/current", schemas.SnapshotInfo),
        ("/v1/snapshots/current/checks", schemas.Checks),
        ("/healthz", schemas.Health),
        ("/readyz", schemas.Readiness),
    ],
)
def test_every_answer_is_of_its_schema_and_the_same_question_has_the_same_bytes(client, path, model):
    first = client.get(path)
    assert first.status_code == 200
    model.model_validate(first.json())
    again = client.get(path, headers={"If-None-Match": first.headers["etag"]} if "etag" in first.headers else {})
    assert again.status_code == (304 if "etag" in first.headers else 200)


@pytest.mark.parametrize("unit_id", ["CHN.JPN.magnets", "CHN.KOR.magnets", "CHN.FRA.tea", "", "x/history", "%2e%2e"])
@pytest.mark.parametrize("held", [None, "*", '"other"', "the same"])
def test_the_commonest_question_is_answered_at_the_edge_as_its_route_would(client, unit_id, held, monkeypatch):
    url = f"/v1/regimes/{unit_id}"
    given = {} if held is None else {"If-None-Match": client.get(url).headers.get("etag", "") if held == "the same" else held}
    at_edge = client.get(url, headers=given)
    monkeypatch.setattr(Holder, "ready", lambda *_: None)
    by_route = client.get(url, headers=given)
    mine, theirs = ({k: v for k, v in r.headers.items() if k != "x-request-id"} for r in (at_edge, by_route))
    assert (at_edge.status_code, mine) == (by_route.status_code, theirs)
    assert at_edge.status_code >= 400 or at_edge.content == by_route.content


@pytest.mark.parametrize(
    ("kind", "periods"),
    [("filtered", ["2026-08", "2026-09"]), ("smoothed", ["2026-08", "2026-09"]), ("nowcast", ["2026-10", "2026-11"])],
)
def test_history_is_of_one_conditioning_and_within_its_months(client, kind, periods):
    url = f"/v1/regimes/CHN.JPN.magnets/history?kind={kind}"
    answer = schemas.HistoryAnswer.model_validate(client.get(url).json())
    assert [m.period for m in answer.months] == periods
    assert {m.kind for m in answer.months} == {kind}
    assert [m["period"] for m in client.get(f"{url}&from={periods[1]}&to=2026-12").json()["months"]] == periods[1:]


def test_history_as_published_says_what_was_said_each_time(client, store):
    second = store.publish(META, [unit("JPN", 0.1)], filled, LATER)
    url = "/v1/regimes/CHN.JPN.magnets/history?kind=as_published"
    said = schemas.AsPublished.model_validate(client.get(url).json()).publications
    assert [(p.said_at, p.month.probability) for p in said] == [(WHEN, 0.9), (LATER, 0.1)]
    assert [p["snapshot"] for p in client.get(f"{url}&published_from={LATER:%Y-%m-%dT%H:%M:%SZ}").json()["publications"]] == [second]
    assert [p["month"]["probability"] for p in client.get(f"{url}&published_to=2026-11-01T12:00:00Z").json()["publications"]] == [0.9]
    assert [p["month"]["probability"] for p in client.get(f"{url}&limit=1").json()["publications"]] == [0.1]


@pytest.mark.parametrize("path", ["regimes?min_prob=0.5", "regimes/CHN.JPN.magnets?asof=2026-01-01", "snapshots/current?x=1"])
def test_a_parameter_that_a_route_has_not_is_refused_and_those_it_has_are_named(client, path):
    answer = client.get(f"/v1/{path}")
    assert answer.status_code == 422
    assert "no such parameter; there" in answer.json()["detail"]
    assert client.get("/?whatever=1").status_code == 200, "a page's address may be told anything"


def test_evidence_adds_up_to_the_change_in_log_odds(client):
    told = client.get("/v1/regimes/CHN.JPN.magnets/evidence").json()["evidence"]
    assert sum(told["evidence"].values()) == pytest.approx(told["log_odds"][1] - told["log_odds"][0])
    assert client.get("/v1/regimes/CHN.KOR.magnets/evidence").json()["evidence"]["abstention"] == "no figure known"


def test_the_shortfall_is_summed_over_the_months_asked_for(client):
    url = "/v1/regimes/CHN.JPN.magnets/counterfactual"
    assert client.get(url).json()["shortfall_kg_total"] == 2000
    assert client.get(f"{url}?from=2026-09").json()["shortfall_kg_total"] == 1000
    assert client.get(f"{url}?from=2030-01").json()["months"] == []


def test_releases_behind_an_answer_have_both_clocks_and_two_month_sums_count_for_both(client):
    url = "/v1/regimes/CHN.JPN.magnets/releases"
    assert [r["period"] for r in client.get(f"{url}?from=2026-09").json()["releases"]] == ["2026-08/2026-09", "2026-09"]
    assert [r["period"] for r in client.get(f"{url}?to=2026-08").json()["releases"]] == ["2026-07", "2026-08/2026-09"]
    assert client.get("/v1/regimes/CHN.USA.magnets/releases").json()["releases"] == []


def test_many_units_come_in_the_order_asked_and_unknown_ones_are_named(client):
    asked = {"units": ["CHN.USA.magnets", "CHN.FRA.tea", "CHN.JPN.magnets"]}
    answer = schemas.QueryAnswer.model_validate(client.post("/v1/regimes:query", json=asked).json())
    assert [r.unit for r in answer.regimes] == ["CHN.USA.magnets", "CHN.JPN.magnets"]
    assert answer.unknown == ["CHN.FRA.tea"]
    assert client.post("/v1/regimes:query", json={"units": ["x"] * 1001}).status_code == 422
    assert client.post("/v1/regimes:query", json={"units": ["x"], "as_of": "2001-01-01T00:00:00Z"}).status_code == 404


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_have_every_unit_once_also_while_another_snapshot_is_published(client, store, limit):
    whole = [r["unit"] for r in client.get("/v1/regimes?sort=unit").json()["regimes"]]
    seen, cursor = [], ""
    while True:
        page = client.get(f"/v1/regimes?sort=unit&limit={limit}{cursor}").json()
        seen += [r["unit"] for r in page["regimes"]]
        if page["next"] is None:
            break
        store.publish(META, [unit("FRA", 0.5)], filled, WHEN + timedelta(days=len(seen)))
        cursor = f"&cursor={page['next']}"
    assert seen == whole
    assert page["total"] == len(whole)


@pytest.mark.parametrize("cursor", ["x", "e30", "AAAA", "eyJvIjogLTF9", "%00", "=" * 500])
def test_a_cursor_that_nobody_gave_is_refused(client, cursor):
    response = client.get(f"/v1/regimes?cursor={cursor}")
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "query.cursor")


def test_a_cursor_belongs_to_its_question(client):
    following = client.get("/v1/regimes?limit=1").json()["next"]
    assert client.get(f"/v1/regimes?limit=1&importer=JPN&cursor={following}").status_code == 422


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("-probability", "CHN.JPN.magnets"),
        ("probability", "CHN.USA.magnets"),
        ("unit", "CHN.JPN.magnets"),
        ("-shortfall_kg", "CHN.JPN.magnets"),
    ],
)
def test_sorting_leaves_abstentions_last(client, sort, first):
    units = [r["unit"] for r in client.get(f"/v1/regimes?sort={sort}").json()["regimes"]]
    assert units[0] == first
    assert sort == "unit" or units[-1] == "CHN.KOR.magnets"


def test_what_changed_since_is_what_differs_from_what_was_said(client, store):
    store.publish(META, [unit("JPN", 0.1), *UNITS[:1], *UNITS[2:]], filled, LATER)
    changed = client.get("/v1/regimes?changed_since=2026-11-01T03:00:00Z").json()["regimes"]
    assert [r["unit"] for r in changed] == ["CHN.JPN.magnets"]


def test_bulk_forms_have_a_unit_a_line_and_no_formula(client):
    lines = client.get("/v1/regimes", headers={"Accept": "application/x-ndjson"})
    assert orjson.loads(lines.content.splitlines()[0])["unit"] == "CHN.JPN.magnets"
    assert (lines.headers["content-type"], len(lines.content.splitlines())) == ("application/x-ndjson", 4)
    table = client.get("/v1/regimes?importer=JPN", headers={"Accept": "text/csv;q=1, */*;q=0.1"})
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [(r["unit"], r["probability"], r["targeted"], r["kind"]) for r in rows] == [
        ("CHN.JPN.magnets", "0.9", "0.9", "filtered"),
        ("CHN.JPN.metals", "0.4", "0.4", "filtered"),
    ]
    months = client.get("/v1/regimes/CHN.JPN.magnets/history?kind=smoothed", headers={"Accept": "text/csv"})
    assert [r["period"] for r in csv.DictReader(io.StringIO(months.text))] == ["2026-08", "2026-09"]


def test_an_arrow_stream_holds_what_the_csv_holds(client):
    for address in ("/v1/regimes", "/v1/regimes/CHN.JPN.magnets/history?kind=smoothed"):
        client.get(address)  # of which the answer is kept
        answer = client.get(address, headers={"Accept": "application/vnd.apache.arrow.stream"})
        assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
        table = pa.ipc.open_stream(answer.content).read_all().to_pandas().astype(object)
        text = pd.read_csv(io.StringIO(client.get(address, headers={"Accept": "text/csv"}).text)).astype(object)
        assert table.columns.to_list() == text.columns.to_list()
        assert table.where(table.notna(), None).to_numpy().tolist() == text.where(text.notna(), None).to_numpy().tolist()


def test_text_that_a_spreadsheet_would_run_is_quoted(store, client):
    store.publish(META, [unit("JPN", 0.5) | {"title": "=cmd|' /C calc'!A0"}], filled, LATER)
    table = client.get("/v1/regimes", headers={"Accept": "text/csv"}).text
    assert next(csv.DictReader(io.StringIO(table)))["title"] == "'=cmd|' /C calc'!A0"


def test_families_and_importers_count_what_is_restricted(client):
    families = {f["family"]: f for f in client.get("/v1/families").json()["families"]}
    assert families["magnets"] == {"family": "magnets", "title": "magnets", "importers": ["USA", "JPN", "KOR"], "restricted": 1}
    importers = {i["importer"]: i for i in client.get("/v1/importers").json()["importers"]}
    assert (importers["JPN"]["families"], importers["JPN"]["restricted"]) == (["magnets", "metals"], 1)


def test_snapshots_are_listed_latest_first_page_by_page_and_one_is_current(client, store):
    names = [store.current_id(), *(store.publish(META, UNITS, filled, WHEN + timedelta(days=n)) for n in (1, 2))]
    first = client.get("/v1/snapshots?limit=2").json()
    assert [(s["id"], s["current"]) for s in first["snapshots"]] == [(names[2], True), (names[1], False)]
    rest = client.get(f"/v1/snapshots?limit=2&cursor={first['next']}").json()
    assert ([s["id"] for s in rest["snapshots"]], rest["next"]) == ([names[0]], None)
    assert [s["id"] for s in client.get("/v1/snapshots?since=2026-11-02").json()["snapshots"]] == names[:0:-1]


def test_a_named_snapshot_may_be_cached_for_ever_and_the_current_one_may_not(client, store):
    named = client.get(f"/v1/snapshots/{store.current_id()}")
    assert "immutable" in named.headers["cache-control"]
    assert client.get("/v1/snapshots/current").headers["cache-control"] == "private, no-cache"
    assert client.get("/v1/snapshots/current/checks").json()["checks"][0]["name"] == "rhat_max"
    assert client.get("/v1/snapshots/current/report").text == "<html>page</html>"
    archive = zipfile.ZipFile(io.BytesIO(client.get("/v1/snapshots/current/posterior").content))
    assert archive.namelist() == ["zarr.json"]
    assert client.get("/v1/snapshots/current/posterior?format=netcdf").status_code == 404, "published without one"


@pytest.mark.parametrize("name", ["20260101T000000Z-00000000", "..%2F..", "current%00", "\u202e", "x" * 90])
def test_a_snapshot_that_is_none_is_not_found(client, name):
    for part in ("", "/checks", "/report", "/posterior"):
        assert client.get(f"/v1/snapshots/{name}{part}").status_code == 404


def test_an_altered_file_is_refused_when_it_is_asked_for_and_the_rest_answers(client, store):
    (store.store.root / "snapshots" / store.current_id() / "report.html").write_text("<html>forged</html>")
    response = client.get("/v1/snapshots/current/report")
    assert (response.status_code, response.json()["type"]) == (503, "/problems/snapshot-damaged")
    assert client.get("/v1/regimes").status_code == 200


def test_calibration_is_what_was_scored_last_and_not_there_before(client, store):
    assert client.get("/v1/calibration").status_code == 404
    told = {"scored_at": WHEN.isoformat(), "worlds": ["w"], "scores": {"filtered": {"skill": [0.6, 0.5, 0.7]}}}
    store.store.write("calibration.json", orjson.dumps(told))
    assert schemas.Calibration.model_validate(client.get("/v1/calibration").json()).scores["filtered"]["skill"][0] == 0.6


def test_a_damaged_newer_snapshot_leaves_the_answer_and_every_answer_says_why(client, store):
    before = client.get("/v1/regimes").json()
    assert before["stale"] is None
    second = store.publish(META, UNITS, filled, LATER)
    (store.store.root / "snapshots" / second / "answers.json").write_bytes(b"[]")
    after = client.get("/v1/regimes").json()
    assert after["snapshot"] == before["snapshot"]
    assert after["stale"] == f"snapshot {second} is refused: it is not as it was published"
    assert client.get("/readyz").json()["stale"] == after["stale"]
    assert "quietquota_stale 1.0" in client.get("/metrics").text
    past = client.get("/v1/regimes?as_of=2026-11-01T12:00:00Z").json()
    assert (past["stale"], past["snapshot"]) == (None, before["snapshot"])


def test_metrics_count_by_route_and_not_by_address(client, store):
    for name in ("JPN", "USA", "FRA"):
        client.get(f"/v1/regimes/CHN.{name}.magnets")
    text = client.get("/metrics").text
    assert 'quietquota_requests_total{method="GET",route="/v1/regimes/{unit}",status="200"} 2.0' in text
    assert 'route="/v1/regimes/{unit}",status="404"} 1.0' in text
    assert f'id="{store.current_id()}"' in text
    assert "quietquota_data_age_seconds" in text
