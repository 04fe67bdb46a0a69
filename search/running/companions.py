"""The other processes of a trial that takes several GPUs: Ray places each on a GPU of the same machine."""

import os
import socket
from typing import Any

import ray

from search.settings import TrialSettings
from search.trials.team import Team, join, leave

LAST_WORDS_SECONDS = 5.0  # until Ray has noticed that a process is gone


class Companions:
    """They train along with the trial of this process, rank 0, until `close`.

    assigned: what this process was told to train. ranks: how many processes there are, this one among them.
    """

    def __init__(self, assigned: dict[str, Any], ranks: int) -> None:
        self.ranks, self.address = ranks, _free_address()
        kind: Any = ray.remote(num_cpus=assigned["threads"], num_gpus=1)(Companion)
        self._actors: list[Any] = [kind.remote() for _ in range(1, self.ranks)]
        self._ends = [
            actor.follow.remote(assigned, self.address, rank, ranks)
            for rank, actor in enumerate(self._actors, 1)
        ]

    def meet(self, device: str) -> Team:
        """The team, once all of them are there."""
        return join(self.address, 0, self.ranks, device)

    def are_lost(self) -> bool:
        """Whether the process of one of them has ended; what goes wrong in a trial goes wrong in all of them."""
        ended, _ = ray.wait(self._ends, num_returns=len(self._ends), timeout=LAST_WORDS_SECONDS)
        for end in ended:
            try:
                ray.get(end)
            except ray.exceptions.RayTaskError:
                continue
            except ray.exceptions.RayError:
                return True
        return False

    def close(self) -> None:
        """Send them home."""
        leave()
        for actor in self._actors:
            ray.kill(actor)


class Companion:
    """A process of Ray's that trains along and keeps nothing."""

    def follow(self, assigned: dict[str, Any], address: str, rank: int, ranks: int) -> None:
        """Train what rank 0 trains, to its end."""
        os.environ["WAVEZOO_HOME"] = assigned["home"]
        os.environ["WAVEZOO_TRIALS"] = assigned["trials"]
        import torch

        from search.trials import beginning, worker

        worker.prepare(assigned["threads"])
        device = "cuda" if torch.cuda.is_available() else "cpu"
        team = join(address, rank, ranks, device)
        beginning.follow(TrialSettings.from_json(assigned["settings"]), device, team)
        leave()


def _free_address() -> str:
    """A port of this machine that nobody listens at: all of them are on one machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
