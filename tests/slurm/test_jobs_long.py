# jobs/train.sbatch on a real SLURM: what ends a job, and what becomes of it.
# timeout: 900
# labels: long
"""scancel, a job that is killed without grace, nodes that are lost, two jobs in one run directory,
failures that must not be requeued, ranks that leave one after the other."""
import os
import shutil
import signal
import time

import cluster
import slurm_case
import support

# Two ranks on one node.
TOGETHER = ("--nodes=1", "--ntasks-per-node=2", "--cpus-per-task=1")


class Ends(slurm_case.SlurmCase):
    def test_scancel(self):
        """A checkpoint, and not back into the queue; the next job continues."""
        expected = self.undisturbed()
        job = self.submit("train.sbatch", self.config())
        self.hold(job, "run")
        self.cluster.command("scancel", job)
        fields = self.wait_for_state(job, "CANCELLED")
        self.assertEqual(fields["Restarts"], "0")
        self.cluster.wait_for(lambda: not self.ranks(job), "end of the ranks")
        stopped = support.steps(self.path("run"))
        self.assertEqual(len(stopped), 1, self.log(job))
        self.assertLess(stopped[0], slurm_case.STEPS)
        job = self.submit("train.sbatch", self.path("run.yaml"))
        self.check_ended(job)
        self.assertIn(f"resuming from {self.path('run')}/checkpoints/step-{stopped[0]:09d}.h5",
                      self.log(job))
        self.check_undisturbed("run", expected)

    def test_two_jobs(self):
        """The second is refused and told of the first, which goes on."""
        one_each = ("--nodes=1", "--ntasks-per-node=1", "--cpus-per-task=1")
        expected = self.undisturbed(options=one_each)
        first = self.submit("train.sbatch", self.config(), options=one_each)
        held = self.hold(first, "run", ranks=1)
        second = self.submit("train.sbatch", self.path("run.yaml"), options=one_each)
        self.check_ended(second, "FAILED", 7)
        self.assertRegex(self.log(second), f"(?m)^orthant: error: .*in use by process {min(held)} on "
                                           f".*, SLURM job {first}, ")
        cluster.kill(held, signal.SIGCONT)
        self.check_ended(first)
        self.check_undisturbed("run", expected)

    def test_failures(self):
        """Any exit code but 75 and 76 ends the job, and is the job's."""
        for code, keys in ((2, {"model__k": 4000}), (3, {"data__files": self.path("none.h5")}),
                           (4, {"run__dir": self.path("no", "folder")})):
            with self.subTest(code=code):
                job = self.submit("train.sbatch", self.config(**keys))
                self.check_ended(job, "FAILED", code)
                self.assertEqual(self.log(job).count("orthant: error:"), 1, self.log(job))

    def test_killed_rank(self):
        """It takes the others with it, soon, and the job is not requeued."""
        job = self.submit("train.sbatch", self.config(run__steps=10**6))
        pids = sorted(self.hold(job, "run"))
        cluster.kill(pids, signal.SIGCONT)
        cluster.kill(pids[1:])
        start = time.monotonic()
        fields = self.wait_for_state(job, "FAILED")
        self.assertLess(time.monotonic() - start, 50)
        self.assertEqual(fields["Restarts"], "0")
        self.cluster.wait_for(lambda: not self.ranks(job), "end of the ranks")


