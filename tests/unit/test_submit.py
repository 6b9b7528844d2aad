"""Scripts of jobs: their shell words are the files that the tasks write, whatever they are called."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from skelkit.errors import ClusterError, ConfigError
from skelkit.pipelines.batch_script import Layout, batch_script
from skelkit.pipelines.settings import Share
from skelkit.pipelines.sharing import shared_output
from skelkit.pipelines.site_profile import SiteProfile
from skelkit.pipelines.submit import Script, check_kind, extraction, single, submit, training

PROFILE = SiteProfile.model_validate(
    {"kind": "slurm", "partition": "gpu", "gpus": 2, "workers": {"max": 3}, "options": ["--comment=a b"]}
)


def options(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]


@pytest.mark.parametrize("name", ["out.h5", "a b'c$.h5", "00000.h5", "x/out-{1..3}.h5", "bare"])
@pytest.mark.parametrize("shares", [1, 12])
def test_the_shell_joins_what_the_tasks_write(name: str, shares: int) -> None:
    output = Path(name)
    words = ["extract", "in put", str(output), "--experts", "a,b"]
    first, last = extraction(PROFILE, words, inputs=["in put"], output=output, shares=shares)
    work = next(line for line in last.text.splitlines() if " merge " in line)
    work = work.removesuffix(" || exit").split(" ", 1)[1]
    said = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {work}"], capture_output=True, text=True, check=True
    )
    parts = [str(shared_output(output, Share(index=i, count=shares))) for i in range(shares)]
    wanted = ["merge", str(output), *parts, "--of", "in put", "--overwrite"]
    assert said.stdout.splitlines()[-len(wanted) :] == wanted
    assert f"--array=0-{shares - 1}%3" in options(first.text)


@pytest.mark.parametrize("kind", ["extract", "build-posetics", "train"])
def test_bash_can_read_it(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "o u t"
    if kind == "extract":
        scripts = extraction(PROFILE, [kind, "v", str(out)], inputs=["v"], output=out, shares=2)
    elif kind == "train":
        scripts = training(PROFILE, [kind, "unik"], output=out, nodes=2, devices=4)
    else:
        scripts = single(PROFILE, [kind, "a.h5", str(out)], output=out)
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script.text, text=True, check=True)
        lines = script.text.splitlines()
        assert lines[0] == "#!/bin/bash"
        last = max(i for i, line in enumerate(lines) if line.startswith("#SBATCH"))
        assert all(line.startswith("#") for line in lines[: last + 1]), "sbatch stops at the first command"
        assert '"--comment=a b"' in options(script.text)
        assert "--partition=gpu" in options(script.text)


def test_gpus_are_for_those_who_use_them(tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    first, last = extraction(PROFILE, ["extract"], inputs=["v"], output=out, shares=2)
    (train,) = training(PROFILE, ["train", "unik"], output=out, nodes=2, devices=4)
    assert "--gres=gpu:2" in options(first.text)
    assert not any("gpu:" in option for option in options(last.text))
    assert {"--gres=gpu:8", "--nodes=2", "--ntasks-per-node=4"} <= set(options(train.text))
    assert "--signal=USR1@120" in options(train.text)  # to the tasks, not to the script
    assert "--signal=B:USR1@120" in options(first.text)


def test_what_the_nodes_find_in_their_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SKELKIT_WEIGHTS", "/a b")
    profile = SiteProfile.model_validate(
        {"kind": "slurm", "environment": ["module load x"], "scratch": "/local/$USER", "python": "run python"}
    )
    (script,) = single(profile, ["build-posetics", "a.h5", "ds"], output=Path("ds"))
    lines = script.text.splitlines()
    assert f"cd {tmp_path} || exit" in lines
    assert "export SKELKIT_WEIGHTS='/a b'" in lines
    assert 'export TMPDIR="/local/$USER"' in lines
    assert "module load x" in lines
    assert "run python -m skelkit.cli build-posetics a.h5 ds &" in lines
    assert script.path == tmp_path / "ds.slurm" / "build-posetics.sbatch"


def test_where_there_is_no_sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=r"expected Slurm's sbatch .* --dry-run"):
        submit([Script(path=tmp_path / "a.sbatch", text="", what="")])


def test_where_the_second_job_is_refused_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, body in {
        "sbatch": 'case "$*" in *after*) echo no more jobs >&2; exit 1 ;; *) echo 17 ;; esac',
        "scancel": f'echo "$@" > {tmp_path}/cancelled',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    scripts = [Script(path=tmp_path / f"{name}.sbatch", text="", what="") for name in "ab"]
    with pytest.raises(ClusterError, match="refused: no more jobs"):
        submit(scripts)
    assert (tmp_path / "cancelled").read_text() == "17\n"


def test_other_batch_systems_are_told_where_to_go() -> None:
    with pytest.raises(ConfigError, match=r"got 'pbs'.*--cluster"):
        check_kind(SiteProfile.model_validate({"kind": "pbs"}))


def test_lines_of_options(tmp_path: Path) -> None:
    text = batch_script(
        PROFILE, Layout(), name="n", comment=["c"], log=tmp_path / "l o g", body="true\n", signal=""
    )
    assert f'"--output={tmp_path}/l o g"' in options(text)
