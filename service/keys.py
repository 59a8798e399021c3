"""API keys: shown once, kept as keyed hashes, with scopes, expiry and revocation that need no restart.

A key is ``qq_<id>_<secret>``. The secret has 256 random bits, so there is nothing to guess and no need for a slow hash; kept is BLAKE2b of
it, keyed by 32 random bytes of its own. In the store, ``keys/<id>.json`` each.
"""

import hashlib
import hmac
import json
import re
import secrets
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from data.store import Store

Scope = Literal["read", "what-if", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
LOOK_SECONDS = 2.0
"""How long a revoked key may still be taken."""
_KEY = re.compile(r"qq_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


class NoSuchKey(ValueError):
    """A key that cannot be made or found; says why."""


@dataclass(frozen=True)
class Key:
    """salt, hash : hexadecimal. expires_at, revoked_at : ISO 8601, or None."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    salt: str
    hash: str
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None

    def valid(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < datetime.fromisoformat(self.expires_at))


def _hash(secret: str, salt: str) -> str:
    return hashlib.blake2b(secret.encode(), key=bytes.fromhex(salt)).hexdigest()


_NOBODY = Key("", "", (), "00" * 32, "0" * 128, "")
"""Compared with where there is no such key, so that the time tells nothing."""


class Keys:
    def __init__(self, store: Store) -> None:
        self.store = store
        self._held: dict[str, Key] = {}
        self._looked = -float("inf")

    def add(self, name: str, scopes: tuple[str, ...], days: int | None) -> tuple[str, Key]:
        """(the key, to be shown once; what is kept). Raises NoSuchKey."""
        if wrong := [s for s in scopes if s not in SCOPES]:
            raise NoSuchKey(f"scope {wrong[0]}: known are {', '.join(SCOPES)}")
        now = datetime.now(UTC)
        identity, secret, salt = secrets.token_hex(6), secrets.token_urlsafe(32), secrets.token_hex(32)
        expires = None if days is None else (now + timedelta(days=days)).isoformat(timespec="seconds")
        chosen = tuple(s for s in SCOPES if s in scopes)
        key = Key(identity, name, chosen, salt, _hash(secret, salt), now.isoformat(timespec="seconds"), expires)
        self._write(key)
        return f"qq_{identity}_{secret}", key

    def revoke(self, identity: str) -> Key:
        """Raises NoSuchKey where there is no such key."""
        found = {key.id: key for key in self.all()}
        if identity not in found:
            raise NoSuchKey(f"{identity}: no such key; see quietquota keys list")
        key = replace(found[identity], revoked_at=found[identity].revoked_at or datetime.now(UTC).isoformat(timespec="seconds"))
        self._write(key)
        return key

    def _write(self, key: Key) -> None:
        self.store.write(f"keys/{key.id}.json", json.dumps(asdict(key)).encode())

    def all(self) -> list[Key]:
        told = (json.loads(self.store.read(name)) for name in self.store.names("keys"))
        return sorted((Key(**one | {"scopes": tuple(one["scopes"])}) for one in told), key=lambda key: key.created_at)

    def known(self) -> dict[str, Key]:
        """By id, looked up anew every :data:`LOOK_SECONDS`; while the store does not answer, those that were known."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            try:
                self._held = {key.id: key for key in self.all()}
            except (OSError, ValueError, TypeError):
                if not self._held:
                    raise
            self._looked = time.monotonic()
        return self._held

    def holder(self, presented: str) -> Key | None:
        """Whose key it is, if it is one and holds now."""
        match = _KEY.fullmatch(presented)
        identity, secret = match.groups() if match else ("", "")
        key = self.known().get(identity, _NOBODY)
        same = hmac.compare_digest(_hash(secret, key.salt), key.hash)
        return key if same and key is not _NOBODY and key.valid(datetime.now(UTC)) else None
