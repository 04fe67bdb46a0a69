"""Trials in a storage that machines without a common disk share: there whole or not at all, and never taken back."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest
from chaos.nodes import ray_nodes
from machines import KEY, Machines, write
from s3_server import Bucket
from test_search_training import settings

import zoo
from search import files, storage
from search.errors import ConfigError
from search.settings import Cluster
from search.storage import Storage, StorageError
from search.trials.errand import Errand
from search.trials.training import Fit
from search.trials.trial import Trial


@pytest.fixture(params=["s3", "folder"])
def shared(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty storage that WAVEZOO_TRIALS names."""
    address = str(tmp_path / "shared")
    if request.param == "s3":
        address = f"{request.getfixturevalue('bucket').address}/{tmp_path.name}"
    monkeypatch.setenv(files.TRIALS, address)
    return address


def test_a_trial_left_on_one_machine_is_taken_up_on_another(shared: str, machines: Machines) -> None:
    wanted = settings(seed=5)
    signature = wanted.signature()
    with Trial(wanted, "cpu", {}) as trial:
        trial.advance()
        first = trial.history

    machines.go_to("driver")  # it only looks on
    assert files.read_epochs(signature) == first
    assert files.read_result(signature) is None

    machines.go_to("second")
    with Trial(wanted, "cpu", {}) as trial:
        assert trial.history == first, "it began anew"
        while "result" not in (row := trial.advance()):
            pass

    machines.go_to("driver")
    assert files.read_result(signature) == row["result"]
    rows = files.read_epochs(signature)
    assert [each["epoch"] for each in rows] == [1, 2, 3, 4]
    folder = files.trial_folder(signature)
    assert zoo.load(str(folder / files.CHECKPOINT)).card.scores["test"] == row["result"]["test"]
    assert (folder / files.SCORES).is_file()
    assert not (folder / files.STATE).exists()

    machines.go_to("third")  # nothing is left to train there
    with Trial(wanted, "cpu", {}) as trial:
        assert trial.advance()["result"] == row["result"]


