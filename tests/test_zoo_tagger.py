"""Trained networks in use: scores of a song, addresses, and the command line."""

import io
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

import zoo
from zoo.__main__ import main
from zoo.screens import console, list_table
from zoo.trained.tagger import segments_at_once

NAME, TAGS = "samplecnn_m3_n3_s9", ("guitar", "slow", "female voice")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("trained") / "checkpoint"
    network = zoo.create(NAME, n_tags=3)
    network(torch.rand(64, 243) * 2 - 1)
    zoo.save(network, folder, zoo.Card.of(network, TAGS, lineage={"run": "r1"}))
    return folder


@pytest.fixture(scope="module")
def tagger(checkpoint):
    return zoo.load(checkpoint)


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    path = tmp_path_factory.mktemp("music") / "song.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, (44100, 2)), 44100)
    return path


def test_a_tagger_knows_what_it_is(tagger, checkpoint):
    assert tagger.tags == TAGS
    assert (tagger.sample_rate_hz, tagger.segment_samples) == (22050, 243)
    assert tagger.source == str(checkpoint)
    assert tagger.card.lineage == {"run": "r1"}
    assert not tagger.network.training


def test_a_clip_scores_the_mean_of_its_segments_sigmoids(tagger):
    wave = np.random.default_rng(1).uniform(-1, 1, 20 * 243).astype(np.float32)
    with torch.no_grad():
        sigmoids = torch.stack(
            [tagger.network(piece[None])[0] for piece in torch.from_numpy(wave).split(243)]
        ).sigmoid()
    assert tagger.score(wave) == pytest.approx(sigmoids.mean(dim=0).numpy(), abs=1e-6)
    assert tagger.score(wave) != pytest.approx(sigmoids.logit().mean(dim=0).sigmoid().numpy(), abs=1e-6)


def test_an_incomplete_segment_counts_only_if_it_is_the_only_one(tagger):
    wave = np.random.default_rng(2).uniform(-1, 1, 700).astype(np.float32)
    assert np.array_equal(tagger.score(wave), tagger.score(wave[:486]))
    padded = np.concatenate([wave[:100], np.zeros(143, dtype=np.float32)])
    assert np.array_equal(tagger.score(wave[:100]), tagger.score(padded))


@pytest.mark.parametrize(
    ("wave", "words"),
    [
        ([], r"a wave has shape \(samples,\), at least one; this one has \(0,\)"),
        (np.zeros((2, 500)), r"this one has \(2, 500\)"),
        ([0.0, float("nan")], "holds values that are not numbers"),
    ],
)
def test_a_wave_that_cannot_be_tagged_is_refused(tagger, wave, words):
    with pytest.raises(zoo.ZooError, match=words):
        tagger.score(wave)


def test_a_song_gets_a_probability_for_each_tag(tagger, song):
    scores = tagger(song)
    assert tuple(scores) == TAGS
    assert all(isinstance(p, float) and 0 < p < 1 for p in scores.values())


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (
            "nowhere",
            r"there is no folder nowhere; if it is a registered model, did you mean models:/nowhere@champion\?",
        ),
        ("s3://bucket/model", "'s3://bucket/model' is none of a folder, runs:/<run>/checkpoint, models:/"),
        (
            "models:/x@champion",
            "models:/x@champion needs an MLflow store, and there is none at sqlite:///.*mlflow.db",
        ),
    ],
)
def test_an_address_that_leads_nowhere_is_refused(uri, words, monkeypatch, tmp_path):
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(zoo.ZooError, match=words):
        zoo.load(uri)
    assert not list(tmp_path.iterdir())


REGISTRY = """
import sys
import zoo
from mlflow import MlflowClient

home, checkpoint = sys.argv[1:]
client = MlflowClient(f"sqlite:///{home}/mlflow.db")
run = client.create_run(client.create_experiment("x", artifact_location=f"file://{home}/artifacts")).info.run_id
client.log_artifacts(run, checkpoint, "checkpoint")
client.create_registered_model("demo-table2")
version = client.create_model_version("demo-table2", f"runs:/{run}/checkpoint", run).version
client.set_registered_model_alias("demo-table2", "champion", version)

expected = zoo.load(checkpoint).score([0.5] * 243).tolist()
good = ("models:/demo-table2@champion", f"models:/demo-table2/{version}", f"runs:/{run}/checkpoint")
bad = ("models:/demo-tabel2@champion", "models:/demo-table2@best", "models:/demo-table2/latest", "runs:/no")
for uri in (*good, f"runs:/{run}"):
    tagger = zoo.load(uri)
    assert tagger.score([0.5] * 243).tolist() == expected, uri
    assert tagger.source.startswith(uri) and run in tagger.source, tagger.source
for uri in bad:
    try:
        zoo.load(uri)
    except zoo.ZooError as error:
        print(error)
print(sorted({"ray", "optuna", "sklearn"} & set(sys.modules)))
"""


