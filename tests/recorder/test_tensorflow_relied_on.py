"""What the recorder relies on in TensorFlow's and Keras' private parts: a test per touch of `tf_hooks`, `keras_hooks`.

A new TensorFlow that changes one of these breaks one test here, and its name says what to mend.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tfdiff.recorder.patching import Patches

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def patches(tf) -> Iterator[Patches]:  # noqa: ARG001 - what is patched must be imported
    """Patches that are taken back."""
    made = Patches()
    yield made
    made.undo()


@contextlib.contextmanager
def callback(function) -> Iterator[None]:
    """An op callback."""
    from tensorflow.python.framework import op_callbacks

    op_callbacks.add_op_callback(function)
    try:
        yield
    finally:
        op_callbacks.remove_op_callback(function)


def spy(patches: Patches, owner: Any, name: str, seen: list) -> None:
    """Note the arguments of every call and its result."""

    def make(original):
        def replacement(*args, **kwargs):
            result = original(*args, **kwargs)
            seen.append((args, kwargs, result))
            return result

        return replacement

    patches.wrap(owner, name, make)


# -- op callbacks ------------------------------------------------------------------------------------------------------


def test_op_callback_sees_eager_ops(tf):
    """`callback(op_type, inputs, attrs, outputs, op_name, graph)`: str or bytes, no graph, attrs as a flat list."""
    seen = []
    a, b = tf.ones((2, 3)), tf.ones((3, 4))

    def note(op_type, inputs, attrs, outputs, op_name=None, graph=None):
        seen.append((op_type, inputs, attrs, outputs, op_name, graph))

    with callback(note):
        product = tf.matmul(a, b, transpose_a=False)
    (op_type, inputs, attrs, outputs, _, graph) = seen[-1]
    assert op_type in ("MatMul", b"MatMul")
    assert [t._id for t in inputs] == [a._id, b._id]
    assert [t._id for t in outputs] == [product._id]
    assert graph is None
    assert dict(zip(attrs[::2], attrs[1::2], strict=True))["transpose_a"] is False


def test_op_callback_changes_eager_outputs_in_place(tf):
    """`outputs` of an eager op is the list that goes on: an element replaced in it is what the caller gets."""

    def replace(op_type, inputs, attrs, outputs, op_name=None, graph=None):  # noqa: ARG001
        if op_type in ("Relu", b"Relu"):
            outputs[0] = other

    other = tf.constant([7.0])
    with callback(replace):
        got = tf.nn.relu(tf.constant([1.0]))
    assert got is other


def test_exchange_on_the_tape(tf):
    """An op that C++ executes is on the tape when its callback comes: an operation recorded there goes on from it.

    Its own gradient is given what stands in the list of its outputs by then: the tensor that went on.
    """
    from tensorflow.python import pywrap_tfe
    from tensorflow.python.eager import record

    other, seen = tf.constant([7.0, 8.0]), []

    def back(gradient):
        seen.append(gradient.numpy().tolist())
        return [tf.constant([10.0, 20.0])]

    def exchange(op_type, inputs, attrs, outputs, op_name=None, graph=None):  # noqa: ARG001
        if op_type in ("Relu", b"Relu"):
            assert pywrap_tfe.TFE_Py_TapeSetShouldRecordBackprop([outputs[0]])
            record.record_operation("Forced", [other], [outputs[0]], back)
            outputs[0] = other

    x = tf.Variable([1.0, -1.0])
    with callback(exchange), tf.GradientTape() as tape:
        y = tf.reduce_sum(3.0 * tf.nn.relu(x))
    assert float(y) == 45.0
    onward, own = tape.gradient(y, [other, x])
    assert onward.numpy().tolist() == [3.0, 3.0]
    assert own.numpy().tolist() == [10.0, 20.0]
    assert seen == [[3.0, 3.0]]


def test_python_records_behind_the_callback(tf, patches):
    """An op that Python executes, and one that is traced under a tape, comes onto the tape behind its callback, through
    `execute.record_gradient`, with the tensors that the callback left.
    """
    from tensorflow.python import pywrap_tfe
    from tensorflow.python.eager import context, execute
    from tensorflow.python.ops import gen_nn_ops

    seen, made = [], []

    def exchange(op_type, inputs, attrs, outputs, op_name=None, graph=None):  # noqa: ARG001
        if op_type not in ("Relu", b"Relu"):
            return None
        assert not pywrap_tfe.TFE_Py_TapeSetShouldRecordBackprop([outputs[0]])
        with tf.init_scope() if graph is None else graph.as_default():
            made.append(tf.identity(outputs[0]))
        if graph is not None:
            return [made[-1]]
        outputs[0] = made[-1]
        return None

    spy(patches, execute, "record_gradient", seen)
    x = tf.Variable([1.0, -1.0])

    @tf.function
    def function():
        with tf.GradientTape():
            return tf.nn.relu(x.read_value())

    with callback(exchange):
        with tf.GradientTape():
            gen_nn_ops.relu_eager_fallback(x.read_value(), name=None, ctx=context.context())
        function.get_concrete_function()
    recorded = [args[3] for args, _, _ in seen if args[0] == "Relu"]
    assert [outputs[0] is other for outputs, other in zip(recorded, made, strict=True)] == [True, True]


def test_host_function_with_a_gradient(tf):
    """`tf.custom_gradient` in a graph ends in an `IdentityN` that hands on the host function's tensor first."""

    @tf.custom_gradient
    def exchange(x):
        return tf.numpy_function(lambda v: v + 1.0, [x], tf.float32), lambda dy: 5.0 * dy

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.constant([1.0, 2.0])
        y = exchange(x)
        assert y.op.type == "IdentityN"
        assert [t.op.type for t in y.op.inputs] == ["PyFunc", "Const"]
        (gradient,) = tf.gradients(tf.reduce_sum(y), [x])
        assert [value.tolist() for value in session.run([y, gradient])] == [[2.0, 3.0], [5.0, 5.0]]


