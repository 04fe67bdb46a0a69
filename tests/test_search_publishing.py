"""The registry and its gate: what may be registered, what becomes the champion, and that publishing twice is once."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import datasets
import zoo
from search import files, restored, score_table
from search.publish import main
from search.publishing import Published, publish
from search.score_table import ClipScores, SplitScores
from search.settings import SearchError, Training, TrialSettings
from search.tracking import SIGNATURE, client
from search.trial import Trial

NETWORK, TAGS = "samplecnn_m3_n3_s9", ("guitar", "slow")
CLIPS = 200
LABELS = np.random.default_rng(0).integers(0, 2, (CLIPS, 2), dtype=np.uint8)


@pytest.fixture
def uri(fresh_home: Path, mlflow_db: Path) -> str:
    shutil.copy(mlflow_db, fresh_home / "mlflow.db")
    return f"sqlite:///{fresh_home / 'mlflow.db'}"


@pytest.fixture
def same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are taken to give the stored scores: the rule is what is tested."""
    monkeypatch.setattr(restored, "check", lambda *about: None)


def scores(skill: float, seed: int = 0, **protocol: object) -> ClipScores:
    """Made up: the more skill, the better the clips are ranked."""
    noise = np.random.default_rng(seed).uniform(0, 1, (CLIPS, 2))
    said = (skill * LABELS + noise) / (1 + skill)
    about = {
        "dataset": "demo",
        "fingerprint": "f" * 16,
        "convention": "fixed",
        "tag_hash": datasets.tag_hash(TAGS),
    }
    names = tuple(f"clip{number}" for number in range(CLIPS))
    split = SplitScores(names, names, LABELS, said, {})
    return ClipScores(TAGS, {**about, "clips": CLIPS, **protocol}, {"valid": split, "test": split}, {})


def a_folder(folder: Path, said: ClipScores, signature: str = "a" * 16, **lineage: object) -> Path:
    """What a trial leaves behind, with scores made up."""
    network = zoo.create(NETWORK, n_tags=2)
    about = {"signature": signature, "git_commit": "c0ffee" * 6, "git_dirty": True, **lineage}
    card = zoo.Card.of(
        network, TAGS, protocol=said.protocol, scores={"test": {"roc_auc": 0.7}}, lineage=about, licence="CC0"
    )
    zoo.save(network, folder / files.CHECKPOINT, card)
    score_table.write(folder / files.SCORES, said)
    files.write_json(folder / files.RESULT, {"signature": signature})
    return folder


def a_run(uri: str, folder: Path, *names: str) -> str:
    """The folder as a search records it in MLflow."""
    mlflow = client(uri)
    experiment = mlflow.get_experiment_by_name("demo-x")
    place = (
        experiment.experiment_id
        if experiment
        else mlflow.create_experiment("demo-x", (folder.parent / "m").as_uri())
    )
    signature = files.read_json(folder / files.RESULT)["signature"]
    run = mlflow.create_run(place, tags={SIGNATURE: signature}).info.run_id
    for name in names or (files.CHECKPOINT, files.SCORES):
        copy = mlflow.log_artifacts if (folder / name).is_dir() else mlflow.log_artifact
        copy(run, str(folder / name), *([name] if (folder / name).is_dir() else ()))
    mlflow.set_terminated(run, "FINISHED")
    return str(run)


@pytest.fixture
def a_model(uri: str, tmp_path: Path):
    """Publishes scores made up under a new signature."""
    made = []

    def publish_scores(said: ClipScores, **more: str) -> Published:
        made.append(said)
        folder = a_folder(tmp_path / f"trial{len(made)}", said, f"{len(made):016x}")
        return publish(uri, "demo-x", a_run(uri, folder), **more)

    return publish_scores


def aliases(uri: str) -> dict[str, str]:
    return {name: str(number) for name, number in client(uri).get_registered_model("demo-x").aliases.items()}


@pytest.mark.usefixtures("same_bits")
def test_the_first_of_a_name_is_its_champion_and_publishing_twice_is_once(uri: str, tmp_path: Path) -> None:
    run = a_run(uri, a_folder(tmp_path / "trial", scores(0.5)))
    made = publish(uri, "demo-x", run)
    assert (made.version, made.champion, made.why) == ("1", True, "the first of its name")
    assert made.uri == "models:/demo-x@champion"
    assert made.git == "c0ffeec0ffee with changes that were not committed"
    again = publish(uri, "demo-x", run)
    assert (again.version, again.champion, again.why, again.git) == (
        "1",
        True,
        "the champion already",
        made.git,
    )
    tags = client(uri).get_model_version("demo-x", "1").tags
    assert tags["wavezoo.protocol.fingerprint"] == "f" * 16
    assert tags["wavezoo.protocol.tag_hash"] == datasets.tag_hash(TAGS)
    assert tags["wavezoo.verified"] == "its weights gave the stored scores bit for bit"
    assert tags["wavezoo.git"] == made.git


