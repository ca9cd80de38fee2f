"""Comparing two traces: metrics, tolerance, the first place where they part, and rows for people to look at."""
