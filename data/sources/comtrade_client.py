"""UN Comtrade's monthly records, asked for through its maintained client, ``comtradeapicall``.

``comtrade:reporter=CHN&partner=JPN,USA&flow=X&codes=280530,850511&from=2024-01&to=2024-12`` stands for an address. flow : ``X``, what the
reporter says it exported, or ``M``, imported. partner : any number; without it all. to : without it, the last whole month. A request may
name twelve months, so a longer time is asked for in pieces.

The key is the environment's COMTRADE_KEY; without one the public preview answers, which gives 500 records and says nothing of others:
an answer as long as the limit is refused as cut off. The client keeps what the server sent to itself and prints what went wrong. So what is
ingested, hashed and kept raw is its records as JSON, and what it prints is what our errors say, without the key.
"""

import contextlib
import io
import json
import os
from typing import Any, NoReturn
from urllib.parse import parse_qs

import comtradeapicall
import pandas as pd
import urllib3

from data.observations import InputError
from data.sources.comtrade_api import m49

SCHEME = "comtrade:"
MONTHS, PREVIEW, FULL = 12, 500, 100_000
"""Months and records a request gives, without a key and with one: the API's documentation."""
_NAMES = {"reporter", "partner", "flow", "codes", "from", "to"}


class Refused(InputError):
    """The API did not give the records. passing : it may do so later."""

    def __init__(self, why: str, passing: bool) -> None:
        super().__init__(why)
        self.passing = passing


def requests_of(address: str, today: pd.Timestamp) -> list[dict[str, str | None]]:
    """The requests that `address` stands for, a year each, in the client's words. Raises InputError."""
    told = {name: values[-1] for name, values in parse_qs(address.removeprefix(SCHEME), keep_blank_values=True).items()}
    if wrong := sorted((set(told) - _NAMES) | ({"reporter", "codes", "from"} - set(told))):
        raise InputError(f"{address}: {', '.join(wrong)}: an address has reporter, codes, from, and may have partner, flow, to")
    if (flow := told.get("flow", "X")) not in ("X", "M"):
        raise InputError(f"{address}: flow {flow!r} is neither X, exports, nor M, imports")
    try:
        months = pd.period_range(told["from"], told.get("to", str(today.tz_localize(None).to_period("M") - 1)), freq="M").strftime("%Y%m")
    except ValueError as error:
        raise InputError(f"{address}: from and to are months such as 2024-01 ({error})") from error
    if not len(months):
        raise InputError(f"{address}: no month lies between from and to")
    asked: dict[str, str | None] = {
        "typeCode": "C", "freqCode": "M", "clCode": "HS", "flowCode": flow, "cmdCode": told["codes"], "reporterCode": m49(told["reporter"]),
        "partnerCode": ",".join(map(m49, told["partner"].split(","))) if told.get("partner") else None,
        "partner2Code": "0", "customsCode": "C00", "motCode": "0",
    }  # fmt: skip
    return [asked | {"period": ",".join(months[at : at + MONTHS])} for at in range(0, len(months), MONTHS)]


def records(request: dict[str, Any]) -> list[dict[str, Any]]:
    """What the API answers to one request. Raises Refused."""
    key = os.environ.get("COMTRADE_KEY")
    limit = FULL if key else PREVIEW
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told):
            if key:
                table = comtradeapicall.getFinalData(key, **request, maxRecords=limit, proxy_url=_proxy())
            else:
                table = comtradeapicall.previewFinalData(**request, maxRecords=limit, proxy_url=_proxy())
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise Refused(f"no answer ({type(error).__name__})", passing=True) from None  # its text may hold the key
    if table is None:
        _refuse(told.getvalue().strip(), key)
    if len(table) >= limit:
        more = "ask for fewer months, partners or codes" if key else "set COMTRADE_KEY, or ask for fewer months, partners or codes"
        raise Refused(f"{len(table)} records are all that one request gives, so some may be missing; {more}", passing=False)
    return json.loads(table.to_json(orient="records", double_precision=15))


def _proxy() -> str | None:
    return os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")


def _refuse(printed: str, key: str | None) -> NoReturn:
    said = printed.replace(key, "***") if key else printed
    try:
        code, why = (json.loads(said).get(name) for name in ("statusCode", "message"))
    except (ValueError, AttributeError):  # a gateway's page, or nothing: the client does not tell the status
        raise Refused(f"the API says {said[:300]!r}", passing=True) from None
    raise Refused(f"the API answers {code} {why}", passing=code == 429 or (isinstance(code, int) and code >= 500))
