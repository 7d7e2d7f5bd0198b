"""Variational autoencoder of samples [s, r], whose latent space is common to all cells."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from slicing_rllib.transfer.transfer_settings import VaeSettings

Samples = Float[np.ndarray, "sample feature"]
SMALLEST_SCALE = 1e-6
"""Lower limit of a feature's standard deviation, so that a constant feature becomes zero."""
LOG_VARIANCE_LIMITS = (-20.0, 4.0)
"""Range of the encoder's log variance, so that its exponential neither overflows nor vanishes."""
Layers = list[tuple[Tensor, Tensor]]
"""Weight and bias of each layer."""


class Posterior(NamedTuple):
    """Distribution N(mean, diag variance) of each sample in the latent space."""

    mean: Float[np.ndarray, "*member sample latent"]
    variance: Float[np.ndarray, "*member sample latent"]


class Vae(NamedTuple):
    """A trained ensemble. All members are evaluated in one batched matrix product."""

    centre: Float[np.ndarray, " feature"]
    """Mean of the training samples."""
    scale: Float[np.ndarray, " feature"]
    """Standard deviation of the training samples."""
    encoder: Layers
    """Its last layer returns the latent mean and log variance side by side."""
    decoder: Layers

    def posterior(self, samples: Samples) -> Posterior:
        """The posterior of every sample under each member, in float64."""
        with torch.no_grad():
            mean, log_variance = _encode(self.encoder, self.standardise(samples))
        return Posterior(mean.double().numpy(), log_variance.double().exp().numpy())

    def reconstruction_error(self, samples: Samples) -> Float[np.ndarray, " member"]:
        """Mean squared error per standardised feature; predicting the mean would score 1."""
        x = self.standardise(samples)
        with torch.no_grad():
            mean, _ = _encode(self.encoder, x)
            return (_run(self.decoder, mean) - x).square().mean(dim=(1, 2)).numpy()

    def standardise(self, samples: Samples) -> Tensor:
        """The samples as all members read them, (1, sample, feature)."""
        return torch.from_numpy(((samples - self.centre) / self.scale).astype(np.float32))[None]


def vae_loss(x: Tensor, decoded: Tensor, mean: Tensor, log_variance: Tensor, alpha: float):
    """Loss of each member, |x - x^|^2 + alpha KL(N(mu, diag sigma^2) || N(0, I)), (member,).

    `x` and `decoded` are (member, sample, feature); mu (`mean`) and ln sigma^2 are (member, sample,
    latent). Source: the paper, eq. (6), as a mean over samples.
    """
    error = (x - decoded).square().sum(dim=-1)
    divergence = 0.5 * (log_variance.exp() + mean.square() - 1.0 - log_variance).sum(dim=-1)
    return (error + alpha * divergence).mean(dim=-1)


def train_vae(samples: Samples, settings: VaeSettings, seed: int) -> Vae:
    """A VAE trained on samples of all cells together, standardised by their pooled statistics.

    The seed decides initial weights, batches and noise.

    Raises: ValueError where there are no samples, or one is not finite.
    """
    if not len(samples) or not np.isfinite(samples).all():
        raise ValueError(f"vae: expected finite samples, got {len(samples)} of them")
    n_features, generator = samples.shape[1], torch.Generator().manual_seed(seed)
    outer, inner = (n_features, *settings.hiddens), (settings.latent, *reversed(settings.hiddens))
    vae = Vae(
        samples.mean(axis=0),
        np.maximum(samples.std(axis=0), SMALLEST_SCALE),
        _draw_layers((*outer, 2 * settings.latent), settings.members, generator),
        _draw_layers((*inner, n_features), settings.members, generator),
    )
    _fit(vae, vae.standardise(samples)[0], settings, generator)
    return vae


def _fit(vae: Vae, x: Tensor, settings: VaeSettings, generator: torch.Generator) -> None:
    parameters = [p for layer in vae.encoder + vae.decoder for p in layer]
    adam = torch.optim.Adam(parameters, lr=settings.lr, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, settings.updates)
    shape = (settings.members, settings.batch)
    for _ in range(settings.updates):
        batch = x[torch.randint(len(x), shape, generator=generator)]
        mean, log_variance = _encode(vae.encoder, batch)
        noise = torch.randn(mean.shape, generator=generator)
        decoded = _run(vae.decoder, mean + (0.5 * log_variance).exp() * noise)
        adam.zero_grad()
        vae_loss(batch, decoded, mean, log_variance, settings.kl_weight).sum().backward()
        adam.step()
        schedule.step()


def _draw_layers(widths: Sequence[int], members: int, generator: torch.Generator) -> Layers:
    """Initial weights, uniform in +-1 / sqrt(fan_in)."""

    def draw(fan_in: int, *shape: int) -> Tensor:
        drawn = torch.rand((members, *shape), generator=generator)
        return (2 * drawn - 1).mul(fan_in**-0.5).requires_grad_()

    return [
        (draw(fan_in, fan_in, fan_out), draw(fan_in, 1, fan_out))
        for fan_in, fan_out in itertools.pairwise(widths)
    ]


def _encode(layers: Layers, x: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_variance = _run(layers, x).chunk(2, dim=-1)
    return mean, log_variance.clamp(*LOG_VARIANCE_LIMITS)


def _run(layers: Layers, x: Tensor) -> Tensor:
    """Output of a network with ReLU between its layers, (member, sample, feature)."""
    for number, (weight, bias) in enumerate(layers):
        x = torch.matmul(x, weight) + bias
        if number < len(layers) - 1:
            x = torch.relu(x)
    return x
