"""KPIs of a run as a tidy table: a row per step, cell, slice and KPI."""