def test_op_callback_in_a_graph(tf):
    """While a function is traced the callback gets the FuncGraph; what it returns replaces the outputs."""
    seen = []

    def replace(op_type, inputs, attrs, outputs, op_name=None, graph=None):  # noqa: ARG001
        if graph is not None and op_type in ("Relu", b"Relu"):
            seen.append((graph, op_name, outputs))
            with graph.as_default():
                return [tf.add(outputs[0], 1.0)]
        return None

    @tf.function
    def function(x):
        return tf.nn.relu(x)

    with callback(replace):
        result = function(tf.constant([1.0]))
    assert result.numpy().tolist() == [2.0]
    graph, name, outputs = seen[0]
    assert hasattr(graph, "captures")
    name = name.decode() if isinstance(name, bytes) else name
    assert graph.get_operation_by_name(name) is outputs[0].op


def test_op_callback_ids_are_unique(tf):
    """`tensor._id` never names two tensors, eager or symbolic: the recorder joins ops by it."""
    ids, alive = [], []

    def note(op_type, inputs, attrs, outputs, op_name=None, graph=None):  # noqa: ARG001
        alive.extend(outputs)
        ids.extend(t._id for t in outputs)

    @tf.function
    def function(x):
        return tf.nn.relu(x) + 1.0

    with callback(note):
        x = tf.constant([1.0])
        for _ in range(3):
            x = function(x) * 2.0
    assert len(ids) > 5
    assert len(set(ids)) == len({id(t) for t in alive}) == len(alive)


def test_op_callback_is_of_one_thread(tf):
    """Another thread (tf.data, a user's worker) does not call it."""
    import threading

    seen: list[object] = []
    with callback(lambda *arguments, **_: seen.append(arguments)):
        thread = threading.Thread(target=lambda: tf.nn.relu(tf.constant([1.0])))
        thread.start()
        thread.join()
    assert seen == []


# -- compiled functions ------------------------------------------------------------------------------------------------


