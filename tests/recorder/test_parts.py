"""Patches, import hooks, frames and the context, each by itself: without TensorFlow."""

from __future__ import annotations

import importlib
import inspect
import sys
import textwrap
from types import SimpleNamespace

import pytest

from tfdiff.recorder.context import Context
from tfdiff.recorder.frames import NOWHERE, Frames
from tfdiff.recorder.imports import PostImport
from tfdiff.recorder.patching import Patches

# -- patches -----------------------------------------------------------------------------------------------------------


class Base:
    """A class whose methods are patched."""

    def method(self, x: int) -> int:
        """Doc."""
        return x + 1

    @staticmethod
    def static(x: int) -> int:
        """Doc."""
        return x + 1


class Derived(Base):
    """It only inherits."""


def times_ten(original):
    """A patch."""

    def replacement(*args, **kwargs):
        return 10 * original(*args, **kwargs)

    return replacement


def test_patch_and_undo():
    """A patch replaces, keeps name, doc and signature, and undo puts the very same object back."""
    before, patches = vars(Base)["method"], Patches()
    patches.wrap(Base, "method", times_ten)
    assert Base().method(1) == 20
    assert (Base.method.__name__, Base.method.__doc__) == ("method", "Doc.")
    assert inspect.signature(Base.method) == inspect.signature(before)
    patches.undo()
    assert vars(Base)["method"] is before


def test_inherited_names_are_removed_again():
    """What was only inherited is not left behind as the class's own."""
    patches = Patches()
    patches.wrap(Derived, "method", times_ten)
    assert (Derived().method(1), Base().method(1)) == (20, 2)
    patches.undo()
    assert "method" not in vars(Derived)


def test_static_methods_stay_static():
    """Called on the class and on an object, before, during and after."""
    before, patches = vars(Base)["static"], Patches()
    patches.wrap(Base, "static", times_ten)
    assert (Base.static(1), Base().static(1)) == (20, 20)
    patches.undo()
    assert vars(Base)["static"] is before


def test_undone_in_reverse_order():
    """Two patches of one name come off in the order that restores the first original."""
    before, patches, order = vars(Base)["method"], Patches(), []
    patches.wrap(Base, "method", times_ten)
    patches.on_undo(lambda: order.append(Base().method(1)))
    patches.wrap(Base, "method", times_ten)
    assert Base().method(1) == 200
    patches.undo()
    assert order == [20]
    assert vars(Base)["method"] is before
    patches.undo()
    assert vars(Base)["method"] is before


def test_the_object_that_was_patched():
    """Undo mends the object that was patched, also when its name means another one by then."""
    space = SimpleNamespace(thing=Base)
    patches = Patches()
    patches.wrap(space.thing, "method", times_ten)
    space.thing = Derived
    patches.undo()
    assert Base().method(1) == 2


def test_module_attributes():
    """Modules are patched like classes."""
    module, patches = SimpleNamespace(f=lambda x: x), Patches()
    before = module.f
    patches.wrap(module, "f", times_ten)
    assert module.f(2) == 20
    patches.undo()
    assert module.f is before


