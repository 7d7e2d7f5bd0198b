"""Learners of other projects as arms of experiments."""
