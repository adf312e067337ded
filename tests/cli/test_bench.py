# timeout: 300
# processors: 2
"""`orthant bench`: what it measures and says, at one rank and at two. Times are never judged."""
import json
import os
import subprocess
import sys
import unittest

from support import Case, ORTHANT, run

SMALL = ["bench", "--quick", "--batch", "96", "--d-model", "64", "--latents", "512", "--k", "8",
         "--repetitions", "1"]
PARTS = "machine", "kernels", "steps", "series", "reader", "checkpoint"


def numbers(tree):
    """Every number in a JSON value."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list):
        return [number for item in tree for number in numbers(item)]
    return [tree] if isinstance(tree, (int, float)) and not isinstance(tree, bool) else []


class Bench(Case):
    def bench(self, *arguments, ranks=1):
        result = run([*SMALL, "--json", self.path("bench.json"), "--dir", self.folder, *arguments],
                     ranks, env={"ORTHANT_BLAS_CORE": "", "OPENBLAS_CORETYPE": ""})
        self.check_success(result)
        with open(self.path("bench.json"), encoding="utf-8") as file:
            found = json.load(file)
        self.assertEqual(os.listdir(self.folder), ["bench.json"])
        os.unlink(self.path("bench.json"))
        return found, result

    def check_machine(self, found, ranks):
        self.assertEqual(found["version"], 1)
        machine = found["machine"]
        self.assertEqual(machine["ranks"], ranks)
        self.assertGreaterEqual(machine["threads"], ranks)
        self.assertGreaterEqual(machine["cores"], 1)
        for name in "sgemm_gflops", "triad_gbs":
            self.assertGreater(machine[name], 0, name)
        self.assertEqual(machine["allreduce_gbs"] is None, ranks == 1)
        self.assertGreater(found["yardstick_s"], 0)
        # The product of the options, at the rate of the machine.
        options = found["options"]
        work = 2 * options["batch"] * options["d_model"] * options["n_latent"]
        self.assertAlmostEqual(work / found["yardstick_s"] / 1e9 / machine["sgemm_gflops"], 1,
                               delta=1e-6)

    def check_steps(self, found):
        steps = {(s["name"], s["encode"]): s for s in found["steps"]}
        self.assertEqual(len(steps), len(found["steps"]))
        for (name, encode), step in steps.items():
            self.assertIn(encode, ["fp32", "bf16", "int8"])
            self.assertIn(step["selection"], name)
            self.assertAlmostEqual(step["tokens_per_s"], step["batch"] / step["seconds"],
                                   delta=1e-6 * step["tokens_per_s"])
            self.assertGreater(step["evaluation_seconds"], 0)
            self.assertGreater(step["evaluation_of_encode"], 0)
            self.assertGreater(step["in_S"], 0)
            self.assertGreater(step["bytes_moved"], 48 * step["n_latent"] * step["d_model"])
            self.assertAlmostEqual(sum(step["phase"].values()), step["seconds"],
                                   delta=1e-6 * step["seconds"])
            # Weights and moments are 6 arrays; the rest of these small ones is the program.
            own = 24 * step["n_latent"] * step["d_model"] // found["machine"]["ranks"]
            self.assertGreater(step["peak_memory"], own // 2)
            self.assertLess(step["peak_memory"], own + 2**29)
        self.assertAlmostEqual(steps["topk", "fp32"]["density"], 8 / 512, delta=1e-9)
        by_name = {name: step for (name, _), step in steps.items()}
        self.assertAlmostEqual(by_name["topafa at 18 %"]["density"], 0.18, delta=0.03)
        self.assertAlmostEqual(by_name["topafa at 50 %"]["density"], 0.50, delta=0.03)
        self.assertAlmostEqual(by_name["topafa at 18 %, AuxK"]["density"], 0.18, delta=0.03)
        self.assertAlmostEqual(by_name["topk, AuxK, 5 % dead"]["density"], 8 / 512, delta=1e-9)

    def check_rates(self, found):
        rates = found["rates"]
        for name in ("encode_fp32_gflops", "select_topk_ns_per_value", "select_topafa_ns_per_value",
                     "update_gbs", "elementwise_gbs", "exchange_gbs"):
            self.assertGreater(rates[name], 0, name)
        for name in "encode_bf16_gflops", "encode_int8_gops":
            self.assertTrue(rates[name] is None or rates[name] > 0, name)
        for name in "decode", "gradient":
            densities = [point["density"] for point in rates[name]]
            self.assertEqual(len(densities), 3)
            self.assertEqual(densities, sorted(densities))
            self.assertTrue(all(point["gflops"] > 0 for point in rates[name]))
        # A rate is what its phase says.
        step = next(s for s in found["steps"] if s["name"] == "topk" and s["encode"] == "fp32")
        work = 2 * step["batch"] * step["d_model"] * step["n_latent"]
        seconds = step["phase"]["encode"] + step["phase"].get("select", 0)
        self.assertAlmostEqual(rates["encode_fp32_gflops"] * 1e9 * seconds / work, 1, delta=1e-6)

    def test_everything(self):
        for ranks, grid in (1, "1x1"), (2, "1x2"):
            with self.subTest(ranks=ranks):
                found, result = self.bench("--grid", grid, ranks=ranks)
                self.check_machine(found, ranks)
                self.check_steps(found)
                self.check_rates(found)
                self.assertEqual((found["quick"], found["only"]), (True, None))
                names = [kernel["name"] for kernel in found["kernels"]]
                self.assertEqual(len(names), len(set(names)))
                for word in "chain", "pack", "keep", "adam", "combine, k", "project, 18 %", "top-AFA tally", "transpose, k":
                    self.assertIn(word, names)
                for kernel in found["kernels"]:
                    self.assertGreater(kernel.get("gflops", kernel.get("gbs")), 0)
                    self.assertTrue(0 < kernel["of_limit"] < 1000, kernel)
                self.assertEqual([s["doubled"] for s in found["series"]],
                                 ["n_latent", "batch", "d_model"])
                for entry in found["series"]:
                    self.assertEqual(entry[entry["doubled"]],
                                     2 * found["options"][entry["doubled"]])
                    self.assertGreater(entry["ratio"], 0)
                for part in "reader", "checkpoint":
                    self.assertTrue(all(n > 0 for n in numbers(found[part])), found[part])
                    self.assertNotIn(None, found[part].values())
                self.assertEqual(found["checkpoint"]["bytes"], 512 * (64 * 24 + 20))
                for words in "The machine's limits", "S = ", "of the limit", "One step", "Doubled":
                    self.assertEqual(result.stdout.count(words), 1, words)

    def test_two_groups(self):
        found, _ = self.bench("--grid", "2x1", "--only", "steps", ranks=2)
        self.assertEqual((found["options"]["n_group"], found["options"]["n_shard"]), (2, 1))
        self.check_steps(found)
        self.assertEqual({k["name"] for k in found["kernels"]},
                         {"transpose, k", "transpose, 18 %", "transpose, 50 %"})
        self.assertEqual(found["series"], [])

    def test_checkpoint_of_two_groups(self):
        """Whose ranks hold half of a shard's moments each."""
        found, _ = self.bench("--grid", "2x1", "--only", "checkpoint", ranks=2)
        self.assertTrue(all(n > 0 for n in numbers(found["checkpoint"])), found["checkpoint"])
        self.assertNotIn(None, found["checkpoint"].values())

    def test_a_part_that_fails(self):
        """What was measured before it is told and written."""
        small = ["sh", "-c", 'ulimit -f 100; exec "$@"', "sh"]
        result = run([*SMALL, "--json", self.path("bench.json"), "--dir", self.folder, "--only",
                      "checkpoint"], prefix=small)
        self.check_failure(result, 4, self.folder)
        self.assertIn("S = ", result.stdout)
        self.assertNotIn("Checkpoint", result.stdout)
        with open(self.path("bench.json"), encoding="utf-8") as file:
            found = json.load(file)
        self.check_machine(found, 1)
        self.assertIsNone(found["checkpoint"]["checkpoint_gbs"])
        self.assertEqual(os.listdir(self.folder), ["bench.json"])

    def test_parts(self):
        for part in PARTS:
            found, result = self.bench("--only", part, "--quiet")
            self.assertEqual(found["only"], part)
            self.assertEqual(result.lines, [])
            names = {kernel["name"] for kernel in found["kernels"]}
            filled = {"kernels": "chain" in names, "steps": found["steps"] != [],
                      "series": found["series"] != [],
                      "reader": found["reader"]["warm_gbs"] is not None,
                      "checkpoint": found["checkpoint"]["checkpoint_gbs"] is not None}
            self.assertEqual({name for name, there in filled.items() if there},
                             {part} - {"machine"})

    def test_refused(self):
        for arguments, words in [
                (["--grid", "2x2"], ["grid", "1"]), (["--grid", "two"], ["--grid", "2x1"]),
                (["--grid", "1x"], ["--grid"]), (["--grid", "0x1"], ["--grid"]),
                (["--k", "513"], ["--k", "513", "512"]), (["--batch", "0"], ["--batch", "'0'"]),
                (["--only", "speed"], ["--only", "speed", "kernels"]),
                (["--d-model", "x"], ["--d-model", "'x'"]), (["file"], ["file"])]:
            with self.subTest(arguments=arguments):
                self.check_failure(run([*SMALL, *arguments]), 2, *words)
        missing = self.path("no", "folder")
        for part in [], ["--only", "reader"]:
            result = run([*SMALL, *part, "--dir", missing])
            self.check_failure(result, 4, missing)
            # Before anything was measured.
            self.assertEqual((result.lines, result.stdout), (result.errors, ""))
        self.check_failure(run([*SMALL, "--json", missing + ".json"]), 4, missing)
        self.assertEqual(os.listdir(self.folder), [])

    def test_default_sizes_of_quick(self):
        code = subprocess.run([ORTHANT, "bench", "--help"], text=True, stdout=subprocess.PIPE,
                              check=True).stdout
        for words in "--quick", "4096, quick 512", "768, quick 256", "12288, quick 2048", "yardstick":
            self.assertIn(words, code)


if __name__ == "__main__":
    sys.exit(not unittest.main(verbosity=1, exit=False).result.wasSuccessful())
