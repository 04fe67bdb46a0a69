"""Blocks of networks that read a mel spectrogram as a picture: (batch, channels, bands, frames)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from warnings import catch_warnings, filterwarnings

from torch import Tensor, nn
from torch.nn import functional

from zoo.layers import choi2016, won2020
from zoo.layers.frontends import LogMel

__all__ = [
    "ConvBlock2d",
    "FrameNorm",
    "GlobalMax",
    "MelImage",
    "ResidualBlock",
    "choi_mel",
    "he_normal",
    "numbered",
    "won_mel",
]

ACTIVATIONS = {"relu": nn.ReLU, "elu": nn.ELU}


class FrameNorm(nn.Module):
    """Batch norm with a scale and a shift for every frame, over (batch, 1, bands, frames).

    Choi's released weights are of this odd shape: Keras normalised axis 3 of (batch, 1, 96, frames), which is time.
    """

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(frames)

    def forward(self, image: Tensor) -> Tensor:
        """(batch, 1, bands, frames) -> the same, normalised."""
        return self.norm(image.squeeze(1).transpose(1, 2)).transpose(1, 2).unsqueeze(1)


class MelImage(nn.Module):
    """A mel spectrogram as a picture of one channel: (batch, 1, samples) -> (batch, 1, bands, frames).

    norm: what normalises the picture.
    pad:  frames of zeros (left, right) before the norm.
    """

    def __init__(self, mel: LogMel, norm: nn.Module, pad: tuple[int, int] = (0, 0)) -> None:
        super().__init__()
        self.mel, self.norm, self.pad = mel, norm, pad

    def forward(self, wave: Tensor) -> Tensor:
        """(batch, 1, samples) -> (batch, 1, bands, frames)."""
        return self.norm(functional.pad(self.mel(wave).unsqueeze(1), self.pad))


class ConvBlock2d(nn.Module):
    """Convolution that keeps the size, batch norm, activation, and if asked max pooling and dropout.

    kernel:     odd, along both axes.
    pool:       (bands, frames) that become one; (1, 1) pools nothing.
    activation: "relu" or "elu".
    dropout:    share of the pooled values left out in training.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        kernel: int = 3,
        pool: tuple[int, int] = (1, 1),
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(channels_out)
        self.activation = ACTIVATIONS[activation]()
        self.pool = nn.Identity() if pool == (1, 1) else nn.MaxPool2d(pool)
        self.dropout = nn.Dropout(dropout)

    def forward(self, image: Tensor) -> Tensor:
        """(batch, channels_in, bands, frames) -> (batch, channels_out, pooled bands, pooled frames)."""
        return self.dropout(self.pool(self.activation(self.norm(self.conv(image)))))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a way past them; ReLU of their sum, then max pooling if asked.

    stride: (bands, frames) of the first convolution. Where it or the channels change the size, the way past is a
            strided 3x3 convolution with batch norm, as in Won's code, and not the usual 1x1.
    pool:   as in ConvBlock2d.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        stride: tuple[int, int] = (1, 1),
        pool: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1)
        self.norm_1 = nn.BatchNorm2d(channels_out)
        self.activation_1 = nn.ReLU()
        self.conv_2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.norm_2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != (1, 1) or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                OrderedDict(
                    conv=nn.Conv2d(channels_in, channels_out, 3, stride, padding=1),
                    norm=nn.BatchNorm2d(channels_out),
                )
            )
        self.activation = nn.ReLU()
        self.pool = nn.Identity() if pool == (1, 1) else nn.MaxPool2d(pool)

    def forward(self, image: Tensor) -> Tensor:
        """(batch, channels_in, bands, frames) -> (batch, channels_out, fewer bands, fewer frames)."""
        inner = self.norm_2(self.conv_2(self.activation_1(self.norm_1(self.conv_1(image)))))
        return self.pool(self.activation(self.shortcut(image) + inner))


class GlobalMax(nn.Module):
    """The largest value of every channel: (batch, channels, bands, frames) -> (batch, channels)."""

    def forward(self, image: Tensor) -> Tensor:
        """(batch, channels, bands, frames) -> (batch, channels)."""
        return image.amax(dim=(2, 3))


def numbered(blocks: Iterable[nn.Module]) -> nn.Sequential:
    """Blocks one after the other, called "1", "2", ..., as the paper counts its modules."""
    return nn.Sequential(OrderedDict((str(i), block) for i, block in enumerate(blocks, start=1)))


def choi_mel(standardise: str) -> LogMel:
    """The spectrogram of Choi et al.: 96 bands, 1366 frames, decibels of power; see zoo/layers/choi2016.py."""
    return LogMel(
        sample_rate_hz=choi2016.SAMPLE_RATE_HZ,
        fft_samples=choi2016.FFT_SAMPLES,
        window_samples=choi2016.FFT_SAMPLES,
        hop_samples=choi2016.HOP_SAMPLES,
        bands=choi2016.BANDS,
        frames=choi2016.FRAMES,
        power=2.0,
        compression="decibel",
        standardise=standardise,
    )


def won_mel(bands: int) -> MelImage:
    """The front of Won et al. 2020: decibels of power on HTK's mel scale, then one batch norm for all of it."""
    with catch_warnings():
        # The lowest of 128 bands fall between two bins and stay silent: so it was in the authors' networks.
        filterwarnings("ignore", message="At least one mel filterbank has all zero values")
        mel = LogMel(
            sample_rate_hz=won2020.SAMPLE_RATE_HZ,
            fft_samples=won2020.FFT_SAMPLES,
            window_samples=won2020.FFT_SAMPLES,
            hop_samples=won2020.HOP_SAMPLES,
            bands=bands,
            power=2.0,
            mel="htk",
            compression="decibel",
            standardise="none",
        )
    return MelImage(mel, nn.BatchNorm2d(1))


def he_normal(network: nn.Module) -> None:
    """Draw the 2-D convolutions afresh as Keras 1 drew "he_normal": deviation sqrt(2 / fan in), biases zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, (2 / layer.weight[0].numel()) ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
