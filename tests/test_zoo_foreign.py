"""Foreign weights: ports in every form give the same logits, by a function and by the command."""

import json

import numpy as np
import pytest
import torch
from foreign_ports import (
    EVEN,
    MEL,
    NAME,
    TAGS,
    assert_same,
    flat,
    indices,
    keras_list,
    renamed,
    saved,
    trained,
    wrapped,
)
from safetensors.torch import save_file
from torch import nn

import zoo
from zoo.__main__ import main
from zoo.trained.foreign import adopt, read_tags


@pytest.fixture(scope="module")
def network():
    return trained()


@pytest.mark.parametrize("rename", [indices, flat, wrapped])
@pytest.mark.parametrize("counters", [True, False])
def test_a_torch_port_gives_the_same_logits(network, tmp_path, rename, counters):
    path = saved(tmp_path, renamed(network, rename, counters=counters))
    assert_same(adopt(NAME, path, TAGS), network)


@pytest.mark.parametrize("rename", [indices, flat, wrapped])
def test_safetensors_which_forget_the_order_give_the_same_logits(network, tmp_path, rename):
    save_file(renamed(network, rename), tmp_path / "theirs.safetensors")
    assert_same(adopt(NAME, tmp_path / "theirs.safetensors", TAGS), network)


def test_norms_may_be_listed_behind_the_convolutions(network, tmp_path):
    state = renamed(network, flat)
    state = {name: state[name] for name in sorted(state, key=lambda name: "_bn" in name)}
    assert_same(adopt(NAME, saved(tmp_path, state), TAGS), network)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {f"model.net.{name}": value for name, value in state.items()},
    ],
)
def test_a_wrapper_around_the_weights_is_taken_off(network, tmp_path, wrap):
    path = saved(tmp_path, wrap(renamed(network, flat)), ".ckpt")
    assert_same(adopt(NAME, path, TAGS), network)


@pytest.mark.parametrize("name", [NAME, EVEN])
def test_a_keras_list_gives_the_same_logits(tmp_path, name):
    network = trained(name, padding="torch")  # where TensorFlow has it, too
    np.savez(tmp_path / "theirs.npz", *keras_list(network))
    adopted = adopt(name, tmp_path / "theirs.npz", TAGS)
    assert_same(adopted, network)
    assert "read as Keras on TensorFlow; if it ran on Theano, layout=theano" in adopted.notes


@pytest.mark.parametrize("name", [NAME, EVEN])
def test_a_theano_list_runs_backwards_in_time(tmp_path, name):
    network = trained(name)
    np.savez(tmp_path / "theirs.npz", *keras_list(network, theano=True))
    assert_same(adopt(name, tmp_path / "theirs.npz", TAGS, layout="theano"), network)
    with pytest.raises(AssertionError):
        assert_same(adopt(name, tmp_path / "theirs.npz", TAGS), network, exact=False)


@pytest.mark.parametrize(
    ("layout", "side", "note"),
    [
        (
            "torch",
            "theano",
            "even filters: the odd zero is taken left, as in Theano; if theirs was right, padding=torch",
        ),
        (
            "keras",
            "torch",
            "even filters: the odd zero is taken right, as in TensorFlow; if theirs was left, padding=theano",
        ),
        ("theano", "theano", None),
    ],
)
def test_the_odd_zero_of_even_filters_is_where_theirs_was_or_a_note_asks(tmp_path, layout, side, note):
    for padding in ("theano", "torch"):
        network = trained(EVEN, padding=padding)
        path = saved(tmp_path, renamed(network, flat))
        if layout != "torch":
            path = tmp_path / "theirs.npz"
            np.savez(path, *keras_list(network, theano=layout == "theano"))
        told = adopt(EVEN, path, TAGS, layout=layout, padding=padding)
        assert_same(told, network)
        assert not [line for line in told.notes if line.startswith("even filters")]
    adopted = adopt(EVEN, path, TAGS, layout=layout)
    assert adopted.network.entry.options["padding"] == side
    assert adopted.card.options == ({} if side == "theano" else {"padding": side})
    assert [line for line in adopted.notes if line.startswith("even filters")] == ([note] if note else [])


