# 200 SIGKILLs at random instants of runs on 2 x 2 ranks.
# labels: long
# timeout: 2400
# processors: 2
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


class Kills(unittest.TestCase):
    def test_200(self):
        done = subprocess.run([sys.executable, os.path.join(HERE, "..", "campaigns", "kills.py"),
                               "--kills", "200", "--seed", "1"], stdout=subprocess.PIPE, text=True)
        print(done.stdout)
        self.assertEqual(done.returncode, 0)
        inside = int(done.stdout.split("; ")[1].split()[0])
        self.assertGreaterEqual(inside, 100)


if __name__ == "__main__":
    unittest.main()
