"""Cell selection and handover of UEs, with dense and with sparse maps."""

from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.radio import RadioSpec, make_hexagonal_scenario
from slicing_rllib.radio.sparse_map import StrongestCells, index_pairs
from slicing_rllib.radio.users import UNATTACHED, DenseReception, SparseReception, make_reception

SNR = np.array([[10.0, 1.0, 4.0], [1.0, 1.5, 0.1]])


def make_dense(paper) -> DenseReception:
    reception = DenseReception(paper, 0)
    reception.snr = SNR
    reception.switch_cells(np.zeros(3, bool))
    return reception


def make_sparse(paper) -> SparseReception:
    """The same map, as the strongest cells of each position."""
    reception = SparseReception(replace(paper, radio=RadioSpec(map_resolution_m=50.0)), 0)
    order = np.argsort(-SNR, axis=1).astype(np.int32)
    snr = np.take_along_axis(SNR, order, axis=1).astype(np.float32)
    reception._all_on = index_pairs(StrongestCells((1, 2), order, snr), 2.0)
    return reception


@pytest.fixture(params=[make_dense, make_sparse])
def reception(request, paper):
    return request.param(paper)


def test_a_ue_first_attaches_to_the_strongest_cell(reception):
    reception.switch_cells(np.ones(3, bool))
    unattached = np.full(2, UNATTACHED)
    assert reception.attach(np.array([0, 1]), unattached).serving.tolist() == [0, 1]


def test_a_ue_hands_over_once_another_cell_is_2_db_stronger(reception):
    """1.5 over 1 is 1.76 dB: the UE stays. 10 over 4 is 4 dB: it hands over."""
    reception.switch_cells(np.ones(3, bool))
    position = np.array([1, 0])
    attachment = reception.attach(position, np.array([0, 2]))
    assert attachment.serving.tolist() == [0, 0]
    assert reception.look_up_snr(position, attachment.rank).signal.tolist() == [1.0, 10.0]


def test_ues_leave_a_cell_that_is_switched_off_and_return_when_it_is_on(reception):
    reception.switch_cells(np.array([False, True, True]))
    elsewhere = reception.attach(np.array([0, 0]), np.array([0, 0])).serving
    assert elsewhere.tolist() == [2, 2]
    reception.switch_cells(np.ones(3, bool))
    assert reception.attach(np.array([0, 0]), elsewhere).serving.tolist() == [0, 0]


def test_small_networks_use_a_dense_map_and_large_ones_a_sparse_map(paper):
    assert isinstance(make_reception(paper, 0), DenseReception)
    coarse = replace(paper, radio=RadioSpec(map_resolution_m=50.0))
    assert isinstance(
        make_reception(make_hexagonal_scenario(3, 2, like=coarse), 0), SparseReception
    )


def test_pairs_refer_to_the_serving_and_the_received_cell(paper):
    """The serving cell's own pair has the index after the last."""
    coarse = replace(paper, radio=RadioSpec(map_resolution_m=50.0))
    reception = SparseReception(make_hexagonal_scenario(3, 3, like=coarse), 1)
    reception.switch_cells(np.ones(27, bool))
    cell_map = reception._map
    for rank in (0, 1):
        position = np.flatnonzero(cell_map.candidates > rank)
        serving = cell_map.cell[position, rank]
        pair = reception.look_up_snr(position, np.full(len(position), rank)).pair
        interferer = np.append(cell_map.pairs.interferer, -1)[pair]
        assert np.array_equal(
            np.where(interferer < 0, serving[:, None], interferer), cell_map.cell[position]
        )
        paired_with = np.append(cell_map.pairs.serving, -1)[pair]
        assert ((paired_with == serving[:, None]) | (paired_with < 0)).all()
