"""Measures fastmlp beside its rivals: ``python -m bench`` from the folder above, or ``pytest bench``.

Read in this order: workloads and parts (what is measured), contest and worker (how), training, prediction, estimators
and products (by whom), peak, machine and startup; report and figures only show.
"""
