"""One TD3 update of many cells at once, with the backward pass written out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from slicing_rllib.learning.losses import smoothing_noise, td_target
from slicing_rllib.learning.parameter_bank import KINDS, Layers, ParameterBank


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """TD3's, the same for all cells. Source: the paper; Fujimoto et al. 2018 for the last four."""

    actor_lr: float = 5e-4
    critic_lr: float = 1e-3
    gamma: float = 0.1
    tau: float = 0.005
    policy_delay: int = 2
    target_noise: float = 0.2
    target_noise_clip: float = 0.5


class Batch(NamedTuple):
    """Transitions, (cell, batch, ...), and standard normal noise for target smoothing."""

    obs: Tensor
    action: Tensor
    reward: Tensor
    next_obs: Tensor
    terminated: Tensor
    noise: Tensor


class Losses(NamedTuple):
    """Per cell; the actor's is of its last update."""

    critic: Tensor
    actor: Tensor


CELLS_AT_ONCE = 48
"""Their networks, moments and activations fit into the caches of a core."""

# One pass instead of a comparison, a conversion and a product.
relu_gradient = torch.ops.aten.threshold_backward
fused_adam = torch.ops.aten._fused_adam_.default


def forward(layers: Layers, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Output of ReLU MLPs and the input of each layer."""
    inputs = []
    for weight, bias in layers[:-1]:
        inputs.append(x)
        x = _affine(x, weight, bias).relu_()
    inputs.append(x)
    return _affine(x, *layers[-1]), inputs


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A layer of each row. A product that is alone would be summed otherwise than among others."""
    if len(x) == 1:
        pair = (tensor.expand(2, *tensor.shape[1:]) for tensor in (x, weight, bias))
        return _affine(*pair)[:1]
    return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))


def backward(layers: Layers, inputs: list[Tensor], grad: Tensor, into: Layers) -> Tensor:
    """Writes the gradients of all layers into `into`; returns that of the input."""
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
    """Gradient of the input alone."""
    for (weight, _), x in zip(reversed(layers), reversed(inputs), strict=True):
        grad = torch.bmm(grad, weight)
        if x is not inputs[0]:
            grad = relu_gradient(grad, x, 0.0)
    return grad


class Adam:
    """torch's fused Adam on rows of a bank, each row with its own step count.

    Source: Kingma & Ba 2015.
    """

    BETAS = (0.9, 0.999)
    EPSILON = 1e-8

    def __init__(self, parameters: Tensor) -> None:
        self.mean = torch.zeros_like(parameters)
        self.square = torch.zeros_like(parameters)
        # float32 counts exactly to 16 million.
        self.steps = torch.zeros((len(parameters), 1, 1), device=parameters.device)

    def on(self, rows: slice, parameters: Tensor, grad: Tensor) -> Callable[[float], None]:
        """A step of these rows, whose parameters and gradients are given, at a learning rate."""
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
        return self.mean, self.square, self.steps

    def reset(self, row: int) -> None:
        """Forgets a row's moments and steps."""
        for tensor in self.tensors:
            tensor[row] = 0


class StackedTD3:
    """Updates all rows of a bank, on a CPU so many at a time that they stay in its caches."""

    def __init__(self, bank: ParameterBank, hyper: Hyperparameters) -> None:
        self._delay = hyper.policy_delay
        self.actor_adam = Adam(bank.flat["actor"])
        self.critic_adam = Adam(bank.flat["critics"])
        at_once = CELLS_AT_ONCE if bank.device.type == "cpu" else bank.n_cells
        adams = {"actor": self.actor_adam, "critics": self.critic_adam}
        grads = {kind: torch.zeros_like(bank.flat[kind][:at_once]) for kind in adams}
        starts = range(0, bank.n_cells, at_once)
        blocks = [slice(start, min(start + at_once, bank.n_cells)) for start in starts]
        self.blocks = [(rows, _Block(bank, rows, adams, grads, hyper)) for rows in blocks]
        self.updates = 0
        self.actor_loss = torch.zeros(bank.n_cells, device=bank.device)

    @torch.no_grad()
    def update(self, batch: Batch) -> Losses:
        """One update of every cell; actors and targets every `policy_delay` updates."""
        self.updates += 1
        with_actors = self.updates % self._delay == 0
        critic_loss = torch.empty_like(self.actor_loss)
        for rows, block in self.blocks:
            own = Batch(*(tensor[rows] for tensor in batch))
            critic_loss[rows] = block.update_critics(own)
            if with_actors:
                self.actor_loss[rows] = block.update_actors(own)
                block.move_targets()
        return Losses(critic_loss, self.actor_loss.clone())


