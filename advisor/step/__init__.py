"""THE training step: config to model, data and trainer. Run by `train`, measured by `bench`, traced by `simulate`."""
