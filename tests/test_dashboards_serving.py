"""The server: its pages, what it refuses, and what it sends again."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dashboards import serving
from dashboards.__main__ import main
from dashboards.blocks import Figure, Page, Text
from dashboards.export import Exported
from dashboards.guards import refused
from dashboards.pages import Listed
from search.errors import SearchError
from tests.dashboards_server import Server, served


def still(reading: Any, choices: Mapping[str, str]) -> Page:
    return Page("still", "Still", [Text(f"study {choices.get('study')}")])


def live(reading: list[str], choices: Mapping[str, str]) -> Page:
    return Page("live", "Live", [Text(reading[-1])], live=reading[-1] != "over")


def compiled(reading: Any, choices: Mapping[str, str]) -> Page:
    return Page("compiled", "Compiled", [Figure("one", [{"type": "parcoords"}], {}, "many")])


def refusing(reading: Any, choices: Mapping[str, str]) -> Page:
    raise SearchError("study <b> is not here")


def failing(reading: Any, choices: Mapping[str, str]) -> Page:
    raise RuntimeError("secret")


MAKERS = (still, live, compiled, refusing, failing)


@pytest.fixture(scope="module")
def said() -> list[str]:
    """What the live page shows: its last."""
    return ["begun"]


@pytest.fixture(scope="module")
def server(said: list[str]) -> Iterator[Server]:
    listed = [Listed(make.__name__, make.__name__.title(), make) for make in MAKERS]
    with served(serving.app(serving.Pages(listed, said))) as running:
        yield running


def test_a_page_takes_its_choices_from_its_address(server: Server) -> None:
    answer = server.ask("/still?study=a%20%3Cb%3E")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "study a &lt;b&gt;" in answer.text
    assert '<a href="/still" aria-current="page">' in answer.text


def test_the_first_page_is_the_first_of_the_list(server: Server) -> None:
    answer = server.ask("/")
    assert (answer.status, answer.headers["location"]) == (307, "/still")


def test_a_live_page_is_sent_again_only_where_it_has_changed(server: Server, said: list[str]) -> None:
    first = server.ask("/live?part=main")
    assert (first.status, first.headers["wavezoo-live"]) == (200, "yes")
    assert "begun" in first.text
    assert "<html" not in first.text
    mark = {"If-None-Match": first.headers["etag"]}
    assert first.headers["etag"].strip('"') in server.ask("/live").text
    again = server.ask("/live?part=main", headers=mark)
    assert (again.status, again.body) == (304, b"")
    said.append("over")
    last = server.ask("/live?part=main", headers=mark)
    assert (last.status, last.headers["wavezoo-live"]) == (200, "no")
    assert "over" in last.text


def test_a_browser_may_run_the_scripts_of_this_server_and_no_others(server: Server) -> None:
    for path in ("/still", "/static/style.css", "/nowhere"):
        headers = server.ask(path).headers
        policy = dict(each.split(" ", 1) for each in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")


def test_only_where_webgl_is_drawn_scripts_may_compile(server: Server) -> None:
    assert "script-src 'self' 'unsafe-eval'" in server.ask("/compiled").headers["content-security-policy"]


def test_another_name_for_this_machine_is_refused(server: Server) -> None:
    answer = server.ask("/still", headers={"Host": "evil.example:80"})
    assert answer.status == 403
    assert answer.text == (
        "this server does not answer to 'evil.example:80'; ask for localhost or 127.0.0.1 or [::1]\n"
    )
    for name in ("localhost", "LOCALHOST:8050", "127.0.0.1", "[::1]:8050"):
        assert server.ask("/still", headers={"Host": name}).status == 200


def test_a_page_of_another_site_changes_nothing(server: Server) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        answer = server.ask("/still", "POST", headers=headers)
        assert (answer.status, answer.text) == (403, "a page of another site can't change anything here\n")
    assert server.ask("/still", "POST").status == 405


def test_a_server_for_everyone_answers_to_addresses_and_to_its_own_name_alone() -> None:
    assert refused({"host": "192.168.1.5:8050"}, "0.0.0.0", "GET") is None
    assert refused({"host": f"{socket.gethostname()}:8050"}, "0.0.0.0", "GET") is None
    assert refused({"host": "evil.example"}, "0.0.0.0", "GET") == (
        f"this server does not answer to 'evil.example'; ask for {socket.gethostname().lower()} or an address of this "
        "machine; where it is called by another name, host=NAME lets that one in"
    )
    assert refused({"host": "192.168.1.5"}, "127.0.0.1", "GET") is not None
    assert refused({"host": "tower.local"}, "tower.local", "GET") is None
    assert refused({}, "0.0.0.0", "GET") is not None


def test_what_a_page_refuses_is_told_on_the_page(server: Server) -> None:
    answer = server.ask("/refusing")
    assert answer.status == 400
    assert '<p class="alarming" role="alert">study &lt;b&gt; is not here</p>' in answer.text


def test_a_fault_is_told_in_the_terminal_and_not_on_the_page(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = server.ask("/failing")
    assert answer.status == 500
    assert "secret" not in answer.text
    assert "the terminal says more" in answer.text
    assert "RuntimeError: secret" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path", ["/nowhere", "/static/../serving.py", "/static/%2e%2e/serving.py", "/static//etc/passwd"]
)
def test_nothing_else_is_served(server: Server, path: str) -> None:
    answer = server.ask(path)
    assert answer.status == 404
    assert "import" not in answer.text


def test_the_script_that_draws_comes_from_this_machine(server: Server) -> None:
    assert server.ask("/static/plotly.js").body.startswith(b"/**\n* plotly.js v")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["prt=1"], "no word is called 'prt'; did you mean port?"),
        (["port="], "port= wants one value, once"),
        (["port=1", "port=2"], "port= wants one value, once"),
        (["port=http"], "port=http: give a whole number up to 65535, or 0 for any that is free"),
        (
            ["host=a..b"],
            "host=a..b: no host is called that; give a name or an address, such as host=127.0.0.1",
        ),
        (["port=70000"], "port=70000: give a whole number up to 65535, or 0 for any that is free"),
        (
            ["port=0", "storage=foo"],
            "storage=foo: give an address, such as sqlite:////folder/studies.db or "
            "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE",
        ),
    ],
)
def test_wrong_words_are_answered(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.strip() == told


@pytest.mark.parametrize(
    ("address", "word", "taken"),
    [
        ("http://a:5000", [], "http://a:5000"),
        ("http://a:5000", ["mlflow=http://b:5000"], "http://b:5000"),
        ("sqlite:///x.db", [], None),
    ],
)
def test_the_environment_names_mlflow_where_no_word_does(
    address: str, word: list[str], taken: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[Mapping[str, str]] = []
    nothing = Exported(tmp_path, 0, 0, 0, [])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setattr("dashboards.running.exported", lambda words: (given.append(words), nothing)[1])
    assert main(["export", f"out={tmp_path}", *word]) == 0
    assert given[0].get("mlflow") == taken


def test_a_port_that_is_taken_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main([f"port={port}"]) == 2
    assert capsys.readouterr().err == (
        f"can't listen at 127.0.0.1:{port}: address already in use; "
        "give another, such as port=0 for any that is free\n"
    )


@pytest.mark.parametrize(
    ("number", "busy"), [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGINT, True)]
)
def test_the_server_ends_cleanly_when_it_is_told_to(
    bare_home: Path, tmp_path: Path, number: signal.Signals, busy: bool
) -> None:
    """Also while it computes, which takes minutes."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "dashboards", "port=0"],
        env={**os.environ, "WAVEZOO_HOME": str(bare_home), "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("the dashboards are at http://127.0.0.1:")
        port = int(line.split(":")[2].split()[0])
        assert Server(port).ask("/").status == 307
        assert [file.name[:14] for file in temporary.iterdir()] == ["wavezoo-songs-"]
        if busy:
            query = "of=zoo&network=samplecnn_m3_n9_s3&layers=all"
            assert Server(port).ask(f"/filters/jobs?{query}", "POST").status == 202
            until(lambda: "0 of 1152 filters" in Server(port).ask(f"/filters?{query}&part=main").text)
        process.send_signal(number)
        _, told = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, told) == (130, "")
    assert not list(temporary.iterdir())


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)  # a poll, not a guess