def test_a_registered_model_loads_without_ray(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "1")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    script = [sys.executable, "-c", REGISTRY, str(tmp_path), str(checkpoint)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    *errors, heavy = done.stdout.splitlines()
    assert heavy == "[]"
    assert errors[0] == "no model is registered as models:/demo-tabel2@champion; did you mean demo-table2?"
    assert (
        errors[1]
        == "no model is registered as models:/demo-table2@best; demo-table2 exists, but not with best"
    )
    assert errors[2].startswith("'models:/demo-table2/latest' is none of a folder")
    assert "runs:/no cannot be had from sqlite:///" in errors[3]


def test_the_list_has_a_line_for_each_network(capsys):
    assert main([]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    columns = "name, kHz, input ms, parameters, counted by others, multiply-adds, MTAT AUC, MSD AUC, published in, sure"
    assert re.split("  +", head.strip()) == columns.split(", ")
    assert [line.split()[0] for line in lines] == zoo.names()
    row = next(line for line in lines if line.startswith("samplecnn_m3_n9_s3 "))
    assert row.split() == [
        "samplecnn_m3_n9_s3",
        "22.05",
        "2678",
        "1,869,874",
        "1,863,986",
        "1,728,067,712",
        "0.9055",
        "0.8812",
        "table2,",
        "table3,",
        "table4",
        "A",
    ]


def test_the_list_tells_counts_and_numbers_of_other_worth_apart(capsys):
    assert main(["list", "fcn*"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert "17,365,938 (ref)" in rows["fcn4"]
    assert " 865,950  " in rows["fcn5_release"]
    assert "0.8080? 0.8520  " in rows["fcn4"]
    assert main(["info", "fcn4"]) == 0
    shown = capsys.readouterr().out
    assert "reference       17,365,938 parameters, counted on an independent implementation" in shown
    assert (
        "AUC 0.8080 on msd, paper split; the authors' slides call the paper's numbers on MSD incorrect"
        in shown
    )
    assert "choi2016slides  AUC 0.8520 on msd, paper split\n" in shown


def test_the_list_takes_a_pattern_and_a_number_of_tags(capsys):
    assert main(["list", "melcnn*", "n_tags=10"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == 5
    assert f"{zoo.entry('melcnn_m3_n6_s81_w243').cost(10).parameters:,}" in lines[3]


def test_a_narrow_terminal_loses_no_name(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "40")
    screen = console(Terminal())
    screen.print(list_table(map(zoo.entry, zoo.names("melcnn*")), 50))
    shown = screen.file.getvalue()
    assert "…" not in shown
    assert shown.count("melcnn") == 5


def test_info_tells_all_about_a_network(capsys):
    assert main(["info", "samplecnn_m3_n5_s243_w729"]) == 0
    shown = capsys.readouterr().out
    for fact in (
        "1,173,298",
        "44,491,136",
        "59049 samples at 22050 Hz (2678 ms)",
        "AUC 0.8742 on mtat",
        "7 layers and the dense head",
        "trained         as the paper",
        "1703.01789",
    ):
        assert fact in shown
    assert "certainty       G (a guess or a design choice of this project): window" in shown
    for option in zoo.entry("samplecnn_m3_n5_s243_w729").options:
        assert f"\n{option} " in shown


def test_tagging_prints_the_likeliest_tags(checkpoint, song, tagger, capsys):
    assert main(["tag", str(song), f"model={checkpoint}", "top=2"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["file", "tag", "probability"]
    best = sorted(tagger(song).items(), key=lambda pair: -pair[1])[:2]
    assert [line.split() for line in lines] == [[str(song), *tag.split(), f"{p:.4f}"] for tag, p in best]


def test_a_file_that_cannot_be_tagged_is_named_and_the_others_go_on(checkpoint, song, tmp_path, capsys):
    (tmp_path / "broken.mp3").write_bytes(b"no music")
    assert main(["tag", str(tmp_path / "broken.mp3"), str(song), f"model={checkpoint}"]) == 1
    shown = capsys.readouterr()
    assert "broken.mp3 is undecodable" in shown.err
    assert shown.err.count("\n") == 1
    assert len(shown.out.splitlines()) == 4


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["lst"], "no command is called 'lst'; did you mean list? (list, info, tag, export, import)"),
        (["list", "m3*"], "no network matches m3*; python -m zoo lists all"),
        (["list", "a", "b"], "list takes one pattern, not 2; put it in quotes, or the shell replaces *"),
        (["list", "n_tags=0"], "n_tags=0 is not a whole number of 1 or more"),
        (["info"], "info takes the name of one network: python -m zoo info samplecnn_m3_n9_s3"),
        (
            ["tag", "model=x"],
            "tag needs audio files: python -m zoo tag song.mp3 model=models:/demo-table2@champion",
        ),
        (
            ["tag", "a.mp3"],
            "tag needs a model: python -m zoo tag song.mp3 model=models:/demo-table2@champion",
        ),
        (["tag", "a.mp3", "modle=x"], "'modle=x' is not understood; did you mean model?"),
        (
            ["tag", "a.mp3", "--verbose"],
            "'--verbose' is not understood; known: model=, top=, timeline=, format=, device=",
        ),
        (["tag", "a.mp3", "model=x", "top=-1"], "top=-1 is not a whole number of 1 or more"),
        (["tag", "a.mp3", "model=x", "format=cvs"], "format=cvs is not known; did you mean csv?"),
        (["tag", "a.mp3", "model=x", "format=9"], "format=9 is not known; known: table, csv, json"),
        (["tag", "a.mp3", "model=x", "timeline=yes"], "timeline=yes is not known; known: false, true"),
        (
            ["tag", "a.mp3", "model=nowhere"],
            "there is no folder nowhere; if it is a registered model, did you mean models:/nowhere@champion?",
        ),
    ],
)
def test_wrong_words_are_answered_in_one_line(words, error, capsys):
    assert main(words) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", error + "\n")


def test_a_device_that_is_not_there_is_refused(checkpoint, capsys):
    assert main(["tag", "a.mp3", f"model={checkpoint}", "device=toaster"]) == 2
    assert capsys.readouterr().err.startswith("device=toaster cannot be used: ")
    assert main(["tag", "a.mp3", f"model={checkpoint}", "device=meta"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("device=meta cannot be used: ")
    assert shown.count("\n") == 1


def test_a_file_for_which_memory_runs_out_is_named_and_the_others_go_on(
    checkpoint, song, tmp_path, capsys, monkeypatch
):
    long = tmp_path / "long.wav"
    soundfile.write(long, np.full(22050, 0.75), 22050)
    listen = zoo.Tagger.probabilities

    def without_memory(self, segments):
        if (segments == 0.75).any():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nMore words.")
        return listen(self, segments)

    monkeypatch.setattr("zoo.trained.tagger.Tagger.probabilities", without_memory)
    assert main(["tag", str(long), str(song), f"model={checkpoint}"]) == 1
    shown = capsys.readouterr()
    assert shown.err == f"{long} could not be tagged: CUDA out of memory. Tried to allocate 9 GiB.\n"
    assert len(shown.out.splitlines()) == 4


def test_help_is_the_module_s_own_words(capsys):
    assert main(["tag", "--help"]) == 0
    assert "python -m zoo tag song.mp3 model=" in capsys.readouterr().out


def test_the_command_runs_as_a_module_and_imports_no_torch():
    script = [sys.executable, "-X", "importtime", "-m", "zoo", "list", "samplecnn_m5*"]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 7
    assert "torch" not in done.stderr


@pytest.mark.parametrize(
    ("name", "at_once"),
    [("samplecnn_m3_n9_s3", 1), ("samplecnn_m3_n4_s729", 17), ("samplecnn_m3_n3_s729", 53)],
)
def test_a_processor_takes_segments_together_where_their_activations_are_small(
    name: str, at_once: int
) -> None:
    assert segments_at_once(zoo.entry(name), 50, torch.device("cpu")) == at_once
    assert segments_at_once(zoo.entry(name), 50, torch.device("cuda")) > 100
