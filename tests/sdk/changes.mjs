// What can be done to a signed request on its way. Each change yields a request, on which the SDK and hookweir must agree.

const DAY = 24 * 60 * 60 * 1000;

const other = (character) => (/[0-8a-eA-E]/.test(character) ? String.fromCharCode(character.charCodeAt(0) + 1) : /\d/.test(character) ? '0' : 'A');

function flipped(text, from) {
  for (let at = from; at < text.length; at += 1) {
    if (/[A-Za-z0-9]/.test(text[at])) return text.slice(0, at) + other(text[at]) + text.slice(at + 1);
  }
  return `${text}x`;
}

const relabelled = (text) => text.replace(/(^|[,; ])(v0|v1|h1|sha256|d)([=,])/, '$1zz$3');

/** Changes after signing: [name, request]. */
export function changed(request, thorough) {
  const body = request.body.toString('latin1');
  const changes = [['body: a byte', { ...request, body: Buffer.from(flipped(body, Math.max(0, body.length - 12)), 'latin1') }]];
  if (!thorough) return changes;
  changes.push(['body: a space more', { ...request, body: Buffer.concat([request.body, Buffer.from(' ')]) }]);
  changes.push(['body: cut', { ...request, body: request.body.subarray(0, request.body.length - 1) }]);
  changes.push(['body: none', { ...request, body: Buffer.alloc(0) }]);
  if (request.query) {
    changes.push(['query: a byte', { ...request, query: flipped(request.query, request.query.length - 5) }]);
  }
  for (const [name, value] of Object.entries(request.headers)) {
    const withValue = (value) => ({ ...request, headers: { ...request.headers, [name]: value } });
    const { [name]: gone, ...rest } = request.headers;
    changes.push([`${name}: none`, { ...request, headers: rest }]);
    changes.push([`${name}: empty`, withValue('')]);
    // The last character of base64 can hold bits that count for nothing, so one in the middle.
    changes.push([`${name}: a byte`, withValue(flipped(value, Math.floor(value.length * 0.6)))]);
    changes.push([`${name}: cut`, withValue(value.slice(0, -4))]);
    if (relabelled(value) !== value) changes.push([`${name}: label`, withValue(relabelled(value))]);
  }
  return changes;
}

/** Deliveries that are signed otherwise: [name, what `sign` gets]. */
export function signedOtherwise(delivery, source) {
  return [
    ['another secret', { ...delivery, secret: source.other, privateKey: source.otherPrivateKey }],
    ['a day old', { ...delivery, at: delivery.at - DAY }],
    ['40 s old', { ...delivery, at: delivery.at - 40_000 }],
    ['a day ahead', { ...delivery, at: delivery.at + DAY }],
    ['40 s ahead', { ...delivery, at: delivery.at + 40_000 }],
    ['another URL', { ...delivery, url: `${delivery.url}2` }],
  ];
}

/** These no provider may let pass. */
export const NEVER = new Set(['another secret', 'body: a byte']);
