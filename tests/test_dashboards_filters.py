"""Page Filters: looked at once, kept on disk, shown beside the untrained network, listened to."""

import io
import shutil
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest

import zoo
from dashboards import climbs as climbing
from dashboards import filter_figures, serving
from dashboards.blocks import Choice, Figure, Page, Sound, Table, Text, Widget
from dashboards.climbs import Asked, Climbs, climb_all
from dashboards.filters_page import Filters
from dashboards.models import Models
from dashboards.networks import Looked, Networks
from dashboards.pages import Listed
from dashboards.reading import Reading
from tests.dashboards_server import Server, served
from zoo import ZooError
from zoo.filters import answers
from zoo.trained.checkpoint import Card, save
from zoo.trained.locate import Registered

NETWORK, LAYER = "samplecnn_m3_n3_s729", "front.activation"
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint of other weights than the untrained network has."""
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    network = zoo.create(NETWORK, n_tags=3).eval()
    save(network, folder, Card.of(network, ["a", "b", "c"]))
    return str(folder)


@pytest.fixture(scope="module")
def looked_at(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the first layer of the model has been looked at; to be read only."""
    home = tmp_path_factory.mktemp("looked-at")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAVEZOO_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        look(Filters(Networks(Models(model)), Climbs()), model)
    return home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture
def filters(home: Path, model: str) -> Iterator[Filters]:
    """In a home where nothing has been looked at."""
    filters = Filters(Networks(Models(model)), Climbs())
    filters.networks.models.wait(PATIENCE_SECONDS)
    yield filters
    filters.networks.close()
    filters.climbs.close()


@pytest.fixture
def found(looked_at: Path, filters: Filters, monkeypatch: pytest.MonkeyPatch) -> Filters:
    """In a home where the first layer of the model has been looked at."""
    monkeypatch.setenv("WAVEZOO_HOME", str(looked_at))
    return filters


def choices(model: str, layers: str = LAYER, **more: str) -> dict[str, str]:
    return {"of": "models", "network": model, "layers": layers, **more}


def kinds(page: Page, kind: type) -> list:
    return [block for block in page.blocks if isinstance(block, kind)]


def told(page: Page) -> str:
    return " ".join(block.text for block in kinds(page, Text))


def look(filters: Filters, model: str, layers: str = LAYER) -> Looked:
    looked = filters.networks.take(Reading(), "models", model)
    climb_all(looked, [layers], lambda done, of: None)
    return looked


def test_what_was_not_looked_at_yet_is_begun_by_a_button_and_told_while_it_lasts(
    filters: Filters, model: str
) -> None:
    listed = [Listed("filters", "Filters", filters.page)]
    reading = Reading()
    app = serving.app(serving.Pages(listed, reading), filters.routes(reading))
    filters.networks.take(reading, "models", model)
    with served(app) as server:
        query = f"of=models&network={model}&layers={LAYER}"
        before = server.ask(f"/filters?{query}")
        assert "This has not been looked at yet" in before.text
        assert f'data-post="/filters/jobs?of=models&amp;network={model.replace("/", "%2F")}' in before.text
        assert server.ask(f"/filters/jobs?{query}", "POST").status == 202
        until_shown(server, query)


