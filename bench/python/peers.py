"""The Python peers: psutil in the loops that its users write, and smem.

Prints "ready" and its version, then answers each line on its standard input
with one line, `wall_ns cpu_ns processes bytes`, or for "dump" with one JSON
object. The interpreter's start and the imports are not in these times.
"""

import io
import json
import sys
import time


def psutil_version():
    import psutil

    return psutil.__version__


def forget_processes():
    import psutil

    clear = getattr(psutil.process_iter, "cache_clear", None)
    if clear is not None:
        clear()
    else:
        psutil._pmap.clear()


def rss():
    import psutil

    found = [p.info["memory_info"] for p in psutil.process_iter(["memory_info"])]
    sizes = [memory.rss for memory in found if memory is not None and memory.rss]
    return len(sizes), sum(sizes)


def full():
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            found.append(process.memory_full_info().pss)
        except psutil.Error:
            pass
    sizes = [pss for pss in found if pss]
    return len(sizes), sum(sizes)


def rss_once():
    forget_processes()
    return rss()


def full_once():
    forget_processes()
    return full()


def smem(code=[]):
    if not code:
        with open("/usr/bin/smem") as source:
            code.append(compile(source.read(), "/usr/bin/smem", "exec"))
    kept, sys.argv = sys.argv, ["smem", "-H", "-c", "pid pss uss"]
    printed, sys.stdout = sys.stdout, io.StringIO()
    try:
        exec(code[0], {"__name__": "__main__"})
        text = sys.stdout.getvalue()
    finally:
        sys.argv, sys.stdout = kept, printed
    rows = [line.split() for line in text.splitlines()]
    rows = [row for row in rows if len(row) == 3]
    return len(rows), sum(int(row[1]) * 1024 for row in rows)


def dump():
    import psutil

    found = {}
    for process in psutil.process_iter():
        try:
            memory = process.memory_full_info()
        except psutil.Error:
            continue
        found[process.pid] = [memory.rss, memory.pss, memory.uss, memory.swap]
    return found


PASSES = {
    "rss_once": rss_once,
    "rss_again": rss,
    "full_once": full_once,
    "full_again": full,
    "smem": smem,
}


def main():
    print("ready", psutil_version(), flush=True)
    for line in sys.stdin:
        request = line.strip()
        if request == "dump":
            print(json.dumps(dump()), flush=True)
            continue
        run = PASSES[request]
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        processes, size = run()
        cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
        print(wall, cpu, processes, size, flush=True)


main()
