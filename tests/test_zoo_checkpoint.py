"""Checkpoints: what is written comes back, and whatever else lies there is refused in one line."""

import json
import os
import pickle
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import zoo
from datasets import tag_hash
from datasets.whole import remove_parts
from zoo.trained.checkpoint import read, read_card, save

NAME, TAGS = "samplecnn_m3_n3_s9", ("guitar", "slow", "female voice")


def card_of(network, **more):
    return zoo.Card.of(network, TAGS, protocol={"dataset": "demo"}, scores={"test": {"roc_auc": 0.9}}, **more)


@pytest.fixture
def network():
    torch.manual_seed(1)
    return zoo.create(NAME, n_tags=3)


@pytest.fixture
def folder(tmp_path, network):
    save(network, tmp_path / "checkpoint", card_of(network, lineage={"seed": 1}, licence="CC BY-NC-SA 3.0"))
    return tmp_path / "checkpoint"


def edit_card(folder, **changes):
    record = json.loads((folder / "card.json").read_text())
    record.update(changes)
    (folder / "card.json").write_text(
        json.dumps({k: v for k, v in record.items() if v is not ...}, default=repr)
    )


def edit_weights(folder, change):
    weights = load_file(folder / "weights.safetensors")
    change(weights)
    save_file(weights, folder / "weights.safetensors")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (NAME, {}),
        ("melcnn_m3_n3_s27_w81", {"dropout": 0.1}),
        (
            "samplecnn_m2_n4_s8_w16",
            {"first": 16, "filters": "half", "first_pad": "context", "padding": "torch"},
        ),
    ],
)
def test_a_network_comes_back_with_the_same_logits(tmp_path, name, options):
    network = zoo.create(name, n_tags=3, **options)
    waves = torch.rand(8, network.input_samples)
    zoo.calibrate(network, [waves])
    network(waves)  # running statistics of batch norm are part of the network
    card = card_of(network, lineage={"commit": "abc"}, licence="CC0")
    save(network, tmp_path / "checkpoint", card)
    again, card_again = read(tmp_path / "checkpoint")
    assert card_again == card
    assert card_again.options == options
    assert not again.training
    assert torch.equal(again(waves), network.eval()(waves))


def test_reading_leaves_the_random_state_alone(folder):
    state = torch.get_rng_state()
    read(folder)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_card_can_be_read_by_itself(folder):
    card = read_card(folder)
    assert (card.network, card.tags, card.segment_samples, card.sample_rate_hz) == (NAME, TAGS, 243, 22050)
    assert card.entry() == zoo.entry(NAME)


def test_scores_that_are_no_numbers_are_kept_as_unknown(network):
    card = zoo.Card.of(network, TAGS, scores={"test": {"roc_auc": float("nan"), "interval": (0.1, 0.2)}})
    assert card.scores == {"test": {"roc_auc": None, "interval": [0.1, 0.2]}}
    assert zoo.Card.from_json(card.to_json()) == card


def test_saving_again_replaces_the_checkpoint_and_leaves_nothing_beside(folder, network):
    with torch.no_grad():
        network.head.bias.fill_(7)
    save(network, folder, card_of(network))
    assert read(folder)[0].head.bias.tolist() == [7, 7, 7]
    assert sorted(file.name for file in folder.parent.rglob("*")) == [
        "card.json",
        "checkpoint",
        "weights.safetensors",
    ]


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.rename"])
@pytest.mark.parametrize("which", [1, 2])
def test_what_a_killed_save_leaves_is_known_by_its_name(folder, network, monkeypatch, call, which):
    def killed(*given):
        calls.append(given)
        if len(calls) == which:
            raise KeyboardInterrupt
        return original(*given)

    calls, original = [], {"os.fsync": os.fsync, "pathlib.Path.rename": Path.rename}[call]
    with monkeypatch.context() as patch:
        patch.setattr(call, killed)
        patch.setattr("shutil.rmtree", lambda *given, **options: None)  # a killed process tidies nothing
        with pytest.raises(KeyboardInterrupt):
            save(network, folder, card_of(network))
    assert any(file.suffix == ".part" for file in folder.parent.iterdir())
    remove_parts(folder.parent)
    assert [file.name for file in folder.parent.iterdir() if file.name != "checkpoint"] == []
    save(network, folder, card_of(network))
    read(folder)


