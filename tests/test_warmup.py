"""warmup compiles, or loads from the cache, all that float32 (or float64) networks and estimators will call."""

import json
import subprocess
import sys
import textwrap

import pytest

import fastmlp
from fastmlp.kernels import JIT

pytestmark = pytest.mark.once

COUNT = """
    import json, sys, warnings
    import numpy as np
    import scipy.sparse
    import fastmlp
    from fastmlp.kernels import activations, backprop, training

    def signatures():
        modules = activations, backprop, training
        kernels = {f"{m.__name__}.{n}": f for m in modules for n, f in vars(m).items() if hasattr(f, "signatures")}
        entries = {name: f for name, f in kernels.items() if "no_cpython_wrapper" not in f.targetoptions}
        return {name: len(f.signatures) for name, f in entries.items()}

    counts = [signatures()]
    fastmlp.warmup(sys.argv[1])
    counts.append(signatures())
    X = np.random.default_rng(0).standard_normal((40, 5)).astype(sys.argv[1])
    for options in ({}, {"output_activation": "softmax", "optimizer": "adam", "activation": "gelu", "alpha": 0.1}):
        mlp = fastmlp.MLP([5, 33, 2], random_state=0, dtype=sys.argv[1], **options)
        y = np.eye(2)[(X[:, 0] > 0).astype(int)]
        mlp.fit(X, y, epochs=2, batch_size=7, validation_data=(X, y))
        mlp.update_parameters(*mlp.backward(X, y, mlp.forward(X)))
        mlp.loss_and_gradients(X, y)
        mlp.predict(X[:1])
        mlp.activation_function(X, "softmax")
        mlp.activation_derivative(X, "mish")
    warnings.simplefilter("ignore")  # too few epochs
    labels = y.argmax(axis=1)
    for x in (X, scipy.sparse.csr_array(X)):
        model = fastmlp.MLPClassifier(max_iter=2, early_stopping=True, dropout=0.1, clip_norm=1.0)
        model.fit(x, labels, sample_weight=np.linspace(1, 2, 40)).predict(x)
    counts.append(signatures())
    print(json.dumps(counts))
"""


@pytest.mark.skipif(not JIT, reason="without the compiler there is nothing to compile")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_after_warmup_nothing_is_compiled(dtype):
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(COUNT), dtype]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    before, warm, after = json.loads(output)
    assert len(warm) >= 7
    assert set(before.values()) == {0}
    assert set(warm.values()) == {1}  # every kernel that Python calls, once
    assert after == warm


def test_warmup_wants_a_precision():
    with pytest.raises(ValueError, match="dtype must be float32 or float64, got 'int8'"):
        fastmlp.warmup("int8")
