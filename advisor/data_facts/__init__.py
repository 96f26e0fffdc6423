"""What a file of training text asks of a plan: how long its examples are, and which length to plan for. No torch."""
