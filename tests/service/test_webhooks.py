"""Webhooks: received at least once, verified by code that is not ours, and never sent to an address within."""

import json
import shutil
import ssl
import subprocess
from datetime import timedelta
from http.server import BaseHTTPRequestHandler

import pytest
from answers import META, WHEN, filled, unit
from fastapi.testclient import TestClient
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from support import listening
from typer.testing import CliRunner

from data.store import Locked
from service import alerts, webhooks
from service.alerts import weigh
from service.app import create_app
from service.cli import app as command
from service.schemas import AlertRule
from service.settings import Settings
from service.snapshots import SnapshotStore
from service.webhooks import WAITS, Unreachable, addresses, checked, deliver, new_secret, sender


@pytest.fixture
def receiver():
    """Answers with the statuses in ``answers``, one after the other, the last for ever; what came is in ``came``."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.came.append((self.path, dict(self.headers), body))
            status = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
            self.send_response(status)
            self.send_header("Content-Length", "0")
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *of):
            pass

    with listening(Handler, "/hook") as server:
        server.answers, server.came = [204], []
        yield server


@pytest.fixture
def store(tmp_path):
    return SnapshotStore(tmp_path / "var")


def raised(store, url, n=1, start=0):
    """A rule with a webhook, and so many publications at each of which it turns on or off."""
    alerts.put(store.store, AlertRule(id="desk", on=0.5, off=0.5, webhook=url), WHEN)
    for day in range(start, start + n):
        name = store.publish(META, [unit("JPN", 0.9 if day % 2 == 0 else 0.1)], filled, WHEN + timedelta(days=day))
        weigh(store.store, store.load(name), WHEN + timedelta(days=day))


def test_an_alert_arrives_once_and_independent_code_verifies_it(store, receiver):
    secret = new_secret(store.store, "desk").secret
    raised(store, receiver.address)
    assert [(d.state, d.tries) for d in deliver(store.store, sender(private=True))] == [("done", 1)]
    assert deliver(store.store, sender(private=True)) == []
    [(_, headers, body)] = receiver.came
    alert = Webhook(secret).verify(body, {name.lower(): value for name, value in headers.items()})
    assert (alert["unit"], alert["event"], alert["probability"], alert["evidence"]) == (
        "CHN.JPN.magnets", "raised", 0.9, {"exporter": 1.5, "importer": 0.5},
    )  # fmt: skip
    assert headers["webhook-id"] == alert["id"]
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body.replace(b"0.9", b"0.1"), {name.lower(): value for name, value in headers.items()})


def test_while_secrets_change_over_either_verifies_and_then_only_the_new_one(store, receiver):
    now = webhooks.datetime.now(webhooks.UTC)
    old, new = (new_secret(store.store, "desk", now + timedelta(hours=h)) for h in (-1, 0))
    assert (old.others_hold_until, new.others_hold_until) == (None, now + timedelta(hours=24))
    raised(store, receiver.address)
    deliver(store.store, sender(private=True))
    _, headers, body = receiver.came[0]
    for one in (old, new):
        Webhook(one.secret).verify(body, {name.lower(): value for name, value in headers.items()})
    raised(store, receiver.address, start=1)
    deliver(store.store, sender(private=True), now + timedelta(hours=25))
    assert len(receiver.came[1][1]["webhook-signature"].split()) == 1


def test_sixteen_tries_in_seventy_two_hours_and_then_it_is_a_dead_letter_that_can_be_taken_up_anew(store, receiver):
    receiver.answers = [500]
    raised(store, receiver.address)
    at, tries = WHEN, []
    while (done := deliver(store.store, sender(private=True), at)) and done[0].state == "pending":
        tries.append(at)
        assert done[0].error == "Unreachable: the receiver answers 500"
        assert deliver(store.store, sender(private=True), done[0].next_at - timedelta(seconds=1)) == []
        at = done[0].next_at
    assert (done[0].state, done[0].tries, len(receiver.came)) == ("dead", 16, 16)
    assert timedelta(hours=70) < at - WHEN <= timedelta(hours=72)
    assert len({headers["webhook-id"] for _, headers, _ in receiver.came}) == 1
    assert deliver(store.store, sender(private=True), at + timedelta(days=9)) == []
    settings = Settings(store=store.store.url, stale_after_days=9999)
    with TestClient(create_app(settings)) as client:
        [dead] = client.get("/v1/deliveries").json()["deliveries"]
        assert (dead["tries"], dead["state"]) == (16, "dead")
        assert 'quietquota_deliveries{state="dead"} 1.0' in client.get("/metrics").text
    receiver.answers = [200]
    ran = CliRunner().invoke(command, ["deliver", "--again", dead["alert"], "--private", "--store", store.store.url])
    assert (ran.exit_code, len(receiver.came)) == (0, 17)
    assert CliRunner().invoke(command, ["deliver", "--again", dead["alert"], "--store", store.store.url]).exit_code == 2
    assert [d.state for d in webhooks.told(store.store, "done")] == ["done"]


@pytest.mark.parametrize("status", [302, 404, 410, 429, 503])
def test_whatever_is_no_receipt_is_tried_again(store, receiver, status):
    receiver.answers = [status, 200]
    raised(store, receiver.address)
    first = deliver(store.store, sender(private=True), WHEN)
    assert (first[0].state, first[0].next_at) == ("pending", WHEN + timedelta(seconds=WAITS[0]))
    assert [d.state for d in deliver(store.store, sender(private=True), first[0].next_at)] == ["done"]
    assert {path for path, _, _ in receiver.came} == {"/hook"}, "a redirect is not followed"


def test_a_receiver_that_is_down_slow_or_has_a_bad_certificate_is_tried_again(store, receiver, monkeypatch, tmp_path):
    monkeypatch.setattr(webhooks, "TIMEOUT", 0.2)
    quiet = webhooks.socket.create_server(("127.0.0.1", 0))
    port = quiet.getsockname()[1]
    subprocess.run(
        [shutil.which("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"], check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    cases = [(f"http://127.0.0.1:{port}/", "ReadTimeout"), (f"https://127.0.0.1:{receiver.server_port}/", "CERTIFICATE_VERIFY_FAILED")]
    raised(store, cases[0][0])
    for n, (url, says) in enumerate([*cases, ("http://127.0.0.1:1/", "ConnectError")]):
        alerts.put(store.store, AlertRule(id="desk", on=0.5, off=0.5, webhook=url), WHEN)
        [delivery] = deliver(store.store, sender(private=True), WHEN + timedelta(days=n))
        assert delivery.state == "pending"
        assert says in delivery.error
    quiet.close()


def test_what_is_killed_between_sending_and_writing_is_sent_again_under_the_same_id(store, receiver, monkeypatch):
    raised(store, receiver.address)

    def killed(*of):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(store.store), "write", killed)
        with pytest.raises(KeyboardInterrupt):
            deliver(store.store, sender(private=True))
    assert [d.state for d in deliver(store.store, sender(private=True))] == ["done"]
    assert len({headers["webhook-id"] for _, headers, _ in receiver.came}) == 1


def test_two_do_not_deliver_at_once_and_what_was_raised_before_the_webhook_is_not_sent(store, receiver):
    raised(store, receiver.address, n=3)
    with store.store.lock(".deliver.lock", 0.0), pytest.raises(Locked):
        deliver(store.store, sender(private=True))
    later = AlertRule(id="desk", on=0.5, off=0.5, webhook=receiver.address + "/new")
    alerts.put(store.store, later, WHEN + timedelta(days=1, hours=1))
    alerts.put(store.store, later, WHEN + timedelta(days=9))
    assert [d.state for d in deliver(store.store, sender(private=True))] == ["done"]
    assert json.loads(receiver.came[0][2])["raised_at"] == (WHEN + timedelta(days=2)).isoformat().replace("+00:00", "Z")


WITHIN = [
    "127.0.0.1", "127.1", "127.0.0.1.", "2130706433", "0x7f000001", "0177.0.0.1", "0", "0.0.0.0", "10.0.0.1", "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1", "169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1", "224.0.0.1",
    "255.255.255.255",
    "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:169.254.169.254]", "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]",
    "[2002:7f00:1::]", "[2002:a9fe:a9fe::]", "[2001:0:7f00:1::]", "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[fe80::1%25eth0]",
    "[ff02::1]",
    "localhost", "LOCALHOST", "localhost.", "a.localhost", "metadata.google.internal", "printer.local", "intranet",
]  # fmt: skip
WRONG = [
    "http://example.org/", "file:///etc/passwd", "ftp://example.org/", "gopher://example.org/", "unix:///run/docker.sock", "//example.org/",
    "https:///path", "https://", "https://user@example.org/", "https://example.org:pass@127.0.0.1/", "https://example.org:0/",
    "https://example.org:99999/", "https://example.org\\@127.0.0.1/", "https://exam\tple.org/", "https://example.org/#@x", "https://ｅxample.org/",
    "https://[::1", "javascript:alert(1)", "https://example.org/ x",
]  # fmt: skip


@pytest.mark.parametrize("url", [*(f"https://{host}/" for host in WITHIN), *WRONG])
def test_api7_nothing_is_sent_to_an_address_within(url):
    with pytest.raises(Unreachable):
        addresses(url, private=False)


def test_api7_a_name_that_resolves_otherwise_a_moment_later_changes_nothing(monkeypatch):
    """DNS rebinding: the address that was checked is the one that is called; and one address within among several is enough to refuse."""

    def resolves(*to):
        return lambda *of, **more: [(2, 1, 6, "", (one, 443)) for one in to]

    monkeypatch.setattr(webhooks, "RESOLVER", resolves("8.8.8.8", "127.0.0.1"))
    with pytest.raises(Unreachable, match=r"example\.org is 127\.0\.0\.1, an address within"):
        addresses("https://example.org/", private=False)
    called = []
    monkeypatch.setattr(webhooks, "RESOLVER", resolves("8.8.8.8"))
    monkeypatch.setattr("httpx.Client.stream", lambda self, method, url, **more: called.append((url, more)) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sender(private=False)("https://example.org/hook", b"{}", {})
    [(url, more)] = called
    assert (url.host, more["headers"]["Host"], more["extensions"]) == ("8.8.8.8", "example.org", {"sni_hostname": "example.org"})


def test_a_rule_with_a_webhook_within_is_refused_and_a_secret_is_shown_once(store):
    with TestClient(create_app(Settings(store=store.store.url, stale_after_days=9999))) as client:
        body = {"on": 0.8, "off": 0.5, "webhook": "https://169.254.169.254.nip.io.localhost/"}
        refused = client.put("/v1/alert-rules/desk", json=body)
        assert (refused.status_code, "a name within" in refused.json()["detail"]) == (422, True)
        rule = client.put("/v1/alert-rules/desk", json=body | {"webhook": "https://example.org/hook"}).json()
        secret = client.post("/v1/alert-rules/desk/secret").json()["secret"]
        assert len(secret) == len("whsec_") + 44
        assert secret not in client.get("/v1/alert-rules").text
        assert client.get("/v1/alert-rules/desk").json() == rule
        assert client.post("/v1/alert-rules/nobody/secret").status_code == 404


def test_a_public_address_may_be_sent_to():
    assert checked("https://example.org:8443/hook?x=1", private=False)
    assert addresses("https://8.8.8.8/", private=False) == ["8.8.8.8"]
    assert addresses("https://[2001:4860:4860::8888]/", private=False) == ["2001:4860:4860::8888"]
