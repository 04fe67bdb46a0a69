"""MLflow: what a search's run says of it, what its children have, and what the workers used."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clip_scores import a_network, leave_trial
from mlflow import MlflowClient
from mlflow.entities import Run
from ports import free_port

from search import environment, files
from search.outcome import Outcome
from search.recording import delivering, notes
from search.recording.marks import SIGNATURE, STUDY
from search.recording.search_run import SearchRun
from search.recording.store import client
from search.recording.tracking import Tracker
from search.study.assignment import Assignment
from search.trials import usage

ONE, OTHER = "samplecnn_m3_n4_s729", "samplecnn_m3_n5_s243"
CODE = {"git_commit": "abcdef0123456789", "git_dirty": True, "command": "python -m search.run space=table2"}


def a_search() -> SearchRun:
    return SearchRun(
        experiment="demo-x",
        study="demo-x-1",
        params={"seeds": 1},
        tags={"dataset": "demo"},
        config={},
        environment=CODE,
        question="Which is better?",
    )


@pytest.fixture
def store(fresh_home: Path, mlflow_db: Path) -> MlflowClient:
    shutil.copy(mlflow_db, fresh_home / "mlflow.db")
    return client(f"sqlite:///{fresh_home / 'mlflow.db'}")


def an_epoch(number: int) -> dict[str, Any]:
    scores = {"train_loss": 0.5, "valid_loss": 0.5, "valid_roc_auc": 0.6, "valid_pr_auc": 0.3}
    return {"epoch": number, "learning_rate": 0.01, "seconds": 30.0, **scores}


def a_trial(number: int, network: str, ear: float) -> Assignment:
    """A trial that has ended in its folder, after two epochs."""
    result, settings = leave_trial(network, a_network(ear, seed=number))
    folder = files.trial_folder(result["signature"])
    files.write_json(folder / files.EPOCHS, [an_epoch(1), an_epoch(2)])
    (folder / files.CHECKPOINT).mkdir()
    (folder / files.CHECKPOINT / "card.json").write_text("{}")
    watch = usage.Usage()
    for epoch in (1, 2):
        watch.note(result["signature"], epoch)
    return Assignment(number, settings)


def track(store: MlflowClient, *ended: tuple[Assignment, str, str]) -> None:
    tracker = Tracker(str(store.tracking_uri), a_search())
    for assignment, outcome, why in ended:
        tracker.started(assignment)
        tracker.ended(assignment, outcome, why)
    assert tracker.close(complete=True, patience_seconds=120) == 0, tracker.trouble


def runs(store: MlflowClient) -> tuple[Run, dict[str, Run]]:
    """The search's run, and the others by their signature."""
    experiment = store.get_experiment_by_name("demo-x")
    found = store.search_runs([experiment.experiment_id])
    (parent,) = [run for run in found if STUDY in run.data.tags]
    return parent, {run.data.tags[SIGNATURE]: run for run in found if SIGNATURE in run.data.tags}


def test_a_searchs_run_tells_what_it_asks_what_it_cost_who_leads_and_lists_its_children(
    store: MlflowClient, tmp_path: Path
) -> None:
    good, bad = a_trial(0, ONE, 4.0), a_trial(1, OTHER, 0.3)
    track(store, (good, Outcome.DONE, ""), (bad, Outcome.FAILED, "diverged: the loss is nan"))
    parent, children = runs(store)
    note = parent.data.tags["mlflow.note.content"]
    best = files.read_result(good.signature)
    assert best is not None
    for words in (
        "**Which is better?**",
        "    python -m search.run space=table2",
        "Commit abcdef0123; **changed since, so the commit alone does not give these numbers**.",
        "Cost so far: 2 trainings ended (1 done, 1 failed), 2 min of training.",
        f"Leader: {ONE} seed 0, valid AUC {best['valid']['roc_auc']:.4f}, test AUC {best['test']['roc_auc']:.4f}.",
        f"| {OTHER} | 0 |",
        "failed: diverged: the loss is nan",
        children[good.signature].info.run_id,
    ):
        assert words in note
    table = Path(store.download_artifacts(parent.info.run_id, "children.md", str(tmp_path))).read_text()
    assert table.strip() in note
    titles = table.splitlines()[0]
    assert "options.stride" in titles, "the two differ in it"
    assert "training" not in titles, "both were trained alike"


