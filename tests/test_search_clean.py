"""What nothing needs any more: found, shown, deleted where it is asked for; what anyone refers to stays."""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from made_searches import Made, a_search, failed, leave_epochs, settings
from optuna.trial import TrialState

from search import clean, files
from search.recording.marks import SIGNATURE
from search.recording.store import client
from search.results import leftovers
from search.settings import TrialSettings

NETWORK = "samplecnn_m3_n4_s729"
LONG_AGO = time.time() - 3 * 86_400


def a_trial(seed: int) -> TrialSettings:
    """One in the middle of its training, untouched for three days."""
    one = settings(NETWORK, seed)
    leave_epochs(one, 2)
    folder = files.trial_folder(one.signature())
    (folder / files.STATE).write_bytes(b"s" * 1000)
    (folder / files.LOCK).touch()
    age(folder)
    return one


def age(path: Path) -> None:
    for each in (path, *path.rglob("*")):
        os.utime(each, (LONG_AGO, LONG_AGO))


def folder_of(one: TrialSettings) -> Path:
    return files.trial_folder(one.signature())


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    code = clean.main(words)
    out, err = capsys.readouterr()
    assert code == (2 if err else 0)
    return " ".join((out + err).split())


def test_without_delete_nothing_is_deleted(fresh_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lost = a_trial(0)
    said = told(capsys)
    assert f"{fresh_home} GB" in said
    assert "trials 1 0.00" in said
    assert "nothing has been deleted; to delete: python -m search.clean delete=trials" in said
    assert folder_of(lost).is_dir()


def test_the_command_that_deletes_looks_where_this_one_did(
    fresh_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_trial(0)
    a_search(fresh_home, "mine", [])
    storage = f"storage=sqlite:///{shutil.copy(fresh_home / 'studies.db', tmp_path / 'our ledger.db')}"
    assert f"to delete: python -m search.clean delete=trials days=2 '{storage}'" in told(
        capsys, "days=2", storage
    )


def test_a_trial_that_a_search_names_stays_and_one_that_nobody_names_goes(
    fresh_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = [TrialState.RUNNING, TrialState.COMPLETE]
    kept = [Made(a_trial(at), state) for at, state in enumerate(states)]
    unwanted = failed(a_trial(8), "not wanted", "this command does not ask for it")
    a_search(fresh_home, "mine", [*kept, unwanted, failed(a_trial(9), "lost", "its node is gone")])
    lost = a_trial(10)
    said = told(capsys, "delete=trials,states,parts")
    assert "deleted 1 of 1" in said
    assert not folder_of(lost).exists()
    for seed in (0, 1, 8, 9):
        assert (folder_of(settings(NETWORK, seed)) / files.STATE).is_file()


def test_a_trial_that_mlflow_names_stays(mlflow_uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    recorded, lost = [a_trial(0), a_trial(1)], a_trial(2)
    mlflow = client(mlflow_uri)
    for name, each in zip(("mine", "other"), recorded, strict=True):
        long_ago_ms = int(1000 * LONG_AGO)
        place = mlflow.create_experiment(name)
        mlflow.create_run(place, start_time=long_ago_ms, tags={SIGNATURE: each.signature()})
    told(capsys, "delete=trials", f"tracking={mlflow_uri}")
    assert all(folder_of(each).is_dir() for each in recorded)
    assert not folder_of(lost).exists()


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen between the search for leftovers and their end, once."""
    find = leftovers.find

    def found(*given: Any) -> list[leftovers.Leftover]:
        left = find(*given)
        happens()
        return left

    monkeypatch.setattr(leftovers, "find", found)


def test_a_trial_that_a_search_takes_over_while_leftovers_are_looked_for_stays(
    fresh_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It finds the result of another search and enters it as its own, without a touch of the folder."""
    taken, lost = a_trial(0), a_trial(1)
    meanwhile(monkeypatch, lambda: a_search(fresh_home, "new", [Made(taken, TrialState.COMPLETE)]))
    assert "deleted 1 of 2" in told(capsys, "delete=trials")
    assert folder_of(taken).is_dir()
    assert not folder_of(lost).exists()


def test_a_trial_that_mlflow_hears_of_while_leftovers_are_looked_for_stays(
    mlflow_uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded, mlflow = a_trial(0), client(mlflow_uri)
    place = mlflow.create_experiment("mine")
    meanwhile(monkeypatch, lambda: mlflow.create_run(place, tags={SIGNATURE: recorded.signature()}))
    assert "deleted 0 of 1" in told(capsys, "delete=trials", f"tracking={mlflow_uri}")
    assert folder_of(recorded).is_dir()


def test_a_state_that_is_wanted_again_while_leftovers_are_looked_for_stays(
    fresh_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = a_trial(0)
    a_search(fresh_home, "one", [Made(stopped, TrialState.PRUNED)])
    meanwhile(monkeypatch, lambda: a_search(fresh_home, "new", [Made(stopped, TrialState.RUNNING)]))
    assert "deleted 0 of 1" in told(capsys, "delete=states")
    assert (folder_of(stopped) / files.STATE).is_file()


def test_who_names_trials_is_asked_again_before_each_batch(
    fresh_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = sorted((a_trial(0), a_trial(1)), key=TrialSettings.signature)
    rmtree = shutil.rmtree

    def while_it_is_deleted(folder: Path) -> None:
        a_search(fresh_home, "new", [Made(second, TrialState.COMPLETE)])
        rmtree(folder)

    monkeypatch.setattr(leftovers, "BATCH", 1)
    monkeypatch.setattr(shutil, "rmtree", while_it_is_deleted)
    assert "deleted 1 of 2" in told(capsys, "delete=trials")
    assert not folder_of(first).exists()
    assert folder_of(second).is_dir()


def test_what_is_written_while_leftovers_are_looked_for_stays(
    fresh_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    resumed, looked_at = a_trial(0), fresh_home / "filters" / "a"
    looked_at.parent.mkdir()
    looked_at.write_text("old")
    age(looked_at)
    parts = (looked_at, folder_of(resumed) / files.EPOCHS)
    meanwhile(monkeypatch, lambda: [each.write_text("[]") for each in parts])
    assert "deleted 0 of 2" in told(capsys, "delete=trials,filters")
    assert all(each.read_text() == "[]" for each in parts)


def test_a_leftover_inside_another_keeps_that_from_nothing(
    fresh_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(a_trial(0))
    (folder / files.RESULT).write_text("{}")
    (folder / ".checkpoint.4711.part").mkdir()
    (folder / ".checkpoint.4711.part" / "card.json.4711.part").touch()
    age(folder)
    assert "deleted 4 of 4" in told(capsys, "delete=parts,states,trials")
    assert not folder.exists()


def test_of_a_trial_that_was_stopped_early_the_state_goes_and_the_rest_stays(
    fresh_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped, wanted_elsewhere = a_trial(0), a_trial(1)
    a_search(fresh_home, "one", [Made(each, TrialState.PRUNED) for each in (stopped, wanted_elsewhere)])
    a_search(fresh_home, "other", [Made(wanted_elsewhere, TrialState.RUNNING)])
    told(capsys, "delete=states")
    assert not (folder_of(stopped) / files.STATE).exists()
    assert (folder_of(stopped) / files.EPOCHS).is_file()
    assert (folder_of(wanted_elsewhere) / files.STATE).is_file()


def test_of_a_trial_that_was_killed_after_its_result_the_state_goes(
    fresh_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = a_trial(0)
    a_search(fresh_home, "one", [Made(ended, TrialState.COMPLETE)])
    (folder_of(ended) / files.RESULT).write_text("{}")
    age(folder_of(ended))
    told(capsys, "delete=states,trials")
    assert not (folder_of(ended) / files.STATE).exists()
    assert (folder_of(ended) / files.RESULT).is_file()


def test_what_a_process_holds_stays(fresh_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = a_trial(0)
    building = fresh_home / "datasets"
    building.unlink()  # the link to the rendered data set
    (building / "mine").mkdir(parents=True)
    (building / "mine" / ".building").touch()
    age(building)
    with (
        (folder_of(held) / files.LOCK).open("rb") as one,
        (building / "mine" / ".building").open("rb") as two,
    ):
        fcntl.flock(one, fcntl.LOCK_EX)
        fcntl.flock(two, fcntl.LOCK_EX)
        assert "nothing is left over" in told(capsys, "delete=trials,builds")
    told(capsys, "delete=trials,builds")
    assert not folder_of(held).exists()
    assert not (building / "mine").exists()


@pytest.mark.usefixtures("fresh_home")
def test_a_lock_on_a_network_file_system_wants_a_file_open_for_writing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def over_nfs(file: IO[bytes], how: int) -> None:
        if not file.writable():
            raise OSError(errno.EBADF, "Bad file descriptor")
        fcntl.flock(file, how)

    monkeypatch.setattr(leftovers, "flock", over_nfs)
    lost = a_trial(0)
    assert "deleted 1 of 1" in told(capsys, "delete=trials")
    assert not folder_of(lost).exists()


def test_a_checkpoint_that_a_trial_is_writing_stays(
    fresh_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(a_trial(0))
    (folder / ".checkpoint.4711.0123abcd.part").mkdir()
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "card.json.4711.part").touch()
    with (folder / files.LOCK).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "nothing is left over" in told(capsys, "delete=parts", "days=0")
    assert "deleted 2 of 2" in told(capsys, "delete=parts", "days=0")


def test_a_shard_that_a_build_is_writing_stays(fresh_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (fresh_home / "datasets").unlink()  # the link to the rendered data set
    folder = fresh_home / "datasets" / "mine"
    (folder / "shards").mkdir(parents=True)
    (folder / "card.json").touch()
    (folder / "shards" / "00000.arrow.4711.part").touch()
    with (folder / ".building").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "nothing is left over" in told(capsys, "delete=parts", "days=0")
    assert "deleted 1 of 1" in told(capsys, "delete=parts", "days=0")


def test_what_has_changed_today_stays_unless_days_says_otherwise(
    fresh_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = fresh_home / "leaderboards" / "a.md.4711.part"
    part.parent.mkdir()
    part.write_text("half")
    assert "nothing is left over that has not changed for 1 days" in told(capsys, "delete=parts")
    assert part.exists()
    assert "deleted 1 of 1" in told(capsys, "delete=parts", "days=0")
    assert not part.exists()


def test_a_download_that_can_go_on_is_no_leftover(
    fresh_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = fresh_home / "sources" / "mtat" / "mp3.zip.001.part"
    part.parent.mkdir(parents=True)
    part.write_text("half")
    age(fresh_home / "sources")
    assert "nothing is left over" in told(capsys, "delete=parts")
    assert part.exists()


def test_a_link_out_of_the_home_is_not_followed(
    fresh_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("mine")
    (fresh_home / "trials").mkdir()
    (fresh_home / "trials" / "0123456789abcdef").symlink_to(elsewhere)
    told(capsys, "delete=trials,builds", "days=0")
    assert (elsewhere / "precious").is_file()
    assert (fresh_home / "datasets").is_symlink()


def test_a_ledger_that_cannot_be_read_costs_nothing(
    fresh_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = a_trial(0)
    (fresh_home / "studies.db").write_text("not a database")
    assert "can't read the ledger" in told(capsys, "delete=trials")
    assert folder_of(lost).is_dir()


@pytest.mark.usefixtures("fresh_home")
def test_an_mlflow_that_cannot_be_asked_costs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    lost = a_trial(0)
    said = told(capsys, "delete=trials", "tracking=http://127.0.0.1:1")
    assert "MLflow at http://127.0.0.1:1 can't be asked which trials it names" in said
    assert folder_of(lost).is_dir()


@pytest.mark.usefixtures("fresh_home")
def test_a_password_is_in_no_complaint(capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, "tracking=http://me:secret@127.0.0.1:1")
    assert "MLflow at http://...@127.0.0.1:1 can't be asked" in said
    assert "secret" not in said


def test_what_a_search_takes_away_meanwhile_is_no_trouble(
    fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = fresh_home / "leaderboards" / "a.md.4711.part"
    part.parent.mkdir()
    part.write_text("half")

    def its_writer_ends(path: Path) -> int:
        path.unlink()
        return 4

    monkeypatch.setattr(leftovers, "size", its_writer_ends)
    assert leftovers.find(leftovers.References({}, frozenset())) == []


@pytest.mark.usefixtures("fresh_home")
@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("delete=trails", "delete=trails: did you mean trials"),
        ("days=-1", "days=-1: give a number, 0 or more"),
        ("days=soon", "days=soon: give a number, 0 or more"),
        ("all", "'all' is no word of this command"),
    ],
)
def test_wrong_words_are_told(word: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, word).startswith(complaint)
