"""Variational autoencoder of samples [s, r], whose latent space is common to all cells."""

import itertools
from collections.abc import Mapping
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


class Vae:
    """A trained ensemble. All members are evaluated in one batched matrix product.

    Args:
        parameters: the encoder's and decoder's weights, and the `centre` and `scale` of the
            training samples, by name.
    """

    def __init__(self, parameters: Mapping[str, np.ndarray]) -> None:
        self.parameters = dict(parameters)
        self._centre, self._scale = parameters["centre"], parameters["scale"]
        self._layers = {
            part: _list_layers({n: torch.from_numpy(p) for n, p in parameters.items()}, part)
            for part in ("encoder", "decoder")
        }

    def posterior(self, samples: Samples) -> Posterior:
        """The posterior of every sample under each member, in float64."""
        with torch.no_grad():
            mean, log_variance = _encode(self._layers["encoder"], self._standardise(samples))
        return Posterior(mean.double().numpy(), log_variance.double().exp().numpy())

    def reconstruction_error(self, samples: Samples) -> Float[np.ndarray, " member"]:
        """Mean squared error per standardised feature; predicting the mean would score 1."""
        x = self._standardise(samples)
        with torch.no_grad():
            mean, _ = _encode(self._layers["encoder"], x)
            return (_run(self._layers["decoder"], mean) - x).square().mean(dim=(1, 2)).numpy()

    def _standardise(self, samples: Samples) -> Tensor:
        return torch.from_numpy(((samples - self._centre) / self._scale).astype(np.float32))[None]


def vae_loss(x: Tensor, decoded: Tensor, mean: Tensor, log_variance: Tensor, alpha: float):
    """Loss of each member, |x - x^|^2 + alpha KL(N(mu, diag sigma^2) || N(0, I)), (member,).

    Source: the paper, eq. (6), as a mean over samples.

    Args:
        x: standardised samples, (member, sample, feature) like `decoded`.
        decoded: the decoder's output x^.
        mean: mu, (member, sample, latent) like `log_variance`.
        log_variance: ln sigma^2.
        alpha: weight of the divergence.
    """
    error = (x - decoded).square().sum(dim=-1)
    divergence = 0.5 * (log_variance.exp() + mean.square() - 1.0 - log_variance).sum(dim=-1)
    return (error + alpha * divergence).mean(dim=-1)


def train_vae(samples: Samples, settings: VaeSettings, seed: int) -> Vae:
    """A VAE trained on samples of all cells together, standardised by their pooled statistics.

    Args:
        samples: [s, r] of all cells.
        settings: architecture and training.
        seed: decides initial weights, batches and noise.

    Raises: ValueError where there are no samples, or one is not finite.
    """
    if not len(samples) or not np.isfinite(samples).all():
        raise ValueError(f"vae: expected finite samples, got {len(samples)} of them")
    scale = np.maximum(samples.std(axis=0), SMALLEST_SCALE)
    centre = samples.mean(axis=0)
    x = torch.from_numpy(((samples - centre) / scale).astype(np.float32))
    generator = torch.Generator().manual_seed(seed)
    parameters = _draw_parameters(samples.shape[1], settings, generator)
    _fit(parameters, x, settings, generator)
    fitted = {name: p.detach().numpy() for name, p in parameters.items()}
    return Vae({"centre": centre, "scale": scale, **fitted})


def _fit(
    parameters: dict[str, Tensor], x: Tensor, settings: VaeSettings, generator: torch.Generator
) -> None:
    adam = torch.optim.Adam(list(parameters.values()), lr=settings.lr, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, settings.updates)
    encoder, decoder = (_list_layers(parameters, part) for part in ("encoder", "decoder"))
    shape = (settings.members, settings.batch)
    for _ in range(settings.updates):
        batch = x[torch.randint(len(x), shape, generator=generator)]
        mean, log_variance = _encode(encoder, batch)
        noise = torch.randn(mean.shape, generator=generator)
        decoded = _run(decoder, mean + (0.5 * log_variance).exp() * noise)
        adam.zero_grad()
        vae_loss(batch, decoded, mean, log_variance, settings.kl_weight).sum().backward()
        adam.step()
        schedule.step()


def _draw_parameters(
    n_features: int, settings: VaeSettings, generator: torch.Generator
) -> dict[str, Tensor]:
    """Initial weights, uniform in +-1 / sqrt(fan_in).

    The encoder's last layer returns the latent mean and log variance side by side.
    """
    widths = {
        "encoder": (n_features, *settings.hiddens, 2 * settings.latent),
        "decoder": (settings.latent, *reversed(settings.hiddens), n_features),
    }
    parameters: dict[str, Tensor] = {}
    for part, sizes in widths.items():
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            for name, shape in (("weight", (fan_in, fan_out)), ("bias", (1, fan_out))):
                drawn = torch.rand((settings.members, *shape), generator=generator)
                parameters[f"{part}.{layer}.{name}"] = (
                    (2 * drawn - 1).mul(fan_in**-0.5).requires_grad_()
                )
    return parameters


def _list_layers(parameters: Mapping[str, Tensor], part: str) -> Layers:
    count = sum(name.startswith(f"{part}.") for name in parameters) // 2
    return [
        (parameters[f"{part}.{layer}.weight"], parameters[f"{part}.{layer}.bias"])
        for layer in range(count)
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
