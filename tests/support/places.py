"""Places that cannot be written, each for another reason, and osler started where they are such.

    place = make_places(tmp_path)["read-only"]
    run_in(place, ["pretrain", f"--run.dir={place.path}/run", ...], expect=5)

Mounts live in a mount namespace of their own and vanish with the process.
"""

import dataclasses
import os
import pathlib
import shlex
import shutil
import subprocess

import osler_run


def can_mount():
    """Why this machine cannot mount a tmpfs for a test; "" when it can."""
    if not shutil.which("unshare"):
        return "unshare (Debian package util-linux) is not installed"
    probe = subprocess.run([*_namespace(), "sh", "-c", "mount -t tmpfs tmpfs /mnt"], capture_output=True, text=True)
    return "" if probe.returncode == 0 else f"the kernel refuses mounts: {probe.stderr.strip()}"


def _namespace():
    return ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]


@dataclasses.dataclass
class Place:
    path: pathlib.Path
    said: str               # what a refusal says of it
    set_up: str = ""        # shell, run inside the namespace
    without_rights: bool = False

    def command(self, command):
        """The argument vector that runs `command` where this place is as described."""
        command = [str(part) for part in command]
        if self.without_rights and os.geteuid() == 0:  # root that may not pass over the modes of files
            command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
        if not self.set_up:
            return command
        return [*_namespace(), "sh", "-c", f'{self.set_up} && exec "$@"', "sh", *command]


def make_places(folder):
    """{name: Place} below `folder`."""
    folder = pathlib.Path(folder)
    mount = folder / "mount"
    mount.mkdir()
    where = shlex.quote(str(mount))
    (folder / "file").write_text("")
    (folder / "nowhere").symlink_to(folder / "gone")
    closed = folder / "closed"
    closed.mkdir(mode=0o555)
    return {
        "read-only": Place(mount, "Read-only file system", f"mount -t tmpfs -o ro tmpfs {where}"),
        "no file numbers": Place(mount, "inodes", f"mount -t tmpfs -o nr_inodes=1 tmpfs {where}"),
        "a file in the way": Place(folder / "file", "is not a folder"),
        "a link to nothing": Place(folder / "nowhere", "symbolic link to nothing"),
        "no rights": Place(closed, "Permission denied", without_rights=True),
    }


def run_in(place, args, expect, ranks=1, env=None, timeout=300):
    """osler_run.run() where `place` is what it is."""
    command = place.command(osler_run.command(args, ranks))
    result = subprocess.run(command, env=osler_run.environment(env), capture_output=True, text=True, timeout=timeout)
    if expect is not None:
        assert result.returncode == expect, f"exit {result.returncode}, expected {expect}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"
    return result
