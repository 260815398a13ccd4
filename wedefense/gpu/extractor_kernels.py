"""Triton kernels of the convolutional extractor: windows are read where they lie, norm and GELU come on the way out."""

import triton
import triton.language as tl


@triton.jit
def _half_erf(x):
    """Half of erf(x / sqrt(2)), and exp(-x * x / 2); Abramowitz and Stegun 7.1.26, off by 1e-7 at most."""
    root = tl.rsqrt(1.0 + 0.3275911 * 0.7071067811865476 * tl.abs(x))
    t, bell = root * root, tl.exp2(-0.7213475204444817 * x * x)  # a division and exp look out for numbers too small
    tail = t * (0.127414796 + t * (-0.142248368 + t * (0.7107068705 + t * (-0.7265760135 + t * 0.5307027145))))
    half = 0.5 - tail * bell
    return tl.where(x < 0, -half, half), bell


@triton.jit
def gelu(x):
    half, _ = _half_erf(x)
    return x * (0.5 + half)


@triton.jit
def gelu_into(x, kind: tl.constexpr):
    """GELU for values that are kept in `kind`: for bfloat16 x times a logistic curve, in half the instructions.

    The curve's exponent is an odd polynomial up to 4.5 and a line beyond; the result is off by 6e-4 of itself at most
    (by 1e-5 where it is below that), a third of what rounding to bfloat16 may add.
    """
    if kind == tl.bfloat16:
        u = tl.minimum(x * x, 20.25)
        bend = 2.2993567 + u * (0.10798202 + u * (-0.0011406244 + u * (-6.8188442e-06 + u * 4.4991505e-07)))
        root = tl.rsqrt(1.0 + tl.exp2(-x * bend))
        return x * root * root
    return gelu(x)


@triton.jit
def gelu_slope(x, kind: tl.constexpr):
    """For gradients that are kept in `kind`: in bfloat16 an odd polynomial up to 4, off by 5.2e-4 at most."""
    if kind == tl.bfloat16:
        x = tl.minimum(tl.maximum(x, -4.0), 4.0)
        u = x * x
        bend = -0.0072056048 + u * (0.00061610294 + u * (-3.2854343e-05 + u * (9.9250035e-07 + u * -1.2950829e-08)))
        return 0.5 + x * (0.79575904 + u * (-0.25965732 + u * (0.054282572 + u * bend)))
    half, bell = _half_erf(x)
    return 0.5 + half + x * 0.3989422804014327 * bell


@triton.jit
def _window_tile(signal, samples, window, kernel, STRIDE: tl.constexpr, TAPS: tl.constexpr):
    """(windows, TAPS) float32: the samples of each window, then a one for what is added, then zeros."""
    taps = tl.arange(0, TAPS)
    place = window[:, None] * STRIDE + taps[None, :]
    x = tl.load(signal + place, mask=(taps[None, :] < kernel) & (place < samples), other=0.0)
    return tl.where(taps[None, :] == kernel, 1.0, x)


@triton.jit
def _weight_tile(weights, utterance, kernel, channels, channel, TAPS: tl.constexpr):
    """(TAPS, channels) float32 of an utterance; its last row is what is added."""
    taps = tl.arange(0, TAPS)
    place = weights + (utterance * (kernel + 1) + taps[:, None]) * channels + channel[None, :]
    return tl.load(place, mask=(taps[:, None] <= kernel) & (channel[None, :] < channels), other=0.0)


@triton.jit
def _standardised(y, inside, channels, epsilon):
    """Each window over its channels: zero mean, unit variance; and one over the deviation."""
    mean = tl.sum(y, 1) / channels
    centred = tl.where(inside, y - mean[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, 1) / channels + epsilon)
    return centred * scale[:, None], scale


