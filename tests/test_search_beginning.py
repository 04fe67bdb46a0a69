"""A training begins on the data that its settings name, and is scored on no others."""

from dataclasses import replace
from typing import Any

import pytest

import datasets
import zoo
from search import files
from search.failures import DataTrouble
from search.settings import Training, TrialSettings
from search.trials import beginning
from search.trials.feed import Feed
from search.trials.trial import Trial

NETWORK = "samplecnn_m3_n3_s729"


def settings() -> TrialSettings:
    card = datasets.card("demo")
    training = Training(learning_rates=(0.05,), epochs_per_stage=1, batch_size=8, multiply_adds_per_epoch=1e8)
    about = (card.fingerprint, card.default_convention, card.tag_hash)
    return TrialSettings(NETWORK, zoo.entry(NETWORK).options, training, 3, "demo", *about)


@pytest.mark.usefixtures("fresh_home")
def test_data_that_have_changed_since_the_search_began_are_refused() -> None:
    with pytest.raises(DataTrouble, match=r"demo has fingerprint .* here, 0123 where the search was started"):
        Trial(replace(settings(), fingerprint="0123"), "cpu", {})


@pytest.mark.usefixtures("fresh_home")
def test_data_that_are_built_anew_while_a_trial_runs_are_not_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = beginning.open_feed

    def built_anew(*words: Any, **more: Any) -> Feed:
        feed = opened(*words, **more)
        feed.split.card = replace(feed.split.card, fingerprint="4567")
        return feed

    with Trial(settings(), "cpu", {}) as trial:
        monkeypatch.setattr(beginning, "open_feed", built_anew)
        with pytest.raises(
            DataTrouble, match=r"demo has fingerprint 4567 here, .* where the search was started"
        ):
            trial.advance()
    assert not (files.trial_folder(settings().signature()) / files.RESULT).exists()
