"""The failure kinds: each is made to happen, is named, and gets what the table says."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import datasets
import zoo
from datasets import DatasetError
from search import failures, files
from search.errors import ConfigError, SearchError
from search.running.process import TrialProcess
from search.settings import Cluster, Training, TrialSettings
from search.trials import training
from search.trials.team import ALONE
from search.trials.training import Fit
from search.trials.trial import Trial

NETWORK = "samplecnn_m3_n3_s729"
SMALL = Training(learning_rates=(0.05, 0.01), epochs_per_stage=1, batch_size=8, multiply_adds_per_epoch=1.3e8)
README = Path(__file__).parent.parent / "README.md"
# Which test makes each kind happen: in this file, or in the one named.
INJECTED = {
    "diverged": "test_a_loss_that_is_no_number_fails_its_trial",
    "out of GPU memory": "test_a_batch_too_large_for_the_memory_goes_through_in_parts",
    "out of host memory": "test_a_trial_that_fits_no_memory_fails_by_that_name",
    "lost": "test_search_whole.py: test_a_trial_whose_process_is_killed_goes_on_in_another",
    "hang": "test_search_attempts.py: test_an_epoch_that_never_ends_is_ended",
    "refused": "test_settings_that_only_the_data_can_refuse_fail_their_trial",
    "data": "test_search_stops.py: test_data_that_go_away_stop_the_whole_search",
    "storage full": "test_search_stops.py: test_a_full_disk_stops_the_whole_search",
    "storage away": "test_search_storage_away.py: test_a_bucket_that_goes_away_costs_no_epoch_but_ends_the_search",
    "ledger away": "test_search_mirror.py: test_a_database_that_stays_away_is_told_in_a_line",
    "tracking away": "test_search_whole.py: test_a_search_goes_on_and_ends_while_mlflow_is_away",
    "error": "test_what_nobody_foresaw_fails_its_trial_and_leaves_its_trace",
}


def settings(**changes: Any) -> TrialSettings:
    card = datasets.card("demo")
    base = TrialSettings(
        network=NETWORK,
        options=zoo.entry(NETWORK).options,
        training=SMALL,
        seed=3,
        dataset="demo",
        fingerprint=card.fingerprint,
        convention=card.default_convention,
        tag_hash=card.tag_hash,
    )
    return replace(base, **changes)


def a_process(trial: TrialSettings) -> TrialProcess:
    """A worker's end without a worker around it."""
    process = TrialProcess.__new__(TrialProcess)
    common = {"home": os.environ["WAVEZOO_HOME"], "threads": torch.get_num_threads(), "lineage": {}}
    process.setup({**common, "settings": trial.to_json(), "signature": trial.signature()})
    return process


def failure_of(trial: TrialSettings) -> dict[str, str]:
    """What the process of a trial that fails sends as its last row."""
    process = a_process(trial)
    while not (row := process.step())["done"]:
        pass
    assert process.group is None, "the trial was not let go of"
    return row["failure"]


def test_every_kind_has_a_test_that_makes_it_happen() -> None:
    assert set(INJECTED) == set(failures.KINDS)
    for place in INJECTED.values():
        file, _, name = place.rpartition(": ")
        text = Path(__file__).with_name(file or Path(__file__).name).read_text(encoding="utf-8")
        assert f"def {name}(" in text, place


def test_the_readmes_table_is_the_one_that_the_search_follows() -> None:
    assert failures.as_markdown() in README.read_text(encoding="utf-8")


def test_every_kind_says_what_is_done() -> None:
    for kind in failures.KINDS.values():
        assert kind.action in ("stop the trial", "stop the search", "shrink", "retry", "go on")
        assert kind.ends_search == (kind.name in ("data", "storage full", "storage away", "ledger away"))


@pytest.mark.usefixtures("fresh_home")
def test_a_loss_that_is_no_number_fails_its_trial() -> None:
    failure = failure_of(settings(training=replace(SMALL, learning_rates=(1e30,))))
    assert failure["kind"] == "diverged"
    assert failure["why"].startswith("the loss is ")


