#!/usr/bin/env python3
"""Kills runs with SIGKILL at random instants, resumes them, and compares their end, bit for bit,
with that of a run that nobody disturbed.

    python3 tests/campaigns/kills.py --program build/dev/orthant --kills 200 --seed 1

A run of 2 x 2 ranks writes a checkpoint after every step. It is started, killed, started again and
so on, until it comes to its end; then the next run begins, in turn one with top-k and one with
top-AFA, both with dead latents, the auxiliary loss, averaged weights and evaluations. Each start
must go on from the newest checkpoint on disk, and no kill may leave a damaged one. The seed settles
the kind of each kill and the delays; what the clock makes of them differs from run to run.

Kinds of instants: "start" (any time from the launch on), "anywhere" (any time once the start has
begun to train), "write" (a random delay after a partial file has been seen). Victims: all ranks at
once, one rank (the launcher then ends the others), or the launcher.

A kill counts as inside the write of a checkpoint when the files say so after all ranks are dead: a
partial file is there (for one rank or the launcher: the same one as before the kill), or more
checkpoints than are kept. Needs the program, mpirun, h5py and numpy.
"""
import argparse
import collections
import json
import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cli"))

KEEP, EVERY_EVAL = 3, 20
COMMON = {"grid__n_group": 2, "grid__n_shard": 2, "model__n_latent": 1501,
          "train__batch": 96, "train__lr": 1e-3, "train__ema": 0.99, "checkpoint__every": 1,
          "checkpoint__keep": KEEP, "log__every": 1, "log__codes": True, "eval__every": EVERY_EVAL}
CASES = {
    "topk": {"model__selection": "topk", "model__k": 8, "aux__coefficient": 1 / 32, "aux__k": 16,
             "dead__tokens": 900, "train__clip": 1, "input__norm": "unit"},
    "topafa": {"model__selection": "topafa", "afa__coefficient": "1/24",
               "input__norm": "layernorm", "init__scheme": "kaiming", "loss__kind": "mse",
               "aux__variant": "topafa", "aux__k": 16, "dead__variant": "batches",
               "dead__tokens": 900, "train__decoder_norm": "topafa"},
}
CHANGING = ("time", "tokens_per_s", "phase", "seconds")
STAGES = ("created", "writing", "written: sync, verification, rename ahead",
          "renamed: retention ahead")


class Broken(AssertionError):
    """Something was lost."""


def check(condition, *words):
    if not condition:
        raise Broken(" ".join(map(str, words)))


def steady(value):
    """Without what a clock says."""
    if isinstance(value, dict):
        return {key: steady(item) for key, item in value.items() if key not in CHANGING}
    if isinstance(value, list):
        return [steady(item) for item in value]
    return value


class Folder:
    """What a run directory holds."""

    def __init__(self, run_dir):
        self.run_dir = run_dir
        self.checkpoints = os.path.join(run_dir, "checkpoints")

    def names(self):
        try:
            return os.listdir(self.checkpoints)
        except FileNotFoundError:
            return []

    def partial(self):
        """(name, inode) of the partial file, None: there is none."""
        for name in self.names():
            if name.endswith(".partial"):
                try:
                    return name, os.stat(os.path.join(self.checkpoints, name)).st_ino
                except FileNotFoundError:
                    return None
        return None

    def steps(self):
        return sorted(int(name[5:-3]) for name in self.names()
                      if name.startswith("step-") and name.endswith(".h5"))

    def stage(self):
        """Which part of a write the dead run was in, None: in none."""
        import h5py
        partial = self.partial()
        if partial is None:
            return STAGES[3] if len(self.steps()) > KEEP else None
        path = os.path.join(self.checkpoints, partial[0])
        with open(path, "rb") as file:
            if not file.read().strip(b"\0"):
                return STAGES[0]
        try:
            with h5py.File(path) as file:  # HDF5 writes the head of the file when it is closed
                return STAGES[2 if "checksum/config" in file else 1]
        except (OSError, KeyError, RuntimeError):  # as h5py words damage: the close had begun
            return STAGES[1]


