# jobs/train.sbatch on a real SLURM: finish, time limit, preemption, each with the end of one run.
# timeout: 400
"""One job in pieces is one run: after the time limit and after a preemption it goes back into the
queue by itself, continues where it was, and ends bit for bit as a job that nothing happened to."""
import re

import slurm_case
import support


class Jobs(slurm_case.SlurmCase):
    def test_time_limit(self):
        """The limit is moved near: SLURM looks every 30 s whether to send the job's own signal."""
        expected = self.undisturbed()
        job = self.submit("train.sbatch", self.config())
        self.hold(job, "run")
        self.cluster.command("scontrol", "update", f"JobId={job}", "TimeLimit=2")
        self.check_requeued(job)
        stopped = support.steps(self.path("run"))
        self.assertEqual(len(stopped), 1)
        self.assertGreaterEqual(stopped[0], slurm_case.PAUSE)
        self.assertLess(stopped[0], slurm_case.STEPS)
        self.assertIn(f"exit code 75: job {job} goes back", self.log(job))
        self.release(job)
        self.check_ended(job, restarts=1)
        self.check_undisturbed("run", expected)
        log = self.log(job)
        self.assertRegex(log, f"job {job}, start 1: 2 ranks x 1 threads on node\\[1-2\\]")
        self.assertRegex(log, f"job {job}, start 2: 2 ranks x 1 threads on node\\[1-2\\]")
        self.assertEqual(len(re.findall("bit for bit that of an undisturbed run", log)), 1)
        self.assertNotIn("orthant: warning:", log)
        self.assertNotIn("orthant: error:", log)

    def test_preemption(self):
        expected = self.undisturbed()
        job = self.submit("train.sbatch", self.config())
        self.hold(job, "run")
        above = self.cluster.command(
            "sbatch", "--parsable", "--partition=high", "--nodes=2", "--exclusive",
            f"--output={self.folder}/above.log", "--wrap=sleep 1")
        self.check_requeued(job)
        self.assertEqual(len(support.steps(self.path("run"))), 1)
        self.check_ended(above)
        self.release(job)
        self.check_ended(job, restarts=1)
        self.check_undisturbed("run", expected)


if __name__ == "__main__":
    slurm_case.main()
