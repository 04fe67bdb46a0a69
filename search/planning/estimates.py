"""What trainings cost on the machines that a plan is made for, and how far that may be off."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

from search.checks import AUTO
from search.planning import throughput
from search.planning.hardware import KINDS, Machines, kind, machines
from search.planning.job import WEIGHT_BYTES, Job, Work
from search.settings import BF16, FLOAT32, TF32, WINOGRAD, Cluster

# Forward multiply-adds a second that training gets through, where no trial has been timed yet: one core between one
# with AVX2 (8e9) and one with 512-bit instructions (28e9), and two kinds of GPU in each precision (samplecnn_m3_n9_s3,
# batch 23; their trials refuse WINOGRAD); other kinds by how much faster their memory is than the first one's.
ROUGH_CPU, ROUGH_KIND, UNKNOWN_KIND = 14e9, "H100", "A100"
ROUGH_GPU = {
    ROUGH_KIND: {FLOAT32: 3.9e12, WINOGRAD: 3.9e12, TF32: 12e12, BF16: 22e12},
    "H200": {FLOAT32: 4.0e12, WINOGRAD: 4.0e12, TF32: 14e12, BF16: 26e12},
}
GPU_STEP_SECONDS = 5e-4  # an update's couple of hundred kernels, however small they are
OVERHEAD_SECONDS = 1.5  # of a trial: opening the data, scoring, writing its checkpoint
# How many times more or less a training may take than estimated: by the family's own times on that kind of device (at
# least, where there are several), by one such time, by other families' times, and by nothing but the device's name.
TIMED, TIMED_ONCE, TIMED_OTHERS, GUESSED = 1.25, 2.0, 3.0, 4.0
OPEN_END = 1.5  # the same for a schedule that ends when the loss stands still
SCORE_BYTES = 9  # of each clip and tag in a trial's scores
# Of each trial and each epoch in the ledger, in MLflow and in its folder.
LEDGER_BYTES, EPOCH_BYTES = 40_000, 1_000


@dataclass(frozen=True)
class Speed:
    """How fast a training goes on a whole device.

    multiply_adds: of training a second. factor: how many times it may be off. trainings: on how many that rests.
    step_seconds:  that an update takes at least.
    """

    multiply_adds: float
    factor: float
    trainings: int
    step_seconds: float = 0.0


def speed(machines: Machines, work: Work) -> Speed:
    """How fast it goes on the machines' kind of device: as its family's networks of its size did, if timed."""
    precision = work.trial.training.precision
    if precision == WINOGRAD and not throughput.rates(machines.device, precision=WINOGRAD):
        plain = _speed(machines, work, FLOAT32)  # from nearly as fast to almost twice as fast
        return replace(plain, factor=max(plain.factor, TIMED_ONCE))
    return _speed(machines, work, precision)


def _speed(machines: Machines, work: Work, precision: str) -> Speed:
    own = throughput.rates(machines.device, work.family, work.multiply_adds, precision)
    if own:
        rate = median(own)
        spread = max(max(own) / rate, rate / min(own), TIMED)
        return Speed(rate, TIMED_ONCE if len(own) == 1 else min(spread, GUESSED), len(own))
    step = GPU_STEP_SECONDS if machines.gpus else 0.0
    others = throughput.rate(machines.device, work.family, precision)
    if others:
        return Speed(others[0], TIMED_OTHERS, others[1], step)
    return Speed(_guess(machines, precision), GUESSED, 0, step)


def _guess(machines: Machines, precision: str) -> float:
    if not machines.gpus:
        return ROUGH_CPU
    found = kind(machines.device) or KINDS[UNKNOWN_KIND]
    timed = next((name for name in ROUGH_GPU if KINDS[name] == found), ROUGH_KIND)
    return ROUGH_GPU[timed][precision] * found.bytes_per_second / KINDS[timed].bytes_per_second


def seconds(work: Work, machines: Machines) -> float:
    """What one training takes of a whole device."""
    return _at(speed(machines, work), work)


def guessed_seconds(work: Work, on_gpu: bool) -> float:
    """The same where nothing is known of the device."""
    rate = ROUGH_GPU[ROUGH_KIND][work.trial.training.precision] if on_gpu else ROUGH_CPU
    return _at(Speed(rate, GUESSED, 0, GPU_STEP_SECONDS if on_gpu else 0.0), work)


def _at(expected: Speed, work: Work) -> float:
    load = work.training + throughput.EVALUATION_SHARE * work.evaluation
    return OVERHEAD_SECONDS + max(load / expected.multiply_adds, work.updates * expected.step_seconds)


def factor(work: Work, machines: Machines) -> float:
    """How many times more or less it may be."""
    open_end = OPEN_END if work.trial.training.longest_epochs > work.epochs else 1.0
    return speed(machines, work).factor * open_end


def at_once(wanted: Cluster, machines: Machines) -> int:
    """How many trials the machines have room for."""
    rooms = []
    if machines.cpus is not None:
        rooms.append(machines.cpus // cpus_per_trial(wanted, machines))
    if machines.gpus:
        each = 1.0 if wanted.gpus_per_trial == AUTO else float(wanted.gpus_per_trial)
        rooms += [machines.gpus * int(1 / each) if each <= 1 else int(machines.gpus / each)] if each else []
    if wanted.trials_at_once != AUTO:
        rooms.append(int(wanted.trials_at_once))
    return max(min(rooms, default=1), 1)


def cpus_per_trial(wanted: Cluster, machines: Machines) -> int:
    """The cores that a trial gets on one machine with these."""
    if wanted.cpus_per_trial != AUTO:
        return int(wanted.cpus_per_trial)
    trials = machines.gpus if machines.gpus else wanted.trials_at_once
    return 1 if machines.cpus is None or trials == AUTO else max(machines.cpus // int(trials), 1)


@dataclass(frozen=True)
class Outlook:
    """What a search still takes.

    trainings:      how many are left. trainings_timed: on how many the times rest, at least.
    device_seconds: of whole GPUs, or of trials on processors; low, high: between which it very likely lies.
    wall_seconds:   by the clock, of `at_once` trials at a time. slots: devices' worth of work done at a time.
    disk_bytes:     that its trials will leave behind, and hold while they run.
    """

    trainings: int
    trainings_timed: int
    device_seconds: float
    low: float
    high: float
    wall_seconds: float
    at_once: int
    disk_bytes: int

    @property
    def least_wall_seconds(self) -> float:
        """The wall time if everything goes as fast as it very likely can."""
        return self.wall_seconds * (self.low / self.device_seconds if self.device_seconds else 1.0)

    @property
    def most_wall_seconds(self) -> float:
        return self.wall_seconds * (self.high / self.device_seconds if self.device_seconds else 1.0)


def outlook(job: Job, left: Sequence[Work], trainings: int, machines: Machines) -> Outlook:
    """What `trainings` trainings take, of which `left` are all or a sample."""
    times = [seconds(work, machines) for work in left]
    factors = [factor(work, machines) for work in left]
    scale = trainings / len(left) if left else 0.0
    total = scale * sum(times)
    slots = at_once(job.settings.cluster, machines)
    devices = min(machines.gpus, slots) if machines.gpus else slots
    return Outlook(
        trainings=trainings,
        trainings_timed=min((speed(machines, work).trainings for work in left), default=0),
        device_seconds=total,
        low=scale * sum(time / off for time, off in zip(times, factors, strict=True)),
        high=scale * sum(time * off for time, off in zip(times, factors, strict=True)),
        wall_seconds=max(total / devices, max(times, default=0.0)),
        at_once=min(slots, max(trainings, 1)),
        disk_bytes=_disk_bytes(job, left, trainings, slots),
    )


def _disk_bytes(job: Job, left: Sequence[Work], trainings: int, slots: int) -> int:
    """Checkpoints and scores, in the trials' folders and in MLflow's store; the ledgers; states of running trials."""
    if not left:
        return 0
    looked_at = sum(job.data.clips.get(split, 0) for split in ("valid", "test"))
    scores = SCORE_BYTES * looked_at * job.data.tags
    each = fmean(
        2 * (4 * work.parameters + scores) + LEDGER_BYTES + EPOCH_BYTES * work.epochs for work in left
    )
    running = max(WEIGHT_BYTES * work.parameters for work in left) * min(slots, trainings)
    return int(trainings * each + running)


def rough_seconds(work: Work) -> float:
    """What one training takes on this kind of machine: by those that were timed here, else a first guess."""
    return seconds(work, machines(Cluster()))


def rough_epoch_seconds(work: Work, on_gpu: bool) -> float:
    """What an epoch takes, by the first guess alone: for whoever asks where it will run, not what was timed here."""
    return guessed_seconds(work, on_gpu) / work.epochs
