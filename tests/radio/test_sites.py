"""Sites by coordinates: the operator's names, differing sectors, and degrees taken for metres."""

from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.radio import MastSpec, SiteList, SiteSpec
from slicing_rllib.radio.gain_map import build_gain_map

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
    return build_gain_map(layout.sites, layout.area, paper.radio, 0).snr
