"""A private Slurm cluster: two nodes on this machine, with all files in a temporary folder."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "sinfo", "scancel")
# Output of sinfo on a larger cluster.
SINFO = """main*|1-00:00:00|30:00|2|64|512000|gpu:a100:8(S:0-1)|fast,new
main*|1-00:00:00|30:00|3|32|256000|(null)|(null)
long|infinite|n/a|1|8|1000+|gpu:2,shard:4|(null)
"""
# A requeued job waits until its old credentials have expired, by default for two minutes.
CONFIG = """
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=10
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=20
MinJobAge=60
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=2000 Feature=early State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=60 DefaultTime=30 State=UP
PartitionName=short Nodes=n2 MaxTime=5 State=UP
"""


def missing() -> str:
    """The reason why no cluster can run here; empty if one can."""
    if os.geteuid() != 0:
        return "a private Slurm needs root"
    lacking = [name for name in PROGRAMS if shutil.which(name, path=search_path()) is None]
    return f"needs {', '.join(lacking)}: apt-get install slurm-wlm munge" if lacking else ""


def search_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])


class Cluster:
    """A running cluster; ``config`` is the value of the environment variable ``SLURM_CONF``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder, folder / "slurm.conf"
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir(parents=True)
        key = folder / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        (folder / "munge").chmod(0o700)
        self.config.write_text(CONFIG.format(host=socket.gethostname(), folder=folder, ports=free_ports(3)))
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        self._run("munged", "--force", "--num-threads=2", *self._munge_files())
        self._run("slurmctld", "-f", str(self.config))
        for node in ("n1", "n2"):
            self._run("slurmd", "-f", str(self.config), "-N", node)
        self.wait(lambda: self.ask("sinfo", "-h", "-t", "idle", "-o", "%D").split()[:1] == ["2"], 60)

    def _munge_files(self) -> list[str]:
        names = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        return [f"--{option}={self.folder / 'munge' / name}" for option, name in names.items()]

    def _run(self, *command: str) -> str:
        environment = {**os.environ, "SLURM_CONF": str(self.config), "PATH": search_path()}
        process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        if process.returncode:
            raise RuntimeError(f"{command[0]} ended with {process.returncode}: {process.stderr}")
        return process.stdout

    def ask(self, *command: str) -> str:
        """Return the output of a Slurm command."""
        return self._run(*command)

    def wait(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until a condition holds, at most this long."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"the condition did not hold within {seconds} s; the queue:\n{self.ask('squeue')}")
            time.sleep(0.1)

    def close(self) -> None:
        """Cancel every job, and end every process of the cluster by its id."""
        with contextlib.suppress(TimeoutError, RuntimeError):
            self.ask("scancel", "--user=root")
            self.wait(lambda: not self.ask("squeue", "-h"), 40)
        for path in [*self.folder.glob("*.pid"), self.folder / "munge" / "pid"]:
            try:
                process = psutil.Process(int(path.read_text()))
                processes = [process, *process.children(recursive=True)]
            except (OSError, ValueError, psutil.NoSuchProcess):
                continue
            process.terminate()
            for remaining in psutil.wait_procs(processes, 10)[1]:
                remaining.kill()
        for process in self.steps():
            process.kill()

    def steps(self) -> list[psutil.Process]:
        """Slurm's supervisors of jobs, which outlive its daemons."""
        supervisors = []
        for process in psutil.process_iter(["name"]):
            with contextlib.suppress(psutil.Error):
                if process.info["name"].startswith("slurmstepd"):
                    supervisors += [process] if process.environ().get("SLURM_CONF") == str(self.config) else []
        return supervisors


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