def test_call_flat_runs_every_compiled_function(tf, patches):
    """`AtomicFunction.call_flat(self, *tensors)` is reached by each execution, returns flat results; `name`: bytes."""
    from tensorflow.python.eager.polymorphic_function import atomic_function

    seen: list[Any] = []
    spy(patches, atomic_function.AtomicFunction, "call_flat", seen)

    @tf.function
    def function(x):
        return {"b": x + 1.0, "a": x * 2.0}

    x = tf.constant([3.0])
    function(x)
    function(x)
    assert len(seen) == 2
    (self, *arguments), options, results = seen[-1]
    assert isinstance(self.name, bytes)
    assert options == {}
    assert arguments[0]._id == x._id
    assert [t.numpy().tolist() for t in results] == [[6.0], [4.0]]


def test_from_func_graph_defines_every_compiled_function(tf, patches):
    """`atomic_function.from_func_graph(name, graph, ...)` is looked up in its module for each function made."""
    from tensorflow.python.eager.polymorphic_function import atomic_function

    made: list[Any] = []
    called: list[Any] = []
    spy(patches, atomic_function, "from_func_graph", made)
    spy(patches, atomic_function.AtomicFunction, "call_flat", called)
    w = tf.Variable([2.0])

    @tf.function
    def function(x):
        return tf.square(w * x)

    with tf.GradientTape() as tape:
        y = function(tf.constant([3.0]))
    tape.gradient(y, w)
    names = [n.decode() if isinstance(n, bytes) else n for (n, *_), _, _ in made]
    executed = [self.name.decode() for (self, *_), _, _ in called]
    assert len(executed) == 2
    assert set(executed) <= set(names)
    graph = made[0][0][1]
    assert len(graph.inputs) == 2
    assert len(graph.outputs) >= 1


def test_control_outputs_run_although_nobody_uses_them(tf, patches):
    """What is added to `FuncGraph.control_outputs` before `from_func_graph` runs with the function: taps hang on it."""
    from tensorflow.python.eager.polymorphic_function import atomic_function
    from tensorflow.python.framework import func_graph

    hits = tf.Variable(0.0)

    def make(original):
        def from_func_graph(name, graph, *args, **kwargs):
            graph.control_outputs.extend(op for op in graph.get_operations() if op.type == "AssignAddVariableOp")
            return original(name, graph, *args, **kwargs)

        return from_func_graph

    patches.wrap(atomic_function, "from_func_graph", make)

    def body(x):
        hits.assign_add(1.0)
        return x + 1.0

    # without automatic control dependencies, as backward functions are built
    options = {"add_control_dependencies": False}
    graph = func_graph.func_graph_from_py_func("f", body, (tf.TensorSpec([]),), {}, **options)
    assert graph.control_outputs == []
    function = atomic_function.from_func_graph("f_with_control_outputs", graph, {})
    function.call_flat(tf.constant(1.0), *graph.external_captures)
    assert hits.numpy() == 1.0


def test_queues_carry_values_out_of_a_function(tf):
    """A FIFO queue of (tag, any shape) takes tensors from inside a loop of a function, in order, without limit."""
    queue = tf.queue.FIFOQueue(-1, [tf.int64, tf.float32], shapes=None)

    @tf.function
    def function(n):
        for i in tf.range(n):
            queue.enqueue([tf.constant(5, tf.int64), tf.ones(i)])

    function(tf.constant(40))
    assert int(queue.size()) == 40
    assert [queue.dequeue()[1].shape[0] for _ in range(3)] == [0, 1, 2]


def test_control_flow_ops_name_their_functions(tf):
    """If and While ops carry their branches' names as attributes; gradients may rewrite the op: it is asked late."""
    w = tf.Variable(2.0)

    @tf.function
    def function(x):
        y = tf.cond(x > 0, lambda: w * x, lambda: x)
        for _ in tf.range(2):
            y = y * w
        return y

    graph = function.get_concrete_function(tf.TensorSpec([])).graph
    kinds = {op.type: op for op in graph.get_operations()}
    branch = kinds.get("StatelessIf") or kinds["If"]
    loop = kinds.get("StatelessWhile") or kinds["While"]
    assert branch.get_attr("then_branch").name
    assert branch.get_attr("else_branch").name
    assert loop.get_attr("body").name
    assert len(loop.inputs) == len(loop.outputs)


