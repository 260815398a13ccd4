"""Triton kernels of attention over packed utterances: no padding, and no matrix of scores in memory on the way out.

Rows are the frames of all utterances one after the other; `starts` (batch + 1) says where each begins. The score of
query q and key k is `q . k * scale + gate[q, head] * table[head, k - q + middle]`. Softmax runs in powers of two.
Dropout draws from (seed, head, query, key), so that both ways see the same mask.

On the way back scores are computed once: the first kernel leaves their gradients on a sheet, which the others read. A
sheet (pairs, frames, PITCH) belongs to some pairs of an utterance and a head, from `first_pair` on, as many as a bound
on its size allows; pair = utterance * HEADS + head.
"""

import triton
import triton.language as tl

from wedefense.gpu.gate_kernels import gates_of

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
def forward_kernel(qkv, gate, table, h, weight, bias, const, origin, starts, seed, out, logsumexp, scale, dropout, rows,
                   width, middle, total_heads, HEADS: tl.constexpr, DIM: tl.constexpr, LANES: tl.constexpr,
                   BIASED: tl.constexpr, MAKES: tl.constexpr, DROPS: tl.constexpr, PRECISION: tl.constexpr,
                   QUERIES: tl.constexpr, KEYS: tl.constexpr):
    """A program: QUERIES queries of one head of one utterance. qkv (rows, 3, HEADS, DIM), out (rows, HEADS, DIM).

    gate (rows, HEADS) is read, or where MAKES made of h (rows, total_heads, DIM), in which a head is the origin[head].
    """
    utterance, head = tl.program_id(1), tl.program_id(2)
    start = tl.load(starts + utterance)
    count = tl.load(starts + utterance + 1) - start
    first = tl.program_id(0) * QUERIES
    if first >= count:
        return
    queries, dims = first + tl.arange(0, QUERIES), tl.arange(0, LANES)
    base = qkv + start.to(tl.int64) * (3 * HEADS * DIM) + head * DIM
    known = tl.minimum(queries, count - 1)
    gates = tl.zeros((QUERIES,), tl.float32)
    if MAKES:
        own = tl.load(origin + head)
        line = ((start + known).to(tl.int64) * total_heads + own) * DIM
        values = tl.load(h + line[:, None] + tl.arange(0, DIM)[None, :]).to(tl.float32)
        gates = gates_of(values, weight, bias, tl.load(const + own), DIM)
        tl.store(gate + (start + queries) * HEADS + head, gates, mask=queries < count)
    elif BIASED:
        gates = tl.load(gate + (start + known) * HEADS + head).to(tl.float32)
    gates /= scale
    q = _real(base + known[:, None] * (3 * HEADS * DIM) + dims[None, :], dims, DIM, LANES)
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
def _pair(starts, first_pair, axis: tl.constexpr, HEADS: tl.constexpr):
    """Of this program's pair: its place on the sheet, its utterance and head, where its rows start, and how many."""
    own = tl.program_id(axis)
    pair = first_pair + own
    start = tl.load(starts + pair // HEADS)
    return own.to(tl.int64), pair // HEADS, pair % HEADS, start, tl.load(starts + pair // HEADS + 1) - start


@triton.jit(do_not_specialize=("rows",))
def delta_kernel(out, gradient, delta, rows, HEADS: tl.constexpr, DIM: tl.constexpr, LANES: tl.constexpr,
                 ROWS: tl.constexpr):
    """delta (HEADS, rows): sums over a head's dimensions of out * gradient, which softmax's gradient takes off."""
    row, head, dims = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.program_id(1), tl.arange(0, LANES)
    place = row[:, None].to(tl.int64) * (HEADS * DIM) + head * DIM + dims[None, :]
    there = (row < rows)[:, None] & (dims < DIM)[None, :]
    products = tl.load(out + place, mask=there, other=0.0).to(tl.float32)
    products *= tl.load(gradient + place, mask=there, other=0.0).to(tl.float32)
    tl.store(delta + head * rows + row, tl.sum(products, 1), mask=row < rows)


@triton.jit(do_not_specialize=("rows", "width", "middle", "first_pair"))
def key_gradient_kernel(qkv, gate, table, starts, seed, gradient, logsumexp, delta, dqkv, sheet, partial, scale,
                        dropout, rows, width, middle, first_pair, HEADS: tl.constexpr, DIM: tl.constexpr,
                        LANES: tl.constexpr, BIASED: tl.constexpr, DROPS: tl.constexpr, SUMS: tl.constexpr,
                        PRECISION: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr):
    """Gradients of KEYS keys and their values; of their scores, on the sheet, whose lines are a multiple of KEYS long,
    zeros past the end. Where SUMS, partial (utterances, parts, 3, HEADS, DIM) gets the sums of the first two."""
    own, utterance, head, start, count = _pair(starts, first_pair, 1, HEADS)
    part, dims = tl.program_id(0), tl.arange(0, LANES)
    first = part * KEYS
    sums_place = partial + (utterance * tl.num_programs(0) + part) * (3 * HEADS * DIM) + head * DIM + dims
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
    seeded, larger = tl.load(seed) if DROPS else 0, 1 / (1 - dropout)
    dk, dv = tl.zeros((KEYS, LANES), tl.float32), tl.zeros((KEYS, LANES), tl.float32)
    line, pitch = table + head * width + middle, tl.num_programs(0) * KEYS
    own_sheet = sheet + own * (middle + 1) * pitch + keys[None, :]
    for begin in range(0, count, QUERIES):
        queries = begin + lanes
        place, present = (start + queries).to(tl.int64), queries < count
        there, of_head = present[:, None] & real, place[:, None] * (HEADS * DIM) + head * DIM + dims[None, :]
        q = tl.load(base + queries[:, None] * stride + dims[None, :], mask=there, other=0.0)
        dout = tl.load(gradient + of_head, mask=there, other=0.0)
        deltas = tl.load(delta + head * rows + place, mask=present, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * (scale * LOG2_E)
        scores -= tl.load(logsumexp + head * rows + place, mask=present, other=0.0)[:, None]
        if BIASED:
            gates = tl.load(gate + place * HEADS + head, mask=present, other=0.0).to(tl.float32)
            biases = _biases(line, begin, first, count, QUERIES, KEYS)
            scores = tl.fma(biases, (gates * LOG2_E)[:, None], scores)
        # past the end zeros were read: such queries add nothing to any gradient, such keys nothing to any but their own
        weights = tl.exp2(scores)
        dweights = tl.dot(dout, tl.trans(v), input_precision=PRECISION)
        used = weights
        if DROPS:
            kept = _kept(seeded, head, start + queries, keys, dropout, HEADS, middle + 1)
            dweights = tl.where(kept, dweights * larger, 0.0)
            used = tl.where(kept, weights * larger, 0.0)
        dscores = weights * (dweights - deltas[:, None])
        dv += tl.dot(tl.trans(used.to(dout.dtype)), dout, input_precision=PRECISION)
        if first + KEYS > count:
            dscores = tl.where((keys < count)[None, :], dscores, 0.0)
        low = dscores.to(q.dtype)
        tl.store(own_sheet + queries[:, None] * pitch, low, mask=present[:, None])
        dk += tl.dot(tl.trans(low), q, input_precision=PRECISION)
    target = dqkv + start.to(tl.int64) * stride + head * DIM + keys[:, None] * stride + dims[None, :]
    tl.store(target + HEADS * DIM, (dk * scale).to(dqkv.dtype.element_ty), mask=here)
    tl.store(target + 2 * HEADS * DIM, dv.to(dqkv.dtype.element_ty), mask=here)
    if SUMS:
        tl.store(sums_place + HEADS * DIM, tl.sum(tl.where(here, dk, 0.0), 0) * scale, mask=dims < DIM)
        tl.store(sums_place + 2 * HEADS * DIM, tl.sum(tl.where(here, dv, 0.0), 0), mask=dims < DIM)


@triton.jit(do_not_specialize=("width", "middle", "first_pair"))
def query_gradient_kernel(qkv, table, starts, sheet, dqkv, dgate, partial, scale, width, middle, first_pair,
                          HEADS: tl.constexpr, DIM: tl.constexpr, LANES: tl.constexpr, BIASED: tl.constexpr,
                          SUMS: tl.constexpr, PRECISION: tl.constexpr, SIZE: tl.constexpr):
    """Gradients of SIZE queries and of their gates, dgate (rows, HEADS), from those of the scores, SIZE keys at a time.
    Sheet and partial are as of `key_gradient_kernel`, which had as many parts; where SUMS, partial gets their sum."""
    own, utterance, head, start, count = _pair(starts, first_pair, 1, HEADS)
    part, parts, dims = tl.program_id(0), tl.num_programs(0), tl.arange(0, LANES)
    first, lanes = part * SIZE, tl.arange(0, SIZE)
    sums_place = partial + (utterance * parts + part) * (3 * HEADS * DIM) + head * DIM + dims
    if first >= count:
        if SUMS:
            tl.store(sums_place, tl.zeros((LANES,), tl.float32), mask=dims < DIM)
        return
    queries = first + lanes
    stride, real, present = 3 * HEADS * DIM, (dims < DIM)[None, :], queries < count
    base = qkv + start.to(tl.int64) * stride + (HEADS + head) * DIM
    line, pitch = table + head * width + middle, parts * SIZE
    own_sheet = sheet + own * (middle + 1) * pitch + queries[:, None] * pitch
    dq = tl.zeros((SIZE, LANES), tl.float32)
    dgates = tl.zeros((SIZE,), tl.float32)
    for begin in range(0, count, SIZE):
        keys = begin + lanes
        k = tl.load(base + keys[:, None] * stride + dims[None, :], mask=(keys[:, None] < count) & real, other=0.0)
        dscores = tl.load(own_sheet + keys[None, :], mask=present[:, None], other=0.0)
        if BIASED:
            dgates += tl.sum(dscores.to(tl.float32) * _biases(line, first, begin, count, SIZE, SIZE), 1)
        dq += tl.dot(dscores, k, input_precision=PRECISION)
    dq *= scale
    tl.store(dqkv + start.to(tl.int64) * stride + head * DIM + queries[:, None] * stride + dims[None, :],
             dq.to(dqkv.dtype.element_ty), mask=present[:, None] & real)
    if SUMS:
        tl.store(sums_place, tl.sum(dq, 0), mask=dims < DIM)
    if BIASED:
        tl.store(dgate + (start + queries) * HEADS + head, dgates, mask=present)


@triton.jit(do_not_specialize=("frames", "parts", "first_pair"))
def table_gradient_kernel(gate, starts, sheet, dtable, frames, parts, first_pair, HEADS: tl.constexpr,
                          SIZE: tl.constexpr, COLUMNS: tl.constexpr):
    """dtable (utterances, HEADS, 2 * frames - 1): of an utterance, gate times the gradients of its scores, summed by
    the distance of key and query.

    The sheet is read where memory wants it, in runs of eight: distances are counted from the first of eight queries,
    and put right once all are summed, for all but the last eight of COLUMNS.
    """
    own, utterance, head, start, count = _pair(starts, first_pair, 1, HEADS)
    begin = tl.program_id(0) * (COLUMNS - 8) - tl.cdiv(frames, 8) * 8
    row, column, pitch = tl.arange(0, 8), tl.arange(0, COLUMNS), parts * SIZE
    end = tl.cdiv(count, 8) * 8  # zeros are there up to the next eight
    own_sheet = sheet + own * frames * pitch
    total = tl.zeros((8, COLUMNS), tl.float32)
    for first in range(tl.maximum(-begin - COLUMNS, 0) // 8 * 8, tl.minimum(end, end - begin), 8):
        query, key = first + row, first + begin + column
        gates = tl.load(gate + (start + query) * HEADS + head, mask=query < count, other=0.0).to(tl.float32)
        there = (query < count)[:, None] & ((key >= 0) & (key < end))[None, :]
        found = tl.load(own_sheet + query[:, None] * pitch + key[None, :], mask=there, other=0.0)
        total += gates[:, None] * found.to(tl.float32)
    total = tl.sum(tl.gather(total, tl.minimum(column[None, :] + row[:, None], COLUMNS - 1), 1), 0)
    place, width = frames - 1 + begin + column, 2 * frames - 1
    line = dtable + (utterance * HEADS + head).to(tl.int64) * width
    tl.store(line + place, total, mask=(column < COLUMNS - 8) & (place >= 0) & (place < width))
