"""Is the plan the best? Lists of a plan and its rivals to measure, and the verdict over their rows."""
