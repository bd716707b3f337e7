"""Benchmarks: each measures some of the budgets and prints them as a table or as one flat JSON object."""
