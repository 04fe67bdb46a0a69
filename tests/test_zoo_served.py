"""A trained network as a model of MLflow's: loaded from the registry, served, and safe from what lies beside it."""

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile
import torch
from mlflow.exceptions import MlflowException
from ports import free_port
from test_readme import README, answers

import zoo
from datasets.audio import decode, resample
from zoo.served import FOLDER, MODEL_FILE, Served, _load_pyfunc, model_file

NAME, TAGS = "samplecnn_m3_n3_s9", ("guitar", "slow", "female voice")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(7)
    folder = tmp_path_factory.mktemp("trained") / "checkpoint"
    network = zoo.create(NAME, n_tags=3)
    network(torch.rand(64, 243) * 2 - 1)
    zoo.save(network, folder, zoo.Card.of(network, TAGS))
    (folder / MODEL_FILE).write_text(model_file())
    return folder


@pytest.fixture(scope="module")
def model(checkpoint):
    return _load_pyfunc(str(checkpoint))


@pytest.fixture(scope="module")
def wave():
    return np.random.default_rng(0).uniform(-0.5, 0.5, 4410).astype(np.float32)


@pytest.fixture
def folder(tmp_path, wave, monkeypatch):
    """The folder that is served, with a song in it, and one outside."""
    served = tmp_path / "served"
    served.mkdir()
    soundfile.write(served / "song.wav", wave, 44100, subtype="FLOAT")
    soundfile.write(tmp_path / "secret.wav", wave, 44100)
    monkeypatch.setenv(FOLDER, str(served))
    return served


def test_samples_of_any_rate_get_a_probability_for_each_tag(model, wave):
    (own,) = model.predict([{"samples": wave, "rate": 22050}])
    assert own == pytest.approx(dict(zip(TAGS, model.tagger.score(wave), strict=True)))
    (other,) = model.predict({"samples": wave.tolist(), "rate": 44100})
    assert other == pytest.approx(
        dict(zip(TAGS, model.tagger.score(resample(wave, 44100, 22050)), strict=True))
    )
    (stereo,) = model.predict({"samples": np.stack([wave, wave], axis=1), "rate": np.array(44100)})
    assert stereo == pytest.approx(other)


