// Where hookweir and an SDK disagree on purpose: which change of a request (the name that main.mjs gives it), of which SDK where only of
// one, and why. A decision that nothing disagrees about any longer is an error too. README.md says the same to people.

export const decisions = {
  slack: [{
    change: /, a day ahead$/, sdk: 'slack_sdk',
    why: 'Bolt takes a signed time that is ahead, slack_sdk does not. A time ahead is one that Slack signed; we go with Bolt.',
  }],
  shopify: [{
    change: /, x-shopify-(topic|webhook-id): (none|empty)$/,
    why: 'The SDK wants these headers to be there, but they are not signed: their lack says nothing of who sent the body.',
  }],
  paddle: [{
    change: /, 40 s old$/,
    why: 'The SDK allows 5 s of age. We allow 300 s, so that a clock that is off or a slow link does not cost events.',
  }],
  workos: [{
    change: /^(send, )?(odd|crlf)($|,)/, sdk: '@workos-inc/node',
    why: 'The SDK signs what JSON.stringify makes of the body, so 2.00 is 2 for it. WorkOS signs the bytes; so does its SDK for Python.',
  }, {
    change: /body: a space more$/, sdk: '@workos-inc/node',
    why: 'As above: the SDK parses the body first, so it cannot see a change between its tokens. We can.',
  }, {
    change: /workos-signature: label$/,
    why: 'The SDKs take any label in place of v1. A label is a version: what is not v1 may mean something else.',
  }, {
    change: /, a day ahead$/, sdk: 'python',
    why: 'The SDK for node takes a signed time that is ahead, the one for Python does not; we go with the one for node.',
  }],
  contentful: [{
    change: /x-contentful-signed-headers: a byte$/,
    why: 'The SDK adds the time and the list itself to what is signed where the list does not name them. We want them named.',
  }],
  replicate: [{
    change: /webhook-signature: label$/,
    why: 'The SDK takes any label in place of v1. Standard Webhooks says that others are to be ignored, and so do we.',
  }],
};
