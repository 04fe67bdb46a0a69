"""What a word names; two compared on the screen; all numbers made anew from the scores of the clips."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import optuna
import pytest
from clip_scores import a_network, leave_trial

from search import compare, files, rescore
from search.errors import SearchError
from search.recording.marks import REPLACED, SIGNATURE, STUDY
from search.recording.store import client
from search.results import named
from search.scoring import scores
from search.settings import Training, TrialSettings
from search.study.ledger import About

ONE, OTHER = "samplecnn_m3_n4_s729", "samplecnn_m3_n5_s243"
ABOUT = About("Does it work?", "table2", "small", "python -m search.run")


def a_study(home: Path, name: str, trials: Sequence[TrialSettings]) -> None:
    """A search in the ledger whose trials have ended."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{home / 'studies.db'}")
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
    study.set_user_attr("about", asdict(ABOUT))
    for settings in trials:
        trial = study.ask()
        trial.set_user_attr("settings", json.dumps(settings.to_json()))
        study.tell(trial, 0.5)
    storage.engine.dispose()


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("fresh_home")
def test_two_trials_are_compared_by_their_signatures(capsys: pytest.CaptureFixture[str]) -> None:
    good, _ = leave_trial(ONE, a_network(4.0))
    bad, _ = leave_trial(OTHER, a_network(0.3, seed=2))
    assert compare.main([good["signature"], bad["signature"], "tags=2"]) == 0
    told = said(capsys)
    for words in (
        f"A {ONE} seed 0 (trial {good['signature']})",
        "mtat f00d, convention paper, 80 test clips",
        "A is better than B: by artist, the 95 % interval of the paired difference of test ROC-AUC, +0.",
        "leaves out zero",
        f"test ROC-AUC {good['test']['roc_auc']:.4f}",
        f"unseen artist ROC-AUC {good['subsets']['unseen_artist']['roc_auc']:.4f}",
        f"valid ROC-AUC {good['valid']['roc_auc']:.4f}",
        f"A: {ONE} has 0.8655 in the paper on MTAT, of other clips, so not to be compared",
    ):
        assert words in told
    assert sum(told.count(f"{tag} ") for tag in ("drums", "piano", "sad")) == 2, "tags=2 shows two tags"


@pytest.mark.usefixtures("fresh_home")
def test_equals_are_said_not_to_be_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    one, _ = leave_trial(ONE, a_network(seed=1))
    other, _ = leave_trial(OTHER, a_network(seed=2))
    assert compare.main([one["signature"], other["signature"]]) == 0
    told = said(capsys)
    assert "A and B cannot be told apart: by artist" in told
    assert "not told apart" in told


@pytest.mark.usefixtures("fresh_home")
def test_two_protocols_are_not_compared_and_the_answer_names_what_differs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, _ = leave_trial(ONE, a_network())
    other, _ = leave_trial(OTHER, a_network(convention="all"))
    assert compare.main([one["signature"], other["signature"]]) == 2
    assert capsys.readouterr().err == ("the two are of different protocols: convention paper and all\n")


