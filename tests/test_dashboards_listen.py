"""Page Listen, from the bytes that come to the tags that go: limits, broken files, and nothing left behind."""

import csv
import http.client
import io
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import zoo
from dashboards import listen_page, serving
from dashboards.hearing import hear, shortened
from dashboards.models import Models
from dashboards.pages import Listed
from dashboards.reading import Reading
from dashboards.songs import Songs
from datasets.audio import SUFFIXES
from tests.dashboards_server import Answer, Server, served
from tests.m4a_files import encoded, tones
from zoo.trained.checkpoint import Card, save
from zoo.trained.locate import Registered

NETWORK, TAGS, RATE = "samplecnn_m3_n3_s729", ["rock", "<b>", "=1+1"], 22050
MOST_BYTES, MOST_SECONDS = 3_000_000, 60.0
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a small untrained checkpoint."""
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    network = zoo.create(NETWORK, n_tags=len(TAGS)).eval()
    save(network, folder, Card.of(network, TAGS))
    return str(folder)


@pytest.fixture(scope="module")
def songs(model: str) -> Iterator[Songs]:
    songs = Songs(Models(model), MOST_BYTES, MOST_SECONDS)
    yield songs
    songs.close()
    assert not songs.folder.exists()


@pytest.fixture(scope="module")
def server(songs: Songs) -> Iterator[Server]:
    listed = [Listed("listen", "Listen", partial(listen_page.page, songs))]
    with served(serving.app(serving.Pages(listed, Reading()), songs.routes())) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def wave(seconds: float, rate: int = RATE) -> np.ndarray:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, int(seconds * rate))
    return noise.astype(np.float32)


def as_wav(seconds: float, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave(seconds, rate), rate, format="WAV")
    return file.getvalue()


def send(server: Server, body: Any, model: str, name: str = "song.wav", **headers: str) -> Answer:
    from urllib.parse import urlencode

    query = urlencode({"model": model, "name": name})
    return server.ask(f"/listen/songs?{query}", "POST", body, headers)


def outcome(server: Server, answer: Answer) -> dict[str, Any]:
    """What came of a song that was taken."""
    assert answer.status == 202, answer.text
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        record: dict[str, Any] = server.ask(f"/listen/songs/{answer.record['key']}").record
        if record["state"] in ("done", "failed"):
            return record
        time.sleep(0.02)  # a poll, not a guess
    raise AssertionError("the song was never heard")


def test_a_song_becomes_tags_over_time_and_is_gone(server: Server, songs: Songs, model: str) -> None:
    answer = send(server, as_wav(5.5), model, "../../<i>.wav")
    heard = outcome(server, answer)["heard"]
    assert heard["name"] == "../../<i>.wav"
    assert heard["seconds"] == pytest.approx(5.5)
    segment = 3**3 * 729 / RATE
    assert heard["segment_seconds"] == pytest.approx(segment)
    assert sorted(heard["tags"]) == sorted(TAGS)
    assert {len(row) for row in heard["said"]} == {int(5.5 / segment)}
    assert heard["mean"] == sorted(heard["mean"], reverse=True)
    assert not list(songs.folder.iterdir())


def test_the_tags_of_the_whole_song_are_those_of_zoo_tag(model: str, tmp_path: Path) -> None:
    file = tmp_path / "song.wav"
    file.write_bytes(as_wav(7, rate=16000))
    tagger = zoo.load(model)
    told: list[float] = []
    heard = hear(tagger, file, "song.wav", model, lambda done, of: told.append(done))
    assert dict(zip(heard.tags, heard.mean, strict=True)) == pytest.approx(tagger(file), abs=1e-12)
    assert told[-1] == pytest.approx(len(heard.said) * heard.segment_seconds)


def test_tags_come_as_a_csv_that_no_spreadsheet_runs(server: Server, model: str) -> None:
    answer = send(server, as_wav(3), model)
    heard = outcome(server, answer)["heard"]
    file = server.ask(f"/listen/songs/{answer.record['key']}/tags.csv")
    assert (file.status, file.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert file.headers["content-disposition"] == "attachment"
    titles, *rows = csv.reader(io.StringIO(file.text))
    assert titles == ["start_seconds", "rock", "<b>", "'=1+1"]
    assert [float(row[0]) for row in rows] == pytest.approx([0, 0.893, 1.785], abs=1e-3)
    column = heard["said"][heard["tags"].index("rock")]
    assert [float(row[1]) for row in rows] == pytest.approx(column, abs=1e-4)


def test_real_music_is_heard(server: Server, model: str, test_data: Path) -> None:
    (song,) = test_data.glob("real-mtat-clip/mp3/*/*.mp3")
    heard = outcome(server, send(server, song.read_bytes(), model, song.name))["heard"]
    assert heard["seconds"] == pytest.approx(29.1, abs=0.1)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "song.wav is empty: the file has no bytes"),
        (b"this is no music at all" * 99, "song.wav is undecodable: "),
        (as_wav(1)[:44], "song.wav is empty: it decodes to no samples"),
        (
            as_wav(61, rate=8000),
            "song.wav is longer than 0.0167 h; give a shorter one, or use python -m zoo tag",
        ),
    ],
)
def test_a_broken_file_is_an_answer(server: Server, songs: Songs, model: str, body: bytes, why: str) -> None:
    record = outcome(server, send(server, body, model))
    assert record["state"] == "failed"
    assert record["why"].startswith(why)
    assert "\n" not in record["why"]
    assert str(songs.folder) not in record["why"]
    assert not list(songs.folder.iterdir())


def test_a_song_that_says_it_is_too_large_is_not_read(server: Server, model: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest("POST", f"/listen/songs?model={model}")
    connection.putheader("Content-Length", str(MOST_BYTES + 1))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert b"the file is larger than 2.86 MiB; give a smaller one" in answer.read()
    connection.close()


def test_a_song_that_grows_too_large_is_ended_while_it_comes(
    server: Server, songs: Songs, model: str
) -> None:
    """It never says how long it is, and would never end."""
    sent = 0
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest("POST", f"/listen/songs?model={model}")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    block = b"%x\r\n%s\r\n" % (2**16, bytes(2**16))
    try:
        while sent < 100 * MOST_BYTES:
            connection.send(block)
            sent += 2**16
    except OSError:
        pass  # the server has closed it
    finally:
        connection.close()
    assert MOST_BYTES < sent < 20 * MOST_BYTES
    assert not list(songs.folder.iterdir())


def test_a_song_whose_sender_goes_away_leaves_nothing(server: Server, songs: Songs, model: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest("POST", f"/listen/songs?model={model}")
    connection.putheader("Content-Length", "100000")
    connection.endheaders()
    connection.send(bytes(50_000))
    until(lambda: bool(list(songs.folder.iterdir())))
    connection.close()
    until(lambda: not list(songs.folder.iterdir()))


def until(true: Any) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # a poll, not a guess


def test_few_songs_wait_and_the_next_one_is_told_so(
    server: Server, songs: Songs, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slow(*given: Any) -> None:
        begun.set()
        assert may_end.wait(PATIENCE_SECONDS)

    monkeypatch.setattr("dashboards.songs.hear", slow)
    first = send(server, b"a", model)
    assert begun.wait(PATIENCE_SECONDS)
    waiting = [send(server, b"b", model) for _ in range(4)]
    assert {answer.status for answer in waiting} == {202}
    assert server.ask(f"/listen/songs/{waiting[2].record['key']}").record["before"] == 3
    refused = send(server, b"c", model)
    assert (refused.status, refused.record["why"]) == (
        503,
        "4 songs are waiting already; try again when they are done",
    )
    for answer in (first, *waiting):
        assert server.ask(f"/listen/songs/{answer.record['key']}", "DELETE").status == 204
    may_end.set()
    until(lambda: not list(songs.folder.iterdir()))
    assert server.ask(f"/listen/songs/{first.record['key']}").status == 404


@pytest.mark.parametrize("other", ["/etc", "runs:/0123456789abcdef/checkpoint", "models:/none/1", ""])
def test_only_listed_models_are_loaded(server: Server, other: str) -> None:
    record = outcome(server, send(server, as_wav(1), other))
    assert record["why"] == f"{other!r} is none of the models to choose from; look again which there are"


def test_another_site_sends_no_song(server: Server, model: str) -> None:
    assert send(server, b"a", model, Origin="https://evil.example").status == 403


def test_what_is_not_known_is_told(server: Server) -> None:
    for path in ("/listen/songs/x", "/listen/songs/x/tags.csv"):
        answer = server.ask(path)
        assert (answer.status, answer.record) == (
            404,
            {"why": "this song is not known any more; choose it again"},
        )


def test_an_m4a_is_heard_although_the_server_keeps_no_name(
    server: Server, model: str, tmp_path: Path
) -> None:
    body = encoded(tmp_path / "a.m4a", tones(), "aac").read_bytes()
    answer = outcome(server, send(server, body, model, "a.m4a"))
    assert (answer["state"], answer["heard"]["seconds"]) == ("done", pytest.approx(2.0, abs=0.1))


def test_names_are_shown_in_one_short_line() -> None:
    assert shortened("a\nb\u202e.mp3") == "a?b?.mp3"
    assert len(shortened("x" * 500)) == 120
    assert shortened("") == "the file"


def test_the_page_offers_the_models_there_are(server: Server, model: str, songs: Songs) -> None:
    songs.models.wait(PATIENCE_SECONDS)
    text = server.ask("/listen").text
    assert f'<option value="{model}">{model} (given at the start)</option>' in text
    assert "At most 2.86 MiB" in text
    assert f'accept="audio/*,{",".join(SUFFIXES)}"' in text


def test_without_a_model_the_page_says_how_one_comes_to_be() -> None:
    songs = Songs(Models())
    try:
        songs.models.wait(PATIENCE_SECONDS)
        page = listen_page.page(songs, None, {})
    finally:
        songs.close()
    assert not page.live
    assert any("No model is registered yet" in getattr(block, "text", "") for block in page.blocks)


def test_a_folder_that_is_no_model_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(zoo.ZooError, match=r"is not a checkpoint: it has no card\.json"):
        Models(str(tmp_path))


def test_a_champion_is_offered_before_what_was_registered_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Registered("b", 4, ("challenger",)), Registered("a", 3, ("champion",)), Registered("a", 2, ())]
    monkeypatch.setattr("dashboards.models.registered", lambda: found)
    models = Models()
    models.wait(10)
    assert [model.address for model in models.listed()] == ["models:/a/3", "models:/b/4", "models:/a/2"]
