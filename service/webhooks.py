"""Webhooks: alerts brought to those who would rather not poll. At least once, signed, and never to an address within.

A delivery is the alert as JSON, with the three headers of Standard Webhooks 1.0.0 (github.com/standard-webhooks/standard-webhooks):
``webhook-id``, the alert's id, the same in every try; ``webhook-timestamp``; ``webhook-signature``, ``v1,`` and the base64 of HMAC-SHA256
over "id.timestamp.body" under each secret of the rule that holds. Any 2xx answer is taken for receipt; a redirect is none.

In the store: ``webhooks/<rule>.json``, a rule's secrets; ``deliveries/pending|done|dead/<alert>.json``, how a delivery fares. What is to be
delivered is worked out from the alerts on record, so nothing is lost between raising and sending.
"""

import base64
import hashlib
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import orjson

from data.store import Store
from service import alerts
from service.schemas import Alert, AlertRule, Delivery, WebhookSecret

SECRETS, DELIVERIES = "webhooks", "deliveries"
WAITS = (*(60 * 2**n for n in range(10)), *(39_540,) * 5)
"""Seconds between tries: 16 of them, doubling from a minute, over 72 hours."""
OVERLAP = timedelta(hours=24)
"""How long an old secret goes on signing beside a new one."""
TIMEOUT, AT_ONCE = 10.0, 8
RESOLVER = socket.getaddrinfo
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_WITHIN = [ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("64:ff9b:1::/48"), ipaddress.ip_network("192.88.99.0/24")]
"""Set apart by IANA, and global to :mod:`ipaddress` in part; one cloud keeps its metadata there."""
_PORTS = {"https": 443, "http": 80}


class Unreachable(ValueError):
    """An address that nothing is sent to; says why."""


def new_secret(store: Store, rule: str, now: datetime | None = None) -> WebhookSecret:
    """Make `rule` a new secret, to be shown once; those before go on signing for :data:`OVERLAP`."""
    moment = now or datetime.now(UTC)
    until = (moment + OVERLAP).isoformat()
    held = [{**one, "until": one["until"] or until} for one in _held(store, rule) if not _over(one, moment)]
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    store.write(f"{SECRETS}/{rule}.json", orjson.dumps([*held, {"secret": secret, "since": moment.isoformat(), "until": None}]))
    return WebhookSecret(secret=f"whsec_{secret}", others_hold_until=moment + OVERLAP if held else None)


def _held(store: Store, rule: str) -> list[dict[str, Any]]:
    try:
        return list(orjson.loads(store.read(f"{SECRETS}/{rule}.json")))
    except FileNotFoundError:
        return []


def _over(secret: dict[str, Any], now: datetime) -> bool:
    return secret["until"] is not None and datetime.fromisoformat(secret["until"]) <= now


def signed(body: bytes, identity: str, now: datetime, keys: list[str]) -> dict[str, str]:
    """The three headers. keys : base64, without ``whsec_``."""
    stamp = str(int(now.timestamp()))
    content = f"{identity}.{stamp}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(base64.b64decode(key), content, hashlib.sha256)).decode() for key in keys)
    return {"webhook-id": identity, "webhook-timestamp": stamp, "webhook-signature": " ".join(f"v1,{one}" for one in signatures)}


def checked(url: str, private: bool) -> str:
    """`url`, if it may be a webhook's as far as can be told without asking anyone. Raises Unreachable."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Unreachable(f"not an address: {error}") from error
    if parts.scheme not in (("https", "http") if private else ("https",)):
        raise Unreachable(f"{parts.scheme or 'no scheme'}: only https is sent to")
    if not host or parts.username or parts.password or parts.fragment or not url.isascii() or any(c <= " " or c == "\\" for c in url):
        raise Unreachable("an address has a host, and no user, fragment, blank or backslash in it")
    if port == 0:
        raise Unreachable("port 0 is no port")
    if not private and (
        host.rstrip(".").endswith(("localhost", ".local", ".internal")) or ("." not in host.rstrip(".") and ":" not in host)
    ):
        raise Unreachable(f"{host} is a name within")
    return url


def addresses(url: str, private: bool) -> list[str]:
    """IP addresses that `url`'s host has now, if all of them may be sent to. Raises Unreachable."""
    parts = urlsplit(checked(url, private))
    try:
        told = RESOLVER(parts.hostname, parts.port or _PORTS[parts.scheme], type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"{parts.hostname}: {error}") from error
    found = list(dict.fromkeys(str(one[4][0]) for one in told))
    if not private and (within := [a for a in found if not _public(ipaddress.ip_address(a.partition("%")[0]))]):
        raise Unreachable(f"{parts.hostname} is {within[0]}, an address within")
    return found


