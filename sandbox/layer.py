"""What is done to the layer that ``sam build`` has built: what nothing loads goes, and bytecode is added.

``python -m sandbox.layer .aws-sam/build/CommonLayer/python`` does it; the functions work without it too.

A cold start loads the layer first, so a tenth of it is left out: parts of packages that no function imports.

``sam build`` leaves sources only, and Lambda's folders are read-only: without bytecode each cold start compiles every
module again. Bytecode is written without a check against its source (``unchecked-hash``), because ``sam deploy``
gives all files the date of 1980, by which bytecode of the usual kind would be thrown away
(https://github.com/aws/aws-lambda-builders/issues/924). Python itself looks at its version: where the runtime's is
another one, it compiles the sources as before.
"""

import re
import shutil
import sys
from compileall import compile_dir
from pathlib import Path
from py_compile import PycInvalidationMode

RUNTIME = (3, 13)
"""The Python of the functions, as the template says."""

IN_LAMBDA = "/opt/python"

UNUSED = (
    # The settings are read by PyYAML's own loader, which can say in which line a fault is.
    "_yaml",
    "yaml/_yaml.*.so",
    "yaml/cyaml.py",
    "aws_lambda_powertools/event_handler",
    "pydantic/v1",
    "sqlalchemy/testing",
    "sqlalchemy/dialects/mssql",
    "sqlalchemy/dialects/mysql",
    "sqlalchemy/dialects/oracle",
)
"""Of the packages, what no function can come to load; patterns of files and folders."""

NOT_LOADED = re.compile(
    r"/(sqlalchemy/(orm|ext|dialects/sqlite)"
    r"|aws_lambda_powertools/utilities/(?!typing|jmespath_utils)\w+"
    r"|pydantic/(deprecated|experimental))/"
)
"""Nearly nothing of this is loaded by a function, so it stays without bytecode."""


class LayerError(RuntimeError):
    """The layer is not there, or a module of it could not be compiled."""


def finish(layer: Path) -> None:
    """Take out of a built layer what is unused, and add bytecode; a ``LayerError`` says why that cannot be."""
    if not layer.is_dir():
        raise LayerError(f"There is no layer in {layer}. Build it first: make build.")
    for pattern in UNUSED:
        for path in layer.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    add_bytecode(layer)


def add_bytecode(layer: Path) -> None:
    """Compile the modules of a built layer, beside their sources.

    Raises
    ------
    LayerError
        This is another Python than the functions', or a module is no Python.
    """
    if sys.version_info[:2] != RUNTIME:
        wanted = ".".join(map(str, RUNTIME))
        raise LayerError(
            f"This is Python {sys.version_info[0]}.{sys.version_info[1]}, and the functions run on {wanted}, which would not "
            f"take its bytecode. Run it with python{wanted}, or leave this step out: the functions work without bytecode, and "
            "start more slowly."
        )
    compiled = compile_dir(
        layer,
        quiet=1,
        force=True,
        rx=NOT_LOADED,
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        # Tracebacks show Lambda's folders, and what is uploaded is the same wherever it was built.
        stripdir=str(layer),
        prependdir=IN_LAMBDA,
    )
    if not compiled:
        raise LayerError(f"A module in {layer} could not be compiled; the lines above say what is wrong.")


def main() -> None:
    """Add bytecode to the layer that the command names."""
    # No match statement: an older Python is to read this far, and be told.
    if len(sys.argv) != 2:  # noqa: PLR2004 - the module and the folder
        sys.exit("usage: python3 -m sandbox.layer FOLDER")
    try:
        finish(Path(sys.argv[1]))
    except LayerError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
