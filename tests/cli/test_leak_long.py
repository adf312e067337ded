# 10,000 steps, 100 checkpoints and 100 evaluations.
# labels: long
# timeout: 1500
import unittest

from test_leak import Leak


class All(Leak):
    def test_topk(self):
        self.check(self.sample("topk", 10000, 100), 2**20)

    def test_topafa(self):
        self.check(self.sample("topafa", 10000, 100), 2**20)


if __name__ == "__main__":
    unittest.main()
