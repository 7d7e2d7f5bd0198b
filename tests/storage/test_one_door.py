"""Files are opened by `slicing_rllib.storage` alone, which bounds what it reads."""

import ast
from pathlib import Path

import slicing_rllib

PACKAGE = Path(slicing_rllib.__file__).parent
READERS = {
    "open", "read_text", "read_bytes", "write_text", "write_bytes", "savefig", "load_file",
    "safe_open", "fromfile", "genfromtxt", "loadtxt", "memmap", "InferenceSession", "ParquetFile",
    "read_table", "read_parquet", "read_csv", "read_excel", "read_json", "read_feather",
    "read_pickle", "safe_load", "full_load", "unsafe_load",
}  # fmt: skip
"""Functions and methods that open a path, whatever they belong to."""
LOADERS = {"json", "yaml", "np", "numpy", "torch", "pickle", "cloudpickle", "tomllib", "onnx"}
"""Modules whose `load` reads a file."""
OURS = {"read_text", "read_json", "read_table"}
"""Functions of `storage`, and one above it, which are called without an owner."""
IN_MEMORY = {
    "RunDirectory.open": "opens no file",
    "tarfile.open": "reads bytes in memory",
    "os.open": "of os.devnull",
    "installed.read_text": "of the metadata of an installed package",
    "onnxruntime.InferenceSession": "of a graph in memory",
    "np.genfromtxt": "of a text in memory",
    "pd.read_csv": "of a text in memory",
    "parquet.ParquetFile": "of a file that `open_regular` has opened",
    "np.load": "of a file that `open_regular` has opened",
}
REASONED = {
    ("benchmarks/simulator.py", "read_text"): "the kernel's numbers about this process",
    ("cluster/client.py", "write_bytes"): "into a temporary folder of its own",
    ("cluster/preflight.py", "write_text"): "into folders that it has just made",
    ("policies/trained_policy.py", "write_bytes"): "into a folder that it has just made",
    ("policies/trained_policy.py", "write_text"): "into a folder that it has just made",
    ("transfer/policy_library.py", "write_bytes"): "into a folder that it has just made",
    ("runs/run_directory.py", "load_file"): "safetensors, after `require_regular`",
    ("runs/kpi_export.py", "write_bytes"): "the partial file of `replace_durably`",
    ("runs/policy_evaluation.py", "open"): "the partial file of `replace_durably`",
    ("evaluation/looks.py", "savefig"): "a picture, after `require_writable`",
    ("cli/console.py", "savefig"): "a picture, after `require_writable`",
}


def find_calls(source: str) -> list[str]:
    """The calls in a module that open files, as they are written."""
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    found = []
    for function in calls:
        written = ast.unparse(function)
        owner, _, name = written.rpartition(".")
        if (name in READERS and written not in OURS) or (name == "load" and owner in LOADERS):
            found.append(written)
    return found


def test_only_storage_opens_files():
    """Every reason for an exception is still needed."""
    needed = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).as_posix()
        if place.startswith(("storage/", "examples/")):
            continue
        for call in find_calls(path.read_text(encoding="utf-8")):
            if call in IN_MEMORY:
                needed.add(call)
                continue
            reason = (place, call.rpartition(".")[2])
            assert reason in REASONED, f"{place}: {call}() belongs into slicing_rllib.storage"
            needed.add(reason)

    assert needed == {*IN_MEMORY, *REASONED}


def test_the_ways_to_open_a_file_are_known():
    assert find_calls("open(a); Path(a).read_text(); json.load(f)") == [
        "open",
        "Path(a).read_text",
        "json.load",
    ]
    assert find_calls("json.loads(a); RunDirectory.load(b)") == []