# -- imports -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def late(tmp_path, monkeypatch):
    """A package that nobody has imported yet."""
    folder = tmp_path / "latepackage"
    folder.mkdir()
    (folder / "__init__.py").write_text("ready = False\nimport latepackage.part\nready = True\n")
    (folder / "part.py").write_text("value = 1\n")
    (tmp_path / "brokenpackage.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "latepackage"
    for name in ("latepackage", "latepackage.part", "brokenpackage"):
        sys.modules.pop(name, None)


@pytest.fixture
def watch():
    """Install hooks that note the module they get."""
    installed = []

    def start(*names: str):
        seen = []
        finder = PostImport(
            dict.fromkeys(names, lambda module: seen.append((module.__name__, vars(module).get("ready"))))
        )
        finder.install()
        installed.append(finder)
        return seen, finder

    yield start
    for finder in installed:
        finder.remove()


def test_hook_runs_after_the_module(late, watch):
    """The hook gets the module once, when all of it has run."""
    seen, _ = watch(late)
    assert seen == []
    importlib.import_module(late)
    importlib.import_module(late)
    importlib.reload(sys.modules[late])
    assert seen == [(late, True)]


def test_nothing_is_imported_by_watching(late, watch):
    """Watching imports nothing, and asking where the module is does not use the hook up."""
    seen, _ = watch(late)
    assert importlib.util.find_spec(late) is not None
    assert (late in sys.modules, seen) == (False, [])
    importlib.import_module(late)
    assert len(seen) == 1


def test_module_that_is_there_already(late, watch):
    """A module that was imported before gets its hook at once."""
    importlib.import_module(late)
    seen, _ = watch(late)
    assert seen == [(late, True)]


def test_module_that_is_missing_or_fails(late, watch):  # noqa: ARG001 - the folder is on the path
    """Errors of an import are the import's own; the hook does not run."""
    seen, _ = watch("nosuchpackage", "brokenpackage")
    with pytest.raises(ModuleNotFoundError, match="nosuchpackage"):
        importlib.import_module("nosuchpackage")
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("brokenpackage")
    assert seen == []


def test_removed_finder(late, watch):
    """After remove nothing is watched, and the list of finders is what it was."""
    before = list(sys.meta_path)
    seen, finder = watch(late)
    assert sys.meta_path[0] is finder
    finder.remove()
    finder.remove()
    assert sys.meta_path == before
    importlib.import_module(late)
    assert seen == []


# -- frames ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def user(tmp_path):
    """Run a file of the user's, which can call `here()`; returns what it leaves in `found`."""

    def run(text: str, name: str = "train.py", **names):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        space = {"here": Frames(tmp_path).here, "found": [], **names}
        exec(compile(path.read_text(), str(path), "exec"), space)
        return space["found"]

    return run


def test_line_of_the_user(user):
    """The innermost line of the user's code, relative to the script's folder."""
    (call,) = user("x = 1\ndef f():\n    found.append(here())\nf()\n")
    assert call.called == "train.py:3"
    (call,) = user("found.append(here())\n", "sub/model.py")
    assert call.called == "sub/model.py:1"


def test_through_libraries(user):
    """Frames of libraries above the user's are passed over: a sort key of the user's, called by the library."""
    import functools

    def library(action):
        return functools.reduce(lambda _, __: action(), [1, 2])

    (call,) = user("found.append(textwrap.dedent('') or wrap(here))\n", textwrap=textwrap, wrap=library)
    assert call.called is not None
    outside = json_call()
    assert outside.called.startswith("test_parts.py:")


def json_call():
    """A call that goes through the standard library: json calls the user's function, which asks where it stands."""
    import json

    found = []

    def hook(pairs):
        found.append(Frames(__file__.rpartition("/")[0]).here())
        return pairs

    json.loads('{"a": 1}', object_pairs_hook=hook)
    return found[0]


def test_file_outside_the_folder(tmp_path, user):
    """A file elsewhere on the disk is named without its folders."""
    (tmp_path / "deep").mkdir()
    frames = Frames(tmp_path / "deep")
    (call,) = user("found.append(frames.here())\n", frames=frames)
    assert call.called == "train.py:1"


def test_calls_are_told_apart(user):
    """Two calls on one line have different keys, one call has one key."""
    first, second = user("found += [here(), here()]\n")
    assert first.called == second.called == "train.py:1"
    assert first.key != second.key


def test_constructors_are_passed_over(user):
    """With `skip_self` the frames of the object's own constructors do not count: the line that creates it does."""
    text = """
    class Layer:
        def __init__(self):
            found.append(here(skip_self=self))
    class Mine(Layer):
        def __init__(self):
            super().__init__()
    Mine()
    """
    (call,) = user(text)
    assert call.called == "train.py:8"


def test_public_name_of_the_api(user, monkeypatch):
    """The function called on the user's line goes by its exported name, also through decorators, the shorter of two."""
    import functools

    space = {"__name__": "library"}
    exec(compile("def matmul(f):\n    return f()\n", sys.prefix + "/lib/python/site-packages/lib.py", "exec"), space)
    inner = space["matmul"]
    inner._tf_api_names = ("linalg.matmul", "matmul")

    @functools.wraps(inner)
    def outer(f):
        return inner(f)

    space["matmul"] = outer
    monkeypatch.delattr(outer, "_tf_api_names", raising=False)
    (call,) = user("found.append(matmul(here))\n", matmul=inner)
    assert call.api == "tf.matmul"
    (call,) = user("found.append(here())\n")
    assert call.api is None


def test_no_user_code():
    """Where no frame is the user's there is no line."""
    assert NOWHERE.called is None


# -- context -----------------------------------------------------------------------------------------------------------


class Thing:
    """A layer, loss or optimizer."""

    def __init__(self, name: str) -> None:
        self.name = name


def test_context(tmp_path):
    """Paths of nested layers, the source of the innermost object, and no layer inside an optimizer."""
    context = Context(Frames(tmp_path))
    call = Frames(tmp_path).here()
    model, dense, loss, sgd = (Thing(name) for name in ("net", "dense", "mse", "sgd"))
    context.created(dense)
    with context.inside("layer", model), context.inside("layer", dense):
        code = context.code(call)
        assert (code.layer, code.layer_class) == ("net/dense", "Thing")
        assert code.source == context.source_of(dense)
    assert context.layer is None
    with context.inside("loss", loss):
        assert context.code(call).layer is None
    with context.inside("layer", model), context.inside("optimizer", sgd):
        assert context.within("optimizer")
        assert context.code(call).layer is None
    assert not context.within("optimizer")


def test_context_is_left_by_exceptions(tmp_path):
    """An exception inside a layer takes it off the stack."""
    context = Context(Frames(tmp_path))
    with pytest.raises(ValueError, match="x"), context.inside("layer", Thing("a")):
        raise ValueError("x")
    assert context.layer is None


def test_things_that_cannot_be_referred_to(tmp_path):
    """Objects without weak references or hashes are only unknown."""
    context = Context(Frames(tmp_path))
    for thing in (7, [], "text"):
        context.created(thing)
        assert context.source_of(thing) is None