class Limits(slurm_case.SlurmCase):
    def test_end_known(self):
        """Without a signal in time, the program stops by the end of the job that it was told."""
        job = self.submit("train.sbatch", self.config(run__steps=10**6, log__every=100),
                          options=(*slurm_case.SPREAD, "--time=1", "--signal=USR2@1"))
        self.check_requeued(job, timeout=180)
        stopped = support.steps(self.path("run"))[-1]
        self.config(run__steps=stopped + 10)
        self.release(job)
        self.check_ended(job, restarts=1)
        self.assertEqual(support.steps(self.path("run"))[-1], stopped + 10)

    def test_hanging_rank(self):
        """The watchdog's end is followed by another start, from the newest checkpoint."""
        expected = self.undisturbed()
        hang = slurm_case.STEPS // 2 + 5  # more steps than the second start makes
        every = slurm_case.STEPS // 10
        job = self.submit("train.sbatch", self.config(run__watchdog="00:00:05",
                                                      checkpoint__every=every),
                          ORTHANT_FAULT=f"step.begin:{hang}:hang@1")
        self.check_requeued(job)
        self.assertRegex(self.log(job), r"(?m)^orthant: error: rank 1 on .*: no progress for 5 s in")
        self.release(job)
        self.check_ended(job, restarts=1)
        self.check_undisturbed("run", expected)

    def test_no_progress(self):
        """A job that comes back three times to the step where it was is not requeued again."""
        job = self.submit("train.sbatch", self.config(), ORTHANT_FAULT="prepare.data:1:usr1")
        for restarts in (1, 2, 3):
            self.check_requeued(job, restarts)
            self.release(job)
        self.check_ended(job, "FAILED", 7, restarts=3)
        self.assertEqual(self.log(job).count("orthant: error:"), 1, self.log(job))


class Stand(slurm_case.SlurmCase):
    """A small program in Orthant's place: instants that the real one cannot be held at."""

    def test_slow_rank(self):
        """The first rank that leaves with 75 is no reason to kill the others."""
        program = slurm_case.stand_in(
            self, "((${SLURM_RESTART_COUNT:-0})) && exit 0\n((SLURM_PROCID)) && sleep 3\nexit 75")
        job = self.submit("train.sbatch", "unread", ORTHANT=program)
        self.check_requeued(job)
        self.release(job)
        self.check_ended(job, restarts=1)

    def test_end_time(self):
        """The program is told when its job ends, not when the job does that submitted it."""
        program = slurm_case.stand_in(
            self, 'echo "end $SLURM_JOB_END_TIME; threads $OMP_NUM_THREADS; $(date +%s)"')
        job = self.submit("train.sbatch", "unread", SLURM_JOB_END_TIME="12345", ORTHANT=program)
        self.check_ended(job)
        words = next(line for line in self.log(job).splitlines() if line.startswith("end "))
        end, now = int(words.split(";")[0].split()[1]), int(words.split(";")[2])
        self.assertLess(abs(end - now - 600), 30, self.log(job))
        self.assertIn("threads 1;", words)

    def test_array_requeue(self):
        """The last task of an array has the number of the array: its requeue is its own alone."""
        job = self.submit(
            "array.sbatch", "unread", self.path("sweep"), "model.k", 4, 8,
            options=("--array=1-2%1", *slurm_case.SPREAD), ORTHANT=slurm_case.stand_in(
                self, f'((SLURM_PROCID)) || echo "$*" >>{self.path("starts")}\n'
                "((SLURM_ARRAY_TASK_ID == 1 || ${SLURM_RESTART_COUNT:-0})) || exit 75"))

        def restarted():
            tasks = self.cluster.command("squeue", "-h", "-r", "-j", job, "-t", "all",
                                         "-o", "%K %T %r")
            return tasks if "2 PENDING BeginTime" in tasks else None

        self.assertIn("1 COMPLETED", self.cluster.wait_for(restarted, "requeue"))
        self.release(f"{job}_2")
        self.cluster.wait_for(lambda: self.job(f"{job}_2")["JobState"] == "COMPLETED", "end")
        with open(self.path("starts")) as file:
            starts = file.read().splitlines()
        self.assertEqual([("model.k=4" in line, "model.k=8" in line) for line in starts],
                         [(True, False), (False, True), (False, True)])


