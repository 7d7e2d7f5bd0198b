"""Traffic files: what a CSV file says about the share of active UEs, step by step.

`table` reads text into rows, `times` and `columns` find out what they mean, `grid` puts them on
regular times, and `mask` plays them at the steps of a scenario.
"""

from slicing_rllib.radio.traces.mask import TraceMask
from slicing_rllib.radio.traces.table import TextTable, parse_number, read_text_table

__all__ = ["TextTable", "TraceMask", "parse_number", "read_text_table"]
