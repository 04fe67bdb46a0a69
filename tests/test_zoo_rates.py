"""Waves of a data set at one rate, heard by a network of another."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import zoo
from search.trials.feed import Feed, open_feed

ENTRY = replace(zoo.entry("samplecnn_m3_n9_s3"), sample_rate_hz=16000)


def tone(hertz: float, rate_hz: int, samples: int) -> torch.Tensor:
    return torch.sin(2 * np.pi * hertz * torch.arange(samples, dtype=torch.float64) / rate_hz).float()[None]


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 44100, 48000])
def test_a_segment_is_exactly_as_long_as_the_network_wants(rate_hz: int) -> None:
    wave = torch.zeros(2, ENTRY.samples_at(rate_hz))
    assert zoo.Resampler(rate_hz, ENTRY)(wave).shape == (2, 59049)


def test_equal_rates_pass_the_very_samples() -> None:
    wave = torch.rand(2, 59049)
    assert torch.equal(zoo.Resampler(16000, ENTRY)(wave), wave)


@pytest.mark.parametrize("hertz", [100, 1000, 5000, 7000])
def test_a_tone_stays_the_tone_it_was(hertz: int) -> None:
    heard = zoo.Resampler(22050, ENTRY)(tone(hertz, 22050, ENTRY.samples_at(22050)))
    wanted = tone(hertz, 16000, 59049)
    assert (heard - wanted)[:, 500:-500].abs().max() < 1e-3


@pytest.mark.parametrize("hertz", [9000, 10000, 10900])
def test_what_the_lower_rate_cannot_hold_is_gone_and_leaves_no_alias(hertz: int) -> None:
    heard = zoo.Resampler(22050, ENTRY)(tone(hertz, 22050, ENTRY.samples_at(22050)))
    assert 20 * np.log10(heard[:, 500:-500].abs().max().item()) < -80


@pytest.mark.usefixtures("demo")
def test_a_feed_serves_the_same_music_at_the_networks_rate() -> None:
    entry = replace(zoo.entry("samplecnn_m3_n6_s27"), sample_rate_hz=16000)
    feed = open_feed("demo", "train", None, entry)
    assert feed.split.sample_rate_hz == 22050
    assert feed.split.segment_samples == 27126  # 19683 at 16 kHz: 1.23 s either way
    wave, tags = next(iter(feed.batches(4, seed=0, epoch=0)))
    same, same_tags = next(iter(feed.split.batches(4, seed=0, epoch=0)))
    assert wave.shape == (4, 19683)
    assert torch.equal(tags, same_tags)
    power = same.square().mean(dim=1)
    assert torch.allclose(wave.square().mean(dim=1), power, rtol=0.2)
    _, _, clip = next(iter(feed.clips_together(1)))
    assert clip.shape == (feed.split.segments_per_clip, 19683)


@pytest.mark.usefixtures("demo")
def test_a_feed_of_the_same_rate_changes_nothing() -> None:
    entry = zoo.entry("samplecnn_m3_n6_s27")
    feed = open_feed("demo", "train", None, entry)
    assert isinstance(feed, Feed)
    wave, _ = next(iter(feed.batches(4, seed=0, epoch=0)))
    same, _ = next(iter(feed.split.batches(4, seed=0, epoch=0)))
    assert torch.equal(wave, same)
