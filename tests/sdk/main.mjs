// Every SDK against one running hookweir: they sign and both judge; hookweir signs and the SDK judges. See README.md.

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { changed, NEVER, signedOtherwise } from './changes.mjs';
import { decisions } from './decisions.mjs';
import { judges } from './judges.mjs';
import { pythonJudges } from './python.mjs';
import { post, serve } from './service.mjs';
import { bodiesOf, sourceOf, toml } from './sources.mjs';

const { HOOKWEIR: binary, HOOKWEIR_SDK_PYTHON: interpreter, HOOKWEIR_SDK_SCRIPTS: scripts } = process.env;
const only = process.argv.slice(2);
const ACCEPTED = (status) => status >= 200 && status < 300;
const REFUSED = (status) => [400, 401, 403, 498].includes(status);

const folder = mkdtempSync(`${tmpdir()}/hookweir-sdks.`);
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

const python = await pythonJudges(interpreter, `${scripts}/judges.py`);
const sources = {};
for (const [provider, judge] of Object.entries({ ...python.judges, ...judges })) sources[provider] = sourceOf(provider, judge, folder);
const trials = [
  ...Object.entries(judges).map(([provider, judge]) => ({ provider, judge })),
  // An SDK that only verifies is given what the other language's signs.
  ...Object.entries(python.judges).map(([provider, judge]) => ({ provider, judge: { ...judges[provider], signer: undefined, ...judge } })),
].filter(({ provider }) => only.length === 0 || only.includes(provider));

const service = await serve(binary, folder, Object.values(sources).map(toml));
const used = new Set();
const serial = `${Date.now()}`;

async function verdict(judge, source, request) {
  try {
    return Boolean(await judge.verify({ ...source, ...request }));
  } catch (error) {
    if (process.env.VERBOSE) console.error(source.provider, error.message);
    return false;
  }
}

/** Notes a disagreement, unless it is a decision of ours. */
function disagree(trial, what, text) {
  const reason = decisions[trial.provider]?.find(({ change, sdk }) => change.test(what) && (!sdk || trial.judge.sdk.includes(sdk)));
  if (reason) {
    used.add(reason);
    trial.decided += 1;
  } else {
    trial.problems.push(`${what}: ${text}`);
  }
}

/** A request as the provider would send it. */
async function sign(judge, delivery) {
  const signed = await judge.sign(delivery);
  const { headers, ...more } = 'headers' in signed ? signed : { headers: signed };
  const type = delivery.form ? 'application/x-www-form-urlencoded' : 'application/json';
  return { body: delivery.body, form: delivery.form, type, headers, ...more };
}

async function theySign(trial) {
  const { judge, provider } = trial;
  const source = sources[provider];
  const compare = async (what, request, must) => {
    const headers = { 'content-type': request.type, ...request.headers };
    const theirs = await verdict(judge, source, { ...request, headers });
    const status = await post(`${service.url}/${provider}`, { ...request, headers });
    if (!ACCEPTED(status) && !REFUSED(status)) trial.problems.push(`${what}: hookweir answered ${status}`);
    else if (ACCEPTED(status) !== theirs) disagree(trial, what, `the SDK ${theirs ? 'takes' : 'refuses'} it, hookweir answered ${status}`);
    else if (must !== undefined && theirs !== must) trial.problems.push(`${what}: both ${theirs ? 'take' : 'refuse'} it`);
    trial[ACCEPTED(status) ? 'accepted' : 'refused'] += 1;
    return theirs;
  };
  for (const { name, body, form, always, thorough } of bodiesOf(provider, `evt_${serial}_${trial.number}`)) {
    const delivery = { ...source, body, form, at: Date.now(), id: `msg_${serial}_${trial.number}_${name}` };
    let request;
    try {
      request = await sign(judge, delivery);
    } catch (error) {
      if (always) throw error;
      continue;
    }
    const whole = { ...request, headers: { 'content-type': request.type, ...request.headers } };
    if (!always && !(await verdict(judge, source, whole))) continue;
    await compare(`${name}`, request, true);
    for (const [what, other] of changed(request, thorough)) {
      await compare(`${name}, ${what}`, other, NEVER.has(what) ? false : undefined);
    }
    if (!thorough) continue;
    for (const [what, other] of signedOtherwise(delivery, source)) {
      const taken = await compare(`${name}, ${what}`, await sign(judge, other), NEVER.has(what) ? false : undefined);
      if (what === 'a day old') trial.refusesOld = !taken;
    }
  }
}

