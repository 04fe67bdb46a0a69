"""The overhead benchmark measures the search's own parts, and says what it measured."""

import re
from pathlib import Path

import pytest
from benchmarks import instant, long_search, overhead, reports

from datasets.errors import DatasetError
from search import files
from search.outcome import Outcome
from search.recording.tracking import Tracker


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["parts=trail"], r"parts=trail is no part of this benchmark; did you mean trial"),
        (["trials=many"], "trials=many is no whole number"),
        (["trials=3"], "give at least rounds=1, minutes=1, trials=20, writers=1 and seconds=2"),
        (["part=trial"], r"'part=trial' is no word of this command; did you mean parts\?"),
    ],
)
def test_words_that_cannot_be_are_refused(words: list[str], said: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(DatasetError, match=said):
        overhead.settings(words)
    assert overhead.main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_help_lists_every_word_and_part(capsys: pytest.CaptureFixture) -> None:
    assert overhead.main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"{word}=" in told for word in ("parts", *overhead.LEAST))
    assert all(part in told for part in overhead.PARTS)
    assert overhead.settings(["parts=server,memory", "writers=4"]).parts == ("server", "memory")


def test_an_instant_trial_is_done_before_its_worker_looks() -> None:
    with instant.made_up_home():
        decider, watcher = instant.a_decider(3, "sampler=random"), instant.Instant()
        while assignment := decider.next():
            watcher.started(assignment)
            result = files.read_result(assignment.signature)
            assert result is not None
            decider.finish(assignment.number, result)
            watcher.ended(assignment, Outcome.DONE, "")
        assert len(decider.ended()) == len(watcher.ends) == 3


def test_the_sampler_is_measured_at_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_search, "SIZES", (5, 20))
    monkeypatch.setattr(long_search, "SKIPPED", {("GPSampler", 5), ("GPSampler", 20)})
    said: list[str] = []
    long_search.sampler(said.append)
    rows = [line for line in said if line.startswith(("| TPE", "| GP", "| Random", "| NSGA"))]
    assert len(rows) == 6
    assert all(re.search(r"\| \d+\.\d \| \d+\.\d \|$", row) for row in rows if "GPSampler | all" not in row)


def test_the_memory_of_a_driver_is_measured_while_it_decides_records_and_delivers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(long_search, "MEMORY_TRIALS", 20)
    said: list[str] = []
    long_search.memory(said.append)
    rows = [line for line in said if re.match(r"\| \d", line)]
    assert len(rows) == long_search.MEMORY_LOOKS
    assert rows[-1].startswith("| 20 | ")
    assert said[-1].endswith("0 runs were not delivered.")


def test_reports_are_counted_where_they_arrive(tmp_path: Path, mlflow_db: Path) -> None:
    with instant.made_up_home() as home:
        store = home / "mlflow.db"
        store.write_bytes(mlflow_db.read_bytes())
        found, stored = reports._measure(f"sqlite:///{store}", store, writers=3, seconds=2)
    assert (len(found.enqueued), len(found.delivered), found.left) == (6, 6, 0)
    assert stored == 6 * len(reports.EPOCH_METRICS)
    assert found.troubles == set()
    assert all(seconds > 0 for seconds in found.delivered)


def test_a_report_that_never_arrives_is_missed(monkeypatch: pytest.MonkeyPatch, mlflow_db: Path) -> None:
    monkeypatch.setattr(reports, "CLOSE_SECONDS", 5.0)
    monkeypatch.setattr(Tracker, "_copy_all", lambda self, mlflow: None)
    with instant.made_up_home() as home:
        store = home / "mlflow.db"
        store.write_bytes(mlflow_db.read_bytes())
        with pytest.raises(RuntimeError, match="0 runs of 2 trials are in MLflow"):
            reports._measure(f"sqlite:///{store}", store, writers=2, seconds=2)
