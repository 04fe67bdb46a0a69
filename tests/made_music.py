"""A network with fresh weights as a checkpoint, and a folder of music for it: fixtures that tests of tagging share."""

import numpy as np
import pytest
import soundfile
import torch

import zoo

NAME, TAGS = "samplecnn_m3_n3_s9", ("guitar", "slow", "female voice", 'a,"b"')


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("trained") / "checkpoint"
    network = zoo.create(NAME, n_tags=len(TAGS))
    network(torch.rand(64, 243) * 2 - 1)
    zoo.save(network, folder, zoo.Card.of(network, TAGS))
    return folder


@pytest.fixture(scope="module")
def tagger(checkpoint):
    return zoo.load(checkpoint)


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """A folder of five songs of several lengths, rates and containers, and what is no audio."""
    folder = tmp_path_factory.mktemp("music")
    random = np.random.default_rng(0)
    kinds = [
        ("a.wav", 22050, 1),
        ("b.FLAC", 44100, 2),
        ("c.mp3", 16000, 1),
        ("d.ogg", 48000, 2),
        ("e.aiff", 8000, 1),
    ]
    for seconds, (name, rate, channels) in enumerate(kinds):
        path = folder / ("album" if name < "c" else "") / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, random.uniform(-0.5, 0.5, (rate * seconds // 8 + 100, channels)), rate)
    (folder / "notes.txt").write_text("no audio")
    (folder / "._a.wav").write_bytes(b"what another system leaves behind")
    return folder


NAMES = ("album/a.wav", "album/b.FLAC", "c.mp3", "d.ogg", "e.aiff")
