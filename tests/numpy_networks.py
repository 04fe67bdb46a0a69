"""The pieces of the networks once more in plain NumPy, written to be read: loops, float64, no torch.

Frames are (channels, time), one example at a time. Weights come as {name: array}, named as in a checkpoint.
"""

import numpy as np


def part(weights, prefix):
    """The weights under a prefix, such as those of `body.1`."""
    return {
        name[len(prefix) + 1 :]: value for name, value in weights.items() if name.startswith(f"{prefix}.")
    }


def relu(values):
    return np.maximum(values, 0)


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def conv(frames, weight, bias, stride=1, zeros=(0, 0)):
    """Slide `weight` (out, in, kernel) over the frames; `zeros` (left, right) are put around them first."""
    frames = np.pad(frames, ((0, 0), zeros))
    kernel = weight.shape[2]
    starts = range(0, frames.shape[1] - kernel + 1, stride)
    out = np.empty((len(weight), len(starts)))
    for t, start in enumerate(starts):
        piece = frames[:, start : start + kernel]
        for channel in range(len(weight)):
            out[channel, t] = np.sum(weight[channel] * piece) + bias[channel]
    return out


def norm(values, weights, epsilon):
    """Batch norm in evaluation, over the first axis of (channels, ...)."""
    shape = (-1,) + (1,) * (values.ndim - 1)
    mean, variance, scale, shift = (
        weights[name].reshape(shape) for name in ("running_mean", "running_var", "weight", "bias")
    )
    return (values - mean) / np.sqrt(variance + epsilon) * scale + shift


def max_pool(frames, length, keep_end=False):
    """Maxima of pieces of `length` frames; a shorter one at the end is left out unless `keep_end`."""
    ends = range(length, frames.shape[1] + 1, length)
    pieces = [frames[:, end - length : end] for end in ends]
    rest = frames[:, len(pieces) * length :]
    if keep_end and rest.shape[1]:
        pieces.append(rest)
    return np.stack([piece.max(axis=1) for piece in pieces], axis=1)


def dense(values, weights):
    return weights["weight"] @ values + weights["bias"]


def conv_block(frames, weights, pool=1, epsilon=1e-5, stride=1, zeros=(0, 0)):
    """Convolution, batch norm, ReLU, max pooling."""
    filtered = conv(frames, weights["conv.weight"], weights["conv.bias"], stride, zeros)
    out = relu(norm(filtered, part(weights, "norm"), epsilon))
    return max_pool(out, pool) if pool > 1 else out


def excitation(frames, weights):
    """Squeeze-and-excitation."""
    inner = relu(dense(frames.mean(axis=1), part(weights, "expand")))
    return frames * sigmoid(dense(inner, part(weights, "reduce")))[:, None]


def residual_block(frames, weights, epsilon):
    """Two convolutions with squeeze-and-excitation beside a shortcut (ReSE-2)."""
    inner = conv(frames, weights["residual.conv1.weight"], weights["residual.conv1.bias"], zeros=(1, 1))
    inner = relu(norm(inner, part(weights, "residual.norm1"), epsilon))
    inner = conv(inner, weights["residual.conv2.weight"], weights["residual.conv2.bias"], zeros=(1, 1))
    inner = excitation(
        norm(inner, part(weights, "residual.norm2"), epsilon), part(weights, "residual.excitation")
    )
    shortcut = frames
    if "shortcut.conv.weight" in weights:
        shortcut = conv(frames, weights["shortcut.conv.weight"], weights["shortcut.conv.bias"])
        shortcut = norm(shortcut, part(weights, "shortcut.norm"), epsilon)
    return max_pool(relu(inner + shortcut), 3)


def persistence_pairs(sequence):
    """(birth, death) of every element, by letting the water sink: the elements appear from the highest down.

    A new element joins the pieces at its sides; of two pieces that meet the one with the lower peak (of equal ones
    the later) ends there. The highest peak's piece ends at the minimum.
    """
    order = sorted(range(len(sequence)), key=lambda i: (-sequence[i], i))
    place = {element: i for i, element in enumerate(order)}
    peak = {}  # of each element that has appeared: the peak of its piece
    pairs = [(sequence[order[0]], sequence[order[-1]])]
    for element in order:
        peak[element] = element
        for neighbour in (element - 1, element + 1):
            if neighbour in peak:
                higher, lower = sorted((peak[element], peak[neighbour]), key=place.get)
                pairs.append((sequence[lower], sequence[element]))
                peak = {i: higher if p == lower else p for i, p in peak.items()}
    return sorted(pairs)


def landscape(sequence, functions, levels):
    """(functions, levels): the largest, second largest, ... of the tents at each level."""
    out = np.zeros((functions, len(levels)))
    for column, level in enumerate(levels):
        tents = [max(0, min(birth - level, level - death)) for birth, death in persistence_pairs(sequence)]
        tents = sorted(tents, reverse=True)[:functions]
        out[: len(tents), column] = tents
    return out


def landscapes(frames, patch, functions, levels):
    """(channels * functions * levels, patches), of the whole patches of each channel."""
    patches = []
    for start in range(0, frames.shape[1] - patch + 1, patch):
        piece = frames[:, start : start + patch]
        patches.append(np.concatenate([landscape(row, functions, levels).ravel() for row in piece.tolist()]))
    return np.stack(patches, axis=1)


def samplecnn(wave, weights, m, stride):
    """A network of Table 2 with an odd m: logits of one segment."""
    frames = conv_block(wave[None], part(weights, "front"), stride=stride)
    i = 1
    while block := part(weights, f"body.{i}"):
        frames = conv_block(frames, block, pool=m, zeros=(m // 2, m // 2))
        i += 1
    frames = conv_block(frames, part(weights, "top"))
    return dense(frames.ravel(), part(weights, "head"))


def dieleman_raw(wave, weights):
    """The raw network of Dieleman and Schrauwen: logits of one segment."""
    kernel = weights["front.conv.weight"].shape[2]
    frames = relu(conv(wave[None], weights["front.conv.weight"], weights["front.conv.bias"], stride=kernel))
    for i in (1, 2):
        block = part(weights, f"body.{i}.conv")
        frames = max_pool(relu(conv(frames, block["weight"], block["bias"])), 4)
    hidden = relu(dense(frames.ravel(), part(weights, "embedding.linear")))
    return dense(hidden, part(weights, "head"))
