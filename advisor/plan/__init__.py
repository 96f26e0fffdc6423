"""From what fits to a plan: the ways to train in order of preference, the search, the reasons, the document."""
