"""The registry and its gate: what may be registered, what becomes the champion, and that publishing twice is once."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_searches import a_search, settings, trained
from published_runs import TAGS, a_folder, a_run, scores

import datasets
from search import compare, files
from search import publish as publish_command
from search.errors import SearchError
from search.publish import find_run, main
from search.recording.publishing import Published, publish
from search.recording.store import client
from search.results import named
from search.scoring import score_table
from search.scoring.score_table import ClipScores
from search.scoring.scores import numbers
from search.trials import restored


@pytest.fixture
def same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are taken to give the stored scores: the rule is what is tested."""
    monkeypatch.setattr(restored, "check", lambda *about: None)


@pytest.fixture
def a_model(mlflow_uri: str, tmp_path: Path):
    """Publishes scores made up under a new signature."""
    made = []

    def publish_scores(said: ClipScores, **more: str) -> Published:
        made.append(said)
        folder = a_folder(tmp_path / f"trial{len(made)}", said, f"{len(made):016x}")
        return publish(mlflow_uri, "demo-x", a_run(mlflow_uri, folder), **more)

    return publish_scores


def aliases(mlflow_uri: str) -> dict[str, str]:
    return {
        name: str(number)
        for name, number in client(mlflow_uri).get_registered_model("demo-x").aliases.items()
    }


@pytest.mark.usefixtures("same_bits")
def test_the_first_of_a_name_is_its_champion_and_publishing_twice_is_once(
    mlflow_uri: str, tmp_path: Path
) -> None:
    run = a_run(mlflow_uri, a_folder(tmp_path / "trial", scores(0.5)))
    made = publish(mlflow_uri, "demo-x", run)
    assert (made.version, made.champion, made.why) == ("1", True, "the first of its name")
    assert made.uri == "models:/demo-x@champion"
    assert made.git == "c0ffeec0ffee with changes that were not committed"
    again = publish(mlflow_uri, "demo-x", run)
    assert (again.version, again.champion, again.why, again.git) == (
        "1",
        True,
        "the champion already",
        made.git,
    )
    tags = client(mlflow_uri).get_model_version("demo-x", "1").tags
    assert tags["wavezoo.protocol.fingerprint"] == "f" * 16
    assert tags["wavezoo.protocol.tag_hash"] == datasets.tag_hash(TAGS)
    assert tags["wavezoo.verified"] == "its weights gave the stored scores bit for bit"
    assert tags["wavezoo.git"] == made.git


@pytest.mark.usefixtures("same_bits")
def test_only_a_difference_beyond_chance_replaces_the_champion(mlflow_uri: str, a_model) -> None:
    a_model(scores(0.5))
    chance = a_model(scores(0.52, seed=1))
    assert chance.alias == "challenger"
    assert chance.why.startswith("its test AUC minus that of version 1 is ")
    assert chance.why.endswith(
        "): cannot be told apart; force=true reason='...' makes it the champion all the same"
    )
    worse = a_model(scores(0.1, seed=2))
    assert "): worse; force=true" in worse.why
    assert aliases(mlflow_uri) == {"champion": "1", "challenger": "3"}
    better = a_model(scores(2.0, seed=3))
    assert better.champion
    assert "(95% interval +0." in better.why
    assert aliases(mlflow_uri) == {"champion": "4", "challenger": "3"}


@pytest.mark.usefixtures("same_bits")
@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"dataset": "mtat"}, "different protocols: dataset mtat and demo"),
        ({"fingerprint": "0" * 16}, f"different protocols: fingerprint {'0' * 16} and {'f' * 16}"),
        ({"clips": 199}, "different protocols: clips 199 and 200"),
    ],
)
def test_what_is_of_another_protocol_is_a_challenger_however_good(
    mlflow_uri: str, a_model, other, words: str
) -> None:
    a_model(scores(0.1))
    made = a_model(scores(9.0, seed=1, **other))
    assert made.alias == "challenger"
    assert made.why.startswith("it can't be compared with version 1: the two are of ")
    assert words in made.why
    assert made.why.endswith("force=true reason='...' makes it the champion all the same")


@pytest.mark.usefixtures("same_bits")
def test_force_is_recorded_with_its_reason(mlflow_uri: str, a_model) -> None:
    a_model(scores(0.5))
    forced = a_model(scores(0.1, seed=1), reason="the old labels were wrong")
    assert (forced.alias, forced.why) == ("champion", "forced: the old labels were wrong")
    assert aliases(mlflow_uri) == {"champion": "2"}
    tags = client(mlflow_uri).get_model_version("demo-x", "2").tags
    assert tags["wavezoo.forced"] == "the old labels were wrong"
    assert tags["wavezoo.gate"].startswith("challenger: its test AUC minus that of version 1 is -")


