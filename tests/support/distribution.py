"""Which tests stay together where several processes run them."""

from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

ON_ONE_STACK = ("test_demo_on_own_systems.py", "test_fan_out.py", "test_console.py", "test_stack.py")
"""The files that share a deployed stack, in whichever process they run: to build and deploy it takes a quarter of a minute."""


class FilesAndStack(LoadFileScheduling):  # type: ignore[misc]
    """Keep the tests of a file together, and those of all files that share a deployed stack."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        folder, _, name = file.rpartition("/")
        return folder if folder.endswith("e2e") and name in ON_ONE_STACK else file
