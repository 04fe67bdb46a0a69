"""The dashboards as a person sees them: in chromium, wide and narrow, light and dark, with what a real search left.

Screenshots lie where the environment variable WAVEZOO_SCREENSHOTS points, where it is set.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from commands import end, finish
from made_searches import a_search, trained

import zoo
from dashboards import serving
from dashboards.__main__ import main
from dashboards.blocks import Figure, Page, Text
from dashboards.pages import Listed
from dashboards.reading import Reading
from tests.dashboards_server import served
from zoo.trained.checkpoint import Card, save

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="a browser is needed: install Debian's chromium"),
]

EVIL = "<script>alert(1)</script>"
SPACE = '''"""Two: the smallest networks."""
from search.spaces import Point
GRID = [{"network": "samplecnn_m3_n3_s729"}, {"network": "samplecnn_m4_n3_s256"}]
def sample(trial):
    return Point(trial.suggest_categorical("network", [point["network"] for point in GRID]))
'''
SMALL = ("dataset=demo", "budget=small", "budget.epochs_per_stage=1", "budget.multiply_adds_per_epoch=1e8")
PAGES = {
    "paper": "test ROC-AUC",
    "search": "multiply-adds a segment (millions)",
    "leaderboard": "test ROC-AUC",
    "filters": "frequency (kHz)",
    "listen": "time (s)",
}
MODEL = "models:/demo-two/1"
FILTERS = f"filters?of=models&network={MODEL}&layers=front.activation"
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def home(demo_home: Path, mlflow_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a search of two small networks left, and beside it one with a name that no page may run."""
    home = tmp_path_factory.mktemp("browser") / "home"
    home.mkdir()
    (home / "datasets").symlink_to(demo_home / "datasets")
    shutil.copy(mlflow_db, home / "mlflow.db")
    space = home / "two.py"
    space.write_text(SPACE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAVEZOO_HOME", str(home))
        a_search(home, EVIL, [trained("samplecnn_m3_n4_s729"), trained("samplecnn_m3_n5_s243")])
    finish(home, f"space={space}", *SMALL)
    return home


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a tag that no page may run."""
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    network = zoo.create("samplecnn_m3_n3_s729", n_tags=2).eval()
    save(network, folder, Card.of(network, ["<b>bold</b>", EVIL]))
    return folder


@pytest.fixture(scope="module")
def address(home: Path, checkpoint: Path) -> Iterator[str]:
    """Where `python -m dashboards` serves that home."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dashboards", "port=0", f"model={checkpoint}"],
        env={**os.environ, "WAVEZOO_HOME": str(home), "MLFLOW_TRACKING_URI": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    try:
        assert process.stdout is not None
        (found,) = re.findall(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        yield found
        process.send_signal(signal.SIGINT)  # killed, it would leave the folder of its songs behind
        process.wait(timeout=30)
    finally:
        said = end(process)
    assert (said, process.returncode) == ("", 130)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Looked:
    """A page in the browser, and everything that went wrong on it."""

    page: Any
    wrong: list[str] = field(default_factory=list)

    def goes_to(self, address: str) -> None:
        self.page.goto(address)
        self.page.wait_for_selector("html[data-drawn]", timeout=PATIENCE_MS)

    def is_right(self) -> None:
        """Nothing failed, nothing is wider than the screen, and no error is shown."""
        assert self.wrong == []
        assert self.page.locator(".alarming:visible").all_inner_texts() == []
        width = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], "the page is wider than the screen"

    def titles(self) -> list[list[str]]:
        """Of each figure the titles of its axes that are not empty."""
        found: list[list[str]] = self.page.evaluate(
            """() => [...document.querySelectorAll(".js-plotly-plot")].map((plot) =>
                 Object.entries(plot._fullLayout).filter(([name]) => /^[xy]axis/.test(name))
                   .map(([, axis]) => axis.title.text || "").filter((text) => text.trim()))"""
        )
        return found

    def keep(self, name: str) -> None:
        """A picture of it, where pictures are wanted."""
        if folder := os.environ.get("WAVEZOO_SCREENSHOTS"):
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


@contextmanager
def looking(browser: Any, width: int = 1440, scheme: str = "light", **more: Any) -> Iterator[Looked]:
    height = 1000 if width > 600 else 844
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True, **more
    )
    looked = Looked(context.new_page())
    page, wrong = looked.page, looked.wrong
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(f"a dialog: {dialog.message}"))
    page.on("response", lambda said: wrong.append(f"{said.status} {said.url}") if said.status > 399 else None)
    page.on("requestfailed", lambda asked: wrong.append(f"{asked.url} failed") if not let_go(asked) else None)
    try:
        yield looked
    finally:
        context.close()


def let_go(request: Any) -> bool:
    """A player that jumps lets go of what it was reading of its own copy."""
    return str(request.url).startswith(("blob:", "data:"))


