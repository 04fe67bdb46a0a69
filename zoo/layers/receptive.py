"""How far a stack of layers sees along time, without torch."""

from collections.abc import Iterable

__all__ = ["frames_seen", "samples_seen"]


def frames_seen(layers: Iterable[tuple[int, int]]) -> int:
    """Input frames that one output frame looks at, zeros at the ends included.

    layers: (kernel, stride) along time of every convolution and pooling, the first first.
    """
    seen, step = 1, 1
    for kernel, stride in layers:
        seen += (kernel - 1) * step
        step *= stride
    return seen


def samples_seen(layers: Iterable[tuple[int, int]], window_samples: int, hop_samples: int) -> int:
    """The same in samples, for layers that read frames.

    window_samples, hop_samples: of the spectrogram, or of the strided convolution, that makes the frames.
    """
    return window_samples + hop_samples * (frames_seen(layers) - 1)
