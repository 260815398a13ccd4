"""Triton kernels of attention over packed utterances: no padding, no matrix of scores in memory.

Rows are the frames of all utterances one after the other; `starts` (batch + 1) says where each begins. The score of
query q and key k is `q . k * scale + gate[q, head] * table[head, k - q + middle]`. Softmax runs in powers of two.
Dropout draws from (seed, head, query, key), so that every kernel sees the same mask.
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def _kept(seed, head, query_rows, keys, dropout, heads, frames):
    """(queries, keys) bool: what dropout leaves; `frames` of the longest utterance keep the places apart."""
    return tl.rand(seed, (query_rows[:, None] * heads + head) * frames + keys[None, :], 7) >= dropout  # in 7 rounds


@triton.jit
def _biases(line, first, begin, count, QUERIES: tl.constexpr, KEYS: tl.constexpr):
    """(QUERIES, KEYS) float32, of queries from `first` and keys from `begin` on: a head's value at each distance
    key - query; past the end those of the last frame. `line`: where that of distance 0 lies.

    A tile has few distances: each is read once and handed to its pairs, where they lie after the product of queries
    and keys. A tile that is read as a whole would lie otherwise, and be laid out anew for each sum that it enters.
    """
    SPAN: tl.constexpr = 2 * QUERIES if QUERIES > KEYS else 2 * KEYS
    distance = tl.minimum(begin - first - (QUERIES - 1) + tl.arange(0, SPAN), count - 1)
    values = tl.load(line + tl.maximum(distance, 1 - count))
    place = tl.arange(0, KEYS)[None, :] - tl.arange(0, QUERIES)[:, None] + (QUERIES - 1)
    return tl.reshape(tl.gather(values, tl.reshape(place, [QUERIES * KEYS]), 0), [QUERIES, KEYS])


@triton.jit
def _real(pointers, dims, DIM: tl.constexpr, LANES: tl.constexpr):
    """What is there of heads that are DIM wide, in LANES lanes, a power of two; zeros in the others."""
    if DIM == LANES:
        return tl.load(pointers)
    return tl.load(pointers, mask=(dims < DIM)[None, :], other=0.0)


@triton.jit
def _attend_to(q, gates, base, line, first, begin, count, start, seeded, head, largest, total, mixed, scale, dropout,
               frames, HEADS: tl.constexpr, DIM: tl.constexpr, LANES: tl.constexpr, BIASED: tl.constexpr,
               DROPS: tl.constexpr, PRECISION: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
               WHOLE: tl.constexpr):
    """The running softmax of QUERIES queries from `first` on after KEYS more keys, all of them present where WHOLE.

    Scores, and the largest of them, wait to be scaled until the exponent, where it comes with the subtraction.
    """
    lanes, dims = tl.arange(0, KEYS), tl.arange(0, LANES)
    keys = begin + lanes
    safe = lanes if WHOLE else tl.minimum(lanes, count - 1 - begin)
    rows = base + begin * (3 * HEADS * DIM) + safe[:, None] * (3 * HEADS * DIM) + dims[None, :]
    k = _real(rows + HEADS * DIM, dims, DIM, LANES)
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION)
    if BIASED:
        scores = tl.fma(_biases(line, first, begin, count, QUERIES, KEYS), gates[:, None], scores)
    if not WHOLE:
        scores = tl.where((keys < count)[None, :], scores, float("-inf"))
    higher = tl.maximum(largest, tl.max(scores, 1))
    weights = tl.exp2(scores * scale - (higher * scale)[:, None])
    shrink = tl.exp2((largest - higher) * scale)
    total = total * shrink + tl.sum(weights, 1)
    if DROPS:
        kept = _kept(seeded, head, start + first + tl.arange(0, QUERIES), keys, dropout, HEADS, frames)
        weights = tl.where(kept, weights, 0.0)
    v = _real(rows + 2 * HEADS * DIM, dims, DIM, LANES)
    mixed = mixed * shrink[:, None] + tl.dot(weights.to(v.dtype), v, input_precision=PRECISION)
    return higher, total, mixed


@triton.jit(do_not_specialize=("rows", "width", "middle"))
def forward_kernel(qkv, gate, table, starts, seed, out, logsumexp, scale, dropout, rows, width, middle,
                   HEADS: tl.constexpr, DIM: tl.constexpr, LANES: tl.constexpr, BIASED: tl.constexpr,
                   DROPS: tl.constexpr, PRECISION: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr):
    """A program: QUERIES queries of one head of one utterance. qkv (rows, 3, HEADS, DIM), out (rows, HEADS, DIM)."""
    utterance, head = tl.program_id(1), tl.program_id(2)
    start = tl.load(starts + utterance)
    count = tl.load(starts + utterance + 1) - start
    first = tl.program_id(0) * QUERIES
    if first >= count:
        return
    queries, dims = first + tl.arange(0, QUERIES), tl.arange(0, LANES)
    base = qkv + start.to(tl.int64) * (3 * HEADS * DIM) + head * DIM
    known = tl.minimum(queries, count - 1)
    q = _real(base + known[:, None] * (3 * HEADS * DIM) + dims[None, :], dims, DIM, LANES)
    gates = tl.zeros((QUERIES,), tl.float32)
    if BIASED:
        gates = tl.load(gate + (start + known) * HEADS + head).to(tl.float32) / scale
    seeded = tl.load(seed) if DROPS else 0
    largest = tl.full((QUERIES,), float("-inf"), tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    mixed = tl.zeros((QUERIES, LANES), tl.float32)
    line, power = table + head * width + middle, scale * LOG2_E
    whole = count // KEYS * KEYS
    for begin in range(0, whole, KEYS):
        largest, total, mixed = _attend_to(q, gates, base, line, first, begin, count, start, seeded, head, largest,
                                           total, mixed, power, dropout, middle + 1, HEADS, DIM, LANES, BIASED, DROPS,
                                           PRECISION, QUERIES, KEYS, True)
    if whole < count:
        largest, total, mixed = _attend_to(q, gates, base, line, first, whole, count, start, seeded, head, largest,
                                           total, mixed, power, dropout, middle + 1, HEADS, DIM, LANES, BIASED, DROPS,
                                           PRECISION, QUERIES, KEYS, False)
    mixed *= (1 / (total * (1 - dropout)))[:, None]
    place, present = (start + queries).to(tl.int64), queries < count
    tl.store(out + place[:, None] * (HEADS * DIM) + head * DIM + dims[None, :], mixed.to(out.dtype.element_ty),
             mask=present[:, None] & (dims < DIM)[None, :])
    tl.store(logsumexp + head * rows + place, largest * power + tl.log2(total), mask=present)


@triton.jit
def _score_gradients(q, k, v, dout, gates, biases, sums, deltas, kept, scale, dropout, BIASED: tl.constexpr,
                     DROPS: tl.constexpr, PRECISION: tl.constexpr):
    """Weights after dropout, and the gradients of the scores: both (queries, keys) float32.

    What is past the end was read as zeros: such queries add nothing to any gradient, such keys any number to their own.
    """
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * (scale * LOG2_E) - sums[:, None]
    if BIASED:
        scores = tl.fma(biases, (gates * LOG2_E)[:, None], scores)
    weights = tl.exp2(scores)
    dweights = tl.dot(dout, tl.trans(v), input_precision=PRECISION)
    used = weights
    if DROPS:
        larger = 1 / (1 - dropout)
        dweights = tl.where(kept, dweights * larger, 0.0)
        used = tl.where(kept, weights * larger, 0.0)
    return used, weights * (dweights - deltas[:, None])


@triton.jit(do_not_specialize=("rows", "width", "middle"))
def query_gradient_kernel(qkv, gate, table, starts, seed, gradient, logsumexp, delta, out, dqkv, dgate, partial, scale,
                          dropout, rows, width, middle, HEADS: tl.constexpr, DIM: tl.constexpr, LANES: tl.constexpr,
                          BIASED: tl.constexpr, DROPS: tl.constexpr, SUMS: tl.constexpr, PRECISION: tl.constexpr,
                          QUERIES: tl.constexpr, KEYS: tl.constexpr):
    """Gradients of QUERIES queries and of their gates; where SUMS, partial (utterances, parts, 3, HEADS, DIM) gets
    their sum. delta (HEADS, rows), for the other kernels: the sum over a head's dimensions of out * gradient, which
    softmax's gradient takes off."""
    utterance, head = tl.program_id(1), tl.program_id(2)
    start = tl.load(starts + utterance)
    count = tl.load(starts + utterance + 1) - start
    first = tl.program_id(0) * QUERIES
    dims = tl.arange(0, LANES)
    sums_place = partial + (utterance * tl.num_programs(0) + tl.program_id(0)) * (3 * HEADS * DIM) + head * DIM + dims
    if first >= count:
        if SUMS:
            tl.store(sums_place, tl.zeros((LANES,), tl.float32), mask=dims < DIM)
        return
    queries, lanes = first + tl.arange(0, QUERIES), tl.arange(0, KEYS)
    stride, real = 3 * HEADS * DIM, (dims < DIM)[None, :]
    base = qkv + start.to(tl.int64) * stride + head * DIM
    place, present = (start + queries).to(tl.int64), queries < count
    there, of_head = present[:, None] & real, place[:, None] * (HEADS * DIM) + head * DIM + dims[None, :]
    deltas = tl.load(out + of_head, mask=there, other=0.0).to(tl.float32)
    deltas = tl.sum(deltas * tl.load(gradient + of_head, mask=there, other=0.0).to(tl.float32), 1)
    tl.store(delta + head * rows + place, deltas, mask=present)
    tl.debug_barrier()  # read as the loop wants them laid out, which otherwise follows the sum and costs registers
    deltas = tl.load(delta + head * rows + place, mask=present, other=0.0)
    q = tl.load(base + queries[:, None] * stride + dims[None, :], mask=there, other=0.0)
    sums = tl.load(logsumexp + head * rows + place, mask=present, other=0.0)
    dout = tl.load(gradient + of_head, mask=there, other=0.0)
    gates = tl.zeros((QUERIES,), tl.float32)
    if BIASED:
        gates = tl.load(gate + place * HEADS + head, mask=present, other=0.0).to(tl.float32)
    seeded = tl.load(seed) if DROPS else 0
    dq = tl.zeros((QUERIES, LANES), tl.float32)
    dgates = tl.zeros((QUERIES,), tl.float32)
    line = table + head * width + middle
    for begin in range(0, count, KEYS):
        keys = begin + lanes
        here = (keys[:, None] < count) & real
        k = tl.load(base + HEADS * DIM + keys[:, None] * stride + dims[None, :], mask=here, other=0.0)
        v = tl.load(base + 2 * HEADS * DIM + keys[:, None] * stride + dims[None, :], mask=here, other=0.0)
        biases = 0.0
        if BIASED:
            biases = _biases(line, first, begin, count, QUERIES, KEYS)
        kept = 0
        if DROPS:
            kept = _kept(seeded, head, start + queries, keys, dropout, HEADS, middle + 1)
        _, dscores = _score_gradients(q, k, v, dout, gates, biases, sums, deltas, kept, scale, dropout, BIASED, DROPS,
                                      PRECISION)
        dscores = tl.where((keys < count)[None, :], dscores, 0.0)
        if BIASED:
            dgates += tl.sum(dscores * biases, 1)
        dq += tl.dot(dscores.to(k.dtype), k, input_precision=PRECISION)
    tl.store(dqkv + start.to(tl.int64) * stride + head * DIM + queries[:, None] * stride + dims[None, :],
             (dq * scale).to(dqkv.dtype.element_ty), mask=there)
    if SUMS:
        tl.store(sums_place, tl.sum(dq, 0) * scale, mask=dims < DIM)
    if BIASED:
        tl.store(dgate + place * HEADS + head, dgates, mask=present)


