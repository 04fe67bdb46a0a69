"""A transformer over frames, as BERT has it: what sums up the frames of the self-attention network."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["AttentionTop", "Pooler", "SelfAttention", "TransformerLayer", "class_token"]

EPSILON = 1e-12  # BERT's, in every layer norm


def class_token(width: int) -> Tensor:
    """The vector that stands before the frames: (width,) numbers from [0, 1), the same in every network.

    Won's code draws it once with NumPy's generator of 1997 and seed 0 and never learns it; so is it here.
    """
    return torch.from_numpy(np.random.RandomState(0).random_sample(width)).float()


class SelfAttention(nn.Module):
    """Scaled dot products between all tokens in several heads: (batch, tokens, width) -> the same shape.

    weights: the layer whose output `features` shows as (batch, heads, tokens, tokens): who looks at whom.
    dropout: share of the weights left out in training.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.weights = nn.Softmax(dim=-1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, tokens, width) -> (batch, tokens, width)."""
        query, key, value = (
            layer(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        weights = self.weights(query @ key.transpose(2, 3) / query.shape[3] ** 0.5)
        return (self.dropout(weights) @ value).transpose(1, 2).flatten(2)


class TransformerLayer(nn.Module):
    """Self-attention, then two dense layers, each with dropout, a way past it, and layer norm behind the sum.

    hidden:            width between the two dense layers.
    dropout:           share of both outputs left out in training.
    attention_dropout: the same of the attention's weights.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads, attention_dropout)
        self.output = nn.Linear(width, width)
        self.norm_1 = nn.LayerNorm(width, EPSILON)
        self.dense_1 = nn.Linear(width, hidden)
        self.activation = nn.GELU()
        self.dense_2 = nn.Linear(hidden, width)
        self.norm_2 = nn.LayerNorm(width, EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, tokens, width) -> (batch, tokens, width)."""
        tokens = self.norm_1(tokens + self.dropout(self.output(self.attention(tokens))))
        inner = self.dense_2(self.activation(self.dense_1(tokens)))
        return self.norm_2(tokens + self.dropout(inner))


class AttentionTop(nn.Module):
    """A class token before the frames, then transformer layers.

    (batch, width, 1, frames) -> (batch, 1 + frames, width).

    The token is kept in checkpoints and not learned. Frames have no place: their order is not told to the layers.
    """

    token: Tensor

    def __init__(
        self, width: int, layers: int, heads: int, hidden: int, dropout: float, attention_dropout: float
    ) -> None:
        super().__init__()
        self.register_buffer("token", class_token(width).to(torch.get_default_device()))
        self.layers = nn.Sequential(
            OrderedDict(
                (str(i), TransformerLayer(width, heads, hidden, dropout, attention_dropout))
                for i in range(1, layers + 1)
            )
        )

    def forward(self, image: Tensor) -> Tensor:
        """(batch, width, 1, frames) -> (batch, 1 + frames, width)."""
        frames = image.flatten(1, 2).transpose(1, 2)
        token = self.token.to(frames.dtype).expand(frames.shape[0], 1, -1)
        return self.layers(torch.cat([token, frames], dim=1))


class Pooler(nn.Module):
    """A dense layer and tanh on what has become of the class token: (batch, tokens, width) -> (batch, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.activation = nn.Tanh()

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, tokens, width) -> (batch, width)."""
        return self.activation(self.dense(tokens[:, 0]))
