"""Areas, hexagonal layouts and lists of sites."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicing_rllib.radio import HexagonalCluster, HexagonalGrid, MastSpec, SiteList, SiteSpec
from slicing_rllib.radio.gain_map import build_gain_map
from slicing_rllib.radio.sites import Area

THREE = ("A", "A", "A")


def make_sites(*positions_m: tuple[float, float], **site) -> tuple[SiteSpec, ...]:
    return tuple(SiteSpec(x_m=x, y_m=y, sla_groups=THREE, **site) for x, y in positions_m)


def test_degrees_where_metres_are_expected_are_noticed():
    with pytest.raises(ValueError, match=r"expected sites in metres, got sites within 0\.0069 m"):
        SiteList(sites=make_sites((11.582, 48.1351), (11.5755, 48.1374)))


@pytest.mark.parametrize("x_m", [float("nan"), float("inf")])
def test_a_position_that_is_not_finite_is_refused(x_m):
    with pytest.raises(ValueError, match=r"x_m\n.*finite number"):
        make_sites((x_m, 0.0))


def test_cells_keep_the_operators_names_beside_their_own(paper):
    first = replace(make_sites((0.0, 0.0))[0], cell_ids=("MUC1_1", "MUC1_2", "MUC1_3"))
    layout = SiteList(sites=(first, *make_sites((500.0, 0.0))))
    scenario = replace(paper, layout=layout)
    assert scenario.cells[:3] == ("cell_1", "cell_2", "cell_3")
    assert scenario.cell_ids == ("MUC1_1", "MUC1_2", "MUC1_3", "cell_4", "cell_5", "cell_6")


def test_a_cell_name_that_stands_twice_is_refused():
    site = replace(make_sites((0.0, 0.0))[0], cell_ids=("a", "b", "a"))
    with pytest.raises(ValueError, match="cell_ids: 'a' appears more than once"):
        SiteList(sites=(site,))


@pytest.mark.parametrize("name", ["sector_powers_dbm", "sector_tilts_deg"])
def test_a_mast_needs_as_many_powers_and_tilts_as_azimuths(name):
    with pytest.raises(ValueError, match=f"as many {name} as azimuths_deg, got 2 and 3"):
        MastSpec(**{name: (40.0, 43.0)})


def test_a_sector_with_10_db_less_power_has_a_tenth_of_the_snr(paper):
    """The other two sectors are as before."""
    weaker = MastSpec(sector_powers_dbm=(36.0, 46.0, 46.0))
    snr = [_compute_snr(paper, mast) for mast in (MastSpec(), weaker)]
    assert snr[1][:, 0] == pytest.approx(0.1 * snr[0][:, 0])
    assert np.array_equal(snr[1][:, 1:], snr[0][:, 1:])


def _compute_snr(paper, mast: MastSpec) -> np.ndarray:
    layout = SiteList(sites=make_sites((0.0, 0.0), mast=mast))
    return build_gain_map(layout.sites, layout.area, paper.radio, 0)


@pytest.mark.parametrize("rings", [0, 1, 2, 3])
def test_every_site_of_a_wrapped_cluster_has_six_nearest_sites(rings):
    layout = HexagonalCluster(rings=rings, sla_groups=("A",))
    sites, torus = np.array([(site.x_m, site.y_m) for site in layout.sites]), layout.area
    cell_m2 = 500.0**2 * np.sqrt(3) / 2

    assert torus.size_m2 == pytest.approx(len(sites) * cell_m2)
    distance_m = np.linalg.norm(torus.displacements_m(sites[:, None], sites[None]), axis=-1)
    distance_m += 1e9 * np.eye(len(sites))
    if rings:
        assert np.sort(distance_m, axis=1)[:, :6] == pytest.approx(500.0)


def test_every_site_of_a_wrapped_grid_has_six_nearest_sites():
    layout = HexagonalGrid(rows=4, columns=5, sla_groups=("A",))
    sites, torus = np.array([(site.x_m, site.y_m) for site in layout.sites]), layout.area
    distance_m = np.linalg.norm(torus.displacements_m(sites[:, None], sites[None]), axis=-1)
    assert np.sort(distance_m + 1e9 * np.eye(20), axis=1)[:, :6] == pytest.approx(500.0)


TORUS = HexagonalGrid(sla_groups=("A",)).area
BOX = Area(origin_m=(-10.0, 0.0), edges_m=((100.0, 0.0), (0.0, 50.0)), wraps=False)
points = st.tuples(st.floats(-3000, 3000), st.floats(-3000, 3000)).map(np.array)


@given(points, points, st.integers(-3, 3), st.integers(-3, 3))
def test_distances_do_not_change_when_a_point_moves_around_the_torus(start, end, rows, columns):
    periods = np.array([rows, columns]) @ np.array(TORUS.edges_m)

    plain = np.linalg.norm(TORUS.displacements_m(start, end))
    moved = np.linalg.norm(TORUS.displacements_m(start, end + periods))

    assert moved == pytest.approx(plain, abs=1e-6)


@given(points, points)
def test_no_image_of_a_point_is_nearer_than_the_displacement(start, end):
    edges = np.array(TORUS.edges_m)
    images = [end + np.array([i, j]) @ edges for i in range(-9, 10) for j in range(-9, 10)]
    nearest = min(np.linalg.norm(image - start) for image in images)

    assert np.linalg.norm(TORUS.displacements_m(start, end)) == pytest.approx(nearest, abs=1e-6)


@given(points)
def test_fractions_and_metres_are_inverse(point):
    back = TORUS.metres(TORUS.fractions(point))
    assert TORUS.displacements_m(point, back) == pytest.approx([0, 0], abs=1e-6)
    assert BOX.metres(BOX.fractions(point)) == pytest.approx(point, abs=1e-6)


def test_the_grid_covers_the_area_evenly():
    shape = BOX.grid_shape(10.0)
    assert shape == (10, 5)
    assert BOX.grid_m(shape)[0, 0] == pytest.approx([-5.0, 5.0])
    assert BOX.grid_m(shape)[-1, -1] == pytest.approx([85.0, 45.0])
