"""What layers give: every one that is listed, the first time it runs, in this thread alone; and what is refused."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from threading import get_ident

import numpy as np
import pytest
import torch

import zoo

NAME = "samplecnn_m3_n3_s9"
FRONTS = [
    NAME,
    "melcnn_m3_n3_s27_w81",
    "fcn5_release",
    "musicnn",
    "harmonic_cnn",
    "dieleman_mel",
    "multilevel_raw",
]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return zoo.create(NAME, n_tags=3).eval()


@pytest.mark.parametrize("name", zoo.names())
def test_every_layer_that_is_listed_gives_something(name):
    with torch.device("meta"):
        network = zoo.create(name, n_tags=2).eval()
        found = network.features(torch.zeros(1, network.input_samples), network.layers)
    assert tuple(found) == network.layers
    assert {key.rpartition(".")[0] for key in network.state_dict()} <= {*network.layers, "bases"}


def test_a_layer_that_runs_several_times_gives_its_first_output():
    torch.manual_seed(0)
    crnn = zoo.create("crnn", n_tags=2, first=2, maps=2, units=2).eval()
    wave = torch.randn(1, crnn.input_samples) * 0.1
    with torch.no_grad():
        found = crnn.features(wave, ["body", "top.gru_1", "top.gru_1.cell"])
        assert torch.equal(found["top.gru_1.cell"], found["top.gru_1"][:, 0])
        assert not torch.equal(found["top.gru_1.cell"], found["top.gru_1"][:, -1])


def test_another_thread_s_forward_is_left_alone(network):
    wave = torch.rand(1, 243)
    with torch.no_grad(), ThreadPoolExecutor(1) as other:
        logits = network(wave)
        within = []

        def tag():
            with torch.no_grad():
                within.append(network(wave))

        # While `features` is at the front, the other thread runs the whole network, the same front included.
        def meanwhile(*_):
            if get_ident() == here:
                other.submit(tag).result()

        here = get_ident()
        hook = network.front.conv.register_forward_hook(meanwhile)
        found = network.features(torch.zeros(1, 243), ["front.activation"])["front.activation"]
        hook.remove()
        alone = network.features(torch.zeros(1, 243), ["front.activation"])["front.activation"]
    assert torch.equal(within[0], logits)
    assert torch.equal(found, alone)


def test_an_unknown_layer_is_refused_and_leaves_no_hook_behind(network):
    with pytest.raises(zoo.ZooError, match=f"{NAME} has no layer 'body.4'; did you mean body"):
        network.features(torch.rand(1, 243), ["front", "body.4"])
    assert not any(layer._forward_hooks for layer in network.modules())


def test_one_name_is_no_list_of_names(network):
    with pytest.raises(zoo.ZooError, match=r"layers='front' is one name, not a list; write \['front'\]"):
        network.features(torch.rand(1, 243), "front")
    with pytest.raises(
        zoo.ZooError, match="features needs the name of a layer; samplecnn_m3_n3_s9 has front, body"
    ):
        network.features(torch.rand(1, 243), [])


@pytest.mark.parametrize("name", [NAME, "melcnn_m3_n3_s27_w81"])
def test_waves_too_short_for_a_layer_are_refused_with_what_to_do(name):
    short = zoo.create(name).eval()
    with pytest.raises(zoo.ZooError) as caught:
        short.features(torch.rand(1, 20), ["top"])
    words = str(caught.value)
    assert words.startswith(f"waves of 20 samples do not go through all of {name} that was asked for: ")
    assert words.endswith(f"; give segments of {short.input_samples} samples, or ask for layers before")
    assert "\n" not in words
    assert short.features(torch.rand(1, 999), ["front"])["front"].shape[0] == 1


@pytest.mark.parametrize(
    ("wave", "words"),
    [
        (
            torch.zeros(1, 243, dtype=torch.float64),
            f"waves are torch.float64, {NAME} has torch.float32 weights; make the waves .to\\(torch.float32\\)",
        ),
        (torch.zeros(1, 243, dtype=torch.float16), "waves are torch.float16, "),
        (np.zeros((1, 243), np.float32), f"waves are numpy.ndarray, {NAME} reads a tensor; torch.from_numpy"),
        ([[0.0] * 243], "waves are builtins.list"),
    ],
)
def test_waves_of_another_type_are_refused_with_what_to_do(network, wave, words):
    with pytest.raises(zoo.ZooError, match=words):
        network(wave)
    with pytest.raises(zoo.ZooError, match=words):
        network.features(wave, ["front"])


def test_half_precision_is_taken_where_autocast_makes_the_weights_follow(network):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert network(torch.zeros(1, 243, dtype=torch.bfloat16)).shape == (1, 3)


@pytest.mark.parametrize("name", FRONTS)
def test_a_network_travels_to_another_process(name):
    with torch.device("meta"):
        network = zoo.create(name, n_tags=2)
    again = pickle.loads(pickle.dumps(network))
    assert again.entry == network.entry
    assert again.layers == network.layers