@pytest.mark.usefixtures("same_bits")
def test_only_a_difference_beyond_chance_replaces_the_champion(uri: str, a_model) -> None:
    a_model(scores(0.5))
    chance = a_model(scores(0.52, seed=1))
    assert chance.alias == "challenger"
    assert chance.why.startswith("its test AUC minus that of version 1 is ")
    assert chance.why.endswith(
        "): cannot be told apart; force=true reason='...' makes it the champion all the same"
    )
    worse = a_model(scores(0.1, seed=2))
    assert "): worse; force=true" in worse.why
    assert aliases(uri) == {"champion": "1", "challenger": "3"}
    better = a_model(scores(2.0, seed=3))
    assert better.champion
    assert "(95% interval +0." in better.why
    assert aliases(uri) == {"champion": "4", "challenger": "3"}


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
    uri: str, a_model, other, words: str
) -> None:
    a_model(scores(0.1))
    made = a_model(scores(9.0, seed=1, **other))
    assert made.alias == "challenger"
    assert made.why.startswith("it can't be compared with version 1: the two are of ")
    assert words in made.why
    assert made.why.endswith("force=true reason='...' makes it the champion all the same")


@pytest.mark.usefixtures("same_bits")
def test_force_is_recorded_with_its_reason(uri: str, a_model) -> None:
    a_model(scores(0.5))
    forced = a_model(scores(0.1, seed=1), reason="the old labels were wrong")
    assert (forced.alias, forced.why) == ("champion", "forced: the old labels were wrong")
    assert aliases(uri) == {"champion": "2"}
    tags = client(uri).get_model_version("demo-x", "2").tags
    assert tags["wavezoo.forced"] == "the old labels were wrong"
    assert tags["wavezoo.gate"].startswith("challenger: its test AUC minus that of version 1 is -")


@pytest.mark.usefixtures("same_bits")
def test_an_alias_that_is_asked_for_touches_no_champion(uri: str, a_model) -> None:
    a_model(scores(0.5))
    assert a_model(scores(9.0, seed=1), alias="candidate").uri == "models:/demo-x@candidate"
    assert aliases(uri) == {"champion": "1", "candidate": "2"}


@pytest.mark.usefixtures("same_bits")
def test_a_challenger_that_becomes_the_champion_is_no_challenger_any_more(uri: str, tmp_path: Path) -> None:
    for number, skill in enumerate((1.0, 0.9)):
        run = a_run(uri, a_folder(tmp_path / str(number), scores(skill, number), str(number) * 16))
        publish(uri, "demo-x", run)
    assert aliases(uri) == {"champion": "1", "challenger": "2"}
    publish(uri, "demo-x", run, reason="the first was a mistake")
    assert aliases(uri) == {"champion": "2"}


