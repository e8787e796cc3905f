# SPDX-License-Identifier: MIT
"""Running vushim trace on traces that a test has made."""
import os
import subprocess
import tempfile

import tracewriter

VUSHIM = os.path.abspath(os.environ.get("VUSHIM", f"{tracewriter.TREE}/build/dev/vushim"))
STAGE = tempfile.TemporaryDirectory(prefix="vushim-traces-")


def stage(name, content):
    """A file of bytes, or of a tracewriter.Trace."""
    path = f"{STAGE.name}/{name}"
    with open(path, "wb") as f:
        f.write(getattr(content, "data", content))
    return path


def sample():
    """The trace with every message of the table."""
    p = subprocess.run([f"{os.path.dirname(VUSHIM)}/tests/unit/tracesample"], capture_output=True,
                       check=True, timeout=20)
    return stage("sample", p.stdout)


def trace(status, *words, feed=None):
    """(standard output, standard error) of vushim trace WORDS."""
    p = subprocess.run([VUSHIM, "trace", *words], input=feed or b"", capture_output=True,
                       timeout=60)
    out, err = p.stdout.decode(), p.stderr.decode()
    assert p.returncode == status, f"{words}: status {p.returncode}, not {status}: {err[-1500:]}"
    return out, err


def error(*words):
    """One line on standard error, and nothing else."""
    out, err = trace(2, *words)
    assert not out, f"{words}: output beside the error"
    assert err.startswith("vushim: ") and err.count("\n") == 1, f"{words}: {err!r}"
    return err