@pytest.mark.parametrize("layout", ["torch", "keras"])
def test_odd_filters_have_no_odd_zero_to_ask_about(tmp_path, layout):
    path = saved(tmp_path, renamed(trained(), flat))
    if layout == "keras":
        path = tmp_path / "theirs.npz"
        np.savez(path, *keras_list(trained()))
    adopted = adopt(NAME, path, TAGS)
    assert adopted.card.options == {}
    assert not [line for line in adopted.notes if line.startswith("even filters")]


def test_two_dimensional_kernels_are_turned_as_well(tmp_path):
    from zoo.trained.foreign_layers import keras_layers, laid_onto

    ours = {"conv.weight": torch.rand(4, 2, 3, 5), "conv.bias": torch.rand(4)}
    for layout, kernel in (
        ("keras", ours["conv.weight"].permute(2, 3, 1, 0)),
        ("theano", ours["conv.weight"].permute(2, 3, 1, 0).flip(0, 1)),
        ("theano", ours["conv.weight"].flip(2, 3)),  # Keras told to keep Theano's order of axes
    ):
        arrays = {"arr_0": kernel, "arr_1": ours["conv.bias"]}
        filled, _ = laid_onto(ours, keras_layers(arrays), arrays, layout)
        assert torch.equal(filled["conv.weight"], ours["conv.weight"])


def test_a_dense_layer_and_a_convolution_over_one_frame_are_one_thing(network, tmp_path):
    state = renamed(network, flat)
    state["conv5.weight"] = state["conv5.weight"][:, :, 0]
    state["fc.weight"] = state["fc.weight"][:, :, None]
    assert_same(adopt(NAME, saved(tmp_path, state), TAGS), network)


def test_half_and_double_precision_are_taken(network, tmp_path):
    state = {
        name: value.double() if value.is_floating_point() else value
        for name, value in renamed(network, flat).items()
    }
    assert_same(adopt(NAME, saved(tmp_path, state), TAGS), network)


def test_another_epsilon_of_batch_norm_is_made_up_for(network, tmp_path):
    theirs = trained()
    for layer in theirs.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.eps = 0.001
    np.savez(tmp_path / "theirs.npz", *keras_list(theirs))
    adopted = adopt(NAME, tmp_path / "theirs.npz", TAGS, epsilon=0.001)
    assert_same(adopted, theirs, exact=False)
    assert adopted.card.lineage["epsilon"] == 0.001
    assert any("epsilon=0.001" in note for note in adopt(NAME, tmp_path / "theirs.npz", TAGS).notes)


def test_the_scale_of_a_spectrogram_is_left_to_be_measured(tmp_path):
    network = trained(MEL)
    state = {name: value for name, value in renamed(network, flat).items() if not name.startswith("front.")}
    state["spec.mel_scale.fb"] = torch.rand(365, 128)
    adopted = adopt(MEL, saved(tmp_path, state), TAGS)
    assert_same(adopted, network)
    assert adopted.notes == (
        "left out: 'spec.mel_scale.fb', a constant of torchaudio's spectrogram",
        "front.mean is not in the file: measure it with zoo.calibrate, on training waves",
        "front.std is not in the file: measure it with zoo.calibrate, on training waves",
    )


def test_the_scale_of_a_spectrogram_is_taken_if_it_is_there(tmp_path):
    network = trained(MEL)
    network.front.std.fill_(2)
    adopted = adopt(MEL, saved(tmp_path, renamed(network, flat)), TAGS)
    assert_same(adopted, network)
    assert (adopted.network.front.std, adopted.notes) == (2, ())


def test_a_recurrent_layer_is_taken_by_its_parts(tmp_path):
    from zoo.trained.foreign_layers import laid_onto, torch_layers

    ours, theirs = nn.GRU(3, 4).state_dict(prefix="top."), nn.GRU(3, 4).state_dict(prefix="rnn.")
    filled, _ = laid_onto(ours, torch_layers(theirs), theirs, "torch")
    assert torch.equal(filled["top.weight_hh_l0"], theirs["rnn.weight_hh_l0"])


