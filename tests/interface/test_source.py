"""Generated modules: their text, and that a schema's text stays text in them."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from replicate_async import InvalidArgumentError
from replicate_async.interface.layout import Either, Group, assignment
from replicate_async.interface.names import literal
from replicate_async.interface.source import Header, docstring, module_source, schema_digest
from tests.support.schemas import Adversary, document

VERSION = "6f7a773af6fc3e8de9d5a3c00be77c17308914bf67772726aff83496ba1e3bbe"
SDXL = document(
    {
        "seed": {
            "type": "integer",
            "description": "Random seed. Leave blank to randomize the seed",
            "x-order": 3,
        },
        "scheduler": {"allOf": [{"$ref": "#/components/schemas/scheduler"}], "x-order": 2}
        | {"default": "K_EULER"},
        "width": {
            "type": "integer",
            "minimum": 256,
            "maximum": 1280,
            "default": 1024,
            "description": "Width of output image. Recommended 1024 or 1280",
            "x-order": 1,
        },
        "prompt": {"type": "string", "description": "Input prompt", "x-order": 0},
    },
    output={"type": "array", "items": {"type": "string", "format": "uri"}},
    required=("prompt",),
    scheduler={
        "enum": ["DDIM", "K_EULER"],
        "type": "string",
        "description": "An enumeration.",
    },
)
MODULE = f'''"""SDXL-Lightning by ByteDance

Generated from bytedance/sdxl-lightning-4step:{VERSION} by ``replicate-async types``; do not edit.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta, Struct
from replicate_async import FileOutput, TypedModel


