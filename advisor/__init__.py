"""A memory-planning advisor for LLM fine-tuning: traces the real step, plans what fits, runs it."""
