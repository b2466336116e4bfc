// One real `hookweir serve`, and requests to it.

import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';

const freePort = () => new Promise((resolve) => {
  const server = net.createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});
const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });

/** Sends a request once; resolves to its status. */
function postOnce(url, { headers, query, body }) {
  return new Promise((resolve, reject) => {
    const options = { method: 'POST', agent, headers: { ...headers, 'content-length': body.length } };
    const request = http.request(query ? `${url}?${query}` : url, options, (response) => {
      response.resume().on('end', () => resolve(response.statusCode));
    });
    request.on('error', reject).end(body);
  });
}

/** Sends a request; resolves to its status. After a 503, which says "later", it is sent again, for 30 s. */
export async function post(url, request) {
  const until = Date.now() + 30_000;
  for (;;) {
    const status = await postOnce(url, request);
    if (status !== 503 || Date.now() > until) return status;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/** Starts the service with this configuration of sources. Resolves, once it is ready, to its address and how to stop it. */
export async function serve(binary, folder, sources) {
  const [port, admin] = [await freePort(), await freePort()];
  const config = `${folder}/config.toml`;
  writeFileSync(config, [
    '[server]', `listen = "127.0.0.1:${port}"`, `admin_listen = "127.0.0.1:${admin}"`,
    '[store]', `url = "sqlite://${folder}/hookweir.db"`, '[publisher]', `url = "file://${folder}/events"`, '', ...sources,
  ].join('\n'));
  const said = [];
  const child = spawn(binary, ['serve', '--config', config, '--set', 'log.deliveries=none'], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.on('data', (text) => said.push(text));
  child.stderr.on('data', (text) => said.push(text));
  const ended = new Promise((resolve) => child.on('exit', resolve));
  const stop = async () => {
    child.kill('SIGTERM');
    return ended;
  };
  process.on('exit', () => child.kill('SIGKILL'));
  for (let tries = 0; tries < 300; tries += 1) {
    const ready = await new Promise((resolve) => {
      http.get(`http://127.0.0.1:${admin}/readyz`, (response) => resolve(response.resume().statusCode === 200)).on('error', () => resolve(false));
    });
    if (ready) return { config, url: `http://127.0.0.1:${port}/ingest`, stop };
    if (child.exitCode !== null) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  child.kill('SIGKILL');
  throw new Error(`hookweir serve is not ready:\n${said.join('')}`);
}
