#!/usr/bin/env python3
# processors: 2
"""orthant plan: the bytes that a run's ranks receive, counted by the profiling interface of MPI, are
the plan's, and so is the memory they take; text and JSON agree; what is wrong is refused.
timeout: 300"""

import json
import os
import sys
import unittest

import numpy as np

import support

COUNTER = os.environ.get("ORTHANT_COUNT_BYTES", "")
INSTRUMENTED = float(os.environ.get("ORTHANT_TEST_PATIENCE", "1")) > 1
WIDTH, LATENTS, BATCH = 24, 2600, 150


class Plan(support.Case):
    def plan(self, ranks, *words, config=None, code=0):
        done = support.run(["plan", config or self.path("config.yaml"), "--ranks", ranks,
                            "--json", self.path("plan.json"), *words], cwd=self.folder)
        self.assertEqual(done.code, code, done.stderr)
        with open(self.path("plan.json")) as file:
            return json.load(file), done

    def configure(self, **keys):
        support.write_activations(self.path("a.h5"), support.tokens(4 * BATCH, WIDTH))
        keys = {"run__dir": self.path("run"), "run__steps": 2, "data__files": self.path("a.h5"),
                "model__n_latent": LATENTS, "train__batch": BATCH, "model__k": 5,
                "log__every": 1000, **keys}
        return self.write_config(**keys)


@unittest.skipIf(INSTRUMENTED, "a sanitizer wants to be the first library")
class Bytes(Plan):
    def count(self, config, grid, steps, name):
        """{(communicator, call): bytes} of each rank of a run of so many steps."""
        ranks, folder = grid[0] * grid[1], self.path(name)
        os.mkdir(folder)
        preload = ["env", f"LD_PRELOAD={COUNTER}", f"ORTHANT_COUNT_FOLDER={folder}"]
        done = support.run(["train", config, "--quiet", "--set", f"run.steps={steps}",
                            f"run.dir={folder}/run", *self.grid_words(grid)], ranks,
                           launcher=[*(support.LAUNCHER + ["-n", str(ranks)] if ranks > 1 else []),
                                     *preload])
        self.assertEqual(done.code, 0, done.stderr)
        found = []
        for rank in range(ranks):
            with open(os.path.join(folder, f"rank-{rank}")) as file:
                words = [line.split() for line in file]
            found.append({(comm, call): int(count) for comm, call, count in words})
        return found

    @staticmethod
    def grid_words(grid):
        return [f"grid.n_group={grid[0]}", f"grid.n_shard={grid[1]}"]

    def per_step(self, config, grid, label, more=2):
        """What `more` more steps add, of each rank."""
        short = self.count(config, grid, 2, f"{label}-short")
        long = self.count(config, grid, 2 + more, f"{label}-long")
        return [{key: (b[key] - a[key]) / more for key in b} for a, b in zip(short, long)]

    def check(self, config, grid, label, *tables, bound=False):
        """All bytes of every rank: a step's and those of these tables of the plan. `bound`: the
        entries that go to judges may be fewer."""
        expected, _ = self.plan(grid[0] * grid[1], "--set", *self.grid_words(grid), config=config)
        counted = self.per_step(config, grid, label)
        for rank, calls in enumerate(counted):
            planned = expected["bytes_by_rank"][rank]
            for comm in ("world", "group", "peers"):
                wanted = sum(planned[table][kind][comm] for table in ("step", *tables)
                             for kind in planned[table] if kind != "total")
                got = sum(count for (name, _), count in calls.items() if name == comm)
                if bound and comm == "group":
                    most = sum(planned[table]["candidates"][comm] for table in ("step", *tables))
                    self.assertLessEqual(calls[comm, "point"], most)
                    self.assertGreater(calls[comm, "point"], most / 3)
                    got += most - calls[comm, "point"]
                self.assertEqual(got, wanted, f"{grid} rank {rank} {comm} {calls} {planned}")
        biggest = max(sum(calls.values()) for calls in counted)
        if bound:
            return biggest
        self.assertEqual(biggest, sum(expected["bytes"][table]["total"]
                                      for table in ("step", *tables)))
        return biggest

    GRIDS = ((1, 1), (1, 2), (2, 1), (2, 2), (1, 3))

    def test_topk(self):
        config = self.configure(train__clip=1)
        sizes = [self.check(config, grid, f"{grid}") for grid in self.GRIDS]
        self.assertEqual(sizes[0], 0)
        self.assertGreater(min(sizes[1:]), BATCH * WIDTH)

    def test_more_terms(self):
        """AuxK with latents that are dead from the start, AFA, logged steps, EMA."""
        config = self.configure(dead__tokens=1, aux__k=7, afa__coefficient=0.02, train__lr=1e-7,
                                log__every=1, train__ema=0.9)
        for grid in ((1, 2), (2, 1), (2, 2)):
            self.check(config, grid, f"{grid}", "logged", "dead_latents")

    def test_multi_topk(self):
        """Of the larger set each shard sends what it has of the smaller one, and no more."""
        config = self.configure(loss__multi_k=4, train__lr=1e-7)
        self.check(config, (1, 2), "multi", bound=True)

    def test_batchtopk(self):
        config = self.configure(model__selection="batchtopk")
        for grid in ((1, 2), (2, 1)):
            self.check(config, grid, f"{grid}")

    def test_screening(self):
        """Bounds are exchanged too; how many of them and of candidates there are is the data's."""
        config = self.configure(compute__encode="bf16")
        plan, _ = self.plan(2, "--set", *self.grid_words((1, 2)), config=config)
        self.assertEqual(plan["encode"], "bf16")
        for rank, calls in enumerate(self.per_step(config, (1, 2), "screening")):
            step = plan["bytes_by_rank"][rank]["step"]
            free = calls["group", "point"]
            most = step["candidates"]["group"] + step["bounds"]["group"] - step["cuts"]["group"]
            self.assertEqual(sum(calls.values()) - free, step["total"] - most)
            self.assertLessEqual(free, most)
            self.assertGreater(free, most / 3)

    def test_topafa(self):
        """How many rounds the search needs and how many entries are judged is the data's; all else
        is exact, and one round is the least."""
        config = self.configure(model__selection="topafa", aux__variant="none")
        for grid in self.GRIDS:
            plan, _ = self.plan(grid[0] * grid[1], "--set", *self.grid_words(grid), config=config)
            for rank, calls in enumerate(self.per_step(config, grid, f"{grid}")):
                step = plan["bytes_by_rank"][rank]["step"]
                free = calls["group", "allreduce"] + calls["group", "point"]
                planned_free = (step["search"]["group"] + step["flags"]["group"] +
                                step["candidates"]["group"])
                self.assertEqual(sum(calls.values()) - free, step["total"] - planned_free,
                                 f"{grid} rank {rank} {calls} {step}")
                self.assertGreaterEqual(free, planned_free)


