"""Shards as files: they appear whole or not at all, and damaged ones are told apart."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from shard_samples import random_sequence

from skelkit import protocols
from skelkit.data import ShardReader, ShardWriter, write_clip_file
from skelkit.data.layout import CLIP_CHUNK
from skelkit.errors import ShardError
from skelkit.skeletons import COCO17, LCR13
from skelkit.structures import Tracks

ROOT = Path(__file__).resolve().parents[3]


def write(path: Path, clips: int = 3, frames: int = 300) -> Path:
    with ShardWriter(path, skeleton=COCO17, recipe={}) as writer:
        for seed in range(clips):
            writer.write(random_sequence(seed, frames=frames))
    return path


def test_nothing_appears_before_the_end_or_after_an_exception(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"what was there")
    with (
        pytest.raises(KeyError),
        ShardWriter(path, skeleton=COCO17, recipe={}) as writer,
    ):
        writer.write(random_sequence(0))
        assert path.read_bytes() == b"what was there"
        raise KeyError("a fault of the caller")
    assert path.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [path]
    write(path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_equal_content_gives_equal_bytes_whenever_it_is_written(tmp_path: Path) -> None:
    first = write(tmp_path / "a.h5").read_bytes()
    one = random_sequence(0)
    write_clip_file(tmp_path / "b.h5", sequence=one, skeleton=COCO17, recipe={})
    time.sleep(1.1)  # HDF5's time stamps have whole seconds
    assert write(tmp_path / "other name.h5").read_bytes() == first
    write_clip_file(tmp_path / "c.h5", sequence=one, skeleton=COCO17, recipe={})
    assert (tmp_path / "b.h5").read_bytes() == (tmp_path / "c.h5").read_bytes()
    with ShardWriter(tmp_path / "d.h5", skeleton=COCO17, recipe={}) as writer:
        writer.write(one)
    with h5py.File(tmp_path / "b.h5") as spooled, h5py.File(tmp_path / "d.h5") as streamed:
        names: list[str] = []
        spooled.visit(names.append)
        for name in names:
            if isinstance(spooled[name], h5py.Dataset):
                np.testing.assert_array_equal(spooled[name][:], streamed[name][:])


def test_an_interrupt_while_writing_ends_cleanly(tmp_path: Path) -> None:
    sequence = random_sequence(0, frames=2000)
    for delay in (0.01, 0.03, 0.06, 0.1, 0.15):
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        with (
            pytest.raises(KeyboardInterrupt),
            ShardWriter(tmp_path / "a.h5", skeleton=COCO17, recipe={}) as writer,
        ):
            timer.start()
            for count in range(10_000):
                writer.write(replace(sequence, video_id=str(count)))
        timer.join()
        assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_while_a_shard_is_begun_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupted(file: object, header: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(KeyboardInterrupt),
    ):
        patch.setattr("skelkit.data.writer.ShardContent", interrupted)
        ShardWriter(tmp_path / "a.h5", skeleton=COCO17, recipe={})
    assert list(tmp_path.iterdir()) == []


# A program that writes until the disk is full, then says what happened; its stderr must stay empty.
FILLER = """
import json, os, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, {tests!r})
from shard_samples import random_sequence
from skelkit import protocols
from skelkit.data import ShardReader, ShardWriter, write_clip_file
from skelkit.data.layout import CLIP_CHUNK
from skelkit.errors import OutputError
from skelkit.skeletons import COCO17
folder = Path(sys.argv[1])
kind = sys.argv[2]
written = 0
try:
    if kind == "spool":
        for seed in range(10_000):
            write_clip_file(folder / f"{{seed}}.h5", sequence=random_sequence(seed, frames=500),
                            skeleton=COCO17, recipe={{}})
            written += 1
    else:
        with ShardWriter(folder / "a.h5", skeleton=COCO17, recipe={{}}) as writer:
            limit = int(sys.argv[3])
            for seed in range(limit):
                try:
                    writer.write(random_sequence(seed, frames=500))
                except OutputError:
                    if kind == "stubborn":
                        continue
                    raise
                written += 1
except OutputError as error:
    for path in folder.glob("*.h5"):
        with ShardReader(path) as reader:
            reader[0]
    print(json.dumps([str(error), written, sorted(p.name for p in folder.iterdir() if p.suffix != ".h5")]))
