"""The backward pass over PyTorch's graph; its own engine would look for the streams of a device that is none."""

import torch
from torch import Tensor, nn

from tests.emulation.device import Emulation


def backward(root: Tensor, gradient: Tensor | None = None, *_, **__) -> None:
    """Instead of `torch.autograd.backward`."""
    for leaf, grad in _gradients([root], [torch.ones_like(root) if gradient is None else gradient]):
        leaf.grad = grad if leaf.grad is None else leaf.grad.add_(grad)


def grad(outputs, inputs, grad_outputs, **_) -> tuple[Tensor | None, ...]:
    """Instead of `torch.autograd.grad`, with respect to leaves. Those of a recording are its own: on a GPU a gradient
    on its way to a parameter waits for the stream of whichever living pass met it first."""
    if Emulation.current.recording:
        assert not any(isinstance(leaf, nn.Parameter) for leaf in inputs), "a recording goes back to parameters"
    found = {id(leaf): grad for leaf, grad in _gradients(outputs, grad_outputs)}
    return tuple(found.get(id(leaf)) for leaf in inputs)


@torch.no_grad()
def _gradients(roots, gradients) -> list[tuple[Tensor, Tensor]]:
    """Leaves and their gradients."""
    leaves, arrived = [], {}
    for root, gradient in zip(roots, gradients, strict=True):
        _deliver(arrived.setdefault(root.grad_fn, {}), root.output_nr, gradient, root)
    for node in _from_the_end(list(arrived)):
        grads = arrived.pop(node, None)
        if grads is None:
            continue
        if hasattr(node, "variable"):
            leaves.append((node.variable, grads[0]))
            continue
        grads = [grads.get(i) for i in range(len(node._input_metadata))]
        if hasattr(node, "apply"):  # a function of ours
            if getattr(node, "materializes", True):
                device = next(g.device for g in grads if g is not None)
                grads = [torch.zeros(m.shape, dtype=m.dtype, device=device) if g is None else g
                         for g, m in zip(grads, node._input_metadata)]
            results = _tuple(node.apply(*grads))
            results = [result for result, needed in zip(results, node.needs_input_grad) if needed]
            edges = [edge for edge in node.next_functions if edge[0] is not None]
        else:
            results, edges = _tuple(node(*grads)), node.next_functions
        for (target, place), grad in zip(edges, results, strict=True):
            if target is not None and grad is not None:
                _deliver(arrived.setdefault(target, {}), place, grad, target._input_metadata[place])
    return leaves


def set_materialize_grads(ctx, value: bool) -> None:
    """Instead of the method of a function's context, which cannot be asked later."""
    ctx.materialize_grads = ctx.materializes = value


def _tuple(results) -> tuple:
    return results if isinstance(results, tuple) else (results,)


def _deliver(arrived: dict[int, Tensor], place: int, grad: Tensor, wanted) -> None:
    """Gradients of broadcast or cast operands take the shape and precision of the operand."""
    if grad.shape != wanted.shape:
        grad = grad.sum_to_size(wanted.shape)
    grad = grad.to(wanted.dtype)
    arrived[place] = arrived[place] + grad if place in arrived else grad


def _from_the_end(nodes: list) -> list:
    """The nodes of a graph, each before those that its gradients flow on to."""
    done, order, stack = set(), [], [(node, False) for node in nodes]
    while stack:
        node, left = stack.pop()
        if left:
            order.append(node)
        elif node not in done:
            done.add(node)
            stack.append((node, True))
            stack += [(target, False) for target, _ in node.next_functions if target is not None]
    return order[::-1]
