"""Training on a GPU: captured steps, precisions, resumption."""

from dataclasses import replace

import pytest
import torch

import zoo
from search.settings import Training
from search.trials import worker
from search.trials.cuda_graphs import Stepper
from search.trials.evaluation import evaluate
from search.trials.feed import open_feed
from search.trials.replicates import fit_together
from search.trials.training import Epoch, Fit

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

SMALL = Training(learning_rates=(0.01, 0.002), epochs_per_stage=2, batch_size=8, norm_momentum=0.1)
SEGMENTS = 60
LOSS = 0.01  # cuDNN sums some gradients in any order, and each step makes more of that


def a_fit(
    training: Training = SMALL, network: str = "samplecnn_m3_n4_s243", device: str = "cuda", **options: object
) -> Fit:
    torch.manual_seed(1)
    entry = zoo.entry(network).with_options(**options)
    train, valid = (open_feed("demo", split, None, entry, device) for split in ("train", "valid"))
    return Fit(entry.build(len(train.split.tags)).to(device), train, valid, training, 1, SEGMENTS)


def losses(epochs: list[Epoch]) -> list[float]:
    return [value for each in epochs for value in (each.train_loss, each.valid_loss)]


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize(("optimizer", "rate"), [("nesterov", 0.01), ("adam", 0.0003), ("adagrad", 0.001)])
def test_captured_steps_are_the_steps(optimizer: str, rate: float) -> None:
    training = replace(SMALL, optimizer=optimizer, learning_rates=(rate, rate / 5), weight_decay=0.001)
    captured, plain = a_fit(training), a_fit(training)
    plain.stepper.captures = False
    found, wanted = list(captured), list(plain)
    assert captured.stepper.graph is not None
    assert found[0].train_loss == pytest.approx(wanted[0].train_loss, rel=1e-3)
    assert losses(found) == pytest.approx(losses(wanted), rel=LOSS)


@pytest.mark.usefixtures("demo")
def test_a_gpu_trains_as_the_processor_does() -> None:
    found, wanted = list(a_fit(dropout=0.0)), list(a_fit(device="cpu", dropout=0.0))
    assert losses(found) == pytest.approx(losses(wanted), rel=LOSS)


