"""The one place where the environment is read: ``QUIETQUOTA_*`` mirrors the command line's flags."""

import ipaddress
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsError(ValueError):
    """A setting that cannot be used, and what to give instead."""


class Settings(BaseSettings):
    """config : quietquota.toml (default: ./quietquota.toml, else the bundled sample's). store : as :func:`data.store.open_store` takes
    it. insecure_no_auth : answer without a key, on loopback only. rate : requests a second and client, 0 for no limit.
    stale_after_days : without a refresh, after which answers say so. webhook_private : send alerts to addresses within, and over http, too.
    notify_secret : what the outcome of a refresh is signed with (``whsec_...``).
    """

    model_config = SettingsConfigDict(env_prefix="QUIETQUOTA_", extra="ignore")

    config: Path | None = None
    store: str = "./var"
    host: str = "127.0.0.1"
    port: int = 8000
    insecure_no_auth: bool = False
    rate: float = Field(default=0.0, ge=0)
    stale_after_days: float = Field(default=4.0, gt=0)
    webhook_private: bool = False
    notify_secret: str | None = None

    @property
    def on_loopback(self) -> bool:
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False  # a name: whose address it is, is not known here

    @property
    def log_place(self) -> str:
        """Where the log is, as :class:`data.log.ReleaseLog` takes it."""
        return f"{self.store.rstrip('/')}/log"
