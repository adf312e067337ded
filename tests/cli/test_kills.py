# SIGKILL at random instants, and at each step of writing and finding a checkpoint, on 2 x 2 ranks.
# timeout: 600
# processors: 2
"""FAULTS 1 to 4: whatever is killed and when, the next start goes on from the newest checkpoint,
and the end of the run is that of an undisturbed run, bit for bit. tests/campaigns/kills.py is the
long form; test_kills_long.py runs it."""
import os
import sys
import unittest

import support

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "campaigns"))
import kills  # noqa: E402

CREATED, WRITING, WRITTEN, RENAMED = kills.STAGES
# Fault, and the stage that the files are then in. A start takes its first step with three
# checkpoints on disk, so that every new one deletes one.
POINTS = (
    ("checkpoint.create:2:kill@0", None),
    ("checkpoint.reserve:2:kill@0", CREATED),
    ("checkpoint.clean:1:kill@0", CREATED),  # the partial file that the one above left
    ("checkpoint.write:9:kill@1", WRITING),
    ("checkpoint.write:12:kill@3", WRITING),
    ("checkpoint.write:44:kill@0", WRITING),
    ("checkpoint.write:10:kill", WRITING),
    ("checkpoint.close:2:kill", WRITING),
    ("checkpoint.close:2:kill@2", WRITING),
    ("checkpoint.sync:1:kill", WRITTEN),
    ("checkpoint.sync:2:kill@3", WRITTEN),
    ("checkpoint.verify:1:kill", WRITTEN),
    ("checkpoint.verify:2:kill@0", WRITTEN),
    ("checkpoint.read:100:kill@1", WRITTEN),
    ("checkpoint.rename:1:kill@0", WRITTEN),
    ("checkpoint.folder:2:kill@0", RENAMED),
    ("checkpoint.delete:2:kill@0", RENAMED),
)


class Kills(support.Case):
    def campaign(self, count, steps):
        return kills.Campaign(support, self.folder, count, 1, print, steps)

    def test_random_instants(self):
        campaign = self.campaign(20, 80)
        campaign.run()
        print(campaign.summary())
        self.assertGreaterEqual(len(campaign.done), 20)
        self.assertGreaterEqual(campaign.inside(), 10)

    def test_every_point(self):
        campaign = self.campaign(0, 48)
        run_dir, case = self.path("run"), "topafa"
        campaign.undisturbed(case)
        config, folder = campaign.config(case, run_dir), kills.Folder(run_dir)
        for fault, stage in (("checkpoint.rename:5:kill@0", WRITTEN), *POINTS,
                             ("checkpoint.read:3:kill@2", RENAMED)):
            before = folder.steps()
            result = support.Running(["train", config], 4, env={"ORTHANT_FAULT": fault}).wait()
            self.assertIn("orthant: fault: " + fault.split(":")[0], result.stderr)
            self.assertNotEqual(result.code, 0, fault)
            self.assertEqual(folder.stage(), stage, fault)
            campaign.check_start(result.stderr, before, run_dir)
        result = support.run(["train", config], 4)
        self.check_success(result)
        campaign.check_end(case, run_dir)

    def test_while_a_damaged_one_is_set_aside(self):
        campaign = self.campaign(0, 24)
        run_dir, case = self.path("run"), "topk"
        campaign.undisturbed(case)
        config, folder = campaign.config(case, run_dir), kills.Folder(run_dir)
        support.Running(["train", config], 4, env={"ORTHANT_FAULT": "step.begin:9:kill"}).wait()
        newest = folder.steps()[-1]
        for step in (newest, newest - 1):
            os.truncate(support.checkpoint_path(run_dir, step), 5000)
        for visit, left in ((1, 0), (2, 1)):
            fault = f"checkpoint.aside:{visit}:kill@0"
            result = support.Running(["train", config], 4, env={"ORTHANT_FAULT": fault}).wait()
            self.assertIn(f"step {newest - 2}", result.stderr)
            aside = [name for name in folder.names() if name.endswith(".damaged")]
            self.assertEqual(len(aside), left, result.stderr)
        result = support.run(["train", config], 4)
        self.check_success(result)
        for name in [name for name in folder.names() if name.endswith(".damaged")]:
            os.unlink(os.path.join(folder.checkpoints, name))
        campaign.check_end(case, run_dir)


if __name__ == "__main__":
    unittest.main()
