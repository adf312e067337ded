# Storage that fails while a run uses it: full, limited, read-only, gone. Mounts in a namespace of
# its own; skipped where none can be had.
# timeout: 600
"""FAULTS 17, 18, 19, 20, 31 with a real file system: training goes on, says so, harms no earlier
checkpoint, and saves again when it can; what cannot be saved at the end is the documented error."""
import errno
import os
import shutil
import signal
import subprocess
import sys
import unittest

if "ORTHANT_TEST_MOUNTS" not in os.environ:
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"]).returncode:
        print("no mount namespace can be made here")
        sys.exit(77)
    os.execvpe(unshare[0], [*unshare, sys.executable, *sys.argv],
               {**os.environ, "ORTHANT_TEST_MOUNTS": "1"})

import support  # noqa: E402
from support import run, tokens, write_activations  # noqa: E402

STEPS = 20
MODELS = {
    "topk": {"model__selection": "topk", "model__k": 4, "train__ema": 0.99, "dead__tokens": 300},
    "topafa": {"model__selection": "topafa", "afa__coefficient": "1/24",
               "input__norm": "layernorm", "init__scheme": "kaiming", "loss__kind": "mse",
               "aux__variant": "topafa", "aux__k": 8, "dead__variant": "batches",
               "train__decoder_norm": "topafa"},
}
RUNS = ((1, "topafa"), (2, "topk"), (4, "topafa"))
GOES_ON = "the checkpoint was not written; training goes on and tries again later"


