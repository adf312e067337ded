# jobs/array.sbatch, eval.sbatch and scaling.sbatch on a real SLURM.
# timeout: 400
# labels: long
"""A sweep with one run directory for each value, an evaluation, and the table of scaling."""
import json
import os

import slurm_case
import support


class Scripts(slurm_case.SlurmCase):
    def wait_for_array(self, job, *codes):
        """The exit codes of the tasks, from 1."""
        for task, code in enumerate(codes, 1):
            self.check_ended(f"{job}_{task}", "FAILED" if code else "COMPLETED", code)

    def test_array(self):
        job = self.submit("array.sbatch", self.config(run__steps=20), self.path("new", "sweep"),
                          "afa.coefficient", "0", "1/32", "--", "--set", "model.k=5",
                          options=("--array=1-2", "--nodes=1", "--ntasks-per-node=2",
                                   "--cpus-per-task=1"))
        self.wait_for_array(job, 0, 0)
        afa = {}
        for value in ("0", "1_32"):
            lines = support.metrics(self.path("new", "sweep", f"afa.coefficient={value}"))
            self.assertEqual([line["step"] for line in lines], list(range(1, 21)))
            self.assertEqual(lines[-1]["l0"], 5)
            afa[value] = lines[-1]["afa"]
        self.assertEqual(afa["0"], 0)
        self.assertGreater(afa["1_32"], 0)
        self.assertFalse(os.path.exists(self.path("run")))

    def test_array_too_long(self):
        job = self.submit("array.sbatch", self.config(run__steps=5), self.path("sweep"), "model.k",
                          "4", options=("--array=1-2", *slurm_case.SPREAD))
        self.wait_for_array(job, 0, 2)
        job = self.submit("array.sbatch", self.path("run.yaml"), self.path("sweep"), "model.k", "4")
        self.check_ended(job, "FAILED", 2)
        self.assertIn("sbatch --array=1-1 jobs/array.sbatch", self.log(job))

    def test_eval(self):
        job = self.submit("train.sbatch", self.config(run__steps=20))
        self.check_ended(job)
        job = self.submit("eval.sbatch", self.path("run"), "--data",
                          os.path.join(support.DATA, "sample-eval.h5"),
                          "--json", self.path("quality.json"))
        self.check_ended(job)
        with open(self.path("quality.json")) as file:
            self.assertEqual(json.load(file)["tokens"], 4096)
        job = self.submit("eval.sbatch", self.path("nothing"), "--data", "nothing")
        self.check_ended(job, "FAILED", 2)

    def test_scaling(self):
        for mode, words in (("strong", ()), ("dictionary", ("--weak", "dictionary")),
                            ("batch", ("--weak", "batch"))):
            with self.subTest(mode=mode):
                out = self.path(mode)
                job = self.submit("scaling.sbatch", *words, "--steps", "20", "--out", out,
                                  self.config(run__steps=7), "--set", "model.k=6")
                self.check_ended(job)
                text = self.log(job)
                table = text[text.index("caling of "):].splitlines()
                self.assertEqual(table[1].split(), ["nodes", "ranks", *slurm_case.SCALING_HEAD], text)
                rows = [line.split() for line in table[2:]]
                self.assertEqual([row[:5] for row in rows], slurm_case.scaling_rows(mode), text)
                slurm_case.check_scaling(self, rows, [f"{out}/{mode}-{count}" for count in (1, 2)])


if __name__ == "__main__":
    slurm_case.main()