def _public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether it, and what it stands for in IPv4, is an address of the Internet at large."""
    if isinstance(address, ipaddress.IPv6Address):
        stands_for = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        stands_for += [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)] if address in _NAT64 else []
        if any(one is not None and not _public(one) for one in stands_for):
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _WITHIN)


Send = Callable[[str, bytes, dict[str, str]], None]
"""Bring a body to an address. Raises Exception where it was not received."""


def sender(private: bool) -> Send:
    """Over HTTP, to the very address that was checked: a name that resolves otherwise a moment later is of no use."""

    def send(url: str, body: bytes, headers: dict[str, str]) -> None:
        # Most nights have nothing to send.
        import httpx

        parts = urlsplit(url)
        address = addresses(url, private)[0]
        there = httpx.URL(url).copy_with(host=address)
        with httpx.Client(timeout=TIMEOUT, follow_redirects=False, trust_env=False) as client:
            named = {"Host": parts.netloc, "Content-Type": "application/json", "User-Agent": "quietquota-webhook/1"} | headers
            with client.stream("POST", there, content=body, headers=named, extensions={"sni_hostname": parts.hostname}) as answer:
                if not answer.is_success:
                    raise Unreachable(f"the receiver answers {answer.status_code}")

    return send


def deliver(store: Store, send: Send, now: datetime | None = None) -> list[Delivery]:
    """Try what is due, each receiver's one after the other, several receivers at once; how each fares. One at a time: raises Locked."""
    moment = now or datetime.now(UTC)
    with store.lock(".deliver.lock", 0.0):
        queues: dict[str, list[tuple[Delivery, bytes, AlertRule]]] = {}
        for delivery, body, rule in _due(store, moment):
            queues.setdefault(rule.id, []).append((delivery, body, rule))

        def work(queue: list[tuple[Delivery, bytes, AlertRule]]) -> list[Delivery]:
            return [_tried(store, send, delivery, body, rule, moment) for delivery, body, rule in queue]

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return [tried for queue in pool.map(work, queues.values()) for tried in queue]


def _due(store: Store, now: datetime) -> Iterator[tuple[Delivery, bytes, AlertRule]]:
    """Oldest first: what no one has taken, and is not waiting for its next try."""
    rules = {rule.id: rule for rule in alerts.rules(store).values() if rule.webhook}
    over = {_alert(name) for state in ("done", "dead") for name in store.names(f"{DELIVERIES}/{state}")}
    begun = {_alert(name): Delivery.model_validate_json(store.read(name)) for name in store.names(f"{DELIVERIES}/pending")}
    for name in reversed(alerts.names(store)):
        identity = _alert(name)
        if identity in over or (identity in begun and (begun[identity].next_at or now) > now):
            continue
        body = store.read(name)
        alert = Alert.model_validate_json(body)
        rule = rules.get(alert.rule)
        if rule is None or rule.webhook_since is None or alert.raised_at < rule.webhook_since:
            continue
        yield begun.get(identity, Delivery(alert=identity, rule=rule.id, url=rule.webhook, state="pending")), body, rule


def _alert(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".json").rpartition("-")[2]


def _tried(store: Store, send: Send, delivery: Delivery, body: bytes, rule: AlertRule, now: datetime) -> Delivery:
    keys = [one["secret"] for one in _held(store, rule.id) if not _over(one, now)]
    if not keys:
        keys = [new_secret(store, rule.id, now).secret.removeprefix("whsec_")]
    tries, state, next_at, error = delivery.tries + 1, "done", None, None
    try:
        send(str(rule.webhook), body, signed(body, delivery.alert, now, keys))
    except Exception as failure:  # whatever a receiver, a name server or a certificate comes up with
        error = f"{type(failure).__name__}: {failure}"[:300]
        state = "pending" if tries <= len(WAITS) else "dead"
        next_at = now + timedelta(seconds=WAITS[tries - 1]) if state == "pending" else None
    now_is = {"url": rule.webhook, "state": state, "tries": tries, "tried_at": now, "next_at": next_at, "error": error}
    told = delivery.model_copy(update=now_is)
    store.write(f"{DELIVERIES}/{state}/{told.alert}.json", told.model_dump_json().encode())
    if state != "pending" and store.exists(waiting := f"{DELIVERIES}/pending/{told.alert}.json"):
        store.delete(waiting)
    return told


def again(store: Store, alert: str) -> bool:
    """Put what was given up back among what is due; whether it was there."""
    if not store.exists(name := f"{DELIVERIES}/dead/{alert}.json"):
        return False
    store.delete(name)
    return True


def told(store: Store, state: str) -> list[Delivery]:
    """Deliveries of one state, by alert. A delivery that is over is not pending, whatever a crash has left."""
    over = {_alert(n) for s in ("done", "dead") for n in store.names(f"{DELIVERIES}/{s}")} if state == "pending" else set()
    return [Delivery.model_validate_json(store.read(n)) for n in store.names(f"{DELIVERIES}/{state}") if _alert(n) not in over]
