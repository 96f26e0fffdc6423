"""THE training step: config to model, data and trainer. Run by `train`, measured by `bench`, traced by `simulate`."""

import logging
import os

# The import of bitsandbytes warns of missing CPU kernels; they are for inference, and this trains.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

# torch's CPU threads spin at each barrier. Where another process wants the cores that made a step ten times
# slower; sleeping instead costs a tenth where none does. It is read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
