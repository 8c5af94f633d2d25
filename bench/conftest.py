"""Prints, after the benchmarks, what they are for: ratios, with the error beside each."""


def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    rows = [b for b in session.benchmarks if b.stats.rounds] if session else []
    for b in rows:
        if b.group == "startup":
            seconds, error = b.extra_info["import_and_fit"], b.extra_info["error"]
            name = b.extra_info["contestant"]
            terminalreporter.write_line(f"import and first fit, {name}: {seconds:.2f} s, error {error:g}")
    rows = [b for b in rows if b.group != "startup"]
    for group in dict.fromkeys(b.group for b in rows):
        times = {b.extra_info["contestant"]: b.stats.min / b.extra_info["epochs"] for b in rows if b.group == group}
        errors = {b.extra_info["contestant"]: b.extra_info["error"] for b in rows if b.group == group}
        terminalreporter.section(f"{group}: best time of an epoch")
        columns = ("contestant", "ms", "error", "x numpy loop", "x scikit-learn")
        terminalreporter.write_line("{:<14}{:>10}{:>10}{:>14}{:>16}".format(*columns))
        for name, seconds in times.items():
            ratios = [
                f"{times[rival] / seconds:.1f}" if rival in times else "-" for rival in ("numpy loop", "scikit-learn")
            ]
            terminalreporter.write_line(
                f"{name:<14}{seconds * 1e3:>10.3f}{errors[name]:>10.1e}{ratios[0]:>14}{ratios[1]:>16}"
            )
