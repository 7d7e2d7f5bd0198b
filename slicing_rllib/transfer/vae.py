"""A variational autoencoder of samples [s, r]: the common latent space that cells meet in."""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from slicing_rllib.transfer.settings import VaeSettings

Samples = Float[np.ndarray, "sample feature"]
SMALLEST_SCALE = 1e-6
LOG_VARIANCE_LIMITS = (-20.0, 4.0)


class Posterior(NamedTuple):
    """Where samples lie in the latent space: N(mean, diag variance) for each."""

    mean: Float[np.ndarray, "*member sample latent"]
    variance: Float[np.ndarray, "*member sample latent"]


class Vae:
    """An ensemble; members are rows of the same matrix products."""

    def __init__(self, parameters: Mapping[str, np.ndarray]) -> None:
        self.parameters = dict(parameters)
        self._centre, self._scale = parameters["centre"], parameters["scale"]
        self._layers = {
            part: _layers({n: torch.from_numpy(p) for n, p in parameters.items()}, part)
            for part in ("encoder", "decoder")
        }

    def posterior(self, samples: Samples) -> Posterior:
        """Of each member, in float64."""
        with torch.no_grad():
            mean, log_variance = _encoded(self._layers["encoder"], self._standardised(samples))
        return Posterior(mean.double().numpy(), log_variance.double().exp().numpy())

    def reconstruction_error(self, samples: Samples) -> Float[np.ndarray, " member"]:
        """Mean squared error per standardised feature: 1 is no better than the mean."""
        x = self._standardised(samples)
        with torch.no_grad():
            mean, _ = _encoded(self._layers["encoder"], x)
            return (_run(self._layers["decoder"], mean) - x).square().mean(dim=(1, 2)).numpy()

    def _standardised(self, samples: Samples) -> Tensor:
        return torch.from_numpy(((samples - self._centre) / self._scale).astype(np.float32))[None]


def vae_loss(x: Tensor, decoded: Tensor, mean: Tensor, log_variance: Tensor, alpha: float):
    """|x - x^|^2 + alpha KL(N(mu, diag sigma^2) || N(0, I)), mean over samples: (member,).

    Source: the paper, eq. (6).
    """
    error = (x - decoded).square().sum(dim=-1)
    divergence = 0.5 * (log_variance.exp() + mean.square() - 1.0 - log_variance).sum(dim=-1)
    return (error + alpha * divergence).mean(dim=-1)


def train_vae(samples: Samples, settings: VaeSettings, seed: int) -> Vae:
    """Fitted to the union of all cells' samples, standardised by their pooled statistics.

    Raises: ValueError for samples that are not finite, or none.
    """
    if not len(samples) or not np.isfinite(samples).all():
        raise ValueError(f"vae: expected finite samples, got {len(samples)} of them")
    scale = np.maximum(samples.std(axis=0), SMALLEST_SCALE)
    centre = samples.mean(axis=0)
    x = torch.from_numpy(((samples - centre) / scale).astype(np.float32))
    generator = torch.Generator().manual_seed(seed)
    parameters = _fresh(samples.shape[1], settings, generator)
    _fit(parameters, x, settings, generator)
    fitted = {name: p.detach().numpy() for name, p in parameters.items()}
    return Vae({"centre": centre, "scale": scale, **fitted})


def _fit(
    parameters: dict[str, Tensor], x: Tensor, settings: VaeSettings, generator: torch.Generator
) -> None:
    adam = torch.optim.Adam(list(parameters.values()), lr=settings.lr, fused=True)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, settings.updates)
    encoder, decoder = (_layers(parameters, part) for part in ("encoder", "decoder"))
    shape = (settings.members, settings.batch)
    for _ in range(settings.updates):
        batch = x[torch.randint(len(x), shape, generator=generator)]
        mean, log_variance = _encoded(encoder, batch)
        noise = torch.randn(mean.shape, generator=generator)
        decoded = _run(decoder, mean + (0.5 * log_variance).exp() * noise)
        adam.zero_grad()
        vae_loss(batch, decoded, mean, log_variance, settings.kl_weight).sum().backward()
        adam.step()
        slower.step()


def _fresh(n_features: int, settings: VaeSettings, generator: torch.Generator) -> dict[str, Tensor]:
    """17 -> (64, 24, 4), (4, 24, 64) -> 17; the encoder ends in mean and log variance."""
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


def _layers(parameters: Mapping[str, Tensor], part: str) -> list[tuple[Tensor, Tensor]]:
    count = sum(name.startswith(f"{part}.") for name in parameters) // 2
    return [
        (parameters[f"{part}.{layer}.weight"], parameters[f"{part}.{layer}.bias"])
        for layer in range(count)
    ]


def _encoded(layers: list[tuple[Tensor, Tensor]], x: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_variance = _run(layers, x).chunk(2, dim=-1)
    return mean, log_variance.clamp(*LOG_VARIANCE_LIMITS)


def _run(layers: list[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    """ReLU between layers; (member, sample, feature)."""
    for number, (weight, bias) in enumerate(layers):
        x = torch.matmul(x, weight) + bias
        if number < len(layers) - 1:
            x = torch.relu(x)
    return x
