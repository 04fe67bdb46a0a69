"""The command publish: what a RUN may be, and how words and stores that are none are answered."""

import shutil
from pathlib import Path

import pytest
from made_searches import a_search, settings, trained
from published_runs import a_folder, a_run, same_bits, scores  # noqa: F401

from search import compare, files
from search import publish as publish_command
from search.errors import SearchError
from search.publish import find_run, main
from search.recording.store import client
from search.results import named
from search.scoring.scores import numbers


@pytest.mark.usefixtures("same_bits")
def test_a_run_is_found_by_its_id_its_signature_and_its_folder(
    mlflow_uri: str, tmp_path: Path, capsys
) -> None:
    folder = a_folder(tmp_path / "trial", scores(0.5), "5" * 16)
    run = a_run(mlflow_uri, folder)
    for word in (run, "5" * 16, str(folder)):
        assert main([word, f"tracking={mlflow_uri}"]) == 0
        said = capsys.readouterr().out.splitlines()
        assert said[0].startswith("version 1 of demo-x is its champion: the ")
        assert said[1:] == [
            "commit: c0ffeec0ffee with changes that were not committed",
            "models:/demo-x@champion",
        ]


@pytest.mark.usefixtures("same_bits")
def test_a_run_is_found_by_what_a_leaderboard_and_a_registry_call_it(
    mlflow_uri: str, fresh_home: Path, tmp_path: Path, capsys
) -> None:
    good, better = trained("samplecnn_m3_n5_s243", ear=1.0), trained("samplecnn_m3_n9_s3", ear=3.0)
    a_search(fresh_home, "mtat-x-123456", [good, better])
    its, best = (
        a_run(mlflow_uri, a_folder(tmp_path / each.signature(), scores(0.5), each.signature()))
        for each in (good, better)
    )
    mlflow = client(mlflow_uri)
    assert find_run(mlflow, good.signature()[:6], None) == its
    assert find_run(mlflow, "mtat-x-123456", None) == best
    assert find_run(mlflow, f"mtat-x-123456/{good.network}", None) == its
    assert find_run(mlflow, f"runs:/{its}", None) == its
    assert main([f"mtat-x-123456/{good.network}", f"tracking={mlflow_uri}"]) == 0
    assert capsys.readouterr().out.startswith("version 1 of demo-x is its champion")
    assert find_run(mlflow, "models:/demo-x@champion", None) == its
    assert main(["mtat-x-123456/fcn4", f"tracking={mlflow_uri}"]) == 1
    assert capsys.readouterr().err.startswith(
        "mtat-x-123456/fcn4 is not registered: mtat-x-123456 has no network 'fcn4'"
    )


@pytest.mark.usefixtures("same_bits")
def test_a_network_is_published_by_the_name_that_tells_it_from_its_likes(
    mlflow_uri: str, fresh_home: Path, tmp_path: Path, capsys
) -> None:
    large, small = trained("samplecnn_m3_n9_s3"), settings("samplecnn_m3_n9_s3", batch_size=8)
    folder = shutil.copytree(files.trial_folder(large.signature()), files.trial_folder(small.signature()))
    result = {**(files.read_result(large.signature()) or {}), "signature": small.signature()}
    files.write_json(folder / files.RESULT, result)
    a_search(fresh_home, "mtat-x-123456", [large, small])
    a_run(mlflow_uri, a_folder(tmp_path / "trial", scores(0.5), small.signature()))
    assert main(["mtat-x-123456/samplecnn_m3_n9_s3 batch_size=8", f"tracking={mlflow_uri}"]) == 0
    assert capsys.readouterr().out.startswith("version 1 of demo-x is its champion")


