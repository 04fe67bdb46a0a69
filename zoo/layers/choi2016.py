"""What the networks of Choi et al. share: their mel spectrogram and how they were trained."""

from zoo.facts import HowTrained

__all__ = [
    "BANDS",
    "FFT_SAMPLES",
    "FRAMES",
    "HOP_SAMPLES",
    "INPUT_SAMPLES",
    "RELEASE",
    "SAMPLE_RATE_HZ",
    "TRAINED",
]

SAMPLE_RATE_HZ = 12_000
FFT_SAMPLES, HOP_SAMPLES, BANDS, FRAMES = 512, 256, 96, 1366
# 29.12 s: frames centred on samples 0, 256, ..., 349440 are 1366.
INPUT_SAMPLES = (FRAMES - 1) * HOP_SAMPLES

RELEASE = "https://github.com/keunwoochoi/music-auto_tagging-keras"
TRAINED = HowTrained(
    optimizer="adam",
    learning_rate=0.001,
    batch_size=16,
    note="ADAM on binary cross-entropy, from memory; its learning rate is ADAM's usual one, and the batch is our "
    "choice, so that the largest of them trains in 20 GB",
)