# Runs a command and writes its peak resident bytes to the file of its rank.
MEASURE = """
import os, resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
rank = os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK", "0"))
with open(os.path.join(sys.argv[1], "peak-" + rank), "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024))
sys.exit(code)
"""


@unittest.skipIf(INSTRUMENTED, "an instrumented build needs more memory")
class Memory(Plan):
    """The peak of the rank that has the largest is within 5 % of the plan."""

    def check(self, ranks, *overrides, more=(), plan_words=()):
        """`more`: what the plan tells apart and this run uses."""
        random = np.random.default_rng(1)
        data = random.standard_normal((2048, 512), np.float32).astype(np.float16)
        support.write_activations(self.path("a.h5"), data)
        config = self.write_config(
            run__dir=self.path("run"), run__steps=1, data__files=self.path("a.h5"),
            model__n_latent=16384, train__batch=2048, init__scheme="kaiming", log__every=1)
        launcher = [*support.LAUNCHER, "-n", str(ranks)] if ranks > 1 else []
        with open(self.path("measure.py"), "w") as file:
            file.write(MEASURE)
        done = support.run(["train", config, "--quiet", "--set", *overrides], ranks, timeout=200,
                           launcher=[*launcher, sys.executable, self.path("measure.py"),
                                     self.folder])
        self.check_success(done)
        if "model.selection=topafa" in overrides:
            plan_words = ["--density", support.metrics(self.path("run"))[-1]["l0"] / 16384]
        plan, _ = self.plan(ranks, *plan_words, "--threads", os.environ.get("OMP_NUM_THREADS", 1),
                            "--set", *overrides, config=config)
        planned = plan["memory"]["total"] + sum(plan["memory"][part] for part in more)
        peak = 0
        for rank in range(ranks):
            with open(self.path(f"peak-{rank}")) as file:
                peak = max(peak, int(file.read()))
        print(f"{ranks} ranks, {' '.join(overrides)}: {peak / 2**20:.1f} MiB, planned "
              f"{planned / 2**20:.1f}")
        self.assertGreater(peak, 100 * 2**20)
        self.assertLess(abs(planned - peak), 0.05 * peak)

    def test_alone(self):
        self.check(1, "aux.variant=none", "train.ema=0.99")

    def test_alone_with_all(self):
        """A gradient that is held, latents that are dead."""
        self.check(1, "train.clip=1e-6", "dead.tokens=1", more=("held_gradient", "dead_latents"))

    def test_topafa(self):
        self.check(1, "model.selection=topafa", "aux.variant=none")

    def test_shards(self):
        self.check(2, "aux.variant=none", "grid.n_shard=2")

    def test_groups(self):
        self.check(2, "aux.variant=none", "grid.n_group=2", "train.clip=1e-6",
                   more=("held_gradient",))


