"""A real SLURM of two nodes on this host, private to one test: munged, slurmctld and two slurmd in
the foreground, with their own key, sockets, free ports and folder. It needs neither init nor
cgroups. Whatever happens to the test, a guard ends all daemons and jobs and removes the folder."""
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

NODES = ("node1", "node2")
DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = ("sbatch", "srun", "scontrol", "squeue", "scancel")
# In the environment of every daemon and, as sbatch passes the environment on, of every job.
MARKER = "ORTHANT_TEST_CLUSTER"
# Seconds. Everything here is quick unless the machine is busy.
PATIENCE = 180 * float(os.environ.get("ORTHANT_TEST_PATIENCE", "1"))

CONFIGURATION = """
ClusterName=orthant
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
TmpFS={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmctldDebug=verbose
SlurmdDebug=verbose
MpiDefault=pmix
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
JobRequeue=0
KillWait={kill_wait}
SlurmdTimeout={slurmd_timeout}
NodeName={nodes} NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[2]}] CPUs=2
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime={grace} MaxTime=INFINITE State=UP
PartitionName=high Nodes=ALL PriorityTier=2 MaxTime=INFINITE State=UP
"""


def tool(name):
    """The path of a program; daemons are in sbin, which is not in everybody's PATH."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def missing():
    """Why no SLURM can run here, None where it can."""
    absent = [name for name in (*DAEMONS, *COMMANDS) if not tool(name)]
    return f"not installed: {', '.join(absent)}" if absent else None


def marked(folder):
    """The processes of this cluster, jobs included."""
    marker = f"{MARKER}={folder}".encode()
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if marker in file.read().split(b"\0"):
                    found.append(int(name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def kill(pids, number=signal.SIGKILL):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def end_everything(folder):
    """Daemons first, so that nothing starts anew; again, for what was just being started."""
    for _ in range(100):
        pids = marked(folder)
        if not pids:
            break
        kill(pids)
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def start_guard(folder):
    """A process outside this one's group that cleans up once the returned descriptor is closed,
    which the end of this process does too, however it comes."""
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(read)
        os.waitpid(child, 0)
        return write
    os.setsid()
    if os.fork():
        os._exit(0)
    os.close(write)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)  # else who reads this test's output waits for the guard
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.read(read, 1)
    end_everything(folder)
    os._exit(0)


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def free_ports():
    """A port, and two that follow each other, free a moment ago."""
    while True:
        with socket.socket() as a, socket.socket() as b, socket.socket() as c:
            a.bind(("127.0.0.1", 0))
            b.bind(("127.0.0.1", 0))
            try:
                c.bind(("127.0.0.1", b.getsockname()[1] + 1))
            except (OSError, OverflowError):
                continue
            return [a.getsockname()[1], b.getsockname()[1], c.getsockname()[1]]


class Cluster:
    """Start it with `start`, end it with `stop`. Jobs are submitted from `cwd`."""

    def __init__(self, environment=None, slurmd_timeout=30, grace=30, kill_wait=30):
        self.folder = tempfile.mkdtemp(prefix="orthant-slurm-", dir="/tmp")  # a short socket path
        self.guard = start_guard(self.folder)
        self.options = {"slurmd_timeout": slurmd_timeout, "grace": grace,
                        "kill_wait": kill_wait}
        self.daemons = {}
        path = os.environ.get("PATH", "")
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith(("SLURM", "SBATCH", "SRUN", "PMIX", "OMPI_"))}
        self.environment.update(environment or {})
        self.environment.update({MARKER: self.folder, "PATH": f"{path}:/usr/sbin:/sbin",
                                 "SLURM_CONF": f"{self.folder}/slurm.conf"})

    def stop(self):
        if self.guard is not None:
            kill(process.pid for process in self.daemons.values())
            for process in self.daemons.values():
                process.wait()
            end_everything(self.folder)
            os.close(self.guard)
            self.guard = None

    def daemon(self, name, *command):
        log = open(os.path.join(self.folder, f"{name}.out"), "ab")
        with log:
            self.daemons[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                env=self.environment, start_new_session=True, preexec_fn=die_with_parent)

    def logs(self):
        """The last lines of every daemon, for a test that failed."""
        said = []
        for name in sorted(os.listdir(self.folder)):
            if name.endswith((".log", ".out")):
                with open(os.path.join(self.folder, name), errors="replace") as file:
                    said.append(f"--- {name}\n" + "".join(file.readlines()[-60:]))
        return "\n".join(said)

    def wait_for(self, condition, what, timeout=None):
        """The first true value of condition()."""
        end = time.monotonic() + (timeout or PATIENCE)
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > end:
                raise AssertionError(f"no {what}\n{self.logs()}")
            time.sleep(0.1)

    def start(self):
        """Another attempt when a port was taken meanwhile."""
        key = os.path.join(self.folder, "munge.key")
        with open(os.open(key, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(os.urandom(128))
        self.daemon("munged", tool("munged"), "--foreground", "--force", "--num-threads=2",
                    *(f"--{name}-file={self.folder}/munge.{name}" for name in
                      ("key", "pid", "seed", "log")), f"--socket={self.folder}/munge.socket")
        self.wait_for(lambda: os.path.exists(f"{self.folder}/munge.socket"), "munged")
        for folder in ("state", *NODES):
            os.makedirs(os.path.join(self.folder, folder), exist_ok=True)
        for attempt in range(3):
            with open(os.path.join(self.folder, "slurm.conf"), "w") as file:
                file.write(CONFIGURATION.format(
                    folder=self.folder, host=socket.gethostname().split(".")[0],
                    user=pwd.getpwuid(os.getuid()).pw_name, ports=free_ports(), nodes="node[1-2]",
                    **self.options))
            self.daemon("slurmctld", tool("slurmctld"), "-D", "-c")
            for node in NODES:
                self.start_node(node)
            if self.wait_for(lambda: self.ended() or self.idle(), "cluster") is True:
                return
            for name in ("slurmctld", *NODES):
                self.daemons[name].kill()
                self.daemons[name].wait()
        raise AssertionError(f"SLURM does not start\n{self.logs()}")

    def start_node(self, node):
        self.daemon(node, tool("slurmd"), "-D", "-N", node)

    def ended(self):
        return [name for name, process in self.daemons.items() if process.poll() is not None]

    def idle(self):
        """True once both nodes take jobs."""
        states = self.command("sinfo", "-h", "-N", "-p", "low", "-o", "%T", check=False)
        return states.split() == ["idle"] * len(NODES)

    def command(self, *words, check=True, cwd=None, **environment):
        """What a command of SLURM prints."""
        result = subprocess.run(
            [tool(words[0]), *map(str, words[1:])], stdin=subprocess.DEVNULL, timeout=PATIENCE,
            capture_output=True, text=True, cwd=cwd, env={**self.environment, **environment},
            check=False)
        if check and result.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, words))}: {result.stderr}\n{self.logs()}")
        return result.stdout.strip()
