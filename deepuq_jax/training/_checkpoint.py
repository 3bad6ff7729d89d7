"""Checkpoints of `fit` in a folder, written and read by orbax.

Orbax writes a checkpoint into a temporary folder and renames it when it is complete.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
import zlib
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from deepuq_jax._checks import check_count, expected
from deepuq_jax.training._describe import differences
from deepuq_jax.training._epochs import Begun
from deepuq_jax.training._interrupt import deferred_interrupt
from deepuq_jax.training._lock import locked
from deepuq_jax.training._packed import FORMAT, Packed, Progress, pack, unpack

# The most differences that an error message lists, and the most characters that it takes from another error.
_LISTED, _SHOWN = 3, 160
# Orbax writes a checkpoint into a folder whose name matches this pattern. When a save fails, other threads of orbax
# still write for some milliseconds, so the folder is watched, with pauses of this length in seconds.
_TEMPORARY, _PAUSE = "*.orbax-checkpoint-tmp*", 0.3
# The defaults of `fit`: checkpoints after each epoch, of which the last two are kept.
_SAVE_EVERY, _KEEP_LAST = 1, 2


class SaveError(OSError):
    """A checkpoint could not be written."""


class Saver:
    """The contract of a run's checkpoints; this base class keeps none."""

    def begin(self, position: Any = None) -> Begun:
        """Return the record of an epoch that begins at a position of the batches."""
        return Begun(position=position)

    def restore(self, start: Progress) -> Progress | None:
        """Return the run of the last checkpoint, or None if there is none.

        Args:
            start: the start of the run, which says how the arrays are nested and on which devices they are.
        Raises:
            ValueError: the checkpoint is of another run or format, or cannot be read.
        """
        del start

    def next_save(self, epochs: int) -> int:
        """Return the number of epochs that the next checkpoint will have.

        Args:
            epochs: number of complete epochs so far.
        """
        del epochs
        return sys.maxsize

    def save_after(self, progress: Progress, is_over: bool) -> None:
        """Save after an epoch, if a checkpoint is due or the run is over.

        Raises:
            SaveError: the checkpoint could not be written; earlier checkpoints survive.
        """

    def save_before(self, error: BaseException, progress: Progress) -> None:
        """Save what an error would lose."""