def until_shown(server: Server, query: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "figure:spectra" not in (text := server.ask(f"/filters?{query}&part=main").text):
        assert 'class="progress"' in text
        assert time.monotonic() < deadline
        time.sleep(0.02)  # a poll, not a guess


def test_wrong_words_begin_nothing(filters: Filters) -> None:
    reading = Reading()
    app = serving.app(serving.Pages([Listed("filters", "F", filters.page)], reading), filters.routes(reading))
    with served(app) as server:
        for query, why in (
            ("of=models&network=/etc", "there is no network '/etc' among them; choose another"),
            ("of=nothing&network=x", "there are no networks called 'nothing' here"),
            ("of=study:none&network=x", "there are no networks called 'study:none' here"),
        ):
            answer = server.ask(f"/filters/jobs?{query}", "POST")
            assert (answer.status, answer.record) == (400, {"why": why})
        assert server.ask("/filters/jobs", "POST", headers={"Origin": "https://evil.example"}).status == 403
        assert server.ask("/filters/jobs").status == 405


def test_a_trained_network_stands_beside_the_untrained_one(found: Filters, model: str) -> None:
    looked = look(found, model)
    page = found.page(Reading(), choices(model))
    spectra, waves = kinds(page, Figure)
    maps = [trace for trace in spectra.traces if trace["type"] == "heatmap"]
    assert len(maps) == 2
    assert maps[0]["z"]["bdata"] != maps[1]["z"]["bdata"]
    (table,) = kinds(page, Table)
    assert [row[0] for row in table.rows] == [looked.title, f"{NETWORK}, not trained"]
    assert not page.live
    assert len(waves.traces) == len(kinds(page, Sound)) == 8
    for figure in (spectra, waves):
        go.Figure(figure.traces, figure.layout)  # Plotly's own check of every word
        titles = [axis["title"]["text"] for name, axis in figure.layout.items() if "axis" in name[1:5]]
        assert any("(kHz)" in title or "(ms)" in title for title in titles)


def test_the_picture_is_of_what_zoo_filters_finds(found: Filters, model: str) -> None:
    looked = look(found, model)
    kept = found.climbs.found(looked, LAYER)
    anew = answers(looked.network, LAYER)
    assert kept is not None
    assert np.array_equal(kept.waves(), anew.waves)
    assert np.array_equal(kept.order, anew.order)
    assert kept.samples == anew.waves.shape[1] == 2187
    assert kept.spectra.shape == (len(anew.waves), 183)  # 1,094 bins, six together
    assert np.allclose(kept.spectra.max(axis=1), anew.spectra.max(axis=1))
    assert np.allclose(kept.bin_hz, 6 * anew.frequencies_hz[1])
    at = (kept.spectra.argmax(axis=1) * kept.bin_hz).round(6)
    assert ((kept.peaks_hz >= at - 1e-3) & (kept.peaks_hz < at + kept.bin_hz)).all()


def test_what_was_found_is_found_again_and_nothing_is_climbed_twice(
    found: Filters, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.filters.answers", None)
    look(found, model)
    assert kinds(found.page(Reading(), choices(model)), Figure)


def test_a_damaged_outcome_is_as_good_as_none(
    filters: Filters, model: str, looked_at: Path, home: Path
) -> None:
    looked = filters.networks.take(Reading(), "models", model)
    shutil.copytree(looked_at / "filters", home / "filters")
    assert filters.climbs.found(looked, LAYER) is not None
    for file in (home / "filters").glob("*.npz"):
        file.write_bytes(file.read_bytes()[:-100])
    assert filters.climbs.found(looked, LAYER) is None


def test_a_job_counts_filters_up_to_all_of_them(filters: Filters, model: str) -> None:
    heard: list[tuple[float, float]] = []
    looked = filters.networks.take(Reading(), "models", model)
    climb_all(looked, [LAYER], lambda done, of: heard.append((done, of)))
    assert (heard[0], heard[-1]) == ((0, 256), (256, 256))  # 128 of each
    assert heard == sorted(heard)


def test_a_job_that_fails_is_told_and_can_be_begun_again(
    filters: Filters, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: object) -> None:
        raise ZooError("a wave makes 1 frame")

    monkeypatch.setattr(climbing, "climb_all", refused)
    looked = filters.networks.take(Reading(), "models", model)
    job = filters.climbs.start(looked, [LAYER], Asked("models", model, LAYER))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not job.ended:
        assert time.monotonic() < deadline
        time.sleep(0.01)  # a poll, not a guess
    page = filters.page(Reading(), choices(model))
    assert "a wave makes 1 frame" in told(page)
    assert [block.template for block in kinds(page, Widget)] == ["button.html"]


def test_a_kept_address_waits_for_the_registry(
    home: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is opened as soon as the server runs, which is before MLflow has been asked."""
    registered = [Registered("demo", 3, ("champion",))]
    monkeypatch.setattr("dashboards.models.registered", lambda: time.sleep(0.2) or registered)
    monkeypatch.setattr(zoo, "load", lambda address, load=zoo.load: load(model))
    looked = Networks(Models(model)).take(Reading(), "models", "models:/demo/3")
    assert looked.title == f"{NETWORK}, demo, version 3, champion"


def loaded(networks: Networks) -> None:
    """All that was begun has ended: a later job ends after it."""
    later = threading.Event()
    networks.jobs.submit("later", lambda tell: None, later.set)
    assert later.wait(PATIENCE_SECONDS)


def test_a_registry_that_is_silent_holds_no_page_up(
    filters: Filters, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(
        zoo, "load", lambda address, load=zoo.load: load(address) if answers.wait(10) else None
    )
    pages = serving.Pages([Listed("filters", "Filters", filters.page)], Reading())
    page, status = pages.made("filters", choices(model))
    assert (status, page.live, answers.is_set()) == (200, True, False)
    (progress,) = kinds(page, Widget)
    assert progress.values["label"] == "The network is being loaded."
    waiting, _ = pages.made("filters", {"of": "zoo", "network": NETWORK})
    assert kinds(waiting, Widget)[0].values["label"] == "waiting: 1 before it"
    answers.set()
    loaded(filters.networks)
    for chosen in (choices(model), {"of": "zoo", "network": NETWORK}):
        assert "This has not been looked at yet" in told(pages.made("filters", chosen)[0])


def test_a_network_that_can_not_be_loaded_is_told_once_and_tried_again(
    filters: Filters, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(address: str) -> None:
        raise ZooError("the registry can't be asked")

    with monkeypatch.context() as away:
        away.setattr(zoo, "load", refused)
        assert filters.page(Reading(), choices(model)).live
        loaded(filters.networks)
        page = filters.page(Reading(), choices(model))
    assert ("the registry can't be asked" in told(page), page.live) == (True, False)
    assert kinds(page, Choice), "another one may be chosen"
    assert filters.page(Reading(), choices(model)).live
    loaded(filters.networks)
    assert "This has not been looked at yet" in told(filters.page(Reading(), choices(model)))


def test_a_page_made_while_the_registry_answers_is_fetched_again(
    filters: Filters, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, begin = filters.networks.models, filters.networks.begin
    filters.networks.take(Reading(), "zoo", NETWORK)
    models.wait(10)
    models.known, models._asked = False, -1e9  # as at the start of a server
    monkeypatch.setattr(filters.networks, "begin", lambda *given: (models.wait(10), begin(*given))[1])
    chosen = {"of": "zoo", "network": NETWORK}
    assert filters.page(Reading(), chosen).live
    assert models.known
    assert not filters.page(Reading(), chosen).live


def test_layers_that_make_one_frame_are_not_offered(filters: Filters, model: str) -> None:
    filters.networks.take(Reading(), "models", model)
    page = filters.page(Reading(), choices(model, "all"))
    layers = kinds(page, Choice)[-1]
    assert [text for text, _ in layers.options] == [
        "the first 4",
        "1: front.activation",
        *(f"{at + 1}: body.{at}.activation" for at in (1, 2, 3)),
    ]


def test_any_network_of_the_zoo_can_be_looked_at_untrained(filters: Filters) -> None:
    page = filters.page(Reading(), {"of": "zoo"})
    networks = kinds(page, Choice)[1]
    assert networks.chosen == "samplecnn_m3_n9_s3"
    assert [text for text, _ in networks.options] == list(zoo.names())
    looked = filters.networks.take(Reading(), "zoo", NETWORK)
    assert looked.begins is None
    twin = filters.networks.take(Reading(), "models", filters.networks.models.listed()[0].address).begins
    assert twin is not None
    assert twin.digest != looked.digest  # it has other tags


def test_a_chosen_filter_is_seen_and_heard_first(found: Filters, model: str) -> None:
    look(found, model)
    page = found.page(Reading(), choices(model, filter="77"))
    assert kinds(page, Sound)[0].label.startswith("Filter 77, peak at ")
    for wrong in ("128", "-1", "x"):
        first = kinds(found.page(Reading(), choices(model, filter=wrong)), Sound)[0]
        assert not first.label.startswith(f"Filter {wrong},")


def test_a_sound_is_a_second_of_the_wave_without_a_seam(found: Filters, model: str) -> None:
    kept = found.climbs.found(look(found, model), LAYER)
    assert kept is not None
    (sound,) = filter_figures.sounds(kept, [5])
    with wave.open(io.BytesIO(sound.wav)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (22050, 1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    assert len(samples) == 22050
    assert np.abs(samples).max() == pytest.approx(0.8 * 32767, abs=1)
    assert abs(int(samples[0])) + abs(int(samples[-1])) == 0


def test_a_tone_stays_a_tone_when_it_is_repeated() -> None:
    """A tone that ends where it begins comes out as one line, as if it had never been cut."""
    rate, over = 8000, 100
    tone = np.sin(2 * np.pi * 0.04 * np.arange(700 + over)).astype(np.float32)  # 25 samples a turn
    looped = filter_figures.loop(tone, rate)
    spectrum = np.abs(np.fft.rfft(looped * np.hanning(rate)))
    assert spectrum.argmax() == 320
    assert np.delete(spectrum, range(310, 331)).max() < 0.01 * spectrum.max()
    assert not filter_figures.loop(np.zeros(700, np.float32), rate).any()


def test_an_export_shows_what_has_been_looked_at_and_nothing_else(
    filters: Filters, model: str, looked_at: Path, home: Path
) -> None:
    exported = Filters(filters.networks, filters.climbs, serving=False)
    assert "No filters have been looked at yet" in told(exported.page(Reading(), {}))
    shutil.copytree(looked_at / "filters", home / "filters")
    climbing.note(Asked("models", model, LAYER))
    page = exported.page(Reading(), {})
    (menu, *_) = kinds(page, Choice)
    assert [text for text, _ in menu.options] == [f"{model}, layers {LAYER}"]
    assert kinds(page, Figure)


def test_a_model_that_is_gone_spoils_no_export(
    filters: Filters, model: str, looked_at: Path, home: Path
) -> None:
    shutil.copytree(looked_at / "filters", home / "filters")
    exported = Filters(filters.networks, filters.climbs, serving=False)
    for network in (model, "models:/gone/1"):
        climbing.note(Asked("models", network, LAYER))
    for chosen in ({}, choices("models:/gone/1"), choices(model)):
        page = exported.page(Reading(), chosen)
        (menu, *_) = kinds(page, Choice)
        assert [text for text, _ in menu.options] == [f"{model}, layers {LAYER}"]
        assert f"Left out, as it can't be had: models:/gone/1, layers {LAYER}" in told(page)
        assert kinds(page, Figure)


def test_a_page_without_jobs_is_not_live_and_one_with_a_job_is(
    filters: Filters, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = filters.networks.take(Reading(), "models", model)
    assert not filters.page(Reading(), choices(model)).live
    gate = threading.Event()
    monkeypatch.setattr(climbing, "climb_all", lambda *given: gate.wait(PATIENCE_SECONDS))
    filters.climbs.start(looked, [LAYER], Asked("models", model, LAYER))
    page = filters.page(Reading(), choices(model))
    gate.set()
    assert page.live
    assert [block.template for block in kinds(page, Widget)] == ["progress.html"]
