"""The simulator compared with values that were not produced by it."""

from collections.abc import Callable, Iterator

from slicing_rllib.benchmarks import closed_forms, traffic_fit
from slicing_rllib.benchmarks.drop_cdfs import Reference, compare_drop_cdfs
from slicing_rllib.benchmarks.path_loss import compare_path_loss
from slicing_rllib.benchmarks.rows import Row
from slicing_rllib.benchmarks.torus_geometry import compare_torus_geometry
from slicing_rllib.radio import make_scenario

TRAFFIC_SEEDS = range(10)


def run(*, reference: Reference | None, on_message: Callable[[str], None]) -> Iterator[Row]:
    """Yields path loss, closed forms, TR 36.873's CDFs, and the paper's torus and traffic.

    Args:
        reference: Columns of TR 36.873's CDFs; None leaves this part out.
        on_message: Receives one line of text before each part.
    """
    on_message("comparing path loss")
    yield from compare_path_loss()
    on_message("comparing closed forms")
    yield from closed_forms.compare_closed_forms()
    if reference is None:
        on_message("leaving out the CDFs of TR 36.873: no reference file given")
    else:
        on_message("comparing the CDFs of TR 36.873")
        yield from compare_drop_cdfs(make_scenario("tr36873_uma"), reference)
    on_message("comparing the geometry of the paper's torus with that of 19 sites")
    yield from compare_torus_geometry(make_scenario("paper"))
    on_message("comparing the traffic of the paper's network")
    yield from traffic_fit.compare_with_targets(make_scenario("paper"), TRAFFIC_SEEDS)
