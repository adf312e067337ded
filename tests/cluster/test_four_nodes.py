# Four nodes, and links that are slow, late, lossy or down.
# timeout: 900
# labels: long
import unittest

import cluster

cluster.enter()

import support  # noqa: E402
from cases import Cluster  # noqa: E402

GRID = (2, 2)


class FourNodes(Cluster):
    nodes = 4

    def test_as_on_one_host(self):
        self.check_same(GRID)
        self.check_same((1, 4))
        self.check_same((4, 1))

    def test_rate(self):
        """Links of 40 Mbit/s: what the nodes exchange takes its time."""
        for node in self.cluster.nodes:
            node.limit("40mbit")
        before = sum(node.received() for node in self.cluster.nodes)
        self.check_same(GRID, 300, model__n_latent=2000, run__steps=20)
        bits = 8 * (sum(node.received() for node in self.cluster.nodes) - before) / self.nodes
        seconds = support.metrics(self.path("cluster-2x2"))[-1]["time"]
        self.assertGreater(bits, 40e6)
        self.assertGreater(seconds, 0.8 * bits / 40e6)

    def test_loss(self):
        """One packet in fifty never arrives."""
        if not self.cluster.filter("numgen random mod 50 == 0 counter drop"):
            self.skipTest("this kernel's nftables has no numgen for bridges")
        self.check_same(GRID, 300, run__steps=20)
        self.assertGreater(self.cluster.filtered(), 10)

    def test_silence(self):
        self.check_cut(lambda: self.cluster.filter("drop"), self.cluster.unfilter, GRID)

    def test_link_down(self):
        """One node's link goes; the node sees it."""
        link = ("ip", "link", "set", "eth0")
        last = self.cluster.nodes[3]
        self.check_cut(lambda: last.run(*link, "down"), lambda: last.run(*link, "up"), GRID)

    def test_tcp_gives_up_first(self):
        """With a limit longer than TCP's patience the launcher or MPI ends the run."""
        running = self.start("cut", GRID, run__steps=10**6, run__watchdog="00:05:00")
        running.wait_for_step(self.path("cut"), 15)
        self.cluster.filter("drop")
        result = running.wait(120)
        self.assertNotEqual(result.code, 0)
        self.cluster.unfilter()
        self.check_goes_on("cut", GRID)


class Late(Cluster):
    nodes = 4
    delay = 0.005

    def test_delay(self):
        """One node is 5 ms away from the others, each way."""
        self.check_same(GRID, 300, run__steps=20)
        slow = support.metrics(self.path("cluster-2x2"))[-1]["time"]
        self.assertGreater(slow, 20 * 2 * self.delay)
        self.assertGreater(slow, 3 * support.metrics(self.path("host-2x2"))[-1]["time"])


if __name__ == "__main__":
    unittest.main()