class Answers(Plan):
    def test_text_and_json_agree(self):
        config = self.configure(train__clip=1, train__ema=0.9)
        plan, done = self.plan(4, config=config)
        lines = done.stdout.splitlines()
        section = {}
        for line in lines:
            if not line.startswith("  "):
                title = line
            elif len(line.split()) > 1 and line.split()[1].replace(".", "").isdigit():
                section.setdefault(title, {})[line.split()[0]] = line.split()[1]
        memory = section["memory of a rank, MiB"]
        for name, value in memory.items():
            if name in plan["memory"]:
                self.assertEqual(value, f"{plan['memory'][name] / 2**20:.1f}", name)
        self.assertEqual(set(memory) - set(plan["memory"]), {"AuxK", "clip"})
        self.assertAlmostEqual(sum(plan["memory"][name] for name in memory
                                   if name not in ("total", "AuxK", "clip", "node")),
                               plan["memory"]["total"], delta=1)
        times = section["time of a step, ms (rough)"]
        for name, value in times.items():
            seconds = plan["time"]["step"] if name == "total" else plan["time"]["phase"][name]
            self.assertEqual(value, f"{1e3 * seconds:.3f}", name)
        self.assertAlmostEqual(sum(plan["time"]["phase"].values()), plan["time"]["step"])
        title = f"bytes that rank {plan['bytes_rank']} receives in a step"
        for name, value in section[title].items():
            step = plan["bytes"]["step"]
            if name in step:
                planned = step[name] if name == "total" else sum(step[name].values())
                self.assertEqual(int(value), planned, name)
        self.assertIn("train.clip", done.stdout)
        self.assertGreater(plan["memory"]["held_gradient"], 0)
        self.assertEqual([(a["n_group"], a["n_shard"]) for a in plan["alternatives"]],
                         [(4, 1), (2, 2), (1, 4)])
        chosen = [line for line in lines if line.endswith("chosen")]
        self.assertEqual(len(chosen), 1)
        self.assertIn(f"{plan['grid']['n_group']} x {plan['grid']['n_shard']}", chosen[0])
        self.assertTrue(chosen[0].endswith(f" {plan['encode']}  chosen"), chosen[0])
        self.assertIn(plan["encode"], [a["encode"] for a in plan["alternatives"]])

    def test_grid_is_the_one_of_training(self):
        config = self.configure()
        for ranks in (2, 3):
            plan, _ = self.plan(ranks, config=config)
            run = self.path(f"run-{ranks}")
            done = support.run(["train", config, "--set", f"run.dir={run}"], ranks)
            self.check_success(done)
            words = f"grid {plan['grid']['n_group']} x {plan['grid']['n_shard']} (groups"
            said = [line for line in done.lines if words in line]
            self.assertTrue(said, done.stderr)
            self.assertRegex(said[0], rf", encode {plan['encode']}; memory of a rank at most about "
                                      r"\d+ MiB$")
            self.assertRegex(done.stderr, r"orthant: peak memory of a rank \d+ MiB")

    def test_checkpoint_size(self):
        config = self.configure(train__ema=0.9)
        plan, _ = self.plan(1, config=config)
        self.check_success(support.run(["train", config]))
        size = os.path.getsize(support.checkpoint_path(self.path("run"), 2))
        self.assertLess(abs(size - plan["checkpoint"]["bytes"]), 0.05 * size + 2**16)

    def write_bench(self, scale=1.0, more=None, **machine):
        rates = {"encode_fp32_gflops": 100 * scale, "encode_bf16_gflops": None,
                 "encode_int8_gops": None, "select_topk_ns_per_value": 0.1,
                 "select_topafa_ns_per_value": 0.2, "update_gbs": 20 * scale,
                 "elementwise_gbs": 20 * scale, "exchange_gbs": 2 * scale,
                 "decode": [{"density": 0.001, "gflops": 10 * scale},
                            {"density": 0.5, "gflops": 80 * scale}],
                 "gradient": [{"density": 0.5, "gflops": 90 * scale},
                              {"density": 0.001, "gflops": 12 * scale}]}
        machine = {"cores": 4, "threads": 4, "isa": "avx2", "allreduce_gbs": 3 * scale,
                   "sgemm_gflops": 110 * scale, **machine}
        with open(self.path("bench.json"), "w") as file:
            json.dump({"machine": machine, "rates": rates, "steps": [], **(more or {})}, file)
        return self.path("bench.json")

    def test_bench_rates(self):
        """Half the rate takes twice as long, half the threads too; the encoder's time is its work
        over its rate."""
        config = self.configure()
        first, done = self.plan(1, "--bench", self.write_bench(), config=config)
        self.assertNotIn("ROUGH", done.stdout)
        self.assertEqual(first["problem"]["threads"], 4)
        work = 2 * BATCH * WIDTH * LATENTS
        self.assertAlmostEqual(first["time"]["phase"]["encode"], work / 100e9)
        slow, _ = self.plan(1, "--bench", self.write_bench(0.5), config=config)
        few, _ = self.plan(1, "--bench", self.write_bench(), "--threads", 2, config=config)
        for phase in ("encode", "decode", "gradient", "update"):
            self.assertAlmostEqual(slow["time"]["phase"][phase],
                                   2 * first["time"]["phase"][phase])
            self.assertAlmostEqual(few["time"]["phase"][phase], 2 * first["time"]["phase"][phase])
        self.assertAlmostEqual(first["time"]["run"],
                               2 * first["time"]["step"] + first["time"]["checkpoint"])

    def test_rough_rates(self):
        """Rates of small sizes, or of another width, are told to be rough."""
        config = self.configure()
        for more, words in (
                ({"quick": True, "options": {"d_model": WIDTH}}, "; ROUGH: measured with --quick"),
                ({"quick": False, "options": {"d_model": 2 * WIDTH}}, None),
                ({"options": {"d_model": WIDTH // 2}}, None),
                ({"options": {"d_model": 2 * WIDTH + 1}},
                 f"; ROUGH: measured with d_model {2 * WIDTH + 1}; give bench --d-model {WIDTH}"),
                ({"options": {"d_model": WIDTH // 2 - 1}},
                 f"; ROUGH: measured with d_model {WIDTH // 2 - 1}; give bench --d-model {WIDTH}")):
            plan, done = self.plan(1, "--bench", self.write_bench(more=more), config=config)
            line = next(line for line in done.stdout.splitlines() if line.startswith("rates "))
            self.assertEqual(plan["time"]["rough"], words is not None)
            if words:
                self.assertTrue(line.endswith(words), line)
            else:
                self.assertNotIn("ROUGH", done.stdout)
        bench = self.write_bench(more={"only": "machine", "rates": {"update_gbs": None}})
        done = support.run(["plan", config, "--ranks", 1, "--bench", bench])
        self.check_failure(done, 3, bench,
                           "made with --only; run 'orthant bench --json' without it")

    def test_a_faster_grid(self):
        """It is named where the model gives it more than a tenth less time, and fits."""
        config = self.configure()
        named = 0
        for words in ((), ("--ranks-per-node", 1, "--latency", 1e5, "--set", "train.batch=4096",
                           "model.n_latent=4096")):
            plan, done = self.plan(4, "--bench", self.write_bench(), *words, config=config)
            chosen = next(a for a in plan["alternatives"]
                          if a["n_shard"] == plan["grid"]["n_shard"])
            best = min((a for a in plan["alternatives"] if a["fits"]), key=lambda a: a["step"])
            share = best["step"] / chosen["step"]
            line = (f"{best['n_group']} x {best['n_shard']} would take {100 * (1 - share):.0f} % "
                    f"less time: set grid.n_group={best['n_group']}, "
                    f"grid.n_shard={best['n_shard']}\n")
            self.assertEqual(done.stdout.count("would take"), int(share < 0.9), done.stdout)
            self.assertEqual(done.stdout.count(line), int(share < 0.9), done.stdout)
            named += share < 0.9
        self.assertEqual(named, 1)

    def test_density(self):
        """Without --density topafa's memory is judged at the density that training starts with."""
        config = self.configure(model__selection="topafa", aux__variant="none")
        bench = self.write_bench()
        assumed, done = self.plan(1, "--bench", bench, config=config)
        self.assertIn("density       18 % for time, 50 % for memory (assumed; --density)\n",
                      done.stdout)
        self.assertEqual(assumed["problem"]["density"],
                         {"time": 0.18, "memory": 0.5, "assumed": True})
        for density in 0.18, 0.5:
            plan, done = self.plan(1, "--bench", bench, "--density", density, config=config)
            self.assertIn(f"density       {100 * density:.0f} % (--density)\n", done.stdout)
            self.assertEqual(plan["problem"]["density"],
                             {"time": density, "memory": density, "assumed": False})
            same = plan["time"]["phase"], plan["memory"]["codes"]
            wanted = assumed["time"]["phase"], assumed["memory"]["codes"]
            self.assertEqual([a == b for a, b in zip(same, wanted)],
                             [density == 0.18, density == 0.5])
        plan, done = self.plan(1, config=self.configure())
        self.assertNotIn("density", done.stdout)
        self.assertEqual(plan["problem"]["density"]["time"], 5 / LATENTS)

    def test_network(self):
        """Between nodes bytes go over the network that the ranks of a node share."""
        config = self.configure()
        bench = self.write_bench()
        words = ["--bench", bench, "--ranks-per-node", 2, "--latency", 0, "--bandwidth", 1,
                 "--threads", 1, "--set", "grid.n_group=4"]
        plan, _ = self.plan(4, *words, config=config)
        gradient = sum(plan["bytes"]["step"]["gradient"].values())
        self.assertAlmostEqual(plan["time"]["phase"]["reduce"], gradient * 2 / 1e9)

    def test_data_that_is_not_there(self):
        config = self.write_config(run__dir="run", run__steps=10, data__files="no.h5")
        plan, _ = self.plan(1, "--d-model", 64, config=config)
        self.assertEqual(plan["problem"]["n_latent"], 1024)
        done = support.run(["plan", config, "--ranks", 1], cwd=self.folder)
        self.check_failure(done, 3, "no.h5", "or give --d-model N")
        config = self.write_config(run__dir="run", data__files="no.h5")
        done = support.run(["plan", config, "--ranks", 1, "--d-model", 64], cwd=self.folder)
        self.check_failure(done, 2, "run.steps")

    def test_refusals(self):
        config = self.configure()
        bench = self.write_bench()
        with open(self.path("torn.json"), "w") as file:
            file.write("{")
        with open(self.path("other.json"), "w") as file:
            file.write("{}")
        for words, code, named in (
                ((), 2, "--ranks"), (("--ranks", 0), 2, "--ranks"),
                (("--ranks", "two"), 2, "--ranks"),
                (("--ranks", 4, "--set", "grid.n_shard=3"), 2, "n_shard"),
                (("--ranks", 1, "--bench", "no.json"), 2, "no.json"),
                (("--ranks", 1, "--bench", "torn.json"), 3, "torn.json"),
                (("--ranks", 1, "--bench", "other.json"), 3, "rates"),
                (("--ranks", 1, "--density", 2), 2, "--density"),
                (("--ranks", 1, "--d-model", 5), 2, "--d-model"),
                (("--ranks", 1, "--set", "model.k=100000"), 2, "model.k")):
            done = support.run(["plan", config, *words], cwd=self.folder)
            self.check_failure(done, code, named)
        done = support.run(["plan", config, "--ranks", 1, "--bench", bench], cwd=self.folder)
        self.check_success(done)

    def test_too_large(self):
        """A problem far beyond this machine is planned, and then refused with what to change."""
        config = self.write_config(run__dir="run", run__steps=10, model__n_latent="2^30",
                                   train__batch=65536, model__k=64)
        words = ["--d-model", 4096, "--memory", 512]
        plan, done = self.plan(4096, *words, "--ranks-per-node", 16, config=config)
        self.check_success(done)
        self.assertGreater(plan["memory"]["parameters"] * plan["grid"]["n_shard"], 2**45)
        plan, done = self.plan(16, *words, config=config, code=2)
        self.check_failure(done, 2, "memory", "nodes")
        config = self.write_config(run__dir="run", run__steps=10, model__n_latent=2**20,
                                   aux__variant="none", train__batch=1_360_000)
        words = ["--d-model", 512, "--memory", 24]
        plan, done = self.plan(2, *words, config=config, code=2)
        self.assertEqual([a["fits"] for a in plan["alternatives"]], [True, False])
        self.check_failure(done, 2, "grid.n_shard=1")
        plan, _ = self.plan(2, *words, "--set", "grid.n_shard=1", config=config)
        self.assertTrue(plan["grid"]["fits"])


if __name__ == "__main__":
    unittest.main()
