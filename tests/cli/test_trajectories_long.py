#!/usr/bin/env python3
"""The authors' trajectories through `orthant train`: every group on every grid of up to four ranks.
labels: long
timeout: 900"""

import unittest

import trajectories
from trajectories import Group

GRIDS = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 1), (1, 4), (4, 1)]


class Trajectories(unittest.TestCase):
    def test_every_grid(self):
        for name in trajectories.names():
            group = Group(name)
            for grid in GRIDS:
                with self.subTest(group=name, grid=grid):
                    trajectories.check_trajectory(group, *grid)


if __name__ == "__main__":
    unittest.main()