class Checkpoints(Saver):
    """The checkpoints of a run, in a folder.

    Args:
        manager: orbax's manager of the folder.
        run: the description of the run.
        save_every: number of epochs from checkpoint to checkpoint.
    """

    def __init__(self, manager: Any, run: Any, save_every: int):
        self._manager, self._run, self._save_every = manager, run, save_every
        self._unsaved: Packed | None = None

    def begin(self, position: Any = None) -> Begun:
        """Return a record of the epoch that tracks the positions of the batches."""
        return Begun(position=position, is_tracked=True)

    def next_save(self, epochs: int) -> int:
        """Return the next multiple of `save_every`."""
        return (epochs // self._save_every + 1) * self._save_every

    def save_after(self, progress: Progress, is_over: bool) -> None:
        """Save after an epoch, or keep a copy, since training overwrites the state."""
        self._unsaved = pack(progress)
        if is_over or progress.epochs % self._save_every == 0:
            self._save(self._unsaved)

    def save_before(self, error: BaseException, progress: Progress) -> None:
        """Save the last step, if its epoch can go on from there; otherwise the last complete epoch."""
        # With several processes, the others may not know of the error, and all have to take part in a save.
        if isinstance(error, SaveError) or jax.process_count() > 1:
            return
        try:
            begun, has_trained = progress.begun, bool(progress.rows or progress.begun.terms)
            can_go_on = has_trained and begun.is_resumable and int(progress.state.bad_step) < 0
            packed = pack(progress) if can_go_on else self._unsaved
            if packed is not None:
                self._save(packed)
        except Exception as failure:  # The error that ends the run says more.
            error.add_note(f"{failure}")

    def _save(self, packed: Packed) -> None:
        """Write a checkpoint, unless it exists, and delete those that are not kept."""
        import orbax.checkpoint as ocp

        if packed.step in self._manager.all_steps():
            return
        checksums = {name: zlib.crc32(values.tobytes()) for name, values in packed.arrays.items()}
        about = {**packed.about, "run": self._run, "crc32": checksums}
        about["own crc32"] = _crc32(about)
        items = ocp.args.Composite(arrays=ocp.args.StandardSave(packed.arrays), about=ocp.args.JsonSave(about))
        with deferred_interrupt():
            try:
                self._manager.save(packed.step, args=items, metrics=packed.scores, force=True)
            except Exception as error:
                raise self._save_error(packed.step, error) from error

    def _save_error(self, step: int, error: Exception) -> SaveError:
        self._remove_what_failed()
        self._manager.reload()
        last = self._manager.latest_step()
        kept = "There is no earlier checkpoint" if last is None else f"The last checkpoint, of step {last}, is intact"
        folder = self._manager.directory
        return SaveError(
            f"Expected to save a checkpoint of step {step} in {folder}; got {_first_words(error)}. {kept}."
        )

    def _remove_what_failed(self) -> None:
        """Free the disk space of a failed save, once its threads have ended."""
        folder, before, now = Path(self._manager.directory), None, []
        while before != now:
            before, now = now, sorted(path for left in folder.glob(_TEMPORARY) for path in left.rglob("*"))
            time.sleep(_PAUSE)
        for path in folder.glob(_TEMPORARY):
            shutil.rmtree(path, ignore_errors=True)

    def restore(self, start: Progress) -> Progress | None:
        """Read the last checkpoint, if there is one."""
        import orbax.checkpoint as ocp

        step = self._manager.latest_step()
        if step is None:
            return None
        about = self._read(step, "about", ocp.args.JsonRestore())
        self._refuse_others(about, step)
        arrays = self._read(step, "arrays", ocp.args.StandardRestore())
        for name, crc32 in about["crc32"].items():
            if name not in arrays or zlib.crc32(np.asarray(arrays[name]).tobytes()) != crc32:
                raise ValueError(self._unreadable(step, f"an array {name} that differs from the array written"))
        return unpack({name: np.asarray(values) for name, values in arrays.items()}, about, start)

    def _read(self, step: int, item: str, args: Any) -> Any:
        import orbax.checkpoint as ocp

        try:
            return self._manager.restore(step, args=ocp.args.Composite(**{item: args}))[item]
        except Exception as error:
            raise ValueError(self._unreadable(step, _first_words(error))) from error

    def _unreadable(self, step: int, reason: str) -> str:
        folder = self._manager.directory
        return (
            f"Expected the checkpoint {folder / str(step)} to be complete; got {reason}. Delete it to go on without it."
        )

    def _refuse_others(self, about: dict[str, Any], step: int) -> None:
        name = f"the checkpoint {self._manager.directory / str(step)}"
        if about.get("format") != FORMAT:
            raise ValueError(expected(name, f"to be of format {FORMAT}", f"format {about.get('format')}"))
        if about.pop("own crc32", None) != _crc32(about):
            raise ValueError(self._unreadable(step, "a description that differs from the one written"))
        found = list(differences(about["run"], self._run))
        if found:
            more = ["and more"] if len(found) > _LISTED else []
            advice = "Pass the arguments of that run, or another folder."
            listed = ", ".join([*found[:_LISTED], *more])
            raise ValueError(f"{expected(name, 'to be of this run', f'another run: {listed}')} {advice}")


def _crc32(about: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(about, sort_keys=True).encode())


def _first_words(error: Exception) -> str:
    """Shorten the errors of tensorstore, which are pages long."""
    text = str(error) or type(error).__name__
    return text.splitlines()[0][:_SHOWN].rstrip(".")


class Saving(NamedTuple):
    """The place and the frequency of checkpoints.

    Attributes:
        folder: is created if it does not exist.
        save_every: number of epochs from checkpoint to checkpoint.
        keep_last: number of last checkpoints that are kept.
    """

    folder: Path
    save_every: int
    keep_last: int


def checked_saving(checkpoint: Any, save_every: int | None, keep_last: int | None) -> Saving | None:
    """Check the arguments of `fit` for checkpoints; None without a folder.

    Raises:
        ValueError, TypeError: an argument is invalid.
    """
    counts = {"save_every": save_every, "keep_last": keep_last}
    for name, count in counts.items():
        if count is not None:
            check_count(name, count)
        if count is not None and checkpoint is None:
            raise ValueError(expected("checkpoint", f"with {name}, as in checkpoint='run'", "None"))
    if checkpoint is None:
        return None
    if not isinstance(checkpoint, (str, os.PathLike)):
        raise TypeError(expected("checkpoint", "to be the path of a folder", checkpoint))
    if "://" in str(checkpoint):
        raise ValueError(expected("checkpoint", "to be a folder of a local or mounted disk", f"{checkpoint}"))
    return Saving(Path(checkpoint).absolute(), save_every or _SAVE_EVERY, keep_last or _KEEP_LAST)


@contextlib.contextmanager
def open_checkpoints(saving: Saving, run: Any, *, is_scored: bool) -> Generator[Checkpoints, None, None]:
    """Open a folder of checkpoints, for one process at a time.

    Args:
        saving: where and how often to save.
        run: the description of the run.
        is_scored: whether the checkpoint with the lowest `val_nll` is kept in addition to the last checkpoints.
    Raises:
        OSError: the folder cannot be written to, or another run uses it.
    """
    # Imported here, since it takes a third of a second.
    import orbax.checkpoint as ocp
    from orbax.checkpoint.checkpoint_managers import preservation_policy as keep

    def val_nll(scores: dict[str, float]) -> float:
        return scores.get("val_nll", np.inf)

    kept: list[Any] = [keep.LatestN(saving.keep_last)]
    if is_scored:
        kept.append(keep.BestN(get_metric_fn=val_nll, reverse=True, n=1, keep_checkpoints_without_metrics=False))
    options = ocp.CheckpointManagerOptions(
        best_fn=val_nll if is_scored else None,
        best_mode="min",
        preservation_policy=keep.AnyPreservationPolicy(kept),
        enable_async_checkpointing=False,
        # No other run is saving here, so temporary folders were left by a process that was killed.
        cleanup_tmp_directories=True,
    )
    # Of several processes, the first one writes, so it alone holds the lock.
    held = locked(saving.folder) if jax.process_index() == 0 else contextlib.nullcontext()
    with held, ocp.CheckpointManager(saving.folder, options=options) as manager:
        yield Checkpoints(manager, run, saving.save_every)
