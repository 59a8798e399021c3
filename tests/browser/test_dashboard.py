"""The pages as a person meets them, in a real browser, over a real server."""

import httpx
import pytest
from support import serving

from service.keys import Keys
from service.snapshots import SnapshotStore

pytestmark = pytest.mark.browser
UNIT = "CHN.JPN.magnets"
PAGES = ("/", f"/units/{UNIT}", "/units/CHN.KOR.magnets", "/alerts", "/freshness", "/health", "/sign-in", "/v1/snapshots/current/report")
PHONE = {"viewport": {"width": 360, "height": 740}}


def settled(page, where):
    page.goto(where, wait_until="networkidle")
    return page


@pytest.mark.parametrize("page", [{}, {"color_scheme": "dark"}, PHONE], ids=["light", "dark", "phone"], indirect=True)
@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_without_a_complaint_fits_its_window_and_axe_finds_nothing(page, address, path, accessible):
    settled(page, address + path)
    assert page.wrong == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    accessible(page)


def test_the_interface_is_described_without_asking_another_host(page, address):
    asked = []
    page.on("request", lambda r: asked.append(r.url))
    settled(page, f"{address}/docs")
    page.get_by_text("/v1/regimes/{unit}/what-if").first.wait_for()
    assert page.wrong == []
    assert asked and all(url.startswith((address, "data:")) for url in asked), asked


def test_dark_and_light_are_two_looks(chromium, address):
    def paper(scheme):
        page = chromium.new_context(color_scheme=scheme).new_page()
        page.goto(address)
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert paper("light") == "rgb(255, 255, 255)" != paper("dark")


def test_the_slider_shows_what_the_service_says_as_of_each_publication(page, address, store):
    settled(page, f"{address}/units/{UNIT}")
    slider, shown = page.locator("#asof"), []
    slider.focus()
    for n, (at, name) in reversed(list(enumerate(store.switches()))):
        page.wait_for_selector(f'#answer[data-snapshot="{name}"]')
        told = httpx.get(f"{address}/v1/regimes/{UNIT}", params={"as_of": at.isoformat()}).json()["regime"]
        probability = float(page.locator("#probability").get_attribute("data-value"))
        assert probability == told["current"]["probability"]
        assert page.locator("#probability").inner_text() == f"{probability:.2f}"
        causes = {c: page.locator(f'[data-cause="{c}"]').inner_text() for c in told["current"]["causes"]}
        assert causes == {c: f"{p:.2f}" for c, p in told["current"]["causes"].items()}
        assert page.locator("#volume canvas").count() == 1
        shown.append(probability)
        if n:
            slider.press("ArrowLeft")
    assert shown == sorted(shown, reverse=True) and len(set(shown)) == 3
    assert "as_of=" in page.url and page.wrong == []
    page.reload()  # the address is of what is shown
    assert float(page.locator("#probability").get_attribute("data-value")) == shown[-1]


def test_smoothed_and_filtered_take_turns(page, address):
    settled(page, f"{address}/units/{UNIT}")
    page.get_by_text("The numbers of the last 24 months").click()
    assert page.locator("table:visible caption").first.inner_text().startswith("p(restricted), filtered")
    page.get_by_label("smoothed: all figures").check()
    assert page.locator("table:visible caption").first.inner_text().startswith("p(restricted), smoothed")
    assert "p(restricted), smoothed" in page.locator("#regime .u-legend").inner_text()


def test_the_cursor_reads_the_values_and_arrow_keys_move_it(page, address):
    settled(page, f"{address}/units/{UNIT}")
    history = httpx.get(f"{address}/v1/regimes/{UNIT}/history", params={"kind": "filtered"}).json()["months"]
    page.locator("#regime").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    told = page.locator("#regime .u-legend").inner_text()
    month = next(m for m in history if m["period"] in told)
    assert f"{month['probability']:.2f}" in told
    assert month["period"] in page.locator("#volume .u-legend").inner_text(), "the charts move together"


def test_a_what_if_is_answered_as_the_service_answers_it(page, address):
    settled(page, f"{address}/units/{UNIT}")
    page.locator("#tonnes").fill("10")
    page.get_by_role("button", name="Ask").click()
    page.wait_for_selector("#thought table", timeout=200_000)
    asked = {"releases": [{"period": "2026-10", "reporter": "CHN", "net_weight_kg": 10_000.0, "hs_code": "850511"}]}
    month = httpx.post(f"{address}/v1/regimes/{UNIT}/what-if", json=asked, timeout=60).json()["months"][0]
    cells = page.locator("#thought tbody tr").first.locator("td").all_inner_texts()
    assert cells[:3] == [month["period"], f"{month['before']['probability']:.2f}", f"{month['after']['probability']:.2f}"]
    page.locator("#month").fill("2031-01")
    page.get_by_role("button", name="Ask").click()
    page.locator("#thought", has_text="No answer: period '2031-01'").wait_for()


