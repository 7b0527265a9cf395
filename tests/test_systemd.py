"""The units in systemd/ are ones that systemd accepts, and that cannot hide the mount."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from stowkenfs.cli.main import COMMANDS

ROOT = Path(__file__).parent.parent
UNITS = ROOT / "systemd"
SERVICES = ["stowkenfs@.service", "stowkenfs-compact@.service"]
TIMERS = ["stowkenfs-compact@.timer"]

# Each gives the service a mount namespace: systemd.exec(5), "Sandboxing".
NAMESPACED = {
    "BindPaths",
    "BindReadOnlyPaths",
    "ExecPaths",
    "InaccessiblePaths",
    "MountFlags",
    "NoExecPaths",
    "PrivateDevices",
    "PrivateMounts",
    "PrivateTmp",
    "PrivateUsers",
    "ProcSubset",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "ProtectSystem",
    "ReadOnlyPaths",
    "ReadWritePaths",
    "RootDirectory",
    "RootImage",
    "TemporaryFileSystem",
}
# Each is or implies NoNewPrivileges for a user's services: systemd.exec(5), "NoNewPrivileges=".
UNPRIVILEGED = {
    "DynamicUser",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "NoNewPrivileges",
    "ProtectClock",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "SystemCallArchitectures",
    "SystemCallFilter",
    "SystemCallLog",
}


def settings(unit: str) -> list[tuple[str, str]]:
    lines = (UNITS / unit).read_text().splitlines()
    return [
        (key, value)
        for key, separator, value in (line.partition("=") for line in lines)
        if separator and not key.startswith("#")
    ]


def program(command: str) -> str:
    return command.lstrip("-").split()[0]


@pytest.mark.parametrize("unit", [*SERVICES, *TIMERS])
@pytest.mark.parametrize("manager", ["--user", "--system"])
def test_systemd_accepts_the_unit(manager, unit, tmp_path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    # It looks for programs in its own list of directories, not in ExecSearchPath=.
    stand_in = tmp_path / "stowkenfs"
    stand_in.write_text("#!/bin/sh\n")
    stand_in.chmod(0o755)
    for name in (*SERVICES, *TIMERS):  # a timer is checked with its service
        text = (UNITS / name).read_text().replace("=stowkenfs ", f"={stand_in} ")
        (tmp_path / name.replace("@", "@check")).write_text(text)

    done = subprocess.run(
        [analyze, manager, "verify", "--man=no", tmp_path / unit.replace("@", "@check")],
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    # Units of the machine itself are loaded too; what is wrong with them is not asked here.
    complaints = [line for line in done.stderr.splitlines() if "stowkenfs" in line]
    assert complaints == []
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("unit", SERVICES)
def test_nothing_in_the_unit_keeps_the_mount_from_being_made_or_seen(unit):
    keys = {key for key, _ in settings(unit)}
    assert keys & NAMESPACED == set()
    assert unit != "stowkenfs@.service" or keys & UNPRIVILEGED == set()


@pytest.mark.parametrize("unit", SERVICES)
def test_the_unit_runs_a_program_that_the_project_installs(unit):
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    commands = [value for key, value in settings(unit) if key in {"ExecStart", "ExecStop"}]
    assert {program(command) for command in commands} == set(scripts)
    assert {command.split()[1] for command in commands} <= set(COMMANDS)


@pytest.mark.parametrize("timer", TIMERS)
def test_a_timer_has_a_service_of_its_name(timer):
    assert timer.replace(".timer", ".service") in SERVICES
    assert "OnCalendar" in dict(settings(timer))


def test_the_example_sets_every_variable_that_the_unit_uses():
    used = {
        name
        for unit in SERVICES
        for key, value in settings(unit)
        if key.startswith("Exec")
        for name in re.findall(r"\$\{?([A-Z]+)", value)
    }
    example = (ROOT / "systemd" / "example.env").read_text()
    assert set(re.findall(r"^([A-Z]+)=", example, re.MULTILINE)) == used


def test_files_named_in_the_instructions_exist():
    instructions = (ROOT / "systemd" / "README.md").read_text()
    named = set(re.findall(r"(?:systemd|tools)/[\w@.-]*\w", instructions))
    # These are directories of the machine: ~/.config/systemd/user, /etc/systemd/system.
    named -= {"systemd/user", "systemd/system"}
    units = {f"systemd/{name}" for name in (*SERVICES, *TIMERS)}
    assert named >= units | {"systemd/example.env", "tools/mount"}
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
