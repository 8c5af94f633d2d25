"""Time of an epoch of training, each contestant checked before it is timed."""

import pytest
from workloads import CONTESTANTS, WORKLOADS


@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_epoch(benchmark, workload, contestant):
    ready = CONTESTANTS[contestant](workload)
    assert ready.error <= ready.bound
    benchmark.group = workload.name
    benchmark.extra_info.update(contestant=contestant, error=ready.error, epochs=ready.epochs)
    benchmark.pedantic(ready.run, rounds=7 if workload.rows > 2000 else 30, warmup_rounds=1)
