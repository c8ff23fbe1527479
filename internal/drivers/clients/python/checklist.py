"""The checklist's frame for the Python drivers: runs checks and prints one line each, `name ok|failed|n/a detail`."""

import asyncio
import inspect
import os
import re
import sys
import time

# What others may not see of one run: names of hosts, ports and processes.
WRONG_DATABASE = "no_such_database"
BIG = 8 << 20


class NotAvailable(Exception):
    """The driver has no such feature; the text says what is missing."""


def env(name, default=""):
    return os.environ.get(name, default)


def expect(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what}: {got!r}, want {want!r}".lstrip(": "))


def until_cut(ask):
    """Asks until that fails, which is raised: whoever ends a session may need a moment."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        ask()
        time.sleep(0.02)
    raise AssertionError("lives on")


def line(text):
    """One line without what differs from run to run."""
    text = re.sub(r"\s+", " ", str(text)).strip()
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    return text[:300]


async def _call(check):
    result = check()
    if inspect.isawaitable(result):
        result = await result
    return result


def run(checks):
    """Runs all checks, or those whose names are arguments, in their order."""
    wanted = sys.argv[1:]
    for check in checks:
        name = check.__name__
        if wanted and name not in wanted:
            continue
        try:
            result = asyncio.run(asyncio.wait_for(_call(check), 60))
            print(name, "ok", line(result or ""), flush=True)
        except NotAvailable as e:
            print(name, "n/a", line(e), flush=True)
        except BaseException as e:  # whatever it is, it is the result of this check
            if isinstance(e, KeyboardInterrupt):
                raise
            if os.environ.get("DRIVERS_TRACE"):
                import traceback

                traceback.print_exc()
            print(name, "failed", type(e).__name__ + ":", line(e), flush=True)
    sys.stdout.flush()
    os._exit(0)  # a check that hangs in a thread must not keep the rest
