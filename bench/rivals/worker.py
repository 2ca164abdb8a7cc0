"""One library in a process of its own: worker.py LIBRARY RECORD THREADS MIN_SECONDS

Prints what it can do, one JSON object for each way: its name, or why it cannot, and the error of
its results. Then measures a round of way W for each line "W" of standard input.
"""
import importlib
import json
import os
import resource
import sys
import time

_SLOW_SECONDS = 5


_CORES = os.sched_getaffinity(0)


def unbind():
    """Frees this thread of the core that PyTorch's OpenMP may have bound it to."""
    os.sched_setaffinity(0, _CORES)


def prepare(threads):
    """Before any library is imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    # They choose an older kernel of OpenBLAS, for builds that no package here has.
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)
    os.environ["OMP_PROC_BIND"], os.environ["OMP_PLACES"] = "true", "cores"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["JAX_PLATFORMS"] = "cpu"
    if threads == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def say(**line):
    print(json.dumps(line), flush=True)


def measure(run, min_seconds):
    count, start = 0, time.perf_counter()
    while True:
        run()
        count += 1
        elapsed = time.perf_counter() - start
        if elapsed >= min_seconds:
            return 1e3 * elapsed / count


def main():
    name, record = sys.argv[1:3]
    threads, min_seconds = int(sys.argv[3]), float(sys.argv[4])
    out = os.dup(1)  # libraries print to standard output
    os.dup2(2, 1)
    sys.stdout = os.fdopen(out, "w")
    prepare(threads)
    from case import CannotDo, Case
    ways = {}
    try:
        case = Case(record, threads)
        library = importlib.import_module("lib_" + name.replace("-", "_"))
        version, made = library.ways(case)
    except Exception as error:  # a rival that does not even start is a '-' in the table
        say(way=None, why=f"{type(error).__name__}: {error}"[:300])
        say(ready=True)
        return
    for way, make in made.items():
        try:
            before = peak_bytes()
            run, results = make()
            errors = case.errors(results(run()))
            extra = peak_bytes() - before
            worst = max(errors.values())
            if worst > case.bound():
                raise CannotDo(f"wrong results: {errors}")
            seconds = 1e-3 * measure(run, 0)
            if seconds > _SLOW_SECONDS:
                raise CannotDo(f"{seconds:.0f} s a run")
            ways[way] = run
            say(way=way, version=version, error=worst, extra_bytes=extra)
        except Exception as error:
            say(way=way, version=version, why=f"{type(error).__name__}: {error}"[:300])
    say(ready=True)
    for line in sys.stdin:
        say(ms=measure(ways[line.strip()], min_seconds))


if __name__ == "__main__":
    main()
