"""Which trials one process trains step by step together, and how many: a plain decision, made by the driver.

Trials of one network go as one, layer by layer. Where a trial is the only one of its network, others go beside it: a
stream of the GPU for each.
"""

import sys
from collections.abc import Callable, Iterable

from search.checks import AUTO
from search.planning.capacity import Room
from search.planning.job import PROCESS_BYTES, Work
from search.planning.packing import Packer
from search.settings import TrialSettings, digest

# What a trial's settings may differ in from those of a trial that it goes as one with: nothing that changes what a step
# computes, how large it is, or how many of them make an epoch.
OWN = {"seed"}
OWN_OPTIONS = {"dropout"}
OWN_TRAINING = {
    *("learning_rates", "epochs_per_stage", "patience", "one_cycle", "lr_decay"),
    *("optimizer", "momentum", "weight_decay", "norm_momentum"),
}
# Measured on an H200 at a batch of 23 (tests/benchmarks/README.md, Many): eight as one are 5.6 times as fast as one by
# one where a step is 0.35e9 multiply-adds forward (3^4 frame-level), 4.2 times where it is 1.65e9 (3^6), and beside
# each other 3.5 and 2.8 times. At the rate of that last step, 84 TFLOP/s, eight of 4.6e9 (3^7 s27) would gain 2 times,
# and of 13e9 (3^8 s9) next to nothing; neither these, nor more than eight, nor eight that differ were measured.
MOST_BY_ITSELF, PAYS_BELOW = 8, 5e9


def kind(settings: TrialSettings) -> str:
    """The same for trials that can go as one."""
    told = settings.to_json()
    told["options"] = {key: value for key, value in told["options"].items() if key not in OWN_OPTIONS}
    told["training"] = {key: value for key, value in told["training"].items() if key not in OWN_TRAINING}
    return digest({key: value for key, value in told.items() if key not in OWN})


def can_go_beside(one: Work, other: Work) -> bool:
    """Whether trials of different networks can go together: an epoch of each has as many batches.

    They must share what may lie on a GPU, the music cut into segments of one length, and what is known of its memory.
    """
    return (
        one.updates_per_epoch == other.updates_per_epoch
        and one.trial.training.batch_size == other.trial.training.batch_size
        and one.segment_samples == other.segment_samples
        and one.family == other.family
    )


def together_bytes(works: Iterable[Work]) -> int:
    """What a process needs that trains these: what is a process's own it needs once."""
    return PROCESS_BYTES + sum(work.memory_bytes - PROCESS_BYTES for work in works)


def most_together(wanted: int | str, work: Work, room: Room, packer: Packer, left: Callable[[], int]) -> int:
    """How many trials like this one a process is to train: as many as pay and as fit.

    wanted: the word.
    left:   gives how many trainings the search still has to start. A GPU that idles gains nothing from those that go
            together on another.
    """
    if packer.fixed is not None and packer.fixed > 1:  # several processes share its steps
        return 1
    if wanted == AUTO:
        step = work.multiply_adds * work.trial.training.batch_size
        if not packer.gpus or step > PAYS_BELOW:
            return 1
        most = min(MOST_BY_ITSELF, -(-left() // max(int(packer.gpus), 1)))
    else:
        most = int(wanted)
    return max(min(most, _that_fit(work, room, packer)), 1)


def _that_fit(work: Work, room: Room, packer: Packer) -> int:
    """Into the memory of one process, as far as anyone knows it."""
    if packer.gpus:
        return packer.most_in_one(work.family, work.memory_bytes)
    if not room.memory_bytes:
        return sys.maxsize
    return (room.memory_bytes - PROCESS_BYTES) // max(work.memory_bytes - PROCESS_BYTES, 1)
