"""Small instruments in NumPy: what the demo data set is played on.

Everything is a function of its arguments and of the random generator it is handed. Times are samples at
RATE_HZ, waves are float64 (samples,) around full scale 1 before mixing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

RATE_HZ = 22_050
TABLE_SAMPLES = 4096
NYQUIST_GUARD_HZ = 10_500


@dataclass(frozen=True)
class Timbre:
    """How one note sounds.

    partials:      strength of each partial, the first being the note itself.
    inharmonicity: 0 for whole-number partials; a bell's lie further apart.
    attack_ms:     time to full strength.
    decay_ms:      time to fall to a third; None holds the note until the next.
    """

    partials: tuple[float, ...]
    attack_ms: float
    decay_ms: float | None
    inharmonicity: float = 0.0


TIMBRES = {
    "organ": Timbre((1.0, 0.8, 0.1, 0.7, 0.0, 0.3, 0.0, 0.5), 8, None),
    "strings": Timbre(tuple(1 / h for h in range(1, 15)), 140, None),
    "plucked": Timbre(tuple(h**-0.7 for h in range(1, 13)), 2, 110),
    "flute": Timbre((1.0, 0.12, 0.03), 60, None),
    "bell": Timbre((1.0, 0.7, 0.5, 0.35), 1, 330, inharmonicity=0.38),
}
SINE = np.sin(2 * np.pi * np.arange(TABLE_SAMPLES) / TABLE_SAMPLES)


def note_at(n_samples: int, step: int) -> np.ndarray:
    """For every sample the number of the note that sounds, each being `step` samples long."""
    return np.repeat(np.arange(-(-n_samples // step)), step)[:n_samples]


def vibrato(n_samples: int, per_second: float) -> np.ndarray:
    """-1 to 1 at every sample, so many times a second."""
    return np.sin(2 * np.pi * per_second / RATE_HZ * np.arange(n_samples))


def voice(timbre: Timbre, frequency_hz: np.ndarray, step: int) -> np.ndarray:
    """A melody: `frequency_hz` at every sample, a note beginning every `step` samples."""
    phase = np.cumsum(frequency_hz) / RATE_HZ
    # np.resize repeats: all notes are equally long, so one envelope is drawn for all of them.
    strength = np.resize(envelope(timbre, step), len(phase))
    return tone(timbre, phase, float(frequency_hz.max())) * strength


def tone(timbre: Timbre, phase: np.ndarray, highest_hz: float) -> np.ndarray:
    """Sum of the partials that stay below half the rate; phase counts periods."""
    ratios = [h + timbre.inharmonicity * h * (h - 1) for h in range(1, len(timbre.partials) + 1)]
    pairs = [
        (r, a) for r, a in zip(ratios, timbre.partials, strict=True) if r * highest_hz < NYQUIST_GUARD_HZ
    ]
    if timbre.inharmonicity:
        return sum((a * _look_up(SINE, phase * r) for r, a in pairs), np.zeros_like(phase))
    # Whole-number partials repeat together, so one period of their sum is drawn once and read many times.
    steps = np.arange(TABLE_SAMPLES)
    table = sum((a * SINE[(steps * round(r)) % TABLE_SAMPLES] for r, a in pairs), np.zeros(TABLE_SAMPLES))
    return _look_up(table, phase)


def envelope(timbre: Timbre, step: int) -> np.ndarray:
    """Strength of a note of `step` samples: rise, decay if it has one, a short rest at its end."""
    age = np.arange(step)
    strength = np.minimum(1.0, (age + 1) / (timbre.attack_ms * RATE_HZ / 1000))
    if timbre.decay_ms is not None:
        strength = strength * decay(age, timbre.decay_ms)
    rest = step // 5
    strength[step - rest :] *= np.linspace(1, 0, rest) ** 2
    return strength


def decay(age: np.ndarray, decay_ms: float) -> np.ndarray:
    """Exponential decay: 1 at age 0, a third of it after about decay_ms."""
    return np.exp(-age * (1000 / (decay_ms * RATE_HZ)))


def kick(age: np.ndarray) -> np.ndarray:
    """A drum whose pitch drops from 150 to 50 Hz."""
    seconds = age / RATE_HZ
    return np.sin(2 * np.pi * (50 * seconds + 3.0 * (1 - np.exp(-seconds / 0.03)))) * decay(age, 110)


def snare(age: np.ndarray, random: Generator) -> np.ndarray:
    """A burst of noise over a short 190 Hz tone."""
    tone_part = np.sin(2 * np.pi * 190 / RATE_HZ * age) * decay(age, 40)
    return 0.8 * random.standard_normal(len(age)) * decay(age, 60) + 0.5 * tone_part


def hi_hat(age: np.ndarray, random: Generator) -> np.ndarray:
    """A very short burst of high noise (white noise differentiated twice)."""
    noise = random.standard_normal(len(age) + 2)
    return 0.5 * np.diff(noise, n=2) * decay(age, 18)


def crackle(n_samples: int, per_second: float, random: Generator) -> np.ndarray:
    """Clicks of random strength, as of an old record."""
    wave = np.zeros(n_samples)
    places = random.integers(0, n_samples - 4, round(per_second * n_samples / RATE_HZ))
    strengths = random.uniform(1, 2, len(places)) * random.choice((-1, 1), len(places))
    for offset, weight in enumerate((1.0, -0.8, 0.4)):
        wave[places + offset] += weight * strengths
    return wave


def siren(n_samples: int, random: Generator) -> np.ndarray:
    """A tone sweeping up and down between about 900 and 2,400 Hz."""
    period = random.uniform(0.7, 1.3) * RATE_HZ
    sweep = 1650 + 750 * np.sin(2 * np.pi * (np.arange(n_samples) / period + random.random()))
    return _look_up(SINE, np.cumsum(sweep) / RATE_HZ)


def level(wave: np.ndarray, decibels: float) -> np.ndarray:
    """The wave at a root mean square of so many decibels below full scale (negative numbers)."""
    rms = np.sqrt(np.mean(wave**2)) + 1e-12
    return wave * (10 ** (decibels / 20) / rms)


def _look_up(table: np.ndarray, phase: np.ndarray) -> np.ndarray:
    return table[(phase * TABLE_SAMPLES).astype(np.int64) & (TABLE_SAMPLES - 1)]
