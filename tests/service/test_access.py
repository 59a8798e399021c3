"""Who is answered: keys, scopes, rates and sizes. The risks are those of the OWASP API Security Top 10 (2023), by number."""

import json
import logging
import socket
import threading
from datetime import timedelta

import pytest
from answers import META, UNITS, WHEN, filled
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from service import edge, keys
from service.app import create_app
from service.cli import app as command
from service.edge import Rates
from service.keys import Keys, NoSuchKey
from service.settings import Settings, SettingsError
from service.snapshots import SnapshotStore


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(keys, "LOOK_SECONDS", 0.0)


@pytest.fixture
def store(tmp_path):
    store = SnapshotStore(tmp_path / "var")
    store.publish(META, UNITS, filled, WHEN)
    return store


@pytest.fixture
def kept(store):
    return Keys(store.store)


def served(store, **settings):
    return TestClient(create_app(Settings(store=store.store.url, stale_after_days=9999, **settings)), raise_server_exceptions=False)


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def test_on_loopback_no_key_is_needed_until_there_is_one_and_elsewhere_always(store, kept):
    with served(store) as client:
        assert client.get("/v1/regimes").status_code == 200
    with served(store, host="quietquota.example") as client:
        assert client.get("/v1/regimes").status_code == 401
    with served(store, host="0.0.0.0") as client:
        assert client.get("/v1/regimes").status_code == 401
        assert client.get("/readyz").status_code == 200
    kept.add("risk desk", ("read",), None)
    with served(store) as client:
        assert client.get("/v1/regimes").status_code == 401
    with served(store, insecure_no_auth=True) as client:
        assert client.get("/v1/regimes").status_code == 200
    with pytest.raises(SettingsError, match=r"answers anyone who reaches 0\.0\.0\.0"):
        create_app(Settings(store=store.store.url, host="0.0.0.0", insecure_no_auth=True))


def test_api2_a_key_is_taken_in_either_header_and_nothing_else_is(store, kept):
    key, _ = kept.add("risk desk", ("read",), None)
    with served(store) as client:
        assert client.get("/v1/regimes", headers=bearer(key)).status_code == 200
        assert client.get("/v1/regimes", headers={"X-API-Key": key}).status_code == 200
        wrong = [
            key[:-1],
            key + "A",
            key.upper(),
            key[:16] + "A" * 43,
            "",
            "qq_",
            "x" * 10_000,
            "qq_" + "0" * 12 + "_" + "A" * 43,
            "\u00e9",
        ]
        for other in wrong:
            answer = client.get("/v1/regimes", headers=[(b"authorization", b"Bearer " + other.encode("latin-1"))])
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), other[:40]
            assert answer.json()["type"] == "/problems/unauthorized"
        assert client.get(f"/v1/regimes?api_key={key}").status_code == 401
        assert client.get("/v1/regimes", headers={"Authorization": f"Basic {key}"}).status_code == 401


def test_api2_a_revoked_or_lapsed_key_is_refused_without_a_restart(store, kept, monkeypatch):
    key, record = kept.add("risk desk", ("read",), None)
    brief, lapsing = kept.add("visitor", ("read",), 1)
    with served(store) as client:
        assert client.get("/v1/regimes", headers=bearer(key)).status_code == 200
        assert client.get("/v1/regimes", headers=bearer(brief)).status_code == 200
        kept.revoke(record.id)
        assert client.get("/v1/regimes", headers=bearer(key)).status_code == 401
        assert not lapsing.valid(WHEN + timedelta(days=9999))
        store.store.write(f"keys/{lapsing.id}.json", json.dumps(lapsing.__dict__ | {"expires_at": WHEN.isoformat()}).encode())
        assert client.get("/v1/regimes", headers=bearer(brief)).status_code == 401
    with pytest.raises(NoSuchKey, match="no such key"):
        kept.revoke("000000000000")


def test_api5_every_operation_needs_the_scope_that_it_declares(store, kept):
    """Generated from the API, so a new route is refused until it is thought of."""
    of = {scope: kept.add(scope, (scope,), None)[0] for scope in ("read", "what-if", "admin")}
    with served(store) as client:
        for path, operations in client.get("/openapi.json").json()["paths"].items():
            for method in operations:
                where = path.replace("{unit}", "CHN.JPN.magnets").replace("{snapshot}", "current")
                if path in edge.OPEN:
                    assert client.request(method, where).status_code == 200
                    continue
                admin = method in ("put", "delete") or path.endswith("/secret")
                needed = "what-if" if path.endswith("/what-if") else "admin" if admin else "read"
                assert client.request(method, where).status_code == 401
                for scope, key in of.items():
                    allowed = client.request(method, where, headers=bearer(key)).status_code != 403
                    assert allowed == (scope in (needed, "admin")), (method, path, scope)


