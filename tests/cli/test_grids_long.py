# A checkpoint made on each of three grids goes on, on each of six and on one and two threads.
# labels: long
# timeout: 2400
import unittest

from test_grids import CONTINUED_ON, MADE_ON, MODELS, Grids


class All(Grids):
    def test_table(self):
        for model in MODELS:
            self.check_table(model, MADE_ON, [(grid, threads) for grid in CONTINUED_ON
                                              for threads in (1, 2)])


if __name__ == "__main__":
    unittest.main()
