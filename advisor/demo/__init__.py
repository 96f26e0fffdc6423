"""A small real model and a small real data set that ship with the package, and how to remake them.

`README.md` beside this file says where each byte comes from and under which licence.
"""

from pathlib import Path

DEMO_FOLDER = Path(__file__).parent
MODEL_FOLDER = DEMO_FOLDER / "model"
TRAIN_FILE = DEMO_FOLDER / "data" / "train.jsonl"
HELDOUT_FILE = DEMO_FOLDER / "data" / "heldout.jsonl"
