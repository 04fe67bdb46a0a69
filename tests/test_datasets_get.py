"""python -m datasets.get: a data set's files from its publisher, whatever goes wrong on the way."""

import errno
import hashlib
import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_datasets_archive import packed, tree_of
from wayward_server import (
    Server,
    Waits,
    breaks_off,
    hangs_up,
    ignores_ranges,
    says,
    serving,
    well,
)

from datasets import get as getting
from datasets.download import check_url
from datasets.errors import DatasetError
from datasets.get import get, main
from datasets.lock import only_one


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """Has two lists and a zip in three parts, and is what the addresses say of mtat."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving({}) as server:
        content = packed({f"{number}/a.mp3": os.urandom(70_000) for number in range(9)})
        lists = {"annotations_final.csv": b"clip_id", "clip_info_final.csv": b"artist"}
        files = {
            **lists,
            **{f"mp3.zip.00{n + 1}": content[n * 230_000 : (n + 1) * 230_000] for n in range(3)},
        }
        server.files = {f"/{name}": body for name, body in files.items()}
        lines = [f'[mtat]\nurl = "{server.url}"']
        for name, body in files.items():
            lines.append(f'[[mtat.files]]\nname = "{name}"')
            if name in lists:
                lines.append(f'bytes = {len(body)}\nsha256 = "{hashlib.sha256(body).hexdigest()}"')
        (tmp_path / "addresses.toml").write_text("\n".join(lines))
        monkeypatch.setattr(getting, "ADDRESSES", tmp_path / "addresses.toml")
        monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path / "home"))
        yield server


def test_mtat_is_downloaded_and_unpacked(
    publisher: Server, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["name=mtat"]) == 0
    folder = tmp_path / "home" / "sources" / "mtat"
    assert len(tree_of(folder / "mp3")) == 9
    assert (folder / "annotations_final.csv").read_bytes() == b"clip_id"
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"all there; next: python -m datasets.build name=mtat source={folder}"
    publisher.asked.clear()
    (folder / "mp3.zip.001").unlink()
    assert main(["name=mtat"]) == 0
    assert publisher.asked == []


def test_all_that_goes_wrong_on_the_way_is_overcome(publisher: Server, tmp_path: Path) -> None:
    publisher.acts = [
        says(503),
        hangs_up,
        well,
        well,
        breaks_off(100_000),
        ignores_ranges,
        breaks_off(7),
        hangs_up,
    ]
    assert len(tree_of(get("mtat", tmp_path / "out", wait=Waits()) / "mp3")) == 9


def test_a_file_that_can_not_be_had_is_exit_1_and_the_rest_stays(
    publisher: Server, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    body = publisher.files.pop("/mp3.zip.002")
    words = ["name=mtat", f"out={tmp_path / 'out'}"]
    assert main(words) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"{publisher.url}mp3.zip.002 answers 404 Not Found; is the address right? (url=...)"
    assert not (tmp_path / "out" / "mp3").exists()
    publisher.files["/mp3.zip.002"] = body
    publisher.asked.clear()
    assert main(words) == 0
    assert [path for path, _ in publisher.asked] == ["/mp3.zip.002", "/mp3.zip.003"]


def test_a_part_that_the_server_cut_short_is_found_when_unpacking(
    publisher: Server, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    publisher.files["/mp3.zip.003"] = publisher.files["/mp3.zip.003"][:5_000]
    assert main(["name=mtat", f"out={tmp_path}"]) == 1
    assert "mp3.zip.001 to mp3.zip.003: no whole zip (File is not a zip file)" in capsys.readouterr().err
    assert not (tmp_path / "mp3").exists()


def test_a_list_that_is_there_and_not_the_published_one_is_not_overwritten(
    publisher: Server, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "annotations_final.csv"
    file.write_bytes(b"my own")
    assert main(["name=mtat", f"out={tmp_path}"]) == 1
    assert capsys.readouterr().err == (
        f"{file} is not the published file (its sha256 differs); remove it to download it anew\n"
    )
    assert file.read_bytes() == b"my own"


def test_url_takes_the_place_of_the_publishers_address(publisher: Server, tmp_path: Path) -> None:
    publisher.files = {f"/mirror{path}": body for path, body in publisher.files.items()}
    assert main(["name=mtat", f"out={tmp_path}", f"url={publisher.url}mirror"]) == 0


def test_of_two_downloads_into_one_folder_the_second_is_refused(publisher: Server, tmp_path: Path) -> None:
    with only_one(tmp_path / ".getting", "taken"), pytest.raises(DatasetError) as refused:
        get("mtat", tmp_path)
    assert str(refused.value) == (f"another process is downloading into {tmp_path}; wait for it or give out=")


def interrupts(*words: object) -> None:
    raise KeyboardInterrupt


def fails(*words: object) -> None:
    raise OSError(errno.EACCES, "Permission denied", "/out")


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        (interrupts, 130, "interrupted; to go on: python -m datasets.get name=mtat out={out}"),
        (fails, 1, "/out: Permission denied; when that is put right, the same command goes on"),
    ],
)
def test_an_interruption_and_the_systems_errors_are_one_line(
    publisher: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    fault: Callable,
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr(getting, "fetch", fault)
    out = tmp_path / "with space"
    assert main(["name=mtat", f"out={out}"]) == code
    expected = said.format(out="").removesuffix("out=") + (shlex.quote(f"out={out}") if code == 130 else "")
    assert capsys.readouterr().err.splitlines()[-1] == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which data set? write name=...; known: mtat"),
        (["nam=mtat"], "'nam=mtat' is no word of this command; did you mean name? (see --help)"),
        (["name=mtta"], "no data set called 'mtta' can be downloaded; did you mean mtat?"),
        (["name=demo"], "demo is rendered, not downloaded; it is there when it is first opened"),
        (["name=folder"], "folder is your own music; there is nothing to download"),
        (
            ["name=msd"],
            "msd: nobody gives out the clips any more; build from those you have (python -m datasets.build",
        ),
    ],
)
def test_wrong_words_are_one_line_and_exit_2(
    capsys: pytest.CaptureFixture, words: list[str], said: str
) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith(said)
    assert error.count("\n") == 1


def test_help_shows_the_words_and_what_can_be_downloaded(capsys: pytest.CaptureFixture) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "python -m datasets.get name=mtat" in text
    assert text.endswith("Data sets: mtat\n")


def test_the_addresses_are_the_publishers_and_the_checksums_those_of_the_originals(test_data: Path) -> None:
    import gzip

    entry = getting.addresses()["mtat"]
    assert check_url(entry["url"]) == entry["url"]
    files = {file["name"]: file for file in entry["files"]}
    assert list(files)[2:] == ["mp3.zip.001", "mp3.zip.002", "mp3.zip.003"]
    for name in ("annotations_final.csv", "clip_info_final.csv"):
        content = gzip.decompress((test_data / "mtat-annotations" / f"{name}.gz").read_bytes())
        assert (files[name]["bytes"], files[name]["sha256"]) == (
            len(content),
            hashlib.sha256(content).hexdigest(),
        )
