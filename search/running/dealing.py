"""Which trials make a hand, for one process: the next one, and those that go together with it."""

from collections.abc import Callable
from functools import cache, partial

import zoo
from search.planning.capacity import Room
from search.planning.grouping import can_go_beside, kind, most_together
from search.planning.job import Work
from search.planning.packing import Packer
from search.settings import TrialSettings
from search.study.assignment import Assignment
from search.study.deciding import Decider


class Dealer:
    """Deals what the decider hands out. room: what there is for a trial. packer: which part of a GPU it gets."""

    def __init__(self, decider: Decider, room: Room, packer: Packer) -> None:
        self.decider, self.room, self.packer = decider, room, packer
        self._ahead: Assignment | None = None  # a proposal that did not go with the hand before it
        self._refusal: ValueError | None = None

    def deal(self) -> list[Assignment]:
        """The next hand: several trials of one network, or else of several; empty where nothing is left.

        raises: ValueError where the search can't go on, once what was handed out before has been dealt. What the ledger
                raises.
        """
        if self._refusal is not None:
            raise self._refusal
        first, self._ahead = self._ahead or self.decider.next(), None
        if first is None:
            return []
        hand = [first]
        try:
            self._fill(hand)
        except ValueError as error:
            self._refusal = error
        return hand

    def _fill(self, hand: list[Assignment]) -> None:
        most_like = partial(self._most_like, left=cache(lambda: 1 + self.decider.missing()))
        first = self.decider.job.work(hand[0].settings)
        most = most_like(first)
        while len(hand) < most and (other := self._of_its_network(hand[0])):
            hand.append(other)
        if len(hand) > 1 or self._ahead or not _is_known(first.trial):
            return

        def goes(settings: TrialSettings) -> bool:
            if not _is_known(settings):
                return False
            work = self.decider.job.work(settings)
            return can_go_beside(first, work) and most_like(work) > len(hand)

        while len(hand) < most and (other := self.decider.next_known(goes)):
            hand.append(other)
            most = min(most, most_like(self.decider.job.work(other.settings)))

    def _of_its_network(self, first: Assignment) -> Assignment | None:
        goes = _as_one_with(first.settings)
        if known := self.decider.next_known(goes):
            return known
        other = self.decider.propose_beside(first)
        if other is not None and not goes(other.settings):
            self._ahead, other = other, None
        return other

    def _most_like(self, work: Work, left: Callable[[], int]) -> int:
        """How many trials that are like this one are to go together."""
        return most_together(self.decider.job.settings.cluster.together, work, self.room, self.packer, left)


def _is_known(settings: TrialSettings) -> bool:
    """Whether what it needs follows from a formula; else its network would have to be built to find out."""
    return zoo.entry(settings.network).with_options(**settings.options).costs_are_known


def _as_one_with(one: TrialSettings) -> Callable[[TrialSettings], bool]:
    wanted = kind(one)
    return lambda settings: settings.network == one.network and kind(settings) == wanted