def test_a_search_stands_for_its_best_network_with_all_its_seeds(
    fresh_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = [leave_trial(ONE, a_network(4.0, seed), seed) for seed in (1, 2)]
    worse = leave_trial(OTHER, a_network(0.5))
    a_study(fresh_home, "demo-one", [settings for _, settings in (*best, worse)])
    found = named.find("demo-one")
    assert found.title == f"the best of 2 networks of demo-one: {ONE}, 2 seeds"
    assert {each.signature for each in found.trainings} == {result["signature"] for result, _ in best}
    assert compare.main(["demo-one", worse[0]["signature"]]) == 0
    told = said(capsys)
    assert "(test ROC-AUC spreads by 0.0" in told
    assert "A is better than B" in told
    with pytest.raises(
        SearchError, match=r"nothing is called 'demo-on'; did you mean demo-one\? \(give a trial's"
    ):
        named.find("demo-on")


def test_a_network_of_a_search_is_named_with_its_search(
    fresh_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = [leave_trial(ONE, a_network(4.0, seed), seed) for seed in (1, 2)]
    worse, settings = leave_trial(OTHER, a_network(0.5))
    a_study(fresh_home, "demo-one", [*(settings for _, settings in best), settings])
    found = named.find(f"demo-one/{OTHER}")
    assert (found.title, [each.signature for each in found.trainings]) == (
        f"of demo-one: {OTHER}, 1 seed",
        [worse["signature"]],
    )
    assert len(named.find(f"demo-one/{ONE}").trainings) == 2
    assert compare.main([f"demo-one/{ONE}", f"demo-one/{OTHER}"]) == 0
    assert "A is better than B" in said(capsys)
    with pytest.raises(SearchError, match=f"demo-one has no network '{ONE}2'; did you mean {ONE}"):
        named.find(f"demo-one/{ONE}2")
    with pytest.raises(SearchError, match=f"nothing is called '{ONE}'; did you mean demo-one/{ONE}"):
        named.find(ONE)


def test_networks_of_one_name_are_told_apart_by_what_was_varied(
    fresh_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, plain = leave_trial(ONE, a_network())
    varied = replace(plain, training=Training(batch_size=8))
    folder = shutil.copytree(files.trial_folder(result["signature"]), files.trial_folder(varied.signature()))
    files.write_json(folder / files.SETTINGS, varied.to_json())
    files.write_json(folder / files.RESULT, {**result, "signature": varied.signature()})
    a_study(fresh_home, "demo-one", [plain, varied])
    full = f"demo-one/{ONE} batch_size=8"
    assert named.find(full).trainings[0].signature == varied.signature()
    with pytest.raises(
        SearchError, match=f"demo-one has 2 trainings of {ONE}: give one of 'demo-one/{ONE} batch_size="
    ):
        named.find(f"demo-one/{ONE}")
    assert compare.main([full, f"demo-one/{ONE} batch_size=23"]) == 0
    assert f"A of demo-one: {ONE} batch_size=8, 1 seed B of" in said(capsys)


@pytest.mark.usefixtures("fresh_home")
def test_the_first_digits_of_a_signature_name_a_trial_where_no_other_begins_so() -> None:
    result, _ = leave_trial(ONE, a_network())
    signature = result["signature"]
    assert named.find(signature[:6]).trainings[0].signature == signature
    twin = files.trial_folder(signature[:8] + "0" * 8)
    shutil.copytree(files.trial_folder(signature), twin)
    with pytest.raises(
        SearchError, match=f"^{signature[:7]} begins 2 signatures: .*{signature}.*; give more digits$"
    ):
        named.find(signature[:7])
    shutil.rmtree(twin)
    wrong = signature[:-1] + ("0" if signature[-1] != "0" else "1")
    with pytest.raises(
        SearchError, match=f"there is no trial that has ended in .*; did you mean {signature}\\?"
    ):
        named.find(wrong)
    with pytest.raises(SearchError, match=f"nothing is called '{signature[:5]}'"):
        named.find(signature[:5])


@pytest.mark.usefixtures("fresh_home")
def test_a_training_compared_with_itself_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    result, _ = leave_trial(ONE, a_network())
    assert compare.main([result["signature"], result["signature"][:8]]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"A and B are the same: {ONE} seed 0 (trial {result['signature']}), and ")
    assert told.endswith("; there is nothing to compare\n")
    assert told.count("\n") == 1


@pytest.mark.usefixtures("fresh_home")
def test_a_verdict_says_that_a_pair_by_itself_is_tested_with_less_caution(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, _ = leave_trial(ONE, a_network(4.0))
    other, _ = leave_trial(OTHER, a_network(0.5))
    assert compare.main([one["signature"], other["signature"]]) == 0
    assert "tested by itself, with less caution than a leaderboard's pairs" in said(capsys)


def test_a_run_of_mlflow_and_a_registered_model_name_the_same_trial(
    mlflow_uri: str, fresh_home: Path
) -> None:
    result, settings = leave_trial(ONE, a_network(4.0))
    folder = files.trial_folder(result["signature"])
    mlflow = client(mlflow_uri)
    experiment = mlflow.create_experiment("x", artifact_location=(fresh_home / "mlflow").as_uri())
    run = mlflow.create_run(experiment, tags={SIGNATURE: result["signature"]}).info.run_id
    mlflow.log_param(run, "network", settings.network)
    mlflow.log_param(run, "seed", settings.seed)
    for name, value in scores.numbers(result).items():
        mlflow.log_metric(run, name, value)
    mlflow.log_artifact(run, str(folder / files.SCORES))
    mlflow.create_registered_model("demo-x")
    mlflow.create_model_version("demo-x", f"runs:/{run}/checkpoint", run)
    mlflow.set_registered_model_alias("demo-x", "champion", "1")
    here = [named.find(word).trainings[0] for word in (run, f"runs:/{run}", "models:/demo-x@champion")]
    assert {each.signature for each in here} == {result["signature"]}
    shutil.rmtree(folder)  # as on another machine: the scores come from MLflow
    for word in (run, "models:/demo-x/1"):
        (far,) = named.find(word).trainings
        assert (far.network, far.seed, far.signature) == (ONE, 0, result["signature"])
        assert rescore.rescored(far)[1] == []
    # Trained anew: what a model was made of is no longer in the folder
    again, _ = leave_trial(ONE, a_network(0.3))
    mlflow.set_tag(run, REPLACED, result["signature"])
    mlflow.delete_tag(run, SIGNATURE)
    (before,) = named.find("models:/demo-x@champion").trainings
    assert before.recorded["test_roc_auc"] == result["test"]["roc_auc"] != again["test"]["roc_auc"]
    parent = mlflow.create_run(experiment, tags={STUDY: "demo-gone"}).info.run_id
    with pytest.raises(SearchError, match="nothing is called 'demo-gone'"):
        named.find(parent)
    with pytest.raises(
        SearchError, match=f"models:/demo-x@challenger can't be had from MLflow at {mlflow_uri}: "
    ):
        named.find("models:/demo-x@challenger")
    with pytest.raises(SearchError, match=r"^0{32} can't be had from MLflow at "):
        named.find("0" * 32)


@pytest.mark.usefixtures("fresh_home")
def test_without_a_store_of_mlflows_nothing_is_made(fresh_home: Path) -> None:
    with pytest.raises(
        SearchError, match=r"there is no MLflow store at sqlite:///.*; run a search first, or give"
    ):
        named.find("models:/demo-x@champion")
    assert not (fresh_home / "mlflow.db").exists()
    with pytest.raises(SearchError, match="there is no trial that has ended in "):
        named.find("0" * 16)


@pytest.mark.usefixtures("fresh_home")
def test_rescoring_needs_no_network_and_gives_what_was_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, settings = leave_trial(ONE, a_network(2.0))
    assert rescore.main([settings.signature(), f"out={tmp_path / 'anew.json'}"]) == 0
    told = said(capsys)
    assert "all numbers are those that were recorded" in told
    assert f"test_roc_auc_low_by_artist {result['test']['roc_auc_low_by_artist']:.6g}" in told
    assert "of 80 clips" in told
    anew = json.loads((tmp_path / "anew.json").read_text())[settings.signature()]
    kept = json.loads((files.trial_folder(settings.signature()) / files.RESULT).read_text())
    assert anew == {key: kept[key] for key in anew}


@pytest.mark.usefixtures("fresh_home")
def test_a_number_that_was_tampered_with_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    result, settings = leave_trial(ONE, a_network(2.0))
    was = result["test"]["roc_auc"]
    result["test"]["roc_auc"] = 0.99
    files.write_json(files.trial_folder(settings.signature()) / files.RESULT, result)
    assert rescore.main([settings.signature()]) == 1
    assert f"not what was recorded: test_roc_auc: recorded 0.99, now {was!r}" in said(capsys)


@pytest.mark.usefixtures("fresh_home")
@pytest.mark.parametrize(
    ("command", "words", "answer"),
    [
        (compare, ["a"], "1 to compare: give two, as python -m search.compare A B"),
        (compare, ["a", "b", "tag=3"], "'tag=3' is no word of this command; did you mean tags"),
        (compare, ["a", "b", "tags=-1"], "tags=-1: give a whole number, 0 or more"),
        (compare, ["a", "b", "tags=²"], "tags=²: give a whole number, 0 or more"),
        (rescore, ["a", "oot=x"], "'oot=x' is no word of this command; did you mean out? (see --help)"),
        (rescore, ["a"], "nothing is called 'a'; there is no search here yet (give a trial's signature"),
    ],
)
def test_wrong_words_are_answered(
    command: object, words: list[str], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(words) == 2  # type: ignore[attr-defined]
    assert capsys.readouterr().err.startswith(answer)


def test_help_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (compare, rescore):
        assert command.main(["--help"]) == 0
        assert "exit codes" in capsys.readouterr().out


def test_a_wrong_word_with_an_address_is_told_without_its_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert rescore.main(["demo-one", "storag=postgresql://me:SECRET@host/db"]) == 2
    said = capsys.readouterr().err
    assert "'storag=postgresql://...@host/db' is no word of this command; did you mean storage" in said
