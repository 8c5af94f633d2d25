"""warmup fills the cache: what follows, in another process, compiles nothing."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

import fastmlp
from fastmlp.kernels import JIT

RECORDED = """
    import json
    from numba.core import event
    with event.install_recorder("numba:compile") as recorder:
        {}
    print(json.dumps([str(record.data["dispatcher"]) for _, record in recorder.buffer if record.is_start]))
"""
WARMUP = "import fastmlp; fastmlp.warmup()"
USE_EVERYTHING = """
        import numpy as np
        from fastmlp import MLP
        X = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
        for options in ({}, {"output_activation": "softmax", "optimizer": "adam", "activation": "gelu", "alpha": 0.1}):
            mlp = MLP([5, 33, 2], random_state=0, **options)
            y = np.eye(2)[(X[:, 0] > 0).astype(int)]
            mlp.fit(X, y, epochs=2, batch_size=7, validation_data=(X, y))
            mlp.update_parameters(*mlp.backward(X, y, mlp.forward(X)))
            mlp.loss_and_gradients(X, y)
            mlp.predict(X[:1])
            mlp.activation_function(X, "softmax")
            mlp.activation_derivative(X, "mish")
"""


@pytest.mark.skipif(not JIT, reason="without the compiler there is nothing to compile")
def test_after_warmup_another_process_compiles_nothing(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def compiled_by(code):
        program = textwrap.dedent(RECORDED.replace("{}", code.strip()))
        command = [sys.executable, "-W", "error", "-c", program]
        return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)

    assert any("train" in name for name in compiled_by(WARMUP))
    assert compiled_by(USE_EVERYTHING) == []


def test_warmup_wants_a_precision():
    with pytest.raises(ValueError, match="dtype must be float32 or float64, got 'int8'"):
        fastmlp.warmup("int8")
