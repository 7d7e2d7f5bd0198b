"""Which version of each policy answers."""

import pytest

from slicing_rllib.serving.release import (
    Canary,
    Release,
    ReleaseHistory,
    parse_history,
    parse_pins,
)
from slicing_rllib.storage.errors import RunError

VERSIONS = {f"city-cell_{n}": [1, 2, 3] for n in range(1, 13)}


def test_the_newest_version_unless_something_else_is_asked_for():
    assert set(Release().select(VERSIONS).values()) == {3}
    assert set(Release(version=2).select(VERSIONS).values()) == {2}


def test_a_pin_goes_before_version_and_canary():
    release = Release(version=2, pins={"city-cell_1": 1}, canary=Canary(version=3, share=1.0))
    chosen = release.select(VERSIONS)
    assert chosen.pop("city-cell_1") == 1
    assert set(chosen.values()) == {3}


def test_a_canary_is_a_share_of_the_policies_and_always_the_same():
    release = Release(version=2, canary=Canary(version=3, share=0.25))
    chosen = release.select(VERSIONS)
    assert sorted(chosen.values()) == [2] * 9 + [3] * 3
    assert chosen == release.select(dict(reversed(VERSIONS.items())))


def test_a_frozen_release_ignores_later_versions():
    frozen = Release().freeze(VERSIONS)
    later = {name: [1, 2, 3, 4] for name in VERSIONS}
    assert frozen.select(later) == Release(version=3).select(later)


@pytest.mark.parametrize(
    ("release", "line"),
    [
        (Release(version=9), "city-cell_1 has no version 9, there is 1, 2, 3"),
        (Release(pins={"town": 1}), "pin town@1: no policy of that name"),
    ],
)
def test_what_does_not_exist_cannot_be_released(release: Release, line: str):
    with pytest.raises(RunError, match=line):
        release.select(VERSIONS)


def test_a_shadow_answers_beside_and_changes_nothing():
    release = ReleaseHistory(release=Release(version=2)).change(Release(shadow=3)).release
    assert set(release.select(VERSIONS).values()) == {2}
    assert set(release.select_shadow(VERSIONS).values()) == {3}


def test_forward_and_back():
    """Each step has a revision of its own, so that services notice it."""
    history = ReleaseHistory(release=Release(version=1))
    forward = history.change(Release(version=2))
    back = forward.change(None)
    assert [h.release.version for h in (history, forward, back)] == [1, 2, 1]
    assert [h.revision for h in (history, forward, back)] == [1, 2, 3]
    with pytest.raises(RunError, match="no earlier one"):
        back.change(None)


@pytest.mark.parametrize("text", ["city", "city@", "city@x", "@2", "city@0", "city@²"])
def test_a_pin_that_cannot_be_read(text: str):
    with pytest.raises(RunError, match="expected NAME@VERSION"):
        parse_pins([text])


def test_a_damaged_release_file_is_one_line():
    data = ReleaseHistory(release=Release(version=2)).model_dump_json().encode()
    assert parse_history("f", data).release.version == 2
    for damaged in (data[:-5], b'{"release": {"pins": 5}}', b'{"release": {"pins": "city@2"}}'):
        with pytest.raises(RunError, match=r"^f: ") as failure:
            parse_history("f", damaged)
        assert "\n" not in str(failure.value)
    with pytest.raises(RunError, match="pin '5': expected NAME@VERSION"):
        parse_history("f", b'{"release": {"pins": [5]}}')
