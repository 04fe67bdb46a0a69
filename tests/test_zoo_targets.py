"""What a command is to write is judged first, in a line without the system's numbers."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from datasets.errors import reason
from zoo import ZooError, probe, recount
from zoo.__main__ import main
from zoo.trained.targets import check_folder


def test_a_file_is_no_folder_to_write_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").touch()
    with pytest.raises(ZooError) as caught:
        check_folder("a.txt")
    assert str(caught.value) == f"out=a.txt is a file; give a folder, such as out={tmp_path}/a-out"
    with pytest.raises(ZooError) as caught:
        check_folder("a.txt/b/c")
    assert str(caught.value) == (
        f"out=a.txt/b/c cannot be made: {tmp_path}/a.txt is a file; give a folder, such as out={tmp_path}/a-out"
    )
    assert check_folder("b/c/d") == Path("b/c/d")
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_must_not_be_written_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever runs the tests may be allowed everything
    monkeypatch.setattr("os.access", lambda place, how: False)
    with pytest.raises(
        ZooError, match=r"out=.*/new cannot be written: .* must not be written to; give another folder"
    ):
        check_folder(tmp_path / "new")


def test_the_systems_errors_are_told_without_their_numbers() -> None:
    assert (
        reason(OSError(errno.ENOSPC, "No space left on device", "a.npz")) == "a.npz: No space left on device"
    )
    assert reason(OSError(errno.ENOSPC, "No space left on device")) == "No space left on device"
    assert reason(ZooError("no network is called x")) == "no network is called x"


@pytest.mark.parametrize("words", [["model=models:/x@champion"], ["network=samplecnn_m3_n3_s9"]])
def test_a_probe_into_a_file_is_refused_before_torch_is_loaded(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "afile").touch()
    command = [sys.executable, "-X", "importtime", "-m", "zoo.probe", *words, "out=afile"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert (done.returncode, said) == (
        2,
        [f"out=afile is a file; give a folder, such as out={tmp_path}/afile-out"],
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "zoo.trained.targets" in loaded
    assert "torch" not in loaded


def test_an_import_into_a_file_is_refused_before_its_weights_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "afile").touch()
    words = ["network=samplecnn_m3_n3_s9", "weights=no.pth", "tags=no.txt", f"out={tmp_path}/afile"]
    assert main(["import", *words]) == 2
    assert capsys.readouterr().err.startswith(f"out={tmp_path}/afile is a file; give a folder")


def test_a_probe_of_an_unknown_network_makes_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert probe.main(["network=samplecn", f"out={tmp_path}/out"]) == 2
    assert capsys.readouterr().err.startswith("no network is called 'samplecn'; did you mean")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["-h"], 0), (["all"], 2)])
def test_recount_counts_nothing_where_it_is_asked_for_help_or_a_word(
    words: list[str], code: int, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recount, "_recount", lambda: pytest.fail("it counts"))
    assert recount.main(words) == code
    shown = capsys.readouterr()
    if code:
        assert shown.err == "'all' is not understood; recount takes no words (see --help)\n"
    else:
        assert "python -m zoo.recount" in shown.out


def test_a_list_of_tags_that_is_not_there_is_told_without_a_number(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["network=samplecnn_m3_n3_s9", "weights=no.pth", "tags=no.txt", f"out={tmp_path}/out"]
    assert main(["import", *words]) == 2
    assert capsys.readouterr().err == "no.txt is no list of tags: No such file or directory\n"