@pytest.mark.usefixtures("same_bits")
def test_a_folder_that_mlflow_does_not_know_is_recorded_there_with_all_that_it_tells(
    mlflow_uri: str, fresh_home: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = trained("samplecnn_m3_n9_s3", epochs=2)
    known = files.trial_folder(done.signature())
    result = files.read_result(done.signature())
    assert result is not None
    folder = a_folder(known.rename(tmp_path / "trial"), scores(0.5), done.signature())
    files.write_json(folder / files.RESULT, result)
    assert main([str(folder), f"tracking={mlflow_uri}"]) == 1
    assert capsys.readouterr().err.endswith(
        "no run in MLflow is of this trial; to record it there, say its model's name: model=NAME\n"
    )
    assert main([str(folder), f"tracking={mlflow_uri}", "model=mine"]) == 0
    assert capsys.readouterr().out.startswith("version 1 of mine is its champion: the first of its name")
    assert not list(Path().iterdir()), "nothing is left where the command was typed"
    mlflow = client(mlflow_uri)
    run = mlflow.get_run(find_run(mlflow, done.signature(), None))
    assert run.info.artifact_uri.startswith((fresh_home / "mlflow").as_uri())
    (far,) = named.find(run.info.run_id, tracking=mlflow_uri).trainings
    assert (far.network, far.seed, far.signature) == ("samplecnn_m3_n9_s3", 0, done.signature())
    assert far.recorded.items() >= numbers(result).items()
    assert [each.step for each in mlflow.get_metric_history(run.info.run_id, "valid_loss")][:2] == [1, 2]


def test_a_trial_that_lies_in_the_bucket_is_found_by_its_signature(
    mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, other = trained("samplecnn_m3_n9_s3"), trained("samplecnn_m3_n5_s243")
    bucket = files.home() / "bucket"
    monkeypatch.setenv(files.TRIALS, str(bucket))
    for each in (done, other):
        assert files.share(each.signature())
        shutil.rmtree(files.trial_folder(each.signature()))
    (found,) = named.find(done.signature()).trainings
    assert (found.network, found.signature) == (done.network, done.signature())
    with pytest.raises(SearchError, match="no run in MLflow is of this trial; to record it there"):
        find_run(client(mlflow_uri), other.signature(), None)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "publish takes one RUN, not 0: give a trial's signature"),
        (["a", "b"], "publish takes one RUN, not 2"),
        (["a", "alais=x"], "'alais=x' is no word of this command; did you mean alias"),
        (["a", "alias=../x"], "alias=../x: give up to 100 letters"),
        (["a", "alias=v3"], "alias=v3: MLflow keeps such names for version numbers"),
        (["a", "force=true"], "force=true and reason='why the gate is wrong here' go together"),
        (["a", "reason=x"], "force=true and reason='why the gate is wrong here' go together"),
        (["a", "force=yes", "reason=x"], "force=yes: give true, or leave it out"),
        (["a", "force=true", "reason=x", "alias=b"], "force=true makes a champion; alias=b needs no force"),
    ],
)
def test_wrong_words_are_answered_in_a_line(words: list[str], error: str, capsys) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(error)
    assert (shown.out, shown.err.count("\n")) == ("", 1)


def test_runs_that_are_not_there_are_named(mlflow_uri: str, capsys) -> None:
    for word, error in (
        (
            "nonsense",
            "nothing is called 'nonsense'; there is no search here yet (give a trial's signature (16 hexadecimal",
        ),
        ("7" * 16, f"no run in MLflow and no folder of a trial that has ended has the signature {'7' * 16}"),
        ("7" * 32, f"MLflow says: Run with id={'7' * 32} not found"),
    ):
        assert main([word, f"tracking={mlflow_uri}"]) == 1
        assert capsys.readouterr().err.startswith(f"{word} is not registered: {error}")


@pytest.mark.parametrize("command", [publish_command, compare])
@pytest.mark.parametrize("word", ["7" * 32, "models:/demo-x@champion"])
def test_a_password_of_mlflow_is_in_no_answer(
    command, word: str, fresh_home: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    words = [word] if command is publish_command else [word, word]
    assert command.main([*words, "tracking=http://me:secret@127.0.0.1:1"]) == (
        1 if command is publish_command else 2
    )
    said = capsys.readouterr().err
    assert "127.0.0.1" in said
    assert "secret" not in said
    assert command.main([*words, "trackin=http://me:secret@127.0.0.1:1"]) == 2
    assert "secret" not in capsys.readouterr().err


@pytest.mark.parametrize("command", [publish_command, compare])
def test_an_address_that_mlflow_cannot_use_is_told_in_a_line(command, fresh_home: Path, capsys) -> None:
    words = ["7" * 32] if command is publish_command else ["7" * 32, "8" * 32]
    assert command.main([*words, "tracking=foo://x"]) == (1 if command is publish_command else 2)
    said = capsys.readouterr().err
    assert "MLflow can't use foo://x: " in said
    assert said.endswith(
        "; give another tracking=URL, such as http://HOST:5000 or sqlite:////folder/mlflow.db\n"
    )
    assert said.count("\n") == 1


def test_publishing_makes_no_store_where_there_is_none(tmp_path: Path, capsys) -> None:
    nowhere = tmp_path / "nothing.db"
    assert main(["7" * 32, f"tracking=sqlite:///{nowhere}"]) == 1
    assert capsys.readouterr().err == (
        f"{'7' * 32} is not registered: there is no MLflow store at sqlite:///{nowhere}; run a search first, or "
        "give tracking=URL\n"
    )
    assert not nowhere.exists()
