"""Measured rows as reports: rows to tables and figures, those to Markdown and to one HTML page."""
