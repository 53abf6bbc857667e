# Builds, groups, serialises and drops records. Argument: rounds.
import json
import sys


def round_of(number):
    records = []
    for i in range(4000):
        records.append({
            "id": number * 4000 + i,
            "name": "user%d" % (i * 7919 % 997),
            "values": [i * k for k in range(6)],
            "note": "x" * (i % 300),
        })
    groups = {}
    for record in records:
        groups.setdefault(record["name"], []).append(record)
    text = json.dumps({name: len(group) for name, group in groups.items()}, sort_keys=True)
    parts = [",".join(str(v) for v in record["values"]) for record in records]
    tree = [None]
    for part in parts:
        tree = [tree, part] if len(part) % 3 else [part, None]
    return len(text) + sum(len(part) for part in parts) + len(json.loads(text))


print(sum(round_of(number) for number in range(int(sys.argv[1]))))
