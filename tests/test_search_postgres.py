"""The ledger in PostgreSQL, as a cluster has it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from hands import a_job
from postgres import PASSWORD, postgres
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from search.errors import SearchError
from search.study import ledger
from search.study.deciding import Decider
from search.study.driving import only_driver

SPACE = '''"""Two: two small networks."""
from search.spaces import Point
GRID = [{"stride": 729}, {"stride": 243}]
def sample(trial):
    stride = trial.suggest_categorical("stride", [729, 243])
    return Point("samplecnn_m3_n3_s729" if stride == 729 else "samplecnn_m3_n4_s243")
'''


def ended(url: str) -> list[tuple[str, float | None]]:
    """How the trials of the study ended."""
    storage = optuna.storages.RDBStorage(url)
    try:
        return [
            (trial.state.name, trial.value)
            for trial in optuna.load_study(study_name="ours", storage=storage).trials
        ]
    finally:
        storage.engine.dispose()  # the server ends before the connections would be collected


@pytest.mark.slow
def test_a_search_keeps_its_ledger_in_postgresql_and_goes_on_from_it(
    fresh_home: Path, mlflow_db: Path, tmp_path: Path
) -> None:
    shutil.copy(mlflow_db, fresh_home / "mlflow.db")
    space = tmp_path / "two.py"
    space.write_text(SPACE)
    with postgres() as url:
        words = [f"space={space}", "dataset=demo", "budget=small", "budget.multiply_adds_per_epoch=5e8"]
        command = [sys.executable, "-m", "search.run", *words, f"storage={url}", "study=ours"]

        def run() -> str:
            answer = subprocess.run(
                command,
                env={**os.environ, "MLFLOW_TRACKING_URI": ""},
                capture_output=True,
                text=True,
                check=False,
            )
            assert answer.returncode == 0, answer.stdout + answer.stderr
            return answer.stdout + answer.stderr

        first = run()
        once = ended(url)
        assert [state for state, _ in once] == ["COMPLETE"] * 2
        assert not (fresh_home / "studies.db").exists()
        second = run()
        assert ended(url) == once
        assert PASSWORD not in first + second


@pytest.mark.slow
def test_two_machines_with_one_ledger_have_one_driver_for_a_search(
    fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres() as url:
        with only_driver("ours", url):
            monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path / "another machine"))
            with only_driver("theirs", url):
                pass
            with (
                pytest.raises(
                    SearchError, match=r"^the search ours is running already \(on another machine with"
                ),
                only_driver("ours", url),
            ):
                pass
        with only_driver("ours", url):
            pass
    with (
        pytest.raises(SearchError, match=r"^can't open the ledger postgresql\+psycopg://") as refused,
        only_driver("ours", url),
    ):
        pass
    assert PASSWORD not in str(refused.value)


def cut_all(url: str) -> None:
    """End all connections, as a server does that is started again."""
    server = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        others = "pid <> pg_backend_pid() AND backend_type = 'client backend'"
        cut = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {others}"
        assert connection.execute(text(cut)).scalar()


@pytest.mark.slow
def test_a_driver_whose_lock_went_with_its_connection_takes_it_again_or_writes_nothing(
    fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres() as url, only_driver("ours", url) as hold:
        job = a_job("space=smoke", f"storage={url}", "study=ours")
        decider = Decider(ledger.open_study(job, hold.check), job)
        assignment = decider.next()
        assert assignment is not None
        cut_all(url)
        decider.record(assignment.number, 1, 0.5, 0)
        monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path / "another machine"))
        with pytest.raises(SearchError, match="is running already"), only_driver("ours", url):
            pass
        cut_all(url)
        with (
            only_driver("ours", url),
            pytest.raises(SearchError, match=r"^the search ours is running already \(on another machine"),
        ):
            decider.record(assignment.number, 2, 0.6, 0)
        decider.record(assignment.number, 2, 0.6, 0)  # the other one has ended
        (trial,) = decider.study.trials
        assert trial.intermediate_values == {1: 0.5, 2: 0.6}
        decider.study._storage._database.engine.dispose()


@pytest.mark.slow
def test_a_connection_that_was_cut_meanwhile_costs_no_epoch() -> None:
    with postgres() as url:
        job = a_job("space=smoke", f"storage={url}")
        study = ledger.open_study(job)
        decider = Decider(study, job)
        assignment = decider.next()
        assert assignment is not None
        decider.record(assignment.number, 1, 0.5, 0)
        cut_all(url)
        decider.record(assignment.number, 2, 0.6, 0)
        study._storage._database.engine.dispose()
        database = optuna.storages.RDBStorage(url)
        (found,) = optuna.load_study(study_name=job.study, storage=database).trials
        database.engine.dispose()
        assert found.intermediate_values == {1: 0.5, 2: 0.6}
