"""What a model may be called: a folder, a trial, its signature; and what is said of all else, before torch."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import zoo
from zoo import probe
from zoo.__main__ import main
from zoo.trained.here import checkpoint_here

NAME, TAGS, SIGNATURE = "samplecnn_m3_n3_s9", ("guitar", "slow"), "8d0ff839f61f8ea0"
FORMS = "did you mean models:/demo-table2@champion?"


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a trial that has ended, in a home of its own, which is not the folder one is in."""
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    folder = tmp_path / "home" / "trials" / SIGNATURE
    network = zoo.create(NAME, n_tags=2)
    zoo.save(network, folder / "checkpoint", zoo.Card.of(network, TAGS))
    (folder / "settings.json").write_text("{}")
    return folder


def refused(words: list[str], capsys: pytest.CaptureFixture) -> str:
    """The one line that a command answers with."""
    command = probe.main if words[0] == "probe" else main
    assert command(words[1:] if words[0] == "probe" else words) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    return shown.err.rstrip("\n")


def test_a_trial_is_loaded_by_its_folder_its_signature_and_the_first_digits_of_that(trial: Path) -> None:
    for word in (trial, str(trial), trial / "checkpoint", SIGNATURE, SIGNATURE[:6]):
        tagger = zoo.load(word)
        assert (tagger.tags, tagger.source) == (TAGS, str(trial / "checkpoint"))
    assert zoo.create(NAME, n_tags=2, weights=SIGNATURE).entry.name == NAME


def test_info_of_a_model_s_bare_name_says_how_one_asks(capsys: pytest.CaptureFixture) -> None:
    assert main(["info", "demo-table2"]) == 2
    assert capsys.readouterr().err == (
        "no network is called 'demo-table2'; a trained model is asked for by its address, such as "
        "models:/demo-table2@champion\n"
    )


def test_info_shows_a_trial_by_its_signature(trial: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["info", SIGNATURE]) == 0
    assert NAME in capsys.readouterr().out


@pytest.mark.parametrize("command", [["tag", "a.mp3"], ["export", "out=x.onnx"], ["probe", "out=x"]])
@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("demo-table2", f"there is no folder demo-table2; if it is a registered model, {FORMS}"),
        ("models:/demo-table2", f"models:/demo-table2 says no version; {FORMS}"),
        (
            "no/folder",
            "there is no folder no/folder; give that of a checkpoint or a trial, a trial's signature, or "
            "models:/demo-table2@champion",
        ),
        (
            NAME,
            f"{NAME} is a network's name, and nothing trained; give a model, such as models:/demo-table2@champion, or "
            "a trial's signature",
        ),
        (
            "8d0ff839f61f8ea1",
            f"no trial in HOME/trials has the signature 8d0ff839f61f8ea1; did you mean {SIGNATURE}?",
        ),
        ("1" * 32, f"there is no folder {'1' * 32}; a run of MLflow's is written runs:/{'1' * 32}"),
        (
            "afile",
            "afile is a file; give the folder of a checkpoint, with card.json and weights.safetensors in it",
        ),
    ],
)
def test_a_model_that_is_none_is_told_what_it_is_not(
    command: list[str], word: str, said: str, trial: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "afile").write_text("no model")
    assert refused([*command, f"model={word}"], capsys) == said.replace("HOME", str(tmp_path / "home"))


def test_a_trial_that_has_not_ended_says_so(trial: Path) -> None:
    (trial / "checkpoint" / "card.json").unlink()
    with pytest.raises(zoo.ZooError) as caught:
        checkpoint_here(SIGNATURE)
    assert str(caught.value) == (
        f"{trial} is a trial without a checkpoint: it has not ended; its search's command again goes on"
    )


def test_first_digits_of_two_trials_are_not_enough(trial: Path) -> None:
    trial.with_name("8d0ff8ffffffffff").mkdir()
    with pytest.raises(zoo.ZooError, match=r"8d0ff8 begins 2 signatures: .*; give more digits"):
        checkpoint_here("8d0ff8")
    assert checkpoint_here("8d0ff839") == trial / "checkpoint"


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "zoo", "tag", "a.mp3", "model=demo-table2"],
        ["-m", "zoo", "export", "model=models:/demo-table2", "out=x.onnx"],
        ["-m", "zoo.probe", "model=1234567890abcdef", "out=x"],
        ["-m", "zoo", "info", "1234567890abcdef"],
    ],
)
def test_a_wrong_model_is_refused_before_torch_and_mlflow_are_loaded(words: list[str], trial: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words], capture_output=True, text=True, check=False
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 2
    assert "zoo.trained.here" in loaded
    assert not loaded & {"torch", "mlflow"}
