"""What the ill-meaning send: forged cursors, names that are code, headers and bodies without end; and what was said stays said."""

import base64
import itertools
import random
from datetime import timedelta
from urllib.parse import quote

import orjson
import pytest
from answers import META, UNITS, WHEN, filled, unit
from fastapi.testclient import TestClient

from service import edge
from service.app import create_app
from service.keys import Keys
from service.settings import Settings
from service.snapshots import SnapshotStore


@pytest.fixture
def store(tmp_path):
    store = SnapshotStore(tmp_path / "var")
    store.publish(META, UNITS, filled, WHEN)
    return store


def served(store, **settings):
    return TestClient(create_app(Settings(store=store.store.url, stale_after_days=9999, **settings)), raise_server_exceptions=False)


@pytest.fixture
def client(store):
    with served(store) as client:
        yield client


def test_a_thousand_forged_cursors_open_no_page(client):
    rng = random.Random(1)
    genuine = client.get("/v1/regimes?limit=2").json()["next"]
    told = orjson.loads(base64.urlsafe_b64decode(genuine + "=" * (-len(genuine) % 4)))
    forged = [genuine[:n] for n in range(1, len(genuine))] + [genuine + "A", genuine[::-1], genuine.swapcase()]
    for change in ({"o": -1}, {"o": 1 << 60}, {"o": 1.5}, {"o": "0"}, {"s": 7}, {"s": "../../etc"}, {"q": None}, {"q": "0"}, {"o": None}):
        forged.append(base64.urlsafe_b64encode(orjson.dumps(told | change)).decode().rstrip("="))
    while len(forged) < 1000:
        forged.append(base64.urlsafe_b64encode(rng.randbytes(rng.randint(1, 90))).decode().rstrip("="))
    for cursor in forged[:1000]:
        assert client.get(f"/v1/regimes?limit=2&cursor={quote(cursor)}").status_code in (404, 422), cursor
    assert client.get(f"/v1/regimes?limit=2&cursor={genuine}").status_code == 200


PAYLOADS = [
    "../../../../etc/passwd", "..\\..\\windows\\win.ini", "%2e%2e%2f%2e%2e%2fmanifest.json", "....//....//current", "/etc/passwd",
    "C:\\x", "current/../..", "current\x00.json", "' OR '1'='1", "1; DROP TABLE regimes--", "\" OR \"\"=\"", "1 UNION SELECT 1",
    "{{7*7}}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "{% x %}", "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>",
    "javascript:alert(1)", "<svg/onload=alert(1)>", "a\r\nSet-Cookie: x=1", "a\nX-Injected: 1", "%0d%0aX-Injected:1",
    "=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(1)", "\t=1", "$(touch x)", "`id`", "; ls", "| cat /etc/passwd", "\u202egnp.exe",
    "ＣＨＮ.ＪＰＮ", "\ufeffCHN", "CHN.JPN.magnets\u0000", "A" * 199,
]  # fmt: skip
PLACES = [
    "/v1/regimes/{}", "/v1/regimes/{}/history", "/v1/regimes/{}/evidence", "/v1/snapshots/{}", "/v1/snapshots/{}/report",
    "/v1/snapshots/{}/posterior", "/v1/alert-rules/{}", "/v1/regimes?family={}", "/v1/regimes?cursor={}", "/v1/regimes?as_of={}",
]  # fmt: skip


def test_names_that_are_code_are_names_that_nothing_has(client):
    """380 of them: nothing is found, nothing is run, and what comes back is JSON that no browser takes for a page."""
    for place, payload in itertools.product(PLACES, PAYLOADS):
        answer = client.get(place.format(quote(payload, safe="")))
        where = (place, payload)
        assert answer.status_code in (404, 422), where
        assert answer.headers["content-type"] == "application/problem+json", where
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not {"x-injected", "set-cookie"} & set(answer.headers), where
        assert "root:" not in answer.text, where
        assert "49" not in answer.json()["detail"] or "7*7" in answer.json()["detail"], where
    assert len(PLACES) * len(PAYLOADS) >= 300


def test_headers_and_bodies_without_end_are_refused(client):
    assert client.get("/v1/regimes", headers={"X-Long": "a" * 8000}).status_code == 200
    refused = client.get("/v1/regimes", headers={"X-Long": "a" * (edge.LARGEST_HEADERS + 1)})
    assert (refused.status_code, refused.headers["content-type"]) == (431, "application/problem+json")
    assert client.get("/v1/regimes", headers={f"X-{n}": "a" for n in range(5000)}).status_code == 431
    assert client.post("/v1/regimes:query", json={"units": ["CHN.JPN.magnets"] * 100_000}).status_code == 413
    assert client.post("/v1/regimes:query", json={"units": ["CHN.JPN.magnets"] * 1001}).status_code == 422
    assert client.post("/v1/regimes:query", content=b'{"units":' * 1000 + b"1" + b"}" * 1000).status_code == 422


