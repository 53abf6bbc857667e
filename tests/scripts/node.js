// Buffers, zlib, workers, child processes: what node allocates outside its own heap.
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const { execFileSync } = require('child_process');
const crypto = require('crypto');
const zlib = require('zlib');

if (!isMainThread) {
  const list = Array.from({ length: 50000 }, (_, i) => (i * 7919 + workerData) % 100003);
  list.sort((a, b) => a - b);
  parentPort.postMessage(list[25000]);
} else {
  const text = JSON.stringify(Array.from({ length: 20000 }, (_, i) => ({ i, s: 'x'.repeat(i % 40) })));
  console.log(crypto.createHash('sha256').update(text).digest('hex'));
  console.log(zlib.gunzipSync(zlib.gzipSync(text)).toString() === text);
  console.log(execFileSync('sh', ['-c', 'echo child']).toString().trim());
  const buffers = Array.from({ length: 200 }, (_, i) => Buffer.alloc(i * 1000, i));
  console.log(buffers.reduce((sum, b) => sum + b.length + (b[0] || 0), 0));
  const workers = [1, 2, 3].map(n => new Promise((resolve, reject) => {
    const worker = new Worker(__filename, { workerData: n });
    worker.on('message', resolve);
    worker.on('error', reject);
  }));
  Promise.all(workers).then(results => console.log(results.join(' ')));
}