@pytest.fixture(scope="module")
def looked_at(address: str, browser: Any) -> str:
    """The address of page Filters where a layer has been looked at, by its button."""
    with looking(browser) as looked:
        page = looked.page
        page.goto(f"{address}/filters")
        page.wait_for_selector("option:text('registered models')", state="attached", timeout=PATIENCE_MS)
        page.goto(f"{address}/{FILTERS}")
        page.evaluate("window.loaded = 'once'")
        page.click("button[data-post]")
        page.wait_for_selector("figure[data-name=spectra] .main-svg", timeout=PATIENCE_MS)
        assert page.evaluate("window.loaded") == "once", "the page was loaded again"
        looked.is_right()
    return f"{address}/{FILTERS}"


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real clip where there is one, else a tone."""
    if folder := os.environ.get("WAVEZOO_TEST_DATA"):
        (found,) = Path(folder).glob("real-mtat-clip/mp3/*/*.mp3")
        return found
    file = tmp_path_factory.mktemp("song") / "song.wav"
    soundfile.write(file, 0.3 * np.sin(np.arange(29 * 16_000) / 10), 16_000)
    return file


def until(page: Any, true: str) -> None:
    """Wait for something on the page; playwright's own waiting would have the page compile it, which it may not."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(true):
        assert time.monotonic() < deadline, f"it never came: {true}"
        page.wait_for_timeout(20)  # a poll, not a guess


