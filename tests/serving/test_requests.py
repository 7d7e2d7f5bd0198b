"""From the body of a request to the KPIs of cells, and what is refused or noted."""

import time
from contextlib import suppress

import jsonschema
import pytest
from starlette.exceptions import HTTPException

from slicing_rllib.serving.requests import A1Policy, parse_request

POLICY = {
    "scope": {"sliceId": {"sst": 1, "sd": "00000A", "plmnId": {"mcc": "001", "mnc": "01"}}},
    "sliceSlaObjectives": {"guaDlThptPerSlice": 4000, "maxDlPacketDelayPerUe": 3.0},
}


KPI = "cells.cell_1.slices.slice_1"


@pytest.mark.parametrize(
    ("text", "status", "line"),
    [
        ('{"cells"', 400, "body: Invalid JSON"),
        ("[]", 422, "body: "),
        ('{"cells": {}}', 422, "cells: Dictionary should have at least 1 item"),
        ('{"cells": {"a\\tb": {"off": true}}}', 422, "cells.a b.[key]: String should match"),
        ('{"cells": {"a": {"off": true}, "a": {"off": true}}}', 400, "body: 'a' stands twice in"),
        ('{"cells": {"a": {"slices": {}, "slices": {}}}}', 400, "body: 'slices' stands twice"),
        ('{"cells": {"a": {"off": true}}, "stict": true}', 422, "stict: Extra inputs"),
        ('{"cells": {"a": {"slices": {"s": {"load": NaN}}}}}', 400, "body: Invalid JSON: NaN is"),
        ('{"cells": {"\\ud800": {"off": true}}}', 422, "cells."),
        ("[" * 100_000, 400, "body: Invalid JSON: it is nested too deeply"),
        ('{"cells": %s}' % ("1" * 5000), 400, "body: Invalid JSON: Exceeds the limit"),
    ],
)
def test_a_body_with_a_mistake_gets_one_line(text: str, status: int, line: str):
    with pytest.raises(HTTPException) as failure:
        parse_request(text.encode())
    assert failure.value.status_code == status
    assert failure.value.detail.startswith(line)


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        ("{}", "cells.cell_1: Value error, expected slices"),
        ('{"slices": {"slice_1": {"load": 1e39}}}', f"{KPI}.load: "),
        ('{"slices": {"slice_1": {"load": 1e999}}}', f"{KPI}.load: "),
        ('{"slices": {"slice_1": {"load": "1"}}}', f"{KPI}.load: "),
        ('{"slices": {"slice_1": {"lod": 1}}}', f"{KPI}.lod: Extra"),
        ('{"slices": {"slice_1": {}}, "measured_at": "2026-01-01T00:00:00"}', "cells.cell_1.meas"),
        ('{"slices": {"slice_1": {}}, "measured_at": 5}', "cells.cell_1.measured_at: Value error"),
        ('{"slices": {"slice_1": {}}, "off": true}', "cells.cell_1: Value error, expected slices"),
    ],
)
def test_a_mistake_of_one_cell_is_noted_or_in_a_strict_request_refused(cell: str, line: str):
    text = f'{{"cells": {{"cell_1": {cell}, "cell_2": {{"off": true}}}}}}'
    asked = parse_request(text.encode())
    within = line.removeprefix("cells.cell_1").lstrip(".:")
    assert within in asked.cells["cell_1"].mistake
    assert asked.cells["cell_2"].mistake is None
    with pytest.raises(HTTPException) as failure:
        parse_request(text.replace('{"cells"', '{"strict": true, "cells"').encode())
    assert failure.value.status_code == 422
    assert failure.value.detail.startswith(line)


@pytest.mark.parametrize(
    "shape", ['{"cells": {"c": {"slices": {"s": {%s}}}}}', '{"cells": {"c": {%s}}}', "{%s}",
              '{"cells": {"c": {"slices": {%s}}}}', '{"cells": {%s}}']
)  # fmt: skip
def test_a_million_unknown_names_are_read_in_seconds(shape: str):
    names = ",".join(f'"{n:x}":0' for n in range(300_000))
    started = time.process_time()
    with suppress(HTTPException):
        parse_request((shape % names).encode())
    assert time.process_time() - started < 3.0


def test_objectives_replace_the_sla_in_our_units():
    """4000 kbit/s are 4 Mbit/s; what the policy leaves open stays."""
    assert A1Policy(**POLICY).override_sla(1.0, 1.0) == (4.0, 3.0)
    open_delay = POLICY | {"sliceSlaObjectives": {"guaDlThptPerSlice": 500}}
    assert A1Policy(**open_delay).override_sla(1.0, 7.0) == (0.5, 7.0)
    jsonschema.validate(POLICY, A1Policy.model_json_schema())


@pytest.mark.parametrize(
    "change", [{"guaDlThptPerSlice": -1}, {"guaDlThptPerSlice": 1e39}, {"unknown": 1}]
)
def test_objectives_that_make_no_sense_are_refused(change):
    with pytest.raises(ValueError, match="sliceSlaObjectives"):
        A1Policy(**POLICY | {"sliceSlaObjectives": change})
