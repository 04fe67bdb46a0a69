"""Kills a trial at each thing that it does to the files of its folder, one after another, and has it taken up again.

Prints a line for every kill after which something was lost, changed or left behind, and at last how many there were.
"""

import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from test_search_training import SMALL, settings

from search import files
from search.settings import TrialSettings
from search.trials import trial as trials
from search.trials.trial import Trial

CHANGES = {
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "shutil.rmtree",
}  # audit events of Python's
WRITING = os.O_WRONLY | os.O_RDWR
KILLED = 9


def train(trial: TrialSettings) -> None:
    """To the end; saves itself once inside each epoch."""
    with Trial(trial, "cpu", {}) as taken_up:
        while not taken_up.result:
            taken_up.advance()


def train_until(change: int, trial: TrialSettings) -> None:
    """End this process, as a kill does, just before the so-manyth change to the trial's folder."""
    folder, changes = files.trial_folder(trial.signature()), 0

    def heard(event: str, given: tuple[object, ...]) -> None:
        nonlocal changes
        if event not in CHANGES or not f"{given[0]}/".startswith(f"{folder}/"):
            return
        if event == "open" and not (isinstance(given[2], int) and given[2] & WRITING):
            return
        changes += 1
        if changes == change:
            os._exit(KILLED)

    sys.addaudithook(heard)
    train(trial)


def in_a_process(act: Callable[[], None]) -> int:
    """Do it in a copy of this process; returns its exit code."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        act()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def what_is_there(folder: Path) -> tuple[dict[str, object], list[str]]:
    result = json.loads((folder / files.RESULT).read_text())
    del result["seconds"]
    return result, sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def main() -> None:
    torch.set_num_threads(1)  # a copy of a process has none of its threads
    trials.MOMENT_SECONDS, trials.MOMENT_SHARE = 0.0, 1e-9
    trial = settings(replace(SMALL, epochs_per_stage=1))
    folder = files.trial_folder(trial.signature())
    assert in_a_process(partial(train, trial)) == 0
    wanted = what_is_there(folder)
    kills = 0
    while True:
        shutil.rmtree(folder)
        if in_a_process(partial(train_until, kills + 1, trial)) != KILLED:
            break
        kills += 1
        left = (
            sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
            if folder.exists()
            else []
        )
        code = in_a_process(partial(train, trial))
        if code or what_is_there(folder) != wanted:
            print(f"kill {kills} left {left}; taken up again: exit code {code}")
    print(f"{kills} kills")


if __name__ == "__main__":
    main()