def test_function_keeps_jit_compile(tf):
    """`Function._jit_compile` says whether XLA is wanted and is read at the first call; `_name` is the name."""
    from tensorflow.python.eager.polymorphic_function import polymorphic_function

    @tf.function(jit_compile=True)
    def function(x):
        return x + 1.0

    assert isinstance(function, polymorphic_function.Function)
    assert (function._jit_compile, function._name) == (True, "function")
    function._jit_compile = None
    concrete = function.get_concrete_function(tf.TensorSpec([]))
    assert not concrete.function_def.attr["_XlaMustCompile"].b


def test_dataset_functions_are_traced_under_structured_function(tf):
    """Functions given to tf.data are traced below a file of that name: they run in other threads, never tapped."""
    from tfdiff.recorder.attributes import under_dataset

    inside = []

    def function(x):
        inside.append(under_dataset())
        return x

    tf.data.Dataset.range(3).map(function)
    assert inside
    assert all(inside)
    assert not under_dataset()


def test_dataset_next_ops(tf):
    """Iterating a dataset reports IteratorGetNext or IteratorGetNextSync, in eager loops and in functions."""
    from tfdiff.recorder.stream import NEXT_OPS

    seen: list[str] = []
    rows = tf.data.Dataset.from_tensor_slices(np.arange(4.0)).batch(2)

    @tf.function
    def function(iterator):
        return next(iterator)

    with callback(lambda kind, *_, **__: seen.append(kind.decode() if isinstance(kind, bytes) else kind)):
        for _ in rows:
            pass
        eager = len(seen)
        function(iter(rows))
    assert NEXT_OPS & set(seen[:eager])
    assert NEXT_OPS & set(seen[eager:])


# -- tapes -------------------------------------------------------------------------------------------------------------


def test_tape_pushes_and_pops_through_its_methods(tf, patches):
    """`with GradientTape()` and `stop_recording` go through `_push_tape` and `_pop_tape`, one for one."""
    from tensorflow.python.eager import backprop

    pushed: list[Any] = []
    popped: list[Any] = []
    spy(patches, backprop.GradientTape, "_push_tape", pushed)
    spy(patches, backprop.GradientTape, "_pop_tape", popped)
    with tf.GradientTape() as tape:
        assert (len(pushed), len(popped)) == (1, 0)
        with tape.stop_recording():
            assert len(popped) == 1
    assert (len(pushed), len(popped)) == (2, 2)


def test_tape_gradient_takes_more_sources(tf):
    """`GradientTape.gradient` may be asked for intermediate tensors too: the weights' gradients keep every bit."""
    w = tf.Variable(np.random.RandomState(0).normal(size=(5, 3)).astype("float32"))
    x = tf.constant(np.random.RandomState(1).normal(size=(4, 5)).astype("float32"))

    def run(more):
        with tf.GradientTape() as tape:
            h = tf.nn.tanh(x @ w)
            loss = tf.reduce_mean(tf.square(h))
        return tape.gradient(loss, [w, h] if more else [w])

    alone, both = run(more=False), run(more=True)
    assert np.array_equal(alone[0], both[0])
    assert both[1].shape == (4, 3)


def test_gradient_functions_are_looked_up_in_ops(tf, patches):
    """Backward graphs ask `ops.get_gradient_function(op)` for each forward op and call what it returns."""
    from tensorflow.python.framework import ops

    seen = []

    def make(original):
        def get_gradient_function(op):
            function = original(op)

            def gradient(op, *gradients):
                seen.append((op.type, len(gradients), hasattr(op.graph, "captures"), op.outputs[0]._id))
                return function(op, *gradients)

            return gradient

        return get_gradient_function

    patches.wrap(ops, "get_gradient_function", make)
    w = tf.Variable([2.0])

    @tf.function
    def function(x):
        return tf.nn.relu(w * x)

    with tf.GradientTape() as tape:
        y = function(tf.constant([3.0]))
    assert tape.gradient(y, w).numpy().tolist() == [3.0]
    assert ("Relu", 1, True) in [found[:3] for found in seen]


