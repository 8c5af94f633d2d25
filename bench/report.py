"""Tables of what was measured: for the terminal, and in markdown for the README."""

from . import machine

_UNITS = {**dict.fromkeys(("training", "neighbours", "estimators", "growth"), ("ms", 1e3)), "startup": ("s", 1)}
_OTHER_UNIT = ("us", 1e6)


def is_rival(entry):
    return not entry["rival"].startswith("fastmlp")


def timed(case):
    return [entry for entry in case["entries"] if "seconds" in entry]


def best(case, rival):
    """The fastest entry of a rival, whatever the setting, or None."""
    return min((e for e in timed(case) if e["rival"] == rival), key=lambda e: e["seconds"], default=None)


def best_rival(case):
    return min(filter(is_rival, timed(case)), key=lambda e: e["seconds"], default=None)


def share(case, seconds, peak, threads="all"):
    """Of the peak of one or all threads."""
    roof = peak[threads] * 1e9 * (0.5 if case["dtype"] == "float64" else 1.0)
    return case["arithmetic"] / seconds / roof


def _grid(rows, names=1):
    """Lines of text; the first columns are names."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(w) if i >= names else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _significant(x):
    """Three digits."""
    return (
        f"{x:,.0f}" if x >= 100 else f"{x:.{2 if x < 10 else 1}f}" if x >= 1 else f"{x:.3f}" if x >= 0.1 else f"{x:.3g}"
    )


def _beside(result):
    """A line for each case of the kernels: the contestants of one thread beside each other."""
    names = list(dict.fromkeys(e["name"] for case in result["cases"] for e in case["entries"]))
    yield tuple(["", *(cell for name in names for cell in (name, "", ""))])
    yield tuple(["case", *("GFLOP/s", "% of peak", "error") * len(names)])
    for case in result["cases"]:
        row = [case["name"]]
        for e in case["entries"]:
            cells = "-", "-"
            if "seconds" in e:
                percent = 100 * share(case, e["seconds"], result["peak"], "one")
                cells = f"{case['arithmetic'] / e['seconds'] / 1e9:.1f}", f"{percent:.1f}"
            row += [*cells, "-" if e["error"] is None else f"{e['error']:.1e}"]
        yield tuple(row)


def lines(part, result):
    """The part for the terminal."""
    unit, scale = _UNITS.get(part, _OTHER_UNIT)
    if part == "startup":
        rows = [("", unit, "error of the loss")]
        for case in result["cases"]:
            rows.append(
                (case["name"], f"{case['seconds']:.3f}", "" if case["error"] is None else f"{case['error']:.1e}")
            )
        yield from _grid(rows)
        return
    if part == "kernels":
        yield from _grid(list(_beside(result)))
        return
    peak = result["peak"]
    rows = [("case", "contestant", unit, "error", "x the best rival", "% of peak", "GFLOP/s")]
    for case in result["cases"]:
        rival = best_rival(case)
        for i, e in enumerate(case["entries"]):
            name = "" if i else case["name"] if "axis" not in case else f"{case['axis']} {case['value']}"
            error = "" if e["error"] is None else f"{e['error']:.1e}"
            if "seconds" not in e:  # refused, and the log says why
                rows.append((name, e["name"], "-", error, "-", "-", "-"))
                continue
            seconds = e["seconds"]
            ratio = f"{rival['seconds'] / seconds:.2f}" if rival else "-"
            percent = f"{100 * share(case, seconds, peak):.1f}"
            rows.append((
                name, e["name"], _significant(seconds * scale), error, ratio, percent,
                f"{case['arithmetic'] / seconds / 1e9:.1f}",
            ))  # fmt: skip
    yield from _grid(rows, names=2)


# --- markdown ------------------------------------------------------------------------------------------------------


def _markdown(header, rows):
    yield "| " + " | ".join(header) + " |"
    yield "|---" * len(header) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _cell(entry, scale):
    return "-" if entry is None else f"{_significant(entry['seconds'] * scale)} ({entry['error']:.0e})"


def _contest_table(cases, rivals, scale, peak=None):
    """A row for each case: every rival's time and error, and how fastmlp stands to the best of them."""
    rows = []
    for case in cases:
        ours, rival = best(case, "fastmlp"), best_rival(case)
        cells = [_cell(best(case, name), scale) for name in rivals]
        ratio = f"**{rival['seconds'] / ours['seconds']:.2g}**" if ours and rival else "-"
        details = f": {case['description']}" if case["description"] != case["name"] else ""
        percent = [f"{100 * share(case, ours['seconds'], peak):.0f} %"] if peak and ours else []
        rows.append((case["name"] + details, *cells, ratio, *percent))
    return rows


def _rivals(cases):
    return list(dict.fromkeys(e["rival"] for case in cases for e in timed(case)))


def markdown(results):
    """The README's tables, from what a JSON file holds."""
    parts = results["parts"]
    versions = ", ".join(f"{name} {v}" for name, v in results["machine"]["versions"].items())
    yield f"{machine.line(results['machine'])}; {versions}."
    for part, title in (("training", "an epoch of"), ("neighbours", "an epoch of")):
        if part in parts:
            cases, peak = parts[part]["cases"], parts[part]["peak"]
            roof = f"{peak['all']:.0f} GFLOP/s, {peak['one']:.0f} of one core"
            yield f"\nTraining, ms an epoch (error); the float32 peak is {roof}:\n"
            rivals = _rivals(cases)
            yield from _markdown([title, *rivals, "x best rival", "of peak"], _contest_table(cases, rivals, 1e3, peak))
    if "prediction" in parts:
        cases = parts["prediction"]["cases"]
        rivals = _rivals(cases)
        yield "\nPrediction, float32, us a call (error):\n"
        yield from _markdown(["", *rivals, "x best rival"], _contest_table(cases, rivals, 1e6))
    if "estimators" in parts:
        cases = parts["estimators"]["cases"]
        rivals = _rivals(cases)
        yield "\nEstimators with the same parameters, ms (error):\n"
        yield from _markdown(["", *rivals, "x scikit-learn"], _contest_table(cases, rivals, 1e3))
    if "startup" in parts:
        yield "\nStart-up:\n"
        yield from _markdown(["", "s"], [(c["name"], f"{c['seconds']:.2f}") for c in parts["startup"]["cases"]])
