"""What is watched: exporter, importers, families and covariates, as ``quietquota.toml`` says."""

import csv
import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from data.observations import InputError, countries

SAMPLE = Path(__file__).parent / "sample"
CONCORDANCE = Path(__file__).parent / "codes" / "hs_concordance.csv"
SAMPLE_CONFIG = SAMPLE / "quietquota.toml"

HsCode = Annotated[str, Field(pattern=r"^[0-9]{2,10}$")]
Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


@cache
def successors(hs: str) -> tuple[str, ...]:
    """Codes that a later edition of the Harmonized System (to 2022) took out of `hs` and of nothing else: figures of both belong together,
    or the change looks like a stop. From ``codes/hs_concordance.csv``, which has the headings that are watched; rare earths and magnets
    (280530, 284610, 284690, 850511) are the same in all editions, but for waste. National codes that change within a code of six digits are
    added up whatever they are (:mod:`data.panel`).
    """
    with CONCORDANCE.open(newline="") as file:
        pairs = [(r["from_code"], r["to_code"]) for r in csv.DictReader(file) if r["relation"] == "1:n" and r["from_code"] != r["to_code"]]
    direct = [later for earlier, later in pairs if earlier == hs]
    return tuple(dict.fromkeys(code for later in direct for code in (later, *successors(later))))


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Family(_Record):
    """HS codes whose weights add up to one flow."""

    title: str
    hs: tuple[HsCode, ...] = Field(min_length=1)


class Covariates(_Record):
    """transition : series that move the odds of a restriction. standing : those of them that hold until they change and are 0 before
    their first row, as announced controls do; of the others a month without a row is a month not known."""

    transition: tuple[Slug, ...] = ()
    standing: tuple[Slug, ...] = ()

    @model_validator(mode="after")
    def _standing_ones_are_used(self) -> "Covariates":
        if unused := set(self.standing) - set(self.transition):
            raise ValueError(f"standing: {', '.join(sorted(unused))} is not among transition")
        return self


class Watch(_Record):
    """The scope of one installation. Unit ids are ``EXPORTER.IMPORTER.family``. fetch : addresses of publishers' files that a refresh is to
    get first (:mod:`data.sources.fetch`)."""

    exporter: str
    importers: tuple[str, ...] = Field(min_length=1)
    control: str | None = Field(default="TOTAL", pattern=r"^([0-9]{2,10}|TOTAL)$")
    families: dict[Slug, Family] = Field(min_length=1)
    covariates: Covariates = Covariates()
    fetch: tuple[str, ...] = ()

    @field_validator("exporter", "importers")
    @classmethod
    def _known_countries(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for code in [value] if isinstance(value, str) else value:
            if code not in countries():
                raise ValueError(f"{code!r} is not an ISO 3166 alpha-3 code")
        return value

    @model_validator(mode="after")
    def _no_code_is_of_two_families(self) -> "Watch":
        codes = [hs for family in self.families.values() for hs in family.hs]
        if twice := sorted({hs for hs in codes if codes.count(hs) > 1}):
            raise ValueError(f"families: {', '.join(twice)} stands in two places, and would count twice")
        return self

    def units(self) -> list[tuple[str, str, str]]:
        """(unit id, importer, family), families outermost."""
        return [(f"{self.exporter}.{i}.{f}", i, f) for f in self.families for i in self.importers if i != self.exporter]


def read_watch(path: Path) -> Watch:
    try:
        return Watch.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such configuration file") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not TOML ({error})") from error
    except ValidationError as error:
        what = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InputError(f"{path}: {what}") from error
