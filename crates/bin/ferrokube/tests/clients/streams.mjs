// Streams of a pod as the JavaScript client opens them. Prints a word for each thing that works.
import { createRequire } from 'node:module';
import assert from 'node:assert';
import net from 'node:net';
import { mkdirSync, writeFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
const k8s = createRequire(import.meta.url)('@kubernetes/client-node');

const config = new k8s.KubeConfig();
config.loadFromDefault();
const where = ['default', 'web', 'main'];
const text = () => {
  const sink = new PassThrough();
  let all = '';
  sink.on('data', (chunk) => (all += chunk));
  return [sink, () => all];
};
const until = async (what) => {
  for (const end = Date.now() + 20000; !what(); ) {
    assert(Date.now() < end, `never came: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};
const exec = (command, stdin = null, tty = false) => {
  const [stdout, out] = text();
  const [stderr, err] = text();
  const done = new Promise((resolve, reject) => {
    new k8s.Exec(config).exec(...where, command, stdout, stderr, stdin, tty, resolve).catch(reject);
  });
  return done.then((status) => ({ status, get out() { return out(); }, get err() { return err(); } }));
};

const failed = await exec(['sh', '-c', 'echo out; echo err >&2; exit 3']);
assert.equal(failed.status.details.causes[0].message, '3');
await until(() => failed.out === 'out\n' && failed.err === 'err\n');
const stdin = new PassThrough();
stdin.end('through\n');
const through = await exec(['cat'], stdin);
assert.deepEqual([through.status.status, through.out], ['Success', 'through\n']);
console.log('executes');

const [stdout, out] = text();
const input = new PassThrough();
const socket = await new k8s.Attach(config).attach('default', 'echo', 'main', stdout, null, input, false);
input.write('to itself\n');
await until(() => out().includes('to itself'));
socket.close();
console.log('attaches');

const server = net.createServer((client) => {
  new k8s.PortForward(config).portForward('default', 'web', [8080], client, null, client).catch(() => client.destroy());
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const answer = await new Promise((resolve, reject) => {
  let all = '';
  const client = net.connect(server.address().port, '127.0.0.1', () => client.write('GET / HTTP/1.0\r\n\r\n'));
  client.on('data', (chunk) => (all += chunk) && all.endsWith('web\n') && resolve(all));
  client.on('error', reject);
  client.setTimeout(20000, () => reject(new Error(`only ${all}`)));
});
assert(answer.startsWith('HTTP/1.'), answer);
server.close();
console.log('forwards');

const [logged, lines] = text();
const following = await new k8s.Log(config).log('default', 'count', 'main', logged, { follow: true });
await until(() => lines().startsWith('1\n'));
following.abort();
console.log('reads');

// The client does not say when it has copied, and its copies from pods cannot be read (it takes gzip for tar).
mkdirSync('given', { recursive: true });
writeFileSync('given/there', 'and back\n');
await new k8s.Cp(config).cpToPod(...where, 'given', '/tmp');
const copied = await exec(['sh', '-c', 'until [ -s /tmp/there ]; do sleep 0.1; done; cat /tmp/there']);
await until(() => copied.out === 'and back\n');
console.log('copies');
process.exit(0);