class Storage(support.Case):
    """Runs of 20 steps with a checkpoint at every second. They stop themselves (SIGSTOP) before
    certain steps, so that the test can do something to the storage."""

    def setUp(self):
        super().setUp()
        self.data = write_activations(self.path("data.h5"), tokens(1500, 16))
        self.mounts = []
        self.addCleanup(self.unmount)
        self.small = self.path("small")
        os.mkdir(self.small)
        self.mount("-t", "tmpfs", "-o", "size=4m", "none", self.small)
        self.run_dir = os.path.join(self.small, "run")
        self.folder_of = os.path.join(self.run_dir, "checkpoints")

    def mount(self, *words):
        subprocess.run(["mount", *words], check=True)
        if words[-1] not in self.mounts:
            self.mounts.append(words[-1])

    def unmount(self):
        self.end_all()
        for place in reversed(self.mounts):
            subprocess.run(["umount", "-l", place], check=False)
        self.mounts.clear()

    def config(self, model, run_dir, **keys):
        return self.write_config(os.path.basename(run_dir) + ".yaml", **{
            **MODELS[model], "run__dir": run_dir, "run__steps": STEPS, "data__files": self.data,
            "model__n_latent": 1000, "train__batch": 64, "checkpoint__every": 2, "log__every": 1,
            "checkpoint__keep": 2, **keys})

    def start(self, ranks, model, stops, **keys):
        """A run that stops before these steps."""
        faults = ",".join(f"step.begin:{step}:stop@0" for step in stops)
        return support.Running(["train", self.config(model, self.run_dir, **keys)], ranks,
                               env={"ORTHANT_FAULT": faults}, each=True)

    def wait_for_stop(self, running, times):
        """Rank 0 has stopped as many times; go on with the pid that `go_on` gives."""
        running.wait_for(lambda: running.said().count(":stop on rank 0") == times, "stop")
        pid = running.pids()[0]

        def stopped():
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rsplit(")", 1)[1].split()[0] == "T"

        running.wait_for(stopped, "stopped rank")
        return pid

    def undisturbed(self, ranks, model):
        """{step: arrays} of a run that nobody disturbs."""
        run_dir = self.path("whole")
        self.check_success(run(["train", self.config(model, run_dir, checkpoint__keep=99)], ranks))
        return {step: support.checkpoint(run_dir, step) for step in support.steps(run_dir)}

    def check_whole(self, expected, steps):
        """These checkpoints are there and nothing else, each as in the undisturbed run."""
        self.assertEqual(sorted(os.listdir(self.folder_of)),
                         [f"step-{step:09d}.h5" for step in steps])
        for step in steps:
            self.check_equal(support.checkpoint(self.run_dir, step), expected[step])

    def fill(self):
        with open(os.path.join(self.small, "filler"), "wb", buffering=0) as file:
            for size in (1 << 16, 1 << 12):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError as error:
                    self.assertEqual(error.errno, errno.ENOSPC)

    def disturb(self, ranks, model, harm, heal, expected, harmed=(4, 6), **keys):
        """`harm` before step 8, `heal` before step 14: what was saved stays, and what is saved then
        is as in an undisturbed run."""
        running = self.start(ranks, model, (8, 14), **keys)
        pid = self.wait_for_stop(running, 1)
        self.check_whole(expected, (4, 6))
        harm(running)
        os.kill(pid, signal.SIGCONT)
        pid = self.wait_for_stop(running, 2)
        if harmed is not None:
            self.check_whole(expected, harmed)
        heal(running)
        os.kill(pid, signal.SIGCONT)
        result = running.wait()
        self.check_success(result)
        return result

    def for_each(self, harm, heal, *words, harmed=(4, 6)):
        for ranks, model in RUNS:
            with self.subTest(ranks=ranks, model=model):
                expected = self.undisturbed(ranks, model)
                result = self.disturb(ranks, model, harm, heal, expected, harmed)
                told = [line for line in result.warnings if GOES_ON in line]
                self.assertEqual(len(told), 3, result.stderr)  # of steps 8, 10 and 12
                for word in words:
                    self.assertIn(word, told[0])
                self.check_whole(expected, (18, 20))
                shutil.rmtree(self.run_dir)
                shutil.rmtree(self.path("whole"))

    def test_full(self):
        self.for_each(lambda running: self.fill(),
                      lambda running: os.unlink(os.path.join(self.small, "filler")),
                      ".partial: needs", "are free; free space")

    def test_full_while_writing(self):
        """Another program takes all that is left once the checkpoint has begun: it has its room."""
        for ranks, model in RUNS:
            expected = self.undisturbed(ranks, model)
            running = support.Running(
                ["train", self.config(model, self.run_dir)], ranks, each=True,
                env={"ORTHANT_FAULT": "checkpoint.write:25:stop@0,step.begin:14:stop@0"})
            pid = self.wait_for_stop(running, 1)
            self.fill()
            os.kill(pid, signal.SIGCONT)
            pid = self.wait_for_stop(running, 2)
            os.unlink(os.path.join(self.small, "filler"))
            os.kill(pid, signal.SIGCONT)
            result = running.wait()
            self.check_success(result)
            first = next(line for line in result.warnings if GOES_ON in line)
            self.assertIn("step-000000006", first)
            self.check_whole(expected, (18, 20))
            shutil.rmtree(self.run_dir)
            shutil.rmtree(self.path("whole"))

    def test_full_to_the_end(self):
        ranks, model = 4, "topk"
        expected = self.undisturbed(ranks, model)
        running = self.start(ranks, model, (8,))
        pid = self.wait_for_stop(running, 1)
        self.fill()
        os.kill(pid, signal.SIGCONT)
        result = running.wait()
        self.check_failure(result, 4, "step-000000020.h5", "free space")
        self.assertEqual(sum("newest checkpoint is of step 6: what came after it up to step 20 is "
                             "lost" in line for line in result.warnings), 1, result.stderr)
        # steps 8 to 20 are logged, and the first, second, fourth and eighth failure is told
        self.assertEqual(sum("metrics of a step" in line for line in result.warnings), 4,
                         result.stderr)
        self.check_whole(expected, (4, 6))
        os.unlink(os.path.join(self.small, "filler"))
        self.check_success(run(["train", self.config(model, self.run_dir)], ranks))
        self.check_whole(expected, (18, 20))
        self.assertEqual([line["step"] for line in support.metrics(self.run_dir)],
                         list(range(1, STEPS + 1)))

    def test_too_small(self):
        """It is known at the start that the checkpoints will not fit: two kept and one written."""
        for model, size, told in (("topk", 1, 0), ("topk", 3, 1)):
            result = run(["train", self.config(model, self.run_dir, run__steps=1,
                                               model__n_latent=1000 * size)])
            self.assertEqual(sum("MiB are free, and checkpoints take" in line
                                 for line in result.warnings), told, result.stderr)
            shutil.rmtree(self.run_dir)

    def test_file_size_limit(self):
        def limit(running, size):
            for pid in running.pids().values():
                subprocess.run(["prlimit", "--pid", str(pid), f"--fsize={size}:"], check=True)

        self.for_each(lambda running: limit(running, 100000),
                      lambda running: limit(running, "unlimited"), "limited to 0.1 MiB",
                      "ulimit -f")

    def test_read_only(self):
        def harm(running):
            self.mount("--bind", self.folder_of, self.folder_of)
            self.mount("-o", "remount,ro,bind", self.folder_of)

        def heal(running):
            subprocess.run(["umount", self.folder_of], check=True)
            self.mounts.remove(self.folder_of)

        self.for_each(harm, heal, "Read-only file system")

    def test_read_only_from_the_start(self):
        os.mkdir(self.run_dir)
        self.mount("--bind", self.run_dir, self.run_dir)
        self.mount("-o", "remount,ro,bind", self.run_dir)
        for ranks, model in RUNS:
            result = run(["train", self.config(model, self.run_dir)], ranks)
            self.check_failure(result, 4, self.run_dir, "Read-only file system", "run.dir")

    def test_checkpoints_removed(self):
        """Nobody can bring back what was deleted; what comes now is saved."""
        for ranks, model in RUNS:
            expected = self.undisturbed(ranks, model)
            result = self.disturb(ranks, model, lambda running: shutil.rmtree(self.folder_of),
                                  lambda running: None, expected, (10, 12))
            self.assertIn("this folder was gone; made it again", "\n".join(result.warnings))
            self.assertNotIn(GOES_ON, result.stderr)
            self.check_whole(expected, (18, 20))
            shutil.rmtree(self.run_dir)
            shutil.rmtree(self.path("whole"))

    def test_run_dir_removed(self):
        self.for_each(lambda running: shutil.rmtree(self.run_dir),
                      lambda running: os.mkdir(self.run_dir), self.run_dir,
                      "No such file or directory; restore the folder", harmed=None)

    def test_run_dir_removed_to_the_end(self):
        for ranks, model in RUNS:
            running = self.start(ranks, model, (8,))
            pid = self.wait_for_stop(running, 1)
            shutil.rmtree(self.run_dir)
            os.kill(pid, signal.SIGCONT)
            self.check_failure(running.wait(), 4, self.run_dir, "restore the folder")

    def test_old_one_that_cannot_be_deleted(self):
        expected = self.undisturbed(2, "topafa")
        old = support.checkpoint_path(self.run_dir, 4)

        def harm(running):
            self.mount("--bind", old, old)

        def heal(running):
            subprocess.run(["umount", old], check=True)
            self.mounts.remove(old)

        result = self.disturb(2, "topafa", harm, heal, expected, (4, 10, 12))
        told = [line for line in result.warnings if "cannot delete this old checkpoint" in line]
        self.assertEqual(len(told), 3, result.stderr)
        self.assertIn(old, told[0])
        self.check_whole(expected, (18, 20))


if __name__ == "__main__":
    unittest.main()