def test_api8_the_key_is_in_no_log_and_in_no_file(store, kept, caplog):
    key, record = kept.add("risk desk", ("read",), None)
    secret = key.rpartition("_")[2]
    caplog.set_level(logging.DEBUG)
    with served(store) as client:
        client.get(f"/v1/regimes?api_key={key}", headers=bearer(key))
        client.get("/v1/regimes", headers=bearer(key[:-1]))
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("quietquota")]
    assert len(ours) == 2
    assert not any(secret in line or secret[:-1] in line for line in ours)
    told = json.loads(ours[0])
    assert (told["key"], told["status"], told["path"]) == (record.id, 422, "/v1/regimes"), "a key is no parameter"
    assert not any(secret.encode() in path.read_bytes() for path in store.store.root.rglob("*") if path.is_file())


def test_api8_answers_carry_the_headers_that_browsers_heed_and_no_permission_for_other_sites(store):
    with served(store) as client:
        for path in ("/v1/regimes", "/v1/nothing", "/v1/snapshots/current/report", "/healthz"):
            answer = client.get(path, headers={"Origin": "https://evil.example"})
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert len(answer.headers["x-request-id"]) == 16
            assert not [h for h in answer.headers if h.startswith("access-control-")]


def test_an_error_names_the_request_as_the_log_does(store, caplog):
    caplog.set_level(logging.INFO)
    with served(store) as client:
        answer = client.get("/v1/regimes/CHN.FRA.tea")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-request-id"] in caplog.text


def test_api4_who_asks_too_often_waits_and_the_others_do_not(store, kept):
    greedy, modest = (kept.add(name, ("read",), None)[0] for name in ("greedy", "modest"))
    with served(store, rate=5) as client:
        codes = [client.get("/v1/families", headers=bearer(greedy)) for _ in range(30)]
        assert {r.status_code for r in codes} == {200, 429}
        refused = next(r for r in codes if r.status_code == 429)
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["ratelimit"].startswith('"default";r=0')
        assert refused.headers["ratelimit-policy"] == '"default";q=10;w=2'
        assert client.get("/v1/families", headers=bearer(modest)).status_code == 200


def test_a_bucket_of_tokens_fills_at_its_rate_and_forgets_the_silent():
    rates = Rates(2.0)
    assert [rates.taken("a", 0.0)[1] for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert rates.taken("a", 0.5) == (0, 0)
    assert rates.taken("a", 100.0)[0] == 3
    for n in range(edge.CLIENTS + 10):
        rates.taken(f"client {n}", 200.0)
    assert len(rates._left) == edge.CLIENTS


def test_api4_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(store):
    large = b"x" * (edge.LARGEST_BODY + 1)
    with served(store) as client:
        assert client.post("/v1/regimes:query", content=large).status_code == 413
        pieces = (large[n : n + 65_536] for n in range(0, len(large), 65_536))
        assert client.post("/v1/regimes:query", content=pieces).status_code == 413
        assert client.get("/v1/regimes").status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 100_000, b'{"units": 1e400}', b"\xff\xfe", b'{"units": ["\\ud800"]}', b"null", b"[]", b'{"units":[]}']
)
def test_a_malformed_body_is_said_to_be_one(store, body):
    with served(store) as client:
        answer = client.post("/v1/regimes:query", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def test_keys_are_made_listed_and_revoked_from_the_command_line_and_shown_once(store):
    run = CliRunner().invoke
    made = run(command, ["keys", "add", "risk-desk", "--scope", "read", "--scope", "what-if", "--days", "30", "--store", store.store.url])
    assert made.exit_code == 0
    key = made.stdout.strip()
    listed = run(command, ["keys", "list", "--store", store.store.url]).stdout
    identity = key.split("_")[1]
    assert identity in listed
    assert "read, what-if" in listed
    assert key.rpartition("_")[2] not in listed
    assert run(command, ["keys", "revoke", identity, "--store", store.store.url]).exit_code == 0
    assert Keys(store.store).holder(key) is None
    assert run(command, ["keys", "add", "x", "--scope", "root", "--store", store.store.url]).exit_code == 2


@pytest.mark.slow
def test_api4_clients_that_dribble_do_not_keep_others_waiting(store, served_at):
    address, port = served_at(store)
    slow = [socket.create_connection((address, port)) for _ in range(200)]
    for one in slow:
        one.sendall(b"POST /v1/regimes:query HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    done = []

    def ask():
        with socket.create_connection((address, port), timeout=20) as one:
            one.sendall(b"GET /v1/families HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            done.append(one.recv(15))

    askers = [threading.Thread(target=ask) for _ in range(10)]
    for thread in askers:
        thread.start()
    for thread in askers:
        thread.join()
    assert done == [b"HTTP/1.1 200 OK"] * 10
    slow[0].settimeout(edge.BODY_SECONDS + 20)
    assert slow[0].recv(12) == b"HTTP/1.1 408"
    for one in slow:
        one.close()
