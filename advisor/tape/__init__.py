"""The tape: what one run of the step does, for every shape of its class; how it is kept, and who makes it."""
