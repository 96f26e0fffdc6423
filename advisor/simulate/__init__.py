"""The GPU that is not there: runs the real step on a simulated device and writes down a tape."""