def test_the_heat_map_sorts_and_finds(page, address):
    settled(page, address)
    importers = page.locator("#heat tbody th")
    assert importers.all_inner_texts() == ["JPN", "USA", "KOR"], "highest first"
    page.get_by_role("button", name="importer").click()
    assert importers.all_inner_texts() == ["USA", "KOR", "JPN"]
    page.get_by_role("button", name="metals").first.click()
    assert importers.all_inner_texts()[0] == "JPN"
    assert page.locator("#heat th[aria-sort=descending]").inner_text().startswith("metals")
    page.get_by_label("Find an importer or goods").fill("jpn metals")
    assert page.locator("#units tbody tr:visible").count() == 1
    assert page.get_by_role("status").filter(has_text="1 importers, 1 units").count() == 1


def test_everything_is_reached_with_the_keyboard_alone(page, address):
    settled(page, address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the answers"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("(document.activeElement.innerText || document.activeElement.id).trim().split('\\n')[0]"))
    assert {"find", "importer", "magnets", UNIT} <= reached
    page.locator("#heat button").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#heat th[aria-sort=descending]").inner_text().startswith("importer")
    page.locator("#units a", has_text=UNIT).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/units/{UNIT}")


def test_what_was_not_refreshed_says_so_and_an_abstention_says_why(page, address):
    settled(page, address)
    assert "This may not be the latest" in page.locator("[role=status].notice").inner_text()
    settled(page, f"{address}/units/CHN.KOR.magnets")
    assert "No answer. no figure known" in page.locator("#answer").inner_text()
    assert page.goto(f"{address}/units/CHN.XXX.tea").status == 404
    assert "is not watched" in page.locator("main").inner_text()
    assert page.goto(f"{address}/units/{UNIT}?as_of=2020-01-01").status == 404
    assert "nothing had been published" in page.locator("main").inner_text()


def test_a_store_with_nothing_in_it_says_what_to_do(page, tmp_path, accessible):
    with serving(tmp_path / "var") as port:
        for path in ("/", "/freshness", "/health"):
            assert page.goto(f"http://127.0.0.1:{port}{path}").status == 503
            assert "Nothing to show yet" in page.locator("h1").inner_text()
        accessible(page)
        assert page.goto(f"http://127.0.0.1:{port}/alerts").status == 200


def test_a_person_signs_in_with_a_key_and_out_again(page, store, accessible):
    text, key = Keys(SnapshotStore(store.store.url).store).add("desk", ("read", "what-if"), None)
    with serving(store.store.url) as port:
        where = f"http://127.0.0.1:{port}"
        page.goto(f"{where}/units/{UNIT}")
        assert page.url == f"{where}/sign-in?next=/units/{UNIT}"
        page.get_by_label("API key").fill("qq_wrong")
        page.get_by_role("button", name="Sign in").click()
        assert "no key that holds" in page.get_by_role("alert").inner_text()
        page.get_by_label("API key").fill(text)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{where}/units/{UNIT}")
        assert page.evaluate("document.cookie") == "", "no script reads the key"
        accessible(page)
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{where}/sign-in")
        page.goto(where)
        assert "/sign-in" in page.url
    Keys(SnapshotStore(store.store.url).store).revoke(key.id)


def test_the_report_opens_from_a_file_without_a_network(page, report, accessible):
    asked = []
    page.on("request", lambda r: asked.append(r.url))
    page.context.set_offline(True)
    settled(page, f"file://{report}")
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == [] == page.wrong
    assert page.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth > 0 && i.alt)")
    order = page.locator("h2").all_inner_texts()
    assert order[:2] == ["What changed", "Answers"] and order[2] == UNIT
    assert order[-5:] == [
        "Does the fit hold?",
        "Do probabilities mean what they say?",
        "How late, and how sure, the figures are",
        "What this cannot tell you",
        "Where it comes from",
    ]
    assert report.stat().st_size < 15e6
    accessible(page)


def test_the_report_prints_as_a_pdf_with_a_unit_a_page(page, report):
    page.goto(f"file://{report}")
    pdf = page.pdf(prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") >= 4
