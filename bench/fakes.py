"""Contestants for the tests of the measuring; in a file of their own, since workers import it."""

import os

import numpy as np


def work(times):
    for _ in range(times):
        sum(range(1000))


def right(case):
    return case.expected().astype(np.float32), work


def off(case):
    return case.expected() * (1 + 1e-4), work


def nan(case):
    return case.expected() * np.nan, work


def other_shape(case):
    return case.expected().ravel(), work


def unable(case):
    raise NotImplementedError("products")


def broken(case):
    raise ValueError("something else")


def dead(case):
    os._exit(3)


def chatty(case):
    os.write(1, b"from a library")
    print("from Python")
    return right(case)


def environment(case):
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    return ({**os.environ}, affinity), work
