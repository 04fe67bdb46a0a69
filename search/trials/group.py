"""The trials of one process: mostly one; several take their steps together (see replicates.py).

Each keeps all that is its own: folder, epochs, result, and the way it fails.
"""

import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Any

from search import files
from search.failures import HOST_MEMORY, Diverged, memory_kind
from search.trials.replicates import fit_together
from search.trials.training import Epoch
from search.trials.trial import Paused, Trial
from zoo.fast.noise import Chance

APART = "apart.txt"  # in the folders of trials that fell apart: why
Row = dict[str, Any]
Told = tuple[int, Row | Exception]  # which trial, by its place, and its epoch or what made it fail


class _Apart(Exception):
    """What went wrong may be the others' fault."""


class Group:
    """Iterate to train: the epochs of all trials, each as it would be alone, until all of them have ended.

    An epoch that was begun before is ended alone, and what can't go together goes alone after the others. Where
    something goes wrong with all of them at once, as with the memory, they fall apart: each goes on alone from its last
    epoch, one after the other, and only what goes wrong then is a trial's own failure. Why stands in apart.txt.

    make:   each trial, which holds its folder from then on.
    wanted: asked before each epoch of a trial that is one of several, with its place: whether it is to go on.
    raises: Paused, once its trials are halted; all of them have saved where they are.
    """

    def __init__(
        self, make: Sequence[Callable[[], Trial]], wanted: Callable[[int], bool] = lambda place: True
    ) -> None:
        self._make, self._several = make, len(make) > 1
        self._wanted = wanted if self._several else lambda place: True
        self.trials: dict[int, Trial] = {}  # those that are open, by their place
        self.had_ended: set[int] = set()  # those whose result was there already
        self.at_once: list[int] = []  # those that trained the whole epoch of the last row, side by side
        self._asked: dict[int, bool] = {}  # of the round that begins: whether they join it
        self._chances: dict[int, Chance] = {}
        self._dropped: set[int] = set()

    def __iter__(self) -> Iterator[Told]:
        yield from [told for place in range(len(self._make)) if (told := self._opened(place))]
        if self._several:
            for place in [*self.trials]:
                if not _is_between_epochs(self.trials[place]) and self._goes_on(place):
                    yield self._tried(place, self.trials[place].advance)
            if self._was_too_much() or (yield from self._together()):
                self._drop()
        for place in [*self.trials]:
            while self._goes_on(place):
                yield self._tried(place, partial(self._alone, place))

    def close(self) -> None:
        """Let others have the folders. The state of the last epochs stays in them."""
        for place in [*self.trials]:
            self._let_go(place)

    def _opened(self, place: int) -> Told | None:
        """Open a trial. Returns what stands in its way, if anything does."""
        if not self._wanted(place):
            return None
        try:
            trial = self.trials[place] = self._make[place]()
        except Exception as error:
            return place, error
        self._chances[place] = Chance(trial.device)
        if trial.result is not None:
            self.had_ended.add(place)
        return None

    def _together(self) -> Generator[Told, None, bool]:
        """The epochs of those that can go together, until they have ended. Returns whether they fell apart before."""
        places = [place for place, trial in self.trials.items() if _can_go_beside_others(trial)]
        if len(places) < 2:
            return False
        fits = [self.trials[place].fit for place in places]
        for fit in fits:
            fit.stepper.graph = None  # of an epoch that was ended alone
        try:
            ends = fit_together(fits, lambda i: self._joins(places[i]))
            for i, end in self._timed(ends, places):
                if told := self._kept(places[i], end):
                    yield told
        except Paused:
            raise
        except Exception:  # whose it was is not known; it comes again if it was a trial's own
            self._note_why()
            return True
        return False

    def _timed(
        self, ends: Iterator[tuple[int, Epoch | Diverged]], places: Sequence[int]
    ) -> Iterator[tuple[int, Epoch | Diverged]]:
        """The same, but a round that lasts longer than an epoch of each of them may ends this process."""
        while True:
            with self._in_time(places):
                end = next(ends, None)
            asked, self._asked = self._asked, {}
            self.at_once = [place for place, joins in asked.items() if joins] or self.at_once
            for place in [place for place, joins in asked.items() if not joins]:
                self._let_go(place)
            if end is None:
                return
            yield end

    def _in_time(self, places: Sequence[int]) -> AbstractContextManager[None]:
        trials = [self.trials[place] for place in places if place in self.trials]
        others = sum(trial.patience_seconds for trial in trials[1:])
        return trials[0].in_time(others) if trials else nullcontext()

    def _kept(self, place: int, end: Epoch | Diverged) -> Told | None:
        """What comes of an epoch that was trained beside others; None if it is left to be ended later."""

        def keep() -> Row:
            if isinstance(end, Diverged):
                raise end
            try:
                with self.trials[place].in_time():
                    return self.trials[place].keep(end)
            except Exception as error:
                if memory_kind(error):
                    raise _Apart from error
                raise

        with suppress(Paused):  # before all of them are left, the epochs of the others are kept, too
            return self._tried(place, keep)
        return None

    def _alone(self, place: int) -> Row:
        if place in self._dropped:
            self.trials[place].prepare()
            self._dropped.remove(place)
        trial = self.trials[place]
        self.at_once = [place] if _is_between_epochs(trial) else []
        return trial.advance()

    def _tried(self, place: int, act: Callable[[], Row]) -> Told:
        """What comes of it, with the trial's own random numbers. One that has ended is let go of."""
        try:
            with self._chances[place].own():
                row = act()
        except (Paused, _Apart):
            raise
        except Exception as error:
            if self._several:  # a single one is let go of by whoever looks at its error
                self._let_go(place)
            return place, error
        if row["last"]:
            self._let_go(place)
        return place, row

    def _joins(self, place: int) -> bool:
        """Whether a trial takes part in the round that begins. raises: Paused once it is halted.

        One that does not is let go of behind the round: closing it would end the watch over the others' epochs.
        """
        if place in self.trials:
            self._asked[place] = self._is_wanted(place)
        return self._asked.get(place, False)

    def _goes_on(self, place: int) -> bool:
        """Whether another epoch of a trial is to be trained. raises: Paused once it is halted."""
        if place in self.trials and not self._is_wanted(place):
            self._let_go(place)
        return place in self.trials

    def _is_wanted(self, place: int) -> bool:
        self.trials[place].leave_if_halted()
        return self._wanted(place)

    def _let_go(self, place: int) -> None:
        self.trials.pop(place).close()

    def _was_too_much(self) -> bool:
        """Whether the last process of one of them was ended for want of memory."""
        attempts = [trial.attempt for trial in self.trials.values()]
        return any(attempt is not None and attempt.earlier is HOST_MEMORY for attempt in attempts)

    def _note_why(self) -> None:
        """In the folders of those that fall apart by what is being handled."""
        for trial in self.trials.values():
            with suppress(OSError):
                files.write_text(trial.folder / APART, traceback.format_exc())

    def _drop(self) -> None:
        """Have the memory for one after the other."""
        for place, trial in self.trials.items():
            trial.drop()
            self._dropped.add(place)


def _is_between_epochs(trial: Trial) -> bool:
    """Whether its next epoch is still to begin: it has no result, lacks more than that, and has begun no epoch."""
    return trial.result is None and not trial.fit.progress.finished and not trial.fit.in_epoch


def _can_go_beside_others(trial: Trial) -> bool:
    """One whose batches are cut in parts can't."""
    return _is_between_epochs(trial) and trial.fit.micro_batch_size == trial.fit.training.batch_size
