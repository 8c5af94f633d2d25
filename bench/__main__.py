"""Prints what bench measures, and writes it as JSON and figures. See ``python -m bench --help``."""

import argparse
import json
import sys
import time
from pathlib import Path

from . import figures, machine, peak, report
from .contest import cores, is_wrong
from .parts import PARTS


def _arguments(given):
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("bench/results"), help="for JSON and figures")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas: %(default)s")
    parser.add_argument("--smoke", action="store_true", help="everything tiny and checked, nothing timed or written")
    parser.add_argument("--table", type=Path, metavar="JSON", help="print the README's tables from a file, no more")
    arguments = parser.parse_args(given)
    arguments.parts = arguments.only.split(",")
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return arguments


def main(arguments=None):
    arguments = _arguments(arguments)
    if arguments.table:
        print("\n".join(report.markdown(json.loads(arguments.table.read_text()))))
        return 0
    path = arguments.folder / "results.json"
    here = machine.describe()
    print(machine.line(here))
    print(", ".join(f"{name} {version}" for name, version in here["versions"].items()))
    results = json.loads(path.read_text()) if path.exists() else {}
    if results.get("machine") != here:  # parts measured elsewhere, or with other versions, are not kept
        results = {"machine": here, "parts": {}}
    wrong = []
    for part in arguments.parts:
        start = time.perf_counter()
        gflops = {} if arguments.smoke else {"one": peak.gflops(1), "all": peak.gflops(cores())}
        cases = PARTS[part](arguments.smoke, log=print)
        wrong += [entry for case in cases for entry in case.get("entries", ()) if is_wrong(entry)]
        if arguments.smoke:
            print(f"{part}: {sum(len(case.get('entries', [case])) for case in cases)} results checked")
            continue
        result = {"date": time.strftime("%Y-%m-%d %H:%M:%S"), "peak": gflops, "cases": cases}
        print(f"\n{part} ({time.perf_counter() - start:.0f} s); peak {gflops['one']:.0f} GFLOP/s of one core,", end=" ")
        print(f"{gflops['all']:.0f} of {cores()}, float32")
        print("\n".join(report.lines(part, result)))
        results["parts"][part] = result
        arguments.folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1))
    if not arguments.smoke:
        for written in (path, *figures.draw(results, arguments.folder)):
            print(f"written: {written}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
