"""The one place where the environment is read: ``QUIETQUOTA_*`` mirrors the command line's flags."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsError(ValueError):
    """A setting that cannot be used, and what to give instead."""


class Settings(BaseSettings):
    """config : quietquota.toml (default: ./quietquota.toml, else the bundled sample's). store : a folder or file:// URL."""

    model_config = SettingsConfigDict(env_prefix="QUIETQUOTA_", extra="ignore")

    config: Path | None = None
    store: str = "./var"
    host: str = "127.0.0.1"
    port: int = 8000

    @property
    def folder(self) -> Path:
        parts = urlsplit(self.store)
        if parts.scheme == "file":
            return Path(url2pathname(parts.path))
        if "://" in self.store:
            raise SettingsError(f"--store {self.store}: this version stores in a folder or file:// URL only")
        return Path(self.store)

    @property
    def log_place(self) -> str:
        """Where the log is, as :class:`data.log.ReleaseLog` takes it."""
        return f"{self.store.rstrip('/')}/log"
