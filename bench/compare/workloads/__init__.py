"""All that is measured. Every module gives its workloads at a scale."""

import fnmatch

from workloads import (archive, changes, cplusplus, data, database, file_size, fio, layers, memory, packages,
                       repository, threads, tree_size)

MODULES = (layers, tree_size, file_size, threads, data, changes, archive, repository, cplusplus, packages,
           database, fio, memory)
NAMES = [module.NAME for module in MODULES]


def workloads(scale, wanted=("*",)):
    """Those whose name matches one of these patterns."""
    return [workload for module in MODULES if any(fnmatch.fnmatchcase(module.NAME, pattern) for pattern in wanted)
            for workload in module.workloads(scale)]
