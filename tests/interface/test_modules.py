"""Generated modules: imported, and read by type checkers and a formatter."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, cast, get_type_hints

import msgspec
import pytest

from replicate_async import InvalidInputError, Secret, TypedModel
from replicate_async.interface.read import Interface
from replicate_async.interface.source import module_source
from replicate_async.interface.structs import input_struct, output_type, training_struct
from tests.support.schemas import SCHEMAS, Adversary, case, load, valid_input

REF = f"acme/model:{'0' * 64}"
ADVERSARIAL = 150
"""Modules of adversarial schemas that the tools read."""
TOOL = "the types session installs it"


@contextmanager
def imported(source: str) -> Generator[Any]:
    """Run a module under a name of its own, as an import does."""
    module = ModuleType("generated_by_a_test")
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, module.__name__, "exec"), vars(module))
        yield module
    finally:
        del sys.modules[module.__name__]


def hints_of(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return get_type_hints(struct, include_extras=True)


def defaults_of(struct: type[msgspec.Struct]) -> list[object]:
    return [
        field.default
        if field.default_factory is msgspec.NODEFAULT
        else ("made", field.default_factory())
        for field in msgspec.structs.fields(struct)
    ]


def shape_of(kind: Any) -> object:
    """Return a type with the fields of its structs in place of their names."""
    if issubclass(kind if isinstance(kind, type) else object, msgspec.Struct):
        return {name: shape_of(hint) for name, hint in hints_of(kind).items()}
    if parts := getattr(kind, "__args__", None):
        return [str(getattr(kind, "__origin__", "union")), *sorted(map(str, map(shape_of, parts)))]
    return cast("object", kind)


def agree(module: Any, document: dict[str, Any]) -> None:
    """Assert that a module has the types that a program makes of the schema."""
    found = Interface.read("acme/model", document)
    pairs = [(module.Input, input_struct(found))]
    if (training := training_struct(document)) is not None:
        pairs.append((module.TrainingInput, training))
    for written, made in pairs:
        assert hints_of(written) == hints_of(made)
        assert defaults_of(written) == defaults_of(made)
        assert written.__struct_encode_fields__ == made.__struct_encode_fields__
        msgspec.json.Decoder(written)
    assert shape_of(module.Output) == shape_of(output_type(found))
    msgspec.json.Decoder(module.Output)


def test_a_module_of_a_published_model_takes_its_valid_inputs() -> None:
    for path in SCHEMAS:
        with case(path):
            document = load(path)
            given = valid_input(document)

            with imported(module_source(REF, document)) as module:
                model: TypedModel[Any, Any] = module.MODEL
                agree(module, document)
                model.check(given)
                held = msgspec.convert(given, module.Input, dec_hook=lambda _, text: Secret(text))
                model.check(held)


@pytest.mark.parametrize(
    "seeds",
    [range(50), *(pytest.param(range(n, n + 250), marks=pytest.mark.slow) for n in (50, 300, 550))],
    ids=lambda seeds: f"{seeds.start}-{seeds.stop}",
)
def test_a_module_of_an_adversarial_schema_is_imported(seeds: range) -> None:
    for seed in seeds:
        document = Adversary(seed).document()
        with imported(module_source("acme/model", document)) as module:
            agree(module, document)
            with suppress(InvalidInputError):
                module.MODEL.check({"no such input": 1})
    gc.collect()  # which crashed on decoders with a pattern beside a list


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the modules of all published models and of adversarial schemas."""
    folder = tmp_path_factory.mktemp("models")
    for number, path in enumerate(SCHEMAS):
        made = module_source(REF, load(path), description="A model")
        (folder / f"model_{number}.py").write_text(made, encoding="utf-8")
    for seed in range(ADVERSARIAL):
        adversary = Adversary(seed)
        made = module_source("acme/model", adversary.document(), description=adversary.text())
        (folder / f"adversarial_{seed}.py").write_text(made, encoding="utf-8")
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    return folder


def ran(folder: Path, *arguments: str) -> str:
    """Run a module of Python in *folder* and return what it prints; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env={"PATH": "", "HOME": str(Path.home()), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.slow
def test_pyright_finds_no_error_in_modules(folder: Path) -> None:
    pytest.importorskip("pyright", reason=TOOL)

    assert "0 errors, 0 warnings" in ran(folder, "pyright", "--pythonpath", sys.executable)


@pytest.mark.slow
def test_mypy_finds_no_error_in_modules(folder: Path) -> None:
    pytest.importorskip("mypy", reason=TOOL)

    said = ran(folder, "mypy", "--strict", "--cache-dir", str(folder / "cache"), ".")
    assert said == f"Success: no issues found in {len(SCHEMAS) + ADVERSARIAL} source files\n"


@pytest.mark.slow
def test_ruff_format_leaves_modules_as_they_are(folder: Path) -> None:
    pytest.importorskip("ruff", reason=TOOL)

    said = ran(folder, "ruff", "format", "--check", "--line-length", "100", "--no-cache", ".")
    assert said == f"{len(SCHEMAS) + ADVERSARIAL} files already formatted\n"
