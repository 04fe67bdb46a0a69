"""Foreign weights that do not fit are named, and nothing of a hostile file is run."""

import io
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign_ports import NAME, TAGS, flat, keras_list, renamed, saved, trained
from safetensors.torch import save_file

import zoo
from zoo.trained.foreign import adopt


@pytest.fixture(scope="module")
def network():
    return trained()


def test_the_ports_with_a_last_kernel_of_3_are_refused_with_both_shapes(network, tmp_path):
    state = renamed(network, flat)
    state["conv5.weight"] = torch.rand(512, 512, 3)
    words = (
        f"{tmp_path}/theirs.pth does not fit {NAME} with 3 tags: 'conv5.weight' has shape (512, 512, 3), "
        f"ours has (512, 512, 1) there (top.conv.weight)"
    )
    with pytest.raises(zoo.ZooError, match=f"^{re.escape(words)}$"):
        adopt(NAME, saved(tmp_path, state), TAGS)


def without(*parts):
    return lambda state: {name: value for name, value in state.items() if not name.endswith(parts)}


def with_tensor(name, value):
    return lambda state: state | {name: value}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            without("running_mean", "running_var"),
            "'conv1_bn' has no running_mean, and front.norm has one; batch",
        ),
        (without("conv2.bias"), r"'conv2' has no bias, and body.1.conv has one$"),
        (without("fc.weight", "fc.bias"), "it has no convolution or dense layer for head"),
        (
            with_tensor("fc2.weight", torch.rand(3, 3)),
            "'fc2' is a convolution or dense layer more than ours has",
        ),
        (with_tensor("rnn.weight_hh_l0", torch.rand(3)), "'rnn.l0' is a recurrent or other layer more than"),
        (with_tensor("conv1.gain", torch.rand(3)), "'conv1.gain' has no counterpart in front.conv"),
        (
            with_tensor("fc.weight", torch.rand(50, 512)),
            r"'fc.weight' has shape \(50, 512\), ours has \(3, 512\) there \(head.weight\); it is of 50 tags",
        ),
        (
            with_tensor("fc.bias", torch.tensor([0, 1, float("nan")])),
            "head.bias holds values that are not numbers",
        ),
        (with_tensor("fc.bias", torch.tensor([0, 1e300, 1]).double()), "head.bias holds values that are not"),
        (with_tensor("fc.bias", torch.tensor([0, 1, 2])), "head.bias is torch.int64, ours is torch.float32"),
        (
            with_tensor("conv1_bn.running_var", torch.full((128,), -1.0)),
            "what is there for front.norm.running_var holds variances below 0",
        ),
        (
            with_tensor("fc.bias", torch.zeros(3, device="meta")),
            "'fc.bias' is on torch's meta device, a shape without numbers; save the weights themselves",
        ),
        (with_tensor("fc.bias", "zeros"), "'fc.bias' is str, not a dense tensor with a name"),
        (lambda state: [], "holds no state dict, but a list"),
    ],
)
def test_what_does_not_fit_is_named(network, tmp_path, change, words):
    path = saved(tmp_path, change(renamed(network, flat)))
    with pytest.raises(zoo.ZooError, match=words) as caught:
        adopt(NAME, path, TAGS)
    assert "\n" not in str(caught.value)


class Bomb:
    """What pickle would do with it: make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("ending", [".pth", ".npz", ".npy", ".safetensors"])
@pytest.mark.parametrize("inside", ["pickle", "torch", "numpy"])
def test_a_hostile_pickle_is_refused_and_nothing_of_it_runs(tmp_path, inside, ending):
    path, trace = tmp_path / f"theirs{ending}", tmp_path / "trace"
    content = io.BytesIO()
    if inside == "pickle":
        pickle.dump({"conv1.weight": Bomb(trace)}, content)
    elif inside == "torch":
        torch.save({"conv1.weight": Bomb(trace)}, content)
    else:
        np.savez(content, np.array([Bomb(trace)], dtype=object))
    path.write_bytes(content.getvalue())
    with pytest.raises(zoo.ZooError, match=rf"theirs{ending} is damaged") as caught:
        adopt(NAME, path, TAGS)
    assert "\n" not in str(caught.value)
    assert not trace.exists()


@pytest.mark.parametrize("ending", [".pth", ".npz", ".safetensors"])
@pytest.mark.parametrize("left", [0, 10, 5000, -100])
def test_a_truncated_file_is_refused(network, tmp_path, ending, left):
    path = tmp_path / f"theirs{ending}"
    if ending == ".npz":
        np.savez(path, *keras_list(network))
    else:
        (torch.save if ending == ".pth" else save_file)(renamed(network, flat), path)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(zoo.ZooError, match=rf"theirs{ending} is damaged") as caught:
        adopt(NAME, path, TAGS)
    assert "\n" not in str(caught.value)


def test_a_small_file_that_unpacks_to_a_giant_is_not_unpacked(tmp_path):
    path = tmp_path / "theirs.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("arr_0.npy", "w") as member,
    ):
        for _ in range(100):
            member.write(bytes(1 << 20))
    with pytest.raises(zoo.ZooError, match=r"has 104857600 bytes; one with the \d+ bytes that are wanted"):
        adopt(NAME, path, TAGS)


def test_vectors_that_are_no_batch_norm_are_refused(network, tmp_path):
    arrays = keras_list(network)
    np.savez(tmp_path / "theirs.npz", *arrays[:3], *arrays[4:])
    with pytest.raises(zoo.ZooError, match=r"'arr_0' has no bias, and front.conv has one$"):
        adopt(NAME, tmp_path / "theirs.npz", TAGS)
    np.savez(tmp_path / "theirs.npz", *arrays[:4], *arrays[6:])
    with pytest.raises(zoo.ZooError, match="at 'arr_0' come 3 vectors; wanted are one bias, and four of"):
        adopt(NAME, tmp_path / "theirs.npz", TAGS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"path": "theirs.h5"},
            r"theirs.h5 is none of .safetensors, .pt, .* numpy.savez\('weights.npz', \*model",
        ),
        ({"path": "nowhere.pth"}, "there is no file nowhere.pth"),
        ({"layout": "kears"}, "layout=kears is not one of auto, torch, keras, theano; did you mean keras?"),
        ({"epsilon": -1.0}, "epsilon=-1.0 is not between 0 and 1"),
        ({"tags": []}, "a network needs one tag or more"),
        ({"name": "samplecnn_m3_n3"}, "no network is called 'samplecnn_m3_n3'"),
        ({"frist": 3}, "samplecnn has no option 'frist'; did you mean first?"),
    ],
)
def test_wrong_settings_are_refused(change, words):
    with pytest.raises(zoo.ZooError, match=words):
        adopt(**({"name": NAME, "path": "theirs.pth", "tags": TAGS} | change))
