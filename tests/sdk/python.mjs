// The SDKs for Python, behind the same two functions: judges.py answers a line of JSON with a line of JSON.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export async function pythonJudges(interpreter, script) {
  const child = spawn(interpreter, [script], { stdio: ['pipe', 'pipe', 'inherit'] });
  const waiting = [];
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.resolve(JSON.parse(line)));
  child.on('exit', (code) => waiting.splice(0).forEach(({ reject }) => reject(new Error(`judges.py ended with ${code}`))));
  const ask = (question) => new Promise((resolve, reject) => {
    waiting.push({ resolve, reject });
    child.stdin.write(`${JSON.stringify(question)}\n`);
  });
  const call = async (op, provider, { body, privateKey, ...rest }) => {
    const { error, ...answer } = await ask({ op, provider, ...rest, body: body.toString('base64') });
    if (error) throw new Error(error);
    if ('body_text' in answer) return { headers: answer.headers, body: Buffer.from(answer.body_text) };
    return answer;
  };
  const judges = {};
  for (const [provider, { sdk, signs }] of Object.entries(await ask({ op: 'list' }))) {
    const judge = { sdk: `${sdk} (python)`, verify: async (request) => (await call('verify', provider, request)).ok };
    if (signs) Object.assign(judge, { signer: 'sdk', sign: (delivery) => call('sign', provider, delivery) });
    judges[provider] = judge;
  }
  return { judges, stop: () => child.stdin.end() };
}
