"""The spool: every finished video on disk at once, so that a killed run goes on where it stopped.

Beside OUT.h5 stands the folder OUT.h5.spool with two files for each finished video: a shard of this one
clip, and then, as the sign that it is whole, a small JSON with its row of the report. A video is done
again when its file has changed or when it failed for a reason that may have passed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skelkit.pipelines.clip import ClipResult

from skelkit.data import ShardReader, ShardWriter, write_clip_file
from skelkit.data.files import output_error
from skelkit.data.merging import brief, first_difference
from skelkit.errors import ConfigError, OutputError, ShardError, VideoError
from skelkit.video import Source, fingerprint, sha256

Row = dict[str, Any]
"""One video's row of the report, as JSON can hold it."""

_RUN = "run.json"


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
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "lock").open("a") as lock:
                self._lock(lock)
                if overwrite:
                    self._empty()
                self._same_settings()
                yield
        except OSError as error:
            raise output_error(error, self.folder) from error

    def finished(self, source: Source) -> Row | None:
        """The row of this video if it is done and has not changed since."""
        try:
            kept = json.loads(self._paths(source.video_id)[1].read_text("utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        row: Row = kept["row"]
        if kept["again"] or row["source"] != _text(source.path) or kept["label"] != source.label:
            return None
        return row if _unchanged(source, kept, row["sha256"]) else None

    def keep(self, source: Source, result: ClipResult, row: Row, *, again: bool) -> None:
        """Put a video on disk, whole or not at all.

        Args:
            source: The video.
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
                sequence=result.sequence,
                clip=result.clip,
                experts=result.experts,
                skeleton=result.sequence.skeleton,
                recipe=self.recipe,
            )
            self._sign(source, row, again=again)
        except OSError as error:
            raise output_error(error, shard) from error

    def check_output(self, *, overwrite: bool) -> None:
        """Refuse to touch what is at the output's place, before anything is written.

        Raises:
            ConfigError: it is not a shard of ours, or was made with other settings and is not to be
                overwritten.
        """
        if self.output.exists():
            with open_ours(self.output) as reader:
                if not overwrite:
                    self._compare(reader.recipe, f"{self.output} was")

    def adopt(self, sources: list[Source]) -> None:
        """Take over from an existing output what need not be done again; see `check_output`."""
        if not self.output.exists():
            return
        with open_ours(self.output) as reader:
            have = {video_id: i for i, video_id in enumerate(reader.video_ids)}
            for source in sources:
                if source.video_id in have and self.finished(source) is None:
                    self._take(reader, have[source.video_id], source)

    def parts(self, sources: list[Source]) -> list[Path]:
        """The one-clip shards of these videos."""
        return [self._paths(s.video_id)[0] for s in sources]

    def remove(self) -> None:
        """Give back the disk; the output is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _take(self, reader: ShardReader, index: int, source: Source) -> None:
        clip = reader.clip(index)
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
            people=reader[index].num_people,
        )
        self._sign(source, row, again=False)

    def _sign(self, source: Source, row: Row, *, again: bool) -> None:
        sign = self._paths(source.video_id)[1]
        try:
            seen = fingerprint(source)
            size, mtime_ns = seen.size, seen.mtime_ns
        except VideoError:
            size, mtime_ns = -1, -1
        kept = {"row": row, "again": again, "label": source.label, "size": size, "mtime_ns": mtime_ns}
        _write(sign, json.dumps(kept))

    def _paths(self, video_id: str) -> tuple[Path, Path]:
        key = hashlib.sha256(video_id.encode("utf-8", "surrogateescape")).hexdigest()[:24]
        return self.folder / key[:2] / f"{key}.h5", self.folder / key[:2] / f"{key}.json"

    def _lock(self, lock: Any) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"another run is at work on {self.output} (it holds {self.folder}/lock); wait for it to end, "
                "or choose another output",
                path=self.output,
            ) from None

    def _empty(self) -> None:
        for entry in self.folder.iterdir():
            if entry.name != "lock":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def _same_settings(self) -> None:
        path = self.folder / _RUN
        try:
            begun = json.loads(path.read_text("utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            _write(path, json.dumps(self.recipe))
            return
        self._compare(begun, f"the unfinished run in {self.folder} was")

    def _compare(self, other: dict[str, Any], what: str) -> None:
        difference = first_difference(other, json.loads(json.dumps(self.recipe)))
        if difference is not None:
            name, before, now = difference
            raise ConfigError(
                f"{what} made with other settings: {name} was {_shown(before)}, now {_shown(now)}; run with "
                "the same settings, with --overwrite to start afresh, or with another output",
                difference=name,
            )


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
    frames_decoded: int | None = None,
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
        frames_decoded: Frames decoded, also those left out by the sampling.
        seconds: Time spent on it.
    """
    return {
        "video_id": video_id,
        "source": _text(source),
        "status": status,
        "detail": detail,
        "frames": frames,
        "frames_decoded": frames if frames_decoded is None else frames_decoded,
        "people": people,
        "seconds": round(seconds, 3),
        "sha256": sha256,
    }


def _shown(value: Any) -> str:
    return brief(value["name"] if isinstance(value, dict) and "name" in value else value)


def _text(path: str) -> str:
    """A path as text that JSON and terminals can hold: bytes that are not UTF-8 as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _unchanged(source: Source, kept: dict[str, Any], digest: str) -> bool:
    try:
        now = fingerprint(source)
        if (now.size, now.mtime_ns) == (kept["size"], kept["mtime_ns"]):
            return True
        same_size: bool = now.size == kept["size"]
        return same_size and digest != "" and sha256(source) == digest
    except VideoError:
        return bool(kept["size"] == -1)  # was out of reach then, and still is


def _write(path: Path, text: str) -> None:
    """Text under a name at once or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
