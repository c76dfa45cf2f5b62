"""A checkpoint is whole or not there: whatever byte changes, whatever file operation fails."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bench.training import checkpoint_files
from bench.training.checkpoint_files import (
    DamagedError,
    FileEntry,
    Manifest,
    checkpoints_in,
    make_unpublished,
    open_checkpoint,
    publish,
    remove_all_but,
    write_files,
)
from tests.unit.training.saving import BASIS

CONTENTS = {"rank-0.json": b'{"a": 1}', "shared.safetensors": bytes(range(64))}


def save(directory: Path, step: int, keep: int = 2) -> Path:
    """Publish a checkpoint of two small files."""
    folder = make_unpublished(directory, step)
    writers = {name: partial(Path.write_bytes, data=content) for name, content in CONTENTS.items()}
    entries = write_files(folder, writers)
    return publish(folder, Manifest(basis=BASIS, step=step, files=entries), keep)


def steps_in(directory: Path) -> list[int]:
    checkpoints, _ = checkpoints_in(directory)
    return [stored.manifest.step for stored in checkpoints]


def test_what_was_written_is_read(tmp_path):
    stored = open_checkpoint(save(tmp_path, 3))
    assert stored.manifest.basis == BASIS
    assert {name: stored.read(name) for name in CONTENTS} == CONTENTS
    with pytest.raises(DamagedError, match="has no other"):
        stored.read("other")


def every_place(folder: Path) -> list[tuple[str, int]]:
    """Every byte of every file."""
    return [(path.name, place) for path in folder.iterdir() for place in range(path.stat().st_size)]


def test_any_byte_of_any_file_makes_it_damaged_and_the_older_one_is_taken(tmp_path):
    original = save(tmp_path / "original", 7)
    older = save(tmp_path / "older", 3)
    places = every_place(original)
    assert len(places) > 500
    for name, place in places:
        directory = tmp_path / "changed"
        shutil.copytree(older, directory / older.name)
        changed = Path(shutil.copytree(original, directory / original.name)) / name
        content = bytearray(changed.read_bytes())
        content[place] ^= 1 << place % 8
        changed.write_bytes(content)
        checkpoints, sentences = checkpoints_in(directory)
        assert [stored.manifest.step for stored in checkpoints] == [3], (name, place)
        assert len(sentences) == 1
        assert "step-00000007" in sentences[0]
        assert "is damaged and passed over: " in sentences[0]
        shutil.rmtree(directory)


@pytest.mark.parametrize("name", ["MANIFEST.json", *CONTENTS])
@pytest.mark.parametrize("change", ["cut", "longer", "empty", "gone"])
def test_a_file_of_another_length_or_none_makes_it_damaged(tmp_path, name, change):
    save(tmp_path, 3)
    path = save(tmp_path, 7) / name
    content = path.read_bytes()
    changed = {"cut": content[:-1], "longer": content + b"\0", "empty": b"", "gone": b""}
    path.write_bytes(changed[change])
    if change == "gone":
        path.unlink()
    assert steps_in(tmp_path) == [3]
    assert len(list(tmp_path.iterdir())) == 1  # what is damaged is removed: it counts no more


def test_a_folder_under_another_name_is_damaged(tmp_path):
    folder = save(tmp_path, 3)
    folder.rename(tmp_path / "step-00000009-nothing")
    assert steps_in(tmp_path) == []


def test_a_manifest_of_a_better_step_does_not_pass_for_one(tmp_path):
    """Who edits the step must name the folder by the new digest, and then it is another step's."""
    folder = save(tmp_path, 3)
    manifest = folder / "MANIFEST.json"
    manifest.write_text(manifest.read_text().replace('"step": 3', '"step": 4'))
    assert steps_in(tmp_path) == []


def test_what_was_never_published_is_removed(tmp_path):
    save(tmp_path, 3)
    (make_unpublished(tmp_path, 9) / "rank-0.json").write_text("{}")
    assert steps_in(tmp_path) == [3]
    assert [path.name[:13] for path in tmp_path.iterdir()] == ["step-00000003"]


def test_a_file_that_another_machine_wrote_and_none_sees_is_told(tmp_path):
    folder = make_unpublished(tmp_path, 3)
    entry = FileEntry(name="rank-1.json", bytes=2, sha256="0" * 64)
    with pytest.raises(OSError, match=r"rank-1\.json is not there.*must share this folder"):
        publish(folder, Manifest(basis=BASIS, step=3, files=(entry,)), 2)


def test_none_is_kept_and_the_folder_goes_too(tmp_path):
    directory = tmp_path / "checkpoints"
    save(directory, 3)
    remove_all_but(directory, 0)
    remove_all_but(directory, 0)
    assert list(tmp_path.iterdir()) == []


class Killed(BaseException):
    """What ends a process; no file operation after it is done."""


OPERATIONS = ("mkdir", "open", "write", "fsync", "replace", "rmdir", "unlink")


@contextlib.contextmanager
def failing_operation(number: int, error: BaseException) -> Iterator[list[str]]:
    """Let the operation with this number raise; after a kill every later one does too."""
    done: list[str] = []

    def counted(name, original):
        def operation(*args, **named):
            done.append(name)
            is_due = len(done) - 1 == number
            is_dead = isinstance(error, Killed) and len(done) - 1 > number
            if is_due or is_dead:
                raise error
            return original(*args, **named)

        return operation

    with pytest.MonkeyPatch.context() as patch:
        for name in OPERATIONS:
            if hasattr(os, name):
                patch.setattr(os, name, counted(name, getattr(os, name)))
        patch.setattr(
            checkpoint_files.Path, "open", counted("open file", checkpoint_files.Path.open)
        )
        yield done


def count_operations(directory: Path) -> int:
    with failing_operation(10**6, Killed()) as done:
        save(directory, 9)
    return len(done)


def try_to_save(directory: Path) -> None:
    """Save step 9; an error in the removal of what is old is none of the save's."""
    try:
        save(directory, 9)
    except (Killed, OSError):
        pass


@pytest.mark.parametrize("error", [Killed(), OSError(28, "No space left on device")], ids=type)
def test_whichever_file_operation_of_a_save_fails_a_whole_one_is_left(tmp_path, error):
    """Of two that are kept, and none is there that is not whole."""
    rehearsal = tmp_path / "rehearsal"
    save(rehearsal, 3)
    save(rehearsal, 7)
    count = count_operations(rehearsal)
    assert count > 12
    for number in range(count):
        directory = tmp_path / f"failed-{number}"
        save(directory, 3)
        save(directory, 7)
        with failing_operation(number, error):
            try_to_save(directory)
        checkpoints, sentences = checkpoints_in(directory)
        steps = [stored.manifest.step for stored in checkpoints]
        assert (number, steps[0] in (7, 9), len(steps) >= 2) == (number, True, True)
        assert (number, sentences) == (number, [])
        save(directory, 12)
        assert steps_in(directory)[0] == 12
