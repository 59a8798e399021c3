"""Fetching, from a real server on loopback that is slow to answer, refuses, or has nothing new."""

import json
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl, urlsplit

import pytest
import urllib3
from support import listening

from data.observations import InputError
from data.sources import fetch as fetching
from data.sources import source_for
from data.sources.fetch import FetchError, fetch, filled, remember
from data.store import open_store


@pytest.fixture
def server():
    """Answers as ``answers`` says, one after the other, the last for ever; what was asked is in ``asked``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append((self.path, dict(self.headers)))
            code, headers, body = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
            if code is None:
                self.connection.close()
                return
            self.send_response(code)
            for name, value in ({"Content-Length": str(len(body)), "Content-Type": "text/csv"} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *of):
            pass

    with listening(Handler, "/file.csv") as server:
        server.asked, server.answers = [], []
        yield server


@pytest.fixture
def memory(tmp_path):
    return open_store(tmp_path)


@pytest.fixture
def waits():
    fetching._LAST.clear()
    return []


def test_what_is_no_address_is_not_asked_for(waits, memory):
    with pytest.raises(FetchError, match=r"figures\.csv: no address; one begins with https://"):
        fetch("figures.csv", memory, sleep=waits.append)
    assert not waits


def test_what_passes_is_waited_for_as_long_as_the_server_asks(server, waits, memory):
    server.answers = [(503, {}, b""), (429, {"Retry-After": "7"}, b""), (None, {}, b""), (200, {"ETag": '"1"'}, b"a,b\n")]
    fetched = fetch(server.address, memory, sleep=waits.append)
    assert (fetched.content, fetched.etag) == (b"a,b\n", '"1"')
    assert waits[1:] == [1, 7, 4]


def test_a_server_that_never_answers_well_is_given_up_with_its_last_answer(server, waits, memory):
    server.answers = [(503, {}, b"")]
    with pytest.raises(FetchError, match="503 Service Unavailable, 5 times; try later"):
        fetch(server.address, memory, sleep=waits.append)
    assert len(server.asked) == 5
    assert not memory.names("")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((404, {}, b""), "404 Not Found; is the address"),
        ((401, {}, b""), "or the key"),
        ((200, {"Content-Type": "text/html"}, b"<p>"), "web page"),
        ((200, {"Content-Encoding": "gzip"}, b"a,b"), "not in the encoding that the server says"),
    ],
)
def test_api10_what_is_no_file_of_figures_is_refused_at_once(server, waits, memory, answer, says):
    server.answers = [answer]
    with pytest.raises(FetchError, match=says):
        fetch(server.address, memory, sleep=waits.append)
    assert len(server.asked) == 1


def test_what_was_ingested_is_not_sent_again_and_what_was_not_is(server, waits, memory):
    server.answers = [(200, {"ETag": '"1"'}, b"a"), (200, {"ETag": '"1"'}, b"a"), (304, {}, b""), (200, {}, b"a"), (200, {}, b"b")]
    fetch(server.address, memory, sleep=waits.append)
    remember(fetch(server.address, memory, sleep=waits.append), memory)
    assert "If-None-Match" not in server.asked[1][1], "nobody said that the first was safe"
    assert fetch(server.address, memory, sleep=waits.append).content is None
    assert server.asked[2][1]["If-None-Match"] == '"1"'
    assert fetch(server.address, memory, sleep=waits.append).content is None, "sent again, and the same"
    assert fetch(server.address, memory, sleep=waits.append).content == b"b"
    assert all(wait > 0.5 for wait in waits[1:]), "one host is not asked twice in a second"


def test_a_key_comes_from_the_environment_and_is_kept_nowhere(server, waits, memory, monkeypatch):
    monkeypatch.setenv("COMTRADE_KEY", "s3cret")
    server.answers = [(200, {}, b"a")]
    address = server.address + "?key={COMTRADE_KEY}"
    fetched = fetch(address, memory, sleep=waits.append)
    remember(fetched, memory)
    assert server.asked[0][0] == "/file.csv?key=s3cret"
    assert "s3cret" not in repr(fetched) + memory.text(*memory.names(""))
    server.answers = [(403, {}, b"")]
    with pytest.raises(FetchError) as error:
        fetch(address, memory, sleep=waits.append)
    assert "s3cret" not in str(error.value)
    monkeypatch.delenv("COMTRADE_KEY")
    with pytest.raises(FetchError, match="no COMTRADE_KEY"):
        filled(address)


@pytest.fixture
def comtrade(server, monkeypatch):
    """The server, where the client of UN Comtrade believes the API to be."""
    asking = urllib3.PoolManager.request

    def here(self, method, url, **more):
        return asking(self, method, url.replace("https://comtradeapi.un.org", f"http://127.0.0.1:{server.server_port}"), **more)

    monkeypatch.setattr(urllib3.PoolManager, "request", here)
    monkeypatch.setenv("COMTRADE_KEY", "s3cret")
    return server


def told(*periods, **other):
    record = {
        "typeCode": "C", "freqCode": "M", "reporterCode": 156, "flowCode": "X", "partnerCode": 392, "partner2Code": 0, "cmdCode": "850511",
        "customsCode": "C00", "motCode": 0, "netWgt": 1234.5, "isNetWgtEstimated": False, "primaryValue": 99.0, "isReported": True,
    }  # fmt: skip
    return 200, {"Content-Type": "application/json"}, json.dumps({"data": [record | {"period": p} | other for p in periods]}).encode()


QUESTION = "comtrade:reporter=CHN&partner=JPN,USA&codes=850511,280530&from=2023-07&to=2024-08"


def test_a_question_to_comtrade_is_put_a_year_at_a_time_in_its_own_clients_words(comtrade, waits, memory):
    comtrade.answers = [told("202307"), told("202407", "202408", netWgt=None, isNetWgtEstimated=True)]
    fetched = fetch(QUESTION, memory, sleep=waits.append)
    paths, asked = zip(*((urlsplit(path).path, dict(parse_qsl(urlsplit(path).query))) for path, _ in comtrade.asked), strict=True)
    assert set(paths) == {"/data/v1/get/C/M/HS"}
    assert [a["period"] for a in asked] == [",".join(f"{m}" for m in [*range(202307, 202313), *range(202401, 202407)]), "202407,202408"]
    assert {a["subscription-key"] for a in asked} == {"s3cret"}
    assert (asked[0]["reportercode"], asked[0]["partnerCode"], asked[0]["cmdCode"]) == ("156", "392,842", "850511,280530")
    assert [asked[0][whole] for whole in ("partner2Code", "customsCode", "motCode")] == ["0", "C00", "0"]
    parsed = source_for(fetched.content, QUESTION).parse(fetched.content, QUESTION)
    assert parsed.accepted[["period", "net_weight_kg"]].to_numpy().tolist()[0] == ["2023-07", 1234.5]
    remember(fetched, memory)
    comtrade.answers = [told("202307"), told("202407", "202408", netWgt=None, isNetWgtEstimated=True)]
    assert fetch(QUESTION, memory, sleep=waits.append).content is None, "asked again, and nothing is new"
    assert "s3cret" not in repr(fetched) + memory.text(*memory.names(""))


def test_what_comtrade_refuses_is_said_and_what_passes_is_waited_for(comtrade, waits, memory):
    def refusal(code, why):
        return code, {"Content-Type": "application/json"}, json.dumps({"statusCode": code, "message": why}).encode()

    comtrade.answers = [refusal(429, "Rate limit is exceeded."), (503, {}, b""), told("202307"), told("202407")]
    assert fetch(QUESTION, memory, sleep=waits.append).content
    assert [wait for wait in waits if wait > 1] == [2]
    comtrade.asked.clear()
    comtrade.answers = [refusal(401, "Access denied due to invalid subscription key s3cret.")]
    with pytest.raises(FetchError, match=r"the API answers 401 Access denied due to invalid subscription key \*\*\*") as error:
        fetch(QUESTION, memory, sleep=waits.append)
    assert "s3cret" not in str(error.value)
    assert len(comtrade.asked) == 1


def test_an_answer_of_comtrade_that_may_be_cut_off_is_refused(comtrade, waits, memory, monkeypatch):
    monkeypatch.delenv("COMTRADE_KEY")
    comtrade.answers = [told(*["202307"] * 500)]
    with pytest.raises(FetchError, match="500 records are all that one request gives, so some may be missing; set COMTRADE_KEY"):
        fetch(QUESTION, memory, sleep=waits.append)
    assert comtrade.asked[0][0].startswith("/public/v1/preview/C/M/HS?")


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("comtrade:reporter=CHN&from=2024-01", "codes: an address has reporter, codes, from"),
        ("comtrade:reporter=CHN&codes=1&from=2024-01&since=2", "since: an address has"),
        ("comtrade:reporter=China&codes=1&from=2024-01", "'China' is no ISO 3166 alpha-3 country"),
        ("comtrade:reporter=CHN&codes=1&from=early", "from and to are months such as 2024-01"),
        ("comtrade:reporter=CHN&codes=1&from=2024-02&to=2024-01", "no month lies between"),
        ("comtrade:reporter=CHN&codes=1&from=2024-02&flow=B", "flow 'B' is neither"),
    ],
)
def test_a_question_that_comtrade_would_not_understand_is_not_put(waits, memory, question, says):
    with pytest.raises(InputError, match=says):
        fetch(question, memory, sleep=waits.append)
