"""What we are compared with really trains."""

import pytest

from slicing_rllib.benchmarks.learning_peers import Peer, Sb3TD3, bare_loop, loops, medians
from slicing_rllib.radio import built_in


@pytest.mark.parametrize("build", [bare_loop, loops, Sb3TD3])
def test_a_peer_makes_steps(build):
    peer = build(built_in("paper"))

    assert isinstance(peer, Peer)
    assert peer.run(0.01) > 0


def test_turns_are_interleaved_and_medians_taken():
    turns = []

    class Told:
        def __init__(self, name, rates):
            self.name, self.rates = name, iter(rates)

        def run(self, seconds):
            turns.append((self.name, seconds))
            return next(self.rates)

        def close(self): ...

    peers = {"a": Told("a", [1, 9, 2]), "b": Told("b", [4, 4, 5])}

    assert dict(medians(peers, 3, 0.5)) == {"a": 2, "b": 4}
    assert turns == [("a", 0.5), ("b", 0.5)] * 3
