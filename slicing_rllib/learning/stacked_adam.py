"""Adam on the rows of a parameter bank, each row with its own step count."""

from collections.abc import Callable

import torch
from torch import Tensor

# Private to torch: tests/learning/test_private_apis.py pins its signature.
fused_adam = torch.ops.aten._fused_adam_.default


class Adam:
    """torch's fused Adam on (row, network, parameter) tensors. Source: Kingma & Ba 2015."""

    BETAS = (0.9, 0.999)
    EPSILON = 1e-8

    def __init__(self, parameters: Tensor) -> None:
        """Moments start at zero, shaped like `parameters`."""
        self.mean = torch.zeros_like(parameters)
        self.square = torch.zeros_like(parameters)
        # float32 counts exactly up to 16 million.
        self.steps = torch.zeros((len(parameters), 1, 1), device=parameters.device)

    def bind(self, rows: slice, parameters: Tensor, grad: Tensor) -> Callable[[float], None]:
        """A function that makes one step of these rows at a learning rate.

        `parameters` and `grad` are the rows' own tensors; the step reads the gradients that are in
        `grad` when it is called.
        """
        steps = self.steps[rows]
        parts = (parameters, grad, self.mean[rows], self.square[rows], steps.flatten())
        *tensors, counts = [list(part.unbind()) for part in parts]
        (first, second), epsilon = self.BETAS, self.EPSILON
        options = {"weight_decay": 0.0, "amsgrad": False, "maximize": False}

        def step(lr: float) -> None:
            steps.add_(1)
            fused_adam(
                *tensors, [], counts, lr=lr, beta1=first, beta2=second, eps=epsilon, **options
            )

        return step

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """First moments, second moments and step counts, a row each."""
        return self.mean, self.square, self.steps

    def reset(self, row: int) -> None:
        """Set a row's moments and step count to zero."""
        for tensor in self.tensors:
            tensor[row] = 0
