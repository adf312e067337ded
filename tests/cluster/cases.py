"""What the tests of a cluster share: runs over it, runs beside it, and a link that is cut."""
import os
import time

import support
from cluster import Cluster as Network
from support import tokens, write_activations

TIMED = ("time", "tokens_per_s", "phase")
PATIENCE = int(os.environ.get("ORTHANT_TEST_PATIENCE", "1"))
STALLED = 76


class Cluster(support.Case):
    """A cluster of `nodes` for each test, `self.cluster`."""

    nodes = 2
    delay = 0  # seconds, of the last node's link

    def setUp(self):
        super().setUp()
        self.data = write_activations(self.path("data.h5"), tokens(3000, 48))
        self.cluster = Network(self.nodes, self.folder, self.delay)
        self.addCleanup(self.cluster.remove)
        self.addCleanup(self.end_all)

    def config(self, run_dir, grid, **keys):
        defaults = {"run__dir": run_dir, "run__steps": 40, "data__files": self.data,
                    "model__n_latent": 200, "model__k": 8, "train__batch": 300, "log__every": 1,
                    "checkpoint__every": 10, "checkpoint__keep": 99,
                    "grid__n_group": grid[0], "grid__n_shard": grid[1]}
        return self.write_config(f"{run_dir}.yaml", **{**defaults, **keys})

    def start(self, run_dir, grid, **keys):
        """A run over the cluster."""
        ranks = grid[0] * grid[1]
        return support.Running(["train", self.config(run_dir, grid, **keys)], ranks,
                               launcher=self.cluster.launcher(ranks // self.nodes),
                               cwd=self.folder, env={"OMP_NUM_THREADS": "1"})

    def train(self, run_dir, grid, timeout=None, **keys):
        result = self.start(run_dir, grid, **keys).wait(timeout)
        self.check_success(result)
        return result

    def beside(self, run_dir, grid, **keys):
        """The same on one host."""
        result = support.run(["train", self.config(run_dir, grid, **keys)], grid[0] * grid[1],
                             cwd=self.folder, env={"OMP_NUM_THREADS": "1"})
        self.check_success(result)

    def check_same_run(self, a, b):
        """Weights, moments, counters and metrics are the same bit for bit."""
        self.assertEqual(support.steps(self.path(a))[-1], support.steps(self.path(b))[-1])
        for step in set(support.steps(self.path(a))) & set(support.steps(self.path(b))):
            self.check_equal(support.checkpoint(self.path(a), step),
                             support.checkpoint(self.path(b), step))
        lines = [[{key: value for key, value in line.items() if key not in TIMED}
                  for line in support.metrics(self.path(run_dir))] for run_dir in (a, b)]
        self.assertEqual(*lines)

    def check_same(self, grid, timeout=None, **keys):
        """A run over the cluster gives what it gives on one host."""
        name = f"{grid[0]}x{grid[1]}"
        self.beside(f"host-{name}", grid, **keys)
        self.train(f"cluster-{name}", grid, timeout, **keys)
        self.check_same_run(f"host-{name}", f"cluster-{name}")

    def check_cut(self, cut, mend, grid=(2, 1)):
        """The watchdog ends a run whose network is gone, and the next start goes on."""
        limit = 3 * PATIENCE
        running = self.start("cut", grid, run__steps=10**6, run__watchdog=f"00:00:{limit:02}")
        running.wait_for_step(self.path("cut"), 15)
        cut()
        start = time.monotonic()
        result = running.wait(limit + 60)  # mpirun waits for the daemons until TCP gives up
        self.assertGreater(time.monotonic() - start, limit)
        self.assertEqual(result.code, STALLED, result.stderr)
        self.assertRegex(result.errors[0], f"rank [0-9] on node[1-4]: no progress for {limit} s in "
                                           "phase (checkpoint|[a-z]+: it waits for other ranks.*net)")
        mend()
        self.check_goes_on("cut", grid)

    def check_goes_on(self, run_dir, grid):
        """The next start ends as if nothing had happened."""
        last = support.steps(self.path(run_dir))[-1]
        self.train(run_dir, grid, run__steps=last + 10)
        self.beside("undisturbed", grid, run__steps=last + 10, checkpoint__every=last + 10)
        self.check_same_run(run_dir, "undisturbed")
