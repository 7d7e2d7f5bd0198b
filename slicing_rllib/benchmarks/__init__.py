"""The benchmarks of `slicing-rllib bench`. README.md beside this file explains each of them.

No other part of the package imports this one, because benchmarks also start the command line.
"""