@pytest.mark.usefixtures("demo")
def test_a_captured_training_goes_on_from_its_state() -> None:
    whole, first, rest = a_fit(), a_fit(), a_fit()
    wanted = list(whole)
    epochs = iter(first)
    found = [next(epochs) for _ in range(3)]
    rest.restore(*first.state())
    found += list(rest)
    assert losses(found) == pytest.approx(losses(wanted), rel=LOSS)


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize(
    ("networks", "layer_by_layer"),
    [
        (("samplecnn_m3_n4_s243",) * 3, True),
        (("samplecnn_m3_n6_s3",) * 3, False),
        (("samplecnn_m3_n3_s729", "samplecnn_m3_n4_s243", "samplecnn_m3_n5_s81"), False),
    ],
)
def test_trainings_as_one_on_a_gpu_are_the_trainings_of_each_alone(
    networks: tuple[str, ...], layer_by_layer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [
        (replace(SMALL, learning_rates=(rate, rate / 5)), network)
        for rate, network in zip((0.01, 0.005, 0.002), networks, strict=True)
    ]
    wanted = [losses(list(a_fit(*each))) for each in others]
    found: list[list[Epoch]] = [[] for _ in others]
    seen, step = set[tuple[bool, bool]](), Stepper.step

    def told(stepper: Stepper, *given: object) -> object:
        losses_of_all = step(stepper, *given)
        seen.add((stepper.at_once is not None, stepper.graph is not None))
        return losses_of_all

    monkeypatch.setattr(Stepper, "step", told)
    for i, epoch in fit_together([a_fit(*each) for each in others]):
        assert isinstance(epoch, Epoch)
        found[i].append(epoch)
    assert seen == {(layer_by_layer, True)}
    for one, other in zip(found, wanted, strict=True):
        assert losses(one) == pytest.approx(other, rel=LOSS)


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_training_in_fewer_digits_comes_out_nearly_the_same(precision: str) -> None:
    found, wanted = list(a_fit(replace(SMALL, precision=precision))), list(a_fit())
    assert losses(found) == pytest.approx(losses(wanted), rel=0.1)
    assert losses(found) != losses(wanted)


@pytest.mark.usefixtures("demo")
def test_images_lie_as_products_in_fewer_digits_want_them_and_are_scored_as_from_a_checkpoint() -> None:
    training = replace(SMALL, epochs_per_stage=1, learning_rates=(0.001,), batch_size=4)
    fits = [a_fit(replace(training, precision=word), "crnn") for word in ("float32", "bf16")]
    for fit in fits:
        fit.segments = 8
    found = [next(iter(fit)) for fit in fits]
    assert found[1].train_loss == pytest.approx(found[0].train_loss, rel=0.02)
    filters = [
        next(it for it in fit.network.parameters() if it.ndim == 4 and it.shape[1] > 1) for fit in fits
    ]
    assert [it.is_contiguous() for it in filters] == [True, False]
    network = fits[1].network
    loaded = zoo.entry("crnn").build(network.n_tags).cuda()
    loaded.load_state_dict(network.state_dict())
    said = [evaluate(it, fits[1].valid).probabilities for it in (network, loaded)]
    assert (said[0] == said[1]).all()


@pytest.mark.usefixtures("demo")
def test_a_training_in_fewer_digits_is_captured_after_it_was_taken_up_again() -> None:
    how = replace(SMALL, learning_rates=(0.001,), batch_size=4, precision="bf16")
    first, rest = a_fit(how, "crnn"), a_fit(how, "crnn")
    first.segments = rest.segments = 8
    next(iter(first))
    rest.restore(*first.state())
    next(iter(rest))
    assert rest.stepper.graph is not None


@pytest.mark.usefixtures("demo")
def test_flags_of_precision_are_left_as_they_were() -> None:
    before = torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision
    next(iter(a_fit()))
    assert (torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision) == before


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize(
    "name",
    [
        "crnn",
        "fcn4",
        "musicnn",
        "short_chunk_res",
        "samplecnn_rese2_multi",
        "cnnsa",
        "dieleman_raw",
        "persistent_cnn",
        "harmonic_cnn",
    ],
)
def test_networks_of_every_family_are_captured(name: str) -> None:
    training = replace(SMALL, epochs_per_stage=1, learning_rates=(0.001,), batch_size=4)
    captured, plain = a_fit(training, name), a_fit(training, name)
    captured.segments = plain.segments = 8
    plain.stepper.captures = False
    found, wanted = next(iter(captured)), next(iter(plain))
    assert captured.stepper.graph is not None
    assert plain.stepper.graph is None
    assert found.train_loss == pytest.approx(wanted.train_loss, rel=0.02)


def test_a_gpu_refuses_what_is_beyond_a_process_part() -> None:
    worker.share_gpu(0.1)
    whole = torch.cuda.get_device_properties(0).total_memory
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(int(0.2 * whole), dtype=torch.uint8, device="cuda")
    kept = torch.empty(int(0.05 * whole), dtype=torch.uint8, device="cuda")
    assert worker.gpu_use(0)["peak_bytes"] >= len(kept)
    worker.share_gpu(1.0)


# The last one here, as its captures fail: what torch holds on to behind them is no other test's fault.
@pytest.mark.usefixtures("demo")
def test_several_whose_steps_no_graph_holds_are_trained_without_one() -> None:
    """Their generators were registered with the capture that failed."""

    def fits() -> list[Fit]:
        found = [
            a_fit(replace(SMALL, learning_rates=(rate,)), "samplecnn_m3_n6_s3") for rate in (0.01, 0.005)
        ]
        for fit in found:
            forward = fit.network.top.forward
            fit.network.top.forward = lambda frames, forward=forward: forward(
                frames * (1.0 if float(frames.sum()) > -1e9 else 0.0)
            )
        return found

    wanted = [losses(list(fit)) for fit in fits()]
    found: list[list[Epoch]] = [[], []]
    for i, epoch in fit_together(fits()):
        assert isinstance(epoch, Epoch)
        found[i].append(epoch)
    for one, other in zip(found, wanted, strict=True):
        assert losses(one) == pytest.approx(other, rel=LOSS)
    torch.cuda.empty_cache()
    kept = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")
    before = torch.cuda.memory_reserved()
    del kept
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= before - (1 << 28), (
        "the allocator believes that a capture still runs"
    )