@pytest.mark.usefixtures("same_bits")
def test_an_alias_that_is_asked_for_touches_no_champion(mlflow_uri: str, a_model) -> None:
    a_model(scores(0.5))
    assert a_model(scores(9.0, seed=1), alias="candidate").uri == "models:/demo-x@candidate"
    assert aliases(mlflow_uri) == {"champion": "1", "candidate": "2"}


@pytest.mark.usefixtures("same_bits")
def test_a_challenger_that_becomes_the_champion_is_no_challenger_any_more(
    mlflow_uri: str, tmp_path: Path
) -> None:
    for number, skill in enumerate((1.0, 0.9)):
        run = a_run(mlflow_uri, a_folder(tmp_path / str(number), scores(skill, number), str(number) * 16))
        publish(mlflow_uri, "demo-x", run)
    assert aliases(mlflow_uri) == {"champion": "1", "challenger": "2"}
    publish(mlflow_uri, "demo-x", run, reason="the first was a mistake")
    assert aliases(mlflow_uri) == {"champion": "2"}


def test_weights_that_could_not_be_scored_again_make_no_champion(mlflow_uri: str, a_model) -> None:
    made = a_model(scores(0.5))
    assert made.alias == "challenger"
    assert made.why == (
        "its weights were not scored again: its card does not tell on what it was scored; publish it where they can "
        "be, or force=true reason='...' makes it the champion all the same"
    )


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((files.SCORES,), "has no checkpoint: only a training that ended well has one"),
        ((files.CHECKPOINT,), "has no scores.parquet: only a training that ended well has one"),
    ],
)
def test_a_run_that_lacks_what_is_registered_is_refused(
    mlflow_uri: str, tmp_path: Path, names, words: str
) -> None:
    run = a_run(mlflow_uri, a_folder(tmp_path / "trial", scores(0.5)), *names)
    with pytest.raises(SearchError, match=words):
        publish(mlflow_uri, "demo-x", run)
    assert not client(mlflow_uri).search_registered_models(), "nothing is left behind"


def spoil_protocol(folder: Path) -> None:
    score_table.write(folder / files.SCORES, scores(0.5, clips=7))


def spoil_tags(folder: Path) -> None:
    score_table.write(folder / files.SCORES, replace(scores(0.5), tags=("slow", "guitar")))


def spoil_fingerprint(folder: Path) -> None:
    a_folder(folder, scores(0.5, fingerprint=""))


def spoil_test(folder: Path) -> None:
    whole = scores(0.5)
    score_table.write(folder / files.SCORES, replace(whole, splits={"valid": whole.splits["valid"]}))


def spoil_folder(folder: Path) -> None:
    (folder / files.CHECKPOINT / "python_model.pkl").write_bytes(b"a pickle")


def spoil_card(folder: Path) -> None:
    (folder / files.CHECKPOINT / "card.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_protocol, "its scores are of another protocol than its card; train that network again"),
        (spoil_tags, "its scores are of another tag list than its card"),
        (spoil_fingerprint, "its scores do not tell their fingerprint; train that network again"),
        (spoil_test, "it has no scores of test clips; a model is registered with them only"),
        (
            spoil_folder,
            "its checkpoint has 'python_model.pkl' beside weights and card; nothing else is registered",
        ),
        (spoil_card, "the card is not JSON"),
    ],
)
@pytest.mark.usefixtures("same_bits")
def test_what_does_not_say_what_it_is_worth_is_not_registered(
    mlflow_uri: str, tmp_path: Path, spoil, words, capsys
) -> None:
    folder = a_folder(tmp_path / "trial", scores(0.5))
    spoil(folder)
    run = a_run(mlflow_uri, folder)
    assert main([run, f"tracking={mlflow_uri}", "force=true", "reason=because"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"{run} is not registered: ")
    assert words in shown.err
    assert shown.err.count("\n") == 1
    assert not client(mlflow_uri).search_registered_models()


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


def test_a_search_says_what_became_of_its_winner(monkeypatch: pytest.MonkeyPatch) -> None:
    from search.results import conclusion

    said: list[str] = []
    console = SimpleNamespace(print=lambda text, **more: said.append(text))
    tracker = SimpleNamespace(uri="", run_id=lambda signature: "r1")
    job, winner = SimpleNamespace(model="demo-x"), SimpleNamespace(signature="s", name="fcn4")

    def published(mlflow_uri: str, model: str, run_id: str) -> Published:
        assert (model, run_id) == ("demo-x", "r1")
        return Published(model, "3", "challenger", "it is worse", "abc")

    monkeypatch.setattr(conclusion, "publish", published)
    made = conclusion._publish(job, winner, tracker, console)  # type: ignore[arg-type]
    assert made is not None
    assert made.uri == "models:/demo-x@challenger"
    assert said == ["fcn4 is version 3 of demo-x and is not its champion: it is worse"]
