"""The demo's second half: really run, then shown."""

import io

from rich.console import Console
from train_parts import one_thread, plan_for

from advisor.demo import MODEL_FOLDER
from advisor.demo.show import run_demo
from advisor.records import Precision


def test_the_demo_shows_losses_texts_and_what_stays_unchecked(tmp_path, capsys):
    """Results on the console that was given, nothing on stdout; an earlier demo is replaced."""
    planned = plan_for(MODEL_FOLDER, precision=Precision.NF4, sequence_length=64)
    (tmp_path / "adapter").mkdir()
    console = Console(file=io.StringIO(), width=120)
    with one_thread():
        report = run_demo(planned, tmp_path, console, steps=4)
    shown = console.file.getvalue()

    assert report.learned.evaluation_after < report.learned.evaluation_before
    assert "Predicted for Tesla T4 beside measured" in shown
    assert f"Held-out loss: {report.learned.evaluation_before:.3f} before" in shown
    assert "computer (noun):\n  before: " in shown
    assert "\n  after:  " in shown
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    assert capsys.readouterr().out == ""
