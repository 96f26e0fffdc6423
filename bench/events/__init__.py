"""What the real allocator was asked for, event by event, beside what the simulated run asks for."""