@pytest.mark.usefixtures("shared")
def test_the_next_epoch_is_trained_while_the_last_one_is_copied(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.go_to("first")
    push, gradients, trains = Storage.push, Fit.gradients, threading.Event()
    seen: list[tuple[int, bool]] = []

    def slow(store: Storage, key: str, folder: Path, ended: bool, epochs: int, patient: bool) -> None:
        if epochs == 1:
            seen.append((epochs, trains.wait(60)))
        push(store, key, folder, ended, epochs, patient)
        seen.append((epochs, ended))

    def step(fit: Fit, *batch: object) -> object:
        if fit.progress.epoch:
            trains.set()
        return gradients(fit, *batch)

    monkeypatch.setattr(Storage, "push", slow)
    monkeypatch.setattr(Fit, "gradients", step)
    with Trial(settings(seed=5), "cpu", {}) as trial:
        while not trial.advance()["last"]:
            pass
    assert seen == [(1, True), (1, False), (2, False), (3, False), (4, True)]


@pytest.mark.usefixtures("shared")
def test_a_state_is_written_when_the_copy_of_the_one_before_is_whole(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.go_to("first")
    push, wait, write_state = Storage.push, Errand.wait, Trial._write_state
    is_copied, is_waited_for, seen = threading.Event(), threading.Event(), list[bool]()

    def slow(store: Storage, *given: object, **more: object) -> None:
        assert is_waited_for.wait(60)
        push(store, *given, **more)  # type: ignore[arg-type]
        is_copied.set()

    def waits(errand: Errand) -> None:
        if errand._doing is not None:
            is_waited_for.set()
        wait(errand)

    def writes(trial: Trial) -> None:
        seen.append(is_copied.is_set())
        write_state(trial)

    monkeypatch.setattr(Storage, "push", slow)
    monkeypatch.setattr(Errand, "wait", waits)
    monkeypatch.setattr(Trial, "_write_state", writes)
    with Trial(settings(seed=5), "cpu", {}) as trial:
        for _ in range(2):
            trial.advance()
    assert seen == [False, True]


@pytest.mark.usefixtures("shared")
def test_what_goes_wrong_in_the_copying_is_told_by_the_next_epoch(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.go_to("first")

    def broken(store: Storage, *given: object, **more: object) -> None:
        raise StorageError("what lies there is damaged")

    monkeypatch.setattr(Storage, "push", broken)
    with Trial(settings(seed=5), "cpu", {}) as trial:
        trial.advance()
        with pytest.raises(StorageError, match="what lies there is damaged"):
            trial.advance()
        assert len(files.read_json(trial.folder / files.EPOCHS)) == 2, "the epoch trained meanwhile was lost"
    with Trial(settings(seed=6), "cpu", {}) as left:
        left.advance()
    with Trial(settings(seed=6), "cpu", {}) as again:  # nobody holds its folder, and nothing was raised
        assert len(again.history) == 1


def test_what_lies_in_the_storage_is_never_taken_back(shared: str, machines: Machines) -> None:
    write(epochs=5, state=b"five")
    assert files.share(KEY)
    machines.go_to("slow")  # a machine that was cut off, and trained on by itself
    write(epochs=3, state=b"three")
    assert files.share(KEY)
    machines.go_to("third")
    files.bring(KEY)
    assert (files.trial_folder(KEY) / files.STATE).read_bytes() == b"five"
    machines.go_to("slow")
    files.bring(KEY)
    assert (files.trial_folder(KEY) / files.STATE).read_bytes() == b"five"


def test_a_folder_that_is_further_than_the_storage_is_left_alone(shared: str, machines: Machines) -> None:
    write(epochs=1, state=b"one")
    files.share(KEY)
    write(epochs=2, state=b"two")
    files.bring(KEY)
    assert (files.trial_folder(KEY) / files.STATE).read_bytes() == b"two"


def test_epochs_to_look_at_are_no_state_to_go_on_from(shared: str, machines: Machines) -> None:
    write(epochs=2, state=b"two")
    files.share(KEY)
    machines.go_to("second")
    assert len(files.read_epochs(KEY)) == 2
    assert not (files.trial_folder(KEY) / files.STATE).exists()
    files.bring(KEY)
    assert (files.trial_folder(KEY) / files.STATE).read_bytes() == b"two"


def stored(shared: str) -> list[str]:
    """What lies in the storage for the trial."""
    found = storage.at(shared, storage.endpoint())
    listed = found._fs.get_file_info(storage.fs.FileSelector(f"{found._root}/trials/{KEY}"))
    return sorted(file.base_name for file in listed)


def test_old_states_do_not_pile_up(shared: str, machines: Machines) -> None:
    for epochs in range(1, 6):
        write(epochs, state=b"%d" % epochs)
        files.share(KEY)
    kinds = [name.partition("-")[2] or name for name in stored(shared)]
    assert sorted(kinds) == ["epochs.json", "state.safetensors", "trial.json"]


def test_a_copy_that_was_broken_off_is_no_trial(
    shared: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(epochs=1, state=b"one")
    files.share(KEY)
    write(epochs=2, state=b"two")
    written: list[str] = []

    def killed(self: storage.Storage, path: str, data: bytes) -> None:
        if path.endswith(storage.ABOUT):
            raise KeyboardInterrupt
        written.append(path)
        whole(self, path, data)

    whole = storage.Storage._write
    with monkeypatch.context() as patch:
        patch.setattr(storage.Storage, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            files.share(KEY)
    assert len(written) == 2, "the state had not been copied yet"
    machines.go_to("second")
    files.bring(KEY)
    assert (files.trial_folder(KEY) / files.STATE).read_bytes() == b"one"
    assert len(files.read_epochs(KEY)) == 1


def leave_one_epoch_and_go(machines: Machines) -> None:
    """Of a trial whose state is `one`, on the first machine and in the storage; then this process is at the second."""
    write(epochs=1, state=b"one")
    files.share(KEY)
    machines.go_to("second")


def test_a_state_that_is_replaced_while_it_is_read_is_read_again(
    shared: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_one_epoch_and_go(machines)
    whole = storage.Storage._fetched

    def meanwhile(self: storage.Storage, *given: object) -> bool:
        monkeypatch.setattr(storage.Storage, "_fetched", whole)
        machines.go_to("first")
        write(epochs=2, state=b"two")
        files.share(KEY)
        machines.go_to("second")
        return whole(self, *given)

    monkeypatch.setattr(storage.Storage, "_fetched", meanwhile)
    files.bring(KEY)
    assert (files.trial_folder(KEY) / files.STATE).read_bytes() == b"two"


def test_a_copy_whose_half_is_taken_for_a_killed_writers_is_fetched_again(
    shared: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_one_epoch_and_go(machines)
    write_bytes = Path.write_bytes

    def swept(part: Path, data: bytes) -> int:
        written = write_bytes(part, data)
        if part.name.startswith(files.STATE):
            monkeypatch.setattr(Path, "write_bytes", write_bytes)
            files.lock(files.trial_folder(KEY)).close()
        return written

    monkeypatch.setattr(Path, "write_bytes", swept)
    files.bring(KEY)
    assert (files.trial_folder(KEY) / files.STATE).read_bytes() == b"one"


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        ("record", "is damaged (Expecting value: line 1 column 1 (char 0)); remove it to train that network"),
        ("names", "is damaged (it names files that no trial has); remove it to train that network again"),
        ("content", "is damaged (state.safetensors is not what was written); remove it to train"),
        ("missing", "is damaged (files that it names are missing); remove it to train that network again"),
    ],
)
def test_what_was_spoilt_in_the_storage_is_named_and_not_used(
    tmp_path: Path, machines: Machines, monkeypatch: pytest.MonkeyPatch, harm: str, complaint: str
) -> None:
    monkeypatch.setenv(files.TRIALS, str(tmp_path / "shared"))
    write(epochs=1)
    files.share(KEY)
    folder = tmp_path / "shared" / "trials" / KEY
    about, (state,) = folder / storage.ABOUT, folder.glob("*-state.safetensors")
    if harm == "record":
        about.write_text("half a rec")
    if harm == "names":
        about.write_text(json.dumps({"ended": False, "epochs": 9, "files": {"../../studies.db": "0"}}))
    if harm == "content":
        state.write_bytes(b"another")
    if harm == "missing":
        state.unlink()
    machines.go_to("second")
    with pytest.raises(StorageError) as error:
        files.bring(KEY)
    assert f"{folder} {complaint}" in str(error.value)
    assert not (files.trial_folder(KEY) / files.STATE).exists()


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("s3://key:secret@bucket/x", r"cluster.storage=s3://\.\.\.@bucket/x: keys and options don't belong"),
        ("s3://bucket?endpoint_override=x", r"cluster.storage=s3://bucket: keys and options don't belong"),
        ("trials", "cluster.storage=trials: give s3://BUCKET/PREFIX, or an absolute path"),
        ("gs://bucket/x", "cluster.storage=gs://bucket/x: give s3://BUCKET/PREFIX, or an absolute path"),
    ],
)
def test_an_address_that_is_none_is_refused(
    address: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=complaint) as error:
        Cluster(storage=address)
    assert "secret" not in str(error.value)
    monkeypatch.setenv(files.TRIALS, address)
    with pytest.raises(ConfigError, match=complaint):
        files.bring(KEY)


SPACE = '''"""One: a single small network."""
from search.spaces import Point
GRID = [{}]
def sample(trial):
    return Point("samplecnn_m3_n3_s729")
'''


@pytest.mark.slow
def test_a_search_goes_on_on_another_machine_with_only_a_bucket_and_the_ledger_in_common(
    bucket: Bucket, machines: Machines, mlflow_db: Path, tmp_path: Path
) -> None:
    (tmp_path / "one.py").write_text(SPACE)
    words = [f"space={tmp_path / 'one.py'}", "dataset=demo", "budget=small", "budget.epochs_per_stage=8"]
    words += ["budget.patience=100", "budget.multiply_adds_per_epoch=1", "study=shared"]
    words += [f"storage=sqlite:///{tmp_path / 'ledger.db'}", f"cluster.storage={bucket.address}/whole"]

    def start(machine: str) -> "subprocess.Popen[str]":
        machines.go_to(machine)
        shutil.copy(mlflow_db, files.home() / "mlflow.db")
        return subprocess.Popen(
            [sys.executable, "-m", "search.run", *words, f"cluster.address={nodes.address}"],
            env={**os.environ, "MLFLOW_TRACKING_URI": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    with ray_nodes(1) as nodes:
        first = start("first")
        try:
            known = epochs_in(f"{bucket.address}/whole", first, machines)
        finally:
            first.kill()
            print(first.communicate()[0])  # for whoever reads why a test failed
        (tmp_path / "first" / "trials").rename(tmp_path / "gone")  # that machine will never come back

        said, _ = (second := start("second")).communicate(timeout=300)
    assert second.returncode == 0, said
    assert "is version 1 of demo-one and is its champion" in said
    (folder,) = (tmp_path / "second" / "trials").iterdir()
    rows = json.loads((folder / files.EPOCHS).read_text("utf-8"))
    assert [row["epoch"] for row in rows] == list(range(1, 17))
    assert rows[: len(known)] == known, "it began anew"  # the seconds that each epoch took are in it
    study = optuna.load_study(study_name="shared", storage=f"sqlite:///{tmp_path / 'ledger.db'}")
    (trial,) = study.get_trials()
    assert trial.intermediate_values == {row["epoch"]: row["valid_roc_auc"] for row in rows}


def epochs_in(address: str, search: "subprocess.Popen[str]", machines: Machines) -> list[dict]:
    """Three or more epochs of the only trial, as another machine sees them while the search runs."""
    trials = files.home() / "trials"
    machines.go_to("looking on")
    machines.monkeypatch.setenv(files.TRIALS, address)
    deadline = time.monotonic() + 400
    rows: list[dict] = []
    while len(rows) < 3:
        assert time.monotonic() < deadline, "no epoch came into the bucket"
        assert search.poll() is None, "the search has ended"
        rows = [row for folder in trials.glob("*") for row in files.read_epochs(folder.name)]
        time.sleep(0.1)  # a poll
    machines.monkeypatch.delenv(files.TRIALS)
    return rows
