"""Starting from trained weights: what is taken over, what stays fresh, what is refused."""

import pytest
import torch

import zoo

NAME, TAGS = "samplecnn_m3_n3_s9", ("guitar", "slow", "female voice")


def trained(folder, name=NAME, **options):
    """A checkpoint whose weights and running statistics are nobody's defaults."""
    torch.manual_seed(1)
    network = zoo.create(name, n_tags=3, **options)
    waves = torch.rand(8, network.input_samples) * 2 - 1
    zoo.calibrate(network, [waves])
    network(waves)
    zoo.save(network, folder, zoo.Card.of(network, TAGS))
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("trained") / "checkpoint")


def test_with_as_many_tags_everything_is_taken_over(checkpoint):
    network = zoo.create(NAME, n_tags=3, weights=checkpoint)
    assert network.training
    waves = torch.rand(2, 243)
    assert torch.equal(network.eval()(waves), zoo.load(checkpoint).network(waves))


def test_with_other_tags_all_but_the_head_is_taken_over(checkpoint):
    torch.manual_seed(5)
    fresh = zoo.create(NAME, n_tags=7)
    torch.manual_seed(5)
    network = zoo.create(NAME, n_tags=7, weights=str(checkpoint))
    source = zoo.load(checkpoint).network.state_dict()
    for name, tensor in network.state_dict().items():
        expected = fresh.state_dict() if name.startswith("head.") else source
        assert torch.equal(tensor, expected[name]), name
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_the_scales_of_a_spectrogram_are_taken_over(tmp_path):
    name = "melcnn_m3_n3_s27_w81"
    checkpoint = trained(tmp_path / "mel", name)
    network = zoo.create(name, n_tags=9, weights=checkpoint)
    assert torch.equal(network.front.std, zoo.load(checkpoint).network.front.std)
    assert network.front.std != 1


def test_options_that_change_nothing_in_a_trained_network_may_differ(checkpoint):
    network = zoo.create(NAME, n_tags=3, weights=checkpoint, dropout=0.1, init="keras110")
    assert torch.equal(network.head.weight, zoo.load(checkpoint).network.head.weight)
    assert network.dropout.p == 0.1


def test_every_dropout_and_first_weight_is_harmless_and_nothing_else():
    families = {zoo.entry(name).family: zoo.entry(name).rules for name in zoo.names()}
    for family in families.values():
        harmless = {name for name, option in family.options.items() if option.harmless}
        assert harmless == {name for name in family.options if name == "init" or name.endswith("dropout")}


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (
            "samplecnn_m3_n3_s27",
            {},
            r"do not fit: the card is of samplecnn_m3_n3_s9 {}, the network is samplecnn_m3_n3_s27 {}; create",
        ),
        (
            NAME,
            {"first": 16},
            "the card is of samplecnn_m3_n3_s9 {}, the network is samplecnn_m3_n3_s9 {.first.: 16}",
        ),
    ],
)
def test_weights_of_another_network_are_refused_naming_both(checkpoint, name, options, words):
    with pytest.raises(zoo.ZooError, match=words) as caught:
        zoo.create(name, n_tags=3, weights=checkpoint, **options)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(zoo.ZooError, match=r"is not a checkpoint: it has no card.json"):
        zoo.create(NAME, weights=tmp_path)
