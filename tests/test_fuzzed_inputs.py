"""All that comes from outside, broken in many ways: a reader takes it or refuses it in the project's own words.

What a file is broken by follows from its seed. `WAVEZOO_FUZZ=1000 pytest tests/test_fuzzed_inputs.py` tries a thousand
of each.
"""

import contextlib
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from clip_scores import a_network
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import zoo
from datasets import cards, folder_files, mtat_files, store
from datasets.audio import decode, decode_blocks
from datasets.errors import DatasetError
from search import files
from search.errors import SearchError
from search.scoring import resamples, score_table
from search.storage import at
from search.words import read_words
from zoo.served import Served
from zoo.trained.foreign import adopt, read_tags

OURS = (DatasetError, zoo.ZooError, SearchError)
SEEDS = range(int(os.environ.get("WAVEZOO_FUZZ", "40")))
NETWORK = "samplecnn_m3_n3_s9"

Read = Callable[[Path], object]


def broken(whole: bytes, seed: int) -> bytes:
    """The file as a disk, a network or a stranger may have left it."""
    chance = random.Random(seed)
    data = bytearray(whole)
    for _ in range(chance.choice([1, 1, 2, 8])):
        at_byte = chance.randrange(len(data) + 1)
        length = chance.choice([1, 2, 8, 64, 1024])
        way = chance.choice(["cut", "flip", "zero", "insert", "drop", "double", "number"])
        if way == "cut":
            del data[at_byte:]
        elif way == "flip":
            data[at_byte : at_byte + 1] = bytes([chance.randrange(256)])
        elif way == "zero":
            data[at_byte : at_byte + length] = bytes(length)
        elif way == "insert":
            data[at_byte:at_byte] = chance.randbytes(length)
        elif way == "drop":
            del data[at_byte : at_byte + length]
        elif way == "double":
            data[at_byte:at_byte] = data[at_byte : at_byte + length]
        else:  # of a length or a count, larger than anything
            data[at_byte : at_byte + 8] = chance.choice([b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"99999999"])
    return bytes(data)


def a_wave(seconds: float = 0.4, rate: int = 16_000) -> np.ndarray:
    return 0.3 * np.sin(np.arange(int(seconds * rate)) / 9).astype(np.float32)


