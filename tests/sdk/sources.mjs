// What an operator would enter for each provider: a source per provider, with keys of the form that the provider hands out, and
// bodies of a shape that its SDK reads.

import { createHash, generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';

const bytes = (seed) => createHash('sha256').update(seed).digest();
const whsec = { secret: `whsec_${bytes('one').toString('base64')}`, other: `whsec_${bytes('two').toString('base64')}` };
const hex = { secret: bytes('one').toString('hex'), other: bytes('two').toString('hex') };
const text = { secret: 'weir_4f1b2c3d-one_of-the-secrets', other: 'weir_4f1b2c3d-two_of-the-secrets' };

const SNS_TOPIC = 'arn:aws:sns:us-east-1:123456789012:weir';

const forms = {
  standardwebhooks: whsec, svix: whsec, openai: whsec, anthropic: whsec, clerk: whsec, resend: whsec, replicate: whsec,
  finch: { secret: bytes('one').toString('base64'), other: bytes('two').toString('base64') },
  adyen: hex, 'adyen-platform': hex, contentful: hex,
};
const params = { pusher: { api_key: 'key' }, livekit: { api_key: 'key' }, 'aws-sns': { topic_arn: SNS_TOPIC } };

/** A key pair, its public half as the provider's console shows it. */
const pairs = {
  rsa: () => pair('rsa', { modulusLength: 2048 }, (key) => key.export({ type: 'spki', format: 'der' }).toString('base64')),
  p521: () => pair('ec', { namedCurve: 'P-521' }, (key) => key.export({ type: 'spki', format: 'der' }).toString('base64')),
  p256: () => pair('ec', { namedCurve: 'P-256' }, (key) => key.export({ type: 'spki', format: 'der' }).toString('base64')),
  'ed25519-hex': () => pair('ed25519', {}, (key) => rawEd25519(key).toString('hex')),
  'ed25519-base64': () => pair('ed25519', {}, (key) => rawEd25519(key).toString('base64')),
};
const rawEd25519 = (key) => key.export({ type: 'spki', format: 'der' }).subarray(-32);
function pair(type, options, shown) {
  const { privateKey, publicKey } = generateKeyPairSync(type, options);
  return { privateKey, publicKey: shown(publicKey) };
}

/** The source of a provider, whose URL at the provider is not that of the loopback listener. */
export function sourceOf(provider, judge, folder) {
  const source = { provider, name: provider, url: `https://hooks.example.com/ingest/${provider}`, params: params[provider] ?? {} };
  if (!judge.keys) return { ...source, ...(forms[provider] ?? text) };
  const [own, other] = [pairs[judge.keys](), pairs[judge.keys]()];
  const keyFile = (name, key) => {
    const file = `${folder}/${provider}-${name}.pem`;
    writeFileSync(file, key.export({ type: 'pkcs8', format: 'pem' }));
    return file;
  };
  return {
    ...source, publicKey: own.publicKey, privateKey: own.privateKey, otherPrivateKey: other.privateKey,
    keyFile: keyFile('own', own.privateKey), otherKeyFile: keyFile('other', other.privateKey),
  };
}

/** The source as hookweir's configuration has it. A JSON string is a TOML string too. */
export function toml(source) {
  const lines = ['[[source]]', `name = "${source.name}"`, `provider = "${source.provider}"`, `public_url = "${source.url}"`];
  lines.push(source.publicKey ? `public_keys = ["plain:${source.publicKey}"]` : `secrets = ["plain:${source.secret}"]`);
  const pairs = Object.entries(source.params).map(([name, value]) => `${name} = ${JSON.stringify(value)}`);
  lines.push(`params = { ${pairs.join(', ')} }`, '');
  return lines.join('\n');
}

const ODD = '"amount": 2.00, "text" : "Z\u00fcrich \u2013 \u6771\u4eac \ud83c\udf0a \\u00e9 \\/ <b>&amp;",  "n":[1,1e2,0.10,-0.0]';
const adyen = (id) => `{"live":"false","notificationItems":[{"NotificationRequestItem":{"eventDate":"2026-01-01T00:00:00+00:00",`
  + `"merchantAccountCode":"WeirECOM","merchantReference":"order-1","originalReference":"","paymentMethod":"visa","pspReference":"${id}",`
  + `"reason":"","success":"true","amount":{"currency":"EUR","value":1130},"eventCode":"AUTHORISATION"}}]}`;

/** The JSON of one event: `more` is further fields, `end` what follows the last brace. */
function json(provider, id, more = '"n":1') {
  const event = `"id":"${id}","type":"thing.done","event":"done",${more}`;
  switch (provider) {
    case 'adyen': return adyen(id);
    case 'aws-sns': return JSON.stringify({
      Type: 'Notification', MessageId: id, Message: `{${event}}`, Subject: 'weir', Timestamp: '2026-01-01T00:00:00.000Z', TopicArn: SNS_TOPIC,
    });
    case 'sendgrid': return `[{"sg_event_id":"${id}","event":"delivered",${more}}]`;
    case 'gocardless': return `{"events":[{"id":"${id}","resource_type":"payments","action":"confirmed","links":{},${more}}]}`;
    case 'line': return `{"destination":"U0","events":[{"webhookEventId":"${id}","type":"message",${more}}]}`;
    case 'pusher': return `{"time_ms":${Date.now()},"events":[{"name":"channel_occupied","channel":"${id}",${more}}]}`;
    case 'onfido': return `{"payload":{"resource_type":"check","action":"check.completed","object":{"id":"${id}","status":"complete"},${more}}}`;
    case 'coinbase-commerce': return `{"attempt_number":1,"event":{"id":"${id}","type":"charge:confirmed",${more}},"id":"e1"}`;
    case 'livekit': return `{"event":"room_started","id":"${id}","unknown":{${more}}}`;
    case 'telnyx': return `{"data":{"id":"${id}","event_type":"message.received",${more}}}`;
    case 'paddle': return `{"event_id":"${id}","event_type":"weir.done","notification_id":"n1","occurred_at":"2026-01-01T00:00:00Z","data":{${more}}}`;
    case 'linear': return `{"action":"create","webhookTimestamp":${Date.now()},${event}}`;
    default: return `{${event}}`;
  }
}

/**
 * Bodies to sign. `always`: the SDK has to take it; else it may say that it takes only JSON of its kind, and the body is left out.
 * `thorough`: every change is tried on it.
 */
export function bodiesOf(provider, id) {
  const body = (name, content, more = {}) => ({ name, body: Buffer.from(content), ...more });
  // The signature is within, so the body is printed anew with it.
  const within = ['adyen', 'aws-sns'].includes(provider);
  // Of a text message: only forms are signed.
  if (provider === 'plivo') {
    const text = `MessageUUID=${id}&Status=sent&Body=hello+w%C3%B6rld&Empty=&To=%2B4912&From=%2B1+555&last=lower`;
    return [body('form', text, { form: true, always: true, thorough: true })];
  }
  const bodies = [
    body('plain', json(provider, `${id}a`), { always: true, thorough: true }),
    body('odd', json(provider, `${id}b`, ODD), { always: true, thorough: true }),
    body('crlf', `${json(provider, `${id}c`)}\r\n`, { always: !within }),
    body('64KB', json(provider, `${id}d`, `"pad":"${'\u00fc~'.repeat(21845)}"`), { always: true }),
  ];
  if (within) return bodies;
  bodies.push(body('empty', ''), body('text', `${id} \t\u{1F30A} "`));
  const twilio = provider.startsWith('twilio');
  const form = `MessageSid=${id}&Body=hello+w%C3%B6rld&Empty=&To=%2B4912&AccountSid=AC1&body=lower`;
  bodies.push(body('form', form, { form: true, always: twilio, thorough: twilio }));
  return bodies;
}