# -- variables and arrays ----------------------------------------------------------------------------------------------


def test_every_variable_passes_the_base_class(tf, patches):
    """`BaseResourceVariable.__init__` makes each tf.Variable; afterwards it has an eager handle whose id stays."""
    from tensorflow.python.ops import resource_variable_ops

    seen: list[Any] = []
    spy(patches, resource_variable_ops.BaseResourceVariable, "__init__", seen)
    made = [tf.Variable([1.0]), tf.keras.Variable(np.ones(2, "float32")).value]
    made.append(tf.keras.layers.Dense(1))
    made[-1].build((None, 2))
    variables = [args[0] for args, _, _ in seen]
    assert len(variables) == 4
    assert made[0] is variables[0]
    before = made[0].handle._id
    made[0].assign([2.0])
    assert made[0].handle._id == before
    assert all(hasattr(v.handle, "numpy") for v in variables)


def test_variables_are_found_by_the_collector(tf):
    """`gc.get_objects` holds every variable, so that `tfdiff.record` may begin after they were made."""
    from tensorflow.python.ops import resource_variable_ops

    variable = tf.Variable([1.0])
    assert any(v is variable for v in gc.get_objects() if isinstance(v, resource_variable_ops.BaseResourceVariable))


def test_assign_ops_have_the_handle_first(tf):
    """Each way to write a variable is an op whose first input is the handle."""
    from tfdiff.recorder.stream import is_update

    seen = []
    variable = tf.Variable([1.0, 2.0])
    with callback(
        lambda kind, inputs, *_, **__: seen.append((kind.decode() if isinstance(kind, bytes) else kind, inputs))
    ):
        variable.assign([2.0, 3.0])
        variable.assign_add([2.0, 3.0])
        variable.assign_sub([2.0, 3.0])
        variable.scatter_add(tf.IndexedSlices(tf.constant([1.0]), tf.constant([1])))
    writes = [(kind, inputs[0]._id) for kind, inputs in seen if is_update(kind)]
    assert writes == [
        (kind, variable.handle._id)
        for kind in ("AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp", "ResourceScatterAdd")
    ]


def test_arrays_become_tensors_through_constant_op(tf, patches):
    """`constant_op.convert_to_eager_tensor(value, ctx, dtype)` is behind `tf.constant` and `tf.convert_to_tensor`."""
    from tensorflow.python.framework import constant_op

    seen: list[Any] = []
    spy(patches, constant_op, "convert_to_eager_tensor", seen)
    array = np.ones(3, "float32")
    made = [tf.constant(array), tf.convert_to_tensor(array)]
    assert [args[0] is array for args, _, _ in seen] == [True, True]
    assert [result._id for _, _, result in seen] == [t._id for t in made]
    assert all(len(args) in (2, 3) and not kwargs for args, kwargs, _ in seen)


def test_arrays_given_to_ops_pass_the_fast_path(tf, patches):
    """`pywrap_tfe.TFE_Py_FastPathExecute(ctx, op_name, name, *args)` gets arrays handed to an op itself."""
    from tensorflow.python import pywrap_tfe

    seen: list[Any] = []
    spy(patches, pywrap_tfe, "TFE_Py_FastPathExecute", seen)
    array, w = np.ones((2, 3), "float32"), tf.Variable(np.ones((3, 4), "float32"))
    tf.raw_ops.MatMul(a=array, b=w)
    (context, name, _, *arguments), _, _ = seen[-1]
    assert context is not None
    assert name == "MatMul"
    assert arguments[0] is array


