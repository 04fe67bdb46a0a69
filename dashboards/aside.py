"""What takes seconds is computed beside the pages, one thing at a time; a page shows it when it is there."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from search.errors import SearchError

MOST_KEPT = 32


class Aside:
    """Answers by their keys; the latest MOST_KEPT are kept. patient: whoever asks waits for the answer."""

    def __init__(self, patient: bool = False) -> None:
        self.patient = patient
        self._known: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock, self._idle = threading.Lock(), threading.Event()
        self._idle.set()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` gives, the SearchError that it raised, or None while nobody knows: then it is begun.

        While something else is being computed it is not begun; the next look asks again.
        """
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        if self.patient:
            self._run(key, make)
            return self._known[key]
        with self._lock:
            if self._idle.is_set():
                self._idle.clear()
                threading.Thread(target=self._run, args=(key, make), name="aside", daemon=True).start()
        return None

    def wait(self, seconds: float) -> None:
        """Until nothing is being computed."""
        self._idle.wait(seconds)

    def _run(self, key: Hashable, make: Callable[[], Any]) -> None:
        try:
            found = make()
        except SearchError as error:
            found = error
        except Exception as error:  # it would be begun again at every look
            found = SearchError(f"this could not be computed: {type(error).__name__}: {error}")
        with self._lock:
            self._known[key] = found
            while len(self._known) > MOST_KEPT:
                self._known.popitem(last=False)
            self._idle.set()
