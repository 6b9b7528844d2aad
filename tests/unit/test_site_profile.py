"""Site profiles: what is read, and how all that is wrong is told at once."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from skelkit.errors import ConfigError
from skelkit.pipelines.site_profile import (
    KINDS,
    SiteProfile,
    Workers,
    profile_path,
    read_profile,
    template,
)


def profile(folder: Path, text: str) -> SiteProfile:
    path = folder / "site.toml"
    path.write_text(text)
    return read_profile(str(path))


def problems(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        profile(folder, text)
    found: tuple[str, ...] = caught.value.fields["problems"]
    assert all(problem in caught.value.message for problem in found)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_says_the_defaults(kind: str, tmp_path: Path) -> None:
    mine = profile(tmp_path, template(kind))
    assert mine == SiteProfile.model_validate({"kind": kind})
    keys = [line[1:] for line in template(kind).splitlines() if line.startswith("#") and " = " in line]
    shown = tomllib.loads("\n".join(line for line in keys if not line.startswith(" ")))
    assert shown.keys() == SiteProfile.model_fields.keys() - {"kind"}
    for name in ("partition", "account", "walltime", "cores", "memory", "gpus", "notice"):
        assert shown[name] == getattr(mine, name), name
    assert mine.workers == Workers(min=shown["workers"], max=shown["workers"])


def test_units(tmp_path: Path) -> None:
    mine = profile(tmp_path, 'kind = "pbs"\nwalltime = "1-02:03:04"\nmemory = "1.5GB"')
    assert mine.walltime_s == 93784
    assert mine.memory_bytes == 3 * 2**29
    assert SiteProfile.model_validate({"kind": "sge", "memory": "512 MiB"}).memory_bytes == 2**29


def test_workers_are_a_number_or_limits(tmp_path: Path) -> None:
    assert profile(tmp_path, 'kind = "slurm"\nworkers = 7').workers == Workers(min=7, max=7)
    assert profile(tmp_path, 'kind = "slurm"\nworkers = { max = 9 }').workers == Workers(min=0, max=9)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        'kind = "slurn"\npartitoin = "gpu"\nwalltime = "8h"\nmemory = "lots"\ncores = 0\n'
        'options = ["constraint=a100"]\nenvironment = ["a\\nb"]\naccount = "a b"',
    )
    by_key = {problem.split(":")[0]: problem for problem in found}
    assert by_key.keys() == {
        "kind",
        "partitoin",
        "walltime",
        "memory",
        "cores",
        "options.0",
        "environment.0",
        "account",
    }
    assert by_key["partitoin"] == "partitoin: unknown key: 'partitoin'; did you mean partition or options?"
    assert by_key["walltime"] == "walltime: expected HH:MM:SS or D-HH:MM:SS, got '8h'"
    assert by_key["cores"].endswith("got 0")
    assert "'slurm'" in by_key["kind"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("workers = { min = 3, max = 2 }", "workers: expected min <= max, got 3 and 2"),
        ("workers = { max = 2, step = 1 }", "workers.step: unknown key: 'step'; known are max, min"),
        ('walltime = "00:03:00"', "notice: expected at most half of the walltime (00:03:00), got 120 s"),
        ('walltime = "00:00:00"', "walltime: expected HH:MM:SS or D-HH:MM:SS, got '00:00:00'"),
        ('memory = "0G"', "memory: expected a number with K, M, G or T, such as 16G, got '0G'"),
    ],
)
def test_values_out_of_range(line: str, told: str, tmp_path: Path) -> None:
    assert told in problems(tmp_path, f'kind = "slurm"\n{line}')


def test_kind_must_be_said(tmp_path: Path) -> None:
    assert problems(tmp_path, "") == ("kind: field required",)


def test_profiles_by_name_are_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert profile_path("slurm") == tmp_path / "skelkit" / "clusters" / "slurm.toml"
    assert profile_path("here/slurm") == Path("here/slurm")
    assert profile_path("slurm.toml") == Path("slurm.toml")
    with pytest.raises(ConfigError, match=r"slurm\.toml, found none; .*skelkit cluster init slurm"):
        read_profile("slurm")
    profile_path("mine").parent.mkdir(parents=True)
    profile_path("mine").write_text('kind = "lsf"')
    assert read_profile("mine").kind == "lsf"
    with pytest.raises(ConfigError, match=r"there are mine.*cluster init slurm"):
        read_profile("other")


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("kind = ")
    with pytest.raises(ConfigError, match=r"cannot read the site profile .*bad\.toml"):
        read_profile(str(tmp_path / "bad.toml"))
    with pytest.raises(ConfigError, match="cannot read"):
        (tmp_path / "folder.toml").mkdir()
        read_profile(str(tmp_path / "folder.toml"))


def test_no_template_of_what_nobody_knows() -> None:
    with pytest.raises(ConfigError, match=r"unknown kind of cluster: 'slrm'; did you mean slurm"):
        template("slrm")