def test_dataset_from_arrays(tf, patches):
    """`DatasetV2.from_tensor_slices` is the static method behind `Dataset.from_tensor_slices`, and stays static."""
    from tensorflow.python.data.ops import dataset_ops

    seen: list[Any] = []
    spy(patches, dataset_ops.DatasetV2, "from_tensor_slices", seen)
    array = np.ones((4, 2), "float32")
    rows = tf.data.Dataset.from_tensor_slices((array, array[:, 0]))
    assert rows.cardinality().numpy() == 4
    (((first, _),), _, _) = seen[0]
    assert first is array


def test_handle_data_knows_the_dtype(tf):
    """The handle's data tell the dtype of its variable, also for a captured handle inside a function."""
    from tensorflow.python.ops import handle_data_util

    variable, found = tf.Variable(np.ones(2, "float64")), []

    @tf.function
    def function():
        variable.assign_add([1.0, 1.0])
        graph = tf.compat.v1.get_default_graph()
        (op,) = (op for op in graph.get_operations() if op.type == "AssignAddVariableOp")
        found.append(handle_data_util.get_resource_handle_data(op.inputs[0]))

    function()
    assert found[0].is_set
    assert found[0].shape_and_type[0].dtype == tf.float64.as_datatype_enum


def test_public_names(tf):
    """Exported functions carry `_tf_api_names`, on the function or on what its decorators wrap."""
    from tensorflow.python.ops import gen_nn_ops, math_ops, nn_ops

    for function, name in (
        (nn_ops.dropout_v2, "nn.dropout"),
        (math_ops.matmul, "matmul"),
        (gen_nn_ops.relu, "nn.relu"),
    ):
        assert name in inspect.unwrap(function)._tf_api_names
    assert tf.nn.dropout is nn_ops.dropout_v2


def test_stack_mapper_leads_back_from_autograph(tf):
    """`tf_stack.extract_stack` names the user's own lines where autograph runs a generated file."""
    from tensorflow.python.util import tf_stack

    files = []

    @tf.function
    def function(x):
        if x > 0:  # converted
            x = x + 1.0
        files.append([s.filename for s in tf_stack.extract_stack()])
        return x

    function(tf.constant(1.0))
    assert __file__ in files[0]


# -- Keras -------------------------------------------------------------------------------------------------------------


def test_keras_layers_pass_the_base_class(tf, patches):
    """Every layer and model call goes through `Layer.__call__`, nested ones inside their model's."""
    from keras.src.layers.layer import Layer

    order: list[str] = []

    def make(original):
        def replacement(self, *args, **kwargs):
            order.append(self.name)
            return original(self, *args, **kwargs)

        return replacement

    model = tf.keras.Sequential([tf.keras.layers.Dense(2, name="d"), tf.keras.layers.ReLU(name="r")], name="m")
    model.build((None, 3))
    patches.wrap(Layer, "__call__", make)
    model(tf.ones((1, 3)))
    assert order[0] == "m"
    assert order[-2:] == ["d", "r"]


def test_keras_losses_pass_the_base_class(tf, patches):
    """Loss objects are called through `Loss.__call__`, what `compile` was given through `CompileLoss.__call__`."""
    from keras.src.losses.loss import Loss
    from keras.src.trainers.compile_utils import CompileLoss

    alone: list[Any] = []
    compiled: list[Any] = []
    spy(patches, Loss, "__call__", alone)
    spy(patches, CompileLoss, "__call__", compiled)
    tf.keras.losses.MeanSquaredError()(tf.ones((2, 1)), tf.zeros((2, 1)))
    assert len(alone) == 1
    model = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    model.train_on_batch(np.ones((2, 3), "float32"), np.ones((2, 1), "float32"))
    assert len(compiled) == 1


