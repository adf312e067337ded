# Two nodes, each a network namespace of this host: the same values as one host, and a cut link.
# timeout: 200
import unittest

import cluster

cluster.enter()

from cases import Cluster  # noqa: E402


class TwoNodes(Cluster):
    nodes = 2

    def test_as_on_one_host(self):
        self.check_same((2, 1))
        self.check_same((1, 2))

    def test_silence(self):
        """Nothing passes any more, and nobody is told."""
        self.check_cut(lambda: self.cluster.filter("drop"), self.cluster.unfilter)


if __name__ == "__main__":
    unittest.main()