"""


def fill(folder: Path, kind: str, clips: int, max_file: int | None = None) -> tuple[str, int, list[str]]:
    def limit() -> None:
        if max_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (max_file, max_file))

    done = subprocess.run(
        [
            sys.executable,
            "-c",
            FILLER.format(tests=str(Path(__file__).parent)),
            str(folder),
            kind,
            str(clips),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        preexec_fn=limit,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    message, written, others = json.loads(done.stdout)
    return message, written, others


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small file system is not permitted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("kind", ["stream", "stubborn", "spool"])
def test_a_full_disk_is_one_clear_sentence_and_leaves_nothing_behind(small_disk: Path, kind: str) -> None:
    message, written, others = fill(small_disk, kind, 10_000 if kind == "stream" else 60)
    assert "full" in message
    assert str(small_disk) in message
    assert "MiB are free" in message
    assert written > 0
    assert others == []
    assert len(list(small_disk.glob("*.h5"))) == (written if kind == "spool" else 0)


@pytest.mark.parametrize("size", [0, 1000, 20_000, 300_000, 1_000_000])
def test_a_file_that_may_not_grow_is_one_clear_sentence_wherever_it_breaks_off(
    tmp_path: Path, size: int
) -> None:
    message, _, others = fill(tmp_path, "stream", 20, max_file=size)
    assert message.startswith(f"cannot write {tmp_path / 'a.h5'}")
    assert others == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "empty"), (b"not HDF5", "HDF5"), (None, "no shard"), ("folder", "folder")]
)
def test_what_is_no_shard(tmp_path: Path, content: bytes | str | None, words: str) -> None:
    path = tmp_path / "a.h5"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        path.mkdir()
    with pytest.raises(ShardError, match=words):
        ShardReader(path)


def test_other_hdf5_files_and_newer_versions(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as h5:
        h5["x"] = 1
    with pytest.raises(ShardError, match="not a shard"):
        ShardReader(tmp_path / "other.h5")
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "r+") as h5:
        h5.attrs["format_version"] = 2
    with pytest.raises(ShardError, match="newer skelkit"):
        ShardReader(path)


def read_all(path: Path) -> None:
    with ShardReader(path) as reader:
        for index in range(len(reader)):
            reader.record(index)
            reader[index]


def test_a_shard_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "a.h5", clips=2, frames=40).read_bytes()
    cut = tmp_path / "cut.h5"
    for size in np.linspace(1, len(data) - 1, 60).astype(int):
        cut.write_bytes(data[:size])
        with pytest.raises(ShardError, match=r"damaged|not a shard"):
            read_all(cut)


def test_flipped_bits_give_shard_errors_only(tmp_path: Path) -> None:
    data = write(tmp_path / "a.h5", clips=2, frames=40).read_bytes()
    hurt = tmp_path / "hurt.h5"
    rng = np.random.default_rng(0)
    refused = 0
    for at in rng.integers(0, len(data), 150):
        broken = bytearray(data)
        broken[at] ^= 1 << int(rng.integers(8))
        hurt.write_bytes(broken)
        try:
            read_all(hurt)
        except ShardError as error:
            assert str(hurt) in str(error)
            refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    ("dataset", "value"), [("clips/num_rows", 5), ("clips/first_row", 7), ("poses/frame", 4000)]
)
def test_columns_that_contradict_each_other_are_damage(tmp_path: Path, dataset: str, value: int) -> None:
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "r+") as h5:
        h5[dataset][1] = value
    with pytest.raises(ShardError, match="damaged"):
        read_all(path)


def test_a_missing_or_shorter_column_is_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "r+") as h5:
        h5["poses/track"].resize(3, axis=0)
    with pytest.raises(ShardError, match="poses/track"):
        read_all(path)
    with h5py.File(path, "r+") as h5:
        del h5["poses/track"]
    with pytest.raises(ShardError, match="damaged"):
        read_all(path)


def test_memory_does_not_grow_with_the_clips_but_for_their_names(tmp_path: Path) -> None:
    base = random_sequence(0, people=1, frames=2)
    experts = dict.fromkeys(("a", "b", "c"), LCR13)  # without rows, as of experts that saw nobody
    held = []
    tracemalloc.start()
    try:
        with ShardWriter(tmp_path / "a.h5", skeleton=COCO17, recipe={}, experts=experts) as writer:
            for number in range(2 * CLIP_CHUNK):
                writer.write(replace(base, video_id=f"clip{number}"))
                if (number + 1) % CLIP_CHUNK == 0:  # the columns' buffers are empty then
                    held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert (held[1] - held[0]) / CLIP_CHUNK < 300


def test_rows_and_dense_arrays_give_the_same_bytes_and_a_long_clip_little_memory(tmp_path: Path) -> None:
    dense = random_sequence(0, people=2, frames=20_000)
    tracks = Tracks.of(dense)
    stored = len(tracks) * (17 * 2 * 4 + 17 * 2 + 12)
    tracemalloc.start()
    try:
        for sequence, name in ((dense, "a.h5"), (tracks, "b.h5")):
            tracemalloc.reset_peak()
            write_clip_file(
                tmp_path / name, sequence=sequence, experts={"a": sequence}, skeleton=COCO17, recipe={}
            )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert peak < 4_000_000 < stored


def test_writer_and_reader_are_the_protocols(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "a.h5", skeleton=COCO17, recipe={}) as writer:
        assert isinstance(writer, protocols.ShardWriter)
    with ShardReader(tmp_path / "a.h5") as reader:
        assert isinstance(reader, protocols.ShardReader)
        assert len(reader) == 0
