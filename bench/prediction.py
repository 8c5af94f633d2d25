"""Who predicts: NumPy rows in, NumPy outputs back, as a program that serves a network calls it."""

from functools import cache, partial
from importlib import import_module

import numpy as np

from fastmlp.reference import layer_views

from .contest import Contestant, repeat
from .workloads import fitted

_ROWS_TOGETHER = 256  # that go through all layers of a compiled caller's network while they are in the cache


def prepare(predictor, case):
    predict, X = predictor(case), case.data()
    return predict(X), repeat(lambda: predict(X))


def _layers(case):
    return list(zip(*layer_views(case.start(), case.layer_sizes), strict=True))


def _network(case):
    from fastmlp import MLP

    model = MLP(case.layer_sizes, case.activation, case.output, dtype=case.dtype, random_state=0)
    model.parameters = case.start()
    return model


def fastmlp(case):
    return _network(case).predict


@cache
def _compiled_loop():
    from numba import njit

    from fastmlp.kernels.backprop import infer

    @njit
    def loop(times, x, network, out):
        for _ in range(times):
            infer(x, *network, out)

    return loop


def compiled(case):
    """From the user's own compiled code; `run` is a compiled loop."""
    loop = _compiled_loop()
    x, network = case.data().ravel(), _network(case).compiled_arguments(min(case.rows, _ROWS_TOGETHER))
    out = np.zeros(case.rows * case.layer_sizes[-1], case.dtype)
    loop(1, x, network, out)
    return out.reshape(case.rows, -1).copy(), lambda times: loop(times, x, network, out)


def onnx_runtime(case, threads=0):
    """A graph of Gemm and activations; `threads` within an operator, 0 being the default."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights, x = [], [], "x"
    layers = _layers(case)
    names = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "softmax": "Softmax"}
    activations = [case.activation] * (len(layers) - 1) + [case.output]
    for l, ((W, b), activation) in enumerate(zip(layers, activations, strict=True)):
        weights += [numpy_helper.from_array(W, f"W{l}"), numpy_helper.from_array(b[0], f"b{l}")]
        nodes.append(helper.make_node("Gemm", [x, f"W{l}", f"b{l}"], [f"z{l}"]))
        nodes.append(helper.make_node(names[activation], [f"z{l}"], [f"a{l}"]))
        x = f"a{l}"
    inputs, outputs = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, size])
        for name, size in (("x", case.layer_sizes[0]), (x, case.layer_sizes[-1]))
    )
    graph = helper.make_graph(nodes, "mlp", [inputs], [outputs], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda X: session.run(None, {"x": X})[0]


def pytorch(case):
    import torch
    from torch.nn import Linear, ReLU, Sequential, Sigmoid, Softmax, Tanh

    kinds = {"relu": ReLU, "tanh": Tanh, "sigmoid": Sigmoid, "softmax": partial(Softmax, dim=1)}
    layers = []
    for W, b in _layers(case):
        linear = Linear(*W.shape)
        linear.weight.data, linear.bias.data = torch.from_numpy(W.T.copy()), torch.from_numpy(b[0])
        layers += [linear, kinds[case.activation]()]
    network = Sequential(*layers[:-1], kinds[case.output]()).eval()

    @torch.inference_mode()
    def predict(X):
        return network(torch.from_numpy(X)).numpy()

    return predict


def estimator(home, case):
    """A fitted MLPClassifier of the module `home`."""
    k = case.layer_sizes[-1]
    model = import_module(home).MLPClassifier(case.layer_sizes[1:-1], activation=case.activation, max_iter=1)
    model = fitted(model, np.zeros((2 * k + 2, case.layer_sizes[0]), case.dtype), np.arange(2 * k + 2) % max(k, 2))
    for l, (W, b) in enumerate(_layers(case)):
        model.coefs_[l], model.intercepts_[l] = W, b[0]
    return model.predict_proba if k > 1 else lambda X: model.predict_proba(X)[:, 1:]


CONTESTANTS = (
    Contestant("fastmlp", partial(prepare, fastmlp), "fastmlp"),
    Contestant("fastmlp, compiled caller", compiled, "fastmlp"),
    Contestant("ONNX Runtime", partial(prepare, onnx_runtime), "onnxruntime"),
    Contestant("ONNX Runtime", partial(prepare, partial(onnx_runtime, threads=1)), "onnxruntime", setting="1 thread"),
    Contestant("PyTorch", partial(prepare, pytorch), "torch"),
    Contestant("PyTorch", partial(prepare, pytorch), "torch", setting="1 core", cores=1),
    Contestant("scikit-learn", partial(prepare, partial(estimator, "sklearn.neural_network")), "sklearn"),
)
