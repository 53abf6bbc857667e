# Threads, subprocesses, multiprocessing with every start method, the usual containers.
import hashlib
import json
import multiprocessing
import os
import re
import subprocess
import sys
import threading
import zlib


def square(n):
    return sum(i * i for i in range(n % 500)) + len("x" * n)


def pool_of(method):
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        return sum(pool.map(square, range(200)))


def threads():
    results = [None] * 8
    lock = threading.Lock()
    total = [0]

    def work(number):
        data = {f"key{i}": [number] * (i % 50) for i in range(2000)}
        results[number] = sum(len(v) for v in data.values())
        for _ in range(200):
            with lock:
                total[0] += 1

    crew = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    return results, total


def fork_in_threads():
    codes = []

    def work(number):
        out = subprocess.run(["sh", "-c", f"echo {number}; exit {number}"], capture_output=True)
        codes.append((int(out.stdout), out.returncode))

    crew = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    return sorted(codes)


if __name__ == "__main__":
    print(threads())
    print(fork_in_threads())
    for method in ["fork", "forkserver", "spawn"]:
        print(method, pool_of(method))
    print(subprocess.check_output("echo shell | cat", shell=True, close_fds=True))
    pid = os.fork()
    if pid == 0:
        data = [str(i) for i in range(100000)]
        os._exit(len(data) % 251)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    text = json.dumps({str(i): list(range(i % 30)) for i in range(5000)}, sort_keys=True)
    print(hashlib.sha256(text.encode()).hexdigest(), len(json.loads(text)))
    print(len(zlib.compress(text.encode(), 9)), zlib.decompress(zlib.compress(text.encode())) == text.encode())
    print(len(re.findall(r'"(\d+)": \[\]', text)))
    print(sum(sorted((i * 7919) % 100003 for i in range(100000))[::1000]))
    try:
        bytearray(1 << 45)
    except MemoryError:
        print("MemoryError", file=sys.stdout)
