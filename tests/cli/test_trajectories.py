#!/usr/bin/env python3
# processors: 2
"""The authors' trajectories through `orthant train`: all groups on one rank, some on each grid.
timeout: 240
test_trajectories_long.py runs every group on every grid."""

import unittest

import trajectories
from trajectories import Group

# Every selection and both recipes on more than one shard and on more than one token group.
ON_GRIDS = {
    (1, 2): ["topafa_afa"],
    (2, 1): ["batchtopk"],
    (2, 2): ["topafa_afa", "gao_layernorm_clip"],
    (1, 3): ["batchtopk"],
    (3, 1): ["gao", "topk_afa"],
}


class Trajectories(unittest.TestCase):
    def test_the_file_has_the_eight_groups(self):
        self.assertEqual(sorted(trajectories.names()), [
            "batchtopk", "gao", "gao_layernorm_clip", "topafa", "topafa_afa", "topk", "topk_afa",
            "topk_raw_input"])

    def test_one_rank(self):
        for name in trajectories.names():
            with self.subTest(group=name):
                trajectories.check_trajectory(Group(name), 1, 1)

    def test_first_gradients(self):
        for name in trajectories.names():
            with self.subTest(group=name):
                trajectories.check_first_gradient(Group(name))

    def test_grids(self):
        for grid, groups in ON_GRIDS.items():
            for name in groups:
                with self.subTest(group=name, grid=grid):
                    trajectories.check_trajectory(Group(name), *grid)


if __name__ == "__main__":
    unittest.main()
