"""The models to hear a song with: those of MLflow's registry, asked in the background, and one given at the start."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo import ZooError
from zoo.trained.locate import Registered, registered

if TYPE_CHECKING:
    from zoo.trained.tagger import Tagger

FRESH_SECONDS = 10.0  # the registry is asked again after so long, while somebody looks
AWAY_SECONDS = 15.0  # after which a registry is not waited for
MOST_LOADED = 2


@dataclass(frozen=True)
class Model:
    """A model to choose. address: as `zoo.load` takes it."""

    address: str
    label: str


class Models:
    """Which models there are, and those that were loaded last. folder: one besides the registry's.

    raises: ZooError if the folder is no checkpoint.
    """

    def __init__(self, folder: str | None = None) -> None:
        if folder:
            from zoo.trained.checkpoint import read_card

            read_card(folder)
        self._own = [Model(folder, f"{folder} (given at the start)")] if folder else []
        self._registered: list[Registered] = []
        self._loaded: OrderedDict[str, Tagger] = OrderedDict()
        self._lock, self._loading, self._idle = threading.Lock(), threading.Lock(), threading.Event()
        self._idle.set()
        self._asked = -FRESH_SECONDS
        self.known, self.trouble = False, ""

    def listed(self) -> list[Model]:
        """Those known by now; `known` says whether the registry has answered yet, `trouble` why it could not."""
        self._ask()
        return [*self._own, *(Model(each.address, _label(each)) for each in self._registered)]

    def wait(self, seconds: float) -> None:
        """Until the registry has answered."""
        self._ask()
        self._idle.wait(seconds)

    def wait_once(self) -> None:
        """Until the registry has answered for the first time, or is not to be waited for."""
        if not self.known:
            self.wait(AWAY_SECONDS)

    def load(self, address: str) -> Tagger:
        """A model by its address, ready to hear. raises: ZooError if it is none of the listed, or damaged."""
        self.wait_once()
        if address not in {model.address for model in self.listed()}:
            raise ZooError(
                f"{address[:200]!r} is none of the models to choose from; look again which there are"
            )
        import zoo

        with self._loading:
            if address not in self._loaded:
                self._loaded[address] = zoo.load(address)
            self._loaded.move_to_end(address)
            while len(self._loaded) > MOST_LOADED:
                self._loaded.popitem(last=False)
            return self._loaded[address]

    def _ask(self) -> None:
        with self._lock:
            if not self._idle.is_set() or time.monotonic() - self._asked < FRESH_SECONDS:
                return
            self._idle.clear()
            self._asked = time.monotonic()
        threading.Thread(target=self._learn, name="registry", daemon=True).start()

    def _learn(self) -> None:
        try:
            # Champions first, as the first is the one that is chosen for whoever chooses none.
            self._registered = sorted(registered(), key=lambda each: "champion" not in each.aliases)
            self.trouble = ""
        except ZooError as error:
            self.trouble = str(error)
        except (
            Exception
        ) as error:  # a store can do what it likes; the page says so and the next look asks again
            self.trouble = f"the registry can't be asked: {type(error).__name__}"
        finally:
            self.known = True
            self._idle.set()


def _label(model: Registered) -> str:
    return ", ".join([model.name, f"version {model.version}", *model.aliases])