class _Block:
    """Some rows of a bank; twin critics are twice as many rows of one matrix product."""

    def __init__(
        self,
        bank: ParameterBank,
        rows: slice,
        adams: Mapping[str, Adam],
        grads: Mapping[str, Tensor],
        hyper: Hyperparameters,
    ) -> None:
        """`grads` are where gradients are written, no longer needed after an update."""
        self._hyper = hyper
        flat = {kind: bank.flat[kind][rows] for kind in KINDS}
        self._layers = {kind: bank.layers(kind, part) for kind, part in flat.items()}
        self._first_critic = [(weight[::2], bias[::2]) for weight, bias in self._layers["critics"]]
        grad = {kind: whole[: rows.stop - rows.start] for kind, whole in grads.items()}
        self._grads = {kind: bank.layers(kind, part) for kind, part in grad.items()}
        self._descend = {kind: adams[kind].on(rows, flat[kind], grad[kind]) for kind in adams}
        self._followed = [(flat[f"target_{kind}"], flat[kind]) for kind in adams]

    def target(self, batch: Batch) -> Tensor:
        """What both critics regress on: (cell, batch)."""
        hyper = self._hyper
        logits, _ = forward(self._layers["target_actor"], batch.next_obs)
        noise = smoothing_noise(batch.noise, hyper.target_noise, hyper.target_noise_clip)
        action = shares(logits + noise)
        pairs = _for_twins(torch.cat([batch.next_obs, action], dim=-1))
        q, _ = forward(self._layers["target_critics"], pairs)
        q1, q2 = q.view(-1, 2, q.shape[1]).unbind(1)
        return td_target(batch.reward, batch.terminated, q1, q2, gamma=hyper.gamma)

    def update_critics(self, batch: Batch) -> Tensor:
        """The loss of each cell's two."""
        target = self.target(batch).repeat_interleave(2, dim=0)[..., None]
        pairs = _for_twins(torch.cat([batch.obs, batch.action], dim=-1))
        q, inputs = forward(self._layers["critics"], pairs)
        error = q - target
        grad = error * (2.0 / error.shape[1])
        backward(self._layers["critics"], inputs, grad, self._grads["critics"])
        self._descend["critics"](self._hyper.critic_lr)
        return error.square().mean(dim=(1, 2)).view(-1, 2).sum(dim=1)

    def update_actors(self, batch: Batch) -> Tensor:
        """The loss of each cell's actor."""
        logits, actor_inputs = forward(self._layers["actor"], batch.obs)
        action = shares(logits)
        pairs = torch.cat([batch.obs, action], dim=-1)
        q, critic_inputs = forward(self._first_critic, pairs)
        grad = torch.full_like(q, -1.0 / q.shape[1])
        grad = input_gradient(self._first_critic, critic_inputs, grad)
        grad = grad[..., batch.obs.shape[-1] :]
        grad = action * (grad - (grad * action).sum(dim=-1, keepdim=True))
        backward(self._layers["actor"], actor_inputs, grad, self._grads["actor"])
        self._descend["actor"](self._hyper.actor_lr)
        return -q.mean(dim=(1, 2))

    def move_targets(self) -> None:
        for target, online in self._followed:
            target.lerp_(online, self._hyper.tau)


def shares(logits: Tensor) -> Tensor:
    """Softmax over the last axis: as it is short, torch is quicker where it is not the last."""
    return torch.softmax(logits.transpose(1, 2).contiguous(), dim=1).transpose(1, 2)


def _for_twins(pairs: Tensor) -> Tensor:
    """(cell, batch, input) for both critics of each cell: (cell x 2, batch, input)."""
    return pairs.repeat_interleave(2, dim=0)
