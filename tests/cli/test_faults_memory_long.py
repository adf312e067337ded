# Memory that is refused at every single allocation of a run and of the other commands.
# timeout: 3600
# labels: long
"""FAULTS 14, as test_faults_memory.py, with nothing left out."""
import unittest

import test_faults_memory


class Every(test_faults_memory.Memory):
    apart = 1


if __name__ == "__main__":
    unittest.main()
