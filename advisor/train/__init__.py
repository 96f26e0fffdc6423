"""Running a plan: guard, train, verify."""