def test_who_floods_is_held_back_and_another_keeps_all_of_its_rate(store, monkeypatch):
    kept = Keys(store.store)
    flooder, other = (kept.add(name, ("read",), None)[0] for name in ("flooder", "other"))
    now = [1000.0]
    monkeypatch.setattr("service.edge.time.monotonic", lambda: now[0])
    with served(store, rate=10.0) as client:
        answered = {flooder: [], other: []}
        for tick in range(200):  # twenty seconds in tenths
            now[0] += 0.1
            for key in [flooder] * 20 + [other] * (tick % 2):
                answered[key].append(client.get("/v1/families", headers={"Authorization": f"Bearer {key}"}))
    assert {a.status_code for a in answered[other]} == {200}
    assert sum(a.status_code == 200 for a in answered[flooder]) <= 10 * 20 + 20
    refused = [a for a in answered[flooder] if a.status_code == 429]
    assert len(refused) >= 3700
    assert {a.headers["retry-after"] for a in refused} == {"1"}


def test_what_was_said_is_said_again_byte_for_byte_after_publications_and_a_rollback(store):
    """A thousand questions about the past, before and after others were published and one was taken back."""
    store.publish(META, [unit("USA", 0.3), unit("JPN", 0.7), unit("KOR", 0.1)], filled, WHEN + timedelta(days=1))
    rng = random.Random(2)
    units = [f"/v1/regimes/CHN.{i}.magnets{part}" for i in ("USA", "JPN") for part in ("", "/evidence", "/history")]
    paths, minutes = ["/v1/regimes", "/v1/families", *units], [WHEN + timedelta(minutes=rng.randint(0, 2880)) for _ in range(1000)]
    asked = [f"{rng.choice(paths)}?as_of={at.strftime('%Y-%m-%dT%H:%M:%SZ')}" for at in minutes]
    with served(store) as client:
        before = [client.get(path) for path in asked]
        assert {answer.status_code for answer in before} == {200}
        first = store.ids()[0]
        store.publish(META, [unit("JPN", 0.99)], filled, WHEN + timedelta(days=3))
        store.switch(first, WHEN + timedelta(days=4))
        store.publish(META, [unit("JPN", 0.01)], filled, WHEN + timedelta(days=5))
        after = [client.get(path) for path in asked]
    for path, was, now in zip(asked, before, after, strict=True):
        assert (now.status_code, now.content) == (200, was.content), path
        assert now.headers["etag"] == was.headers["etag"], path


def test_api1_no_object_is_one_keys_own_and_no_route_tells_of_keys(store):
    """Whoever may read may read all there is; what belongs to somebody, the keys, is not to be had over HTTP."""
    kept = Keys(store.store)
    mine, other = (kept.add(name, ("read",), None) for name in ("mine", "other"))
    with served(store) as client:
        paths = client.get("/openapi.json").json()["paths"]
        assert not [path for path in paths if "key" in path]
        for path in (
            "/v1/keys",
            f"/v1/keys/{other[1].id}",
            f"/v1/snapshots/..%2F..%2Fkeys%2F{other[1].id}.json",
            f"/keys/{other[1].id}.json",
        ):
            assert client.get(path, headers={"Authorization": f"Bearer {mine[0]}"}).status_code == 404, path


def test_api3_properties_that_are_not_the_askers_to_set_or_to_see_are_neither(client):
    for foreign in ({"webhook_since": "2020-01-01T00:00:00Z"}, {"id": "standing"}, {"secret": "whsec_x"}):
        assert client.put("/v1/alert-rules/desk", json={"on": 0.8, "off": 0.5} | foreign).status_code == 422, foreign
    client.put("/v1/alert-rules/desk", json={"on": 0.8, "off": 0.5, "webhook": "https://example.org/"})
    secret = client.post("/v1/alert-rules/desk/secret").json()["secret"]
    for path in ("/v1/alert-rules", "/v1/alert-rules/desk", "/v1/deliveries?state=pending", "/v1/alerts", "/metrics"):
        assert secret.removeprefix("whsec_") not in client.get(path).text, path


def test_api6_what_costs_more_than_a_look_counts_for_more(store):
    with served(store, rate=10.0) as client:
        asked = [client.post("/v1/regimes/CHN.JPN.magnets/what-if", json={"releases": []}).status_code for _ in range(4)]
    assert asked == [422, 422, 429, 429], "two at once of twenty, and each counts ten"


def test_api9_every_path_is_described_and_of_this_version(client):
    described = set(client.get("/openapi.json").json()["paths"])
    for path in ("/v0/regimes", "/v2/regimes", "/regimes", "/debug", "/admin", "/redoc", "/v1", "/v1/runs", "/static/x", "/.git/config"):
        assert client.get(path).status_code == 404, path
    assert {path for path in described if not path.startswith("/v1/")} == {"/healthz", "/readyz", "/metrics"}


@pytest.mark.parametrize("instant", ["0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-12:00", "0300-01-01", "0001-01-01"])
def test_instants_at_the_ends_of_time_are_instants(client, instant):
    for path in (
        "/v1/regimes?as_of={}",
        "/v1/regimes?changed_since={}",
        "/v1/regimes/CHN.JPN.magnets/history?kind=as_published&published_to={}",
    ):
        assert client.get(path.format(instant)).status_code in (200, 404), path
    found = client.get(f"/v1/snapshots?since={instant}").json()["snapshots"]
    assert len(found) == (0 if instant[0] == "9" else 1)
    assert client.get(f"/v1/alerts?since={instant}").status_code == 200