class Lost(slurm_case.SlurmCase):
    options = {"slurmd_timeout": 10, "kill_wait": 5}

    def node_processes(self, job, node):
        """Ranks and their slurmstepd, and the batch script with its own."""
        found = set()
        for pid in cluster.marked(self.cluster.folder):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    words = file.read().replace(b"\0", b" ").decode(errors="replace")
                with open(f"/proc/{pid}/environ", "rb") as file:
                    environment = file.read()
                with open(f"/proc/{pid}/stat") as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if (f"SLURMD_NODENAME={node}".encode() in environment.split(b"\0")
                    and not words.startswith("slurmstepd")):
                found.add(pid)
                found.add(parent)
        daemons = {process.pid for process in self.cluster.daemons.values()}
        return found - daemons - {1}

    @staticmethod
    def kill_at_once(pids):
        """None of them must see another one's end: a step that tells of it ends the job."""
        cluster.kill(pids, signal.SIGSTOP)
        cluster.kill(pids)

    def wait_for_down(self, node):
        self.cluster.wait_for(
            lambda: self.cluster.command("sinfo", "-h", "-n", node, "-p", "low", "-o", "%T")
            .startswith("down"), f"{node} down")

    def revive(self, node):
        """As after a reboot. SLURM 22.05 itself stumbles over what PMIx left in its spool folder."""
        shutil.rmtree(os.path.join(self.cluster.folder, node))
        os.mkdir(os.path.join(self.cluster.folder, node))
        self.cluster.start_node(node)
        self.cluster.wait_for(
            lambda: self.cluster.command("sinfo", "-h", "-n", node, "-p", "low", "-o", "%T")
            in ("idle", "mixed", "allocated"), f"{node} back")

    def test_node_dead(self):
        """The node with the script and all ranks: the run continues on the other one."""
        expected = self.undisturbed(options=TOGETHER)
        job = self.submit("train.sbatch", self.config(checkpoint__every=10), options=TOGETHER)
        node = set(self.hold(job, "run").values()).pop()
        other = next(name for name in cluster.NODES if name != node)
        self.kill_at_once([self.cluster.daemons[node].pid, *self.node_processes(job, node)])
        self.cluster.daemons[node].wait()
        self.wait_for_down(node)
        self.check_requeued(job)
        self.release(job)
        self.check_ended(job, restarts=1)
        self.assertIn(f"threads on {other}", self.log(job))
        self.assertIn("resuming from", self.log(job))
        self.check_undisturbed("run", expected)
        self.revive(node)

    def test_node_silent(self):
        """A node that answers no more, as after a power cut; the run continues when it is back."""
        expected = self.undisturbed()
        job = self.submit("train.sbatch", self.config(checkpoint__every=10))
        held = self.hold(job, "run")
        silent = self.node_processes(job, "node2")
        self.cluster.daemons["node2"].kill()
        self.cluster.daemons["node2"].wait()
        cluster.kill(silent, signal.SIGSTOP)
        cluster.kill([pid for pid, node in held.items() if node == "node1"], signal.SIGCONT)
        self.wait_for_down("node2")
        self.check_requeued(job)
        cluster.kill(silent)
        self.revive("node2")
        self.release(job)
        self.check_ended(job, restarts=1)
        self.check_undisturbed("run", expected)

    def test_node_crashed(self):
        """A node whose connections break at once: SLURM requeues the job when it misses the node."""
        expected = self.undisturbed()
        job = self.submit("train.sbatch", self.config(checkpoint__every=10))
        held = self.hold(job, "run")
        crashed = self.node_processes(job, "node2")
        self.kill_at_once([self.cluster.daemons["node2"].pid, *crashed])
        self.cluster.daemons["node2"].wait()
        cluster.kill([pid for pid, node in held.items() if node == "node1"], signal.SIGCONT)
        self.check_requeued(job, timeout=120)
        self.revive("node2")
        self.release(job)
        self.check_ended(job, restarts=1)
        self.check_undisturbed("run", expected)

    def test_killed_preemption(self):
        """No grace: SLURM ends the job and requeues it by itself; KillWait is all the time there
        is for a checkpoint."""
        expected = self.undisturbed()
        job = self.submit("train.sbatch", self.config())
        self.hold(job, "run")
        self.cluster.command("scontrol", "requeue", job)
        self.check_requeued(job)
        self.assertEqual(len(support.steps(self.path("run"))), 1, self.log(job))
        self.release(job)
        self.check_ended(job, restarts=1)
        self.check_undisturbed("run", expected)


if __name__ == "__main__":
    slurm_case.main()
