"""What steps of several trainings take beside the networks themselves, in Triton: a launch for all of them."""

import triton
import triton.language as tl

__all__ = ["entropies", "nesterov"]


@triton.jit(do_not_specialize=["count"])
def entropies(logits, tags, losses, slopes, count, TURNS: tl.constexpr, NUMBERS: tl.constexpr):
    """The mean binary cross entropy of each training, and its slope at every logit.

    logits, tags, slopes: (programs, count). losses: (programs,).
    """
    lane = tl.program_id(0)
    total = tl.zeros([NUMBERS], tl.float32)
    for turn in range(TURNS):
        number = turn * NUMBERS + tl.arange(0, NUMBERS)
        there = number < count
        at = lane * count + number
        logit = tl.load(logits + at, mask=there, other=0.0).to(tl.float32)
        tag = tl.load(tags + at, mask=there, other=0.0)
        small = tl.exp(-tl.abs(logit))  # of the two exponentials the one that can't overflow
        loss = tl.where(logit < 0.0, 0.0, logit) - logit * tag + tl.log(1.0 + small)
        total += tl.where(there, loss, 0.0)
        likely = tl.where(logit < 0.0, small, 1.0) / (1.0 + small)
        tl.store(slopes + at, ((likely - tag) / count).to(slopes.dtype.element_ty), mask=there)
    tl.store(losses + lane, tl.sum(total, 0) / count)


@triton.jit(do_not_specialize=["numbers"])
def nesterov(weights, gradient, velocity, lane_of, rates, momenta, decays, numbers, NUMBERS: tl.constexpr):
    """Move weights and velocity, (numbers,), as torch.optim.SGD does.

    lane_of: whose network a number is. rates, momenta, decays: (lanes,), of each network.
    """
    at = tl.program_id(0) * NUMBERS + tl.arange(0, NUMBERS)
    there = at < numbers
    lane = tl.load(lane_of + at, mask=there, other=0).to(tl.int32)
    rate = tl.load(rates + lane)
    momentum = tl.load(momenta + lane)
    weight = tl.load(weights + at, mask=there, other=0.0)
    slope = tl.load(gradient + at, mask=there, other=0.0) + tl.load(decays + lane) * weight
    speed = momentum * tl.load(velocity + at, mask=there, other=0.0) + slope
    tl.store(velocity + at, speed, mask=there)
    tl.store(weights + at, weight - rate * (slope + momentum * speed), mask=there)