def test_weights_that_could_not_be_scored_again_make_no_champion(uri: str, a_model) -> None:
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
def test_a_run_that_lacks_what_is_registered_is_refused(uri: str, tmp_path: Path, names, words: str) -> None:
    run = a_run(uri, a_folder(tmp_path / "trial", scores(0.5)), *names)
    with pytest.raises(SearchError, match=words):
        publish(uri, "demo-x", run)
    assert not client(uri).search_registered_models(), "nothing is left behind"


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
    uri: str, tmp_path: Path, spoil, words, capsys
) -> None:
    folder = a_folder(tmp_path / "trial", scores(0.5))
    spoil(folder)
    run = a_run(uri, folder)
    assert main([run, f"tracking={uri}", "force=true", "reason=because"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"{run} is not registered: ")
    assert words in shown.err
    assert shown.err.count("\n") == 1
    assert not client(uri).search_registered_models()


@pytest.mark.usefixtures("same_bits")
def test_a_run_is_found_by_its_id_its_signature_and_its_folder(uri: str, tmp_path: Path, capsys) -> None:
    folder = a_folder(tmp_path / "trial", scores(0.5), "5" * 16)
    run = a_run(uri, folder)
    for word in (run, "5" * 16, str(folder)):
        assert main([word, f"tracking={uri}"]) == 0
        said = capsys.readouterr().out.splitlines()
        assert said[0].startswith("version 1 of demo-x is its champion: the ")
        assert said[1:] == [
            "commit: c0ffeec0ffee with changes that were not committed",
            "models:/demo-x@champion",
        ]


@pytest.mark.usefixtures("same_bits")
def test_a_folder_that_mlflow_does_not_know_is_recorded_there(
    uri: str, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = a_folder(tmp_path / "trial", scores(0.5), "6" * 16)
    assert main([str(folder), f"tracking={uri}"]) == 1
    assert capsys.readouterr().err.endswith(
        "no run in MLflow is of this trial; to record it there, say its model's name: model=NAME\n"
    )
    assert main([str(folder), f"tracking={uri}", "model=mine"]) == 0
    assert capsys.readouterr().out.startswith("version 1 of mine is its champion: the first of its name")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "publish takes one RUN, not 0: the id of a run in MLflow"),
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


def test_runs_that_are_not_there_are_named(uri: str, capsys) -> None:
    for word, error in (
        (
            "nonsense",
            "it is none of the id of a run in MLflow (32 digits and letters), a trial's signature (16), or",
        ),
        ("7" * 16, f"no run in MLflow and no folder of a trial that has ended has the signature {'7' * 16}"),
        ("7" * 32, f"MLflow says: Run with id={'7' * 32} not found"),
    ):
        assert main([word, f"tracking={uri}"]) == 1
        assert capsys.readouterr().err.startswith(f"{word} is not registered: {error}")


def test_publishing_makes_no_store_where_there_is_none(tmp_path: Path, capsys) -> None:
    nowhere = tmp_path / "nothing.db"
    assert main(["7" * 32, f"tracking=sqlite:///{nowhere}"]) == 1
    assert capsys.readouterr().err == (
        f"{'7' * 32} is not registered: there is no MLflow store at sqlite:///{nowhere}; run a search first, or "
        "give tracking=URL\n"
    )
    assert not nowhere.exists()


@pytest.fixture
def trained(fresh_home: Path) -> Path:
    """The folder of a trial that was really trained, on demo."""
    card = datasets.card("demo")
    training = Training(learning_rates=(0.05,), epochs_per_stage=1, batch_size=8, multiply_adds_per_epoch=1e8)
    network = "samplecnn_m3_n3_s729"
    about = (card.fingerprint, card.default_convention, card.tag_hash)
    settings = TrialSettings(network, zoo.entry(network).options, training, 3, "demo", *about)
    with Trial(settings, "cpu", {"search": "demo-x-1"}) as trial:
        trial.advance()
    return files.trial_folder(settings.signature())


def test_stored_weights_give_the_stored_scores_bit_for_bit_or_are_refused(
    trained: Path, uri: str, capsys
) -> None:
    stored = score_table.read(trained / files.SCORES).splits["test"]
    checkpoint = trained / files.CHECKPOINT
    lineage = zoo.read(checkpoint)[1].lineage
    assert lineage["evaluated"]["threads"] == torch.get_num_threads()
    assert restored.check(checkpoint, lineage, stored) is None

    weights = load_file(checkpoint / "weights.safetensors")
    weights["head.bias"][0] += 1e-6
    save_file(weights, checkpoint / "weights.safetensors")
    run = a_run(uri, trained)
    assert main([run, f"tracking={uri}", "force=true", "reason=because"]) == 1
    said = capsys.readouterr().err
    assert "the stored weights give other scores than those that were stored with them, by up to " in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evaluated": None}, "its card does not tell on what it was scored"),
        ({"evaluated": {"device": "NVIDIA H200"}}, "it was scored on NVIDIA H200 with torch"),
        (
            {"evaluated": {**restored.how_evaluated("cpu"), "way": "clip by clip"}},
            "it was scored by another version of this program, which rounds in another way",
        ),
        (
            {"evaluated": {**restored.how_evaluated("cpu"), "threads": -1}},
            "and -1 threads, which can't be had here",
        ),
        ({"settings": {"network": "x"}}, "its weights could not be scored again: "),
        ({"settings": "fingerprint"}, "demo has fingerprint "),
        ({"settings": "dataset"}, "has not been built in "),
    ],
)
def test_where_scores_cannot_be_taken_again_the_reason_is_told(tmp_path, fresh_home, changes, words) -> None:
    how = {"evaluated": restored.how_evaluated("cpu")}
    card = datasets.card("demo")
    settings = {
        "network": NETWORK,
        "options": {},
        "training": json.loads(json.dumps(Training().__dict__)),
        "seed": 0,
        "dataset": "demo",
        "fingerprint": card.fingerprint,
        "convention": card.default_convention,
        "tag_hash": card.tag_hash,
    }
    if isinstance(wrong := changes.get("settings"), str):
        settings[wrong] = {"fingerprint": "0" * 16, "dataset": "mtat"}[wrong]
        changes = {}
    folder = a_folder(tmp_path / "trial", scores(0.5), **{**how, "settings": settings, **changes})
    lineage = zoo.read(folder / files.CHECKPOINT)[1].lineage
    try:
        told = restored.check(folder / files.CHECKPOINT, lineage, scores(0.5).splits["test"])
    except SearchError as error:
        told = str(error)
    assert words in str(told)
    assert "\n" not in str(told)


def test_a_search_says_what_became_of_its_winner(monkeypatch: pytest.MonkeyPatch) -> None:
    from search import conclusion

    said: list[str] = []
    console = SimpleNamespace(print=lambda text, **more: said.append(text))
    tracker = SimpleNamespace(uri="", run_id=lambda signature: "r1")
    job, winner = SimpleNamespace(model="demo-x"), SimpleNamespace(signature="s", name="fcn4")

    def published(uri: str, model: str, run_id: str) -> Published:
        assert (model, run_id) == ("demo-x", "r1")
        return Published(model, "3", "challenger", "it is worse", "abc")

    monkeypatch.setattr(conclusion, "publish", published)
    made = conclusion._publish(job, winner, tracker, console)  # type: ignore[arg-type]
    assert made is not None
    assert made.uri == "models:/demo-x@challenger"
    assert said == ["fcn4 is version 3 of demo-x and is not its champion: it is worse"]
