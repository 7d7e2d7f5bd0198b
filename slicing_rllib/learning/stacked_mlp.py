"""Forward and backward passes of many equal MLPs at once, one matrix product per layer.

The backward pass is written out instead of taken from autograd: for networks this small, building
the autograd graph costs more than the products themselves.
"""

import torch
from torch import Tensor

Layers = list[tuple[Tensor, Tensor]]
"""Weight (network, out, in) and bias (network, out) of each layer."""

# The gradient of ReLU in one pass, instead of a comparison, a conversion and a product.
relu_gradient = torch.ops.aten.threshold_backward


def forward(layers: Layers, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Output (network, batch, out) of ReLU MLPs, and the input of each layer.

    `layers` are weights (network, out, in) and biases (network, out); `x` is (network, batch, in).
    """
    inputs = []
    for weight, bias in layers[:-1]:
        inputs.append(x)
        x = _apply_layer(x, weight, bias).relu_()
    inputs.append(x)
    return _apply_layer(x, *layers[-1]), inputs


def _apply_layer(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x W^T + b of each network.

    A single matrix product is summed in another order than a batch of them. A single network is
    therefore computed as a batch of two, so that its results do not depend on its company.
    """
    if len(x) == 1:
        pair = (tensor.expand(2, *tensor.shape[1:]) for tensor in (x, weight, bias))
        return _apply_layer(*pair)[:1]
    return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))


def backward(layers: Layers, inputs: list[Tensor], grad: Tensor, into: Layers) -> Tensor:
    """Write the gradients of all layers into `into`; return the gradient of the input.

    `inputs` are those that `forward` returned; `grad` is the gradient of its output.
    """
    for (weight, _), x, (weight_grad, bias_grad) in zip(
        reversed(layers), reversed(inputs), reversed(into), strict=True
    ):
        weight_grad.copy_(torch.bmm(grad.transpose(1, 2), x))
        torch.sum(grad, dim=1, out=bias_grad)
        grad = torch.bmm(grad, weight)
        if x is not inputs[0]:
            grad = relu_gradient(grad, x, 0.0)
    return grad


def input_gradient(layers: Layers, inputs: list[Tensor], grad: Tensor) -> Tensor:
    """The gradient of the input alone, without those of weights and biases."""
    for (weight, _), x in zip(reversed(layers), reversed(inputs), strict=True):
        grad = torch.bmm(grad, weight)
        if x is not inputs[0]:
            grad = relu_gradient(grad, x, 0.0)
    return grad


def softmax_shares(logits: Tensor) -> Tensor:
    """Softmax over the last axis, the shares of each slice.

    The last axis is short; torch computes a softmax faster over an axis that is not the last.
    """
    return torch.softmax(logits.transpose(1, 2).contiguous(), dim=1).transpose(1, 2)


def softmax_gradient(shares: Tensor, grad: Tensor) -> Tensor:
    """The gradient of the logits, from the shares and the gradient of the shares."""
    return shares * (grad - (grad * shares).sum(dim=-1, keepdim=True))
