"""The command line: what the words mean, and what is said of those that mean nothing."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from datasets.build import build
from datasets.errors import DatasetError
from search.errors import ConfigError
from search.run import main
from search.settings import Training
from search.words import choices, group_names, read_words


def refusal(*words: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read_words(words)
    return str(refused.value)


def test_without_words_table_2_is_searched_on_whatever_data_there_is() -> None:
    settings = read_words([])
    assert (settings.space, settings.dataset, settings.seeds) == ("table2", "auto", 1)


def test_the_paper_budget_is_the_schedule_of_the_authors() -> None:
    training = read_words(["budget=paper"]).training
    assert training == Training()
    assert training.learning_rates == (0.01, 0.002, 0.0004, 0.00008, 0.000016)
    assert (training.batch_size, training.patience, training.momentum) == (23, 3, 0.9)


def test_auto_budget_follows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.words.local_gpus", lambda: 1)
    assert read_words([]).budget == "paper"
    monkeypatch.setattr("search.words.local_gpus", lambda: 0)
    assert read_words([]).budget == "small"


def test_auto_budget_of_a_plan_follows_the_cluster_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.words.local_gpus", lambda: 0)
    assert read_words(["plan=true", "cluster.gpus=8"]).budget == "paper"
    assert read_words(["plan=true", "cluster.gpus=0"]).budget == "small"
    assert read_words(["plan=true", "cluster.address=10.0.0.1:6379"]).budget == "small"  # nobody is asked
    here = refusal("cluster.gpus=8")  # where dropping plan=true would have trained something else
    assert here.startswith(
        "cluster.gpus=8: a search takes the GPUs that it finds here; add plan=true for the plan"
    )


def test_a_limit_changes_no_result() -> None:
    limited = read_words(["budget=small", "budget.gpu_hours=2", "budget.wall_hours=0.5"])
    assert (limited.limits.gpu_hours, limited.limits.wall_hours) == (2, 0.5)
    assert limited.training == read_words(["budget=small"]).training


def test_a_nested_word_changes_one_setting_and_leaves_the_rest() -> None:
    training = read_words(["budget=paper", "budget.batch_size=16"]).training
    assert (training.batch_size, training.patience) == (16, 3)


def test_arguments_of_a_sampler_are_its_own() -> None:
    sampler = read_words(["sampler=tpe", "sampler.arguments.gamma=0.5"]).sampler
    assert sampler.arguments == {"n_startup_trials": 5, "gamma": 0.5}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["spce=table2"], "no word is called 'spce'; did you mean space?"),
        (["networks=a,"], "networks=a,: give names or shell patterns, as melcnn*,samplecnn_m3*"),
        (["table2"], "'table2' is not key=value (python -m search.run --help lists the words)"),
        (
            ["budget=papre"],
            "no budget is called 'papre'; did you mean budget=paper? (a new one is a file in search/conf/budget/)",
        ),
        (["seeds=many"], "seeds=many: give a whole number"),
        (["publish=maybe"], "publish=maybe: give true or false"),
        (["seeds=0"], "seeds=0: give 1 or more"),
        (["budget.lr_decay=-1"], "budget.lr_decay=-1: give 0, or a number above"),
        (["budget.lr_decay=inf"], "budget.lr_decay=inf: give 0, or a number above"),
        (["budget.batch_size=1"], "budget.batch_size=1: batch norm needs 2 or more"),
        (
            ["cluster.gpus_per_trial=-1"],
            "cluster.gpus_per_trial=-1: give 'auto', a part of one GPU (0.5 shares it), or a whole number",
        ),
        (["budget.learning_rates=fast"], "budget.learning_rates=fast: give one rate above 0 for each stage"),
        (["budget.learning_rates=[a]"], "budget.learning_rates=['a']: give one rate above 0 for each stage"),
        (
            ["budget.multiply_adds_per_epoch=lots"],
            "budget.multiply_adds_per_epoch=lots: give a number above 0",
        ),
        (["study=.."], "study=..: give up to 100 letters"),
        (["study=/data"], "study=/data: give up to 100 letters"),
        (["cluster.gpus_per_trial=1.5"], "cluster.gpus_per_trial=1.5: give 'auto', a part of one GPU"),
        (["study=5"], "study=5: give a word"),
        (["cluster.cpus_per_trial=0.5"], "cluster.cpus_per_trial=0.5: give 'auto', or 1 or more"),
        (["cluster.gpus=-1"], "cluster.gpus=-1: give 0 or more GPUs, for which the plan is made"),
        (["cluster.gpus=some"], "cluster.gpus=some: give 0 or more GPUs, for which the plan is made"),
        (["cluster.device=H200"], "cluster.device=H200: say how many of them by cluster.gpus=N"),
        (["seed=-1"], "seed=-1: give 0 to 2147483647"),
        (["seed=99999999999999999999"], "seed=99999999999999999999: give 0 to 2147483647"),
        (["seeds=1001"], "seeds=1001: give 1 to 1000"),
        (
            ["storage=foo"],
            "storage=foo: give an address, such as sqlite:////folder/studies.db or postgresql+",
        ),
        (["tracking=foo"], "tracking=foo: give MLflow's server or its database, such as http://HOST:5000 or"),
        (["tracking=file:///tmp/x"], "tracking=file:///tmp/x: give MLflow's server or its database"),
        (["tracking=http://"], "tracking=http://: give MLflow's server or its database"),
        (["budget.gpu_hours=0"], "budget.gpu_hours=0: give hours above 0, or null for no limit"),
        (["budget.wall_hours=soon"], "budget.wall_hours=soon: give hours above 0, or null for no limit"),
        (["space=table2,table3"], "can't read the words: "),
        (["space=[a"], "can't read the words: "),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_one(words: list[str], said: str) -> None:
    assert refusal(*words).startswith(said)


@pytest.mark.parametrize(
    "word",
    [
        "storage=postgresql+psycopg://me:a,b!@db/x?sslmode=require&application_name='zoo'",
        "tracking=http://127.0.0.1:5000/a=(b)",
        "space=/a/my space's (2).py",
        "cluster.storage=/mnt/größe=2",
        "study=paper-2.0_a",
    ],
)
def test_an_address_or_a_path_is_taken_as_it_is_typed(word: str) -> None:
    key, _, value = word.partition("=")
    settings = read_words([word])
    assert getattr(settings.cluster if "." in key else settings, key.rpartition(".")[2]) == value


def test_quotes_escapes_and_null_are_read_as_hydra_reads_them() -> None:
    for word in ("storage='sqlite:////a?b=c'", r"storage=sqlite:////a?b\=c"):
        assert read_words([word]).storage == "sqlite:////a?b=c"
    assert read_words(["storage=null", "networks=null"]).storage is None


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotes_that_no_shell_took_off_are_no_part_of_a_word(quote: str) -> None:
    words = {
        "networks": "melcnn*,crnn",
        "budget": "medium",
        "seeds": "3",
        "publish": "false",
        "dataset": "demo",
    }
    read = read_words([f"{key}={quote}{value}{quote}" for key, value in words.items()])
    told = (read.networks, read.budget, read.seeds, read.publish, read.dataset)
    assert told == ("melcnn*,crnn", "medium", 3, False, "demo")


def test_quotes_tell_hydra_that_a_number_is_a_text() -> None:
    assert read_words(["study='5'"]).study == "5"
    assert read_words(["sampler.arguments.group='5'"]).sampler.arguments["group"] == "5"


@pytest.mark.parametrize("name", ["2024", "true", "null", "[a]"])
def test_a_data_set_may_be_called_as_a_number_is(name: str) -> None:
    assert read_words([f"dataset={name}"]).dataset == name


def test_all_wrong_words_are_told_at_once() -> None:
    said = refusal("budget.batch_size=1", "cluster.cpus_per_trial=0")
    assert "budget.batch_size=1" in said
    assert "cluster.cpus_per_trial=0" in said


def test_a_word_that_is_given_twice_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["space=table2", "seeds=2", "space=table3", "seeds=2", "plan=true"]) == 2
    assert (
        capsys.readouterr().err
        == "seeds= is given twice; once is enough; space= is given twice; once is enough\n"
    )


@pytest.mark.usefixtures("demo")
def test_a_number_of_trials_is_refused_where_all_points_are_trained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["space=table3", "dataset=demo", "plan=true", "trials=5"]) == 2
    assert capsys.readouterr().err == (
        "trials=5: space table3 is a grid of 13 points, all of which are trained; trials= is for spaces that sample "
        "(networks=PATTERN takes fewer of a grid)\n"
    )


def test_a_plan_tells_apart_what_differs_in_options_only(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["space=filters", "plan=true", "budget=small", "dataset=demo"]) == 0
    assert "samplecnn_m3_n9_s3 filters=ramp first=16 " in capsys.readouterr().out


@pytest.mark.usefixtures("demo")
def test_a_plan_trains_nothing_and_says_what_it_would(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["space=table2", "plan=true", "budget=small", "dataset=demo"]) == 0
    said = capsys.readouterr().out
    assert "42, of which 0 are done" in said
    assert "not which network is better" in said
    assert "samplecnn_m3_n9_s3" in said


def test_wrong_words_end_with_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["space=tabel2", "dataset=demo"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_unbuilt_data_set_says_how_to_build_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    assert main(["dataset=mtat"]) == 2
    assert "python -m datasets.build name=mtat source=FOLDER" in capsys.readouterr().err


def test_a_search_waits_for_another_that_renders_its_music(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def stopped(name: str, wait: bool = False) -> None:
        asked.append((name, wait))
        raise DatasetError("that is enough")

    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    monkeypatch.setattr("datasets.build.build", stopped)
    assert main(["space=smoke", "dataset=demo"]) == 2
    assert asked == [("demo", True)]


def test_help_names_every_choice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for word in ("table2", "joint", "mtat", "demo", "paper", "small", "tpe", "median"):
        assert word in said


def test_a_plan_and_a_wrong_word_load_nothing_heavy(fresh_home: Path) -> None:
    code = (
        "import sys; from search.run import main\n"
        "for space in ('table2', 'table4', 'rivals'): main([f'space={space}', 'plan=true', 'dataset=demo'])\n"
        "main(['spce=1'])\n"
        "heavy = {'torch', 'ray', 'mlflow', 'sklearn', 'pyarrow', 'torchaudio'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_a_search_finds_the_users_own_music_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path / "home"))
    for name in "abcdef":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(22_050), 22_050)
    rows = [f"{name}.wav,{'loud' if name in 'ace' else 'soft'},{name}" for name in "abcdef"]
    (tmp_path / "tags.csv").write_text("\n".join(["path,tags,artist", *rows]))
    build("folder", tmp_path, workers=1, words={"csv": str(tmp_path / "tags.csv"), "called": "mymusic"})
    assert main(["space=smoke", "dataset=mymusic", "budget=small", "plan=true"]) == 0
    assert "data     mymusic, convention" in capsys.readouterr().out


@pytest.mark.parametrize(("precision", "bf16"), [("tf32", True), ("bf16", False)])
def test_a_precision_that_this_machine_does_not_have_is_refused_before_the_start(
    precision: str, bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.words.local_gpus", lambda: 0)
    monkeypatch.setattr("search.words.has_bf16", lambda: bf16)
    typed = ["budget=small", f"budget.precision={precision}"]
    assert refusal(*typed) == (
        f"budget.precision={precision}: there is no GPU here, and the processor has no instructions for it; "
        f"take budget.precision=float32"
    )
    assert refusal(*typed, "plan=true") == refusal(*typed)
    assert read_words([*typed, "cluster.gpus=8", "plan=true"]).training.precision == precision


def test_a_processor_with_the_instructions_may_train_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.words.local_gpus", lambda: 0)
    monkeypatch.setattr("search.words.has_bf16", lambda: True)
    assert read_words(["budget=small", "budget.precision=bf16"]).training.precision == "bf16"


def test_fewer_products_are_for_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["budget=small", "budget.precision=winograd"]
    monkeypatch.setattr("search.words.local_gpus", lambda: 0)
    assert read_words(typed).training.precision == "winograd"
    refused = "budget.precision=winograd is for processors; on a GPU take tf32 or bf16"
    assert refusal(*typed, "cluster.gpus=8", "plan=true") == refused
    monkeypatch.setattr("search.words.local_gpus", lambda: 1)
    assert refusal(*typed) == refused
    for elsewhere in ("cluster.gpus_per_trial=0", "cluster.address=10.0.0.5:6379", "cluster.gpus=0"):
        assert read_words([*typed, elsewhere, "plan=true"]).training.precision == "winograd"


def test_a_precision_that_is_none_is_refused_with_the_nearest() -> None:
    assert refusal("budget=small", "budget.precision=bf61") == (
        "budget.precision=bf61 is not known; did you mean budget.precision=bf16?"
    )


@pytest.mark.parametrize("group", ["budget", "sampler", "pruner"])
def test_help_tells_what_each_choice_is(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    lines = choices(group)
    assert len(lines) == len(group_names(group)) >= 4
    for line in lines:
        assert re.fullmatch(rf"  {group}=\w+ +[A-Z].{{25,}}[a-z0-9]", line)
        assert line in said.splitlines()
