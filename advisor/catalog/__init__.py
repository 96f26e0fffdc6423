"""Facts about cards and models, with their sources; what the names that people type stand for."""
