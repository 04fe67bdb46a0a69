"""A file from a server: what breaks off is resumed, what is wrong is refused, and nothing wrong gets its name."""

import errno
import hashlib
import socket
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from wayward_server import (
    Act,
    Handler,
    Server,
    Waits,
    announces,
    breaks_off,
    hangs_up,
    ignores_ranges,
    leads_to,
    says,
    sends,
    serving,
    well,
)

from datasets import download
from datasets.download import Remote, check_url, fetch
from datasets.errors import DatasetError
from datasets.get import main

FILE = bytes(range(256)) * 4_000
SHA = hashlib.sha256(FILE).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving({"/file": FILE}) as running:
        yield running


def fetched(server: Server, folder: Path, sha256: str = SHA, n_bytes: int | None = None) -> bytes:
    fetch(Remote(f"{server.url}file", sha256, n_bytes), folder / "file", Waits())
    assert sorted(path.name for path in folder.iterdir()) == ["file"]
    return (folder / "file").read_bytes()


def refusal(server: Server, folder: Path, sha256: str = SHA, n_bytes: int | None = None) -> str:
    """What is said, without the address; the file must not be there."""
    with pytest.raises(DatasetError) as refused:
        fetch(Remote(f"{server.url}file", sha256, n_bytes), folder / "file", Waits())
    assert not (folder / "file").exists()
    return str(refused.value).removeprefix(f"{server.url}file ")


def test_a_file_is_downloaded_and_checked(server: Server, tmp_path: Path) -> None:
    assert fetched(server, tmp_path, n_bytes=len(FILE)) == FILE
    assert server.ranges() == [""]


def test_a_download_that_breaks_off_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.acts = [breaks_off(100_000), breaks_off(300_000), hangs_up]
    assert fetched(server, tmp_path) == FILE
    assert server.ranges() == ["", "bytes=100000-", "bytes=400000-", "bytes=400000-"]


def test_a_later_command_goes_on_with_what_an_earlier_one_left(server: Server, tmp_path: Path) -> None:
    server.acts = [breaks_off(100_000), *[hangs_up] * 5]
    assert refusal(server, tmp_path).startswith("can't be reached (")
    server.asked.clear()
    assert fetched(server, tmp_path) == FILE
    assert server.ranges() == ["bytes=100000-"]


def test_a_part_that_is_whole_already_is_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(FILE)
    assert fetched(server, tmp_path) == FILE
    assert server.ranges() == [f"bytes={len(FILE)}-"]


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(FILE + b"x")
    assert fetched(server, tmp_path) == FILE
    assert server.ranges() == [f"bytes={len(FILE) + 1}-", ""]


def test_a_server_that_ignores_ranges_is_read_from_the_beginning(server: Server, tmp_path: Path) -> None:
    server.acts = [breaks_off(100_000), ignores_ranges]
    assert fetched(server, tmp_path) == FILE


def test_a_file_that_changed_meanwhile_is_read_from_the_beginning(server: Server, tmp_path: Path) -> None:
    def changes(handler: Handler, body: bytes) -> None:
        well(handler, b"of an older file" * 10_000, 100_000)
        handler.server.version = '"two"'

    server.acts = [changes]
    assert fetched(server, tmp_path) == FILE
    assert server.ranges() == ["", "bytes=100000-"]


def test_a_part_of_another_file_is_found_by_its_checksum_and_read_anew(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "file.part").write_bytes(bytes(100_000))
    assert fetched(server, tmp_path) == FILE
    assert server.ranges() == ["bytes=100000-", ""]


def test_another_range_than_asked_for_is_thrown_away(server: Server, tmp_path: Path) -> None:
    def shifted(handler: Handler, body: bytes) -> None:
        handler.answer(206, body[5:], Content_Range=f"bytes 5-{len(body) - 1}/{len(body)}")

    server.acts = [breaks_off(100_000), shifted]
    assert fetched(server, tmp_path) == FILE
    assert server.ranges() == ["", "bytes=100000-", ""]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_in_trouble_is_asked_again_with_growing_waits(
    server: Server, tmp_path: Path, status: int
) -> None:
    server.acts = [says(status)] * 3
    waits = Waits()
    fetch(Remote(f"{server.url}file", SHA), tmp_path / "file", waits)
    assert waits == [1, 2, 4]


def test_a_server_that_stays_in_trouble_is_given_up(server: Server, tmp_path: Path) -> None:
    server.acts = [says(500)] * 9
    said = refusal(server, tmp_path)
    assert said == "answers 500 Internal Server Error, 5 times in a row; the same command goes on"
    assert len(server.asked) == 5


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (says(404), "answers 404 Not Found; is the address right? (url=...)"),
        (says(403), "answers 403 Forbidden; is the address right? (url=...)"),
        (says(204), "answers 204 No Content; wanted the file"),
        (
            sends(b"<html>Log in</html>", Content_Type="text/html; charset=utf-8"),
            "answers with a web page, not with the file; is the address right? (url=...)",
        ),
        (
            leads_to("file:///etc/passwd"),
            "answers 302 Found - Redirection to url 'file:///etc/passwd' is not allowed;",
        ),
        (
            sends(b"another file"),
            f"has sha256 {hashlib.sha256(b'another file').hexdigest()}; published is {SHA}: another file, of which",
        ),
    ],
)
def test_what_will_not_get_better_is_refused_at_once(
    server: Server, tmp_path: Path, act: Act, said: str
) -> None:
    server.acts = [act]
    assert refusal(server, tmp_path).startswith(said)
    assert len(server.asked) == 1
    assert not list(tmp_path.iterdir())


