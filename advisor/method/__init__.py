"""Which way to adapt a model: prompting, retrieval, adapters or whole weights. Questions and rules are data."""