class Campaign:
    """Runs, killed in turn. `support` is tests/cli/support.py."""

    def __init__(self, support, folder, kills, seed, tell, steps=120):
        self.support, self.folder, self.kills, self.tell = support, folder, kills, tell
        self.steps = steps
        self.random = random.Random(seed)
        self.done, self.runs, self.missed, self.stuck = [], 0, 0, 0
        self.whole, self.write_seconds = {}, 0.02
        for name in ("data", "held-out"):
            support.write_activations(self.path(name + ".h5"),
                                      support.tokens(3000, 24, seed=len(name)))

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def config(self, case, run_dir):
        tree = {}
        keys = {**COMMON, **CASES[case], "run__dir": run_dir, "run__steps": self.steps,
                "data__files": self.path("data.h5"),
                "data__eval_files": self.path("held-out.h5")}
        for key, value in keys.items():
            section, leaf = key.split("__")
            tree.setdefault(section, {})[leaf] = value
        path = run_dir + ".yaml"
        with open(path, "w") as file:
            json.dump(tree, file)
        return path

    # ---- the end of a run

    def state(self, run_dir):
        """All that must not depend on kills."""
        support, path = self.support, self.support.checkpoint_path(run_dir, self.steps)
        import h5py
        arrays = {name: value.tobytes() for name, value in support.checkpoint(path).items()}
        with h5py.File(path) as file:
            arrays.update({"@" + name: str(value) for name, value in file.attrs.items()})
        with open(os.path.join(run_dir, "config.yaml")) as file:
            arrays["config.yaml"] = file.read().replace(run_dir, "RUN")
        arrays["metrics"] = steady(support.metrics(run_dir))
        for name in sorted(os.listdir(os.path.join(run_dir, "eval"))):
            with open(os.path.join(run_dir, "eval", name)) as file:
                arrays["eval/" + name] = steady(json.load(file))
        return arrays

    def check_end(self, case, run_dir):
        """The run came to its end: as if it had not been disturbed, and nothing lies about."""
        own, whole = self.state(run_dir), self.whole[case]
        check(sorted(own) == sorted(whole), run_dir, "has", sorted(own), "not", sorted(whole))
        for name, value in whole.items():
            check(own[name] == value, run_dir, name, "differs from the undisturbed run's")
        check(Folder(run_dir).steps() == [self.steps - 2, self.steps - 1, self.steps],
              run_dir, "keeps", Folder(run_dir).steps())
        check(len(Folder(run_dir).names()) == KEEP, run_dir, "has", Folder(run_dir).names())
        left = sorted(os.listdir(run_dir))
        check(left == ["checkpoints", "config.yaml", "eval", "metrics.jsonl", "orthant.log"],
              run_dir, "has", left)

    def undisturbed(self, case):
        run_dir = self.path("whole-" + case)
        start = time.monotonic()
        result = self.support.run(["train", self.config(case, run_dir)], 4)
        check(result.code == 0 and not result.errors, result.stderr)
        self.whole[case] = self.state(run_dir)
        check([line["step"] for line in self.whole[case]["metrics"] if "loss" in line]
              == list(range(1, self.steps + 1)), "the undisturbed run has other steps")
        phases = [line["phase"] for line in self.support.metrics(run_dir) if "phase" in line]
        self.write_seconds = phases[-1]["checkpoint"] / self.steps
        self.tell(f"{case}: undisturbed in {time.monotonic() - start:.1f} s, "
                  f"{1e3 * self.write_seconds:.1f} ms a checkpoint")

    # ---- one kill

    def instant(self, running, folder, kind, stale):
        """Wait for the instant. False: the run is over."""
        def alive():
            return running.process.poll() is None

        def writes():
            return folder.partial() not in (None, stale)
        if kind == "start":
            time.sleep(self.random.uniform(0, 1.0))
            while alive() and not running.pids():
                time.sleep(0.005)
            return alive()
        first = folder.steps()[-1:]
        until = time.monotonic() + self.support.TIMEOUT
        while alive() and not writes() and folder.steps()[-1:] == first:
            if time.monotonic() > until:
                raise Broken("no step is taken: " + running.said())
            time.sleep(0.001)
        delay = time.monotonic() + self.random.uniform(0, 16 * self.write_seconds)
        while alive() and time.monotonic() < delay:
            time.sleep(0.0005)
        if kind == "write":
            while alive() and not writes():
                time.sleep(0.0005)
            delay = time.monotonic() + self.random.uniform(0, self.write_seconds)
            while time.monotonic() < delay:
                pass
        return alive()

    def kill(self, running, pids, victim):
        """All that may still run, dead or ended by the launcher."""
        victims = {"all": list(pids.values()), "launcher": [running.process.pid],
                   "one": [pids[self.random.choice(sorted(pids))]] if pids else []}[victim]
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def wait_for_end(self, running, pids, kind):
        """Nobody lives on. Open MPI 4's launcher may, when a rank dies while it starts them."""
        end = time.monotonic() + 100
        while running.process.poll() is None or any(map(self.is_program, pids.values())):
            if time.monotonic() > end:
                if kind != "start":
                    raise Broken(f"ranks {sorted(running.pids())} live on: {running.said()}")
                self.stuck += 1
                running.kill()
            time.sleep(0.005)
        code, said = running.process.wait(), running.said()
        running.close()
        return code, said

    def is_program(self, pid):
        try:
            return os.path.samefile(f"/proc/{pid}/exe", self.support.ORTHANT)
        except OSError:
            return False

    def check_start(self, said, before, run_dir):
        """What a start says of what it found."""
        check("orthant: error" not in said and "passed over" not in said, run_dir, said)
        resumed = [line for line in said.splitlines() if "resuming from" in line]
        for line in resumed:
            check(before and f"step {before[-1]} of" in line, run_dir, "has steps", before, said)
            check("bit for bit that of an undisturbed run" in line, run_dir, said)
        trained = any(line.startswith("orthant: step ") for line in said.splitlines())
        check(resumed or not before or not trained, run_dir, "started afresh:", said)

    def one_start(self, case, run_dir):
        """Start, and kill. True: the run is over."""
        kind = self.random.choices(("start", "anywhere", "write"), (3, 6, 11))[0]
        if 2 * self.inside() < len(self.done):
            kind = "write"
        victim = self.random.choices(("all", "one", "launcher"), (12, 7, 1))[0]
        folder = Folder(run_dir)
        before, stale = folder.steps(), folder.partial()
        running = self.support.Running(["train", self.config(case, run_dir)], 4)
        pids = {}
        if kind != "start":
            pids = running.wait_for_ranks()
        alive = self.instant(running, folder, kind, stale)
        pids = pids or running.pids()
        partial = folder.partial()
        if alive:
            self.kill(running, pids, victim)
        code, said = self.wait_for_end(running, pids, kind)
        self.check_start(said, before, run_dir)
        after = folder.steps()
        check(not before or (after and after[-1] >= before[-1]), run_dir, before, "became", after)
        if code == 0:
            self.missed += 1
            return True
        check(alive, run_dir, "ended by itself:", said)
        check(not [n for n in folder.names() if n.endswith(".damaged")], folder.names())
        stage = folder.stage()
        if stage in STAGES[:3] and (folder.partial() == stale
                                    or victim != "all" and folder.partial() != partial):
            stage = None  # left by an earlier kill, or begun after this one
        if stage == STAGES[3] and len(before) > KEEP and before == after:
            stage = None
        self.done.append((kind, victim, stage))
        return False

    def goes_on(self):
        """So many kills, half of them inside a write: a busy machine needs more to hit one so often."""
        count = len(self.done)
        return count < self.kills or (2 * self.inside() < self.kills and count < 3 * self.kills)

    def run(self):
        names = list(CASES)
        for case in names:
            self.undisturbed(case)
        while self.goes_on():
            case = names[self.runs % len(names)]
            run_dir = self.path(f"run-{self.runs}")
            self.runs += 1
            first, over = len(self.done), False
            while not over and self.goes_on():
                over = self.one_start(case, run_dir)
            if not over:
                before = Folder(run_dir).steps()
                result = self.support.run(["train", self.config(case, run_dir)], 4)
                check(result.code == 0, run_dir, result.stderr)
                self.check_start(result.stderr, before, run_dir)
            self.check_end(case, run_dir)
            self.tell(f"run {self.runs}, {case}: {len(self.done) - first} kills, its end is that "
                      f"of the undisturbed run bit for bit ({len(self.done)} kills in all)")
            shutil.rmtree(run_dir)

    def inside(self):
        return sum(stage is not None for _, _, stage in self.done)

    def summary(self):
        stages = collections.Counter(stage or "outside a write" for _, _, stage in self.done)
        lines = [f"{len(self.done)} kills in {self.runs} runs, each resumed and equal at its end; "
                 f"{self.inside()} inside the write of a checkpoint"]
        for stage in (*STAGES, "outside a write"):
            lines.append(f"  {stages[stage]:4d} {stage}")
        for title, index in (("instant", 0), ("victim", 1)):
            counts = collections.Counter(kill[index] for kill in self.done)
            lines.append(f"  by {title}: " + ", ".join(f"{n} {name}"
                                                       for name, n in sorted(counts.items())))
        lines.append(f"  the launcher hung {self.stuck} times after a kill during its start, and "
                     "was killed")
        return "\n".join(lines)


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("--program", default=os.environ.get("ORTHANT", "build/dev/orthant"))
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--launcher", default=os.environ.get(
        "ORTHANT_MPIRUN", "mpirun --oversubscribe --bind-to none"))
    options.add_argument("--folder", help="where the runs are (default: memory)")
    given = options.parse_args()
    os.environ["ORTHANT"] = os.path.abspath(given.program)
    os.environ["ORTHANT_MPIRUN"] = given.launcher
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import support
    folder = tempfile.mkdtemp(prefix="orthant-kills-", dir=given.folder or support.fast_folder())
    start = time.monotonic()
    campaign = Campaign(support, folder, given.kills, given.seed,
                        lambda line: print(line, flush=True))
    try:
        campaign.run()
    except Broken as broken:
        print(f"kills.py: error: {broken}\nthe files are in {folder}", file=sys.stderr)
        return 1
    finally:
        support.Case.end_all()
    print(campaign.summary())
    print(f"{time.monotonic() - start:.0f} s with {shlex.join([sys.executable, *sys.argv])}")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
