"""Benchmarks: `python -m benchmarks` (or `make bench`).

CPU seconds, bytes and ratios; wall times drift on shared machines.
"""