def hears(looked: Looked, address: str, song: Path, model: object = MODEL) -> None:
    page = looked.page
    page.goto(f"{address}/listen")
    page.wait_for_selector(f"option[value='{model}']", state="attached", timeout=PATIENCE_MS)
    page.select_option("select[name=model]", str(model))
    page.set_input_files("input[type=file]", song)
    page.wait_for_selector(".listen[data-shown]", timeout=PATIENCE_MS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_real_results_without_an_error(
    name: str, width: int, scheme: str, address: str, looked_at: str, song: Path, browser: Any
) -> None:
    with looking(browser, width, scheme) as looked:
        if name == "listen":
            hears(looked, address, song)
        else:
            looked.goes_to(looked_at if name == "filters" else f"{address}/{name}")
        titles = looked.titles()
        assert titles
        assert PAGES[name] in {title for of_figure in titles for title in of_figure}
        for of_figure in titles:
            assert len(of_figure) != 1, f"an axis has no title beside {of_figure}"
        back, text = looked.page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        assert (brightness(back) > brightness(text)) == (scheme == "light")
        looked.keep(f"{name}-{width}-{scheme}")
        looked.is_right()


def brightness(colour: str) -> int:
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


def test_figures_take_the_colours_of_the_page_when_those_change(address: str, browser: Any) -> None:
    with looking(browser) as looked:
        looked.goes_to(f"{address}/paper")
        ink = "document.querySelector('.js-plotly-plot')._fullLayout.font.color"
        light = looked.page.evaluate(ink)
        looked.page.emulate_media(color_scheme="dark")
        until(looked.page, f"{ink} !== '{light}'")
        looked.page.emulate_media(media="print")
        until(looked.page, f"{ink} === '{light}'")
        looked.is_right()


def test_a_run_whose_name_is_a_script_is_shown_and_not_run(address: str, browser: Any) -> None:
    from urllib.parse import quote

    with looking(browser) as looked:
        looked.goes_to(f"{address}/search?study={quote(EVIL)}")
        assert looked.page.locator("h2").first.inner_text() == EVIL
        looked.goes_to(f"{address}/search")
        looked.is_right()


def test_a_song_is_heard_and_its_map_follows_the_player(address: str, song: Path, browser: Any) -> None:
    with looking(browser) as looked:
        hears(looked, address, song)
        page = looked.page
        seconds = page.evaluate("document.querySelector('audio').duration")
        assert seconds == pytest.approx(29, abs=0.5)
        assert re.match(
            r"0:29 heard in \d+ segments of \d\.\d\d s with models:/", page.inner_text(".song-state")
        )
        assert page.locator(".top-tags tr").count() == 10
        page.evaluate("document.querySelector('audio').currentTime = 7")
        until(page, "document.querySelector('.tag-map').dataset.seconds === '7.00'")
        assert cursor(page) == 7
        inside = page.locator(".tag-map .nsewdrag").first.bounding_box()
        page.mouse.click(inside["x"] + inside["width"] * 0.75, inside["y"] + inside["height"] * 0.5)
        until(page, "document.querySelector('audio').currentTime > 20")
        until(page, "+document.querySelector('.tag-map').dataset.seconds > 20")
        step = page.evaluate("document.querySelector('.tag-map').data[0].dx")
        assert cursor(page) == pytest.approx(0.75 * seconds, abs=step)
        with page.expect_download() as coming:
            page.click("a.download")
        lines = Path(coming.value.path()).read_text().splitlines()
        assert coming.value.suggested_filename == f"{song.name}.tags.csv"
        assert lines[0].startswith("start_seconds,")
        assert len(lines) == 1 + page.evaluate("document.querySelector('.tag-map').data[0].z[0].length")
        looked.is_right()


def cursor(page: Any) -> float:
    return float(page.evaluate("document.querySelector('.tag-map').layout.shapes[1].x0"))


def test_tags_are_text_whatever_they_say(address: str, checkpoint: Path, song: Path, browser: Any) -> None:
    with looking(browser) as looked:
        hears(looked, address, song, checkpoint)
        names = {"<b>bold</b>", EVIL}
        assert set(looked.page.locator(".tag-map .ytick text").all_text_contents()) == names
        assert set(looked.page.locator(".top-tags td:first-child").all_text_contents()) == names
        looked.is_right()


def test_a_song_that_plays_moves_the_line(address: str, song: Path, browser: Any) -> None:
    with looking(browser) as looked:
        hears(looked, address, song)
        looked.page.evaluate("document.querySelector('audio').muted = true")
        looked.page.evaluate("document.querySelector('audio').play()")
        until(looked.page, "document.querySelector('audio').currentTime > 0.5")
        looked.page.evaluate("document.querySelector('audio').pause()")
        at = "document.querySelector('audio').currentTime"
        until(looked.page, f"Math.abs(document.querySelector('.tag-map').layout.shapes[1].x0 - {at}) < 0.1")


def test_what_is_no_song_or_too_large_is_answered_in_words(
    address: str, browser: Any, tmp_path: Path
) -> None:
    broken = tmp_path / "broken <b>.mp3"
    broken.write_bytes(b"this is no music" * 100)
    with looking(browser) as looked:
        page = looked.page
        page.goto(f"{address}/listen")
        page.wait_for_selector("input[type=file]:enabled", timeout=PATIENCE_MS)
        page.set_input_files("input[type=file]", broken)
        page.wait_for_selector(".song-error:visible", timeout=PATIENCE_MS)
        assert page.inner_text(".song-error").startswith("broken <b>.mp3 is undecodable: ")
        page.evaluate("document.querySelector('.listen').dataset.mostBytes = 1048576")
        large = tmp_path / "large.wav"
        large.write_bytes(bytes(1_048_577))
        page.set_input_files("input[type=file]", large)
        until(page, "document.querySelector('.song-error').textContent.startsWith('large')")
        assert page.inner_text(".song-error") == "large.wav has 2 MiB; at most 1 MiB are taken"
        assert looked.wrong == []


def test_a_filter_is_listened_to(looked_at: str, browser: Any) -> None:
    with looking(browser) as looked:
        looked.goes_to(looked_at)
        looked.page.locator("audio").first.evaluate("(audio) => audio.load()")
        until(looked.page, "document.querySelector('audio').duration === 1")
        assert looked.page.locator("audio").count() == 8
        looked.is_right()


def test_a_live_page_changes_what_has_changed_and_keeps_its_zoom(browser: Any) -> None:
    shown = {"text": "first", "y": [1, 2, 3]}

    def live(reading: object, choices: Mapping[str, str]) -> Page:
        figure = Figure("curve", [{"y": list(shown["y"])}], {}, "a curve (units)")
        return Page("live", "Live", [Text(str(shown["text"])), figure], live=True)

    app = serving.app(serving.Pages([Listed("live", "Live", live)], Reading()))
    with served(app) as server, looking(browser) as looked:
        page = looked.page
        looked.goes_to(f"{server.address}/live")
        page.evaluate(
            "window.loaded = 'once'; Plotly.relayout(document.querySelector('.plot'), {'xaxis.range': [0, 1]})"
        )
        shown.update(text="second", y=[1, 2, 3, 4])
        page.wait_for_selector("p:text('second')")
        until(page, "document.querySelector('.plot').data[0].y.length === 4")
        assert page.evaluate("document.querySelector('.plot').layout.xaxis.range") == [0, 1]
        assert page.evaluate("window.loaded") == "once", "the page was loaded again"
        looked.is_right()


def test_an_export_opens_from_disk_without_a_network(
    home: Path, looked_at: str, browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(home))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert main(["export", f"out={tmp_path}"]) == 0
    with looking(browser, offline=True) as looked:
        asked: list[str] = []
        looked.page.on("request", lambda request: asked.append(request.url))
        for name in ("index", "search", "leaderboard", "filters"):
            looked.goes_to(f"file://{tmp_path}/{name}.html")
            assert looked.titles()
            looked.is_right()
        looked.page.click("nav a:text('Listen')")
        looked.page.wait_for_selector("code:text('python -m dashboards')")
        assert {url.partition(":")[0] for url in asked} <= {"file", "data", "blob"}


def test_a_menu_leads_to_another_page(address: str, browser: Any) -> None:
    with looking(browser) as looked:
        looked.goes_to(f"{address}/search")
        menu = looked.page.locator("select", has=looked.page.locator("option", has_text="alert(1)")).first
        menu.select_option(label=menu.locator("option", has_text="alert(1)").first.inner_text())
        looked.page.wait_for_url(re.compile("study="))
        looked.page.wait_for_selector("html[data-drawn]", timeout=PATIENCE_MS)
        assert looked.page.locator("h2").first.inner_text() == EVIL