class Input(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What the model takes."""

    prompt: str
    """Input prompt"""

    width: Annotated[int, Meta(ge=256, le=1280)] = 1024
    """Width of output image. Recommended 1024 or 1280"""

    scheduler: Literal["DDIM", "K_EULER"] = "K_EULER"

    seed: int | None = None
    """Random seed. Leave blank to randomize the seed"""


Output: TypeAlias = list[FileOutput]

MODEL: Final[TypedModel[Input, Output]] = TypedModel(
    "bytedance/sdxl-lightning-4step:{VERSION}",
    input=Input,
    output=Output,
)
'''


def test_a_module_is_as_the_documentation_shows_it() -> None:
    made = module_source(
        f"bytedance/sdxl-lightning-4step:{VERSION}",
        SDXL,
        description="SDXL-Lightning by ByteDance",
    )

    assert made == MODULE


def test_a_model_without_a_version_has_the_digest_of_its_schema() -> None:
    made = module_source("bytedance/sdxl", SDXL)
    said = ast.get_docstring(ast.parse(made)) or ""

    assert Header.read(said) == ("bytedance/sdxl", schema_digest(SDXL))
    assert said.startswith("bytedance/sdxl\n\nGenerated from bytedance/sdxl by ")
    assert said.endswith(f"; do not edit.\nSchema: {schema_digest(SDXL)}")


def test_a_pinned_model_has_no_digest() -> None:
    assert Header.read(ast.get_docstring(ast.parse(MODULE)) or "") == (
        f"bytedance/sdxl-lightning-4step:{VERSION}",
        None,
    )


def test_a_description_cannot_pose_as_the_header() -> None:
    posing = "x\n\nGenerated from evil/model by ``replicate-async types``; do not edit."
    made = module_source("good/model", SDXL, description=posing)
    found = Header.read(ast.get_docstring(ast.parse(made)) or "")

    assert found is not None
    assert found.ref == "good/model"


@pytest.mark.parametrize("said", ["", "Generated from x", "A module\n\nGenerated from a/b."])
def test_other_modules_have_no_header(said: str) -> None:
    assert Header.read(said) is None


def test_the_digest_is_of_input_output_and_what_they_refer_to() -> None:
    base = document({"a": {"$ref": "#/components/schemas/A"}}, A={"type": "string"})
    same = document({"a": {"$ref": "#/components/schemas/A"}}, A={"type": "string"}, B={"x": 1})
    other = document({"a": {"$ref": "#/components/schemas/A"}}, A={"type": "integer"})
    returned = document(
        {"a": {"$ref": "#/components/schemas/A"}}, output={"type": "integer"}, A={"type": "string"}
    )

    assert schema_digest(base) == schema_digest(same)
    assert len({schema_digest(base), schema_digest(other), schema_digest(returned)}) == 3


@pytest.mark.parametrize("schema", [None, {}, {"components": {"schemas": {"Output": {}}}}])
def test_no_module_is_made_without_a_schema(schema: dict[str, Any] | None) -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"^acme/model has no schema to make types of\.$"
    ):
        module_source("acme/model", schema)


def test_an_empty_input_is_a_class_with_a_docstring_only() -> None:
    made = module_source(f"acme/model:{VERSION}", document())

    assert 'omit_defaults=True):\n    """What the model takes."""\n\n\nOutput: ' in made


def test_a_training_has_a_class_and_an_argument() -> None:
    training = {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}}
    made = module_source(f"acme/model:{VERSION}", document(TrainingInput=training))

    assert "class TrainingInput(Struct, kw_only=True, frozen=True, omit_defaults=True):" in made
    assert "    output=Output,\n    training=TrainingInput,\n)" in made


def test_an_output_struct_stands_below_the_structs_that_it_has() -> None:
    segment = {"title": "Segment", "type": "object", "properties": {"text": {"type": "string"}}}
    output = {
        "type": "object",
        "description": "A transcription.",
        "required": ["segments"],
        "properties": {"segments": {"type": "array", "items": segment}},
    }
    made = module_source(f"acme/model:{VERSION}", document(output=output))

    assert (
        """class Segment(Struct, kw_only=True, frozen=True):
    \"\"\"A part of the output.\"\"\"

    text: str | None = None


class Output(Struct, kw_only=True, frozen=True):
    \"\"\"A transcription.\"\"\"

    segments: list[Segment]


MODEL:"""
        in made
    )


@pytest.mark.parametrize(
    ("key", "schema", "line"),
    [
        ("l", {"type": "array", "items": {"type": "string"}, "default": []}, "l: list[str] = []"),
        ("d", {"type": "object", "default": {}}, "d: dict[str, Any] = {}"),
        ("l-l", {"type": "array", "default": []}, 'l_l: list[Any] = field(default=[], name="l-l")'),
        (
            "l",
            {"type": "array", "default": [1, "a"]},
            'l: list[Any] = field(default_factory=lambda: [1, "a"])',
        ),
        (
            "l",
            {"type": "object", "default": {"a": [1]}},
            'l: dict[str, Any] = field(default_factory=lambda: {"a": [1]})',
        ),
        ("my-it", {"type": "integer"}, 'my_it: int | None = field(default=None, name="my-it")'),
        ("my-it", {"default": 1.5}, 'my_it: Any = field(default=1.5, name="my-it")'),
        ("f", {"type": "string", "format": "uri"}, "f: FileInput | None = None"),
        ("s", {"type": "string", "format": "password"}, "s: Secret | None = None"),
        ("n", {"type": "number", "maximum": 1e300}, "n: Annotated[float, Meta(le=1e300)] | None"),
    ],
)
def test_the_line_of_a_field(key: str, schema: dict[str, Any], line: str) -> None:
    assert f"    {line}" in module_source("acme/model", document({key: schema}))


def test_a_refused_default_is_in_the_docstring() -> None:
    schema = {"type": "integer", "maximum": 3, "default": 4, "description": "How many."}
    made = module_source("acme/model", document({"n": schema, "f": {"default": None}}))

    assert (
        'n: Annotated[int, Meta(le=3)] | None = None\n    """How many.\n\n    Default: 4\n' in made
    )
    assert "Default: null" not in made


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Plain.", '"""Plain."""'),
        ('"start', '""" "start"""'),
        ('end"', '"""end\\""""'),
        ('a"""b', '"""a\\"\\"\\"b"""'),
        ('a""""', '"""a\\"\\"\\"\\""""'),
        ("back\\", '"""back\\\\"""'),
        ('back\\"', '"""back\\\\\\""""'),
        ("a\u202eb\x00c\td", '"""a b c d"""'),
        ("one\n\n\n  two  \n", '"""one\n\ntwo\n"""'),
        ("word " * 20, f'"""{"word " * 18}word\nword\n"""'),
    ],
)
def test_a_docstring(text: str, code: str) -> None:
    made = docstring(text)

    assert made == code
    assert isinstance(ast.literal_eval(made), str)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("plain", '"plain"'),
        ("it's", '"it\'s"'),
        ('say "hi"', "'say \"hi\"'"),
        ("\"'", r'''"\"'"'''),
        ('""\'', "'\"\"\\''"),
        ("back\\", r'"back\\"'),
        ("\u202e\n\x00", r'"\u202e\n\x00"'),
        (1e300, "1e300"),
        (-0.5, "-0.5"),
        (True, "True"),
        (None, "None"),
    ],
)
def test_a_literal(value: object, code: str) -> None:
    assert literal(value) == code
    assert ast.literal_eval(literal(value)) == value