@pytest.mark.parametrize("is_pruned", [False, True])
def test_an_epoch_that_is_told_before_its_row_is_here_follows_once_it_is(
    is_pruned: bool, store: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine trains on while it copies its folder to where the driver finds it."""
    trial, delivered = a_trial(0, ONE, 4.0), threading.Event()
    looks, deliver = iter([[an_epoch(1)], [an_epoch(1)]]), delivering.deliver

    def seen(*given: Any) -> None:
        deliver(*given)
        if any(row["epoch"] == 2 for row in given[3]):
            delivered.set()

    monkeypatch.setattr("search.recording.tracking.RETRY_SECONDS", 0.01)
    monkeypatch.setattr("search.recording.tracking.HEAD_START_SECONDS", 0.0)
    monkeypatch.setattr(files, "read_epochs", lambda signature: next(looks, [an_epoch(1), an_epoch(2)]))
    monkeypatch.setattr(delivering, "deliver", seen)
    tracker = Tracker(str(store.tracking_uri), a_search())
    tracker.started(trial)
    tracker.epoch(trial, an_epoch(2))
    if is_pruned:
        tracker.ended(trial, Outcome.STOPPED, "")
    assert delivered.wait(120), tracker.trouble
    assert tracker.close(complete=True, patience_seconds=120) == 0
    run = runs(store)[1][trial.signature]
    assert [each.step for each in store.get_metric_history(run.info.run_id, "valid_roc_auc")] == [1, 2]
    assert run.data.tags.get("wavezoo.outcome") == ("stopped" if is_pruned else None)


def test_a_failure_is_told_at_once_for_its_last_row_may_be_lost_with_its_machine(
    store: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, settled, settle = a_trial(0, ONE, 4.0), threading.Event(), delivering.settle
    monkeypatch.setattr("search.recording.tracking.HEAD_START_SECONDS", 0.0)
    monkeypatch.setattr(delivering, "settle", lambda *given: settle(*given) or settled.set())
    tracker = Tracker(str(store.tracking_uri), a_search())
    tracker.started(trial)
    tracker.epoch(trial, an_epoch(3))
    tracker.ended(trial, Outcome.FAILED, "lost: its node")
    assert settled.wait(120), tracker.trouble
    assert tracker.close(complete=True, patience_seconds=120) == 0


def test_the_end_of_a_search_waits_little_for_a_server_that_never_answered(
    fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.recording.tracking.MEETING_SECONDS", 0.0)
    tracker = Tracker(f"http://127.0.0.1:{free_port()}", a_search())
    tracker.started(a_trial(0, ONE, 4.0))
    assert tracker.close(complete=True, patience_seconds=3600) == 1  # an hour, if it were waited for
    tracker._thread.join()
    assert "MLflow at http://127.0.0.1:" in str(tracker.trouble)


def test_an_epoch_whose_row_never_comes_keeps_no_run_open_beyond_the_search(store: MlflowClient) -> None:
    trial = a_trial(0, ONE, 4.0)
    tracker = Tracker(str(store.tracking_uri), a_search())
    tracker.started(trial)
    tracker.epoch(trial, an_epoch(3))
    tracker.ended(trial, Outcome.STOPPED, "")
    assert tracker.close(complete=True, patience_seconds=120) == 0
    assert runs(store)[1][trial.signature].data.tags["wavezoo.outcome"] == "stopped"


def test_a_child_is_named_by_its_network_and_says_code_command_protocol_and_scores(
    store: MlflowClient,
) -> None:
    done = a_trial(0, ONE, 4.0)
    track(store, (done, Outcome.DONE, ""))
    _, children = runs(store)
    run, result = children[done.signature], files.read_result(done.signature)
    assert result is not None
    assert run.info.run_name == f"{ONE} seed 0"
    wanted = {
        "wavezoo.command": CODE["command"],
        "mlflow.source.git.commit": CODE["git_commit"],
        "git_dirty": "true",
        "host": os.uname().nodename,
        **{f"protocol.{key}": str(value) for key, value in result["protocol"].items()},
    }
    assert wanted.items() <= run.data.tags.items()
    assert run.data.tags["protocol.sample_rate_hz"] == "22050"
    for name in ("test_roc_auc", "test_roc_auc_low_by_artist", "test_unseen_artist_pr_auc"):
        assert name in run.data.metrics


def test_what_a_worker_used_is_under_system_metrics_once_an_epoch(store: MlflowClient) -> None:
    done = a_trial(0, ONE, 4.0)
    for _ in range(2):  # the second driver finds nothing new to tell
        track(store, (done, Outcome.DONE, ""))
    _, children = runs(store)
    for name in ("system/cpu_utilization_percentage", "system/process_memory_megabytes"):
        history = store.get_metric_history(children[done.signature].info.run_id, name)
        assert [metric.step for metric in history] == [1, 2]
    assert history[0].value > 1, "megabytes of a process that has imported all this"


class Quick:
    """Stands for MLflow's client: its tables are a word in their file. meanwhile: what happens until they are there."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def __init__(self, tracking_uri: str, **more: str) -> None:
        self.file = Path(tracking_uri.removeprefix("sqlite:///"))

    def search_experiments(self) -> None:
        self.meanwhile()
        self.file.write_text("tables")


def test_of_two_that_make_a_store_at_once_the_first_ones_stays_with_its_runs(
    bare_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = bare_home / "mlflow.db"
    monkeypatch.setattr("mlflow.MlflowClient", Quick)
    monkeypatch.setattr(Quick, "meanwhile", lambda made: file.write_text("tables and runs"))
    client(f"sqlite:///{file}")
    assert file.read_text() == "tables and runs"
    assert list(bare_home.iterdir()) == [file], "nothing half-made is left"


def test_a_disk_that_knows_no_links_can_hold_a_store(
    bare_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(part: Path, file: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr("mlflow.MlflowClient", Quick)
    client(f"sqlite:///{bare_home / 'mlflow.db'}")
    assert [(each.name, each.read_text()) for each in bare_home.iterdir()] == [("mlflow.db", "tables")]


def test_a_second_driver_lists_the_children_of_the_first_again(store: MlflowClient) -> None:
    one, other = a_trial(0, ONE, 4.0), a_trial(1, OTHER, 0.3)
    track(store, (one, Outcome.DONE, ""))
    track(store, (one, Outcome.DONE, ""), (other, Outcome.DONE, ""))
    parent, _ = runs(store)
    assert "2 trainings ended (2 done)" in parent.data.tags["mlflow.note.content"]


def test_a_note_too_long_for_mlflow_keeps_whole_rows_and_says_where_the_rest_is() -> None:
    many = [
        notes.child("r" * 32, {"network": f"network{at}", "seed": 0}, Outcome.DONE, "", [an_epoch(1)], None)
        for at in range(200)
    ]
    note = notes.note({"question": "q", **CODE}, many)
    assert len(note) <= notes.MOST_CHARACTERS
    head, end = note.rsplit("\n\n", 1)
    assert end == "The whole table is among the artifacts, children.md."
    assert head.endswith(" |")
    assert notes.table(many).count("\n") == 201


def test_a_cell_cannot_break_the_table() -> None:
    broken = notes.child("r", {"network": "n", "seed": 0}, Outcome.FAILED, "a | b\nc", [], None)
    assert "| failed: a / b c |" in notes.table([broken])


def test_notes_of_usage_survive_a_line_that_was_never_finished(fresh_home: Path) -> None:
    folder = files.trial_folder("s")
    folder.mkdir(parents=True)
    usage.Usage().note("s", 1)
    with (folder / usage.FILE).open("a") as file:
        file.write(json.dumps({"epoch": 2})[:5])
    assert [row["epoch"] for row in usage.read("s")] == [1]
    assert usage.read("unknown") == []
    usage.Usage().note("gone", 1)  # whose folder is not there: nothing stops


def test_changed_code_is_warned_of_and_what_lies_beside_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(
            ["git", "-C", str(tmp_path), *who, *words], capture_output=True, text=True, check=True
        ).stdout

    monkeypatch.setattr(environment, "checkout", lambda: tmp_path)
    assert environment.commit() == {"git_commit": "", "git_dirty": False}, "no checkout"
    git("init")
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "run.py").write_text("pass\n")
    git("add", ".")
    git("commit", "-m", "first")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "depth.png").touch()
    (tmp_path / "basic_auth.db").touch()
    assert environment.warning() == ""
    for changed in ("run.py", "mine.py"):
        (tmp_path / "search" / changed).write_text("1\n")
        assert environment.warning() == (
            f"warning: the code was changed since commit {git('rev-parse', 'HEAD')[:10]}, so the commit alone will "
            f"not give these numbers again"
        )
        git("add", ".")
        git("commit", "-m", changed)
        assert environment.warning() == ""
