"""What a change is checked with: `nox` runs lint, types and tests; `nox -l` lists the rest."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.error_on_missing_interpreters = False  # nox names what it skips

DIST = Path(__file__).parent / "dist"
PYPROJECT = nox.project.load_toml("pyproject.toml")


def use_pyenv() -> None:
    """Let `python3.12` and the like be found that pyenv has installed and not selected."""
    pyenv = shutil.which("pyenv")
    if pyenv is None:
        return

    def versions(*command: str) -> list[str]:
        done = subprocess.run(  # noqa: S603 - the program that PATH names
            [pyenv, *command], capture_output=True, text=True, check=False
        )
        return done.stdout.replace(":", "\n").split()

    chosen = versions("version-name")
    installed = versions("versions", "--bare")
    os.environ["PYENV_VERSION"] = ":".join(dict.fromkeys([*chosen, *installed]))


use_pyenv()


def group(name: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(PYPROJECT, name)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting, words and sizes; `nox -s lint -- --fix` repairs what it can."""
    session.install(*group("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", *([] if "--fix" in session.posargs else ["--check"]))
    session.run("python", "-m", "tests.style")


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy and pyright, and that the public interface is wholly typed."""
    tools = [*group("types"), *group("web"), *group("browser"), *group("integrations")]
    tools += group("lint")
    session.install("-e", ".[cli,test]", "nox", *tools)
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "replicate_async", "--ignoreexternal")
    # What the tools say about generated modules, and what an editor shows of the client.
    slow = ("tests/interface/test_modules.py", "tests/typing_tests/test_editor.py")
    session.run("pytest", "-n", "0", "-m", "slow", *slow)


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests under coverage; arguments go to pytest in place of that."""
    session.install("-e", ".[cli,test]")
    session.run("pytest", *(session.posargs or ["-m", "", "--cov"]))


@nox.session(python=["3.12", "3.13"])
def newer(session: nox.Session) -> None:
    """Run the tests on Python 3.12 and 3.13, where tasks can be eager; arguments go to pytest."""
    session.install("-e", ".[cli,test]")
    session.run("pytest", *session.posargs)


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest versions that pyproject.toml allows, warnings allowed."""
    session.install("uv")
    session.run("uv", "pip", "install", "--resolution", "lowest-direct", "-e", ".[cli,test]")
    # Old releases warn of what newer Pythons deprecate.
    session.run("pytest", "-W", "default", *session.posargs)


@nox.session
def prereleases(session: nox.Session) -> None:
    """Run the tests with pre-releases of the dependencies; a failure is shown, and is no error."""
    try:
        session.install("--pre", "--upgrade", "-e", ".[cli,test]")
        session.run("pytest", "-W", "default", *session.posargs)
    except CommandFailed as failure:
        session.skip(f"failed with pre-releases: {failure}")


@nox.session
def build(session: nox.Session) -> None:
    """Build the sdist and, from it, the wheel into dist/; check the metadata of both."""
    session.install("build", "twine", *PYPROJECT["build-system"]["requires"])
    shutil.rmtree(DIST, ignore_errors=True)
    session.run("python", "-m", "build", "--no-isolation", "--outdir", str(DIST))
    session.run("twine", "check", "--strict", *map(str, DIST.iterdir()))


@nox.session(requires=["build"])
def wheel(session: nox.Session) -> None:
    """Install the wheel that `build` made and run the README's first command from it."""
    (built,) = DIST.glob("*.whl")
    session.chdir(session.create_tmp())  # away from the sources
    session.install(str(built))
    session.run("python", "-c", "import replicate_async.local, replicate_async.webhooks")
    session.install(f"{built}[cli]")
    command = ("replicate-async", "stream", "local/storyteller", "prompt=Once upon a time")
    story = session.run(*command, "--local", silent=True)
    if not isinstance(story, str) or len(story.split()) < 20:
        session.error(f"no story, but: {story!r}")


@nox.session
def loaded(session: nox.Session) -> None:
    """Run the tests of sockets, threads, processes and clocks beside four busy loops."""
    session.install("-e", ".[cli,test]")
    session.run("python", "-m", "tests.loaded", *session.posargs)


@nox.session
def web(session: nox.Session) -> None:
    """Try the responses on more ASGI servers, and the recipes on more frameworks."""
    session.install("-e", ".[test]", *group("web"))
    session.run("pytest", "-m", "", "tests/web", "tests/test_sync.py", *session.posargs)


@nox.session
def integrations(session: nox.Session) -> None:
    """Try data frames, Parquet, Dask, OpenTelemetry and a Redis server, to be installed before."""
    session.install("-e", ".[cli,test]", *group("integrations"))
    # Outside of their folder, these are skipped where the packages are missing.
    others = (
        "tests/cli/test_input_rows.py",
        "tests/cli/test_tables.py",
        "tests/files/test_values.py",
        "tests/interface/test_cog.py",
        "tests/runs/batch/test_canonical.py",
        "tests/runs/batch/test_export.py",
        "tests/runs/batch/test_text_outputs.py",
        "tests/test_benchmarks.py",
        "tests/test_docs.py",
        "tests/test_reference.py",
        "tests/test_scale.py",
    )
    session.run("pytest", "-n", "0", "-m", "", "tests/integrations", *others, *session.posargs)


@nox.session
def ray(session: nox.Session) -> None:
    """Run the recipe for Ray on a cluster of this machine, with its driver killed."""
    session.install("-e", ".[test]", *group("ray"))
    session.run("pytest", "-n", "0", "tests/integrations/check_ray.py", *session.posargs)


@nox.session(requires=["docs"])
def browser(session: nox.Session) -> None:
    """Look at docs and example pages in Chromium, to be installed; SCREENSHOTS is a folder."""
    session.install("-e", ".[test]", *group("browser"))
    checks = ("tests/browser/check_docs.py", "tests/browser/check_pages.py")
    session.run("pytest", "-n", "0", *checks, *session.posargs)


@nox.session
def usechat(session: nox.Session) -> None:
    """Read message streams with the npm package that React's useChat comes with; needs Node."""
    session.install("-e", ".[test]")
    folder = session.create_tmp()
    session.run("npm", "install", "--silent", "--prefix", folder, "ai@6", external=True)
    session.run("pytest", "-n", "0", "tests/usechat/check_messages.py", env={"NODE_FOLDER": folder})


@nox.session
def docs(session: nox.Session) -> None:
    """Build the pages and llms.txt into docs/_build/html; a warning is an error."""
    session.install("-e", ".[cli,otel]", *group("docs"))
    session.run("sphinx-build", "-nW", "--keep-going", "docs", "docs/_build/html")


@nox.session
@nox.parametrize("release", ["1.0.7", "2.0.0b4"])
def peers(session: nox.Session, release: str) -> None:
    """Run a published client of the service against the embedded server."""
    session.install("-e", ".", f"replicate=={release}")
    session.run("python", "-m", "tests.peers.run", release, *session.posargs)


@nox.session
def schemathesis(session: nox.Session) -> None:
    """Drive the embedded server with schemathesis from its own openapi.json."""
    session.install("-e", ".", *group("fuzz"))
    session.run("python", "-m", "tests.fuzz.run", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the client against others: `-- --quick`, or `-- --write` for the README."""
    session.install("-e", ".[fast]", *group("bench"))
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Run the client for a long time under scripted trouble and look for leaks."""
    session.install("-e", ".[test,redis,dask]")
    session.run("python", "tests/soak/run.py", *session.posargs)
