"""Several hosts on one machine: network namespaces, each with a host name of its own, joined by a bridge.

    with Hosts(4, folder) as hosts:
        process = hosts.start(["pretrain", ...])     # mpirun over all of them, one rank each, TCP only
        hosts.vanish(3)                              # link down and every process gone, as when the power fails
"""

import os
import pathlib
import shlex
import shutil
import signal
import subprocess

import osler_run


def ip(*args):
    return subprocess.run(["ip", *map(str, args)], check=True, capture_output=True, text=True).stdout


def why_not():
    """Why this machine cannot play several hosts; "" when it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip") or not shutil.which("unshare"):
        return "ip (Debian package iproute2) or unshare (util-linux) is not installed"
    probe = f"oslp{os.getpid() % 100_000}"
    try:
        ip("netns", "add", probe)
        ip("link", "add", f"{probe}b", "type", "bridge")
        ip("link", "add", f"{probe}v", "type", "veth", "peer", "name", "eth0", "netns", probe)
    except subprocess.CalledProcessError as error:
        return f"the kernel refuses network namespaces, bridges or veth: {error.stderr.strip()}"
    finally:
        for undo in (["link", "del", f"{probe}v"], ["link", "del", f"{probe}b"], ["netns", "del", probe]):
            subprocess.run(["ip", *undo], capture_output=True)
    return ""


class Hosts:
    def __init__(self, count, folder, tcp_retries=None):
        """`tcp_retries`: net.ipv4.tcp_retries2, after how many unanswered packets the kernel gives up a connection; Linux
        has 15, which takes a quarter of an hour."""
        self.count = count
        self._folder = folder
        self._tcp_retries = tcp_retries
        self._tag = f"osl{os.getpid() % 100_000}"  # interface names have at most 15 characters
        self._agent = folder / "agent"
        # In the place of ssh. Like ssh it does not notice that a host has vanished: it stays when all there is killed.
        self._agent.write_text("#!/bin/sh\n"
                               "number=${1##*.}; shift\n"
                               f'ip netns exec "{self._tag}n$number" unshare --uts sh -c "hostname osler-host-$number; $*"\n'
                               "code=$?\n"
                               'if [ "$code" -eq 137 ]; then exec sleep 600 < /dev/null > /dev/null 2>&1; fi\n'
                               'exit "$code"\n')
        self._agent.chmod(0o700)

    @staticmethod
    def name(number):
        return f"osler-host-{number}"

    def _space(self, number):
        return f"{self._tag}n{number}"

    def __enter__(self):
        try:
            ip("link", "add", f"{self._tag}b", "type", "bridge")
            ip("link", "set", f"{self._tag}b", "up")
            for number in range(1, self.count + 1):
                space, cable = self._space(number), f"{self._tag}v{number}"
                ip("netns", "add", space)
                ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
                ip("link", "set", cable, "master", f"{self._tag}b", "up")
                ip("-n", space, "link", "set", "lo", "up")
                ip("-n", space, "addr", "add", f"10.213.0.{number}/24", "dev", "eth0")
                ip("-n", space, "link", "set", "eth0", "up")
                if self._tcp_retries is not None:
                    ip("netns", "exec", space, "sh", "-c", f"echo {self._tcp_retries} > /proc/sys/net/ipv4/tcp_retries2")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for number in range(1, self.count + 1):
            self._kill_all_on(number)
            subprocess.run(["ip", "link", "del", f"{self._tag}v{number}"], capture_output=True)
            subprocess.run(["ip", "netns", "del", self._space(number)], capture_output=True)
        subprocess.run(["ip", "link", "del", f"{self._tag}b"], capture_output=True)

    def _kill_all_on(self, number):
        pids = subprocess.run(["ip", "netns", "pids", self._space(number)], capture_output=True, text=True).stdout
        for pid in pids.split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass

    def vanish(self, number):
        ip("link", "set", f"{self._tag}v{number}", "down")
        self._kill_all_on(number)

    def running(self, number):
        """Names of the programs on a host."""
        names = []
        for pid in ip("netns", "pids", self._space(number)).split():
            try:
                names.append(pathlib.Path(f"/proc/{pid}/comm").read_text().strip())
            except OSError:
                pass
        return names

    def exit_codes(self):
        """{rank: code} of the ranks that have left by themselves."""
        return {int(path.name.removeprefix("exit_")): int(path.read_text() or -1) for path in self._folder.glob("exit_*")}

    def start(self, args, env=None):
        """osler with one rank on each host; mpirun runs on the first."""
        noted = f'"$@"; code=$?; echo $code > {self._folder}/exit_$OMPI_COMM_WORLD_RANK; exit $code'
        addresses = ",".join(f"10.213.0.{number}:1" for number in range(1, self.count + 1))
        net = "10.213.0.0/24"
        launcher = [osler_run.MPIRUN, "--mca", "plm_rsh_agent", self._agent, "--mca", "pml", "ob1", "--mca", "btl", "tcp,self",
                    "--mca", "btl_tcp_if_include", net, "--mca", "oob_tcp_if_include", net, "--host", addresses,
                    "-n", self.count, "sh", "-c", noted, "sh", osler_run.OSLER, *args]
        inside = f"hostname {self.name(1)}; exec " + " ".join(shlex.quote(str(one)) for one in launcher)
        return subprocess.Popen(["ip", "netns", "exec", self._space(1), "unshare", "--uts", "sh", "-c", inside],
                                env=osler_run.environment(env), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