def without_time(rows: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def small_memory(monkeypatch: pytest.MonkeyPatch, holds: int, error: Exception) -> list[int]:
    """A memory that holds so many segments of a batch. Returns the sizes that were tried."""
    whole, tried = training.binary_cross_entropy_with_logits, []

    def loss(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        tried.append(len(logits))
        if len(logits) > holds:
            raise error
        return whole(logits, wanted)

    monkeypatch.setattr(training, "binary_cross_entropy_with_logits", loss)
    return tried


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
    ],
    ids=["gpu", "host"],
)
def test_a_batch_too_large_for_the_memory_goes_through_in_parts(
    error: Exception, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = small_memory(monkeypatch, 4, error)
    with Trial(settings(), "cpu", {}) as trial:
        rows = [trial.advance() for _ in range(2)]
    assert tried == [8, 4, 4, 4, 4, 4, 4] + [4] * 6  # 24 segments an epoch
    assert [row["micro_batch_size"] for row in rows] == [4, 4]
    assert rows[-1]["result"]["micro_batch_size"] == 4
    assert files.read_epochs(settings().signature())[0]["micro_batch_size"] == 4
    card = json.loads((trial.folder / files.CHECKPOINT / "card.json").read_text())
    assert card["lineage"]["micro_batch_size"] == 4
    # The epoch was done again from its very beginning: it is that of a training that knew it from the start.
    (fresh_home / "trials").rename(fresh_home / "elsewhere")
    with Trial(settings(), "cpu", {}) as knowing:
        knowing.fit.micro_batch_size = 4
        again = [knowing.advance() for _ in range(2)]
    assert without_time(again[:1]) == without_time(rows[:1])
    assert again[1]["result"]["test"] == rows[1]["result"]["test"]


def test_the_parts_of_a_batch_make_the_same_step_as_the_whole(demo: str) -> None:
    torch.manual_seed(0)
    waves, tags = torch.randn(23, 30), (torch.rand(23, 5) > 0.5).float()
    weights = []
    for most in (23, 12, 3):
        torch.manual_seed(1)
        fit = Fit.__new__(Fit)
        fit.network, fit.device, fit.micro_batch_size = nn.Linear(30, 5), torch.device("cpu"), most
        fit.training, fit.team, fit.shared = SMALL, ALONE, fit.network
        fit.optimizer = fit._fresh_optimizer()
        losses = []
        for _ in range(3):
            losses.append(float(fit.gradients(waves, tags)))
            fit.optimizer.step(0.1)
        weights.append((fit.network.weight, losses))
    for weight, losses in weights[1:]:
        assert torch.allclose(weight, weights[0][0], rtol=1e-5, atol=1e-6)
        assert losses == pytest.approx(weights[0][1], rel=1e-6)


def test_no_part_of_a_batch_has_one_segment() -> None:
    """Batch norm needs two."""
    for segments in range(2, 70):
        for most in range(1, 70):
            sizes = [
                len(part) for part in torch.arange(segments).tensor_split(training._parts(segments, most))
            ]
            assert min(sizes) >= 2
            assert sum(sizes) == segments
            assert max(sizes) <= max(most, 3)


@pytest.mark.usefixtures("fresh_home")
def test_a_captured_step_goes_before_batches_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory may be all that is missing, and batch norm then still sees whole batches."""
    whole, evaluated = training.evaluate, []

    def evaluate(network: nn.Module, *given: Any) -> Any:
        evaluated.append(network)
        if len(evaluated) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(network, *given)

    monkeypatch.setattr(training, "evaluate", evaluate)
    with Trial(settings(), "cpu", {}) as trial:
        trial.fit.stepper.graph = object()  # type: ignore[assignment]
        row = trial.advance()
        assert trial.fit.stepper.graph is None
        assert not trial.fit.stepper.captures
    assert row["micro_batch_size"] == SMALL.batch_size
    assert evaluated[0] is not evaluated[1]


def test_the_end_of_memory_is_known_behind_what_it_broke() -> None:
    broken = RuntimeError("the capture was invalidated")
    assert failures.memory_kind(broken) is None
    broken.__context__ = torch.OutOfMemoryError("CUDA out of memory.")
    assert failures.memory_kind(broken) is failures.GPU_MEMORY


@pytest.mark.parametrize("words", ["std::bad_alloc", "could not create a primitive"])
def test_what_libraries_say_where_they_get_no_memory_is_known(words: str) -> None:
    assert failures.memory_kind(RuntimeError(words)) is failures.HOST_MEMORY


@pytest.mark.usefixtures("fresh_home")
def test_a_trial_that_fits_no_memory_fails_by_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = small_memory(monkeypatch, 0, MemoryError("no room for 7 bytes"))
    assert failure_of(settings()) == {"kind": "out of host memory", "why": "no room for 7 bytes"}
    assert tried == [8, 4, 2]


@pytest.mark.usefixtures("fresh_home")
def test_settings_that_only_the_data_can_refuse_fail_their_trial() -> None:
    failure = failure_of(
        settings(training=replace(SMALL, batch_size=2, multiply_adds_per_epoch=None), seed=-1)
    )
    assert failure["kind"] == "refused"
    assert "seed=-1" in failure["why"]


@pytest.mark.usefixtures("fresh_home")
def test_other_data_than_at_the_start_are_a_trouble_of_the_whole_search() -> None:
    failure = failure_of(settings(fingerprint="0123"))
    assert failure["kind"] == "data"
    assert failure["why"].endswith("build it again from the same source, or share one WAVEZOO_HOME")


def test_data_that_are_gone_are_a_trouble_of_the_whole_search(
    fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = settings()
    (fresh_home / "datasets").unlink()
    failure = failure_of(trial)
    assert failure["kind"] == "data"
    assert "demo has not been built in" in failure["why"]
    gone = FileNotFoundError(
        2, "No such file or directory", str(fresh_home / "datasets" / "demo" / "0.arrow")
    )
    assert failures.kind_of(gone) is failures.DATA
    assert failures.kind_of(FileNotFoundError(2, "No such file", "/elsewhere")) is failures.ERROR


@pytest.mark.usefixtures("fresh_home")
def test_what_nobody_foresaw_fails_its_trial_and_leaves_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fit, "_begin", lambda self: [][1])
    failure = failure_of(settings())
    trace = files.trial_folder(settings().signature()) / "error.txt"
    assert failure == {"kind": "error", "why": f"IndexError: list index out of range (more in {trace})"}
    assert "Traceback" in trace.read_text()


@pytest.mark.usefixtures("fresh_home")
def test_a_checkpoint_without_room_leaves_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that is written beside is /dev/full here: the system itself says that there is no room."""
    process = a_process(settings(training=replace(SMALL, epochs_per_stage=2)))
    process.step()
    assert process.group is not None
    folder = process.group.trials[0].folder
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    monkeypatch.setattr("datasets.whole.secrets.token_hex", lambda length: "0123abcd")
    part = folder / f"{files.STATE}.{os.getpid()}.0123abcd.part"
    part.symlink_to("/dev/full")
    row = process.step()
    assert row["failure"]["kind"] == "storage full"
    assert row["failure"]["why"].startswith("there is no room left on the disk")
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before


def test_an_error_of_a_library_is_known_as_a_full_disk_whatever_its_words() -> None:
    for words in ("I/O error: No space left on device (os error 28)", "[errno 122] Disk quota exceeded"):
        assert failures.kind_of(RuntimeError(words)) is failures.STORAGE
    assert failures.kind_of(OSError(122, "quota")) is failures.STORAGE
    assert failures.kind_of(OSError(13, "denied")) is failures.ERROR


def test_a_time_limit_that_is_none_is_refused() -> None:
    for wrong in (0, -1, "long"):
        with pytest.raises(
            ConfigError, match=f"cluster.epoch_minutes={wrong}: give 'auto', or a number above 0"
        ):
            Cluster(epoch_minutes=wrong)


def test_errors_of_the_project_that_are_nothing_else_are_refusals() -> None:
    assert failures.kind_of(SearchError("no")) is failures.REFUSED
    assert failures.kind_of(DatasetError("no")) is failures.REFUSED
    assert failures.kind_of(ZeroDivisionError("division by zero")) is failures.ERROR
