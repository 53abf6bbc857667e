// Builds, groups, serialises and drops records. Argument: rounds.
let total = 0;
for (let number = 0; number < Number(process.argv[2]); number++) {
  const records = [];
  for (let i = 0; i < 4000; i++) {
    records.push({ id: number * 4000 + i, name: `user${(i * 7919) % 997}`,
                   values: [0, 1, 2, 3, 4, 5].map((k) => i * k), note: Buffer.alloc(1 + (i % 300), 120) });
  }
  const groups = new Map();
  for (const record of records) {
    if (!groups.has(record.name)) groups.set(record.name, []);
    groups.get(record.name).push(JSON.stringify(record.values) + record.note.toString());
  }
  for (const group of groups.values()) total += group.join(';').length;
}
console.log(total);
