"""A Triton kernel that copies many tensors into others of another precision."""

import triton
import triton.language as tl

MOST, BLOCK = 12, 4096  # tensors of a launch, values of a program


@triton.jit(do_not_specialize=[f"size{n}" for n in range(MOST)])
def cast_kernel(sources, outs, size0, size1, size2, size3, size4, size5, size6, size7, size8, size9, size10, size11,
                COUNT: tl.constexpr, BLOCK: tl.constexpr):
    """outs[n] = sources[n], of so many values each; a program copies BLOCK of one tensor."""
    sizes = (size0, size1, size2, size3, size4, size5, size6, size7, size8, size9, size10, size11)
    before = 0  # programs of the tensors before
    for n in tl.static_range(COUNT):
        first = (tl.program_id(0) - before).to(tl.int64) * BLOCK
        place = first + tl.arange(0, BLOCK)
        if (first >= 0) & (first + BLOCK <= sizes[n]):  # without a mask, which would be asked for each value
            tl.store(outs[n] + place, tl.load(sources[n] + place).to(outs[n].dtype.element_ty))
        elif (first >= 0) & (first < sizes[n]):
            inside = place < sizes[n]
            tl.store(outs[n] + place, tl.load(sources[n] + place, mask=inside).to(outs[n].dtype.element_ty),
                     mask=inside)
        before += tl.cdiv(sizes[n], BLOCK)
