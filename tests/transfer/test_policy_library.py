"""Bundles are written completely, read without pickle, and refused with a reason."""

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slicing_rllib.learning.replay import Transitions
from slicing_rllib.storage.errors import LibraryError
from slicing_rllib.transfer.policy_library import Bundle, PolicyLibrary
from slicing_rllib.transfer.sources import explain_refusal


def transitions(n):
    return Transitions(
        obs=np.ones((n, 3), np.float32),
        action=np.ones((n, 2), np.float32),
        reward=np.arange(n, dtype=np.float32),
        next_obs=np.ones((n, 3), np.float32),
        terminated=np.zeros(n, np.float32),
        counterfactual_inputs=np.zeros((n, 4), np.float32),
        reward_inputs=np.ones((n, 4), np.float32),
    )


@pytest.fixture
def bundle():
    return Bundle(
        weights={"actor.0.weight": np.arange(6, dtype=np.float32).reshape(2, 3)},
        experience=transitions(5),
        default_action_experience=transitions(2),
        slices=("video", "voice"),
        sla_throughput_mbps=(4.0, 1.0),
        sla_delay_ms=(3.0, 1.0),
        message="mean_load",
        returns={"evaluation_reward_mean": 0.9},
        provenance={"run": "quick", "cell": "cell_3"},
    )


@pytest.fixture(params=["folder", "uri"])
def library(request, tmp_path):
    where = str(tmp_path / "policies")
    return PolicyLibrary(where if request.param == "folder" else f"file://{where}")


def test_a_loaded_bundle_equals_the_one_that_was_added(library, bundle):
    assert library.add("city-cell_3", bundle) == 1
    loaded = library.load("city-cell_3")

    assert np.array_equal(loaded.weights["actor.0.weight"], bundle.weights["actor.0.weight"])
    assert loaded.experience.reward.tolist() == [0, 1, 2, 3, 4]
    assert len(loaded.default_action_experience.reward) == 2
    for field in ("slices", "sla_throughput_mbps", "sla_delay_ms", "message", "provenance"):
        assert getattr(loaded, field) == getattr(bundle, field)


def test_versions_are_numbered_and_the_newest_is_the_default(library, bundle):
    library.add("a", bundle)
    library.add("a", replace(bundle, returns={"evaluation_reward_mean": 0.95}))

    assert library.list_versions() == {"a": [1, 2]}
    assert library.read_manifest("a").returns["evaluation_reward_mean"] == 0.95
    assert library.read_manifest("a", 1).returns["evaluation_reward_mean"] == 0.9


def test_a_removed_version_is_no_longer_listed(library, bundle):
    for name in ("a", "a", "b"):
        library.add(name, bundle)

    assert library.remove("a", 1) == [1]
    assert library.list_versions() == {"a": [2], "b": [1]}
    assert library.remove("a") == [2]
    assert library.list_versions() == {"b": [1]}


def test_an_empty_folder_has_no_bundles(library):
    assert library.list_versions() == {}
    with pytest.raises(LibraryError, match="no bundle 'a', there is nothing"):
        library.load("a")


def test_a_file_that_has_changed_is_refused(tmp_path, bundle):
    library = PolicyLibrary(str(tmp_path))
    library.add("a", bundle)
    file = tmp_path / "a" / "0001" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")

    with pytest.raises(LibraryError, match="has changed since it was written"):
        library.load("a")


def test_a_folder_without_manifest_is_not_a_bundle(tmp_path, bundle):
    """A process that ends while it writes leaves such a folder."""
    library = PolicyLibrary(str(tmp_path))
    library.add("a", bundle)
    (tmp_path / "a" / "0001" / "manifest.json").unlink()

    assert library.list_versions() == {}


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden"])
def test_a_name_that_would_leave_the_library_is_refused(library, bundle, name):
    with pytest.raises(LibraryError, match="expected letters, digits"):
        library.add(name, bundle)


def test_a_bundle_consists_of_safetensors_and_json_only(tmp_path, bundle):
    PolicyLibrary(str(tmp_path)).add("a", bundle)

    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {
        ".safetensors",
        ".json",
    }


def test_a_bundle_that_does_not_fit_is_refused_with_the_reason(bundle):
    own = {"actor.0.weight": np.zeros((2, 3))}

    assert explain_refusal(bundle, like=own, slices=2, message="mean_load") == ""
    assert "2 slices, expected 3" in explain_refusal(
        bundle, like=own, slices=3, message="mean_load"
    )
    assert "message" in explain_refusal(bundle, like=own, slices=2, message="none")
    wide = {"actor.0.weight": np.zeros((2, 4))}
    assert "expected (2, 4)" in explain_refusal(bundle, like=wide, slices=2, message="mean_load")


def test_a_uri_that_cannot_be_opened_is_refused():
    with pytest.raises(LibraryError, match="expected a folder or a URI"):
        PolicyLibrary("nonsense://x")


FILES = ("weights.safetensors", "experience.safetensors")