def test_a_save_that_fails_leaves_the_old_checkpoint(folder, network, monkeypatch):
    def full_disk(path, content):
        raise OSError("no space left on device")

    monkeypatch.setattr("zoo.trained.checkpoint._write", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save(network, folder, card_of(network))
    assert read(folder)[1].tags == TAGS
    assert [file.name for file in folder.parent.iterdir()] == ["checkpoint"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path, network):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(zoo.CheckpointError, match="holds more than a checkpoint, so it is not replaced"):
        save(network, tmp_path, card_of(network))


def test_a_card_of_another_network_is_not_saved(tmp_path, network):
    other = card_of(zoo.create(NAME, n_tags=3, first=16))
    with pytest.raises(
        zoo.CheckpointError, match=r"the card is of samplecnn_m3_n3_s9 {'first': 16}, the network is"
    ):
        save(network, tmp_path / "x", other)
    card = zoo.Card.of(network, ("a", "b"))
    with pytest.raises(
        zoo.CheckpointError, match=r"head.weight has shape \(3, 512\), the card's network has \(2, 512\)"
    ):
        save(network, tmp_path / "x", card)
    with pytest.raises(zoo.CheckpointError, match=r"Linear was not made by zoo.create"):
        zoo.Card.of(torch.nn.Linear(2, 2), TAGS)
    with pytest.raises(zoo.CheckpointError, match=r"lineage.where is a object; a card takes text"):
        zoo.Card.of(network, TAGS, lineage={"where": object()})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "other"}, "the card is not a wavezoo-checkpoint"),
        ({"version": 2}, "the card is of version 2; this zoo reads version 1"),
        ({"version": True}, "the card is of version True; this zoo reads version 1"),
        ({"version": 1.0}, "the card is of version 1.0; this zoo"),
        ({"tags": ...}, "the card has no tags"),
        ({"run_me": "rm -rf"}, "the card has a field 'run_me' that this zoo does not know"),
        ({"tags": "guitar"}, "the card's tags is str, not list"),
        ({"n_tags": True}, "the card's n_tags is bool, not int"),
        ({"tags": ["a", "b", 3]}, "the card's tags are not a list of words"),
        (
            {"tags": ["a", "b", "\ud800"]},
            r"the card has the tag '.ud800'; a tag is text of at most 1000 signs",
        ),
        ({"tags": ["a", "b", "c" * 1001]}, "a tag is text of at most 1000 signs"),
        ({"tags": ["a"] * 100_001}, "the card lists 100001 tags; at most 100000 are read"),
        (
            {"network": "samplecnn_m3_n3_s" + "9" * 900_000},
            "names a network or an option of it by 'samplecnn_m3",
        ),
        ({"options": {"x" * 900_000: 1}}, "names a network or an option of it by 'xxx"),
        ({"options": {"filters": ["half"] * 90_000}}, "names a network or an option of it by "),
        ({"sample_rate_hz": 10**4000}, "the card says sample_rate_hz 1000"),
        ({"version": "1" * 900_000}, "the card is of version 1111"),
        ({"n_tags": 4}, "the card lists 3 tags and says n_tags 4"),
        ({"tags": ["slow", "guitar", "slow"]}, "lists the tag 'slow' twice"),
        ({"tags": ["slow", "guitar", "female voice"]}, "gives every probability to the wrong tag"),
        (
            {"network": "../../etc/passwd"},
            "the card names a network that cannot be had: no network is called",
        ),
        ({"network": "samplecnn_m999_n19_s9"}, "more than 60 s"),
        ({"network": "samplecnn_m3_n3_s8"}, "the card says segment_samples 243, samplecnn_m3_n3_s8 has 216"),
        ({"options": {"first": 10**9}}, "first=1000000000 is outside 1 to 4096"),
        ({"options": {"self": 1}}, "samplecnn has no option 'self'"),
        ({"options": {"dropout": [0.5]}}, r"dropout=\[0.5\] is not a number"),
        (
            {"options": {"first": 16}},
            r"front.conv.weight has shape \(128, 1, 9\), the card's network has \(16, 1, 9\)",
        ),
        ({"sample_rate_hz": 16000}, "the card says sample_rate_hz 16000, samplecnn_m3_n3_s9 has 22050"),
    ],
)
def test_a_card_that_was_tampered_with_is_refused(folder, changes, words):
    edit_card(folder, **changes)
    with pytest.raises(zoo.CheckpointError, match=words) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600, "what a stranger wrote is not repeated at length"


