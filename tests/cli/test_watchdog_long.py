# The watchdog names the right phase, wherever a rank hangs.
# timeout: 400
# labels: long
import unittest

import test_watchdog


class Everywhere(test_watchdog.Case):
    def test_hangs(self):
        for fault, phase in (("step.begin:5:hang@1", "other"), ("step.read:8:hang@0", "read"),
                             ("checkpoint.create:1:hang@0", "checkpoint"),
                             ("checkpoint.write:2:hang@1", "checkpoint"),
                             ("checkpoint.close:1:hang@2", "checkpoint"),
                             ("checkpoint.sync:1:hang@1", "checkpoint"),
                             ("checkpoint.verify:1:hang@2", "checkpoint"),
                             ("checkpoint.rename:1:hang@0", "checkpoint")):
            self.check_hang(fault, phase, run__dir=self.path(fault))
        self.check_success(self.start(run__steps=6).wait())
        self.check_hang("checkpoint.read:1:hang@1", "checkpoint")
        self.check_hang("checkpoint.read:20:hang@2", "checkpoint")


if __name__ == "__main__":
    unittest.main()
