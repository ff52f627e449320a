"""Run another package's module with this copy of n2n: ``python .../n2n/launch/run_copy.py -u -m MODULE ..``.

This file is run as a script so that only the folder chosen here comes first on the path. ``python -m`` would put the
working directory there, and with it the n2n of a checkout that may have been edited since.
"""

import os
import runpy
import sys

if __name__ == "__main__":
    copy = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path[0] = copy
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [copy, os.environ.get("PYTHONPATH")]))
    os.chdir(copy)  # so that kernels and torchrun, which are started by python -m, import the same copy
    module = sys.argv[sys.argv.index("-m") + 1]
    sys.argv = sys.argv[sys.argv.index("-m") + 1 :]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
