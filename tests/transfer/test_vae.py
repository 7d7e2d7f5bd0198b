"""The loss, eq. (6), and what a trained model represents."""

import numpy as np
import pytest
import torch

from slicing_rllib.transfer.transfer_settings import VaeSettings
from slicing_rllib.transfer.vae import train_vae, vae_loss

QUICK = VaeSettings(updates=150, members=2)


@pytest.fixture
def samples():
    """Seventeen features that are linear in three numbers."""
    rng = np.random.default_rng(1)
    return rng.standard_normal((600, 3)) @ rng.standard_normal((3, 17))


@pytest.mark.equation(6)
def test_the_loss_is_the_squared_error_plus_the_weighted_divergence():
    """Errors of 1 and 2 give 5; N(1, 1) diverges from N(0, 1) by 1/2; alpha 0.1: 5.05."""
    x, decoded = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[0.0, 0.0]]])
    mean, log_variance = torch.tensor([[[1.0]]]), torch.tensor([[[0.0]]])

    assert vae_loss(x, decoded, mean, log_variance, 0.1).item() == pytest.approx(5.05)


def test_four_latent_dimensions_represent_three_hidden_ones(samples):
    vae = train_vae(samples, QUICK, seed=0)

    assert (vae.reconstruction_error(samples) < 0.15).all()


def test_layers_have_the_widths_of_the_paper(samples):
    vae = train_vae(samples, VaeSettings(updates=1), seed=0)
    posterior = vae.posterior(samples)

    assert posterior.mean.shape == posterior.variance.shape == (3, 600, 4)
    assert [tuple(weight.shape[1:]) for weight, _ in vae.encoder] == [
        (17, 64),
        (64, 24),
        (24, 8),
    ]
    assert [tuple(weight.shape[1:]) for weight, _ in vae.decoder] == [
        (4, 24),
        (24, 64),
        (64, 17),
    ]


def test_the_seed_determines_the_model(samples):
    one, same, other = (train_vae(samples, QUICK, seed).posterior(samples) for seed in (5, 5, 6))

    assert np.array_equal(one.mean, same.mean)
    assert not np.array_equal(one.mean, other.mean)


def test_the_posterior_does_not_depend_on_units(samples):
    """Features in other units are standardised to the same values."""
    scale = np.linspace(0.1, 50, 17)
    one = train_vae(samples, QUICK, 0).posterior(samples)
    other = train_vae(samples * scale + 3, QUICK, 0).posterior(samples * scale + 3)

    assert np.allclose(one.mean, other.mean, atol=0.05)


def test_a_constant_feature_gives_a_finite_posterior(samples):
    samples[:, 4] = 7.0

    assert np.isfinite(train_vae(samples, QUICK, 0).posterior(samples).mean).all()


def test_samples_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="expected finite samples"):
        train_vae(np.full((3, 17), np.nan), QUICK, 0)
