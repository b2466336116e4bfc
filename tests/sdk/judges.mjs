// The SDKs for node, each behind the same two functions:
//   sign({ body, secret, at, url, id, privateKey }) -> headers (and, where it must, a query): as the provider would send it
//   verify({ body, headers, query, url, secret, publicKey }) -> does the SDK take it? A throw is a no.
// `sign` uses the SDK's own helper where it has one (`signer: 'sdk'`). Otherwise it is the documented computation in a few lines of
// node:crypto, and what counts is what the SDK says of it: main.mjs never takes a signature that the SDK does not.

import { createHash, createHmac, sign as signWithKey } from 'node:crypto';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const hmac = (hash, key, text, encoding) => createHmac(hash, key).update(text).digest(encoding);
const sha256 = (bytes, encoding) => createHash('sha256').update(bytes).digest(encoding);
const seconds = (at) => String(Math.floor(at / 1000));
const joined = (...parts) => Buffer.concat(parts.map((part) => Buffer.from(part)));

/** A token in compact form, signed with HS256. */
const jwt = (claims, key) => {
  const text = [{ alg: 'HS256', typ: 'JWT' }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
  return `${text}.${hmac('sha256', key, text, 'base64url')}`;
};

/** What Standard Webhooks says, under the header names that a provider gives it. */
const standard = (prefix, key) => ({ body, secret, at, id }) => ({
  [`${prefix}-id`]: id,
  [`${prefix}-timestamp`]: seconds(at),
  [`${prefix}-signature`]: `v1,${hmac('sha256', key(secret), joined(`${id}.${seconds(at)}.`, body), 'base64')}`,
});
const afterPrefix = (secret) => Buffer.from(secret.replace(/^whsec_/, ''), 'base64');

/** The body's HMAC in one header. */
const bodyMac = (header, encoding, prefix = '', hash = 'sha256') => ({ body, secret }) => ({
  [header]: prefix + hmac(hash, secret, body, encoding),
});

const stripe = new (require('stripe'))('sk_test_unused');
const { Webhook: Standard } = require('standardwebhooks');
const { Webhook: Svix } = require('svix');
const octokit = await import('@octokit/webhooks-methods');
const twilio = require('twilio');
const { WebhooksHelper } = require('square');
const { verifySlackRequest } = require('@slack/bolt/dist/receivers/verify-request.js');
await import('@shopify/shopify-api/adapters/node');
const { shopifyApi, ApiVersion } = await import('@shopify/shopify-api');
const { Paddle } = require('@paddle/paddle-node-sdk');
const { default: Mux } = await import('@mux/mux-node');
const { WorkOS } = await import('@workos-inc/node');
const { EventWebhook } = require('@sendgrid/eventwebhook');
const discord = require('discord-interactions');
const { default: Telnyx } = await import('telnyx');
const { hmacValidator: AdyenValidator } = require('@adyen/api-library');
const gocardless = require('gocardless-nodejs/webhooks');
const Razorpay = require('razorpay');
const { WebhookEventVerifier } = require('@onfido/api');
const line = await import('@line/bot-sdk');
const { default: OpenAI } = await import('openai');
const { default: Anthropic } = await import('@anthropic-ai/sdk');
const { default: Finch } = await import('@tryfinch/finch-api');
const clerk = await import('@clerk/backend/webhooks');
const { Resend } = require('resend');
const hubspot = require('@hubspot/api-client');
const Pusher = require('pusher');
const messagebird = require('messagebird/lib/webhook-signature-jwt');
const { Receiver } = await import('@upstash/qstash');
const livekit = await import('livekit-server-sdk');
const sanity = require('@sanity/webhook');
const replicate = require('replicate');
const retell = require('retell-sdk/lib/webhook_auth');
const coinbase = require('coinbase-commerce-node');
const { default: ModernTreasury } = await import('modern-treasury');
const { verifyAndParseWebhook } = require('stream-chat');
const { ElevenLabsClient } = await import('@elevenlabs/elevenlabs-js');
const XHub = require('x-hub-signature').default ?? require('x-hub-signature');
const notion = require('@notionhq/client');
const linear = await import('@linear/sdk/webhooks');
const contentful = require('@contentful/node-apps-toolkit');
const plivo = require('plivo');
const SnsValidator = require('sns-payload-validator');
const truelayer = require('truelayer-signing');
const { WebflowClient } = await import('webflow-api');

const SHOPIFY_UNSIGNED = { 'x-shopify-api-version': '2026-01', 'x-shopify-shop-domain': 'weir.myshopify.com' };

const SNS_CERTIFICATE = 'https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem';

/** A public key as a console shows it, as SDKs want it. */
const pem = (base64) => `-----BEGIN PUBLIC KEY-----\n${base64.match(/.{1,64}/g).join('\n')}\n-----END PUBLIC KEY-----\n`;

/** Calls what throws on a refusal. */
const passes = async (check) => {
  await check();
  return true;
};
const textOf = (body) => body.toString('utf8');

export const judges = {
  stripe: {
    sdk: 'stripe', signer: 'sdk',
    sign: ({ body, secret, at }) => ({
      'stripe-signature': stripe.webhooks.generateTestHeaderString({ payload: textOf(body), secret, timestamp: Number(seconds(at)) }),
    }),
    verify: ({ body, headers, secret }) => passes(() => stripe.webhooks.constructEvent(body, headers['stripe-signature'], secret)),
  },
  standardwebhooks: {
    sdk: 'standardwebhooks', signer: 'sdk',
    sign: ({ body, secret, at, id }) => ({
      'webhook-id': id, 'webhook-timestamp': seconds(at),
      'webhook-signature': new Standard(secret).sign(id, new Date(at), textOf(body)),
    }),
    verify: ({ body, headers, secret }) => passes(() => new Standard(secret).verify(body, headers)),
  },
  svix: {
    sdk: 'svix', signer: 'sdk',
    sign: ({ body, secret, at, id }) => ({
      'svix-id': id, 'svix-timestamp': seconds(at), 'svix-signature': new Svix(secret).sign(id, new Date(at), textOf(body)),
    }),
    verify: ({ body, headers, secret }) => passes(() => new Svix(secret).verify(body, headers)),
  },
  github: {
    sdk: '@octokit/webhooks-methods', signer: 'sdk',
    sign: async ({ body, secret, id }) => ({
      'x-hub-signature-256': await octokit.sign(secret, textOf(body)), 'x-github-delivery': id, 'x-github-event': 'push',
    }),
    verify: ({ body, headers, secret }) => octokit.verify(secret, textOf(body), headers['x-hub-signature-256']),
  },
  twilio: {
    sdk: 'twilio', signer: 'sdk',
    sign: ({ body, secret, url, form }) => {
      if (form) return { 'x-twilio-signature': twilio.getExpectedTwilioSignature(secret, url, Object.fromEntries(new URLSearchParams(textOf(body)))) };
      const query = `bodySHA256=${twilio.getExpectedBodyHash(textOf(body))}`;
      return { query, headers: { 'x-twilio-signature': twilio.getExpectedTwilioSignature(secret, `${url}?${query}`, {}) } };
    },
    verify: ({ body, headers, query, secret, url, form }) =>
      form
        ? twilio.validateRequest(secret, headers['x-twilio-signature'] ?? '', url, Object.fromEntries(new URLSearchParams(textOf(body))))
        : twilio.validateRequestWithBody(secret, headers['x-twilio-signature'] ?? '', `${url}?${query}`, textOf(body)),
  },
  square: {
    sdk: 'square',
    sign: ({ body, secret, url }) => ({ 'x-square-hmacsha256-signature': hmac('sha256', secret, joined(url, body), 'base64') }),
    verify: ({ body, headers, secret, url }) => WebhooksHelper.verifySignature({
      requestBody: textOf(body), signatureHeader: headers['x-square-hmacsha256-signature'], signatureKey: secret, notificationUrl: url,
    }),
  },
  slack: {
    sdk: '@slack/bolt',
    sign: ({ body, secret, at }) => ({
      'x-slack-request-timestamp': seconds(at),
      'x-slack-signature': `v0=${hmac('sha256', secret, joined(`v0:${seconds(at)}:`, body), 'hex')}`,
    }),
    verify: ({ body, headers, secret }) => passes(() => verifySlackRequest({
      signingSecret: secret, body: textOf(body),
      headers: { 'x-slack-signature': headers['x-slack-signature'], 'x-slack-request-timestamp': Number(headers['x-slack-request-timestamp']) },
    })),
  },
  shopify: {
    sdk: '@shopify/shopify-api',
    sign: ({ body, secret, id }) => ({
      'x-shopify-hmac-sha256': hmac('sha256', secret, body, 'base64'), 'x-shopify-topic': 'orders/create', 'x-shopify-webhook-id': id,
    }),
    verify: async ({ body, headers, secret }) => {
      const shopify = shopifyApi({
        apiKey: 'key', apiSecretKey: secret, hostName: 'example.com', isEmbeddedApp: false, logger: { log: () => {} },
        apiVersion: Object.values(ApiVersion).at(-1),
      });
      // The SDK wants these to be there, unsigned as they are; hookweir has no use for them and does not send them.
      const rawRequest = { method: 'POST', url: '/', headers: { ...SHOPIFY_UNSIGNED, ...headers } };
      const answer = await shopify.webhooks.validate({ rawBody: textOf(body), rawRequest, rawResponse: {} });
      return answer.valid;
    },
  },
  paddle: {
    sdk: '@paddle/paddle-node-sdk',
    sign: ({ body, secret, at }) => ({
      'paddle-signature': `ts=${seconds(at)};h1=${hmac('sha256', secret, joined(`${seconds(at)}:`, body), 'hex')}`,
    }),
    verify: ({ body, headers, secret }) => new Paddle('unused').webhooks.isSignatureValid(textOf(body), secret, headers['paddle-signature']),
  },
  mux: {
    sdk: '@mux/mux-node',
    sign: ({ body, secret, at }) => ({
      'mux-signature': `t=${seconds(at)},v1=${hmac('sha256', secret, joined(`${seconds(at)}.`, body), 'hex')}`,
    }),
    verify: ({ body, headers, secret }) =>
      passes(() => new Mux({ tokenId: 'x', tokenSecret: 'x' }).webhooks.verifySignature(textOf(body), headers, secret)),
  },
  workos: {
    sdk: '@workos-inc/node',
    sign: ({ body, secret, at }) => ({ 'workos-signature': `t=${at}, v1=${hmac('sha256', secret, joined(`${at}.`, body), 'hex')}` }),
    verify: ({ body, headers, secret }) =>
      new WorkOS('sk_unused').webhooks.verifyHeader({ payload: JSON.parse(textOf(body)), sigHeader: headers['workos-signature'], secret }),
  },
  sendgrid: {
    sdk: '@sendgrid/eventwebhook', keys: 'p256',
    sign: ({ body, at, privateKey }) => ({
      'x-twilio-email-event-webhook-timestamp': seconds(at),
      'x-twilio-email-event-webhook-signature': signWithKey('sha256', joined(seconds(at), body), privateKey).toString('base64'),
    }),
    verify: ({ body, headers, publicKey }) => {
      const webhook = new EventWebhook();
      return webhook.verifySignature(webhook.convertPublicKeyToECDSA(publicKey), body,
        headers['x-twilio-email-event-webhook-signature'], headers['x-twilio-email-event-webhook-timestamp']);
    },
  },
  discord: {
    sdk: 'discord-interactions', keys: 'ed25519-hex',
    sign: ({ body, at, privateKey }) => ({
      'x-signature-timestamp': seconds(at),
      'x-signature-ed25519': signWithKey(null, joined(seconds(at), body), privateKey).toString('hex'),
    }),
    verify: ({ body, headers, publicKey }) =>
      discord.verifyKey(body, headers['x-signature-ed25519'], headers['x-signature-timestamp'], publicKey),
  },
  telnyx: {
    sdk: 'telnyx', keys: 'ed25519-base64',
    sign: ({ body, at, privateKey }) => ({
      'telnyx-timestamp': seconds(at),
      'telnyx-signature-ed25519': signWithKey(null, joined(`${seconds(at)}|`, body), privateKey).toString('base64'),
    }),
    verify: ({ body, headers, publicKey }) =>
      passes(() => new Telnyx({ apiKey: 'unused' }).webhooks.unwrap(textOf(body), { headers, key: publicKey })),
  },
  adyen: {
    sdk: '@adyen/api-library', signer: 'sdk',
    sign: ({ body, secret }) => {
      const notification = JSON.parse(textOf(body));
      for (const { NotificationRequestItem: item } of notification.notificationItems) {
        item.additionalData = { hmacSignature: new AdyenValidator().calculateHmac(item, secret) };
      }
      return { headers: {}, body: Buffer.from(JSON.stringify(notification)) };
    },
    verify: ({ body, secret }) => JSON.parse(textOf(body)).notificationItems
      .every(({ NotificationRequestItem: item }) => new AdyenValidator().validateHMAC(item, secret)),
  },
  'adyen-platform': {
    sdk: '@adyen/api-library', signer: 'sdk',
    sign: ({ body, secret }) => ({ hmacsignature: new AdyenValidator().calculateHmac(textOf(body), secret) }),
    verify: ({ body, headers, secret }) => new AdyenValidator().validateHMACSignature(secret, headers.hmacsignature, textOf(body)),
  },
  'aws-sns': {
    sdk: 'sns-payload-validator', keys: 'rsa',
    sign: ({ body, privateKey }) => {
      const message = { ...JSON.parse(textOf(body)), SignatureVersion: '2', SigningCertURL: SNS_CERTIFICATE };
      const keys = ['Message', 'MessageId', 'Subject', 'Timestamp', 'TopicArn', 'Type'].filter((key) => key in message);
      const text = keys.map((key) => `${key}\n${message[key]}\n`).join('');
      const { TopicArn, ...rest } = { ...message, Signature: signWithKey('sha256', Buffer.from(text), privateKey).toString('base64') };
      return { headers: {}, body: Buffer.from(JSON.stringify({ ...rest, TopicArn })) };
    },
    verify: ({ body, publicKey }) => {
      const validator = new SnsValidator();
      validator.certCache.set(SNS_CERTIFICATE, pem(publicKey));
      return passes(() => validator.validate(textOf(body)));
    },
  },
  contentful: {
    sdk: '@contentful/node-apps-toolkit', signer: 'sdk',
    sign: ({ body, secret, at, url }) => {
      const headers = { 'x-contentful-topic': 'ContentManagement.Entry.save' };
      const request = { method: 'POST', path: new URL(url).pathname, headers, body: textOf(body) };
      return { ...headers, ...contentful.signRequest(secret, request, at) };
    },
    verify: ({ body, headers, secret, url }) => contentful.verifyRequest(
      secret, { method: 'POST', path: new URL(url).pathname, headers, body: textOf(body) },
    ),
  },
  plivo: {
    sdk: 'plivo',
    sign: ({ body, secret, url, id }) => {
      const fields = [...new URLSearchParams(textOf(body))].map(([name, value]) => name + value).sort().join('');
      const text = `${url}${fields && '?'}${fields}.${id}`;
      return { 'x-plivo-signature-v3-nonce': id, 'x-plivo-signature-v3': hmac('sha256', secret, text, 'base64') };
    },
    verify: ({ body, headers, secret, url }) => plivo.validateV3Signature(
      'POST', url, headers['x-plivo-signature-v3-nonce'], secret, headers['x-plivo-signature-v3'],
      Object.fromEntries(new URLSearchParams(textOf(body))),
    ),
  },
  truelayer: {
    sdk: 'truelayer-signing', signer: 'sdk', keys: 'p521',
    sign: ({ body, at, url, privateKey }) => {
      const headers = { 'X-TL-Webhook-Timestamp': new Date(at).toISOString() };
      const privateKeyPem = privateKey.export({ type: 'sec1', format: 'pem' });
      const signature = truelayer.sign({ privateKeyPem, kid: 'k', method: 'POST', path: new URL(url).pathname, headers, body: textOf(body) });
      return { 'x-tl-webhook-timestamp': headers['X-TL-Webhook-Timestamp'], 'tl-signature': signature };
    },
    verify: ({ body, headers, url, publicKey }) => passes(() => truelayer.verify({
      publicKeyPem: pem(publicKey), signature: headers['tl-signature'], method: 'POST', path: new URL(url).pathname, headers, body: textOf(body),
      requiredHeaders: ['X-TL-Webhook-Timestamp'],
    })),
  },
  gocardless: {
    sdk: 'gocardless-nodejs',
    sign: bodyMac('webhook-signature', 'hex'),
    verify: ({ body, headers, secret }) => passes(() => gocardless.parse(textOf(body), secret, headers['webhook-signature'])),
  },
  razorpay: {
    sdk: 'razorpay',
    sign: (delivery) => ({ ...bodyMac('x-razorpay-signature', 'hex')(delivery), 'x-razorpay-event-id': delivery.id }),
    verify: ({ body, headers, secret }) => Razorpay.validateWebhookSignature(textOf(body), headers['x-razorpay-signature'], secret),
  },
  onfido: {
    sdk: '@onfido/api',
    sign: bodyMac('x-sha2-signature', 'hex'),
    verify: ({ body, headers, secret }) =>
      passes(() => new WebhookEventVerifier(secret).readPayload(textOf(body), headers['x-sha2-signature'])),
  },
  line: {
    sdk: '@line/bot-sdk',
    sign: bodyMac('x-line-signature', 'base64'),
    verify: ({ body, headers, secret }) => line.validateSignature(body, secret, headers['x-line-signature']),
  },
  openai: {
    sdk: 'openai',
    sign: standard('webhook', afterPrefix),
    verify: ({ body, headers, secret }) => passes(() => new OpenAI({ apiKey: 'unused' }).webhooks.unwrap(textOf(body), headers, secret)),
  },
  anthropic: {
    sdk: '@anthropic-ai/sdk',
    sign: standard('webhook', afterPrefix),
    verify: ({ body, headers, secret }) =>
      passes(() => new Anthropic({ apiKey: 'unused' }).beta.webhooks.unwrap(textOf(body), { headers, key: secret })),
  },
  finch: {
    sdk: '@tryfinch/finch-api',
    sign: ({ id, ...delivery }) => {
      const { 'finch-id': event, ...rest } = standard('finch', (secret) => Buffer.from(secret, 'base64'))({ id, ...delivery });
      return { 'finch-event-id': event, ...rest };
    },
    verify: ({ body, headers, secret }) =>
      passes(() => new Finch({ accessToken: 'unused' }).webhooks.verifySignature(textOf(body), headers, secret)),
  },
  clerk: {
    sdk: '@clerk/backend',
    sign: standard('svix', afterPrefix),
    verify: ({ body, headers, secret, url }) =>
      passes(() => clerk.verifyWebhook(new Request(url, { method: 'POST', body, headers }), { signingSecret: secret })),
  },
  resend: {
    sdk: 'resend',
    sign: standard('svix', afterPrefix),
    verify: ({ body, headers, secret }) => passes(() => new Resend('re_unused').webhooks.verify({
      payload: textOf(body), webhookSecret: secret,
      headers: { id: headers['svix-id'], timestamp: headers['svix-timestamp'], signature: headers['svix-signature'] },
    })),
  },
  replicate: {
    sdk: 'replicate',
    sign: standard('webhook', afterPrefix),
    verify: ({ body, headers, secret }) => replicate.validateWebhook({
      id: headers['webhook-id'], timestamp: headers['webhook-timestamp'], signature: headers['webhook-signature'], body: textOf(body), secret,
    }),
  },
  'hubspot-v1': {
    sdk: '@hubspot/api-client',
    sign: ({ body, secret }) => ({ 'x-hubspot-signature-version': 'v1', 'x-hubspot-signature': sha256(joined(secret, body), 'hex') }),
    verify: ({ body, headers, secret }) => hubspot.Signature.isValid({
      signatureVersion: 'v1', signature: headers['x-hubspot-signature'] ?? '', clientSecret: secret, requestBody: textOf(body),
    }),
  },
  'hubspot-v3': {
    sdk: '@hubspot/api-client',
    sign: ({ body, secret, at, url }) => ({
      'x-hubspot-request-timestamp': String(at),
      'x-hubspot-signature-v3': hmac('sha256', secret, joined('POST', url, body, String(at)), 'base64'),
    }),
    verify: ({ body, headers, secret, url }) => hubspot.Signature.isValid({
      signatureVersion: 'v3', signature: headers['x-hubspot-signature-v3'] ?? '', clientSecret: secret, requestBody: textOf(body), url, method: 'POST',
      timestamp: Number(headers['x-hubspot-request-timestamp']),
    }),
  },
  pusher: {
    sdk: 'pusher',
    sign: (delivery) => ({ 'x-pusher-key': 'key', ...bodyMac('x-pusher-signature', 'hex')(delivery) }),
    verify: ({ body, headers, secret }) =>
      new Pusher({ appId: '1', key: 'key', secret, cluster: 'eu' }).webhook({ headers, rawBody: textOf(body) }).isValid(),
  },
  messagebird: {
    sdk: 'messagebird',
    sign: ({ body, secret, at, url, id }) => {
      const claims = { iss: 'MessageBird', nbf: Math.floor(at / 1000), exp: Math.floor(at / 1000) + 60, jti: id, url_hash: sha256(url, 'hex') };
      if (body.length > 0) claims.payload_hash = sha256(body, 'hex');
      return { 'messagebird-signature-jwt': jwt(claims, secret) };
    },
    verify: ({ body, headers, secret, url }) =>
      passes(() => messagebird.verify(url, body, headers['messagebird-signature-jwt'], Buffer.from(secret))),
  },
  qstash: {
    sdk: '@upstash/qstash',
    sign: ({ body, secret, at, url, id }) => {
      const now = Math.floor(at / 1000);
      const claims = { iss: 'Upstash', sub: url, exp: now + 300, nbf: now, iat: now, jti: id, body: sha256(body, 'base64url') };
      return { 'upstash-message-id': id, 'upstash-signature': jwt(claims, secret) };
    },
    verify: ({ body, headers, secret, url }) => new Receiver({ currentSigningKey: secret, nextSigningKey: 'sig_unused' })
      .verify({ signature: headers['upstash-signature'], body: textOf(body), url }),
  },
  livekit: {
    sdk: 'livekit-server-sdk', signer: 'sdk',
    sign: async ({ body, secret, at }) => {
      const now = Math.floor(at / 1000);
      if (Math.abs(at - Date.now()) > 1000) return { authorization: jwt({ iss: 'key', nbf: now, exp: now + 300, sha256: sha256(body, 'base64') }, secret) };
      const token = new livekit.AccessToken('key', secret, { ttl: 300 });
      token.sha256 = sha256(body, 'base64');
      return { authorization: await token.toJwt() };
    },
    verify: ({ body, headers, secret }) => passes(() => new livekit.WebhookReceiver('key', secret).receive(textOf(body), headers.authorization)),
  },
  sanity: {
    sdk: '@sanity/webhook', signer: 'sdk',
    sign: async ({ body, secret, at, id }) => ({
      [sanity.SIGNATURE_HEADER_NAME]: await sanity.encodeSignatureHeader(textOf(body), at, secret), 'idempotency-key': id,
    }),
    verify: ({ body, headers, secret }) => sanity.isValidSignature(textOf(body), headers[sanity.SIGNATURE_HEADER_NAME], secret),
  },
  retell: {
    sdk: 'retell-sdk', signer: 'sdk',
    sign: async ({ body, secret, at }) => ({ 'x-retell-signature': await retell.symmetric.sign(textOf(body), secret, at) }),
    verify: ({ body, headers, secret }) => retell.verify(textOf(body), secret, headers['x-retell-signature']),
  },
  'coinbase-commerce': {
    sdk: 'coinbase-commerce-node',
    sign: bodyMac('x-cc-webhook-signature', 'hex'),
    verify: ({ body, headers, secret }) => passes(() => coinbase.Webhook.verifySigHeader(textOf(body), headers['x-cc-webhook-signature'], secret)),
  },
  'modern-treasury': {
    sdk: 'modern-treasury', signer: 'sdk',
    sign: async ({ body, secret }) => ({ 'x-signature': await treasury().webhooks.getSignature(textOf(body), { key: secret }), 'x-topic': 'payment_order' }),
    verify: ({ body, headers, secret }) => treasury().webhooks.validateSignature(textOf(body), headers, { key: secret }),
  },
  stream: {
    sdk: 'stream-chat',
    sign: (delivery) => ({ 'x-webhook-id': delivery.id, ...bodyMac('x-signature', 'hex')(delivery) }),
    verify: ({ body, headers, secret }) => passes(() => verifyAndParseWebhook(body, headers['x-signature'], secret)),
  },
  elevenlabs: {
    sdk: '@elevenlabs/elevenlabs-js',
    sign: ({ body, secret, at }) => ({
      'elevenlabs-signature': `t=${seconds(at)},v0=${hmac('sha256', secret, joined(`${seconds(at)}.`, body), 'hex')}`,
    }),
    verify: ({ body, headers, secret }) =>
      passes(() => new ElevenLabsClient({ apiKey: 'unused' }).webhooks.constructEvent(textOf(body), headers['elevenlabs-signature'], secret)),
  },
  meta: {
    sdk: 'x-hub-signature', signer: 'sdk',
    sign: ({ body, secret }) => ({ 'x-hub-signature-256': new XHub('sha256', secret).sign(body) }),
    verify: ({ body, headers, secret }) => new XHub('sha256', secret).verify(headers['x-hub-signature-256'], body),
  },
  notion: {
    sdk: '@notionhq/client',
    sign: bodyMac('x-notion-signature', 'hex', 'sha256='),
    verify: ({ body, headers, secret }) =>
      notion.verifyWebhookSignature({ body: textOf(body), signature: headers['x-notion-signature'], verificationToken: secret }),
  },
  linear: {
    sdk: '@linear/sdk',
    sign: ({ body: unsigned, at, id, secret }) => {
      const body = Buffer.from(textOf(unsigned).replace(/("webhookTimestamp":)\d+/, `$1${at}`));
      return { body, headers: { 'linear-delivery': id, 'linear-signature': hmac('sha256', secret, body, 'hex') } };
    },
    verify: ({ body, headers, secret }) => new linear.LinearWebhookClient(secret).verify(body, headers['linear-signature']),
  },
  webflow: {
    sdk: 'webflow-api',
    sign: ({ body, secret, at }) => ({
      'x-webflow-timestamp': String(at), 'x-webflow-signature': hmac('sha256', secret, joined(`${at}:`, body), 'hex'),
    }),
    verify: ({ body, headers, secret }) =>
      new WebflowClient({ accessToken: 'unused' }).webhooks.verifySignature({ headers, body: textOf(body), secret }),
  },
};

function treasury() {
  return new ModernTreasury({ organizationID: 'unused', apiKey: 'unused' });
}
