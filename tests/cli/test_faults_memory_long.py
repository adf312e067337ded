# Memory that is refused at every single allocation of a run and of the other commands.
# timeout: 3600
# labels: long
"""FAULTS 14, as test_faults_memory.py, with nothing left out."""
import unittest

import test_faults_memory
from support import run


class Every(test_faults_memory.Memory):
    apart = 1

    def test_dictionaries(self):
        self.check_success(run(["train", self.config, "--quiet", "--set", "run.dir=model"], 2,
                               cwd=self.folder))
        self.apart = 3
        for arguments in (["spectrum", self.model, "--data", self.data, "--fit", self.data,
                           "--json", "s.json"],
                          ["compare", self.model, self.model, "--json", "c.json"]):
            self.refuse_each(arguments, 3, 1)


if __name__ == "__main__":
    unittest.main()
