"""Commands of the command line that stand in files of their own; `advisor.cli` puts them together."""
