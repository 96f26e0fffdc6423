"""Predicted against measured: own rows, rows published by others, and what the figures claim."""
