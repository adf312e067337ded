# labels: long
# timeout: 600
# processors: 2
"""The page of `orthant report` in a real Chromium, from file:// and without a network: everything
that can be pressed is pressed, by mouse and by keyboard, and what is shown is held against the JSON.
With ORTHANT_SCREENSHOTS=FOLDER pictures of the page are left there to be looked at."""
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
import time
import unittest

import h5py
import numpy as np

import cli_model as cli

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select
except ImportError:
    webdriver = None

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
HOSTILE = ["</script><script>window.harmed = 1</script>", "<img src=x onerror='window.harmed=1'>",
           "\u202eturned", "a\nb"]

# Elements that can be reached by the keyboard, in the order of the page.
REACHABLE = """
return [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')]
  .filter((one) => !one.disabled && one.checkVisibility({checkVisibilityCSS: true}) &&
    (one.tabIndex >= 0)).length"""

# What a checker of accessibility looks at first: names of controls, order of headings, ids, images.
CHECKS = """
const wrong = [];
const name = (one) => one.getAttribute('aria-label') || (one.labels && one.labels.length &&
  one.labels[0].textContent.trim()) || one.textContent.trim();
for (const one of document.querySelectorAll('button, input, select, a, summary'))
  if (!name(one)) wrong.push('no name: ' + one.outerHTML.slice(0, 100));
let last = 0;
for (const one of document.querySelectorAll('h1, h2, h3, h4')) {
  const level = Number(one.tagName[1]);
  if (level > last + 1) wrong.push('heading after level ' + last + ': ' + one.outerHTML.slice(0, 100));
  last = level;
}
if (document.querySelectorAll('h1').length !== 1) wrong.push('not one h1');
const ids = [...document.querySelectorAll('[id]')].map((one) => one.id);
if (new Set(ids).size !== ids.length) wrong.push('an id twice');
for (const one of document.querySelectorAll('[aria-labelledby], label[for]')) {
  const id = one.getAttribute('aria-labelledby') || one.htmlFor;
  if (!document.getElementById(id)) wrong.push('nothing has the id ' + id);
}
for (const one of document.querySelectorAll('canvas'))
  if (one.getAttribute('role') !== 'img' || !(one.getAttribute('aria-label') || '').includes('.'))
    wrong.push('a chart without words');
for (const one of document.querySelectorAll('figure'))
  if (!one.querySelector('figcaption') || !one.querySelector('details'))
    wrong.push('a figure without caption or table');
for (const one of document.querySelectorAll('th'))
  if (!one.scope) wrong.push('a head without scope');
for (const one of document.querySelectorAll('table'))
  if (!one.caption) wrong.push('a table without caption');
for (const one of ['main', 'nav', 'header', 'footer'])
  if (document.querySelectorAll(one).length !== 1) wrong.push('not one ' + one);
return wrong"""

# Texts whose colour is too close to what is behind them (WCAG 2, 4.5 to 1).
CONTRAST = """
const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const channel = (v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const behind = (one) => {
  for (; one; one = one.parentElement) {
    const colour = parse(getComputedStyle(one).backgroundColor);
    if (colour.length === 3 || (colour.length === 4 && colour[3] === 1)) return colour;
  }
  return [255, 255, 255];
};
const wrong = new Set();
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const one = walk.currentNode.parentElement;
  if (!walk.currentNode.textContent.trim() || !one.checkVisibility() || one.closest('script, mark, :disabled'))
    continue;
  const a = light(parse(getComputedStyle(one).color)), b = light(behind(one));
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) wrong.add(one.tagName + '.' + one.className + ' ' + ratio.toFixed(2));
}
return [...wrong]"""

# Pixels of a chart that are not empty.
INK = """
const canvas = arguments[0], data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
let ink = 0;
for (let i = 3; i < data.length; i += 4) ink += data[i] > 0;
return ink"""


def plain(text):
    """A number as the page writes it."""
    return float(text.replace(",", "").replace("−", "-").replace("\u00a0%", "").replace(" %", ""))


def start_browser(folder):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--hide-scrollbars", "--window-size=1280,900", f"--user-data-dir={folder}/profile",
                     # Whatever were asked of a network would fail, and show in the log.
                     "--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(service=Service(DRIVER), options=options)


@unittest.skipUnless(webdriver and CHROMIUM and DRIVER,
                     "Chromium, its driver and selenium are in the set `ci` of packages.sh")
