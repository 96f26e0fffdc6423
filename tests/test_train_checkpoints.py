"""A checkpoint is whole or is none: what is cut, changed or missing is seen, skipped and said."""

import json

import pytest

from advisor.errors import AdvisorError
from advisor.records import Checkpointing, TrainConfig
from advisor.train import checkpoints
from advisor.train.checkpoints import Progress

PROGRESS = Progress(
    planned=TrainConfig(micro_batch=4),
    config=TrainConfig(micro_batch=2, checkpointing=Checkpointing.NON_REENTRANT, lora_targets=("q_proj",)),
    losses=(3.25, 1 / 3),
    evaluations=((2, 0.1),),
    changes=({"text": "smaller"},),
    evaluation_before=3.5,
    step_seconds=(0.5,),
)


def made(output, step, *, keep=3):
    """A checkpoint of two files, one in a folder."""
    written = checkpoints.saving_folder(output) / f"checkpoint-{step}"
    (written / "inner").mkdir(parents=True)
    (written / "optimizer.pt").write_bytes(b"0123456789")
    (written / "inner" / "weights").write_bytes(b"abc")
    (written / "training_args.bin").write_bytes(b"a pickle")
    return checkpoints.seal(output, step, PROGRESS, keep=keep)


def test_what_was_done_is_read_back(tmp_path):
    """To the last bit of each loss."""
    assert PROGRESS == checkpoints.read_progress(made(tmp_path, 2))


def test_nothing_pickled_by_the_trainer_itself_is_kept(tmp_path):
    """Its arguments are of no use, and could hold a token."""
    path = made(tmp_path, 2)

    assert sorted(p.name for p in path.iterdir()) == ["inner", "manifest.json", "optimizer.pt"]


def test_the_newest_stay(tmp_path):
    """10 comes after 9; older ones go when a newer one is whole."""
    for step in (8, 9, 10):
        made(tmp_path, step, keep=2)

    assert sorted(p.name for p in (tmp_path / "checkpoints").glob("c*")) == ["checkpoint-10", "checkpoint-9"]
    assert checkpoints.step_of(checkpoints.last_checkpoint(tmp_path)) == 10


TEARS = {
    "cut": lambda path: (path / "optimizer.pt").write_bytes(b"01234"),
    "changed": lambda path: (path / "optimizer.pt").write_bytes(b"0123456780"),
    "a file is missing": lambda path: (path / "inner" / "weights").unlink(),
    "no manifest": lambda path: (path / "manifest.json").unlink(),
    "half a manifest": lambda path: (path / "manifest.json").write_text('{"schema": 1, "fi'),
    "an empty manifest": lambda path: (path / "manifest.json").write_text(""),
    "a newer manifest": lambda path: (path / "manifest.json").write_text('{"schema": 2, "files": {}}'),
    "no files in it": lambda path: (path / "manifest.json").write_text('{"schema": 1, "files": {}}'),
    "files elsewhere": lambda path: (path / "manifest.json").write_text(
        json.dumps({"schema": 1, "files": {"../../run-key.json": {"bytes": 1, "sha256": ""}}})
    ),
}
SAID = {
    "cut": "optimizer.pt has 5 of 10 bytes",
    "changed": "optimizer.pt is not what was written",
    "a file is missing": "weights is missing",
    "no manifest": "manifest.json is missing",
}


@pytest.mark.parametrize("tear", TEARS)
def test_a_torn_checkpoint_is_skipped_and_said(tmp_path, tear):
    """The run goes on from the one before it."""
    older, newer = made(tmp_path, 9), made(tmp_path, 10)
    TEARS[tear](newer)

    found, notes = checkpoints.whole_checkpoint(tmp_path)

    assert older == found
    assert len(notes) == 1
    assert "checkpoint-10 is torn and is skipped" in notes[0]
    assert SAID.get(tear, "") in notes[0]


def test_one_that_was_not_finished_is_none(tmp_path):
    """A kill while the trainer writes leaves only the folder that nobody reads, and the next run removes it."""
    made(tmp_path, 9)
    unfinished = checkpoints.saving_folder(tmp_path) / "checkpoint-10"
    unfinished.mkdir(parents=True)
    (unfinished / "optimizer.pt").write_bytes(b"0123456789")

    assert checkpoints.whole_checkpoint(tmp_path)[0].name == "checkpoint-9"
    checkpoints.drop_torn(tmp_path)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["checkpoint-9"]


def test_where_none_is_whole_none_stays(tmp_path):
    """The folder goes with the last of them."""
    TEARS["cut"](made(tmp_path, 9))
    checkpoints.drop_torn(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_manifest_that_does_not_say_what_was_done_is_an_error(tmp_path):
    """It is whole, and from some other program."""
    path = made(tmp_path, 9)
    checkpoints.write_manifest(path, {"step": 9})

    with pytest.raises(AdvisorError, match="does not say what was done"):
        checkpoints.read_progress(path)


def test_checkpoints_of_another_run_are_not_gone_on_from(tmp_path):
    """Another plan, other data or another seed would train something nobody asked for."""
    checkpoints.remember_run(tmp_path, {"steps": 5, "learning_rate": 0.1})
    checkpoints.check_same_run(tmp_path, {"steps": 5, "learning_rate": 0.1})

    with pytest.raises(AdvisorError, match="of another run") as caught:
        checkpoints.check_same_run(tmp_path, {"steps": 5, "learning_rate": 0.2})
    assert "learning rate" in caught.value.why


def test_the_best_weights_that_a_checkpoint_may_end_with_stay(tmp_path):
    """The others go."""
    made(tmp_path, 9)
    for step in (1, 2, 3):
        checkpoints.best_folder(tmp_path, step).mkdir()
    checkpoints.drop_bests(tmp_path, (3, *checkpoints.bests_needed(tmp_path)))

    assert sorted(p.name for p in (tmp_path / "checkpoints").glob("best-*")) == ["best-2", "best-3"]
