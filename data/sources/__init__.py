"""Sources: one file a publisher, each a pure function from a file's bytes to judged rows.

``parse(raw, name) -> Parsed``: no network, no clock, no state, so every source is tested offline on real
bytes. A source that knows a file when it sees one says so in ``recognises``.
"""

from collections.abc import Callable
from dataclasses import dataclass

from data.observations import InputError, Parsed
from data.sources import canonical, comext, comtrade, comtrade_api, covariates, estat_japan, gacc, published, us_census


@dataclass(frozen=True)
class Source:
    """name : what ``--source`` takes. kind : which log the rows go to, ``observations`` or ``covariates``."""

    name: str
    kind: str
    recognises: Callable[[bytes, str], bool]
    parse: Callable[[bytes, str], Parsed]


SOURCES = {
    source.name: source
    for source in (
        Source("canonical", "observations", canonical.is_observations, canonical.parse_observations_file),
        Source("covariates", "covariates", canonical.is_covariates, canonical.parse_covariates_file),
        Source("published", "observations", published.recognises, published.parse),
        Source("comtrade", "observations", comtrade.recognises, comtrade.parse),
        Source("comtrade_api", "observations", comtrade_api.recognises, comtrade_api.parse),
        Source("gacc", "observations", gacc.recognises, gacc.parse),
        Source("estat_japan", "observations", estat_japan.recognises, estat_japan.parse),
        Source("us_census", "observations", us_census.recognises, us_census.parse),
        Source("comext", "observations", comext.recognises, comext.parse),
        Source("gpr", "covariates", covariates.is_gpr, covariates.parse_gpr),
        Source("epu", "covariates", covariates.is_epu, covariates.parse_epu),
        Source("control_events", "covariates", covariates.is_control_events, covariates.parse_control_events),
    )
}


class Unrecognised(InputError):
    """A file that no source can be told to read from its header."""


def source_for(raw: bytes, name: str, asked: str | None = None) -> Source:
    """The source that reads this file: the one asked for, else the only one that recognises its header."""
    if asked is not None:
        if asked not in SOURCES:
            raise InputError(f"{name}: no source is called {asked!r}; known: {', '.join(SOURCES)}")
        return SOURCES[asked]
    for source in SOURCES.values():
        if source.recognises(raw, name):
            return source
    if raw[:1000].lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise InputError(f"{name}: a web page, and no table; open it in a browser to see what it says")
    if not raw.strip():
        raise InputError(f"{name}: is empty")
    header = raw[:200].partition(b"\n")[0].decode(errors="replace").strip()
    raise Unrecognised(f"{name}: no source recognises its header ({header!r}); name one with --source ({', '.join(SOURCES)})")