LONG = Group("Literal[", [f'"{letter * 20}"' for letter in "abc"], "]")


@pytest.mark.parametrize(
    ("type", "value", "lines"),
    [
        ("str", "1", ["    x: str = 1"]),
        (LONG, None, [f"    x: {LONG.head}{', '.join(map(str, LONG.items))}]"]),
        (
            LONG,
            '"bbbbbbbbbbbbbbbbbbbb"',
            [
                f"    x: {LONG.head}{', '.join(map(str, LONG.items))}] = (",
                '        "bbbbbbbbbbbbbbbbbbbb"',
                "    )",
            ],
        ),
        (
            Either([Group("list[", [LONG, LONG], "]"), "None"]),
            "None",
            [
                "    x: (",
                "        list[",
                f"            {LONG.head}{', '.join(map(str, LONG.items))}],",
                f"            {LONG.head}{', '.join(map(str, LONG.items))}],",
                "        ]",
                "        | None",
                "    ) = None",
            ],
        ),
        ("str", f'"{"k" * 93}"', [f'    x: str = "{"k" * 93}"']),
        ("str", f'"{"k" * 88}"', ["    x: str = (", f'        "{"k" * 88}"', "    )"]),
        (
            "str",
            Group("field(", ['default="b"', f'name="{"k" * 70}"'], ")"),
            ["    x: str = field(", f'        default="b", name="{"k" * 70}"', "    )"],
        ),
        (
            "TypeAlias",
            Either(["int", Group("list[", ["K" * 85], "]"), "None"]),
            [
                "    x: TypeAlias = (",
                "        int",
                "        | list[",
                f"            {'K' * 85}",
                "        ]",
                "        | None",
                "    )",
            ],
        ),
        (
            "str",
            Group("[", [f'"{"k" * 80}"', Group("{", [], "}"), '"l"'], "]", is_display=True),
            ["    x: str = [", f'        "{"k" * 80}",', "        {},", '        "l",', "    ]"],
        ),
    ],
    ids=["flat", "fits", "value", "union", "too-long", "parentheses", "call", "alias", "list"],
)
def test_long_lines_break_where_a_formatter_breaks_them(
    type: Any, value: Any, lines: list[str]
) -> None:
    assert assignment("x", type, value, indent=4).split("\n") == lines


def check_is_declarations_only(source: str) -> None:
    """Assert that a module has nothing but a docstring, imports, classes, `Output` and `MODEL`."""
    tree = ast.parse(source)
    first, *statements = tree.body
    assert isinstance(first, ast.Expr)
    for statement in statements:
        match statement:
            case ast.ImportFrom(module=module):
                assert module in {"__future__", "typing", "msgspec", "replicate_async"}
            case ast.ClassDef(body=body, decorator_list=[]):
                for member in body:
                    assert is_text(member) or isinstance(member, ast.AnnAssign)
            case ast.AnnAssign(target=ast.Name(id=name)):
                assert name in {"Output", "MODEL"}
            case _:
                raise AssertionError(ast.unparse(statement))
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)):
                assert name in {"Meta", "field", "TypedModel"}
            case ast.Lambda(body=returned):
                ast.literal_eval(returned)
            case ast.Call() | ast.Attribute() | ast.NamedExpr() | ast.JoinedStr() | ast.Await():
                raise AssertionError(ast.unparse(node))
            case _:
                pass


def is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@pytest.mark.parametrize(
    "seeds",
    [
        range(100),
        *(pytest.param(range(n, n + 500), marks=pytest.mark.slow) for n in range(100, 4100, 500)),
    ],
    ids=lambda seeds: f"{seeds.start}-{seeds.stop}",
)
def test_text_of_a_schema_never_becomes_code(seeds: range) -> None:
    for seed in seeds:
        adversary = Adversary(seed)
        schema, description = adversary.document(), adversary.text()

        made = module_source("acme/model", schema, description=description)

        check_is_declarations_only(made)
        assert made.isascii() or made.encode()
        assert not any(line != line.rstrip() for line in made.split("\n"))
        assert made == module_source("acme/model", schema, description=description)
