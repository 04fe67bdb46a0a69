"""Pages over a storage that machines without a common disk share: away or full, it costs them a line and no time."""

import errno
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from machines import KEY
from made_searches import Made, a_search, settings, trained
from optuna.trial import TrialState
from page_blocks import words

from dashboards import paper, ranking, searching
from dashboards import reading as read
from dashboards.blocks import Page
from dashboards.reading import Reading
from search import files, storage
from search.storage import Storage

ONE, OTHER, THIRD = "samplecnn_m3_n4_s729", "samplecnn_m3_n5_s243", "samplecnn_m3_n3_s729"


@pytest.fixture
def shared(bare_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A storage that has answered, and a search: one training ended here, one elsewhere, two are under way."""
    monkeypatch.setenv(files.TRIALS, str(tmp_path / "shared"))
    files.bring(KEY)
    under_way = [Made(settings(ONE, seed), TrialState.RUNNING) for seed in (1, 2)]
    a_search(bare_home, "s", [trained(THIRD), settings(OTHER), *under_way])
    return bare_home


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize(
    ("page", "still"), [(paper.page, "other clips"), (searching.page, THIRD), (ranking.page, THIRD)]
)
def test_a_storage_that_is_away_is_asked_once_and_not_waited_for(
    page: Callable[[Reading, Mapping[str, str]], Page], still: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, waited = list[str](), list[float]()

    def silent(self: Storage, path: str) -> bytes:
        asked.append(path)
        raise OSError("it is silent")

    reading = Reading()
    with monkeypatch.context() as away:
        away.setattr(storage, "PATIENCE_SECONDS", 0.1)
        away.setattr(storage.time, "sleep", waited.append)
        away.setattr(Storage, "_read", silent)
        shown = [words(page(reading, {})) for _ in range(2)]
    assert (len(asked), waited) == (1, [])
    for text in shown:
        assert text.count("can't use cluster.storage=") == 1
        assert "is gone" not in text, "it may be in the storage"
        assert still in text
    monkeypatch.setattr(read, "AWAY_SECONDS", 0.0)  # later
    assert "can't use" not in words(page(reading, {}))


def test_what_can_not_be_kept_is_told_of_its_trial(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "epochs.json")

    monkeypatch.setattr(files, "bring", full)
    reading = Reading()
    (search,) = reading.searches()
    for _ in range(2):
        troubles = [reading.trial(each).trouble for each in search.records]
        assert troubles == ["", *["epochs.json: No space left on device"] * 3]
