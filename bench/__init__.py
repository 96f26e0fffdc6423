"""Measuring: one configuration in one fresh process, sweeps, and benchmarks of our own speed."""
