"""Kernels that a training step runs, one by one: what each does, how long it takes, what it allocates inside."""