class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="orthant-browser-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        runs = [cli.train(cls.folder, "topk", "log.every=2", "eval.every=20",
                          f"data.eval_files={cli.EVAL}"),
                cli.train(cls.folder, "topafa", "log.every=2", "afa.coefficient=1/24")]
        # Words of the sample, and some that would do harm.
        cls.data = os.path.join(cls.folder, "words.h5")
        with h5py.File(cli.EVAL) as source, h5py.File(cls.data, "w") as out:
            for name in ("activations", "tokens", "documents"):
                out[name] = source[name][:]
            words = source["vocab"][:]
            common = np.bincount(source["tokens"][:]).argsort()[::-1]
            for place, word in zip(common[2:], HOSTILE):
                words[place] = word.encode()
            out.create_dataset("vocab", data=words, dtype=h5py.string_dtype())
        cls.page = os.path.join(cls.folder, "report.html")
        document = os.path.join(cls.folder, "report.json")
        done = cli.run(["report", *runs, "--data", cls.data, "--out", cls.page, "--json", document])
        assert done.returncode == 0, done.stderr
        with open(document, encoding="utf-8") as file:
            cls.document = json.load(file)
        cls.models = cls.document["models"]
        cls.driver = start_browser(cls.folder)
        cls.addClassCleanup(cls.driver.quit)

    def setUp(self):
        self.show(1280, "light")
        self.driver.get("about:blank")
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get(pathlib.Path(self.page).as_uri())

    def tearDown(self):
        """No test may leave a word in the console, or have asked a network for anything."""
        self.assertEqual(self.driver.get_log("browser"), [])
        asked = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [one["params"]["request"]["url"] for one in asked
                 if one["method"] == "Network.requestWillBeSent"]
        self.assertEqual([url for url in asked if not url.startswith(("file://", "data:", "about:"))], [])
        self.assertIsNone(self.run_script("return window.harmed || null"))

    def run_script(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def show(self, width, scheme, height=900):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        found = self.all(selector)
        self.assertEqual(len(found), 1, selector)
        return found[0]

    def press(self, element):
        self.run_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def until(self, condition, what):
        end = time.monotonic() + 100
        while not condition():
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.02)

    def until_drawn(self, chart, ink):
        """Until a chart has so many pixels that are not empty: it is drawn when it knows its size."""
        self.until(lambda: self.run_script(INK, chart) > ink, chart.get_attribute("aria-label"))

    def until_latent(self, latent):
        """Until the page of this latent is shown and has the focus. Asked in one script: a link's page is
        drawn when the address has changed, which may be between two questions to the browser."""
        self.until(lambda: self.run_script("""
            const title = document.activeElement;
            return title.id === 'latent-title' && title.firstChild.textContent === arguments[0]""",
            f"Latent {latent}"), f"latent {latent}")

    def texts(self, selector):
        return [one.get_attribute("textContent") for one in self.all(selector)]

    def rows_of(self, caption):
        """The cells of the table with this caption, and their exact values where they are numbers."""
        return self.run_script("""
            const table = [...document.querySelectorAll('table')].find((one) =>
              one.caption && one.caption.textContent.startsWith(arguments[0]));
            return table ? [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) =>
              [cell.textContent, cell.title])) : null""", caption)

    def figure(self, title):
        found = [one for one in self.all("figure")
                 if one.find_element(By.TAG_NAME, "h3").get_attribute("textContent") == title]
        self.assertEqual(len(found), 1, title)
        return found[0]

    # ---- the page as a whole ----

    def test_structure(self):
        self.assertEqual(self.run_script(CHECKS), [])
        self.assertIn("topk, topafa", self.driver.title)
        targets = [one.get_attribute("hash") for one in self.all("nav a")]
        self.assertEqual(targets, ["#" + one.get_attribute("id") for one in self.all("main > section")])
        for link in self.all("nav a"):
            self.press(link)
            heading = self.one(link.get_attribute("hash") + " > h2")
            self.until(lambda h=heading: 0 <= self.run_script(
                "return arguments[0].getBoundingClientRect().top", h) < 900, heading.text)

    def test_every_chart_is_drawn(self):
        charts = self.all("canvas")
        self.assertGreaterEqual(len(charts), 11)
        for chart in charts:
            label = chart.get_attribute("aria-label")
            self.until_drawn(chart, 1000)
            self.assertNotIn("undefined", label)
            self.assertNotIn("NaN", label)
        self.assertNotIn("undefined", self.one("main").text)
        self.assertNotIn("[object", self.one("main").text)
        self.assertNotIn("NaN", self.one("main").text.replace("NaN or Inf", ""))

    def test_themes(self):
        page = "return getComputedStyle(document.body).backgroundColor"
        light = self.run_script(page)
        self.assertEqual(self.run_script(CONTRAST), [])
        button = self.one("#theme")
        self.assertEqual(button.get_attribute("aria-pressed"), "false")
        self.press(button)
        self.assertEqual(button.get_attribute("aria-pressed"), "true")
        dark = self.run_script(page)
        self.assertNotEqual(light, dark)
        self.assertEqual(self.run_script(CONTRAST), [])
        self.press(button)
        self.assertEqual(self.run_script(page), light)
        self.driver.refresh()
        self.show(1280, "dark")
        self.assertEqual(self.run_script(page), dark)
        self.assertEqual(self.one("#theme").get_attribute("aria-pressed"), "true")
        self.press(self.one("#theme"))
        self.assertEqual(self.run_script(page), light)

    def test_narrow(self):
        self.show(400, "light")
        self.until(lambda: self.run_script("return document.documentElement.scrollWidth") <= 400,
                   "wider than a telephone")
        for chart in self.all("canvas"):
            self.until(lambda c=chart: c.size["width"] <= 400, "a narrow chart")
            self.until_drawn(chart, 500)

    def test_without_charts(self):
        """As built where Chart.js is not packaged: the same page, in tables."""
        with open(self.page, encoding="utf-8") as file:
            text = file.read()
        begin = text.index("/*!\n * Chart.js")
        path = os.path.join(self.folder, "tables.html")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text[:begin] + text[text.index("</script>", begin):])
        self.driver.get(pathlib.Path(path).as_uri())
        self.assertEqual(self.all("canvas"), [])
        self.assertIn("without Chart.js", self.one("main > .note").text)
        for details in self.all("figure > details"):
            self.assertTrue(details.find_elements(By.CSS_SELECTOR, "td"), details.text[:100])
        self.assertEqual(self.run_script(CHECKS), [])
        self.assertFalse(self.one("#licences").is_displayed())

    def test_pictures(self):
        folder = os.environ.get("ORTHANT_SCREENSHOTS", os.path.join(self.folder, "pictures"))
        os.makedirs(folder, exist_ok=True)
        for width, scheme in ((1280, "light"), (1280, "dark"), (400, "light")):
            self.show(width, scheme)
            height = self.run_script("return document.documentElement.scrollHeight")
            self.show(width, scheme, height)
            path = os.path.join(folder, f"report-{width}-{scheme}.png")
            self.assertTrue(self.driver.save_screenshot(path))
            self.assertGreater(os.path.getsize(path), 100000)

    # ---- figures ----

    def test_quality(self):
        shown = {cells[0][0]: cells[1:] for cells in self.rows_of("All figures")}
        for title, path in (("Mean squared error (MSE)", "mse"), ("Explained variance", "explained_variance"),
                            ("L0, mean", "l0.mean"), ("Dead latents", "dead"),
                            ("eLBO, median", "elbo.median"), ("eps, largest", "eps.max")):
            for model, (text, exact) in zip(self.models, shown[title]):
                value = model["evaluation"]
                for name in path.split("."):
                    value = value[name]
                self.assertEqual(float(exact), value, title)
                self.assertAlmostEqual(plain(text), value, delta=1e-3 * abs(value) + 1e-12)
        phases = {cells[0][0]: cells[1:] for cells in self.rows_of("Where the time")}
        for index, model in enumerate(self.models):
            for phase, seconds in model["training"]["phases"].items():
                if seconds > 0:
                    self.assertEqual(float(phases[phase][2 * index][1]), seconds)
            total = sum(model["training"]["phases"].values())
            share = plain(phases["encode"][2 * index + 1][0])
            self.assertAlmostEqual(share, 100 * model["training"]["phases"]["encode"] / total, delta=0.06)
        frame = {cells[0][0]: cells[1:] for cells in self.rows_of("Geometry")}
        for model, (text, _) in zip(self.models, frame["Frame operator, condition number"]):
            # 256 latents do not span 384 dimensions.
            self.assertIsNone(model["frame"]["condition"])
            self.assertEqual(text, "∞")
        for model, (_, exact) in zip(self.models, frame["Frame operator, effective rank"]):
            self.assertEqual(float(exact), model["frame"]["effective_rank"])
        made = {cells[0][0]: cells[1:] for cells in self.rows_of("Configuration: keys")}
        self.assertEqual([text for text, _ in made["model.selection"]], ["topk", "topafa"])

    def test_zf_counts(self):
        for model in self.models:
            rows = {cells[0][0]: cells[1][0] for cells in
                    self.rows_of(f"Tokens on either side of the lines, {model['name']}")}
            zf = model["evaluation"]["zf"]
            self.assertEqual(plain(rows["Over-activated: above y = x"]), zf["over"])
            self.assertEqual(plain(rows["Under-activated: below y = x"]), zf["under"])
            self.assertEqual(plain(rows["Below the bound of eps (n − 1) = 0.5"]), zf["bounds"][1]["below"])

    def test_tables_of_charts(self):
        for details in self.all("figure > details"):
            self.press(details.find_element(By.TAG_NAME, "summary"))
            self.until(lambda d=details: d.find_elements(By.TAG_NAME, "td"), "a table")
        rows = self.rows_of("L0 against MSE")
        self.assertEqual([float(row[2][1]) for row in rows],
                         [model["evaluation"]["mse"] for model in self.models])
        rows = self.rows_of("Training curves")
        expected = [[model["name"], step, value] for model in self.models for step, value in
                    zip(*(model["training"]["curves"]["loss"][key] for key in ("step", "value")))]
        self.assertEqual([[row[0][0], float(row[1][1]), float(row[2][1])] for row in rows], expected)
        rows = self.rows_of("Spectrum of the frame")
        self.assertEqual(len(rows), sum(len(model["frame"]["index"]) for model in self.models))
        self.assertEqual(self.run_script(CHECKS), [])
        details = self.all("figure > details")[0]
        self.press(details.find_element(By.TAG_NAME, "summary"))
        self.until(lambda: not details.find_elements(By.TAG_NAME, "td"), "no table")

    def test_curve_chooser(self):
        figure = self.figure("Training curves")
        canvas = figure.find_element(By.TAG_NAME, "canvas")
        self.press(figure.find_element(By.TAG_NAME, "summary"))
        pictures = set()
        choice = Select(self.one("#curve"))
        for option in [one.get_attribute("value") for one in choice.options]:
            choice.select_by_value(option)
            for box in ("#curve-log", "#curve-log", "#curve-tokens", "#curve-tokens"):
                self.press(self.one(box))
                pictures.add(self.run_script("return arguments[0].toDataURL()", canvas))
            last = self.models[0]["training"]["curves"][option]["value"][-1]
            rows = [row for row in self.rows_of("Training curves") if row[0][0] == "topk"]
            self.assertEqual(float(rows[-1][2][1]), last, option)
        self.assertGreater(len(pictures), 20)

    def test_error_chooser(self):
        figure = self.figure("L0 against MSE")
        canvas = figure.find_element(By.TAG_NAME, "canvas")
        self.press(figure.find_element(By.TAG_NAME, "summary"))
        self.until(lambda: figure.find_elements(By.TAG_NAME, "td"), "a table")
        pictures = set()
        for value, name in (("fvu", "FVU"), ("nmse", "NMSE"), ("mse", "MSE")):
            Select(self.one("#frontier-error")).select_by_value(value)
            self.figure(f"L0 against {name}")
            self.assertEqual([float(row[2][1]) for row in self.rows_of(f"L0 against {name}")],
                             [model["evaluation"][value] for model in self.models])
            pictures.add(self.run_script("return arguments[0].toDataURL()", canvas))
        self.assertEqual(len(pictures), 3)

    def test_ratios(self):
        """Where |z| is the same for all tokens (layernorm) there is a histogram below the ZF plot."""
        for model in self.models:
            figure = self.figure(f"|f~| / |z| of {model['name']}")
            self.press(figure.find_element(By.TAG_NAME, "summary"))
            self.until(lambda f=figure: f.find_elements(By.TAG_NAME, "td"), "a table")
            zf = model["evaluation"]["zf"]
            ratios = np.divide(zf["f"], zf["z"])
            counts, edges = np.histogram(ratios, 40)
            rows = self.rows_of(f"|f~| / |z| of {model['name']}")
            np.testing.assert_allclose([float(row[0][1]) for row in rows], edges[:-1], rtol=1e-9)
            np.testing.assert_allclose([float(row[2][1]) for row in rows], counts, atol=2)

    def test_zeros(self):
        """Eigenvalues that are zero to rounding are told, not drawn."""
        caption = self.figure("Spectrum of the frame operator").find_element(By.TAG_NAME, "figcaption")
        for model in self.models:
            zeros = model["frame"]["d"] - model["frame"]["rank"]
            self.assertGreater(zeros, 100)
            self.assertIn(f"{zeros} of {model['name']}", caption.text)

    def test_definitions(self):
        terms = self.texts("#definitions dt")
        self.assertEqual(len(terms), len(self.all("#definitions dd")))
        for term in ("eLBO", "AFA", "Description length", "Smallest eps that would do for all"):
            self.assertIn(term, terms)
        links = self.all("caption a")
        self.assertGreaterEqual(len(links), 5)
        self.press(links[0])
        self.until(lambda: -1 <= self.run_script("return document.getElementById('definitions')"
                                                 ".getBoundingClientRect().top") < 900, "the definitions")

    def test_mixed_models(self):
        """A run without checkpoint, a folder of another tool and another input.norm among them."""
        runs = os.path.join(self.folder, "mixed")
        os.makedirs(runs, exist_ok=True)
        plain_norm = cli.train(runs, "topk", "input.norm=none", "log.every=2", "model.k=8")
        young, folder = os.path.join(runs, "young"), os.path.join(runs, "folder")
        shutil.copytree(plain_norm, young)
        shutil.rmtree(os.path.join(young, "checkpoints"))
        done = cli.run(["export", plain_norm, "--format", "saelens", "--out", folder])
        self.assertEqual(done.returncode, 0, done.stderr)
        page = os.path.join(self.folder, "mixed.html")
        done = cli.run(["report", os.path.join(self.folder, "topk"), plain_norm, young, folder, "--data",
                        self.data, "--latents", "0", "--skip-eps", "--out", page])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.driver.get(pathlib.Path(page).as_uri())
        names = self.texts("#overview .choose")
        self.assertEqual(names[2:], ["young", "folder"])
        self.assertEqual(len(set(names)), 4)
        glance = {cells[0][0]: [text for text, _ in cells[1:]] for cells in self.rows_of("The models at")}
        self.assertEqual(glance["young"][:4], ["topk", str(cli.LATENTS), "–", "–"])
        differ = {cells[0][0]: [text for text, _ in cells[1:]] for cells in self.rows_of("Configuration: keys")}
        self.assertEqual(set(differ), {"run.dir", "data.eval_files", "input.norm", "model.k", "eval.every"})
        self.assertEqual(differ["model.k"], [str(cli.K), "8", "8", "8"])
        self.assertEqual(differ["run.dir"][3], "–")
        norms = self.rows_of("All figures")[0]
        self.assertIn("input.norm", norms[0][0])
        self.assertEqual([text for text, _ in norms[1:]], ["layernorm", "none", "none"])
        self.assertIn("do not compare", self.figure("L0 against MSE").text)
        self.assertNotIn("undefined", self.one("main").text)
        self.assertEqual(self.run_script(CHECKS), [])

    def test_chosen_models(self):
        legend = lambda: self.texts("#quality .legend li")
        self.assertEqual(legend(), ["topk", "topafa"])
        boxes = self.all("#overview input")
        self.press(boxes[0])
        self.assertEqual(legend(), ["topafa"])
        # The eLBO chart, and of one model the ZF plot and the ratios of norms below it.
        self.assertEqual(len([one for one in self.all("#elbo figure") if one.is_displayed()]), 3)
        self.press(boxes[1])
        self.assertEqual(legend(), [])
        for box in boxes:
            self.press(box)
        self.assertEqual(legend(), ["topk", "topafa"])
        for chart in self.all("canvas"):
            self.until_drawn(chart, 1000)

    # ---- latents ----

    def shown_latents(self):
        return [int(text) for text in self.texts("table.latents tbody th a")]

    def status(self):
        return self.one("#latents [role=status]").text

    def test_sorting(self):
        latents = self.models[0]["latents"]
        for column in ("frequency", "mean", "max", "latent"):
            seen = []
            for _ in range(2):
                if not (column == "frequency" and not seen):
                    self.press(self.one(f"[data-sort={column}]"))
                head = self.one(f"[data-sort={column}]").find_element(By.XPATH, "..")
                seen.append(head.get_attribute("aria-sort"))
                values = [-1e9 if value is None else value for value in latents[column]]
                order = sorted(range(len(values)), key=lambda i: (
                    values[i] * (1 if seen[-1] == "ascending" else -1), i))
                self.assertEqual(self.shown_latents(), [latents["latent"][i] for i in order[:25]])
            self.assertEqual(set(seen), {"ascending", "descending"}, column)
        row = self.all("table.latents tbody tr")[3]
        latent = int(row.find_element(By.TAG_NAME, "a").text)
        cells = [one.text for one in row.find_elements(By.TAG_NAME, "td")]
        self.assertAlmostEqual(plain(cells[0]), 100 * latents["frequency"][latent], delta=0.06)
        self.assertAlmostEqual(plain(cells[2]), latents["max"][latent], delta=1e-3)

    def test_pages(self):
        seen = []
        self.assertFalse(self.one("#latent-previous").is_enabled())
        for _ in range(-(-cli.LATENTS // 25)):
            seen += self.shown_latents()
            if self.one("#latent-next").is_enabled():
                self.press(self.one("#latent-next"))
        self.assertFalse(self.one("#latent-next").is_enabled())
        self.assertEqual(sorted(seen), list(range(cli.LATENTS)))
        self.assertIn(f"of {cli.LATENTS}", self.status())

    def test_filters(self):
        latents = self.models[0]["latents"]
        choice = Select(self.one("#latent-filter"))
        counts = {"dead": latents["dead"], "dense": latents["dense"],
                  "active": latents["n_latent"] - latents["dead"],
                  "sparse": latents["n_latent"] - latents["dead"] - latents["dense"],
                  "all": latents["n_latent"]}
        for value, count in counts.items():
            choice.select_by_value(value)
            self.assertIn(f"of {count}" if count else "No latent", self.status())
        choice.select_by_value("dense")
        self.assertEqual(set(self.texts("table.latents tbody .flag")), {"dense"})

    def context(self, model, row):
        """The words around a row, from the JSON."""
        table = self.document["tables"][model["table"]]
        segment = [one for one in table["segments"]
                   if one["row"] <= row < one["row"] + len(one["tokens"])][0]
        at, width = row - segment["row"], self.document["context"]
        tokens = segment["tokens"][max(0, at - width):at + width + 1]
        return [self.document["strings"][token] for token in tokens]

    def test_search(self):
        model, latents = self.models[0], self.models[0]["latents"]
        box = self.one("#latent-search")
        box.send_keys("137")
        self.assertEqual(self.shown_latents()[0], 137)
        box.clear()
        box.send_keys("PHARAOH")
        expected = {latent for latent, flat in zip(latents["latent"], latents["examples"])
                    if any("pharaoh" in word for row in flat[::2] for word in self.context(model, row))}
        self.assertGreater(len(expected), 5)
        self.assertIn(f"of {len(expected)}", self.status())
        self.assertLessEqual(set(self.shown_latents()), expected)
        Select(self.one("#latent-where")).select_by_value("token")
        table = self.document["tables"][model["table"]]
        words = {segment["row"] + i: self.document["strings"][token] for segment in table["segments"]
                 for i, token in enumerate(segment["tokens"])}
        expected = {latent for latent, flat in zip(latents["latent"], latents["examples"])
                    if any("pharaoh" in words[row] for row in flat[::2])}
        self.assertEqual(set(self.shown_latents()), expected)
        box.clear()
        box.send_keys("no such words")
        self.assertEqual(self.status(), "No latent matches.")

    def test_latent_page(self):
        model, latents = self.models[0], self.models[0]["latents"]
        latent = next(i for i, flat in enumerate(latents["examples"]) if len(flat) == 20)
        box = self.one("#latent-search")
        box.send_keys(str(latent))
        self.press(self.all("table.latents tbody a")[0])
        self.until_latent(latent)
        values = [float(one.get_attribute("title")) for one in self.all(".examples .value")]
        self.assertEqual(values[0], latents["max"][latent])
        self.assertLessEqual(set(values), set(latents["examples"][latent][1::2]))
        # Every example is marked somewhere, in its own words.
        self.assertGreaterEqual(len(self.all(".examples mark")), 10)
        row = latents["examples"][latent][0]
        first = self.all(".examples .context")[0].text
        for word in self.context(model, row):
            self.assertIn(word.replace("##", "").replace("\u202e", "⟨202E⟩").replace("\n", "↵"), first)
        # Follow the nearest ones, and come back.
        nearest = latents["nearest"][latent]
        links = self.all(".nearest a")
        self.assertEqual([int(one.text.split()[1]) for one in links], nearest[::2])
        self.press(links[0])
        self.until_latent(nearest[0])
        self.driver.back()
        self.until_latent(latent)

    def test_other_model(self):
        Select(self.one("#latent-model")).select_by_value("1")
        latents = self.models[1]["latents"]
        self.assertIn("of topafa", self.one("article.latent").text)
        order = sorted(range(cli.LATENTS), key=lambda i: (-latents["frequency"][i], i))
        self.assertEqual(self.shown_latents(), order[:25])
        self.driver.get(pathlib.Path(self.page).as_uri() + "#latent-1-7")
        self.until_latent(7)

    def test_hostile_words(self):
        """They are texts: shown, harmless, and what turns or hides text is named."""
        box = self.one("#latent-search")
        box.send_keys("window.harmed")
        self.assertGreater(len(self.shown_latents()), 0)
        self.press(self.all("table.latents tbody a")[0])
        self.until(lambda: self.run_script("""return document.querySelector('article.latent').innerText
            .includes('window.harmed')"""), "the words")
        self.assertEqual(self.all("main img"), [])
        self.assertNotIn("\u202e", self.one("main").text)
        box.clear()
        box.send_keys("⟨202e⟩")
        self.assertGreater(len(self.shown_latents()), 0)

    # ---- long names ----

    def test_long_name(self):
        """A name of any length leaves the page its width and the figures beside it in sight."""
        name = "named after all that was set " * 5 + "without" * 10
        page = os.path.join(self.folder, "long.html")
        with open(self.page, encoding="utf-8") as file:
            text = file.read()
        self.assertEqual(len(re.findall('"name": ?"topk"', text)), 1)
        with open(page, "w", encoding="utf-8") as file:
            file.write(re.sub('"name": ?"topk"', f'"name":"{name}"', text))
        self.driver.get(pathlib.Path(page).as_uri())
        self.assertEqual(self.texts("#overview .choose")[0], name)
        for width in (400, 1280):
            self.show(width, "light")
            self.until(lambda: self.run_script("return document.documentElement.scrollWidth") <= width,
                       f"a page of {width} pixels")
            figures = self.all("#overview tbody td")[0]
            self.assertLess(figures.location["x"], width * 0.6)

    # ---- the keyboard ----

    def test_keyboard(self):
        expected = self.run_script(REACHABLE)
        self.run_script("window.getSelection().removeAllRanges(); document.activeElement.blur()")
        reached, hidden = set(), []
        for _ in range(expected + 5):
            self.driver.switch_to.active_element.send_keys(Keys.TAB)
            focused = self.driver.switch_to.active_element
            if focused.tag_name == "body":
                break
            reached.add(focused.id)
            outline = self.run_script("""const style = getComputedStyle(arguments[0]);
                return parseFloat(style.outlineWidth) > 0 && style.outlineStyle !== 'none'""", focused)
            if not outline:
                hidden.append(focused.get_attribute("outerHTML")[:100])
        self.assertEqual(len(reached), expected)
        self.assertEqual(hidden, [])

    def test_enter(self):
        """What the mouse does Enter and the space bar do as well."""
        self.one("#theme").send_keys(Keys.ENTER)
        self.assertEqual(self.one("#theme").get_attribute("aria-pressed"), "true")
        self.one("#theme").send_keys(Keys.SPACE)
        self.assertEqual(self.one("#theme").get_attribute("aria-pressed"), "false")
        self.one("[data-sort=max]").send_keys(Keys.ENTER)
        self.assertEqual(self.driver.switch_to.active_element.get_attribute("data-sort"), "max")
        link = self.all("table.latents tbody a")[4]
        latent = link.text
        link.send_keys(Keys.ENTER)
        self.until_latent(latent)
        summary = self.all("figure summary")[0]
        summary.send_keys(Keys.ENTER)
        self.until(lambda: self.all("figure td"), "the table")
        skip = self.one(".skip")
        skip.send_keys(Keys.ENTER)
        self.until(lambda: self.run_script("return document.activeElement.id") == "main", "main")


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
