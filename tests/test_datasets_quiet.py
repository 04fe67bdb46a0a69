"""The decoder's notes stay off the terminal, and nothing else does, however many threads decode."""

import os
import threading
from pathlib import Path

import pytest

from datasets.quiet import quiet_decoder

NOTE = b"Note: Illegal Audio-MPEG-Header 0x00000000 at offset 7.\n"
ERROR = b"\n[src/libmpg123/layer3.c:INT123_do_layer3():1771] error: dequantization failed!\n"


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def said(text: bytes) -> None:
    os.write(2, text)


def test_other_words_pass_while_decoding(capfd: pytest.CaptureFixture) -> None:
    with quiet_decoder():
        said(NOTE + b"the disk is on fire\n")
    assert capfd.readouterr().err == "the disk is on fire\n"


def test_a_bar_that_is_drawn_meanwhile_is_left_as_it_is(capfd: pytest.CaptureFixture) -> None:
    with quiet_decoder():
        said(b"\rtagging: 10%\rtagging: 20%\n\n")
    assert capfd.readouterr().err == "\rtagging: 10%\rtagging: 20%\n\n"
    with quiet_decoder():
        said(ERROR + b"\rtagging: 30%")
    assert capfd.readouterr().err == "\rtagging: 30%"


def test_words_need_not_wait_for_the_last_of_several_decoders(capfd: pytest.CaptureFixture) -> None:
    with quiet_decoder():
        with quiet_decoder():
            said(b"one\n" + NOTE)
        assert capfd.readouterr().err == "one\n"
        with quiet_decoder():
            said(NOTE + b"two\n")
        said(ERROR)
        assert capfd.readouterr().err == "two\n"
        said(b"three\n")
    assert capfd.readouterr().err == "three\n"
    said(b"four\n")
    assert capfd.readouterr().err == "four\n"


def test_standard_error_is_what_it_was_and_nothing_stays_open() -> None:
    before, files = os.fstat(2), open_files()
    for _ in range(3):
        with quiet_decoder(), quiet_decoder():
            assert os.fstat(2) != before
        assert os.fstat(2).st_ino == before.st_ino
    assert open_files() == files


def test_half_a_line_waits_for_its_other_half(capfd: pytest.CaptureFixture) -> None:
    with quiet_decoder():
        with quiet_decoder():
            said(b"one\n" + NOTE[:9])
        assert capfd.readouterr().err == "one\n"
        said(NOTE[9:] + b"the disk")
    assert capfd.readouterr().err == "the disk"


def test_empty_lines_of_others_pass(capfd: pytest.CaptureFixture) -> None:
    with quiet_decoder():
        said(NOTE + b"one\n\ntwo\n" + ERROR + b"\n" + NOTE)
    assert capfd.readouterr().err == "one\n\ntwo\n\n"


def test_what_several_threads_write_meanwhile_is_not_lost(capfd: pytest.CaptureFixture) -> None:
    def write() -> None:
        for i in range(2000):
            said(b"line %d\n" % i)

    with quiet_decoder():
        writers = [threading.Thread(target=write) for _ in range(3)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
    assert capfd.readouterr().err.count("\n") == 3 * 2000


def test_where_nobody_reads_standard_error_music_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int, text: bytes) -> int:
        raise BrokenPipeError

    files = open_files()
    with quiet_decoder():
        said(b"one\n")
        monkeypatch.setattr(os, "write", broken)
    assert open_files() == files


def test_where_no_file_can_be_had_none_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(name: str) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", full, raising=False)
    files = open_files()
    with quiet_decoder():
        assert open_files() == files


def test_without_a_standard_error_all_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def closed(descriptor: int) -> int:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(os, "dup", closed)
    with quiet_decoder(), quiet_decoder():
        (tmp_path / "a").write_text("a")
    assert (tmp_path / "a").read_text() == "a"
