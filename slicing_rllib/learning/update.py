"""One TD3 update of many cells at once, with the backward pass written out."""

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


# One pass instead of a comparison, a conversion and a product.
relu_gradient = torch.ops.aten.threshold_backward


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

    def __init__(self, parameters: Tensor, grad: Tensor) -> None:
        self.mean = torch.zeros_like(parameters)
        self.square = torch.zeros_like(parameters)
        # float32 counts exactly to 16 million.
        self.steps = torch.zeros((len(parameters), 1, 1), device=parameters.device)
        self._rows = [list(t.unbind()) for t in (parameters, grad, self.mean, self.square)]
        self._row_steps = list(self.steps.flatten().unbind())

    def apply(self, lr: float) -> None:
        """One step of every row, in place, down its gradient."""
        self.steps += 1
        torch._fused_adam_(
            *self._rows,
            [],
            self._row_steps,
            lr=lr,
            beta1=self.BETAS[0],
            beta2=self.BETAS[1],
            weight_decay=0.0,
            eps=self.EPSILON,
            amsgrad=False,
            maximize=False,
        )

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.mean, self.square, self.steps

    def reset(self, row: int) -> None:
        """Forgets a row's moments and steps."""
        for tensor in self.tensors:
            tensor[row] = 0


class StackedTD3:
    """Updates all rows of a bank; twin critics are twice as many rows of one matrix product."""

    def __init__(self, bank: ParameterBank, hyper: Hyperparameters) -> None:
        self._hyper = hyper
        self._online = [bank.flat["actor"], bank.flat["critics"]]
        self._target = [bank.flat["target_actor"], bank.flat["target_critics"]]
        self._layers = {kind: bank.layers(kind) for kind in KINDS}
        self._first_critic = [(weight[::2], bias[::2]) for weight, bias in self._layers["critics"]]
        self._grad = {kind: torch.zeros_like(bank.flat[kind]) for kind in ("actor", "critics")}
        self._grads = {kind: bank.layers(kind, grad) for kind, grad in self._grad.items()}
        self.actor_adam = Adam(bank.flat["actor"], self._grad["actor"])
        self.critic_adam = Adam(bank.flat["critics"], self._grad["critics"])
        self.updates = 0
        self.actor_loss = torch.zeros(bank.n_cells, device=bank.device)

    @torch.no_grad()
    def update(self, batch: Batch) -> Losses:
        """One update of every cell; actors and targets every `policy_delay` updates."""
        critic_loss = self._update_critics(batch)
        self.updates += 1
        if self.updates % self._hyper.policy_delay == 0:
            self.actor_loss = self._update_actors(batch)
            for target, online in zip(self._target, self._online, strict=True):
                target.lerp_(online, self._hyper.tau)
        return Losses(critic_loss, self.actor_loss)

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

    def _update_critics(self, batch: Batch) -> Tensor:
        target = self.target(batch).repeat_interleave(2, dim=0)[..., None]
        pairs = _for_twins(torch.cat([batch.obs, batch.action], dim=-1))
        q, inputs = forward(self._layers["critics"], pairs)
        error = q - target
        grad = error * (2.0 / error.shape[1])
        backward(self._layers["critics"], inputs, grad, self._grads["critics"])
        self.critic_adam.apply(self._hyper.critic_lr)
        return error.square().mean(dim=(1, 2)).view(-1, 2).sum(dim=1)

    def _update_actors(self, batch: Batch) -> Tensor:
        logits, actor_inputs = forward(self._layers["actor"], batch.obs)
        action = shares(logits)
        pairs = torch.cat([batch.obs, action], dim=-1)
        q, critic_inputs = forward(self._first_critic, pairs)
        grad = torch.full_like(q, -1.0 / q.shape[1])
        grad = input_gradient(self._first_critic, critic_inputs, grad)
        grad = grad[..., batch.obs.shape[-1] :]
        grad = action * (grad - (grad * action).sum(dim=-1, keepdim=True))
        backward(self._layers["actor"], actor_inputs, grad, self._grads["actor"])
        self.actor_adam.apply(self._hyper.actor_lr)
        return -q.mean(dim=(1, 2))


def shares(logits: Tensor) -> Tensor:
    """Softmax over the last axis, which is short: torch is quicker over one that is not the last."""
    return torch.softmax(logits.transpose(1, 2).contiguous(), dim=1).transpose(1, 2)


def _for_twins(pairs: Tensor) -> Tensor:
    """(cell, batch, input) for both critics of each cell: (cell x 2, batch, input)."""
    return pairs.repeat_interleave(2, dim=0)
