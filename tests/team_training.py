"""A few steps of a training, taken by one process or by several that share its batches."""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import binary_cross_entropy_with_logits

import zoo
from search.trials.optimizer import make
from search.trials.team import ALONE, Team, join, leave

BATCH, STEPS, TAGS = 7, 3, 5  # a batch that two or three processes can't share evenly


def train(network_name: str, team: Team) -> dict[str, torch.Tensor]:
    """Weights, statistics and losses after the steps."""
    torch.manual_seed(0)
    network = zoo.create(network_name, n_tags=TAGS)
    trained = team.network(network)
    optimizer = make("nesterov", network.parameters())
    torch.manual_seed(1)
    samples = zoo.entry(network_name).input_samples
    waves = torch.randn(STEPS, BATCH, samples) / 5
    tags = (torch.rand(STEPS, BATCH, TAGS) < 0.3).float()
    team.batch, losses = BATCH, []
    for step in range(STEPS):
        torch.manual_seed(100 + step)
        mine = team.rows(1)
        loss = binary_cross_entropy_with_logits(trained(waves[step][mine]), tags[step][mine])
        weighted = loss * team.mean_weight(mine.stop - mine.start)
        weighted.backward()
        optimizer.step(0.01)
        losses.append(team.total(weighted.detach()) / team.ranks)
    return {**network.state_dict(), "losses": torch.stack(losses)}


def main(network_name: str, address: str, rank: str, ranks: str, out: str) -> None:
    """One process of several: leaves what it has at the end in a file."""
    torch.set_num_threads(1)
    team = join(address, int(rank), int(ranks), "cpu") if int(ranks) > 1 else ALONE
    save_file({name: value.contiguous() for name, value in train(network_name, team).items()}, out)
    leave()
    if left := [name for name in threads() if name.startswith(("pt_gloo", "pt_tcpstore"))]:
        sys.exit(f"the group has not been left: {left}")


def threads() -> list[str]:
    """The names of this process's threads, those of libraries among them."""
    return [(each / "comm").read_text().strip() for each in Path("/proc/self/task").iterdir()]


def loaded(path: Path) -> dict[str, torch.Tensor]:
    """What `main` has left."""
    return load_file(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
