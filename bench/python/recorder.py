"""A recorder as people write one with psutil: all processes, once a second.

Keeps nothing; writing what it read would come on top.
"""

import sys
import time

import psutil

wants_pss = sys.argv[1] == "pss"
due = time.monotonic()
while True:
    for process in psutil.process_iter():
        try:
            if wants_pss:
                process.memory_full_info()
            else:
                process.memory_info()
        except psutil.Error:
            pass
    due += 1
    time.sleep(max(0, due - time.monotonic()))
