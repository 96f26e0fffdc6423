"""The runner's own choice beside trl's SFTTrainer with its defaults: same model, data, effective batch and memory."""
