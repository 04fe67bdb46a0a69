"""Memory of a process that serves: `python -m tests.benchmarks.memory STORE BATCHES` prints it as JSON.

A process of its own for each measurement, so that nothing of another is counted.
"""

import gc
import json
import sys
from pathlib import Path

BATCH = 23


def own_bytes() -> dict[str, int]:
    """Memory that is this process's own (heap, buffers, stacks), and all that it has mapped, the files included."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    sizes = {key: int(rest.split()[0]) * 1024 for key, _, rest in (line.partition(":") for line in lines)}
    return {"own": sizes["Anonymous"], "all": sizes["Rss"]}


def main(folder: Path, batches: int) -> None:
    """Open the store, serve so many batches, and say what that has added."""
    import torch

    from .clips import opened

    torch.set_num_threads(1)
    gc.collect()
    before = own_bytes()
    split = opened(folder)
    epoch = 0
    while batches > 0:
        for _ in split.batches(BATCH, seed=0, epoch=epoch, crops=True):
            batches -= 1
            if not batches:
                break
        epoch += 1
    after = own_bytes()
    answer = {"segments": len(split), "before": before["own"], "own": after["own"], "all": after["all"]}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