def test_a_card_of_very_many_tags_is_refused_at_once(folder):
    many = [str(number) for number in range(99_999)]
    edit_card(folder, tags=[*many, "77"], n_tags=100_000)
    with pytest.raises(zoo.CheckpointError, match="lists the tag '77' twice"):
        read(folder)
    edit_card(folder, tags=many, n_tags=99_999, tag_hash=tag_hash(many))
    with pytest.raises(
        zoo.CheckpointError, match=r"head.weight has shape \(3, 512\), the card's network has \(9"
    ):
        read(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "the card is not JSON"),
        ("[" * 100_000, "the card is not JSON"),
        ('{"format": NaN}', "NaN is no number"),
        ('{"format": 1e999}', "1e999 is no number"),
        ('{"format": ' + "9" * 9999 + "}", "the card is not JSON"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "the card is not JSON"),
        ("[]", "the card is not a wavezoo-checkpoint"),
        (" " * (1 << 20) + "{}", "has 1048578 bytes; a card has at most 1048576"),
    ],
)
def test_a_card_that_is_none_is_refused(folder, text, words):
    (folder / "card.json").write_text(text)
    with pytest.raises(zoo.CheckpointError, match=words):
        read(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("top.conv.bias"), "has no top.conv.bias"),
        (lambda w: w.update({"extra": torch.zeros(1)}), "has 'extra', which the card's network has not"),
        (
            lambda w: w.update({"body.2.conv.weight": torch.zeros(128, 128, 5)}),
            r"body.2.conv.weight has shape \(128, 128, 5\), the card's network has \(128, 128, 3\)",
        ),
        (
            lambda w: w.update({"head.bias": torch.zeros(3, dtype=torch.float64)}),
            "head.bias is F64, the card's network has F32",
        ),
        (lambda w: w["head.bias"].fill_(float("nan")), "head.bias holds values that are not numbers"),
    ],
)
def test_weights_of_another_network_are_refused_naming_the_tensor(folder, change, words):
    edit_weights(folder, change)
    with pytest.raises(zoo.CheckpointError, match=words):
        read(folder)


def test_a_truncated_or_lying_file_is_refused(folder):
    path = folder / "weights.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    with pytest.raises(zoo.CheckpointError, match=r"weights.safetensors is damaged"):
        read(folder)
    header = json.dumps(
        {"head.bias": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    ).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(zoo.CheckpointError, match=r"weights.safetensors is damaged"):
        read(folder)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def test_a_pickle_in_the_place_of_the_weights_is_not_run(folder):
    (folder / "weights.safetensors").write_bytes(pickle.dumps(Bomb()))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(zoo.CheckpointError, match="is damaged"):
        read(folder)


def test_a_link_out_of_the_folder_is_refused(folder, tmp_path):
    (folder / "weights.safetensors").rename(tmp_path / "elsewhere")
    (folder / "weights.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(zoo.CheckpointError, match=r"leads out of its folder, to .*elsewhere"):
        read(folder)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(zoo.CheckpointError, match=r"is not a checkpoint: it has no card.json"):
        read(tmp_path)
