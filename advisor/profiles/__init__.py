"""Measured rows: what a row is, where rows are kept, how they are shared."""
