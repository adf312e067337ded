# Memory and file descriptors over many steps, checkpoints and evaluations.
# timeout: 300
"""What a rank holds (resident memory, open files, threads) must not grow with steps, checkpoints or
evaluations. test_leak_long.py takes 10,000 steps and 100 checkpoints."""
import os
import time
import unittest

import support
from support import tokens, write_activations

PAGE = os.sysconf("SC_PAGE_SIZE")
RECIPES = {
    "topk": {"model__selection": "topk", "model__k": 4, "train__ema": 0.99, "aux__k": 8,
             "dead__tokens": 500, "input__norm": "unit", "train__clip": 1},
    "topafa": {"model__selection": "topafa", "afa__coefficient": "1/24",
               "input__norm": "layernorm", "init__scheme": "kaiming", "loss__kind": "mse",
               "aux__variant": "topafa", "aux__k": 8, "dead__variant": "batches",
               "train__decoder_norm": "topafa"},
}


def held(pid):
    """(resident bytes, open files, threads) of a process."""
    with open(f"/proc/{pid}/statm") as file:
        resident = int(file.read().split()[1]) * PAGE
    return (resident, len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")))


class Leak(support.Case):
    def sample(self, recipe, steps, every, ranks=2):
        """{rank: [(step, resident, files, threads)]} about every hundredth of the run."""
        data = write_activations(self.path("data.h5"), tokens(900, 16))
        held_out = write_activations(self.path("held-out.h5"), tokens(200, 16, seed=1))
        run_dir = self.path(recipe)
        config = self.write_config(**{
            **RECIPES[recipe], "run__dir": run_dir, "run__steps": steps, "data__files": data,
            "data__eval_files": held_out, "eval__every": every, "model__n_latent": 128,
            "train__batch": 32, "checkpoint__every": every, "log__every": 1, "log__codes": True})
        running = support.Running(["train", config], ranks)
        pids = running.wait_for_ranks()
        path, samples, position, text = os.path.join(run_dir, "metrics.jsonl"), [], 0, ""
        found = {rank: [] for rank in pids}
        while running.process.poll() is None:
            time.sleep(0.005)
            try:
                with open(path) as file:
                    file.seek(position)
                    text = file.read()
                    position = file.tell()
                step = text.rstrip("\n").rpartition("\n")[2].partition('"step":')[2].split(",")[0]
                if step.isdigit() and int(step) >= (len(samples) + 1) * steps // 100:
                    now = {rank: (int(step), *held(pid)) for rank, pid in pids.items()}
                    samples.append(now)
            except OSError:
                continue
        self.check_success(running.wait(600))
        for now in samples:
            for rank, values in now.items():
                found[rank].append(values)
        return found

    def check(self, found, growth):
        """From a fifth of the run on nothing grows but, by less than `growth` bytes, memory: the
        least of the last fifth against the least of the second, since a checkpoint takes some for
        a moment."""
        for rank, samples in found.items():
            self.assertGreater(len(samples), 20)
            last = samples[-1][0]
            early = [s for s in samples if 0.2 * last <= s[0] < 0.4 * last]
            late = [s for s in samples if s[0] >= 0.8 * last]
            more = min(s[1] for s in late) - min(s[1] for s in early)
            print(f"rank {rank}: {len(samples)} samples, resident {samples[0][1] / 2**20:.2f} MiB "
                  f"at step {samples[0][0]}, {early[0][1] / 2**20:.2f} at {early[0][0]}, "
                  f"{samples[-1][1] / 2**20:.2f} at {last}; {more / 1024:+.0f} KiB from the second "
                  f"to the last fifth; files {min(s[2] for s in early)} to "
                  f"{max(s[2] for s in late)}, threads {samples[-1][3]}")
            self.assertLess(more, growth)
            # Some come and go with checkpoints and evaluations, a dozen of each lies between.
            for what in (2, 3):
                self.assertLessEqual(min(s[what] for s in late), max(s[what] for s in early))


class Some(Leak):
    def test_topafa(self):
        self.check(self.sample("topafa", 1000, 50), 2**20)


if __name__ == "__main__":
    unittest.main()