def test_a_server_leads_elsewhere_on_the_web_and_the_range_goes_along(server: Server, tmp_path: Path) -> None:
    server.files["/old"] = b""
    server.acts = [leads_to(f"{server.url}file"), breaks_off(1_000), leads_to("/file")]
    fetch(Remote(f"{server.url}old", SHA), tmp_path / "file", Waits())
    assert (tmp_path / "file").read_bytes() == FILE
    assert server.asked == [("/old", ""), ("/file", ""), ("/old", "bytes=1000-"), ("/file", "bytes=1000-")]


def test_a_server_does_not_lead_out_of_the_web_or_in_circles(server: Server, tmp_path: Path) -> None:
    server.acts = [leads_to("ftp://127.0.0.1/file")]
    assert refusal(server, tmp_path) == (
        "leads to ftp://127.0.0.1/file; only http and https are followed, never back to http"
    )
    server.acts = [leads_to("/file")] * 30
    assert refusal(server, tmp_path).startswith("answers 302 The HTTP server returned a redirect error")


def test_a_length_that_is_less_than_the_file_is_found_by_the_published_size(
    server: Server, tmp_path: Path
) -> None:
    server.acts = [announces(1_000)]
    said = refusal(server, tmp_path, n_bytes=len(FILE))
    assert said == f"announces 1,000 bytes; published are {len(FILE):,}"


def test_a_length_that_is_less_than_the_file_is_found_by_the_checksum(server: Server, tmp_path: Path) -> None:
    server.acts = [announces(1_000)]
    assert refusal(server, tmp_path).startswith(
        f"has sha256 {hashlib.sha256(FILE[:1_000]).hexdigest()}; published is"
    )


def test_a_length_that_is_more_than_the_file_is_asked_for_five_times_and_refused(
    server: Server, tmp_path: Path
) -> None:
    def promises(handler: Handler, body: bytes) -> None:
        handler.answer(200, body, len(body) + 1)

    server.acts = [promises] * 9
    said = refusal(server, tmp_path)
    assert said == (
        f"broke off after {len(FILE):,} of {len(FILE) + 1:,} bytes, 5 times in a row; the same command goes on"
    )
    assert len(server.asked) == 6


def test_without_a_length_the_checksum_or_the_published_size_decides(server: Server, tmp_path: Path) -> None:
    server.acts = [announces(-1)]
    assert fetched(server, tmp_path) == FILE
    (tmp_path / "file").unlink()

    def half(handler: Handler, body: bytes) -> None:
        handler.answer(200, body[: len(body) // 2], -1)

    server.acts = [half]
    assert fetched(server, tmp_path, n_bytes=len(FILE)) == FILE


def test_a_server_that_never_ends_is_left(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MOST_BYTES", 300_000)
    server.acts = [announces(-1)]
    assert refusal(server, tmp_path) == "sends more than 300,000 bytes; nothing of it was kept"
    assert not list(tmp_path.iterdir())


def test_a_server_that_gains_a_little_each_time_is_left_some_day(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MOST_ATTEMPTS", 7)
    server.acts = [breaks_off(10)] * 9
    assert refusal(server, tmp_path) == "broke off 7 times; the same command goes on"
    assert (tmp_path / "file.part").stat().st_size == 70


def test_a_server_that_is_not_there_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/file"
        with pytest.raises(DatasetError) as refused:
            fetch(Remote(url), tmp_path / "file", Waits())
    assert str(refused.value) == (
        f"{url} can't be reached ([Errno 111] Connection refused), 5 times in a row; the same command goes on"
    )


def test_a_full_disk_is_one_clear_line_before_and_while_downloading(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    words = f"no space left for {tmp_path}/file.part: 1.0 MB more are needed; free so much, the same command goes on"
    with monkeypatch.context() as patched:
        patched.setattr(download.shutil, "disk_usage", lambda _: usage(0, 0, 1_000))
        assert refusal(server, tmp_path) == words

    class Full:
        def write(self, block: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(
        DatasetError, match=r"no space left for .*part: 0\.5 MB more are needed; free so much"
    ):
        download._put(Full(), bytes(500_000), tmp_path / "file.part")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "ftp://host/folder",
            "url=ftp://host/folder: give the http or https address of the folder that has the files",
        ),
        ("/folder", "url=/folder: give the http or https address of the folder that has the files"),
        (
            "http:///folder",
            "url=http:///folder: give the http or https address of the folder that has the files",
        ),
        ("https://me:secret@host/", "url: give a plain address without name, password, ? or # (host)"),
        ("https://host/?a=1", "url: give a plain address without name, password, ? or # (host)"),
    ],
)
def test_an_address_that_can_not_be_meant_is_refused(
    capsys: pytest.CaptureFixture, url: str, said: str
) -> None:
    assert main(["name=mtat", f"url={url}"]) == 2
    assert capsys.readouterr().err == f"{said}\n"


def test_an_address_ends_in_a_slash() -> None:
    assert check_url("https://host/folder") == "https://host/folder/"
