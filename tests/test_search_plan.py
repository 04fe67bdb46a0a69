"""The plan before a search: what it lists, what it rejects, what it costs where, and how long it takes to say so."""

import re
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from planned_jobs import EIGHT, a_job

from search import files
from search.errors import ConfigError
from search.planning import plan, throughput
from search.planning.hardware import Machines
from search.planning.job import Rejected, Work
from search.run import main

MIXED = '''"""Mixed: what of this can be trained?"""
from search.spaces import Point
GRID = [{"network": "samplecnn_m3_n3_s729"}, {"network": "samplecnn_m3_n99_s3"}, {"network": "crnm"},
        {"network": "samplecnn_m3_n4_s243", "filters": 12}]


def sample(trial):
    name = trial.suggest_categorical("network", [point["network"] for point in GRID])
    return Point(name, {"first": trial.suggest_int("filters", 16, 64)} if "n4" in name else {})
'''


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the plan says, in one line: how it is folded depends on the length of this test's folders."""
    assert main(["plan=true", *words]) == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.fixture(autouse=True)
def fresh_notes() -> None:
    throughput._notes.cache_clear()


@pytest.mark.usefixtures("fresh_home")
def test_points_that_are_no_network_are_listed_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mixed.py").write_text(MIXED)
    said = planned(capsys, f"space={tmp_path / 'mixed.py'}", "dataset=demo", "budget=small")
    assert "trials 1, of which 0 are done; 3 more points can't be trained" in said
    assert re.search(r"samplecnn_m3_n3_s729 0 [0-9,.]+ [0-9,. ]+ s to train", said)
    assert "crnm can't be trained: no network is called 'crnm'" in said
    assert "samplecnn_m3_n99_s3 can't be trained: " in said
    assert "samplecnn_m3_n4_s243 filters=12 can't be trained: " in said
    assert "filters=12 is given, and sample allows 16 to 64" in said


@pytest.mark.usefixtures("fresh_home")
def test_a_search_trains_what_is_left_when_points_are_rejected(tmp_path: Path) -> None:
    from search.study import ledger
    from search.study.deciding import Decider

    (tmp_path / "mixed.py").write_text(MIXED)
    job = a_job(f"space={tmp_path / 'mixed.py'}")
    decider = Decider(ledger.open_study(job), job)
    assert decider.expected() == 1
    assert decider.next().settings.network == "samplecnn_m3_n3_s729"


