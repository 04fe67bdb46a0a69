"""python -m search.run: the one command of a search. Typed again, it goes on where it stopped."""

import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from search import ctrl_c, files, spaces, words
from search.checks import check_tracking
from search.errors import ConfigError, SearchError, without_password
from search.failures import EndNow, is_storage_full, storage_full
from search.planning import plan
from search.planning.estimates import Outlook, rough_seconds
from search.planning.hardware import machines
from search.planning.job import Job, command
from search.planning.limits import check
from search.running.meter import Meter, Reached
from search.settings import OBJECTIVES, Settings
from search.study.records import STORAGE

if TYPE_CHECKING:
    from rich.console import Console

    from search.planning.data import Data
    from search.recording.tracking import Tracker
    from search.results.leaderboard import Row
    from search.study.deciding import Decider

DONE, SOME_FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
DELIVERY_SECONDS, INTERRUPTED_SECONDS = 120.0, 5.0  # how long the end of a search waits for MLflow
WIDE = 160  # columns where the output is a file, which folds nothing


def main(typed: Sequence[str]) -> int:
    """Run the words; returns the exit code."""
    from datasets import DatasetError
    from zoo import ZooError

    if any(word in ("-h", "--help", "help") for word in typed):
        print(_help())
        return DONE
    try:
        with ctrl_c.remembered():
            return _run(typed)
    except (SearchError, DatasetError, ZooError) as error:
        print(without_password(str(error)), file=sys.stderr)
        return REFUSED
    except Reached as reached:
        print(f"\n{reached}", file=sys.stderr)
        return INTERRUPTED
    except KeyboardInterrupt:
        with suppress(KeyboardInterrupt):  # whoever types it once more
            print(
                f"\ninterrupted; nothing that was finished is lost. To go on: {command(typed)}{_left_out(typed)}",
                file=sys.stderr,
            )
        return INTERRUPTED
    except Exception as error:
        return _no_room(error)


def _left_out(typed: Sequence[str]) -> str:
    """What a command that was shown lacks."""
    if all(word == without_password(word) for word in typed):
        return ""
    return (
        f" (with the password that is left out here; {STORAGE}=URL keeps the ledger's off the command line)"
    )


def _no_room(error: Exception) -> int:
    """The end of a search whose ledger or files found no room; any other error is a fault of ours, with its trace."""
    if not is_storage_full(error):
        raise error
    print(f"{storage_full(error)}; then the same command goes on", file=sys.stderr)
    return REFUSED


def _help() -> str:
    import datasets

    groups = "budget", "sampler", "pruner"
    known = {f"{group}s": words.group_names(group) for group in groups}
    known |= {"spaces": spaces.names(), "datasets": datasets.names(), "objectives": list(OBJECTIVES)}
    choices = "\n".join(line for group in groups for line in words.choices(group))
    return words.HELP.format(choices=choices, **{name: ", ".join(each) for name, each in known.items()})


def _run(typed: Sequence[str]) -> int:
    from rich.console import Console

    from datasets.home import made_home
    from search.planning import data

    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, markup=False)
    began = time.monotonic()
    words.check_typed(typed)
    settings = words.read_words(typed)
    if settings.cluster.storage:
        os.environ[files.TRIALS] = settings.cluster.storage  # for all that read trials, as WAVEZOO_HOME is
    on = machines(settings.cluster)
    space = spaces.load(settings.space)
    if space.grid is not None and any(word.startswith("trials=") for word in typed):
        raise ConfigError(
            f"trials={settings.trials}: space {space.name} is a grid of {len(space.grid)} points, all of which are "
            f"trained; trials= is for spaces that sample (networks=PATTERN takes fewer of a grid)"
        )
    job = Job.of(settings, space, data.find(settings), typed, on.trial_bytes)
    planned = plan.Plan.of(job, on)
    planned.check()
    if any(word.startswith(("sampler.", "pruner.")) for word in typed):
        _try_classes(settings)
    console.print(plan.show(planned))
    if settings.plan:
        check(settings.limits, planned.outlook, on)
        return DONE
    made_home()
    if job.data.fingerprint is None:
        from datasets.build import build

        build(job.data.name, wait=True)
        job = Job.of(settings, job.space, data.find(settings), typed, on.trial_bytes)
    _check_clips(job.data)
    return _search(job, console, began)


def _check_clips(data: "Data") -> None:
    """raises: NoScore if no tag of a split that is scored has both classes."""
    import datasets
    from search.scoring.metrics import check_scorable

    for split in ("valid", "test"):
        check_scorable(datasets.labels(data.name, split, data.convention), f"{split} clips of {data.name}")


def _try_classes(settings: Settings) -> None:
    """Find out about a sampler or pruner of a person's own choice while nothing has begun; Optuna takes a second."""
    from search.study import ledger, pruning

    ledger.sampler_of(settings)
    pruning.pruner_of(settings)


