"""Fetching, from a real server on loopback that is slow to answer, refuses, or has nothing new."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data.sources import fetch as fetching
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

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.answers = [], []
    server.address = f"http://127.0.0.1:{server.server_port}/file.csv"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def memory(tmp_path):
    return open_store(tmp_path)


@pytest.fixture
def waits():
    fetching._LAST.clear()
    return []


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
    ],
)
def test_an_answer_that_will_not_change_is_final(server, waits, memory, answer, says):
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
