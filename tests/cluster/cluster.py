"""A cluster on one host: nodes are network namespaces with a hostname each, joined by veth links to
a bridge. Nothing of it is to be seen outside: `enter` puts the whole test into namespaces of its
own, where this process is the init process, and the kernel removes all of it, processes, links and
names, when that process ends, however it ends."""
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cli"))  # support.py
os.environ["PATH"] += ":/usr/sbin:/sbin"
INSIDE = "ORTHANT_TEST_NAMESPACES"
NETWORK = "10.77.0"
PR_SET_PDEATHSIG = 1


def skip(reason):
    """Leave a test that cannot run here."""
    print(f"skipped: {reason}", flush=True)
    sys.exit(77)


def own_files():
    """Launchers name their files by process ids, which begin at 1 here and in every other test. And
    what a test writes goes with it."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], check=True)
    os.environ["TMPDIR"] = "/dev/shm"


def enter():
    """Start this test again in namespaces of its own. Skips it where that is not possible."""
    if os.environ.get(INSIDE):
        own_files()
        return
    if os.geteuid() != 0:
        skip("network namespaces need root")
    for name, package in (("unshare", "util-linux"), ("nsenter", "util-linux"), ("ip", "iproute2"),
                          ("tc", "iproute2"), ("nft", "nftables")):
        if not shutil.which(name):
            skip(f"no {name} here; install {package}")
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
    tried = subprocess.run([*words, "ip", "link", "add", "br0", "type", "bridge"],
                           capture_output=True, text=True)
    if tried.returncode != 0:
        skip(f"this system gives no namespaces with a bridge: {tried.stderr.strip()}")
    os.environ[INSIDE] = "yes"
    # Whoever kills this process, which becomes unshare, kills all that follows from it.
    os.execvp(words[0], [*words, sys.executable, *sys.argv])


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Node:
    """One namespace; `number` from 1 on. A process that sleeps holds it. `delay`: seconds, each way,
    that its link takes."""

    def __init__(self, number, delay=0):
        self.name, self.address = f"node{number}", f"{NETWORK}.{number}"
        self.port = f"port{number}"  # its end of the link at the bridge
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--uts", "sh", "-c",
             'hostname "$1"; echo ready; exec sleep infinity', "sh", self.name],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        self.holder.stdout.readline()
        self.enter = ["nsenter", "--target", str(self.holder.pid), "--net", "--uts", "--"]
        self.relay = None
        if delay:
            self.relay = subprocess.Popen(
                [sys.executable, os.path.join(HERE, "relay.py"), str(delay), self.port, "eth0"],
                stdout=subprocess.PIPE, preexec_fn=die_with_parent)
            self.relay.stdout.readline()
            ip("link", "set", "eth0", "netns", str(self.holder.pid))
        else:
            ip("link", "add", self.port, "type", "veth", "peer", "name", "eth0", "netns",
               str(self.holder.pid))
        ip("link", "set", self.port, "master", "br0", "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        # TCP gives a silent peer up after 13 seconds, not after a quarter of an hour.
        self.run("sh", "-c", "echo 5 >/proc/sys/net/ipv4/tcp_retries2")

    def run(self, *words):
        subprocess.run([*self.enter, *words], check=True)

    def limit(self, rate):
        """What leaves this node does so at `rate`, in the words of tc."""
        self.run("tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", rate,
                 "burst", "128kb", "latency", "100ms")

    def received(self):
        """Bytes that came over its link."""
        text = subprocess.run([*self.enter, "ip", "-json", "-stats", "link", "show", "eth0"],
                              check=True, capture_output=True).stdout
        return json.loads(text)[0]["stats64"]["rx"]["bytes"]

    def remove(self):
        for process in filter(None, (self.holder, self.relay)):
            process.kill()
            process.wait()
            process.stdout.close()
        subprocess.run(["ip", "link", "delete", self.port], stderr=subprocess.DEVNULL)


class Cluster:
    """`count` nodes on one bridge. `folder`: for the launcher's files. `delay`: of the last node's
    link."""

    def __init__(self, count, folder, delay=0):
        self.folder = folder
        ip("link", "set", "lo", "up")
        ip("link", "add", "br0", "type", "bridge")
        ip("link", "set", "br0", "up")
        self.nodes = [Node(i + 1, delay if i == count - 1 else 0) for i in range(count)]
        self.agent = os.path.join(folder, "agent.sh")
        with open(self.agent, "w") as file:
            file.write("#!/bin/sh\n# What ssh is elsewhere: agent.sh ADDRESS COMMAND...\n"
                       "address=$1; shift\ncase $address in\n")
            for node in self.nodes:
                file.write(f"{node.address}) exec {' '.join(node.enter)} sh -c \"$*\" ;;\n")
            file.write("esac\nexit 1\n")
        os.chmod(self.agent, 0o755)

    def launcher(self, per_node=1):
        """mpirun on the first node, ranks dealt out node after node. Daemons stay its children."""
        hosts = ",".join(f"{node.address}:{per_node}" for node in self.nodes)
        parameters = {"plm_rsh_agent": self.agent, "orte_tmpdir_base": self.folder,
                      "pml": "ob1", "btl": "tcp,self", "btl_tcp_if_include": f"{NETWORK}.0/24",
                      "oob_tcp_if_include": f"{NETWORK}.0/24"}
        words = [*self.nodes[0].enter, "mpirun", "--leave-session-attached", "--bind-to", "none",
                 "--oversubscribe", "--host", hosts, "-n", str(per_node * len(self.nodes))]
        for name, value in parameters.items():
            words += ["--mca", name, value]
        return words

    def filter(self, rule):
        """An nftables rule for all that the bridge forwards; whether the kernel takes it."""
        text = ("table bridge faults {\n chain forward {\n"
                "  type filter hook forward priority 0; policy accept;\n"
                f"  {rule}\n }}\n}}\n")
        self.unfilter()
        return subprocess.run(["nft", "-f", "-"], input=text, text=True,
                              capture_output=True).returncode == 0

    def filtered(self):
        """How many packets the rule, which has the word counter, has met."""
        text = subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True,
                              text=True).stdout
        return int(re.search("counter packets ([0-9]+)", text)[1])

    def unfilter(self):
        subprocess.run(["nft", "flush", "ruleset"], check=True)

    def remove(self):
        self.unfilter()
        for node in self.nodes:
            node.remove()
        ip("link", "delete", "br0")