def an_audio(ending: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        file = folder / f"clip.{ending}"
        soundfile.write(file, a_wave(), 16_000)
        return file

    return make


def a_text(name: str, text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(text, encoding="utf-8")
        return folder / name

    return make


def a_checkpoint(part: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        network = zoo.create(NETWORK, n_tags=2)
        zoo.save(network, folder / "made", zoo.Card.of(network, ["guitar", "slow"]))
        return folder / "made" / part

    return make


def a_store(folder: Path) -> Path:
    columns = {"clip_id": ["a", "b"], "artist": ["x", ""], "shard": [0, 0], "row": [0, 1]}
    file = folder / "index.arrow"
    store.write_index(file, columns, np.ones((2, 3), np.uint8), {"plan": "plan"})
    return file


def a_shard(folder: Path) -> Path:
    file = folder / "0.arrow"
    about = {"plan": "plan", "skipped": "[]"}
    store.write_shard(
        file, np.arange(300, dtype=np.int16), np.arange(4) * 100, ["a", "b", "c"], [0, 0, 0], about
    )
    return file


def a_port(ending: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        state, file = zoo.create(NETWORK, n_tags=2).state_dict(), folder / f"theirs.{ending}"
        if ending == "pth":
            torch.save(state, file)
        elif ending == "npz":
            np.savez(file, **{name: value.numpy() for name, value in state.items()})
        else:
            save_file(state, file)
        return file

    return make


def the_scores(folder: Path) -> Path:
    score_table.write(folder / "scores.parquet", a_network(2.0))
    return folder / "scores.parquet"


def the_resamples(folder: Path) -> Path:
    resamples.write(folder / "resamples.safetensors", resamples.of(a_network(2.0)))
    return folder / "resamples.safetensors"


def a_stored_trial(folder: Path) -> Path:
    (folder / "mine").mkdir()
    (folder / "mine" / files.EPOCHS).write_text("[]")
    at(str(folder / "storage"), None).push("0123456789abcdef", folder / "mine", False, 0, patient=False)
    return folder / "storage" / "trials" / "0123456789abcdef" / "trial.json"


def fetched(file: Path) -> object:
    into = file.parent / "into"
    return at(str(file.parent.parent.parent), None).fetch(file.parent.name, into, (False, -1), ())


CSV = "path,tags,split,artist,rate\nrock/a.mp3,guitar;slow,train,x,44100\nb.wav,rock|fast,test,y,\n"
ANNOTATIONS = 'clip_id\tguitar\tslow\tmp3_path\n2\t1\t0\t"f/a-0-29.mp3"\n6\t0\t1\t"c/b-30-59.mp3"\n'
CLIP_INFO = (
    "clip_id\ttrack_number\ttitle\tartist\talbum\turl\tsegmentStart\tsegmentEnd\toriginal_url\tmp3_path\n"
    "2\t1\tPrelude\tBach\tSuites\thttp://a\t0\t29\thttp://b\tf/a-0-29.mp3\n"
)

READERS: dict[str, tuple[Callable[[Path], Path], Read]] = {
    **{
        ending: (an_audio(ending), lambda file: decode(file, 22_050))
        for ending in ("wav", "flac", "ogg", "mp3")
    },
    "audio in blocks": (
        an_audio("flac"),
        lambda file: sum(len(block) for block in decode_blocks(file, 22_050)),
    ),
    "csv": (a_text("tags.csv", CSV), lambda file: folder_files.read_table(file, file.parent)),
    "annotations": (
        a_text("annotations_final.csv", ANNOTATIONS),
        lambda file: mtat_files.read_annotations(file.parent),
    ),
    "clip info": (
        a_text("clip_info_final.csv", CLIP_INFO),
        lambda file: mtat_files.read_clip_info(file.parent),
    ),
    "index": (a_store, lambda file: store.read_index(file, "plan", file.stat().st_size)),
    "shard": (a_shard, lambda file: store.read_shard(file, "plan", file.stat().st_size)),
    "weights": (a_checkpoint("weights.safetensors"), lambda file: zoo.read(file.parent)),
    "card": (a_checkpoint("card.json"), lambda file: zoo.read(file.parent)),
    **{
        f"port {ending}": (a_port(ending), lambda file: adopt(NETWORK, file, ["guitar", "slow"]))
        for ending in ("pth", "npz", "safetensors")
    },
    "tags": (a_text("tags.txt", "guitar\nslow\n"), read_tags),
    "tags in json": (a_text("tags.json", '["guitar", "slow"]'), read_tags),
    "scores": (the_scores, score_table.read),
    "resamples": (the_resamples, resamples.read),
    "trial of a storage": (a_stored_trial, fetched),
    "result": (a_text("result.json", '{"signature": "0123", "test": {"roc_auc": 0.7}}'), files.read_json),
}


def refusal(read: Callable[[], object]) -> str | None:
    """What a reader says against what it is given; None if it takes it. Any error but ours is a failure."""
    try:
        read()
    except OURS as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", READERS)
def test_a_broken_file_is_read_or_refused_in_our_words(name: str, tmp_path: Path) -> None:
    make, read = READERS[name]
    file = make(tmp_path)
    whole = file.read_bytes()
    assert refusal(lambda: read(file)) is None
    for seed in SEEDS:
        file.write_bytes(broken(whole, seed))
        try:
            told = refusal(lambda: read(file))
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
        assert told != "", f"seed {seed}: refused without words"
    file.write_bytes(b"")
    assert refusal(lambda: read(file)), "an empty file is refused"


def test_a_card_of_data_is_read_or_refused(demo: str, tmp_path: Path) -> None:
    from datasets.home import folder_of

    whole = (folder_of(demo) / "card.json").read_bytes()
    for seed in SEEDS:
        text = broken(whole, seed).decode("utf-8", "replace")
        told = refusal(lambda text=text: cards.parse(text, tmp_path / "card.json"))
        assert told is None or "\n" not in told, f"seed {seed}"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=len(SEEDS) * 3, deadline=None)
@given(JSON, st.sampled_from(["network", "options", "tags", "protocol", "scores", "lineage", "licence"]))
def test_any_value_in_any_place_of_a_card_is_taken_or_refused(value: Any, key: str) -> None:
    network = zoo.create(NETWORK, n_tags=2)
    record = json.loads(zoo.Card.of(network, ["guitar", "slow"]).to_json())
    told = refusal(lambda: zoo.Card.from_json(json.dumps({**record, key: value})).entry())
    assert told is None or "\n" not in told


@settings(max_examples=len(SEEDS) * 3, deadline=None)
@given(st.text(max_size=60))
def test_any_text_as_a_networks_name_is_answered_in_one_line(name: str) -> None:
    told = refusal(lambda: zoo.entry(name))
    assert told is None or len(told.splitlines()) == 1


@settings(max_examples=len(SEEDS), deadline=None)
@given(
    st.sampled_from(["space", "budget.epochs_per_stage", "seeds", "cluster.storage", "sampler", ""]),
    st.text(max_size=30),
)
def test_any_words_of_a_search_are_answered(key: str, value: str) -> None:
    assert refusal(lambda: read_words([f"{key}={value}" if key else value])) != ""


class Deaf:
    """A tagger that says the same of everything."""

    sample_rate_hz = 16_000

    def score(self, wave: np.ndarray) -> np.ndarray:
        return np.array([0.5])

    def named(self, probabilities: np.ndarray) -> dict[str, float]:
        return {"guitar": float(probabilities[0])}


CLIP = st.fixed_dictionaries({}, optional={"samples": JSON, "rate": JSON, "path": JSON})


@settings(max_examples=len(SEEDS) * 3, deadline=None)
@given(st.lists(CLIP, max_size=3) | JSON)
def test_any_request_to_a_served_model_is_answered_or_refused(request: Any) -> None:
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(MlflowException):  # which a server answers with status 400
        Served(Deaf()).predict(request)  # type: ignore[arg-type]
