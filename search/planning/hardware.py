"""The machines that a plan is made for: this one, or the cluster that the words name; without torch or Ray."""

import re
from dataclasses import dataclass

from search.checks import LOCAL
from search.machine import local_cpus, local_device, local_gpus, local_memory_bytes
from search.settings import Cluster


@dataclass(frozen=True)
class Kind:
    """A kind of GPU: its memory, and how fast it reads it, which is what limits the training of these networks."""

    memory_bytes: int
    bytes_per_second: float


def _kind(gigabytes: int, gigabytes_per_second: int) -> Kind:
    return Kind(gigabytes * 10**9, gigabytes_per_second * 1e9)


# By the words of their names; the smallest of a name that comes in several sizes. source: the makers' data sheets.
KINDS = {
    "B200": _kind(180, 8000),
    "GH200": _kind(96, 4000),
    "H200": _kind(141, 4800),
    "H100": _kind(80, 3350),
    "H100 PCIE": _kind(80, 2000),
    "A100": _kind(40, 1555),
    "A100 80GB": _kind(80, 1935),
    "A40": _kind(48, 696),
    "A10": _kind(24, 600),
    "A10G": _kind(24, 600),
    "L40S": _kind(48, 864),
    "L4": _kind(24, 300),
    "T4": _kind(16, 300),
    "V100": _kind(16, 900),
    "RTX 6000 ADA": _kind(48, 960),
    "RTX 5090": _kind(32, 1792),
    "RTX 4090": _kind(24, 1008),
    "RTX 3090": _kind(24, 936),
}
USUAL = "NVIDIA H200"  # what unnamed GPUs of another machine are taken for


def kind(device: str) -> Kind | None:
    """What is known of a GPU of this name: of the names whose words it all has, the one with the most."""
    words = set(re.split(r"[^A-Z0-9]+", device.upper()))
    fitting = [name for name in KINDS if set(name.split()) <= words]
    return KINDS[max(fitting, key=lambda name: len(name.split()))] if fitting else None


def gpu_bytes(device: str) -> int | None:
    """The memory of a GPU of this name; None where nobody knows."""
    found = kind(device)
    return None if found is None else found.memory_bytes


@dataclass(frozen=True)
class Machines:
    """What a plan takes the cluster for.

    device:       the kind that trials train on. gpus: how many there are; with 0, trials train on processors.
    cpus:         cores in all; None: enough of them.
    gpu_bytes:    memory of the smallest GPU. memory_bytes: of the largest machine. None where nobody knows.
    assumed:      what of this nobody has said, in words; empty where all is known.
    """

    device: str
    gpus: int
    cpus: int | None
    gpu_bytes: int | None
    memory_bytes: int | None
    assumed: str = ""

    @property
    def trial_bytes(self) -> int | None:
        """The most memory that a trial can have."""
        return self.gpu_bytes if self.gpus else self.memory_bytes

    @property
    def unit(self) -> str:
        """What an hour of a device is called."""
        return "GPU-hours" if self.gpus else "trial-hours on processors"

    def __str__(self) -> str:
        if self.gpus:
            return f"{self.gpus} x {self.device}"
        return f"{self.cpus} cores of {self.device}" if self.cpus else self.device


def machines(wanted: Cluster) -> Machines:
    """What the words say of the cluster; what they leave out is taken to be as here, and `assumed` says so."""
    if wanted.gpus is not None:
        return _named(wanted, wanted.gpus)
    here = _here()
    if wanted.address == LOCAL:
        return here
    assumed = "taken to be like this machine; say what it is with cluster.gpus=N cluster.device=NAME"
    return Machines(here.device, here.gpus, here.cpus, here.gpu_bytes, None, assumed)


def _here() -> Machines:
    device, gpus = local_device(), local_gpus()
    return Machines(device, gpus, local_cpus(), gpu_bytes(device) if gpus else None, local_memory_bytes())


def _named(wanted: Cluster, gpus: int) -> Machines:
    if not gpus:
        device = wanted.device or local_device()
        return Machines(device, 0, local_cpus(), None, None, "with the cores of this machine")
    device = wanted.device or (local_device() if local_gpus() else USUAL)
    assumed = "" if wanted.device else f"taken to be {device}; say which with cluster.device=NAME"
    if wanted.device and kind(device) is None:
        assumed = f"nothing is known of a {device}: taken to be as fast as an A100"
    return Machines(device, gpus, None, gpu_bytes(device), None, assumed)