def _search(job: Job, console: "Console", began: float) -> int:
    """From the ledger to the leaderboard. began: when the command did, by the clock of Meter."""
    from search import environment
    from search.recording import password
    from search.recording.search_run import SearchRun
    from search.recording.store import tracking_uri
    from search.recording.tracking import Tracker
    from search.results import conclusion
    from search.study import ledger
    from search.study.deciding import Decider
    from search.study.driving import only_driver

    if (storage := files.storage()) is not None:
        storage.check()
    if job.settings.tracking is None:
        check_tracking(tracking_uri(None), "MLFLOW_TRACKING_URI")
    password.check(tracking_uri(job.settings.tracking))
    if line := environment.warning():
        console.print(line, soft_wrap=True)
    ctrl_c.check()
    with only_driver(job.study, job.settings.storage) as hold:
        study = ledger.open_study(job, hold.check)
        decider = Decider(study, job)
        if line := ledger.left_elsewhere(study, [each.settings for each in decider.ended()]):
            console.print(line, soft_wrap=True)
        limits = job.settings.limits
        meter = Meter(
            limits, ledger.spent_seconds(study) if limits.gpu_hours is not None else 0.0, began=began
        )
        check(limits, _left(job, decider), machines(job.settings.cluster), meter.device_seconds)
        tracker = Tracker(tracking_uri(job.settings.tracking), SearchRun.of(job))
        complete, patience, board = False, INTERRUPTED_SECONDS, list["Row"]()
        try:
            for settled in decider.settled():  # what an earlier driver could not deliver
                tracker.add(settled)
            tracker.give_up(ledger.given_up(study))
            if not decider.has_all():
                _train(job, decider, tracker, meter, console)
            for settled in decider.settled():  # what another search had trained
                tracker.add(settled)
            complete, patience = True, DELIVERY_SECONDS
            board = conclusion.show(job, decider, console)
        except EndNow:
            patience = 0.0
            raise
        finally:
            _deliver(tracker, complete, patience, console)
        return SOME_FAILED if conclusion.conclude(job, decider, board, tracker, console) else DONE


def _left(job: Job, decider: "Decider") -> Outlook:
    """What the trainings that are left will take."""
    planned = plan.Plan.of(job, machines(job.settings.cluster))
    return (planned if job.space.grid is not None else planned.with_left(decider.missing())).outlook


def _reached(job: Job, decider: "Decider", meter: Meter, reached: Reached) -> Reached:
    """The end of a search that has taken all it may, with what is done and how it goes on."""
    words = meter.next_words(job.words, _left(job, decider).device_seconds)
    return Reached(
        f"{reached}; {len(decider.settled())} of {decider.expected()} trainings have ended and nothing is lost. "
        f"To go on: {replace(job, words=words).command}"
    )


def _train(job: Job, decider: "Decider", tracker: "Tracker", meter: Meter, console: "Console") -> None:
    from search.environment import commit
    from search.running.board import Board
    from search.running.cluster import cluster

    _import_meanwhile("search.running.placing")
    to_do = [work for work in job.grid() if not work.done]
    guess = sum(rough_seconds(work) for work in to_do) if job.space.grid is not None else None
    with cluster(job.settings.cluster, console.print) as room:
        from search.running.placing import run_trials

        ctrl_c.check()
        board = Board(
            console,
            expected=decider.expected(),
            done=decider.expected() - decider.missing(),
            guess_left=guess,
            seconds=lambda assignment: rough_seconds(job.work(assignment.settings)),
            trouble=lambda: tracker.trouble,
            best=decider.best(),
        )
        with board:
            lineage = {"search": job.study, "command": job.command, **commit()}
            try:
                run_trials(job.study, decider, room, [board, tracker], lineage, console.print, meter)
            except Reached as reached:
                raise _reached(job, decider, meter, reached) from reached


def _import_meanwhile(module: str) -> None:
    """Begin to import a module, which takes Tune two seconds; whoever imports it then waits for the rest."""
    threading.Thread(target=import_module, args=(module,), daemon=True).start()


def _deliver(tracker: "Tracker", complete: bool, patience_seconds: float, console: "Console") -> None:
    """Let MLflow catch up, and say so where it can't."""
    from search.results import conclusion

    with console.status("telling MLflow") as status:
        tell = status.update if console.is_terminal else console.print
        undelivered = tracker.close(complete, patience_seconds, tell)
    if undelivered:
        why = tracker.trouble or "it is slow"
        console.print(
            f"{undelivered} runs are not in MLflow yet ({why}); the same command again delivers them"
        )
    for line in conclusion.lacking(list(tracker.lacking.values())):
        console.print(line, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
