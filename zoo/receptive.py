"""How far a stack of layers sees along time, without torch."""

from collections.abc import Iterable, Mapping

from zoo.facts import Value

__all__ = ["frames_seen", "samples_seen", "scaled"]


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
    """The same in samples, for layers that read a spectrogram.

    window_samples, hop_samples: of the spectrogram.
    """
    return window_samples + hop_samples * (frames_seen(layers) - 1)


def scaled(width: int, options: Mapping[str, Value]) -> int:
    """A number of feature maps times the option `width`, at least one."""
    return max(1, round(width * float(options["width"])))
