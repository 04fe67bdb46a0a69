"""The benchmark of fused replicates trains the same K networks in every form, and says what it measured."""

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from benchmarks import crowd, many
from benchmarks.crowd import Taken
from benchmarks.mps import mps

from datasets.errors import DatasetError
from search.trials.cuda_graphs import Stepper

SMALL = "samplecnn_m3_n3_s9"


def test_trainings_an_hour_are_of_all_replicates_and_ratios_medians_within_a_round() -> None:
    wanted = many.Settings((SMALL,), (2,), steps=900)
    found = {
        "one by one": [Taken(9, core) for core in (3, 4, 40)],
        "as one": [Taken(9, core) for core in (1, 2, 10)],
    }
    assert list(many.rows(SMALL, 2, found, wanted)) == [
        f"| {SMALL} | 2 | one by one | 9000 | 4000 | 2 | 1.00 |",
        f"| {SMALL} | 2 | as one | 9000 | 2000 | 4 | 3.00 |",
    ]
    on_gpu = many.Settings((SMALL,), (2,), steps=900, device="cuda")
    assert [line.split(" | ")[-2:] for line in many.rows(SMALL, 2, found, on_gpu)] == [["1", "1.00 |"]] * 2


@pytest.mark.parametrize("form", crowd.FORMS | crowd.ON_A_GPU)
def test_a_step_of_every_form_moves_every_replicate(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = crowd._prepared
    monkeypatch.setattr(crowd, "_prepared", lambda *given: made.append(real(*given)) or made[0])
    step = (crowd.FORMS | crowd.ON_A_GPU)[form]([SMALL, SMALL], 2, "cpu")
    networks, _ = made[0]
    before = [network.head.weight.detach().clone() for network in networks]
    taken = step()
    assert taken.wall > 0
    assert taken.core > 0
    assert all((network.head.weight != old).any() for network, old in zip(networks, before, strict=True))


def test_steps_that_no_graph_holds_are_not_measured_as_graphs() -> None:
    stepper = Stepper([], lambda: [], captures=True)
    stepper.why_plain = "RuntimeError: it waits"
    crowd._check_is_graph(stepper, "cpu")
    with pytest.raises(RuntimeError, match="no CUDA graph, so nothing was measured:\nRuntimeError: it waits"):
        crowd._check_is_graph(stepper, "cuda")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["replicates=2,few"], "replicates=2,few: give whole numbers from 1 on, as 1,2,4"),
        (["batch=1"], "give at least batch=2, steps=1, rounds=1 and threads=1"),
        (["device=tpu"], "device=tpu: give cpu or cuda"),
        (["processes=2"], "processes=2: give yes or no"),
        (["mps=yes"], "mps=yes: that is for GPUs; take device=cuda, too"),
    ],
)
def test_words_that_cannot_be_are_refused(
    words: list[str], answer: str, capsys: pytest.CaptureFixture
) -> None:
    assert many.main(words) == 2
    said = capsys.readouterr().err
    assert answer in said
    assert said.count("\n") == 1


def test_the_help_lists_every_word(capsys: pytest.CaptureFixture) -> None:
    assert many.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"    {word}=" in said for word in many.Settings.__dataclass_fields__)


@pytest.mark.slow
def test_the_whole_benchmark_says_a_line_for_each_form_and_count() -> None:
    said: list[str] = []
    many.benchmark(many.Settings((SMALL,), (1, 2), batch=2, rounds=1, processes=True), said.append)
    text = "\n".join(said)
    for count in (1, 2):
        assert all(
            f"| {SMALL} | {count} | {form} |" in text for form in ("one by one", "as one", "processes")
        )


CONTROL = """#!/bin/sh
echo "$1 $(cat) $CUDA_MPS_PIPE_DIRECTORY" >> "{told}"
echo "{words}" >&2
exit {code}
"""


def control(folder: Path, monkeypatch: pytest.MonkeyPatch, code: int = 0, words: str = "") -> Path:
    """What passes for NVIDIA's command. Returns the file in which it writes down what it was told."""
    told, program = folder / "told", folder / "nvidia-cuda-mps-control"
    program.write_text(CONTROL.format(told=told, code=code, words=words))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return told


def test_mps_is_begun_for_the_processes_and_ended_behind_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = control(tmp_path, monkeypatch)
    with mps() as environment:
        pipe = environment["CUDA_MPS_PIPE_DIRECTORY"]
        assert Path(pipe).is_dir()
        assert told.read_text() == f"-d  {pipe}\n"
    assert told.read_text().splitlines()[1] == f" quit {pipe}"
    assert not Path(pipe).exists()


def test_mps_that_does_not_start_or_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control(tmp_path, monkeypatch, 1, "no such device")
    with pytest.raises(
        DatasetError, match=r"mps=yes: nvidia-cuda-mps-control does not start \(no such device\)"
    ):
        mps().__enter__()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        DatasetError, match="nvidia-cuda-mps-control is not here; it comes with NVIDIA's driver"
    ):
        mps().__enter__()


def test_a_daemon_that_keeps_its_output_open_keeps_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.mps.MOST_SECONDS", 20)
    control(tmp_path, monkeypatch)
    program, stays = tmp_path / "nvidia-cuda-mps-control", tmp_path / "stays"
    os.mkfifo(stays)
    program.write_text(f'#!/bin/sh\n[ "$1" = -d ] && cat "{stays}" &\nexit 0\n')
    with mps() as environment:
        assert Path(environment["CUDA_MPS_LOG_DIRECTORY"]).is_dir()
        stays.open("w").close()  # ends it; with a pipe the line before would have waited for that


def test_the_processes_are_clients_of_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[dict[str, str]] = []

    @contextmanager
    def processes(name: str, count: int, wanted: many.Settings, environment: Any = None) -> Any:
        found.append(dict(environment or {}))
        yield lambda: Taken(1, 1)

    @contextmanager
    def daemon() -> Any:
        yield {"CUDA_MPS_PIPE_DIRECTORY": "here"}

    monkeypatch.setattr(many, "_processes", processes)
    monkeypatch.setattr(many, "mps", daemon)
    wanted = many.Settings((SMALL,), (2,), batch=2, rounds=1, processes=True, mps=True)
    steps = many.measured(SMALL, 2, wanted)
    assert [*steps] == ["one by one", "as one", "processes", "processes, MPS"]
    assert found == [{}, {"CUDA_MPS_PIPE_DIRECTORY": "here"}]


def test_a_daemon_that_never_answers_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    control(tmp_path, monkeypatch)

    def run(words: list[str], timeout: float, **more: object) -> None:
        raise subprocess.TimeoutExpired(words, timeout)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(DatasetError, match=r"does not start \(no answer in 60 s\)"):
        mps().__enter__()