def test_files_and_tables_are_taken_too(model, wave, folder):
    wanted = dict(zip(TAGS, model.tagger.score(decode(folder / "song.wav", 22050)), strict=True))
    assert model.predict("song.wav") == [pytest.approx(wanted, abs=1e-6)]
    table = pandas.DataFrame({"path": ["song.wav", None], "samples": [None, wave], "rate": [np.nan, 44100.0]})
    first, second = model.predict(table)
    assert first == pytest.approx(wanted, abs=1e-6)
    assert second == pytest.approx(wanted, abs=1e-4)
    assert model.predict(np.array(["song.wav", "song.wav"])) == [first, first]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "0 clips were sent; from 1 to 256 are taken at once"),
        ([{"path": "song.wav"}] * 257, "257 clips were sent; from 1 to 256 are taken at once"),
        (7, "a int is no clip; give {"),
        ([7], "a int is no clip; give {"),
        ([{}], "a clip has nothing; give {"),
        ([{"rate": 3}], "a clip has 'rate'; give {"),
        ([{"samples": [0.0], "path": "song.wav"}], "a clip has 'samples', 'path'; give {"),
        ([{"samples": [0.0], "rate": 44100, "run": "rm"}], "a clip has 'samples', 'rate', 'run'; give {"),
        ([{"samples": [0.0]}], "clip 1: a clip of samples needs its rate in Hz"),
        ([{"samples": [0.0], "rate": "fast"}], "clip 1: a clip of samples needs its rate in Hz"),
        (
            [{"samples": [0.0], "rate": 1e9}],
            "clip 1: rate 1e+09 is no whole number of Hz from 1000 to 768000",
        ),
        ([{"samples": [0.0], "rate": 22050.5}], "clip 1: rate 22050.5 is no whole number of Hz"),
        ([{"samples": "loud", "rate": 22050}], "clip 1: samples are no list of numbers"),
        ([{"samples": [[0.0], [0.0, 1.0]], "rate": 22050}], "clip 1: samples are no list of numbers"),
        ([{"samples": [10**400], "rate": 22050}], "clip 1: samples are no list of numbers"),
        ([{"samples": [0.0], "rate": 10**400}], "clip 1: a clip of samples needs its rate in Hz"),
        ([{"samples": [1e39], "rate": 22050}], "clip 1: samples hold values that are not numbers"),
        ([{"samples": [[3e38, 3e38]], "rate": 22050}], "clip 1: samples hold values that are not numbers"),
        ([{"samples": [], "rate": 22050}], "clip 1: samples have shape (0,)"),
        ([{"samples": [[]], "rate": 22050}], "clip 1: samples have shape (1, 0)"),
        ([{"samples": [[[0.0]]], "rate": 22050}], "clip 1: samples have shape (1, 1, 1)"),
        (
            [{"samples": [0.0, float("nan")], "rate": 22050}],
            "clip 1: samples hold values that are not numbers",
        ),
        (
            [{"samples": [0.0], "rate": 22050}, {"samples": [0, 12000], "rate": 22050}],
            "clip 2: samples reach 12000, and full scale is 1; divide those of 16 bits by 32768",
        ),
        (
            [{"samples": np.zeros(3_601_000, np.float32), "rate": 1000}],
            "clip 1: 3601000 samples at 1000 Hz are more than 3600 s; send them in parts",
        ),
        ("x" * 300, f"clip 1: {'x' * 200!r} can't be read: File name too long"),
        ("../secret.wav", "clip 1: '../secret.wav' leads out of the folder that is served"),
        ("/etc/passwd", "clip 1: '/etc/passwd' leads out of the folder that is served"),
        ("link.wav", "clip 1: 'link.wav' leads out of the folder that is served"),
        ("a/../../secret.wav", "clip 1: 'a/../../secret.wav' leads out of the folder that is served"),
        ("gone.wav", "clip 1: gone.wav is missing: there is no such file"),
        (".", "clip 1: '.' leads out of the folder that is served"),
        ("a\0b", "clip 1: embedded null byte"),
        ("circle.wav", "clip 1: 'circle.wav' is a link that leads back to itself"),
    ],
)
def test_what_cannot_be_tagged_is_answered_in_a_line(model, folder, given, words):
    (folder / "link.wav").symlink_to(folder.parent / "secret.wav")
    (folder / "circle.wav").symlink_to("circle.wav")
    with pytest.raises(MlflowException) as caught:
        model.predict(given)
    assert caught.value.get_http_status_code() == 400
    assert caught.value.message.startswith(words)
    assert "\n" not in caught.value.message
    assert str(folder) not in caught.value.message


def test_paths_are_refused_where_no_folder_is_served(model, folder, monkeypatch):
    monkeypatch.delenv(FOLDER)
    with pytest.raises(MlflowException, match=f"paths are not taken here: set {FOLDER} to the folder"):
        model.predict("song.wav")


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path(os.environ["WAVEZOO_TEST_BOMB"]),))


