"""The page in a real headless browser: quiet, complete, usable, and alone."""

import shutil

import pytest
from PIL import Image

import asgrad_jax as ag
from asgrad_jax.report import page
from asgrad_jax.report.index import write_index

pytest.importorskip("jinja2", reason="the extra `report` is not installed")
pytest.importorskip("plotly", reason="the extra `report` is not installed")
sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed"
)
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((path for b in _BROWSERS if (path := shutil.which(b))), None)
if BROWSER is None:
    pytest.skip("no Chromium or Chrome on PATH", allow_module_level=True)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A page on a small sweep, without a setting: what any run's folder has."""
    result = ag.sweep(
        ag.quadratic(3, 2, noise=0.3),
        algorithms={"<b>pure</b> & co": "pure_async", "minibatch": "minibatch"},
        compute_times={
            "fixed": ag.compute_times.fixed([1, 2, 3]),
            "random": ag.compute_times.exponential([1, 2, 3]),
        },
        step_sizes=[0.01, 0.1],
        seeds=range(3),
        num_gradients=60,
    )
    return page.write_page(result, tmp_path_factory.mktemp("page"), None)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, path):
    """The page, and all that it said on the console or asked of anybody."""
    said: list[str] = []
    tab = browser.new_page(viewport={"width": 1200, "height": 800})
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: said.append(request.url))
    tab.goto(path.as_uri())
    tab.wait_for_selector("#curves .main-svg")
    yield tab, said
    tab.close()


def outside(said, path):
    return [
        s for s in said if s != path.as_uri() and not s.startswith(("data:", "blob:"))
    ]


def curves(tab):
    """Names and last values of the curves that are shown with a name."""
    return tab.evaluate(
        "() => curves.data.filter(t => t.showlegend !== false)"
        ".map(t => [t.name, t.y.length, t.y[t.y.length - 1]])"
    )


def test_quiet_and_alone(opened, path):
    tab, said = opened
    for select in tab.query_selector_all("#controls select"):
        for value in select.evaluate("s => [...s.options].map(o => o.value)"):
            select.select_option(value)
    assert outside(said, path) == []


def test_figures_are_visible(opened):
    tab, _ = opened
    boxes = [image.bounding_box() for image in tab.query_selector_all("figure img")]
    assert len(boxes) == 2 and all(b["width"] > 300 < b["height"] + 100 for b in boxes)
    loaded = "() => [...document.images].every(i => i.complete && i.naturalWidth > 0)"
    assert tab.evaluate(loaded)


def test_controls_change_the_curves(opened):
    tab, _ = opened
    first = curves(tab)
    assert len(first) == 2 and "&lt;b&gt;pure" in first[0][0]
    tab.select_option("#choose-lane", "0")
    assert curves(tab) != first
    tab.select_option("#choose-times", "1")
    tab.select_option("#choose-seed", "each")
    assert tab.evaluate("() => curves.data.length") == 6
    tab.select_option("#choose-along", "time")
    tab.select_option("#choose-y", "linear")
    layout = "() => [curves.layout.xaxis.title.text, curves.layout.yaxis.type]"
    assert tab.evaluate(layout) == ["virtual time", "linear"]
    tab.select_option("#choose-metric", "loss")
    assert tab.evaluate("() => curves.layout.yaxis.title.text") == "loss"


def test_the_table_is_sorted_by_its_headings(opened):
    tab, _ = opened
    column = "() => [...document.querySelectorAll('table.sortable tbody tr')]"
    column += ".map(r => Number(r.cells[3].dataset.key))"
    heading = tab.query_selector_all("table.sortable th button")[3]
    heading.click()
    up = tab.evaluate(column)
    assert up == sorted(up) and len(up) == 4
    heading.click()
    assert tab.evaluate(column) == up[::-1]


def test_phone_and_paper(opened, tmp_path):
    tab, _ = opened
    tab.set_viewport_size({"width": 360, "height": 740})
    tab.wait_for_timeout(200)
    width = "() => document.documentElement.scrollWidth"
    assert tab.evaluate(width) <= 360  # wide things scroll in themselves
    tab.emulate_media(media="print")
    hidden = tab.query_selector("section.screen").is_hidden()
    assert hidden and tab.query_selector("#settings").is_visible()
    assert len(tab.pdf(path=tmp_path / "page.pdf")) > 10_000


def test_the_index_leads_to_its_pages(browser, path):
    """Thumbnails are seen, nothing is asked of anybody, and a card is a link."""
    folder = path.parent
    Image.new("RGB", (900, 400), "white").save(folder / "convergence.png")
    entries = [(folder.name, "A <b>title</b>", [])]
    index = write_index(folder.parent, entries, {"other": "no data in /" + 60 * "long"})
    said: list[str] = []
    tab = browser.new_page()
    tab.on("console", lambda message: said.append(message.text))
    tab.on("request", lambda request: said.append(request.url))
    tab.goto(index.as_uri())
    loaded = "() => [...document.images].every(i => i.complete && i.naturalWidth > 0)"
    assert tab.evaluate(loaded) and len(tab.query_selector_all("img")) == 1
    assert outside(said, index) == []
    tab.set_viewport_size({"width": 360, "height": 740})
    assert tab.evaluate("() => document.documentElement.scrollWidth") <= 360
    tab.click("text=A <b>title</b>")
    tab.wait_for_selector("#curves .main-svg")
    assert tab.url == path.as_uri()
    tab.close()
