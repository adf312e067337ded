#!/usr/bin/env python3
"""Whether tests/faults.txt has a line for every fault and the tests it names are there, and whether
every fault point of the sources is in the table of src/base/fault.c and in some test.

    faults.py SOURCE_FOLDER"""

import ast
import pathlib
import re
import sys

FAULTS = 57
# A number less of them than before is a mistake in this script, and not a clean result.
LEAST_POINTS = 40

root = pathlib.Path(sys.argv[1])
tests = root / "tests"
wrong = []


def names_of(path):
    """The tests in a file: Class.method, with what a class inherits in this file, or START_TESTs
    that are also added to a case."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".c":
        started = set(re.findall(r"^START_TEST\((\w+)\)", text, re.M))
        return started & set(re.findall(r"tcase_add_\w*test\(\w+, (\w+)[,)]", text))
    classes = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
            for base in node.bases:
                name = base.id if isinstance(base, ast.Name) else getattr(base, "attr", "")
                if isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name):
                    module = path.parent / f"{base.value.id}.py"
                    if module.exists():
                        methods |= {one.split(".")[1] for one in names_of(module)
                                    if one.startswith(f"{name}.")}
                methods |= classes.get(name, set())
            classes[node.name] = methods
    return {f"{name}.{method}" for name, methods in classes.items() for method in methods
            if method.startswith("test")}


def check_faults():
    known, found = {}, []
    for number, line in enumerate((tests / "faults.txt").read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        where = f"tests/faults.txt:{number}"
        parts = [part.strip() for part in line.split("|")]
        if len(parts) != 3 or not parts[0].isdigit() or not parts[1] or not parts[2]:
            wrong.append(f"{where}: is not NUMBER | what | tests")
            continue
        found.append(int(parts[0]))
        if parts[2].startswith("reason: "):
            continue
        for test in parts[2].split(", "):
            file, _, name = test.partition("::")
            path = tests / file
            if file not in known:
                known[file] = names_of(path) if path.is_file() else None
            if known[file] is None:
                wrong.append(f"{where}: there is no tests/{file}")
            elif name not in known[file]:
                wrong.append(f"{where}: tests/{file} has no test {name}")
    if found != list(range(1, FAULTS + 1)):
        wrong.append(f"tests/faults.txt: the numbers are {found}, not 1 to {FAULTS}, each once")


def check_points():
    table = (root / "src/base/fault.c").read_text()
    table = table[table.index("} points[] = {"):]
    points = re.findall(r'^    \{"([a-z0-9_.]+)", ', table[:table.index("};")], re.M)
    visited = set()
    for path in sorted((root / "src").rglob("*.[ch]")):
        for words in re.findall(r"\borth_(?:h5_)?fault(?:_fails)?\(([^;]*?)\)", path.read_text()):
            visited |= set(re.findall(r'"([a-z0-9_.]+)"', words))
        # what is injected there, and not looked at, would be told and not done
        wrong.extend(f"{path}: {name} takes effects, and this visit ignores them"
                     for name in re.findall(r'^ *orth_fault\("([a-z0-9_.]+)"\);', path.read_text(),
                                            re.M)
                     if f'{{"{name}", 0}}' not in table)
    used = "".join(path.read_text(encoding="utf-8") for path in sorted(tests.rglob("*"))
                   if path.suffix in (".py", ".c", ".sh"))
    wrong.extend(f"src/base/fault.c: {name} is twice in the table"
                 for name in {name for name in points if points.count(name) > 1})
    wrong.extend(f"{name}: a fault point that src/base/fault.c does not have"
                 for name in sorted(visited - set(points)))
    wrong.extend(f"{name}: in src/base/fault.c, and no source visits it"
                 for name in sorted(set(points) - visited))
    wrong.extend(f"{name}: a fault point that no test uses" for name in points
                 if not re.search(rf"(?<![\w.]){re.escape(name)}\b", used))
    if len(points) < LEAST_POINTS:
        wrong.append(f"src/base/fault.c: {len(points)} points were found, at least {LEAST_POINTS} "
                     "are there")


check_faults()
check_points()
for line in wrong:
    print(f"faults: {line}", file=sys.stderr)
sys.exit(bool(wrong))
