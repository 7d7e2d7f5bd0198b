"""Measures equal their definitions and obey their laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicing_rllib.registry import get_part, list_names
from slicing_rllib.transfer.distances import (
    Population,
    frechet_distances,
    kl_paper,
    lemma1,
    mean_shift,
    permutation_p_value,
    sla,
)

ZERO_FOR_IDENTICAL = sorted(set(list_names("measure")) - {"kl_paper", "lemma1"})


def population(rng, n=40, shift=0.0, spread=1.0):
    mean = shift + spread * rng.standard_normal((n, 4))
    variance = np.exp(rng.uniform(-6, 1, (n, 4)))
    raw = np.concatenate([mean, rng.standard_normal((n, 2))], axis=1)
    return Population(raw, mean, variance, np.array([4.0, 1.0]))


def kl(mean, variance, other_mean, other_variance):
    """Eq. (8) for diagonal Gaussians."""
    return 0.5 * np.sum(
        np.log(other_variance / variance)
        - 1
        + (mean - other_mean) ** 2 / other_variance
        + variance / other_variance
    )


def double_loop(source, target):
    """Eq. (7) written out as a double sum."""
    return np.mean(
        [
            kl(m, v, n, w)
            for m, v in zip(source.mean, source.variance, strict=True)
            for n, w in zip(target.mean, target.variance, strict=True)
        ]
    )


@pytest.mark.equation(7)
@given(st.integers(0, 2**31), st.floats(-50, 50))
def test_kl_in_linear_time_equals_the_double_sum(seed, shift):
    rng = np.random.default_rng(seed)
    cells = [population(rng, 5, shift), population(rng, 7, shift + 1, 0.3)]
    expected = [[double_loop(i, k) for k in cells] for i in cells]

    assert kl_paper(cells) == pytest.approx(np.array(expected), rel=1e-6, abs=1e-6)


@pytest.mark.equation(8)
def test_kl_between_two_single_samples():
    """N(0, 1) and N(1, 1) in one of four dimensions: 1/2. A sample and itself: 0."""
    ones, zeros = np.ones((1, 4)), np.zeros((1, 4))
    moved = np.array([[1.0, 0, 0, 0]])
    cells = [Population(m, m, ones, np.ones(1)) for m in (zeros, moved)]

    assert kl_paper(cells) == pytest.approx(np.array([[0, 0.5], [0.5, 0]]))


@pytest.mark.equation(9)
@given(st.integers(0, 2**31))
def test_lemma_1_is_the_mean_over_pairs_when_all_variances_are_equal(seed):
    rng = np.random.default_rng(seed)
    variance = 1e-3
    cells = [
        p._replace(variance=np.full_like(p.mean, variance))
        for p in (population(rng, 6), population(rng, 9, 2.0))
    ]
    pairs = ((cells[0].mean[:, None] - cells[1].mean[None]) ** 2).sum(axis=2)

    assert lemma1(cells)[0, 1] == pytest.approx(pairs.mean() / (2 * variance))


def test_lemma_1_prefers_a_source_with_little_variance_to_a_twin_and_mean_shift_does_not():
    """The flaw of Lemma 1: a source that hardly varies is near to every target."""
    rng = np.random.default_rng(0)
    target = population(rng, 400)
    twin, distant = population(rng, 400), population(rng, 400, shift=0.8, spread=0.05)
    cells = [twin, distant, target]

    assert np.argmin(lemma1(cells)[:2, 2]) == 1
    assert np.argmin(mean_shift(cells)[:2, 2]) == 0


@pytest.mark.parametrize("name", ZERO_FOR_IDENTICAL)
def test_the_distance_between_identical_cells_is_zero(name):
    rng = np.random.default_rng(2)
    one = population(rng)
    other = population(rng, shift=3.0)._replace(sla=np.array([1.0, 1.0]))
    distances = get_part("measure", name)([one, one, other])

    assert distances[0, 1] == pytest.approx(0.0, abs=1e-6)
    assert distances[0, 2] > 0.01
    assert (distances >= 0).all()


@pytest.mark.parametrize("name", sorted(list_names("measure")))
def test_relabelling_cells_permutes_distances(name):
    rng = np.random.default_rng(3)
    cells = [population(rng, 30, shift) for shift in (0.0, 0.5, 2.0, 4.0)]
    order = [2, 0, 3, 1]
    distances = get_part("measure", name)(cells)

    assert get_part("measure", name)([cells[i] for i in order]) == pytest.approx(
        distances[np.ix_(order, order)], rel=1e-9, abs=1e-9
    )


@pytest.mark.parametrize(
    "name", sorted(set(list_names("measure")) - {"sla", "kl_paper", "sla_first"})
)
def test_a_larger_shift_gives_a_larger_distance(name):
    """Three cells on a line: the outer two have the largest distance."""
    rng = np.random.default_rng(4)
    cells = [population(rng, 300, shift) for shift in (0.0, 1.0, 3.0)]
    distances = get_part("measure", name)(cells)

    assert distances[0, 1] < distances[0, 2]
    assert distances[2, 1] < distances[2, 0]


def test_the_frechet_distance_between_two_known_gaussians():
    """Equal means, standard deviations 1 and 3 in one dimension: (3 - 1)^2."""
    line = np.linspace(-1, 1, 2001)
    line = (line / line.std())[:, None]

    assert frechet_distances([line, 3 * line])[0, 1] == pytest.approx(4.0, abs=0.01)


def test_slas_are_compared_by_their_ratio():
    """Twice the required throughput is as far away as half of it."""
    blank = np.zeros((1, 4))
    cells = [Population(blank, blank, blank, np.array([phi])) for phi in (1.0, 2.0, 4.0)]

    assert sla(cells)[0, 1] == pytest.approx(sla(cells)[1, 2])


def test_the_permutation_test_distinguishes_equal_from_different_distributions():
    rng = np.random.default_rng(5)
    one, same = rng.standard_normal((2, 200, 3))
    other = rng.standard_normal((200, 3)) + 1.0

    assert permutation_p_value(one, same, rng, rounds=99) > 0.05
    assert permutation_p_value(one, other, rng, rounds=99) == pytest.approx(0.01)


def test_autocorrelated_samples_from_one_distribution_are_seldom_significant():
    """A permutation of single samples instead of blocks would reject far too often."""
    rng = np.random.default_rng(6)
    found = []
    for _ in range(20):
        noise = np.cumsum(rng.standard_normal((2, 200, 1)), axis=1)
        wave = np.array(
            [np.convolve(n[:, 0], np.ones(10) / 10, "same") for n in np.diff(noise, axis=1)]
        )
        one, other = wave[..., None]
        found.append(permutation_p_value(one, other, rng, rounds=49) <= 0.05)

    assert np.mean(found) <= 0.25


def test_the_sla_decides_first_and_experience_among_equal_slas():
    """A near cell with another SLA is farther than a distant cell with the same SLA."""
    rng = np.random.default_rng(7)
    target = population(rng, 50)
    same_far, same_near = population(rng, 50, shift=2.0), population(rng, 50, shift=1.0)
    other = population(rng, 50)._replace(sla=np.array([2.0, 1.0]))
    to_target = get_part("measure", "sla_first")([same_far, same_near, other, target])[:3, 3]

    assert np.argsort(to_target).tolist() == [1, 0, 2]
