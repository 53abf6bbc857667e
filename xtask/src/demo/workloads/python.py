"""Dictionaries, JSON, threads that share a queue, subprocesses, a process pool."""

import concurrent.futures
import hashlib
import json
import multiprocessing
import queue
import random
import subprocess
import sys
import threading

random.seed(11)
data = {
    f"key-{i:06d}": {"id": i, "values": [random.randrange(1000) for _ in range(8)], "name": "n" * (i % 40)}
    for i in range(25000)
}
text = json.dumps(data, sort_keys=True)
print("json:", len(text), hashlib.sha256(text.encode()).hexdigest()[:16])
assert json.loads(text) == data


def work(lines):
    """Allocates and frees in one thread what another made."""
    kept = {}
    for line in lines:
        kept.setdefault(line["id"] % 257, []).append(str(line["values"]))
    return sum(len(value) for values in kept.values() for value in values)


jobs, results = queue.Queue(), {}


def worker():
    while (job := jobs.get()) is not None:
        number, lines = job
        results[number] = work(lines)


threads = [threading.Thread(target=worker) for _ in range(8)]
for thread in threads:
    thread.start()
records = list(data.values())
for number in range(50):
    jobs.put((number, records[number * 500 : (number + 1) * 500]))
for _ in threads:
    jobs.put(None)
for thread in threads:
    thread.join()
print("threads:", [results[number] for number in range(50)][:6], sum(results.values()))

with concurrent.futures.ThreadPoolExecutor(4) as pool:
    outputs = pool.map(
        lambda n: subprocess.run(["/bin/sh", "-c", f"echo {n}; echo $(({n} * {n}))"], capture_output=True, text=True).stdout,
        range(24),
    )
    print("subprocesses:", "".join(outputs).split()[:8])


def square_sum(n):
    return sum(i * i for i in range(n)) + len(data)


# Started by fork while the parent's heap is in use.
with multiprocessing.get_context("fork").Pool(3) as pool:
    print("processes:", pool.map(square_sum, range(1000, 1012)))

words = [hashlib.md5(str(i).encode()).hexdigest() for i in range(60000)]
words.sort()
print("sorted:", words[0], words[-1])
del data, records, words
print("threads left:", threading.active_count())
sys.stdout.flush()
