"""Bytecode for the layer that ``sam build`` has built, so that a cold start need not compile it.

``python -m sandbox.bytecode .aws-sam/build/CommonLayer/python`` adds it.

``sam build`` leaves sources only, and Lambda's folders are read-only: without this each cold start compiles every
module again. Bytecode is written without a check against its source (``unchecked-hash``), because ``sam deploy``
gives all files the date of 1980, by which bytecode of the usual kind would be thrown away
(https://github.com/aws/aws-lambda-builders/issues/924). Python itself looks at its version: where the runtime's is
another one, it compiles the sources as before.
"""

import re
import sys
from compileall import compile_dir
from pathlib import Path
from py_compile import PycInvalidationMode

RUNTIME = (3, 13)
"""The Python of the functions, as the template says."""

IN_LAMBDA = "/opt/python"

NOT_LOADED = re.compile(
    r"/(sqlalchemy/(orm|ext|testing|dialects/(mssql|mysql|oracle|sqlite))"
    r"|aws_lambda_powertools/(event_handler|utilities/(?!typing|jmespath_utils)\w+)"
    r"|pydantic/(v1|deprecated|experimental))/"
)
"""Nearly nothing of this is loaded by a function: without its bytecode the layer is a sixth smaller."""


class BytecodeError(RuntimeError):
    """A module of the layer could not be compiled."""


def add_bytecode(layer: Path) -> None:
    """Compile the modules of a built layer, beside their sources.

    Raises
    ------
    BytecodeError
        This is another Python than the functions', there is no such folder, or a module in it is no Python.
    """
    if sys.version_info[:2] != RUNTIME:
        wanted = ".".join(map(str, RUNTIME))
        raise BytecodeError(
            f"This is Python {sys.version_info[0]}.{sys.version_info[1]}, and the functions run on {wanted}, which would not "
            f"take its bytecode. Run it with python{wanted}, or leave this step out: the functions work without bytecode, and "
            "start more slowly."
        )
    if not layer.is_dir():
        raise BytecodeError(f"There is no layer in {layer}. Build it first: make build.")
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
        raise BytecodeError(f"A module in {layer} could not be compiled; what is wrong is told above.")


def main() -> None:
    """Add bytecode to the layer that the command names."""
    # No match statement: an older Python is to read this far, and be told.
    if len(sys.argv) != 2:  # noqa: PLR2004 - the module and the folder
        sys.exit("usage: python3 -m sandbox.bytecode FOLDER")
    try:
        add_bytecode(Path(sys.argv[1]))
    except BytecodeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