def test_a_stack_of_recurrent_layers_goes_into_cells(tmp_path):
    small = {"first": 2, "maps": 3, "units": 4}
    network = trained("crnn", **small)
    stack = nn.GRU(3, 4, num_layers=2, batch_first=True)
    cells = (network.top.gru_1.cell, network.top.gru_2.cell)
    with torch.no_grad():
        for i, cell in enumerate(cells):
            for part, value in cell.named_parameters():
                getattr(stack, f"{part}_l{i}").copy_(value)
    state = {name: value for name, value in network.state_dict().items() if not name.startswith("top.")}
    theirs = state | stack.state_dict(prefix="gru.")
    adopted = adopt("crnn", saved(tmp_path, theirs), TAGS, **small)
    assert_same(adopted, network)
    assert "top.gru_2.cell" in str(adopted)
    assert "from  gru.l1" in str(adopted)
    frames = torch.randn(2, 3, 1, 5)
    with torch.no_grad():
        said = stack(frames.flatten(1, 2).transpose(1, 2))[0][:, -1]
        assert torch.allclose(network.top(frames), said, atol=1e-6)


@pytest.mark.parametrize(
    "counter", [torch.tensor(7.0), torch.tensor([7]), torch.tensor(7, dtype=torch.int32)]
)
def test_counters_of_batches_are_ignored_whatever_they_are(network, tmp_path, counter):
    state = renamed(network, flat)
    theirs = {
        name: counter if name.endswith("num_batches_tracked") else value for name, value in state.items()
    }
    assert_same(adopt(NAME, saved(tmp_path, theirs), TAGS), network)


def test_options_and_lineage_are_on_the_card(tmp_path):
    network = trained(filters="half", first=16)
    path = saved(tmp_path, renamed(network, flat))
    adopted = adopt(NAME, path, TAGS, filters="half", first=16)
    assert adopted.card.options == {"filters": "half", "first": 16}
    assert adopted.card.scores == {}
    assert adopted.card.lineage["imported_from"] == "theirs.pth"
    assert len(adopted.card.lineage["sha256"]) == 64
    assert "top.conv     from  conv5\ntop.norm     from  conv5_bn\nhead         from  fc" in str(adopted)


def test_adopting_leaves_the_random_state_alone(network, tmp_path):
    path = saved(tmp_path, renamed(network, flat))
    state = torch.get_rng_state()
    adopt(NAME, path, TAGS)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("text", ["guitar\nslow\n\n female voice \r\n", json.dumps(TAGS)])
def test_tags_are_read_from_lines_or_json(tmp_path, text):
    (tmp_path / "tags.txt").write_text(text)
    assert read_tags(tmp_path / "tags.txt") == TAGS


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[1, 2]", "JSON must be a list of words"),
        (b"[1, 2", "tags.txt is no list of tags: "),
        (b"\xff\xfe", "tags.txt is no list of tags: "),
        (b"x" * (1 << 20) + b"y", "a list of tags has at most 1048576"),
    ],
)
def test_a_file_without_tags_is_refused(tmp_path, content, words):
    (tmp_path / "tags.txt").write_bytes(content)
    with pytest.raises(zoo.ZooError, match=words):
        read_tags(tmp_path / "tags.txt")


def test_the_command_saves_a_checkpoint(tmp_path, capsys):
    network = trained(first=16)
    path = saved(tmp_path, renamed(network, flat))
    (tmp_path / "tags.txt").write_text("\n".join(TAGS))
    words = [f"network={NAME}", f"weights={path}", f"tags={tmp_path / 'tags.txt'}", f"out={tmp_path / 'out'}"]
    assert main(["import", *words, "first=16"]) == 0
    shown = capsys.readouterr().out
    assert f"{NAME} with 3 tags\nfront.conv   from  conv1\n" in shown
    assert shown.endswith(f"saved: {tmp_path / 'out'}\n")
    assert zoo.load(tmp_path / "out").tags == tuple(TAGS)
    assert_same(zoo.load(tmp_path / "out"), network)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            ["theirs.pth"],
            "import takes words such as network= only, not 'theirs.pth': python -m zoo import network=",
        ),
        (["network=x"], "import needs weights=: python -m zoo import network="),
        (
            [f"network={NAME}", "weights=w", "tags=t", "out=o", "first=many"],
            "first=many is not a number",
        ),
        (
            [f"network={NAME}", "weights=w", "tags=t", "out=o", "frist=1"],
            "samplecnn has no option 'frist'; did you mean first?",
        ),
        ([f"network={NAME}", "weights=w", "tags=t", "out=o"], "t is no list of tags: "),
        (["--network=x"], "'--network=x' is not understood; did you mean network?"),
    ],
)
def test_wrong_words_are_answered_in_one_line(words, error, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["import", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(error)
    assert shown.err.count("\n") == 1