def change_manifest(folder: Path, **changes) -> None:
    path = folder / "city" / "0001" / "manifest.json"
    manifest = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in manifest.items() if value != "gone"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "gone"}, "sha256: Field required"),
        ({"sha256": ["x"]}, "sha256: Input should be an object"),
        ({"sha256": {}}, "sha256: Dictionary should have at least 2 items"),
        ({"sha256": {"../../etc/passwd": "0" * 64}}, "Input should be 'weights.safetensors' or"),
        ({"sha256": dict.fromkeys(FILES, "0" * 63)}, "String should match pattern"),
        ({"slices": "gone"}, "slices: Field required"),
        ({"slices": []}, "slices: Tuple should have at least 1 item"),
        ({"slices": [1]}, "slices: 0: Input should be a valid string"),
        ({"slices": "abc"}, "slices: Input should be a valid array"),
        ({"sla": {"throughput_mbps": [1.0], "delay_ms": []}}, "a number for each of 2 slices"),
        ({"sla": 3}, "sla: Input should be an object"),
        ({"message": None}, "message: Input should be a valid string"),
        ({"returns": {"a": "b"}}, "returns: a: Input should be a valid number"),
        ({"returns": {"a": float("nan")}}, "returns: a: Input should be a finite number"),
        ({"format": 99}, "format: Input should be 1"),
        ({"name": "gone"}, "name: Field required"),
        ({"transitions": "gone"}, "transitions: Field required"),
    ],
)
def test_a_malformed_manifest_is_refused_with_the_key(tmp_path, bundle, changes, message):
    library = PolicyLibrary(str(tmp_path))
    library.add("city", bundle)
    change_manifest(tmp_path, **changes)

    with pytest.raises(LibraryError, match=message):
        library.load("city")


@pytest.mark.parametrize("text", ["", "[]", "3", "[" * 10_000, "\x00", '{"format": 1'])
def test_a_manifest_that_is_no_mapping_is_refused(tmp_path, bundle, text):
    library = PolicyLibrary(str(tmp_path))
    library.add("city", bundle)
    (tmp_path / "city" / "0001" / "manifest.json").write_text(text)

    with pytest.raises(LibraryError, match="expected a manifest"):
        library.read_manifest("city")


@pytest.mark.timeout(10)
@pytest.mark.parametrize("file", ["manifest.json", "weights.safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "device", "link", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, bundle, file, kind):
    library = PolicyLibrary(str(tmp_path / "library"))
    library.add("city", bundle)
    path = tmp_path / "library" / "city" / "0001" / file
    content = path.read_bytes()
    path.unlink()
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "link":
            (tmp_path / "elsewhere").write_bytes(content)
            path.symlink_to(tmp_path / "elsewhere")
        case "folder":
            path.mkdir()

    with pytest.raises(LibraryError, match="expected a regular file"):
        library.load("city")


@pytest.mark.parametrize("linked", ["city", "city/0001"])
def test_a_folder_that_is_a_link_out_of_the_library_is_refused(tmp_path, bundle, linked):
    library = PolicyLibrary(str(tmp_path / "library"))
    library.add("city", bundle)
    (tmp_path / "library" / linked).rename(tmp_path / "elsewhere")
    (tmp_path / "library" / linked).symlink_to(tmp_path / "elsewhere")

    for read in (library.load, library.remove):
        with pytest.raises(LibraryError, match="a link out of it"):
            read("city")
    assert list((tmp_path / "elsewhere").rglob("manifest.json"))


@pytest.mark.parametrize("version", ["²", "1", "-001", "\u0660\u0660\u0660\u0661", "0001x"])
def test_a_folder_that_is_no_version_is_not_listed(tmp_path, bundle, version):
    library = PolicyLibrary(str(tmp_path))
    library.add("city", bundle)
    (tmp_path / "city" / "0001").rename(tmp_path / "city" / version)

    assert library.list_versions() == {}


def test_two_that_add_at_once_get_different_versions(tmp_path, bundle):
    """Both have seen the same newest version before."""
    libraries = [PolicyLibrary(str(tmp_path)) for _ in range(4)]
    versions: list[int] = []
    threads = [
        threading.Thread(target=lambda own=library: versions.append(own.add("city", bundle)))
        for library in libraries
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(versions) == [1, 2, 3, 4]
    assert libraries[0].list_versions() == {"city": [1, 2, 3, 4]}
    assert [libraries[0].read_manifest("city", n).version for n in versions] == versions


def test_a_bundle_that_nothing_could_load_is_not_published(tmp_path, bundle):
    library = PolicyLibrary(str(tmp_path))

    for broken, why in (
        ({"weights": {"actor": np.array([np.nan], np.float32)}}, "expected finite numbers"),
        ({"experience": transitions(5)._replace(reward=np.ones(4))}, "of experience of one length"),
        ({"experience": transitions(5)._replace(reward=np.full(5, np.nan))}, "finite numbers"),
    ):
        with pytest.raises(LibraryError, match=why):
            library.add("city", replace(bundle, **broken))
    assert library.list_versions() == {}
