"""Measures fastmlp beside its rivals: ``python -m bench`` from the folder above, or ``pytest bench``.

Read in this order: workloads (what is measured), contest and worker (how), training, prediction and products (by whom),
peak and startup; report and figures only show.
"""
