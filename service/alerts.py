"""Alerts: rules with hysteresis, weighed once after each publication; what they raise is on record for those who poll.

In the store: ``alert-rules/<id>.json``; ``alerts/<instant>-<id>.json``, what was raised; ``alert-state.json``, what is on. An alert's id
is of its rule, unit and snapshot: weighed again after a crash, the same one is raised again under the same name.
"""

import hashlib
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import ValidationError

from data.store import Store
from service.schemas import Alert, AlertRule
from service.snapshots import Published

RULES, RAISED, STATE = "alert-rules", "alerts", "alert-state.json"
STANDING = AlertRule(id="standing", on=0.5, off=0.3, publications=1)
"""The rule that holds where none of this id is stored."""


def rules(store: Store) -> dict[str, AlertRule]:
    """By id; one that cannot be read is left out, since the others must still be heard."""
    found = {STANDING.id: STANDING}
    for name in store.names(RULES):
        try:
            rule = AlertRule.model_validate_json(store.read(name))
        except (ValidationError, FileNotFoundError):
            continue
        found[rule.id] = rule
    return found


def put(store: Store, rule: AlertRule, now: datetime | None = None) -> AlertRule:
    """The rule as it is stored. A webhook that was there before was there since then."""
    before = rules(store).get(rule.id)
    since = before.webhook_since if before is not None and before.webhook == rule.webhook else now or datetime.now(UTC)
    rule = rule.model_copy(update={"webhook_since": since if rule.webhook else None})
    store.write(f"{RULES}/{rule.id}.json", rule.model_dump_json().encode())
    return rule


def remove(store: Store, identity: str) -> bool:
    """Whether there was one."""
    name = f"{RULES}/{identity}.json"
    if not store.exists(name):
        return False
    store.delete(name)
    return True


def _state(store: Store) -> dict[str, Any]:
    try:
        return dict(orjson.loads(store.read(STATE)))
    except (FileNotFoundError, ValueError):
        return {"snapshot": None, "units": {}}


def weighed(store: Store) -> str | None:
    """The publication that was weighed last."""
    return _state(store)["snapshot"]


def weigh(store: Store, published: Published, now: datetime | None = None) -> list[Alert]:
    """What a publication raises and clears. Weighed twice, it raises nothing new."""
    moment = now or datetime.now(UTC)
    state = _state(store)
    if state["snapshot"] == published.id:
        return []
    raised, units = [], {}
    for rule in rules(store).values():
        for row in published.answers:
            if not rule.concerns(row):
                continue
            key = f"{rule.id} {row['unit']}"
            was = state["units"].get(key, {"on": False, "above": 0})
            current = row["current"]
            if current is None:
                units[key] = was  # an abstention neither raises nor clears
                continue
            p = current["probability"]
            above = was["above"] + 1 if p >= rule.on else 0
            turned_on, turned_off = not was["on"] and above >= rule.publications, was["on"] and p < rule.off
            units[key] = {"on": (was["on"] or turned_on) and not turned_off, "above": above}
            if turned_on or turned_off:
                raised.append(_alert(rule, row, published, "raised" if turned_on else "cleared", moment))
    for alert in raised:
        store.write(f"{RAISED}/{moment.strftime('%Y%m%dT%H%M%S.%fZ')}-{alert.id}.json", alert.model_dump_json().encode())
    store.write(STATE, orjson.dumps({"snapshot": published.id, "units": units}))
    return raised


def _alert(rule: AlertRule, row: dict[str, Any], published: Published, event: str, moment: datetime) -> Alert:
    identity = hashlib.sha256(f"{rule.id}|{row['unit']}|{published.id}|{event}".encode()).hexdigest()[:16]
    current = row["current"]
    return Alert.model_validate(
        {
            "id": identity, "rule": rule.id, "unit": row["unit"], "event": event, "raised_at": moment, "snapshot": published.id,
            "period": current["period"], "probability": current["probability"], "threshold": rule.on if event == "raised" else rule.off,
            "evidence": row.get("evidence"), "sentence": row["sentence"],
        }
    )  # fmt: skip


def names(store: Store, since: datetime | None = None) -> list[str]:
    """Of what was raised, latest first; an alert that was raised twice after a crash has its first name only."""
    found: dict[str, str] = {}
    for name in store.names(RAISED):
        found.setdefault(name.rpartition("-")[2], name)
    first = "" if since is None else f"{RAISED}/{since.astimezone(UTC).strftime('%Y%m%dT%H%M%S.%fZ')}"
    return sorted((name for name in found.values() if name >= first), reverse=True)
