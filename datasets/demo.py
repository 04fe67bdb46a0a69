"""demo: 512 music-like clips that the project renders itself from a seed. No file ships, nothing is fetched.

It has the shape of MagnaTagATune (clips, tags of very different frequency, splits) in little: 20 tags that
follow from what is played, 3.63 s a clip, which is one segment of the longest network input (78,125).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.random import Generator

from datasets import synthesis as synth
from datasets.errors import DatasetError
from datasets.recipe import SPLITS, Plan, PlannedClip, Recipe

SEED = 2017
N_CLIPS = 512
CLIP_SAMPLES = 80_000
# 10, 3 and 3 of each 16 clips: 320, 96 and 96.
SPLIT_OF_16 = ("train",) * 10 + ("valid",) * 3 + ("test",) * 3
PENTATONIC = (0, 2, 4, 7, 9)

# Independent draws; the rest of the tags follow from choices of which exactly one holds.
CHANCES = {
    "drums": 0.5,
    "chords": 0.4,
    "bass": 0.35,
    "hi-hat": 0.3,
    "vibrato": 0.2,
    "noise": 0.18,
    "distortion": 0.14,
    "crackle": 0.1,
    "siren": 0.09,
}
# For each choice the tags and their shares; what is left over carries no tag.
CHOICES = {
    "tempo": {"fast": 0.33, "slow": 0.3},
    "loudness": {"loud": 0.28, "quiet": 0.26},
    "register": {"high": 0.27, "low": 0.25},
    "timbre": {"plucked": 0.27, "organ": 0.24, "strings": 0.22, "flute": 0.17, "bell": 0.11},
}
NOTE_SECONDS = {"fast": (0.11, 0.15), "slow": (0.9, 1.3), "": (0.35, 0.5)}
LOWEST_NOTE_HZ = {"high": (950, 1250), "low": (110, 145), "": (300, 400)}
LEVEL_DB = {"loud": (-10, -7), "quiet": (-27, -24), "": (-18, -15)}

TAGS = tuple(CHANCES) + tuple(tag for choice in CHOICES.values() for tag in choice)


def tags_of(number: int) -> list[str]:
    """Tags of clip `number`, drawn from the seed."""
    random = np.random.default_rng((SEED, number, 0))
    chosen = [tag for tag, chance in CHANCES.items() if random.random() < chance]
    for options in CHOICES.values():
        place = int(np.searchsorted(np.cumsum(list(options.values())), random.random(), side="right"))
        chosen += list(options)[place : place + 1]
    return chosen


def render(tags: list[str], random: Generator, n_samples: int = CLIP_SAMPLES) -> np.ndarray:
    """Play a clip to which exactly these tags apply: float32 (n_samples,) at 22,050 Hz, within full scale."""
    step = round(_between(random, NOTE_SECONDS, tags) * synth.RATE_HZ)
    root_hz = _between(random, LOWEST_NOTE_HZ, tags)
    wave = synth.level(_melody(tags, random, n_samples, step, root_hz), -15)
    if "distortion" in tags:
        # A driven amplifier raises its own hiss with the tone.
        wave = synth.level(np.tanh(40 * (wave + 0.03 * random.standard_normal(n_samples))), -13)
    if "bass" in tags:
        wave = wave + synth.level(_bass(random, n_samples, step), -15)
    wave = wave + _percussion(tags, random, n_samples) + _noises(tags, random, n_samples)
    wave = synth.level(wave, _between(random, LEVEL_DB, tags))
    return np.clip(wave, -1.0, 1.0 - 2**-15).astype(np.float32)


def _melody(tags: list[str], random: Generator, n_samples: int, step: int, root_hz: float) -> np.ndarray:
    timbre = next(synth.TIMBRES[tag] for tag in tags if tag in synth.TIMBRES)
    note = synth.note_at(n_samples, step)
    degrees = random.choice(PENTATONIC, note[-1] + 1)
    curve = (root_hz * 2 ** (degrees / 12))[note]
    swing = synth.vibrato(n_samples, random.uniform(6, 8)) if "vibrato" in tags else 0.0
    third = random.choice((3, 4))
    chord = (0, third, 7, 12) if "chords" in tags else (0,)
    played = (synth.voice(timbre, curve * 2 ** ((interval + swing) / 12), step) for interval in chord)
    # A player's vibrato is heard in the strength of the tone as much as in its pitch.
    return sum(played, np.zeros(n_samples)) * (1 + 0.8 * swing)


def _bass(random: Generator, n_samples: int, step: int) -> np.ndarray:
    note = synth.note_at(n_samples, 2 * step)
    notes_hz = random.uniform(41, 49) * 2 ** (random.choice(PENTATONIC, note[-1] + 1) / 12)
    return synth.voice(synth.Timbre((1.0, 0.5, 0.2), 10, None), notes_hz[note], 2 * step)


def _percussion(tags: list[str], random: Generator, n_samples: int) -> np.ndarray:
    """Drums: kick on 1 and 3, snare on 2 and 4. Hi-hat: on every half beat, with or without drums."""
    beat = round(random.uniform(0.38, 0.55) * synth.RATE_HZ)
    wave = np.zeros(n_samples)
    if "drums" in tags:
        age = np.arange(beat)
        bar = np.concatenate([1.1 * synth.kick(age), 0.5 * synth.snare(age, random)])
        wave += np.resize(bar, n_samples)
    if "hi-hat" in tags:
        wave += 0.5 * np.resize(synth.hi_hat(np.arange(beat // 2), random), n_samples)
    return wave


def _noises(tags: list[str], random: Generator, n_samples: int) -> np.ndarray:
    wave = np.zeros(n_samples)
    if "noise" in tags:
        wave += synth.level(random.standard_normal(n_samples), random.uniform(-18, -15))
    if "crackle" in tags:
        wave += 1.5 * synth.crackle(n_samples, random.uniform(30, 50), random)
    if "siren" in tags:
        wave += synth.level(synth.siren(n_samples, random), -14)
    return wave


def _between(random: Generator, ranges: Mapping[str, tuple[float, float]], tags: list[str]) -> float:
    low, high = next((ranges[tag] for tag in tags if tag in ranges), ranges[""])
    return random.uniform(low, high)


def read_clip(source: str, clip: PlannedClip, rate_hz: int, max_seconds: float) -> np.ndarray:
    """Waveform of one clip, the same on every run."""
    number = int(clip.clip_id)
    return render(tags_of(number), np.random.default_rng((SEED, number, 1)))


def plan(source: Path | None, rate_hz: int) -> Plan:
    """The 512 clips; refuses a source, and every rate but its own."""
    if source is not None:
        raise DatasetError(f"source={source}: demo is rendered and reads no files; leave source= out")
    if rate_hz != synth.RATE_HZ:
        raise DatasetError(f"rate={rate_hz}: demo is rendered at {synth.RATE_HZ} Hz; leave rate= out")
    splits = [SPLIT_OF_16[number % 16] for number in range(N_CLIPS)]
    clips = [
        PlannedClip(str(number), f"seed {SEED} clip {number}", 0, {"rendered": split})
        for number, split in enumerate(splits)
    ]
    drawn = [set(tags_of(number)) for number in range(N_CLIPS)]
    labels = np.array([[tag in tags for tag in TAGS] for tags in drawn], np.uint8)
    return Plan(
        name=DATASET.name,
        version=DATASET.version,
        source="",
        sample_rate_hz=rate_hz,
        clip_samples=CLIP_SAMPLES,
        segmented_samples=None,
        tags=TAGS,
        labels=labels,
        clips=tuple(clips),
        conventions=("rendered",),
        read=read_clip,
        listed={"rendered": {split: splits.count(split) for split in SPLITS}},
    )


DATASET = Recipe(
    name="demo",
    version="1",
    rate_hz=synth.RATE_HZ,
    licence="rendered by this project; free of rights",
    citation="none needed: rendered by this project from a seed",
    plan=plan,
    automatic=True,
)