@triton.jit(do_not_specialize=("owner", "per_utterance"))
def first_layer_kernel(signal, owner, weights, gain, shift, out, samples, kernel, channels, epsilon, per_utterance,
                       NORM: tl.constexpr, STRIDE: tl.constexpr, PER_SLOT: tl.constexpr, TAPS: tl.constexpr,
                       WINDOWS: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr):
    """WINDOWS windows of one slot. signal (samples,), weights (utterances or 1, kernel + 1, channels), out (windows,
    channels)."""
    window = tl.program_id(0).to(tl.int64) * WINDOWS + tl.arange(0, WINDOWS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    utterance = tl.load(owner + tl.program_id(0) * WINDOWS // PER_SLOT) * per_utterance
    x = _window_tile(signal, samples, window, kernel, STRIDE, TAPS)
    y = tl.dot(x, _weight_tile(weights, utterance, kernel, channels, channel, TAPS), input_precision=PRECISION)
    inside = channel[None, :] < channels
    if NORM:
        y, _ = _standardised(y, inside, channels, epsilon)
        y = y * tl.load(gain + channel, mask=channel < channels, other=0.0)[None, :]
        y += tl.load(shift + channel, mask=channel < channels, other=0.0)[None, :]
    y = gelu_into(y, out.dtype.element_ty).to(out.dtype.element_ty)
    tl.store(out + window[:, None] * channels + channel[None, :], y, mask=inside)


@triton.jit(do_not_specialize=("slot_starts", "per_utterance", "count"))
def first_layer_gradient_kernel(signal, slot_starts, weights, gain, shift, gradient, dweights, dnorm, samples, kernel,
                                channels, epsilon, per_utterance, count, NORM: tl.constexpr, STRIDE: tl.constexpr,
                                PER_SLOT: tl.constexpr, TAPS: tl.constexpr, WINDOWS: tl.constexpr,
                                CHANNELS: tl.constexpr, SLOTS: tl.constexpr, PRECISION: tl.constexpr):
    """What SLOTS slots of an utterance say of its weights: dweights (utterances, shares, TAPS, channels) and, with a
    norm, dnorm (utterances, shares, 2, channels), gains then shifts. The layer's output is computed again."""
    utterance, share = tl.program_id(0), tl.program_id(1)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channel[None, :] < channels
    start, end = tl.load(slot_starts + utterance) + share * SLOTS, tl.load(slot_starts + utterance + 1)
    end = tl.minimum(start + SLOTS, end)
    w = _weight_tile(weights, utterance * per_utterance, kernel, channels, channel, TAPS)
    gains = tl.zeros((CHANNELS,), tl.float32)
    shifts = tl.zeros((CHANNELS,), tl.float32)
    if NORM:
        gains = tl.load(gain + channel, mask=channel < channels, other=0.0)
        shifts = tl.load(shift + channel, mask=channel < channels, other=0.0)
    dw = tl.zeros((TAPS, CHANNELS), tl.float32)
    dgain = tl.zeros((CHANNELS,), tl.float32)
    dshift = tl.zeros((CHANNELS,), tl.float32)
    for first in range(start * PER_SLOT, end * PER_SLOT, WINDOWS):
        window = first + tl.arange(0, WINDOWS).to(tl.int64)
        x = _window_tile(signal, samples, window, kernel, STRIDE, TAPS)
        y = tl.dot(x, w, input_precision=PRECISION)
        dy = tl.load(gradient + window[:, None] * channels + channel[None, :],
                     mask=inside & (window[:, None] < count), other=0.0).to(tl.float32)
        if NORM:
            y, scale = _standardised(y, inside, channels, epsilon)
            dy = dy * gelu_slope(y * gains[None, :] + shifts[None, :], gradient.dtype.element_ty)
            dgain += tl.sum(dy * y, 0)
            dshift += tl.sum(dy, 0)
            dy = dy * gains[None, :]
            dy = (dy - tl.sum(dy, 1)[:, None] / channels - y * (tl.sum(dy * y, 1) / channels)[:, None]) * scale[:, None]
            dy = tl.where(inside, dy, 0.0)
        else:
            dy = dy * gelu_slope(y, gradient.dtype.element_ty)
        dw += tl.dot(tl.trans(x), dy, input_precision=PRECISION)
    place = (utterance * tl.num_programs(1) + share).to(tl.int64)
    taps = tl.arange(0, TAPS)
    tl.store(dweights + (place * TAPS + taps[:, None]) * channels + channel[None, :], dw, mask=inside)
    if NORM:
        tl.store(dnorm + place * 2 * channels + channel, dgain, mask=channel < channels)
        tl.store(dnorm + (place * 2 + 1) * channels + channel, dshift, mask=channel < channels)


@triton.jit(do_not_specialize=("slot_starts", "counts"))
def window_products_kernel(signal, slot_starts, counts, out, samples, kernel, STRIDE: tl.constexpr,
                           PER_SLOT: tl.constexpr, TAPS: tl.constexpr, WINDOWS: tl.constexpr, SLOTS: tl.constexpr,
                           PRECISION: tl.constexpr):
    """out (utterances, shares, TAPS, TAPS): the sum over SLOTS slots' valid windows of each pair of their values; a
    window ends in a one, so that the pairs with it are the windows' sum and number."""
    utterance, share = tl.program_id(0), tl.program_id(1)
    origin = tl.load(slot_starts + utterance)
    end = tl.minimum(origin + (share + 1) * SLOTS, tl.load(slot_starts + utterance + 1))
    count, taps = tl.load(counts + utterance), tl.arange(0, TAPS)
    total = tl.zeros((TAPS, TAPS), tl.float32)
    for first in range((origin + share * SLOTS) * PER_SLOT, end * PER_SLOT, WINDOWS):
        window = first + tl.arange(0, WINDOWS).to(tl.int64)
        x = _window_tile(signal, samples, window, kernel, STRIDE, TAPS)
        x = tl.where((window - origin * PER_SLOT < count)[:, None], x, 0.0)
        total += tl.dot(tl.trans(x), x, input_precision=PRECISION)
    place = (utterance * tl.num_programs(1) + share) * TAPS + taps
    tl.store(out + place[:, None] * TAPS + taps[None, :], total)


@triton.jit(do_not_specialize=("shares",))
def folded_weights_kernel(sums, weight, gain, shift, out, shares, kernel, channels, epsilon, TAPS: tl.constexpr,
                          CHANNELS: tl.constexpr, SHARES: tl.constexpr):
    """The first layer's weights with the norm over time in them, of one utterance and CHANNELS channels; in float64.

    sums (utterances, shares, TAPS, TAPS) as of `window_products_kernel`; weight (channels, kernel); out (utterances,
    kernel + 1, channels), the last row being what is added.
    """
    utterance, channel = tl.program_id(0), tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    one, other, share = tl.arange(0, TAPS), tl.arange(0, TAPS), tl.arange(0, SHARES)
    products = tl.zeros((TAPS, TAPS), tl.float64)
    for first in range(0, shares, SHARES):
        place = (utterance * shares + first + share[:, None, None]) * TAPS + one[None, :, None]
        found = tl.load(sums + place * TAPS + other[None, None, :], mask=(first + share < shares)[:, None, None],
                        other=0.0)
        products += tl.sum(found.to(tl.float64), 0)
    last = (one == kernel)[:, None] & (other == kernel)[None, :]
    count = tl.sum(tl.sum(tl.where(last, products, 0.0), 1), 0)
    along_one = tl.sum(tl.where((other == kernel)[None, :], products, 0.0), 1) / count    # the windows' mean
    along_other = tl.sum(tl.where((one == kernel)[:, None], products, 0.0), 0) / count
    covariance = products / count - along_one[:, None] * along_other[None, :]
    known = (channel < channels)[:, None] & (other < kernel)[None, :]
    w = tl.load(weight + channel[:, None] * kernel + other[None, :], mask=known, other=0.0).to(tl.float64)
    turned = tl.load(weight + channel[:, None] * kernel + one[None, :], mask=known, other=0.0).to(tl.float64)
    variance = tl.sum(tl.sum(turned[:, :, None] * covariance[None, :, :], 1) * w, 1)
    scale = tl.load(gain + channel, mask=channel < channels, other=0.0).to(tl.float64)
    scale = scale / tl.sqrt(tl.maximum(variance, 0.0) + epsilon)
    added = tl.load(shift + channel, mask=channel < channels, other=0.0).to(tl.float64)
    added -= tl.sum(w * along_other[None, :], 1) * scale
    line = out + (utterance * (kernel + 1)).to(tl.int64) * channels + channel
    tl.store(line[:, None] + other[None, :] * channels, (scale[:, None] * w).to(tl.float32), mask=known)
    tl.store(line + kernel * channels, added.to(tl.float32), mask=channel < channels)
