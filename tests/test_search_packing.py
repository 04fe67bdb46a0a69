"""How many trials share a GPU: decided by what was seen, without one."""

from types import SimpleNamespace

import pytest

from search import spaces
from search.planning import data, packing, throughput
from search.planning.capacity import room_of
from search.planning.job import Job
from search.planning.packing import CONTEXT_BYTES, MARGIN, MOST_ON_ONE, Packer, Seen
from search.running.desk import Desk
from search.settings import Cluster
from search.study import ledger
from search.study.deciding import Decider
from search.trials import worker
from search.words import read_words

GB = 10**9
H200 = 141 * GB


def seen(family: str = "samplecnn", times: float = 1.0, predicted: int = 10 * GB, gpu: int = H200) -> Seen:
    return Seen(family, predicted, int(times * (predicted - CONTEXT_BYTES)), gpu)


def test_the_first_of_a_family_is_a_probe_and_gets_a_whole_gpu() -> None:
    packer = Packer(None, gpus=2)
    assert packer.share("samplecnn", 2 * GB) == 1.0
    packer.saw(seen("crnn"))
    assert packer.share("samplecnn", 2 * GB) == 1.0  # another family says nothing of this one


def test_those_after_the_probe_are_packed_by_what_it_took() -> None:
    packer = Packer(None, gpus=2, seen=[seen(times=0.5)])
    needed = CONTEXT_BYTES + MARGIN * 0.5 * (60 * GB - CONTEXT_BYTES)
    assert packer.share("samplecnn", 60 * GB) == 1 / (H200 // needed) == 1 / 4
    assert packer.share("samplecnn", 1 * GB) == 1 / MOST_ON_ONE
    assert packer.share("samplecnn", 10**13) == 1.0  # its batches will be taken in parts


def test_the_worst_that_was_seen_counts() -> None:
    assert packing.ratio(
        [seen(times=0.4), seen(times=1.5), seen("crnn", times=9)], "samplecnn"
    ) == pytest.approx(1.5)
    assert packing.ratio([seen("crnn")], "samplecnn") is None


def test_of_gpus_of_several_sizes_the_smallest_counts() -> None:
    mixed = Packer(None, gpus=2, seen=[seen(), seen(gpu=16 * GB)])
    large = Packer(None, gpus=2, seen=[seen(), seen()])
    assert mixed.share("samplecnn", 6 * GB) == 1 / 2
    assert large.share("samplecnn", 6 * GB) == 1 / MOST_ON_ONE


def test_what_the_words_say_is_done() -> None:
    packer = Packer(0.25, gpus=1)
    assert packer.share("samplecnn", 10**13) == 0.25
    assert Packer(0.0, gpus=4).share("samplecnn", GB) == 0.0
    assert Packer(None, gpus=0).share("samplecnn", GB) == 0.0


def test_trials_wait_while_the_gpus_are_taken() -> None:
    packer = Packer(None, gpus=2, seen=[seen(times=0.5)])
    for trial in "abc":
        assert packer.has_room(0.5)
        packer.hold(trial, 0.5)
    assert not packer.has_room(1.0)
    assert packer.has_room(0.5)
    assert packer.release("b") == 0.5
    assert packer.has_room(1.0)
    assert packer.release("unknown") == 0.0
    assert Packer(None, gpus=0).has_room(0.0)


def test_thirds_of_a_gpu_are_three() -> None:
    packer = Packer(1 / 3, gpus=1)
    for trial in "abc":
        assert packer.has_room(1 / 3)
        packer.hold(trial, 1 / 3)
    assert not packer.has_room(1 / 3)


def test_what_a_process_may_allocate_leaves_room_for_what_cuda_takes_itself() -> None:
    shares = [packing.allocator_share(1 / 4, H200) for _ in range(4)]
    assert sum(shares) * H200 + 4 * CONTEXT_BYTES == pytest.approx(H200)
    assert packing.allocator_share(1 / 8, 2 * GB) == 1 / 16  # of a tiny GPU half of the part at least


def test_what_was_seen_is_kept_for_later_searches(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEZOO_HOME", str(tmp_path))
    throughput.note("NVIDIA H200", "samplecnn", training=100, evaluation=0, seconds=10)
    throughput.note_memory("NVIDIA H200", "samplecnn", predicted=10 * GB, peak=5 * GB, whole=H200)
    throughput.note_memory("NVIDIA L4", "samplecnn", predicted=10 * GB, peak=6 * GB, whole=24 * GB)
    throughput._notes.cache_clear()
    assert throughput.memory("NVIDIA H200") == [("samplecnn", 10 * GB, 5 * GB, H200)]
    assert throughput.memory("L4") == [("samplecnn", 10 * GB, 6 * GB, 24 * GB)]  # as Ray calls it
    assert throughput.rate("NVIDIA H200", "samplecnn") == (10.0, 1)
    assert throughput.rate("NVIDIA L4", "samplecnn") is None


class Card:
    """Stands for torch.cuda with one GPU: writes down what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def set_per_process_memory_fraction(self, part: float) -> None:
        self.asked.append(part)

    def reset_peak_memory_stats(self) -> None:
        self.asked.append("reset")

    def get_device_properties(self, device: int) -> SimpleNamespace:
        return SimpleNamespace(total_memory=H200, name="NVIDIA H200")

    def max_memory_reserved(self) -> int:
        return 30 * GB


def test_a_process_is_held_to_its_part_and_says_what_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card()
    monkeypatch.setattr(worker.torch, "cuda", card)
    worker.share_gpu(0.25)
    assert card.asked == [packing.allocator_share(0.25, H200), "reset"]
    worker.share_gpu(1.0)  # the next trial of this process has the GPU for itself
    assert card.asked[2:] == [1.0, "reset"]
    assert worker.gpu_use(music_bytes=20 * GB) == {
        "device": "NVIDIA H200",
        "gpu_bytes": H200,
        "peak_bytes": 10 * GB,
    }


@pytest.mark.usefixtures("fresh_home")
def test_the_desk_lets_a_trial_wait_for_the_probe_and_packs_it_then() -> None:
    settings = read_words(["space=table2", "dataset=demo", "budget=small"])
    job = Job.of(settings, spaces.load("table2"), data.find(settings), ())
    packer, room = Packer(None, gpus=1), room_of(Cluster(), [{"CPU": 16.0, "GPU": 1.0}])
    desk = Desk(Decider(ledger.open_study(job), job), [], {}, SimpleNamespace(error=None), room, packer)
    probe = desk.assign("a")
    assert (probe["gpus"], probe["threads"]) == (1.0, 16)
    assert desk.assign("b") is None
    assert desk.waiting is not None
    took = {"device": "NVIDIA H200", "gpu_bytes": H200, "peak_bytes": GB // 10, "places": [0]}
    row = {"epoch": 1, "valid_roc_auc": 0.5, "stage": 0, "seconds": 1.0, "gpu": took}
    desk.tell("a", row)
    desk.tell("a", {**row, "epoch": 2})
    assert len(packer.seen) == 1  # once a trial
    assert desk.assign("b") is None  # the probe still has the whole GPU
    desk.tell("a", {"paused": True})
    desk.end("a", lost=False)
    packed = [desk.assign(name) for name in "bcdefghi"]
    assert [(each["gpus"], each["threads"]) for each in packed] == [(1 / 8, 2)] * 8
    assert desk.assign("j") is None
    throughput._notes.cache_clear()
    assert len(throughput.memory("H200")) == 1
