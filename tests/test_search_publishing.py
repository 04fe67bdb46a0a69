"""The registry and its gate: what may be registered, what becomes the champion, and that publishing twice is once."""

import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from published_runs import TAGS, a_folder, a_run, same_bits, scores  # noqa: F401

import datasets
from search import files
from search.errors import SearchError
from search.publish import main
from search.recording import gate
from search.recording.publishing import Published, publish
from search.recording.store import client
from search.scoring import score_table
from search.scoring.score_table import ClipScores
from search.trials import restored


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
@pytest.mark.parametrize("place", [(restored, "check"), (gate, "decide")])
def test_what_is_published_while_another_is_judged_is_compared_with_it(
    mlflow_uri: str, a_model, monkeypatch: pytest.MonkeyPatch, place: tuple[object, str]
) -> None:
    """Two searches of one name that end together: neither knows of the other at its beginning."""
    judge, others = getattr(*place), list[Published]()

    def meanwhile(*given: object) -> object:
        monkeypatch.setattr(*place, judge)
        others.append(a_model(scores(2.0, seed=1)))
        return judge(*given)

    monkeypatch.setattr(*place, meanwhile)
    worse = a_model(scores(0.1))
    assert [each.why for each in others] == ["the first of its name"]
    number = others[0].version
    assert worse.alias == "challenger"
    assert worse.why.startswith(f"its test AUC minus that of version {number} is -")
    assert aliases(mlflow_uri) == {"champion": number, "challenger": worse.version}
    tags = client(mlflow_uri).get_model_version("demo-x", worse.version).tags
    assert tags["wavezoo.why"] == worse.why


@pytest.mark.usefixtures("same_bits")
def test_of_two_that_publish_one_run_at_once_none_calls_it_a_challenger(
    mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, check = a_run(mlflow_uri, a_folder(tmp_path / "trial", scores(0.5))), restored.check

    def meanwhile(*given: object) -> object:
        monkeypatch.setattr(restored, "check", check)
        publish(mlflow_uri, "demo-x", run)
        return check(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(restored, "check", meanwhile)
    assert publish(mlflow_uri, "demo-x", run).why == "the champion already"
    assert aliases(mlflow_uri) == {"champion": "1"}


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


def test_the_commands_to_type_next_hold_in_a_shell_whatever_is_in_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from search.results import conclusion

    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path / "home one"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("UV", "uv")
    said: list[str] = []
    console = SimpleNamespace(print=lambda text, **more: said.append(text))
    board = [SimpleNamespace(signature=signature) for signature in ("a", "b")]

    def typed(published: Published | None, **words: str | None) -> list[list[str]]:
        job = SimpleNamespace(settings=SimpleNamespace(**{"tracking": None, "storage": None} | words))
        conclusion._next_steps(job, board, published, console)  # type: ignore[arg-type]
        head, *lines = said.pop().strip().splitlines()
        assert head == "next:"
        return [shlex.split(line, comments=True) for line in lines]

    server = ["uv", "run", "mlflow", "server", "--host", "127.0.0.1", "--backend-store-uri"]
    python = ["uv", "run", "python", "-m"]
    assert typed(None) == [
        [*server, f"sqlite:///{tmp_path}/home one/mlflow.db"],
        [*python, "search.compare", "a", "b"],
        [*python, "dashboards"],
        [*python, "zoo", "tag", "song.mp3", f"model={tmp_path}/home one/trials/a/checkpoint"],
    ]
    made = Published("demo-x", "3", "champion", "the first of its name", "abc")
    there = "sqlite:////a #1/mlflow.db"
    served, _, shown, tag = typed(made, tracking=there, storage="postgresql://me:secret@db/x?a=1&b=2")
    assert served == [*server, there]
    assert shown == [*python, "dashboards", "storage=postgresql://...@db/x?a=1&b=2"]
    tagged = [*python, "zoo", "tag", "song.mp3", "model=models:/demo-x@champion"]
    assert tag == [f"MLFLOW_TRACKING_URI={there}", *tagged]
