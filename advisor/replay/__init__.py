"""What a tape comes to: memory through the allocator, anatomy of the peak. Pure Python, no torch."""