@pytest.mark.usefixtures("fresh_home")
@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("sampler.name=Foo", "Foo"),
        ("sampler.arguments.n_startup_trials=none", "n_startup_trials"),
        ("pruner.name=Bar", "Bar"),
    ],
)
def test_a_plan_refuses_classes_that_its_search_would(
    word: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan=true", "space=joint", "dataset=demo", "trials=2", word]) == 2
    refused = capsys.readouterr()
    assert said in refused.err
    assert refused.err.count("\n") == 1
    assert refused.out == ""


@pytest.mark.usefixtures("fresh_home")
@pytest.mark.parametrize("plan", ["true", "false"])
def test_a_sampled_space_of_which_nothing_drawn_is_a_network_is_refused_before_anything_starts(
    plan: str, fresh_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.py").write_text("def sample(trial):\n    return trial.suggest_float('x', 0, 1)\n")
    assert main([f"space={tmp_path / 'bad.py'}", "dataset=demo", "trials=2", f"plan={plan}"]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(
        r"space bad: none of \d+ points drawn can be trained: space bad: sample gives a float; it has to give a "
        r"Point\n",
        said,
    )
    assert not (fresh_home / "studies.db").exists()


@pytest.mark.usefixtures("fresh_home")
def test_a_space_of_which_nothing_can_be_trained_is_refused(tmp_path: Path) -> None:
    space = tmp_path / "none.py"
    space.write_text(MIXED.replace("samplecnn_m3_n3_s729", "nothing"))
    with pytest.raises(
        ConfigError, match=r"none of its 4 points can be trained; nothing: no network is called"
    ):
        a_job(f"space={space}")


@pytest.mark.usefixtures("fresh_home")
def test_a_network_that_no_machine_can_hold_is_rejected_and_a_large_batch_is_not() -> None:
    small = Machines("a processor", 0, 2, None, 700 * 10**6)
    job = a_job("space=table2", "budget=paper", on=small)
    assert {each.label for each in job.rejected} >= {"samplecnn_m2_n14_s2"}
    assert "GB even with 2 segments at once; a trial can have 0.7 GB" in job.rejected[0].why
    kept = {point.network for point in job.space.points()}
    assert "samplecnn_m3_n3_s729" in kept
    room = plan.Plan.of(
        a_job("space=table2", on=replace(small, memory_bytes=10**9)), replace(small, memory_bytes=10**9)
    )
    states = {work.trial.network: plan._state(room, work) for work in room.works}
    assert "batches in parts, as a trial can have 1.0 GB" in states["samplecnn_m3_n9_s3"]


@pytest.mark.usefixtures("fresh_home")
def test_what_another_search_has_trained_is_done_and_the_plan_says_which(
    capsys: pytest.CaptureFixture[str],
) -> None:
    works = a_job("space=table3").grid()
    for work, study in zip(works[:2], ("demo-table2-abc123", None), strict=True):
        folder = files.trial_folder(work.trial.signature())
        files.write_json(folder / files.RESULT, {}) if folder.mkdir(parents=True) is None else None
        if study:
            (folder / files.CHECKPOINT).mkdir()
            files.write_json(folder / files.CHECKPOINT / "card.json", {"lineage": {"search": study}})
    (files.trial_folder(works[2].trial.signature())).mkdir(parents=True)
    files.write_json(
        files.trial_folder(works[2].trial.signature()) / files.EPOCHS, [{"epoch": 1}, {"epoch": 2}]
    )
    said = planned(capsys, "space=table3", "dataset=demo", "budget=small")
    assert "trials 13, of which 2 are done" in said
    assert "done, by demo-table2-abc123" in said
    assert "goes on after epoch 2" in said


@pytest.mark.usefixtures("fresh_home")
def test_mtat_is_planned_from_its_published_numbers_before_it_is_built(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["space=table2", "dataset=mtat", "cluster.gpus=8", "cluster.device=H200"]
    said = planned(capsys, *words)
    assert "mtat (not built yet; planned from its published numbers" in said
    assert "convention paper: 15,244 train, 1,529 valid, 4,332 test, 50 tags" in said
    assert "budget paper" in said  # as there are GPUs
    assert "cluster 8 x H200" in said
    assert "152,440" in said  # segments of samplecnn_m3_n9_s3 in an epoch
    assert "GPU-hours: a first guess" in said
    tagged = planned(capsys, *words, "convention=tagged")
    assert "15,247 train" in tagged


def test_a_store_without_one_of_its_files_is_refused_before_anything_is_trained(
    demo_home: Path, bare_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(demo_home / "datasets", bare_home / "datasets")
    (index,) = bare_home.glob("datasets/demo/shards-*/index.arrow")
    shard = index.with_name("00001.arrow")
    index.unlink()
    shard.write_bytes(shard.read_bytes()[:-1])
    assert main(["space=smoke", "dataset=demo", "plan=true"]) == 2
    assert capsys.readouterr().err == (
        "2 of the 9 files of demo are missing or not as long as they were written, such as "
        f"{shard}; this makes them again, and no other: python -m datasets.build name=demo\n"
    )


def test_a_plan_for_another_cluster_says_what_it_takes_for_granted(
    fresh_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = planned(capsys, "space=smoke", "dataset=demo", "cluster.address=10.0.0.1:6379")
    assert "taken to be like this machine; say what it is with cluster.gpus=N cluster.device=NAME" in said
    monkeypatch.setattr("search.planning.hardware.local_gpus", lambda: 0)
    said = planned(capsys, "space=smoke", "dataset=demo", "cluster.gpus=4")
    assert "cluster 4 x NVIDIA H200 (taken to be NVIDIA H200; say which with cluster.device=NAME)" in said
    said = planned(capsys, "space=smoke", "dataset=demo", "cluster.gpus=4", "cluster.device=Abacus")
    assert "nothing is known of a Abacus: taken to be as fast as an A100" in said


@pytest.mark.usefixtures("fresh_home")
def test_a_sampled_space_is_planned_from_points_that_are_always_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = planned(capsys, "space=joint", "dataset=demo", "budget=small", "trials=30", "seeds=2")
    assert (
        "30 different settings, 2 seed(s) each, chosen by TPESampler; costs are of 64 points drawn evenly"
        in said
    )
    for row in ("least", "median", "most"):
        assert re.search(rf" {row} [0-9,]+ [0-9,.]+ [0-9.]+ [0-9,]+ \d+ (s|min)", said)
    assert said == planned(capsys, "space=joint", "dataset=demo", "budget=small", "trials=30", "seeds=2")
    job = a_job("space=joint", "trials=30", "seeds=2")
    whole = plan.Plan.of(job, EIGHT)
    half = whole.with_left(30)
    assert whole.outlook.trainings == 60
    assert half.outlook.device_seconds == pytest.approx(whole.outlook.device_seconds / 2)


@pytest.mark.usefixtures("fresh_home")
def test_every_architecture_of_a_space_is_drawn_alike() -> None:
    drawn = list(a_job("space=tuned", "trials=4").drawn())
    networks = [work.trial.network for work in drawn if isinstance(work, Work)]
    assert len(networks) == 64
    assert {networks.count(name) for name in networks} == {16}


@pytest.mark.usefixtures("fresh_home")
def test_points_of_a_sampled_space_that_are_no_network_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "half.py"
    space.write_text(
        '"""Half: half of it is wrong."""\nfrom search.spaces import Point\n'
        "def sample(trial):\n"
        "    rate = trial.suggest_float('rate', 1e-3, 1e-1, log=True)\n"
        "    n = trial.suggest_int('n', 3, 4)\n"
        "    options = {'dropout': 0.5 if n == 3 else 7.0}\n"
        "    return Point(f'samplecnn_m3_n{n}_s243', options, {'first_learning_rate': rate})\n"
    )
    said = planned(capsys, f"space={space}", "dataset=demo", "budget=small")
    wrong = [each for each in a_job(f"space={space}").drawn() if isinstance(each, Rejected)]
    assert f"{len(wrong)} of the points drawn can't be: dropout=7.0 is outside 0" in said


@pytest.mark.usefixtures("fresh_home")
def test_a_full_disk_is_told_before_the_search(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("space=table2", "dataset=demo", "budget=paper")
    assert "NOT ENOUGH" not in planned(capsys, *words)
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**6))
    assert "1 MB are free" in (said := planned(capsys, *words))
    assert "NOT ENOUGH: make room, or set WAVEZOO_HOME" in said


@pytest.mark.usefixtures("fresh_home")
def test_options_without_a_closed_form_are_planned_without_torch(tmp_path: Path) -> None:
    space = tmp_path / "crnns.py"
    space.write_text(
        '"""Crnns: how much dropout?"""\nfrom search.spaces import Point\n'
        "GRID = [{'dropout': 0.1}, {'dropout': 0.2}]\n"
        "def sample(trial):\n"
        "    return Point('musicnn', {'dropout': trial.suggest_float('dropout', 0.0, 1.0)})\n"
    )
    assert_quick_and_lean([f"space={space}", "dataset=demo", "budget=small"], {"torch"})


def assert_quick_and_lean(words: list[str], heavy: set[str]) -> float:
    """The plan, alone in a process with its bytecode there, loads none of these; its processor seconds."""
    code = (
        "import sys; from search.run import main\n"
        f"code = main({['plan=true', *words]!r})\n"
        f"sys.exit(code or str({heavy!r} & set(sys.modules)) if code or {heavy!r} & set(sys.modules) else 0)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.usefixtures("fresh_home")
@pytest.mark.parametrize("space", ["table2", "joint"])
def test_a_plan_takes_under_two_seconds_and_loads_nothing_heavy(
    space: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    heavy = {"torch", "ray", "mlflow", "sklearn", "pyarrow", "sqlalchemy", "optuna"}
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.getbasetemp() / "bytecode"))
    words = [f"space={space}", "dataset=mtat", "cluster.gpus=8", "cluster.address=10.0.0.1:6379"]
    # Processor seconds, of the best of three: what others do on the machine does not count.
    assert min(assert_quick_and_lean(words, heavy) for _ in range(3)) < 2.0
