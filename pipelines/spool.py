"""The spool: every finished video on disk at once, so that a killed run goes on where it stopped.

Beside OUT.h5 stands the folder OUT.h5.spool with two files for each finished video: a shard of this one
clip, and then, as the sign that it is whole, a small JSON with its row of the report. A video is done
again when its file has changed or when it failed for a reason that may have passed. What a killed run
leaves half-written lies in this folder too, and goes with it. So do the marks of a batch job, which is put
back into the queue with nobody looking: how often each video was begun and not finished.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skelkit.data import ShardReader, ShardWriter, merge_shards, write_clip_file
from skelkit.data.files import output_error
from skelkit.data.merging import brief, first_difference
from skelkit.errors import ConfigError, OutputError, ShardError, VideoError
from skelkit.pipelines import workers
from skelkit.pipelines.clip import ClipResult
from skelkit.video import Fingerprint, Source, fingerprint, sha256

Row = dict[str, Any]
"""One video's row of the report, as JSON can hold it."""

_RUN = "run.json"
_LOCK = "lock"
_MARK = ".begun"
_STOPS = 5
"""Jobs whose time may run out while they are at work on a video, until it is given up."""
_OUT_OF_REACH = Fingerprint(size=-1, mtime_ns=-1)


class Spool:
    """What is finished of one run.

    Args:
        output: The shard in the making.
        recipe: What shapes its data.
    """

    def __init__(self, output: Path, recipe: dict[str, Any]) -> None:
        self.output = output
        self.folder = output.with_name(output.name + ".spool")
        self.recipe = recipe

    @contextmanager
    def held(self, *, overwrite: bool) -> Iterator[None]:
        """The spool, ready and locked against a second run.

        Args:
            overwrite: Start afresh, whatever is there.

        Raises:
            OutputError: another run holds it, or the folder cannot be written.
            ConfigError: it was begun with other settings; the first difference is named.
        """
        try:
            self.folder.mkdir(exist_ok=True)
            with (self.folder / _LOCK).open("a") as lock:
                self._lock(lock)
                self._begin(afresh=overwrite)
                try:
                    yield
                finally:
                    if not (self._anything_finished() or any(self.folder.glob(f"*/*{_MARK}"))):
                        self.remove()
        except (OSError, OutputError) as error:
            raise self._refused(error) from error

    def finished(self, source: Source) -> Row | None:
        """The row of this video if it is done and has not changed since."""
        shard, sign = self._paths(source.video_id)
        kept = _read(sign)
        if kept is None or not shard.is_file():
            return None
        row: Row = kept["row"]
        if kept["again"] or row["source"] != text_of(source.path) or kept["label"] != source.label:
            return None
        return row if _unchanged(source, kept, row["sha256"]) else None

    def keep(self, source: Source, seen: Fingerprint, result: ClipResult, row: Row, *, again: bool) -> None:
        """Put a video on disk, whole or not at all.

        Args:
            source: The video.
            seen: What `look` said before it was read: what changes while it is read is read again.
            result: What came out of it.
            row: Its row of the report.
            again: Whether the next run should try again.

        Raises:
            OutputError: the disk is full, or writing is not permitted.
        """
        shard, sign = self._paths(source.video_id)
        try:
            shard.parent.mkdir(exist_ok=True)
            sign.unlink(missing_ok=True)
            write_clip_file(
                shard,
                sequence=result.tracks,
                clip=result.clip,
                experts=result.experts,
                skeleton=result.tracks.skeleton,
                recipe=self.recipe,
            )
            self._sign(source, seen, row, again=again)
        except OSError as error:
            raise output_error(error, shard) from error

    def begin(self, source: Source) -> None:
        """Mark that a video is being worked on."""
        path = self._mark(source.video_id)
        mark = _read(path) or {"died": 0, "stopped": 0, "running": 0}
        path.parent.mkdir(exist_ok=True)
        write_json(path, mark | {"died": mark["died"] + mark["running"], "running": 1})

    def stopped(self) -> None:
        """The run was stopped from outside: no fault of the videos at work."""
        for path in self.folder.glob(f"*/*{_MARK}"):
            mark = _read(path)
            if mark and mark["running"] and not path.with_suffix(".json").exists():
                write_json(path, mark | {"stopped": mark["stopped"] + 1, "running": 0})

    def given_up(self, source: Source) -> str | None:
        """Why a video is not to be begun again in this run, however often it goes on."""
        mark = _read(self._mark(source.video_id))
        if mark is None:
            return None
        if (died := mark["died"] + mark["running"]) >= workers.TRIES:
            return f"the process at work on it died {died} times; is there enough memory? run again to retry"
        if mark["stopped"] >= _STOPS:
            return f"{_STOPS} jobs ended before it was done; give them more walltime, and run again to retry"
        return None

    def check_output(self, *, overwrite: bool) -> None:
        """Refuse to touch what is at the output's place, before anything is written.

        Raises:
            ConfigError: it is not a shard of ours, or was made with other settings and is not to be
                overwritten.
        """
        if self.output.exists():
            with open_ours(self.output) as reader:
                if not (overwrite or self._begun_afresh()):
                    self._compare(reader.recipe, f"{self.output} was")

    def adopt(self, sources: list[Source]) -> None:
        """Take over from an existing output what need not be done again; see `check_output`."""
        if self._begun_afresh() or not self.output.exists():
            return
        with open_ours(self.output) as reader:
            have = {video_id: i for i, video_id in enumerate(reader.video_ids)}
            for source in sources:
                if source.video_id in have and self.finished(source) is None:
                    self._take(reader, have[source.video_id], source)

    def path_of(self, source: Source) -> Path:
        """The shard of this video alone."""
        return self._paths(source.video_id)[0]

    def publish(self, sources: list[Source]) -> None:
        """Make the output of these videos, in this order; it takes its name when it is whole.

        Raises:
            OutputError: the disk is full, or writing is not permitted.
        """
        whole = self.folder / "whole.h5"
        merge_shards(
            whole, [self._paths(s.video_id)[0] for s in sources], order=[s.video_id for s in sources]
        )
        whole.replace(self.output)
        folder = os.open(self.output.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the name is on the disk before the spool goes
        finally:
            os.close(folder)

    def remove(self) -> None:
        """Give back the disk; the output is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _take(self, reader: ShardReader, index: int, source: Source) -> None:
        clip, seen = reader.clip(index), look(source)
        try:
            same = clip.status != "failed" and clip.source == source.path and clip.sha256 == sha256(source)
        except VideoError:
            return
        if not same or clip.label != (source.label or ""):
            return
        shard = self._paths(source.video_id)[0]
        shard.parent.mkdir(exist_ok=True)
        with ShardWriter(
            shard, skeleton=reader.skeleton, recipe=reader.recipe, experts=reader.experts
        ) as writer:
            writer.append(reader.record(index))
        row = row_of(
            clip.video_id,
            source=clip.source,
            status="damaged" if clip.detail else clip.status,
            detail=clip.detail,
            sha256=clip.sha256,
            frames=clip.num_frames,
            people=int(reader.column("num_people")[index]),
            frames_decoded=None,
        )
        self._sign(source, seen, row, again=False)

    def _sign(self, source: Source, seen: Fingerprint, row: Row, *, again: bool) -> None:
        kept = {"row": row, "again": again, "label": source.label, "seen": [seen.size, seen.mtime_ns]}
        write_json(self._paths(source.video_id)[1], kept)

    def _paths(self, video_id: str) -> tuple[Path, Path]:
        key = hashlib.sha256(video_id.encode("utf-8", "surrogateescape")).hexdigest()[:24]
        return self.folder / key[:2] / f"{key}.h5", self.folder / key[:2] / f"{key}.json"

    def _mark(self, video_id: str) -> Path:
        return self._paths(video_id)[0].with_suffix(_MARK)

    def _lock(self, lock: Any) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"another run is at work on {self.output} (it holds {self.folder}/{_LOCK}); wait for it to "
                "end, or choose another output",
                path=self.output,
            ) from None

    def _begin(self, *, afresh: bool) -> None:
        """Go on with the run that is here, or begin one.

        Raises:
            ConfigError: what is here has other settings.
        """
        begun = _read(self.folder / _RUN)
        if begun is not None and not afresh and (self._anything_finished() or self._same(begun["recipe"])):
            self._compare(begun["recipe"], f"the unfinished run in {self.folder} was")
            for half_written in self.folder.glob(".skelkit-*.part"):
                half_written.unlink()
            return
        for entry in self.folder.iterdir():
            if entry.name != _LOCK:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        afresh = afresh or bool(begun and begun["afresh"])
        write_json(self.folder / _RUN, {"recipe": self.recipe, "afresh": afresh})

    def _begun_afresh(self) -> bool:
        """Whether the run that is here is to replace the output, not to go on from it."""
        begun = _read(self.folder / _RUN)
        return bool(begun and begun["afresh"])

    def _anything_finished(self) -> bool:
        return any(self.folder.glob("*/*.json"))

    def _refused(self, error: OSError | OutputError) -> OutputError:
        refused = error if isinstance(error, OutputError) else output_error(error, self.folder)
        if refused.fields.get("errno") in (errno.ENOSPC, errno.EDQUOT) and self._anything_finished():
            return OutputError(
                f"the disk of {self.output} or your quota is full; finished videos are kept: free some "
                "space, and the same command goes on from here",
                **refused.fields,
            )
        return refused

    def _same(self, other: dict[str, Any]) -> bool:
        return first_difference(other, json.loads(json.dumps(self.recipe))) is None

    def _compare(self, other: dict[str, Any], what: str) -> None:
        mine = json.loads(json.dumps(self.recipe))
        # Other experts have other detectors and aggregations: they are named first.
        difference = first_difference(other.get("experts"), mine["experts"], "experts")
        difference = difference or first_difference(other, mine)
        if difference is not None:
            name, before, now = difference
            raise ConfigError(
                f"{what} made with other settings: {name} was {_shown(before)}, now {_shown(now)}; run with "
                "the same settings, with --overwrite to start afresh, or with another output",
                difference=name,
            )


def look(source: Source) -> Fingerprint:
    """Size and age of a video, also of one that cannot be looked at."""
    try:
        return fingerprint(source)
    except VideoError:
        return _OUT_OF_REACH


def open_ours(output: Path) -> ShardReader:
    """The shard at the output's place.

    Raises:
        ConfigError: what is there is no shard, and so not ours to replace.
    """
    try:
        return ShardReader(output)
    except ShardError as error:
        raise ConfigError(
            f"expected nothing or a skelkit shard at {output}, found a file that is not ours "
            f"({error.message}); choose another name or move it away",
            path=output,
        ) from error


def row_of(
    video_id: str,
    *,
    source: str,
    status: str,
    detail: str,
    sha256: str,
    frames: int,
    people: int,
    frames_decoded: int | None,
    seconds: float = 0.0,
) -> Row:
    """A row of the report: one video and what became of it.

    Args:
        video_id: Name of the clip.
        source: Path as given.
        status: ``ok``, ``no_person``, ``damaged`` or ``failed``.
        detail: Why, where something is wrong.
        sha256: Of the file, empty where it could not be read.
        frames: Time steps in the shard.
        people: Identities in the shard.
        frames_decoded: Frames decoded, also those left out by the sampling; None = not known any more.
        seconds: Time spent on it.
    """
    return {
        "video_id": video_id,
        "source": text_of(source),
        "status": status,
        "detail": detail,
        "frames": frames,
        "frames_decoded": frames_decoded,
        "people": people,
        "seconds": round(seconds, 3),
        "sha256": sha256,
    }


def _shown(value: Any) -> str:
    return brief(value["name"] if isinstance(value, dict) and "name" in value else value)


def text_of(path: str | os.PathLike[str]) -> str:
    """A path as text that JSON and terminals can hold: bytes that are not UTF-8 as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _unchanged(source: Source, kept: dict[str, Any], digest: str) -> bool:
    now = look(source)
    size, mtime_ns = kept["seen"]
    if (now.size, now.mtime_ns) == (size, mtime_ns):
        return True
    try:
        return now.size == size and digest != "" and sha256(source) == digest
    except VideoError:
        return False


def _read(path: Path) -> dict[str, Any] | None:
    try:
        read: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return read


def write_json(path: Path, content: dict[str, Any]) -> None:
    """A file that is there whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
