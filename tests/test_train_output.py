"""Nothing of an earlier run is replaced unasked, and whatever stops a run, nothing half-written stays."""

import errno
import os

import pytest
import torch
from train_parts import plan_for

from advisor.demo import MODEL_FOLDER
from advisor.errors import AdvisorError, ExitCode
from advisor.train import checkpoints, output
from advisor.train.checkpoints import Progress
from advisor.train.failures import explained

PLAN = plan_for(MODEL_FOLDER)


def checkpoint(folder, step, *, whole=True):
    """A checkpoint as a run leaves it, or cut short."""
    written = checkpoints.saving_folder(folder) / f"checkpoint-{step}"
    written.mkdir(parents=True)
    (written / "adapter_model.safetensors").write_bytes(b"weights")
    (written / "training_args.bin").write_bytes(b"a pickle")
    path = checkpoints.seal(
        folder, step, Progress(planned=PLAN.config, config=PLAN.config, losses=(0.5,) * step), keep=3
    )
    if not whole:
        (path / "adapter_model.safetensors").write_bytes(b"wei")
    return path


def told(folder, error, cap_bytes=None):
    """What a user is told of the error."""
    with pytest.raises(AdvisorError) as caught, explained(PLAN, folder, cap_bytes):
        raise error
    return caught.value


def fill(target, *, interrupt=False):
    """Write a folder of weights, and press Ctrl-C in the middle where asked."""
    with output.new_folder(target) as folder:
        (folder / "weights").write_text("half")
        if interrupt:
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["run.json", "adapter", "model"])
def test_an_earlier_run_is_kept(tmp_path, name):
    """Unless --force says otherwise."""
    (tmp_path / name).mkdir()

    with pytest.raises(AdvisorError, match="holds an earlier run") as caught:
        output.refuse_overwrite(tmp_path, force=False, resume=False)

    assert name in caught.value.why
    output.refuse_overwrite(tmp_path, force=True, resume=False)


def test_a_run_that_began_and_did_not_end_goes_on(tmp_path):
    """Even one that was killed between its weights and its run.json; an ended one does not."""
    checkpoints.remember_run(tmp_path, {})
    (tmp_path / "adapter").mkdir()
    output.refuse_overwrite(tmp_path, force=False, resume=False)

    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(AdvisorError, match="holds an earlier run"):
        output.refuse_overwrite(tmp_path, force=False, resume=False)


def test_two_runs_do_not_share_a_folder(tmp_path):
    """The second is refused while the first holds it, and not afterwards."""
    with output.alone(tmp_path / "out"):
        other = pytest.raises(AdvisorError, match="Another run is writing")
        with other, output.alone(tmp_path / "out"):
            raise AssertionError
    with output.alone(tmp_path / "out"):
        pass

    assert not (tmp_path / "out").exists()


def test_what_a_killed_run_left_half_written_goes(tmp_path):
    """Its whole checkpoints stay, unless --force begins anew; the user's own files stay."""
    checkpoint(tmp_path, 3)
    (tmp_path / ".adapter.7.partial").mkdir()
    (tmp_path / ".run.json.7.partial").write_text("{")
    (tmp_path / ".mine.7.partial").write_text("mine")

    output.clear(tmp_path, force=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".mine.7.partial", "checkpoints"]
    output.clear(tmp_path, force=True)
    assert [p.name for p in tmp_path.iterdir()] == [".mine.7.partial"]


def test_a_file_is_no_folder(tmp_path):
    """It stays."""
    path = tmp_path / "out"
    path.write_text("mine")

    with pytest.raises(AdvisorError, match="is a file"):
        output.refuse_overwrite(path, force=True, resume=False)
    assert path.read_text() == "mine"


def test_nothing_to_resume_is_an_error(tmp_path):
    """A torn checkpoint is none."""
    checkpoint(tmp_path, 3, whole=False)

    with pytest.raises(AdvisorError, match="no checkpoint"):
        output.refuse_overwrite(tmp_path, force=False, resume=True)


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    """Under its own name only when it is filled."""
    target = tmp_path / "adapter"
    with output.new_folder(target) as folder:
        (folder / "weights").write_text("new")
        assert not target.exists()

    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    assert (target / "weights").read_text() == "new"


def test_a_failure_leaves_the_old_folder_and_no_part_of_the_new(tmp_path):
    """Also a Ctrl-C."""
    target = tmp_path / "adapter"
    target.mkdir()
    (target / "weights").write_text("old")

    with pytest.raises(KeyboardInterrupt):
        fill(target, interrupt=True)

    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    assert (target / "weights").read_text() == "old"


def test_a_disk_that_fills_while_flushing_leaves_nothing(tmp_path, monkeypatch):
    """ENOSPC can come as late as fsync."""

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AdvisorError, match="is full") as caught, explained(PLAN, tmp_path, None):
        fill(tmp_path / "adapter")

    assert ExitCode.ENVIRONMENT is caught.value.exit_code
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_said_before_the_training(tmp_path):
    """What can't be saved is not trained."""
    with pytest.raises(AdvisorError, match="Too little room"):
        output.check_space(tmp_path, 1 << 60)
    output.check_space(tmp_path, 1)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        # safetensors 0.8 and torch.save, as they came from a full tmpfs.
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
    ],
)
def test_a_full_disk_is_told_in_plain_words(tmp_path, error):
    """Whichever library met it."""
    answer = told(tmp_path, error)

    assert f"The disk of {tmp_path} is full." == answer.what
    assert ExitCode.ENVIRONMENT is answer.exit_code


def test_a_full_card_tells_what_was_asked_predicted_and_allowed(tmp_path):
    """The numbers that decide, and a way out."""
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total …")
    answer = told(tmp_path, error, cap_bytes=8 << 30)

    assert "2.50 GiB more were asked for" in answer.why
    assert "predicted a peak of 0.23 GiB reserved, the cap is 8.00 GiB" in answer.why
    assert "--micro-batch" in answer.fix
    assert ExitCode.NO is answer.exit_code


def test_an_interrupt_tells_what_was_kept(tmp_path):
    """The whole checkpoint stays, the torn one goes."""
    checkpoint(tmp_path, 10)
    torn = checkpoint(tmp_path, 20, whole=False)

    answer = told(tmp_path, KeyboardInterrupt())

    assert "checkpoint-10 was kept" in answer.what
    assert "the same command" in answer.fix
    assert ExitCode.INTERRUPTED is answer.exit_code
    assert not torn.exists()


def test_an_early_interrupt_keeps_nothing_and_says_so(tmp_path):
    """No checkpoint, no folder of checkpoints."""
    checkpoint(tmp_path, 20, whole=False)

    assert "nothing was kept" in told(tmp_path, KeyboardInterrupt()).what
    assert list(tmp_path.iterdir()) == []


def test_a_bug_keeps_its_traceback(tmp_path):
    """Only what the user can act on is translated."""
    with pytest.raises(ZeroDivisionError), explained(PLAN, tmp_path, None):
        raise ZeroDivisionError