def test_keras_optimizers_pass_apply(tf, patches):
    """`apply_gradients` and `fit` both end in `BaseOptimizer.apply(grads, trainable_variables)`."""
    from keras.src.optimizers.base_optimizer import BaseOptimizer

    seen: list[Any] = []
    spy(patches, BaseOptimizer, "apply", seen)
    layer, optimizer = tf.keras.layers.Dense(1), tf.keras.optimizers.Adam()
    layer.build((None, 3))
    gradients = [tf.ones_like(v.value) for v in layer.trainable_variables]
    optimizer.apply_gradients(zip(gradients, layer.trainable_variables, strict=True))
    (self, given, *rest), options, _ = seen[-1]
    assert self is optimizer
    assert [g._id for g in given] == [g._id for g in gradients]
    (variables,) = rest or [options["trainable_variables"]]
    assert [v.value is w.value for v, w in zip(variables, layer.trainable_variables, strict=True)] == [True, True]
    assert {v.path.rpartition("/")[2] for v in optimizer.variables} >= {"iteration", "learning_rate"}


def test_keras_variables_wrap_a_tensorflow_variable(tf, patches):
    """`Variable._initialize(value)` makes `_value`, a tf.Variable; `path` is the layer's and the variable's name."""
    from keras.src.backend.tensorflow.core import Variable

    seen: list[Any] = []
    spy(patches, Variable, "_initialize", seen)
    layer = tf.keras.layers.Dense(1, name="some")
    layer.build((None, 3))
    assert [args[0] is v for (args, _, _), v in zip(seen, layer.variables, strict=True)] == [True, True]
    assert isinstance(layer.kernel._value, tf.Variable)
    assert layer.kernel.path == "some/kernel"
    assert layer.kernel.handle is layer.kernel._value.handle


def test_keras_metrics_add_their_variables(tf, patches):
    """`Metric.add_variable` makes what a metric accumulates in: that is no state of the network."""
    from keras.src.metrics.metric import Metric

    seen: list[Any] = []
    spy(patches, Metric, "add_variable", seen)
    tf.keras.metrics.Mean()
    assert len(seen) == 2
    assert all(isinstance(result.value, tf.Variable) for _, _, result in seen)


def test_keras_trainer_settings(tf):
    """`compile` leaves `steps_per_execution` and `jit_compile` as attributes, read when `fit` makes its function."""
    from keras.src.backend.tensorflow.trainer import TensorFlowTrainer
    from keras.src.trainers.trainer import Trainer

    model = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(1)])
    assert isinstance(model, TensorFlowTrainer)
    assert type(model).compile is Trainer.compile
    assert type(model).fit is TensorFlowTrainer.fit
    model.compile("sgd", "mse", steps_per_execution=4, jit_compile=True)
    assert (model.steps_per_execution, model.jit_compile) == (4, True)
    model.steps_per_execution, model.jit_compile = 1, False
    batches = []

    class Count(tf.keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):  # noqa: ARG002
            batches.append(batch)

    model.fit(np.ones((8, 3)), np.ones((8, 1)), batch_size=2, verbose=0, callbacks=[Count()])
    assert batches == [0, 1, 2, 3]


def test_keras_fit_keeps_its_signature_when_wrapped(tf, patches):
    """`inspect.signature` follows `__wrapped__`: Keras looks at the signatures of what users may override."""
    from keras.src.backend.tensorflow.trainer import TensorFlowTrainer

    before = inspect.signature(TensorFlowTrainer.fit)
    spy(patches, TensorFlowTrainer, "fit", [])
    assert inspect.signature(TensorFlowTrainer.fit) == before
    assert tf is not None


def test_draws_without_a_seed_ask_for_one(tf, monkeypatch):
    """`random_seed.get_seed` gives (None, None) where neither op nor program has a seed; draws, dropout, shuffles
    ask it.
    """
    from tensorflow.python.framework import random_seed

    assert random_seed.get_seed(None) == (None, None)
    asked = []
    monkeypatch.setattr(random_seed, "get_seed", lambda seed: (asked.append(seed), (5, 7))[1])
    tf.random.uniform((4,))
    assert len(asked) == 1
    tf.nn.dropout(tf.ones((4,)), 0.5)
    tf.random.shuffle(tf.range(4))
    tf.data.Dataset.range(4).shuffle(4)
    assert len(asked) == 4