@triton.jit(do_not_specialize=("rows", "width", "middle"))
def key_gradient_kernel(qkv, gate, table, starts, seed, gradient, logsumexp, delta, dqkv, partial, scale, dropout,
                        rows, width, middle, HEADS: tl.constexpr, DIM: tl.constexpr, LANES: tl.constexpr,
                        BIASED: tl.constexpr, DROPS: tl.constexpr, SUMS: tl.constexpr, PRECISION: tl.constexpr,
                        QUERIES: tl.constexpr, KEYS: tl.constexpr):
    """Gradients of KEYS keys and their values, and their sums as of `query_gradient_kernel`."""
    utterance, head = tl.program_id(1), tl.program_id(2)
    start = tl.load(starts + utterance)
    count = tl.load(starts + utterance + 1) - start
    first = tl.program_id(0) * KEYS
    dims = tl.arange(0, LANES)
    sums_place = partial + (utterance * tl.num_programs(0) + tl.program_id(0)) * (3 * HEADS * DIM) + head * DIM + dims
    if first >= count:
        if SUMS:
            tl.store(sums_place + HEADS * DIM, tl.zeros((LANES,), tl.float32), mask=dims < DIM)
            tl.store(sums_place + 2 * HEADS * DIM, tl.zeros((LANES,), tl.float32), mask=dims < DIM)
        return
    keys, lanes = first + tl.arange(0, KEYS), tl.arange(0, QUERIES)
    stride, real = 3 * HEADS * DIM, (dims < DIM)[None, :]
    base = qkv + start.to(tl.int64) * stride + head * DIM
    here = (keys[:, None] < count) & real
    k = tl.load(base + HEADS * DIM + keys[:, None] * stride + dims[None, :], mask=here, other=0.0)
    v = tl.load(base + 2 * HEADS * DIM + keys[:, None] * stride + dims[None, :], mask=here, other=0.0)
    seeded = tl.load(seed) if DROPS else 0
    dk = tl.zeros((KEYS, LANES), tl.float32)
    dv = tl.zeros((KEYS, LANES), tl.float32)
    line = table + head * width + middle
    for begin in range(0, count, QUERIES):
        queries = begin + lanes
        place, present = (start + queries).to(tl.int64), queries < count
        there = present[:, None] & real
        q = tl.load(base + queries[:, None] * stride + dims[None, :], mask=there, other=0.0)
        dout = tl.load(gradient + place[:, None] * (HEADS * DIM) + head * DIM + dims[None, :], mask=there, other=0.0)
        sums = tl.load(logsumexp + head * rows + place, mask=present, other=0.0)
        deltas = tl.load(delta + head * rows + place, mask=present, other=0.0)
        gates = tl.zeros((QUERIES,), tl.float32)
        biases = 0.0
        if BIASED:
            gates = tl.load(gate + place * HEADS + head, mask=present, other=0.0).to(tl.float32)
            biases = _biases(line, begin, first, count, QUERIES, KEYS)
        kept = 0
        if DROPS:
            kept = _kept(seeded, head, start + queries, keys, dropout, HEADS, middle + 1)
        weights, dscores = _score_gradients(q, k, v, dout, gates, biases, sums, deltas, kept, scale, dropout, BIASED,
                                            DROPS, PRECISION)
        dv += tl.dot(tl.trans(weights.to(dout.dtype)), dout, input_precision=PRECISION)
        dk += tl.dot(tl.trans(dscores.to(q.dtype)), q, input_precision=PRECISION)
    target = dqkv + start.to(tl.int64) * stride + head * DIM + keys[:, None] * stride + dims[None, :]
    tl.store(target + HEADS * DIM, (dk * scale).to(dqkv.dtype.element_ty), mask=here)
    tl.store(target + 2 * HEADS * DIM, dv.to(dqkv.dtype.element_ty), mask=here)
    if SUMS:
        tl.store(sums_place + HEADS * DIM, tl.sum(tl.where(here, dk, 0.0), 0) * scale, mask=dims < DIM)
        tl.store(sums_place + 2 * HEADS * DIM, tl.sum(tl.where(here, dv, 0.0), 0), mask=dims < DIM)


