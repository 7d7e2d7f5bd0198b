"""Positions of sites in hexagonal layouts."""

import numpy as np
import pytest

from slicing_rllib.radio.sites import (
    Area,
    cluster_torus,
    hexagonal_cluster_m,
    hexagonal_sites_m,
    hexagonal_torus,
)


@pytest.mark.parametrize("rings", [0, 1, 2, 3])
def test_every_site_of_a_wrapped_cluster_has_six_nearest_sites(rings):
    sites = np.array(hexagonal_cluster_m(rings, 500.0))
    torus = Area(origin_m=(0.0, 0.0), edges_m=cluster_torus(rings, 500.0), wraps=True)
    cell_m2 = 500.0**2 * np.sqrt(3) / 2

    assert torus.size_m2 == pytest.approx(len(sites) * cell_m2)
    distance_m = np.linalg.norm(torus.displacements_m(sites[:, None], sites[None]), axis=-1)
    distance_m += 1e9 * np.eye(len(sites))
    if rings:
        assert np.sort(distance_m, axis=1)[:, :6] == pytest.approx(500.0)


def test_every_site_of_a_wrapped_grid_has_six_nearest_sites():
    sites = np.array(hexagonal_sites_m(4, 5, 500.0))
    torus = Area(origin_m=(0.0, 0.0), edges_m=hexagonal_torus(4, 5, 500.0), wraps=True)
    distance_m = np.linalg.norm(torus.displacements_m(sites[:, None], sites[None]), axis=-1)
    assert np.sort(distance_m + 1e9 * np.eye(20), axis=1)[:, :6] == pytest.approx(500.0)
