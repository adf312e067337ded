# The scripts in jobs/ without SLURM: the same, under mpirun.
# timeout: 300
"""`bash jobs/train.sbatch` and its like: stopped and gone on with until done, stopped for good by a
signal for the script, exit codes, a sweep, an evaluation, the table of scaling."""
import json
import os
import signal
import subprocess
import time
import unittest

import slurm_case  # also finds the other two
import cluster
import support

ROOT = slurm_case.ROOT


class WithoutSlurm(support.Case):
    def setUp(self):
        super().setUp()
        self.addCleanup(lambda: cluster.kill(cluster.marked(self.folder)))

    def start(self, script, *words, ranks=2, **environment):
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith("SLURM")} | support.ENVIRONMENT | environment
        with open(self.path("said"), "w") as said:
            return subprocess.Popen(
                ["bash", os.path.join(ROOT, "jobs", script), *map(str, words)], cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
                env={**environment, "ORTHANT_RANKS": str(ranks), "OMP_NUM_THREADS": "1",
                     cluster.MARKER: self.folder})

    def said(self):
        with open(self.path("said"), errors="replace") as file:
            return file.read()

    def run_script(self, script, *words, code=0, **options):
        process = self.start(script, *words, **options)
        self.assertEqual(process.wait(support.TIMEOUT), code, self.said())
        return self.said()

    def config(self, run_dir="run", **keys):
        defaults = {"run__dir": run_dir, "run__steps": 40, "train__batch": 256,
                    "data__files": os.path.join(support.DATA, "sample-train.h5"),
                    "model__n_latent": 384, "model__k": 8, "log__every": 1}
        return self.write_config(f"{run_dir}.yaml", **{**defaults, **keys})

    def test_until_done(self):
        program = slurm_case.stand_in(self, 'echo "$ORTHANT_RESTART_COUNT $*" >>starts\n'
                                            "(($(wc -l <starts) < 3)) && exit 75; exit 0")
        self.run_script("train.sbatch", "a.yaml", "--set", "x=y", ranks=1, ORTHANT=program)
        with open(self.path("starts")) as file:
            self.assertEqual(file.read().splitlines(),
                             [f"{count} train a.yaml --set x=y" for count in range(3)])

    def test_stopped(self):
        """A signal for the script, or Ctrl-C in its terminal, stops the ranks with a checkpoint;
        the same command goes on."""
        for number, send in ((signal.SIGTERM, os.kill), (signal.SIGINT, os.killpg)):
            with self.subTest(signal=number.name):
                run_dir = f"run-{number.name}"
                process = self.start("train.sbatch", self.config(run_dir, run__steps=10**6))
                while True:
                    self.assertIsNone(process.poll(), self.said())
                    try:
                        if support.metrics(self.path(run_dir, "metrics.jsonl"), torn=True):
                            break
                    except OSError:
                        pass
                    time.sleep(0.005)
                send(process.pid, number)
                self.assertEqual(process.wait(support.TIMEOUT), 75, self.said())
                step, = support.steps(self.path(run_dir))
                self.run_script("train.sbatch", self.config(run_dir, run__steps=step + 5))
                self.assertEqual([line["step"] for line in support.metrics(self.path(run_dir))],
                                 list(range(1, step + 6)))

    def test_failures(self):
        said = self.run_script("train.sbatch", self.config(model__k=4000), code=2)
        self.assertEqual(said.count("orthant: error:"), 1, said)
        for script in ("train.sbatch", "eval.sbatch", "array.sbatch", "scaling.sbatch"):
            self.assertIn(f"jobs/{script} ", self.run_script(script, code=2))
            said = self.run_script(script, "a", "b", "c", "d", code=2, ORTHANT="/none")
            self.assertIn("orthant: error: /none: not there", said)
        for ranks in ("abc", "0", "-1"):
            said = self.run_script("train.sbatch", self.config(), code=2, ranks=ranks)
            self.assertIn(f"orthant: error: ORTHANT_RANKS: '{ranks}' is not a number", said)
        said = self.run_script("scaling.sbatch", "--count", "2", self.config(), code=2)
        self.assertIn("orthant: error: --count: no such option", said)
        said = self.run_script("train.sbatch", self.config(), code=137,
                               ORTHANT_FAULT="step.begin:5:kill@1")
        self.assertIn("orthant: error: signal 9 ended a rank", said)

    def test_sweep_and_eval(self):
        self.run_script("array.sbatch", self.config(), "sweep", "model.n_latent", "2^7", "256")
        for latents in ("2^7", "256"):
            run_dir = self.path("sweep", f"model.n_latent={latents}")
            self.assertEqual(support.metrics(run_dir)[-1]["step"], 40)
        self.run_script("eval.sbatch", run_dir, "--data",
                        os.path.join(support.DATA, "sample-eval.h5"), "--json", "quality.json")
        with open(self.path("quality.json")) as file:
            self.assertEqual(json.load(file)["tokens"], 4096)

    def test_scaling(self):
        said = self.run_script("scaling.sbatch", "--weak", "dictionary", "--steps", "20", "--out",
                               "out", self.config())
        table = said[said.index("caling of "):].splitlines()
        self.assertEqual(table[1].split(), ["ranks", *slurm_case.SCALING_HEAD], said)
        rows = [[line.split()[0], *line.split()] for line in table[2:]]  # ranks are the units
        self.assertEqual([row[:5] for row in rows], slurm_case.scaling_rows("dictionary"))
        slurm_case.check_scaling(self, rows, [self.path("out", f"dictionary-{count}")
                                              for count in (1, 2)])
        self.assertEqual(self.run_script("scaling.sbatch", "--weak", "dictionary", "--steps", "20",
                                         "--out", "out", self.path("run.yaml")).splitlines()[-3:],
                         table[-3:])  # what is there is not measured again


if __name__ == "__main__":
    unittest.main()