@triton.jit(do_not_specialize=("rows", "width", "middle", "batch"))
def table_gradient_kernel(qkv, gate, table, starts, seed, gradient, logsumexp, delta, sheet, scale, dropout,
                          rows, width, middle, batch, HEADS: tl.constexpr, DIM: tl.constexpr, LANES: tl.constexpr,
                          DROPS: tl.constexpr, PRECISION: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
                          SHARE: tl.constexpr):
    """sheet (shares, HEADS, frames, frames): what SHARE utterances say of the bias of each query and key. Its sums over
    shares and diagonals are the table's gradient: no two programs write to one place."""
    share, head, frames = tl.program_id(1), tl.program_id(2), middle + 1
    across = tl.cdiv(frames, KEYS)
    first, begin = tl.program_id(0) // across * QUERIES, tl.program_id(0) % across * KEYS
    queries, keys, dims = first + tl.arange(0, QUERIES), begin + tl.arange(0, KEYS), tl.arange(0, LANES)
    stride, real = 3 * HEADS * DIM, (dims < DIM)[None, :]
    seeded = tl.load(seed) if DROPS else 0
    biases = _biases(table + head * width + middle, first, begin, frames, QUERIES, KEYS)
    found = tl.zeros((QUERIES, KEYS), tl.float32)
    for utterance in range(share * SHARE, min(share * SHARE + SHARE, batch)):
        start = tl.load(starts + utterance)
        count = tl.load(starts + utterance + 1) - start
        base = qkv + start.to(tl.int64) * stride + head * DIM
        place, present = (start + queries).to(tl.int64), queries < count
        there, here = present[:, None] & real, (keys[:, None] < count) & real
        q = tl.load(base + queries[:, None] * stride + dims[None, :], mask=there, other=0.0)
        k = tl.load(base + HEADS * DIM + keys[:, None] * stride + dims[None, :], mask=here, other=0.0)
        v = tl.load(base + 2 * HEADS * DIM + keys[:, None] * stride + dims[None, :], mask=here, other=0.0)
        dout = tl.load(gradient + place[:, None] * (HEADS * DIM) + head * DIM + dims[None, :], mask=there, other=0.0)
        sums = tl.load(logsumexp + head * rows + place, mask=present, other=0.0)
        deltas = tl.load(delta + head * rows + place, mask=present, other=0.0)
        gates = tl.load(gate + place * HEADS + head, mask=present, other=0.0).to(tl.float32)
        kept = 0
        if DROPS:
            kept = _kept(seeded, head, start + queries, keys, dropout, HEADS, middle + 1)
        _, dscores = _score_gradients(q, k, v, dout, gates, biases, sums, deltas, kept, scale, dropout, True, DROPS,
                                      PRECISION)
        found += tl.where((keys < count)[None, :], dscores, 0.0) * gates[:, None]
    line = sheet + ((share * HEADS + head) * frames + queries[:, None]).to(tl.int64) * frames
    tl.store(line + keys[None, :], found, mask=(queries[:, None] < frames) & (keys[None, :] < frames))


@triton.jit(do_not_specialize=("shares", "frames"))
def table_total_kernel(sheet, dtable, shares, frames, HEADS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """dtable (HEADS, 2 * frames - 1): the sums over shares and diagonals of sheet (shares, HEADS, frames, frames)."""
    head, column = tl.program_id(1), tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for share in range(shares):
        own = sheet + ((share * HEADS + head) * frames).to(tl.int64) * frames
        for first in range(0, frames, ROWS):
            query = first + tl.arange(0, ROWS)[:, None]
            key = query + column[None, :] - (frames - 1)
            there = (query < frames) & (key >= 0) & (key < frames)
            total += tl.load(own + query * frames + key, mask=there, other=0.0)
    tl.store(dtable + head * (2 * frames - 1) + column, tl.sum(total, 0), mask=column < 2 * frames - 1)
