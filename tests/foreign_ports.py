"""A network of the zoo in the forms in which other programs leave its weights."""

import re
from collections import OrderedDict

import torch
from torch import nn

import zoo

NAME, EVEN, MEL = "samplecnn_m3_n3_s9", "samplecnn_m2_n4_s8", "melcnn_m3_n3_s27_w81"
TAGS = ["guitar", "slow", "female voice"]
BODY = ("front", "body.1", "body.2", "body.3", "top")


def trained(name=NAME, **options):
    """A network whose weights and running statistics are nobody's defaults."""
    torch.manual_seed(2)
    network = zoo.create(name, n_tags=3, **options)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    network(torch.rand(8, network.input_samples) * 2 - 1)
    return network.eval()


def assert_same(adopted, network, exact=True):
    waves = torch.rand(4, network.input_samples, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        ours, theirs = adopted.network(waves), network(waves)
    assert torch.equal(ours, theirs) if exact else torch.allclose(ours, theirs, atol=1e-5)
    assert not adopted.network.training


def renamed(network, rename, *, counters=True):
    """The weights under a port's names, in the order of ours."""
    state = network.state_dict().items()
    return OrderedDict(
        (rename(name), value) for name, value in state if counters or "num_batches" not in name
    )


def indices(name):
    """nn.Sequential: 0.weight is the convolution, 1.weight its norm, then come ReLU and pool."""
    if name.startswith("head."):
        return name.replace("head", "22")
    block = next(i for i, stage in enumerate(BODY) if name.startswith(stage))
    # Conv and norm as they run
    return re.sub(r".*(conv|norm)", lambda found: str(4 * block + (found[1] == "norm")), name)


def flat(name):
    """conv1.weight, conv1_bn.weight, ..., fc.weight."""
    for i, stage in enumerate(BODY, start=1):
        name = name.replace(f"{stage}.conv", f"conv{i}").replace(f"{stage}.norm", f"conv{i}_bn")
    return name.replace("head", "fc")


def wrapped(name):
    return f"module.{name}"


def keras_list(network, theano=False):
    """`model.get_weights()`: (length, 1, in, out) kernels of Keras 1, (length, in, out) of Keras 2."""
    found = []
    for name, value in network.state_dict().items():
        array = value.numpy()
        if name.endswith("num_batches_tracked"):
            continue
        if array.ndim == 3:
            array = array.transpose(2, 1, 0)
            array = array[::-1, None] if theano else array
        found.append(array.T if array.ndim == 2 else array)
    return found


def saved(folder, record, ending=".pth"):
    path = folder / f"theirs{ending}"
    torch.save(record, path)
    return path
