"""The benchmarks of `slicing-rllib bench`. README.md beside this file explains each of them.

Those that repeat measurements take `turns` interleaved turns, of which the median counts, and give
each turn at least `seconds`. `max_cells` is the size of the largest network, and `on_message`
receives a line of text before each part.

No other part of the package imports this one, because benchmarks also start the command line.
"""
