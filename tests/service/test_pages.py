"""The dashboard without a browser: what the server writes, and who may see it. With one: tests/browser."""

import re
from datetime import timedelta

import pytest
from answers import META, UNITS, WHEN, filled, unit
from fastapi.testclient import TestClient

from service.app import create_app
from service.drawing import waterfall
from service.edge import COOKIE
from service.keys import Keys
from service.pages import following, level, trend
from service.settings import Settings
from service.snapshots import SnapshotStore

UNIT = "/units/CHN.JPN.magnets"
BROWSER = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def store(tmp_path):
    store = SnapshotStore(tmp_path / "var")
    store.publish(META, UNITS, filled, WHEN)
    return store


@pytest.fixture
def client(store):
    with TestClient(create_app(Settings(store=store.store.url, stale_after_days=9999)), follow_redirects=False) as client:
        yield client


@pytest.fixture
def key(store):
    return Keys(store.store).add("desk", ("read", "what-if", "admin"), None)[0]


@pytest.fixture
def signed_in(key, client):
    """A client like a browser that has signed in."""
    answer = client.post("/sign-in", data={"key": key, "next": UNIT})
    assert (answer.status_code, answer.headers["location"]) == (303, UNIT)
    kept = answer.headers["set-cookie"].lower()
    assert COOKIE in kept and "httponly" in kept and "samesite=strict" in kept
    return client


def test_a_page_has_its_numbers_before_any_script_runs(client):
    text = client.get(UNIT).text
    assert 'id="probability" data-value="0.9">0.90<' in text
    assert re.search(r'data-cause="targeted">0.90<', text)
    assert "says something" in text
    assert 'role="img" aria-label="Log odds of a restriction, step by step' in text


def test_a_page_of_one_snapshot_is_had_once(client):
    first = client.get("/")
    assert client.get("/", headers={"If-None-Match": first.headers["etag"]}).status_code == 304
    assert first.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")


def test_a_held_page_is_made_anew_once_there_is_more_to_replay(client, store):
    as_of = {"as_of": (WHEN + timedelta(hours=1)).isoformat()}
    first = client.get(UNIT, params=as_of)
    held = {"If-None-Match": first.headers["etag"]}
    assert client.get(UNIT, params=as_of, headers=held).status_code == 304
    store.publish(META, [unit("JPN", 0.3)], filled, WHEN + timedelta(days=1))
    again = client.get(UNIT, params=as_of, headers=held)
    assert again.status_code == 200 and 'max="1"' in again.text


def test_a_past_page_is_what_was_said_then(client, store):
    store.publish(META, [unit("JPN", 0.3)], filled, WHEN + timedelta(days=1))
    assert 'data-value="0.3"' in client.get(UNIT).text
    then = client.get(UNIT, params={"as_of": (WHEN + timedelta(hours=1)).isoformat()}).text
    assert 'data-value="0.9"' in then and 'id="whatif"' not in then, "a what-if is of now"


def test_a_snapshot_from_before_there_were_pages_is_shown(client):
    """It has neither changes nor checks nor what is drawn beside the answers."""
    for path in ("/", UNIT, "/units/CHN.KOR.magnets", "/freshness", "/health", "/alerts"):
        assert client.get(path).status_code == 200, path


def test_what_a_file_calls_itself_is_no_markup(store):
    evil = '<script>alert("x")</script>'
    store.publish(META, [unit("JPN", 0.9) | {"title": evil, "sentence": evil}], filled, WHEN + timedelta(days=1))
    with TestClient(create_app(Settings(store=store.store.url))) as client:
        for path in ("/", UNIT):
            assert evil not in client.get(path).text
        assert client.get("/units/" + evil).status_code == 404
        assert evil not in client.get("/units/x" + evil.replace("/", "")).text
    assert "<b>" not in waterfall(unit("JPN", 0.9) | {"evidence": {"<b>": 1.0}})


def test_a_cookie_opens_what_reads_and_asks_and_nothing_that_changes(signed_in):
    assert signed_in.get(UNIT).status_code == 200 == signed_in.get("/v1/regimes").status_code
    assert signed_in.post("/v1/regimes:query", json={"units": ["CHN.JPN.magnets"]}).status_code == 200
    rule = {"on": 0.8, "off": 0.5}
    assert signed_in.put("/v1/alert-rules/japan", json=rule).status_code == 401
    assert signed_in.delete("/v1/alert-rules/japan").status_code == 401
    assert signed_in.post("/v1/alert-rules/japan/secret").status_code == 401
    for site in ("cross-site", "same-site"):
        assert signed_in.get("/v1/regimes", headers={"Sec-Fetch-Site": site}).status_code == 401
    assert signed_in.post("/sign-out").headers["location"] == "/sign-in"
    assert signed_in.get("/v1/regimes").status_code == 401


def test_a_browser_is_told_where_to_sign_in_and_a_program_that_it_needs_a_key(key, client):
    asked = client.get(UNIT, headers=BROWSER)
    assert (asked.status_code, asked.headers["location"]) == (303, f"/sign-in?next={UNIT}")
    assert client.get(UNIT).status_code == 401
    assert client.get("/v1/regimes", headers=BROWSER).status_code == 401
    assert client.get("/static/page.css").status_code == 200


@pytest.mark.parametrize("to", ["https://example.org", "//example.org", "/\\example.org", "javascript:alert(1)", "/ok\r\nSet-Cookie: a=b"])
def test_signing_in_leads_nowhere_else(key, client, to):
    answer = client.post("/sign-in", data={"key": key, "next": to})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert client.post("/sign-in", data={"key": "qq_wrong"}).status_code == 401


def test_levels_and_trends_of_the_heat_map():
    assert [level(p) for p in (None, 0.0, 0.1, 0.29, 0.5, 0.8, 1.0)] == ["none", "p0", "p1", "p1", "p3", "p4", "p4"]
    assert trend([0.1, 0.1, 0.2, 0.4]) == ("▲", "rising")
    assert trend([0.9, 0.4, 0.2, 0.4]) == ("▼", "falling")
    assert trend([0.1, 0.1, 0.12, 0.14]) == trend([0.1, 0.9]) == trend([None, 0.1, 0.2, 0.9]) == ("", "steady")
    assert (following("2024-12"), following("2024-01")) == ("2025-01", "2024-02")


def test_a_waterfalls_steps_begin_and_end_at_the_log_odds():
    row = unit("JPN", 0.9) | {"log_odds": [-1.0, 2.5], "evidence": {"exporter": 4.0, "importer": -0.5}}
    text = waterfall(row)
    assert text.count("<rect") == 4
    assert "the exporter&#39;s figures +4.00; the importer&#39;s figures -0.50; all that is known now +2.50" in text