/** The SDK as a receiver of webhooks: 200 for what it takes, 401 for the rest. `hookweir send` says whether that is as it expects. */
const receiver = http.createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const url = new URL(request.url, 'http://127.0.0.1');
  const trial = trials[Number(url.pathname.slice(1))];
  const form = request.headers['content-type']?.startsWith('application/x-www-form-urlencoded');
  const { host, connection, accept, 'user-agent': agent, 'content-length': length, ...headers } = request.headers;
  const received = { headers, form, query: url.search.slice(1) || undefined, body: Buffer.concat(chunks) };
  const ok = await verdict(trial.judge, sources[trial.provider], received);
  response.writeHead(ok ? 200 : 401).end();
}).listen(0, '127.0.0.1');

function send(trial, ...options) {
  const source = sources[trial.provider];
  const url = `http://127.0.0.1:${receiver.address().port}/${trial.number}`;
  const key = source.keyFile && !options.includes('--private-key') ? ['--private-key', source.keyFile] : [];
  const all = ['send', '--config', service.config, '--source', source.name, '--url', url, ...key, ...options];
  return new Promise((resolve) => {
    execFile(binary, all, (error, stdout, stderr) => resolve({ code: error?.code ?? 0, said: `${stdout}${stderr}`.trim() }));
  });
}

async function weSign(trial) {
  const { provider } = trial;
  const expect = async (what, code, ...options) => {
    const answer = await send(trial, ...options);
    trial.sent += 1;
    if (answer.code !== code) disagree(trial, `send, ${what}`, `exit ${answer.code}, not ${code}: ${answer.said}`);
  };
  await expect('sample', 0);
  for (const { name, body, always } of bodiesOf(provider, `evt_${serial}_${trial.number}_own`)) {
    if (!always) continue;
    const file = `${folder}/${trial.number}-${name}`;
    writeFileSync(file, body);
    await expect(name, 0, '--body', file);
  }
  // Only some members of their bodies are signed, so `send` says that a change of the body cannot be told.
  const partly = ['adyen', 'aws-sns'].includes(provider);
  await expect('tampered', partly ? 64 : 0, '--tamper');
  if (sources[provider].keyFile) await expect('wrong key', 1, '--private-key', sources[provider].otherKeyFile);
  else await expect('wrong secret', 0, '--wrong-secret');
  if (trial.refusesOld) await expect('stale', 0, '--stale');
}

async function run(trial) {
  try {
    await theySign(trial);
    await weSign(trial);
  } catch (error) {
    trial.problems.push(error.stack);
  }
}

trials.forEach((trial, number) => Object.assign(trial, { number, accepted: 0, refused: 0, sent: 0, decided: 0, problems: [] }));
const queue = [...trials];
await Promise.all(Array.from({ length: 6 }, async () => {
  while (queue.length > 0) await run(queue.shift());
}));

const cell = (value, width) => String(value).padEnd(width);
console.log(`${cell('provider', 19)}${cell('SDK', 34)}${cell('signed by', 11)}accepted  refused  sent by us  decided`);
for (const trial of trials) {
  const numbers = [trial.accepted, trial.refused, trial.sent, trial.decided].map((n, i) => String(n).padStart([8, 9, 12, 9][i]));
  console.log(`${cell(trial.provider, 19)}${cell(trial.judge.sdk, 34)}${cell(trial.judge.signer === 'sdk' ? 'SDK' : 'test', 11)}${numbers.join('')}`);
  for (const problem of trial.problems) console.log(`    ${problem}`);
}
const unused = only.length > 0 ? [] : Object.entries(decisions).flatMap(([provider, list]) => list.filter((one) => !used.has(one)).map((one) => `${provider} ${one.change}`));
for (const decision of unused) console.log(`decided, but agreed upon: ${decision}`);
const problems = trials.reduce((sum, trial) => sum + trial.problems.length, 0);
const sdks = new Set(trials.map(({ judge }) => judge.sdk)).size;
const total = (field) => trials.reduce((sum, trial) => sum + trial[field], 0);
console.log(`${sdks} SDKs, ${new Set(trials.map(({ provider }) => provider)).size} providers: ${total('accepted') + total('refused')} requests judged by both, ${total('sent')} signed by hookweir, `
  + `${total('decided')} disagreements decided, ${problems} not explained`);

python.stop();
receiver.close().closeAllConnections();
await service.stop();
process.exit(problems + unused.length > 0 ? 1 : 0);
