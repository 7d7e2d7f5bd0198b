"""Traffic files before a run: Parquet becomes CSV, and people are told what was understood."""
