"""How far a search is: what has ended, what runs, what it has cost, and when it will be done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dashboards.reading import Reading, Trial
from search.outcome import Outcome
from search.planning.plan import duration
from search.study.records import Search

Fact = tuple[str, str]


def facts(reading: Reading, search: Search, trials: Sequence[Trial]) -> list[Fact]:
    """Names and values. trials: of the whole search."""
    live = reading.is_live(search)
    running = [each for each in trials if reading.is_running(each.record)]
    found = [("state", _state(reading, search, running)), *_counts(search, trials, running, live)]
    found.append(("cost so far", _cost(trials)))
    if live and (left := time_left(search, trials, running)):
        found.append(("time left", left))
    return found


def _state(reading: Reading, search: Search, running: Sequence[Trial]) -> str:
    behind = sum(each.outcome is Outcome.RUNNING for each in search.records) - len(running)
    if reading.is_live(search):
        return "running"
    if behind:
        return f"interrupted with {behind} trainings under way; the same command goes on"
    planned = search.about.planned
    if planned is not None and len(search.records) < planned:
        return "interrupted; the same command goes on"
    return "ended"


def _counts(search: Search, trials: Sequence[Trial], running: Sequence[Trial], live: bool) -> list[Fact]:
    ends = Counter(each.record.outcome for each in trials)
    planned = search.about.planned
    of = "" if planned is None else f" of {planned:,} planned"
    found = [("finished", f"{ends[Outcome.DONE]:,}{of}"), ("running", f"{len(running):,}")]
    if planned is not None:
        waiting = planned - len(trials) + ends[Outcome.RUNNING] - len(running)
        found.append(("waiting" if live else "not begun or left off", f"{max(waiting, 0):,}"))
    return [*found, ("stopped early", f"{ends[Outcome.STOPPED]:,}"), ("failed", f"{ends[Outcome.FAILED]:,}")]


def seconds(trial: Trial) -> float:
    """Of devices, that a training has taken in this search; nothing where another search had trained it."""
    return 0.0 if trial.record.elsewhere else trial.seconds * (trial.record.gpus or 1.0)


def _cost(trials: Sequence[Trial]) -> str:
    unit = "of GPUs" if any(trial.record.gpus for trial in trials) else "of training on processors"
    return f"{duration(sum(map(seconds, trials)))} {unit}"


def time_left(search: Search, trials: Sequence[Trial], running: Sequence[Trial]) -> str:
    """By the clock, from what the trainings that ended took for each multiply-add; "" where nobody knows."""
    timed = [
        each for each in trials if each.record.outcome is Outcome.DONE and each.record.work and seconds(each)
    ]
    left = _work_left(search, trials, running)
    if left is None:
        return ""
    if not timed:
        return "not known before a training has ended"
    rate = sum(map(seconds, timed)) / sum(each.record.work or 0.0 for each in timed)
    devices = max(sum((each.record.gpus or 1.0) / each.record.together for each in running), 1.0)
    return (
        f"about {duration(left * rate / devices)}: {left / 1e12:,.3g} T multiply-adds are left, {len(timed)} trainings "
        f"took {rate * 1e12:,.3g} s for each T, {devices:g} at once"
    )


def _work_left(search: Search, trials: Sequence[Trial], running: Sequence[Trial]) -> float | None:
    """Multiply-adds of what has not begun, and of the rest of what runs, which may end earlier than planned."""
    works = [each.record.work for each in trials]
    known = [work for work in works if work is not None]
    planned, whole = search.about.planned, search.about.planned_work
    if planned is None or len(known) < len(works) or not known:
        return None
    if whole is None:
        whole = planned * sum(known) / len(known)
    begun = sum(known)
    return max(whole - begun, 0.0) + sum((each.record.work or 0.0) * (1 - _share(each)) for each in running)


def _share(trial: Trial) -> float:
    """Of its planned epochs, that a training has done."""
    return min(trial.count / trial.record.settings.training.planned_epochs, 1.0)
