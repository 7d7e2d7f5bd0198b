"""Large networks: keeping only the strongest cells preserves results, and memory grows linearly."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.radio import (
    MastSpec,
    Phase,
    RadioSpec,
    Scenario,
    Simulator,
    SiteList,
    SiteSpec,
    make_hexagonal_scenario,
)
from slicing_rllib.radio.gain_map import build_gain_map
from slicing_rllib.radio.interference import ActiveUes
from slicing_rllib.radio.sparse_map import CellPairs, find_strongest_cells
from slicing_rllib.registry import get_part, list_names

COARSE = RadioSpec(map_resolution_m=50.0)


def grid(paper: Scenario, rows: int, columns: int, radio: RadioSpec = COARSE) -> Scenario:
    return make_hexagonal_scenario(rows, columns, like=replace(paper, radio=radio))


def splits(seed: int, steps: int, n_cells: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(4), (steps, n_cells))


def equal_kpis(some, others) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


@pytest.mark.parametrize("placement", list_names("placement"))
def test_sparse_and_dense_interference_agree(placement):
    """Every UE receives every cell here, so both placements must give the same interference."""
    rng = np.random.default_rng(3)
    n_cells, n_slices, members = 5, 4, 60
    key = rng.integers(0, n_cells * n_slices, members)
    snr = 10 ** rng.uniform(-1, 4, (members, n_cells))
    serving, other = np.divmod(np.arange(n_cells**2), n_cells)
    differs = serving != other
    number = np.where(differs, np.cumsum(differs) - 1, differs.sum()).reshape(n_cells, n_cells)
    users = np.bincount(key, minlength=n_cells * n_slices).reshape(n_cells, -1).astype(float)
    signal = snr[np.arange(members), key // n_slices]
    dense = ActiveUes(key, signal, snr, users)
    sparse = dense._replace(
        snr=snr.astype(np.float32), pair=number[key // n_slices].astype(np.int32)
    )
    share = rng.dirichlet(np.ones(n_slices), n_cells)
    share[1] = (0.0, 0.5, 0.0, 0.5)
    on = np.arange(n_cells) != 3
    pairs = CellPairs(serving[differs], other[differs])
    compute_dense = (
        get_part("placement", placement).dense(on, n_slices, 0.05).interference(dense, share)
    )
    sparse_placement = get_part("placement", placement).sparse(on, n_slices, 0.05, pairs)
    compute_sparse = sparse_placement.interference(sparse, share)
    for utilisation in (np.zeros_like(share), rng.random(share.shape)):
        expected = compute_dense(utilisation)
        has_prbs = share.ravel()[key] > 0
        assert compute_sparse(utilisation)[has_prbs] == pytest.approx(expected[has_prbs], rel=1e-4)


@pytest.mark.parametrize("steps", [0, 1, 20])
@pytest.mark.parametrize("placement", list_names("placement"))
def test_a_restored_large_network_continues_bit_for_bit(paper, steps, placement):
    scenario = grid(paper, 4, 5, replace(COARSE, placement=placement))
    simulator = Simulator(scenario, 1, map_seed=0)
    for split in splits(0, steps, 60):
        simulator.step(split)
    simulator.set_phase("cell_17", Phase.OFF)
    state = simulator.state()
    expected = [simulator.step(split) for split in splits(1, 20, 60)]

    other = Simulator(scenario, 7, map_seed=0)
    other.restore(state)
    found = [other.step(split) for split in splits(1, 20, 60)]
    assert all(equal_kpis(a, b) for a, b in zip(expected, found, strict=True))


def test_loads_of_a_step_agree_with_the_bracketed_fixed_point(paper, bracket):
    simulator = Simulator(grid(paper, 4, 4), 0, map_seed=0)
    for split in splits(2, 10, 48):
        low, high = bracket(simulator, split, tolerance=1e-6)
        share = simulator.normalise_prb_ratio(split)
        assert (share * (high.utilisation - low.utilisation)).max() < 1e-4
        load = simulator.step(split).load
        assert np.abs(load - share * low.utilisation).max() < 3e-3


def test_ues_of_a_cell_that_is_off_attach_to_other_cells(paper):
    simulator = Simulator(grid(paper, 4, 4), 0, map_seed=0)
    equal = np.full((48, 4), 0.25)
    before = simulator.evaluate(equal)
    simulator.set_phase("cell_5", Phase.OFF)
    after = simulator.evaluate(equal)
    assert before.users[4].sum() > 0
    assert after.users[4].sum() == after.load[4].sum() == 0
    assert after.users.sum() == before.users.sum()
    assert 4 not in simulator.serving_map()
    simulator.set_phase("cell_5", Phase.CONTROLLED)
    assert simulator.evaluate(equal).users[4].sum() > 0


def test_sixteen_cells_contribute_nearly_all_interference(paper):
    """At full load, the other 56 of 72 cells add less than 0.2 dB at half of the positions."""
    scenario = grid(paper, 4, 6)
    few, many = (
        find_strongest_cells(scenario.sites, scenario.area, replace(COARSE, cells_kept=kept), 0)
        for kept in (16, 72)
    )
    assert np.array_equal(few.snr, many.snr[:, :16])
    loss_db = 10 * np.log10((1 + many.snr[:, 1:].sum(1)) / (1 + few.snr[:, 1:].sum(1)))
    assert np.median(loss_db) < 0.2
    assert np.quantile(loss_db, 0.95) < 0.6


def test_shadowing_is_continuous_across_tiles_and_the_seam_of_the_torus(paper):
    """Adjacent positions differ no more where tiles meet or where the torus wraps around."""
    radio = replace(COARSE, cells_kept=48)
    scenario = grid(paper, 10, 10, radio)
    found = find_strongest_cells(scenario.sites, scenario.area, radio, 0)
    rows, columns = scenario.area.grid_shape(radio.map_resolution_m)
    snr_db = np.full((rows * columns, 300), np.nan)
    np.put_along_axis(snr_db, found.cell, 10 * np.log10(found.snr), axis=1)
    surface = snr_db.reshape(rows, columns, 300)[:, :, ::3]
    near = surface > np.nanquantile(surface, 0.6)
    step = np.abs(np.roll(surface, -1, axis=1) - surface)
    step = np.where(near & np.roll(near, -1, axis=1), step, np.nan)
    inside = np.nanmean(step[:, 5:25])
    assert np.nanmean(step[:, 31]) == pytest.approx(inside, rel=0.2)
    assert np.nanmean(step[:, -1]) == pytest.approx(inside, rel=0.2)
    far = np.where(near & np.roll(near, -15, axis=1), np.roll(surface, -15, axis=1) - surface, 0)
    assert np.abs(far[far != 0]).mean() > 1.3 * inside


def snr_db(scenario: Scenario, seed: int, is_dense: bool) -> np.ndarray:
    """SNR of one sector per site, from the dense map or from the map of the strongest cells."""
    arguments = scenario.sites, scenario.area, scenario.radio, seed
    if is_dense:
        return 10 * np.log10(build_gain_map(*arguments))[:, ::3]
    found = find_strongest_cells(*arguments)
    table = np.empty(found.cell.shape)
    np.put_along_axis(table, found.cell, 10 * np.log10(found.snr), axis=1)
    return table[:, ::3]


def test_shadowing_has_the_same_statistics_in_dense_and_sparse_maps(paper):
    """Quantiles around the median over seeds, and the correlation between sites."""
    scenario = grid(paper, 4, 8, replace(COARSE, cells_kept=96))
    spreads, correlations = [], []
    for is_dense in (True, False):
        drawn = np.array([snr_db(scenario, seed, is_dense) for seed in range(7)])
        shadowing = drawn - np.median(drawn, axis=0)
        spreads.append(np.quantile(shadowing, (0.05, 0.25, 0.75, 0.95)))
        columns = (shadowing[..., site].ravel() for site in (0, 9, 3, 20, 5, 30))
        correlation = np.corrcoef(np.array(list(columns)))
        correlations.append(correlation[np.triu_indices(6, 1)].mean())
    assert spreads[0] == pytest.approx(spreads[1], abs=0.4)
    assert correlations[0] == pytest.approx(correlations[1], abs=0.04)
    assert correlations[0] > 0.25


def peak_bytes(scenario: Scenario) -> int:
    tracemalloc.start()
    simulator = Simulator(scenario, 0, map_seed=0)
    for _ in range(2):
        simulator.step(np.ones((len(scenario.cells), 4)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_grows_linearly_with_the_number_of_sites(paper):
    """Four times the sites take less than five times the memory; quadratic growth would take 16."""
    small, large = (peak_bytes(grid(paper, side, side)) for side in (6, 12))
    assert large < 5 * small


def test_masks_and_sla_groups_differ_between_cells_of_a_large_network(paper):
    mask = replace(paper.mask, cell_levels=(1.0, 0.5, 0.25), cell_turns=(0.0, 0.5))
    scenario = replace(grid(paper, 3, 4), mask=mask)
    assert scenario.sla_throughput_mbps.shape == (36, 4)
    assert len(np.unique(scenario.sla_throughput_mbps, axis=0)) == 2
    users = np.zeros((36, 4))
    simulator = Simulator(scenario, 0, map_seed=0)
    for _ in range(100):
        users += simulator.step(np.ones((36, 4))).users
    busy = users.sum(axis=1)
    assert busy[::3].mean() > 1.5 * busy[1::3].mean() > 2 * busy[2::3].mean()


def test_neighbours_in_a_large_network_are_nearby(paper):
    """All six are within two site distances, and they include both other sectors of the site."""
    scenario = grid(paper, 6, 6)
    neighbours = scenario.neighbours
    assert neighbours.shape == (108, 6)
    site = np.array([(s.x_m, s.y_m) for s in scenario.sites])
    for cell, others in enumerate(neighbours):
        offset_m = scenario.area.displacements_m(site[cell // 3], site[others // 3])
        assert np.linalg.norm(offset_m, axis=1).max() < 1001
        assert {3 * (cell // 3) + i for i in range(3)} - {cell} <= set(others)


def test_a_sparse_map_between_walls(paper):
    """Eight sites with different masts: UEs attach to near sites and not across a wall."""
    rng = np.random.default_rng(4)
    sites = tuple(
        SiteSpec(
            x_m=float(x),
            y_m=float(y),
            mast=MastSpec(height_m=float(20 + 2 * number), azimuths_deg=(0.0, 120.0, 240.0)),
            sla_groups=("A", "B", "A"),
        )
        for number, (x, y) in enumerate(rng.uniform(0, 2000, (8, 2)))
    )
    scenario = replace(paper, layout=SiteList(sites=sites), radio=COARSE)
    simulator = Simulator(scenario, 0)
    for split in splits(3, 10, 24):
        kpis = simulator.step(split)
    assert kpis.users.sum() > 0
    assert all(np.isfinite(column).all() for column in kpis)
    shape = simulator.serving_map().shape
    places_m = scenario.area.grid_m(shape)
    site_m = np.array([(site.x_m, site.y_m) for site in sites])
    to_serving_m = np.linalg.norm(places_m - site_m[simulator.serving_map() // 3], axis=-1)
    nearest_m = np.linalg.norm(places_m[:, :, None] - site_m, axis=-1).min(axis=2)
    assert (to_serving_m < nearest_m + 1000).mean() > 0.95


def test_the_layout_setting_and_hexagonal_give_the_same_grid(paper):
    """`layout: {rows: 5, columns: 4}` in a YAML file gives what `make_hexagonal_scenario` gives."""
    by_settings = replace(paper, layout=replace(paper.layout, rows=5, columns=4))
    assert by_settings.layout == make_hexagonal_scenario(5, 4, like=paper).layout
    assert len(by_settings.cells) == 60