def plant(folder: Path, bomb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pickles under every name that MLflow and others give theirs; each makes the file `bomb` when it is run."""
    monkeypatch.setenv("WAVEZOO_TEST_BOMB", str(bomb))
    pickle.loads(pickle.dumps(Bomb()))
    assert bomb.exists(), "the bomb is one"
    bomb.unlink()
    for name in ("python_model.pkl", "pytorch_model.bin", "model.pth", "model.pkl", "data/model.pth"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(pickle.dumps(Bomb()))


@pytest.mark.filterwarnings("ignore:.*inferred as AnyType")  # MLflow's own, when it is imported
def test_a_pickle_beside_the_weights_is_never_run(checkpoint, tmp_path, monkeypatch, wave):
    import mlflow.pyfunc

    folder, bomb = tmp_path / "checkpoint", tmp_path / "went_off"
    shutil.copytree(checkpoint, folder)
    plant(folder, bomb, monkeypatch)
    for lineage in ("python_model.pkl", {"python_model": "python_model.pkl", "loader_module": "cloudpickle"}):
        record = json.loads((folder / "card.json").read_text())
        record["lineage"] = {"python_model": lineage}
        record["protocol"] = {"weights": "python_model.pkl"}
        (folder / "card.json").write_text(json.dumps(record))
        clip = {"samples": wave, "rate": 22050}
        wanted = Served(zoo.load(checkpoint)).predict(clip)
        assert Served(zoo.load(folder)).predict(clip) == wanted
        assert mlflow.pyfunc.load_model(str(folder)).predict([clip]) == wanted
    (folder / "weights.safetensors").write_bytes((folder / "python_model.pkl").read_bytes())
    for load in (zoo.load, mlflow.pyfunc.load_model):
        with pytest.raises(zoo.CheckpointError, match=r"weights.safetensors is damaged"):
            load(str(folder))
    assert not bomb.exists()


REGISTRY = """
import json, sys
import numpy as np
import mlflow, zoo
from mlflow import MlflowClient

home, checkpoint = sys.argv[1:]
mlflow.set_tracking_uri(f"sqlite:///{home}/mlflow.db")
client = MlflowClient()
run = client.create_run(client.create_experiment("x", artifact_location=f"file://{home}/artifacts")).info.run_id
client.log_artifacts(run, checkpoint, "checkpoint")
client.create_registered_model("demo-x")
source = client.get_run(run).info.artifact_uri + "/checkpoint"
version = client.create_model_version("demo-x", source, run).version
client.set_registered_model_alias("demo-x", "champion", version)
before = set(sys.modules)
model = mlflow.pyfunc.load_model("models:/demo-x@champion")
found = model.predict([{"samples": np.full(500, 0.25), "rate": 22050}])
print(json.dumps(found))
print(sorted({"cloudpickle", "dill", "joblib"} & (set(sys.modules) - before)))
"""


@pytest.fixture(scope="module")
def registered(checkpoint, tmp_path_factory, mlflow_db):
    """The folder of a store whose registry has the checkpoint, and what the model says that MLflow loads from there."""
    tmp_path = tmp_path_factory.mktemp("store")
    shutil.copy(mlflow_db, tmp_path / "mlflow.db")
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "1"}
    words = [sys.executable, "-W", "error::UserWarning:zoo", "-c", REGISTRY, str(tmp_path), str(checkpoint)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr
    return tmp_path, done.stdout.splitlines()


def test_mlflow_loads_the_champion_without_a_pickle(registered, checkpoint):
    _, (*_, said, unpicklers) = registered
    assert json.loads(said) == [
        pytest.approx(zoo.load(checkpoint).named(zoo.load(checkpoint).score([0.25] * 500)))
    ]
    assert unpicklers == "[]"


def test_the_readme_loads_a_registered_model_and_leaves_no_other_store_behind(registered, tmp_path):
    store, _ = registered
    (tmp_path / "wavezoo-data").symlink_to(store)
    (block,) = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "pyfunc" in code]
    code = f"wave = [0.25] * 500\n{block.replace('demo-table2', 'demo-x')}"
    words = [sys.executable, "-c", code]
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=240)
    assert done.returncode == 0, done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["wavezoo-data"]


def readme_question() -> dict:
    """What the README's curl sends."""
    (body,) = re.findall(r"^curl .* -d '(.*)'$", README, re.MULTILINE)
    return json.loads(body)


@pytest.mark.slow
def test_mlflow_serves_the_champion(registered, checkpoint, folder, wave):
    store, _ = registered
    port = free_port()
    words = ["models", "serve", "--model-uri", "models:/demo-x@champion", "--env-manager", "local"]
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mlflow",
            *words,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
        ],
        env={
            **os.environ,
            "MLFLOW_TRACKING_URI": f"sqlite:///{store / 'mlflow.db'}",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # as in an activated environment
        },
        cwd=store,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert answers(f"http://127.0.0.1:{port}/ping", server)
        records = [{"samples": wave.tolist(), "rate": 44100}, {"path": "song.wav"}]
        code, said = ask(port, {"dataframe_records": records})
        wanted = zoo.load(checkpoint)(folder / "song.wav")
        assert code == 200
        assert json.loads(said)["predictions"] == [pytest.approx(wanted, abs=1e-4)] * 2
        code, said = ask(port, readme_question())
        assert (code, set(json.loads(said)["predictions"][0])) == (200, set(TAGS))
        code, said = ask(port, {"inputs": {"samples": wave.tolist(), "rate": 44100}})
        assert (code, json.loads(said)["predictions"]) == (200, [pytest.approx(wanted, abs=1e-4)])
        code, said = ask(port, {"dataframe_records": [{"path": "../secret.wav"}]})
        assert code == 400
        assert "'../secret.wav' leads out of the folder that is served" in said
        assert "Traceback" not in said
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)


def ask(port: int, question: dict) -> tuple[int, str]:
    """Status and text of the server's answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        data=json.dumps(question).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
