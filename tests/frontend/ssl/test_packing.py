"""Plans of a batch, worked out on the host."""

import torch

from wedefense.frontend.ssl.extractor import slots_of
from wedefense.frontend.ssl.packing import Packing, Span, spans_of_blocks

CPU = torch.device("cpu")


def test_rows_of_unequal_lengths():
    packing = Packing.of([3, 1, 2], CPU)
    assert (packing.batch, packing.frames, packing.rows) == (3, 3, 6)
    assert packing.lengths.tolist() == [3, 1, 2] and packing.index.tolist() == [0, 1, 2, 3, 6, 7]
    assert packing.starts.tolist() == [0, 3, 4, 6] and packing.starts.dtype == torch.int32
    rows = torch.arange(1.0, 7.0)
    assert packing.pad(rows).tolist() == [[1, 2, 3], [4, 0, 0], [5, 6, 0]]
    assert packing.pack(packing.pad(rows)).tolist() == rows.tolist()
    assert [span.packing.counts for span in Packing.of([3, 3, 2, 3], CPU).spans(torch.float32)] == [(3, 3), (2,), (3,)]


def test_equal_lengths_share_memory_and_plans():
    packing, rows = Packing.of([2, 2], CPU), torch.arange(4.0)
    assert packing.index is None and packing.starts.tolist() == [0, 2, 4]
    assert packing.pad(rows).data_ptr() == rows.data_ptr() == packing.pack(packing.pad(rows)).data_ptr()
    assert Packing.of((2, 2), CPU) is packing


def test_a_plan_made_in_inference_serves_training():
    with torch.inference_mode():
        packing = Packing.of([5, 4, 2], CPU)
        assert len(packing.starts) == len(packing.lengths) + 1
    rows = torch.ones(11, requires_grad=True)
    packing.pad(rows).square().sum().backward()
    assert rows.grad.tolist() == [2] * 11 and not packing.starts.is_inference()


def test_slots():
    """Of 4 samples, in which 2 windows of the first layer (kernel 3, stride 2) begin."""
    slots = slots_of((10, 3), (2, 1), (3, 2), 4, CPU)
    assert slots.windows.tolist() == [4, 1] and slots.owner.tolist() == [0, 0, 0, 1]
    assert slots.left.tolist() == [4, 2, 0, 1] and slots.rows.tolist() == [0, 1, 3]
    wav = torch.arange(20.0).view(2, 10)
    assert slots.cut(wav).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 0], [10, 11, 12, 13]]
    assert slots_of((8, 8), (2, 2), (3, 2), 4, CPU).used is None


def test_blocks_have_a_table_each_where_it_learns_and_one_gradient_of_all():
    packing, table = Packing.of((4, 2), CPU), torch.randn(2, 7)
    spans = [Span(packing, None, None, packed=True, table=table)]
    assert all(own is spans for own in spans_of_blocks(spans, 3))
    table.requires_grad_()
    own = spans_of_blocks(spans, 3)
    assert all(torch.equal(span.table, table) and span.packing is packing for [span] in own)
    sum((number * span.table).sum() for number, [span] in enumerate(own)).backward()
    assert torch.equal(table.grad, torch.full((2, 7), 3.0))
