"""UEs attach to the strongest cell and stay a while, whichever way the map is kept."""

from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.radio import RadioSpec, hexagonal
from slicing_rllib.radio.reception import (
    UNATTACHED,
    DenseReception,
    SparseReception,
    reception_of,
)
from slicing_rllib.radio.sparse_map import paired
from slicing_rllib.radio.strongest_cells import StrongestCells

SNR = np.array([[10.0, 1.0, 4.0], [1.0, 1.5, 0.1]])


def dense(paper) -> DenseReception:
    found = DenseReception(paper, 0)
    found.snr = SNR
    found.switch(np.zeros(3, bool))
    return found


def sparse(paper) -> SparseReception:
    """The same map, as the strongest cells of each place."""
    found = SparseReception(replace(paper, radio=RadioSpec(map_resolution_m=50.0)), 0)
    order = np.argsort(-SNR, axis=1).astype(np.int32)
    snr = np.take_along_axis(SNR, order, axis=1).astype(np.float32)
    found._all = paired(StrongestCells((1, 2), order, snr), 2.0)
    return found


@pytest.fixture(params=[dense, sparse])
def reception(request, paper):
    return request.param(paper)


def test_a_ue_first_takes_the_strongest_cell(reception):
    reception.switch(np.ones(3, bool))
    nobody = np.full(2, UNATTACHED)
    assert reception.attach(np.array([0, 1]), nobody).serving.tolist() == [0, 1]


def test_a_ue_stays_until_another_cell_is_2_db_stronger(reception):
    """1.5 over 1 is 1.76 dB: stay. 10 over 4 is 4 dB: go."""
    reception.switch(np.ones(3, bool))
    position = np.array([1, 0])
    attached = reception.attach(position, np.array([0, 2]))
    assert attached.serving.tolist() == [0, 0]
    assert reception.listen(position, attached.rank).signal.tolist() == [1.0, 10.0]


def test_users_of_a_cell_that_goes_off_leave_it_and_come_back(reception):
    reception.switch(np.array([False, True, True]))
    away = reception.attach(np.array([0, 0]), np.array([0, 0])).serving
    assert away.tolist() == [2, 2]
    reception.switch(np.ones(3, bool))
    assert reception.attach(np.array([0, 0]), away).serving.tolist() == [0, 0]


def test_small_networks_are_looked_up_whole_and_large_ones_are_not(paper):
    assert isinstance(reception_of(paper, 0), DenseReception)
    coarse = replace(paper, radio=RadioSpec(map_resolution_m=50.0))
    assert isinstance(reception_of(hexagonal(3, 2, like=coarse), 0), SparseReception)


def test_pairs_lead_back_to_the_cells_that_are_heard(paper):
    """Each heard cell's pair names it and the serving one; the serving cell's own is the last."""
    coarse = replace(paper, radio=RadioSpec(map_resolution_m=50.0))
    found = SparseReception(hexagonal(3, 3, like=coarse), 1)
    found.switch(np.ones(27, bool))
    kept = found._map
    for rank in (0, 1):
        place = np.flatnonzero(kept.candidates > rank)
        serving = kept.cell[place, rank]
        pair = found.listen(place, np.full(len(place), rank)).pair
        other = np.append(kept.pairs.other, -1)[pair]
        assert np.array_equal(np.where(other < 0, serving[:, None], other), kept.cell[place])
        paired_with = np.append(kept.pairs.serving, -1)[pair]
        assert ((paired_with == serving[:, None]) | (paired_with < 0)).all()
